"""The watch itself is impaired: raised with its cause, and over when that is."""

from dataclasses import dataclass

from monitor.engine.finding import EPSILON_S, Finding, reached
from monitor.policy.rules import DegradedPolicy, LevelsPolicy
from monitor.types import Cause, DegradedEvidence, Kind, Reading


@dataclass
class Degraded:
    """One cause: held for its `after_s` it is raised, gone for `clear_s` it is over."""

    cause: Cause
    limits: DegradedPolicy
    levels: LevelsPolicy
    _since_s: float | None = None
    _until_s: float = 0.0
    _raised: bool = False

    def update(self, reading: Reading) -> Finding | None:
        """The impairment in progress."""
        now_s = reading.timestamp_s
        if self.cause in reading.causes:
            self._since_s = now_s if self._since_s is None else self._since_s
            self._until_s = now_s
        elif self._since_s is not None and (
            not self._raised or now_s - self._until_s > self.limits.clear_s + EPSILON_S
        ):
            self._since_s, self._raised = None, False
        if self._since_s is None or not (
            self._raised or reached(now_s - self._since_s, self.limits.after(self.cause))
        ):
            return None
        self._raised = True
        minor = self.cause in self.limits.minor
        return Finding(
            track=f"degraded:{self.cause}",
            kind=Kind.DEGRADED,
            level=self.levels.degraded_minor if minor else self.levels.degraded,
            since_s=self._since_s,
            until_s=self._until_s,
            evidence=DegradedEvidence(cause=self.cause),
        )
