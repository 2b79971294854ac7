"""Who speaks of the driver's eyes, what they say together, and when they are at odds.

A witness speaks in log-odds of closed eyes, clipped so that none can shout the others down. Their
word is the weighted mean; confidence falls as they contradict each other, and a contradiction that
lasts is told in the log, once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from monitor.types import Observation

log = structlog.get_logger(__name__)

# A witness is sure from a probability of 0.75 on.
SURE = math.log(3)
_CLIP = 4.0
LANDMARKS = "landmarks"
# A blink sets witnesses at odds for some frames; this long they see different things: a proposal.
_AT_ODDS_S = 1.0
# An eye less likely seen than not says nothing of its lids.
_HIDDEN = 0.5


class Witness(NamedTuple):
    """One source's word: log-odds of closed eyes, and how much it counts."""

    name: str
    log_odds: float
    weight: float


class Word(NamedTuple):
    """What the witnesses say together; `log_odds` is None where nobody was asked."""

    log_odds: float | None
    confidence: float


def weigh_up(witnesses: Sequence[Witness]) -> Word:
    """The weighted mean, and a confidence of 0..1 that contradiction lowers."""
    total = sum(witness.weight for witness in witnesses)
    if total == 0:
        return Word(None, 0.0)
    said = sum(witness.log_odds * witness.weight for witness in witnesses)
    loud = sum(abs(witness.log_odds) * witness.weight for witness in witnesses)
    agreement = abs(said) / loud if loud else 0.0
    mean = said / total
    return Word(mean, math.tanh(abs(mean) / 2) * agreement)


@dataclass
class Dissent:
    """Listens for one witness sure of closed eyes while another is sure of open ones."""

    _since_s: float | None = None
    _told: bool = False

    def hear(self, now_s: float, witnesses: Sequence[Witness]) -> None:
        """One frame's words; writes a line when they have been at odds for a second."""
        shut = max(witnesses, key=lambda w: w.log_odds, default=None)
        opened = min(witnesses, key=lambda w: w.log_odds, default=None)
        if shut is None or opened is None or shut.log_odds < SURE or opened.log_odds > -SURE:
            self._since_s, self._told = None, False
            return
        self._since_s = now_s if self._since_s is None else self._since_s
        if not self._told and now_s - self._since_s >= _AT_ODDS_S:
            self._told = True
            log.warning(
                "witnesses of the eyes disagree",
                closed=f"{shut.name} ({_probability(shut.log_odds):.2f})",
                open=f"{opened.name} ({_probability(opened.log_odds):.2f})",
                for_s=round(now_s - self._since_s, 2),
            )


def eye_net(observation: Observation) -> float | None:
    """Log-odds of closed lids, mean of the eyes that the network sees; None where it sees none."""
    eyes = [eye for eye in (observation.eye_left, observation.eye_right) if eye is not None]
    seen = [eye for eye in eyes if eye.not_visible < _HIDDEN]
    if not seen:
        return None
    return sum(log_odds(eye.closed / (1 - eye.not_visible)) for eye in seen) / len(seen)


def log_odds(probability: float) -> float:
    """Of a probability of closed eyes, clipped."""
    inside = min(max(probability, 1e-3), 1 - 1e-3)
    return clip(math.log(inside / (1 - inside)))


def clip(value: float) -> float:
    """No louder than a witness may be."""
    return min(max(value, -_CLIP), _CLIP)


def _probability(value: float) -> float:
    return 1 / (1 + math.exp(-value))
