"""The policy: every threshold of the watch, in seconds, in one validated and versioned file.

`configs/policy/default.yaml` carries each figure with its source; the schema here holds the same
values as defaults, so that a file of one's own need name only what differs. The hash is taken over
the complete effective content, so two policies that decide alike are told apart only by their id.
"""

import difflib
import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Self

import yaml
from pydantic import ValidationError, model_validator

from monitor.config import Identifier, Section
from monitor.errors import ConfigError
from monitor.policy.perception import EvidencePolicy, EyePolicy, QualityPolicy, Short
from monitor.policy.rules import (
    Abandoned,
    AbsencePolicy,
    ActivationPolicy,
    ClosurePolicy,
    DegradedPolicy,
    DistractionPolicy,
    EscalationPolicy,
    LevelsPolicy,
    NodPolicy,
    PerclosPolicy,
    YawnPolicy,
)
from monitor.settings import CONFIGS, explain, read_yaml

POLICIES = CONFIGS / "policy"


class Policy(Section):
    """Every threshold of the watch; see `configs/policy/default.yaml` for the sources."""

    id: Identifier = "default"
    max_gap_s: Short = 0.5
    eye: EyePolicy = EyePolicy()
    evidence: EvidencePolicy = EvidencePolicy()
    quality: QualityPolicy = QualityPolicy()
    perclos: PerclosPolicy = PerclosPolicy()
    closure: ClosurePolicy = ClosurePolicy()
    unresponsive_after_warning_s: Short = 3.0
    abandoned: Abandoned = Abandoned()
    yawn: YawnPolicy = YawnPolicy()
    nod: NodPolicy = NodPolicy()
    distraction: DistractionPolicy = DistractionPolicy()
    absence: AbsencePolicy = AbsencePolicy()
    activation: ActivationPolicy = ActivationPolicy()
    degraded: DegradedPolicy = DegradedPolicy()
    levels: LevelsPolicy = LevelsPolicy()
    escalation: EscalationPolicy = EscalationPolicy()

    @model_validator(mode="after")
    def _told_in_time(self) -> Self:
        if self.absence.after_s > self.degraded.notify_within_s:
            raise ValueError(
                f"absence.after_s ({self.absence.after_s:g}) cannot exceed "
                f"degraded.notify_within_s ({self.degraded.notify_within_s:g})"
            )
        return self

    @cached_property
    def hash(self) -> str:
        """First 12 hex digits of the sha256 of the effective content: written on every event."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def to_yaml(self) -> str:
        """The complete effective policy; `load_policy` reads it back to the same hash."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, width=100)


def built_in() -> tuple[str, ...]:
    """Names of the policies that ship with the package."""
    return tuple(sorted(path.stem for path in POLICIES.glob("*.yaml")))


def load_policy(name_or_path: str) -> Policy:
    """A built-in policy by name, or one of your own by its file.

    Raises:
        ConfigError: no such policy, an unreadable file, broken YAML, an unknown key, a wrong unit
            or thresholds out of order: one line a fault.
    """
    path = _find(name_or_path)
    values = read_yaml(path, "--policy")
    if not values:
        raise ConfigError(f"{path}: a policy is a mapping of thresholds, got nothing")
    try:
        return Policy.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, Policy, str(path))) from None


def _find(name_or_path: str) -> Path:
    if name_or_path in built_in():
        return POLICIES / f"{name_or_path}.yaml"
    path = Path(name_or_path).expanduser()
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        return path
    near = difflib.get_close_matches(name_or_path, built_in(), n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`?" if near else f"built in: {', '.join(built_in())}"
    raise ConfigError(f"policy: no policy named {name_or_path!r}; {hint} (or give a .yaml file)")
