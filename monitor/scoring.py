"""What a watch should have raised, what it did raise, and how the two compare.

Truth is written by people who looked at a clip, or comes from the script of an animated drive.
A truth file is a JSON list with one object a clip:

    {"file": "clip.mp4", "seconds": 14.9,
     "intervals": [{"kind": "lowered", "start_s": 2.0, "end_s": 3.1, "sure": true, "note": ""}],
     "expected": [{"kind": "closure", "from_s": 4.4, "to_s": 8.9}],
     "must_not": ["microsleep", "sleep", "unresponsive"], "may": ["distraction"]}

`expected` names what must be raised (`closure` or a kind of event), `must_not` the kinds that must
never be raised on this clip, `may` those that are tolerated. Everything else in an entry is for
people. An entry with `animated`, the intervals of a drive's script, needs no `expected`: the policy
says what follows from them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from monitor.errors import ConfigError
from monitor.policy import Policy
from monitor.types import CLOSURES, KINDS, Event, Kind, Level, Phase

# Words that people write for kinds of events.
_NAMED: dict[str, tuple[Kind, ...]] = {"closure": CLOSURES, "yawn": (Kind.YAWNING,)}
# What the script of a drive calls things, and the cause the watch is expected to name.
IMPAIRED = {"dark": "low_light", "glare": "glare", "frozen": "camera_frozen", "noise": ""}
# A ramp is centred on the scripted instant: lids half shut. Half a ramp and the frame that shows
# it are the honest tolerance on "when"; people who wrote truth were sure to about as much.
SLACK_S = 0.35
# An alert raised this long after its cause ended still means it.
AFTERWARDS_S = 1.0


@dataclass(frozen=True, slots=True)
class TruthInterval:
    """What a person sees, or a script says, from when to when."""

    kind: str
    start_s: float
    end_s: float
    note: str = ""
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Expected:
    """One alert that truth and policy call for.

    Attributes:
        name: what happens, as a person reads it.
        kinds: any of these is right.
        start_s, end_s: when the cause is there.
        due_s: when the policy wants the alert.
        cause: for a degraded alert, its cause.
    """

    name: str
    kinds: tuple[Kind, ...]
    start_s: float
    end_s: float
    due_s: float
    cause: str = ""


@dataclass(frozen=True, slots=True)
class ClipTruth:
    """What is true of one recording.

    Attributes:
        name, file: of the recording; `file` relative to the folder of recordings.
        seconds: its length.
        intervals: what happens in it.
        expected: (kind or `closure`, from_s, to_s) of what must be raised.
        must_not: kinds that must never be raised.
        may: kinds that are tolerated.
        animated: what is expected follows from the intervals.
        group: of clips that are counted together, such as a condition; may be empty.
        person: who is seen, so that people are never split; the clip itself if nothing is written.
    """

    name: str
    file: str
    seconds: float
    intervals: tuple[TruthInterval, ...]
    expected: tuple[tuple[str, float, float], ...] = ()
    must_not: frozenset[Kind] = frozenset()
    may: frozenset[Kind] = frozenset()
    animated: bool = False
    group: str = ""
    person: str = ""


@dataclass(frozen=True, slots=True)
class AlertHistory:
    """The tellings of one event, in order."""

    tellings: tuple[Event, ...]

    @property
    def last(self) -> Event:
        """The final word: at its end, or at its highest level."""
        return self.tellings[-1]

    @property
    def level(self) -> Level:
        """The highest it reached."""
        return max(event.level for event in self.tellings)

    @property
    def kinds(self) -> frozenset[Kind]:
        """Every kind it ever was."""
        return frozenset(event.kind for event in self.tellings)


@dataclass(frozen=True, slots=True)
class Score:
    """What was called for against what was found.

    Attributes:
        matches: each expectation with the telling that met it, or None.
        false: alerts that nothing calls for or that must not be.
    """

    matches: list[tuple[Expected, Event | None]]
    false: list[AlertHistory]

    @property
    def perfect(self) -> bool:
        """Everything found, nothing made up."""
        return not self.false and all(event is not None for _, event in self.matches)


def alerts_of(events: Iterable[Event]) -> list[AlertHistory]:
    """Events of one id are one alert; in the order of their first telling."""
    tellings: dict[str, list[Event]] = {}
    for event in events:
        tellings.setdefault(event.id, []).append(event)
    return [AlertHistory(tuple(of_one)) for of_one in tellings.values()]


# --- truth -------------------------------------------------------------------------------------


def read_truth(path: Path) -> list[ClipTruth]:
    """The entries of a truth file.

    Raises:
        ConfigError: it cannot be read, or an entry lacks or misspells something.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--truth {path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ConfigError(f"--truth {path}: is not JSON ({error})") from None
    if not isinstance(entries, list):
        raise ConfigError(f"--truth {path}: must be a list with an object for each clip")
    return [_clip(path, number, entry) for number, entry in enumerate(entries)]


def _clip(path: Path, number: int, entry: Any) -> ClipTruth:
    try:
        animated = "animated" in entry
        intervals = entry["animated"] if animated else entry.get("intervals", ())
        return ClipTruth(
            name=str(entry.get("name") or Path(entry["file"]).stem),
            file=str(entry["file"]),
            seconds=float(entry["seconds"]),
            intervals=intervals_of(intervals),
            expected=tuple(
                (str(e["kind"]), float(e["from_s"]), float(e["to_s"]))
                for e in entry.get("expected", ())
            ),
            must_not=_kinds(entry.get("must_not", ())),
            may=_kinds(entry.get("may", ())),
            animated=animated,
            group=str(entry.get("condition", "")),
            person=str(entry.get("person") or entry["file"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        where = entry.get("file", number) if isinstance(entry, dict) else number
        raise ConfigError(
            f"--truth {path}: entry {where}: {type(error).__name__}: {error}; an entry needs "
            "file, seconds, and intervals with kind, start_s and end_s"
        ) from None


def _kinds(names: Iterable[str]) -> frozenset[Kind]:
    kinds: set[Kind] = set()
    for name in names:
        kinds.update(_NAMED.get(name) or (Kind(name),))
    return frozenset(kinds)


def intervals_of(truth: Iterable[Mapping[str, JsonValue]]) -> tuple[TruthInterval, ...]:
    """Intervals as a drive's `truth()` or a truth file gives them."""
    return tuple(map(_interval, truth))


def _interval(values: Mapping[str, Any]) -> TruthInterval:
    return TruthInterval(
        str(values["kind"]),
        float(values["start_s"]),
        float(values["end_s"]),
        str(values.get("note", "")),
        bool(values.get("sure", True)),
    )


# --- what should be raised ---------------------------------------------------------------------


def expectations(truth: Iterable[TruthInterval], policy: Policy) -> list[Expected]:
    """What `policy` should raise on a drive with this script."""
    called_for = [expected for interval in truth if (expected := _expected(interval, policy))]
    return sorted(called_for, key=lambda e: e.start_s)


def _expected(interval: TruthInterval, policy: Policy) -> Expected | None:
    kind, start_s, end_s = interval.kind, interval.start_s, interval.end_s
    lasted_s, closure = end_s - start_s, policy.closure
    if kind == "closed" and lasted_s >= closure.microsleep_log_s + SLACK_S:
        rungs = [Kind.MICROSLEEP]
        rungs += [Kind.SLEEP] if lasted_s >= closure.sleep_s - SLACK_S else []
        rungs += [Kind.UNRESPONSIVE] if lasted_s >= closure.unresponsive_s - SLACK_S else []
        certain = rungs[-1:] if _clear_of_rungs(lasted_s, policy) else rungs[-2:]
        due_s = start_s + closure.microsleep_log_s
        return Expected(f"eyes closed {lasted_s:.1f} s", tuple(certain), start_s, end_s, due_s)
    if kind in ("look_away", "look_down") and lasted_s >= policy.distraction.long.nominal_s + 0.5:
        due_s = start_s + policy.distraction.long.nominal_s
        return Expected(f"looks away {lasted_s:.1f} s", (Kind.DISTRACTION,), start_s, end_s, due_s)
    if kind == "absent" and lasted_s >= policy.absence.after_s + 1:
        due_s = start_s + policy.absence.after_s
        return Expected(f"leaves {lasted_s:.1f} s", (Kind.ABSENT,), start_s, end_s, due_s)
    cause = IMPAIRED.get(kind, "")
    if cause and lasted_s > getattr(policy.degraded.after_s, cause) + 2.5:
        due_s = start_s + policy.degraded.notify_within_s
        return Expected(f"{kind} {lasted_s:.1f} s", (Kind.DEGRADED,), start_s, end_s, due_s, cause)
    return None


def _clear_of_rungs(lasted_s: float, policy: Policy) -> bool:
    rungs = (policy.closure.sleep_s, policy.closure.unresponsive_s)
    return all(abs(lasted_s - rung) > SLACK_S for rung in rungs)


def expected_of(clip: ClipTruth, policy: Policy) -> list[Expected]:
    """What `policy` should raise on a clip. A closure may climb as far as it will."""
    if clip.animated:
        called_for = expectations(clip.intervals, policy)
        families = {k: CLOSURES if k in CLOSURES else (k,) for k in Kind}
        return [
            Expected(e.name, families[e.kinds[0]], e.start_s, e.end_s, e.due_s, e.cause)
            for e in called_for
        ]
    expected = []
    for name, from_s, to_s in clip.expected:
        kinds = _NAMED.get(name) or (Kind(name),)
        after_s = policy.closure.microsleep_log_s if name == "closure" else 0.0
        if Kind.DISTRACTION in kinds:
            after_s = policy.distraction.long.nominal_s
        expected.append(
            Expected(f"{name} {to_s - from_s:.1f} s", kinds, from_s, to_s, from_s + after_s)
        )
    return expected


# --- how they compare --------------------------------------------------------------------------


def score(truth: Sequence[TruthInterval], events: Sequence[Event], policy: Policy) -> Score:
    """Match the alerts of a drive with what its script called for, kind by kind.

    Context that follows from a scripted cause is no false alarm: a long closure raises PERCLOS, an
    absent or impaired driver's watch is degraded, yawns are counted.
    """
    left = alerts_of(events)
    matches: list[tuple[Expected, Event | None]] = []
    for expected in expectations(truth, policy):
        match = next((alert for alert in left if _meets(alert, expected)), None)
        if match is not None:
            left.remove(match)
        matches.append((expected, match.tellings[0] if match else None))
    return Score(matches, [alert for alert in left if not _follows(alert.last, truth)])


def _meets(alert: AlertHistory, expected: Expected) -> bool:
    first, last = alert.tellings[0], alert.last
    overlaps = first.at_s <= expected.end_s + AFTERWARDS_S and last.at_s >= expected.start_s
    highest = max(alert.tellings, key=lambda e: (e.level, e.phase is Phase.END))
    right = highest.kind in expected.kinds
    return overlaps and right and expected.cause in ("", last.cause)


def _follows(event: Event, truth: Sequence[TruthInterval]) -> bool:
    """The event is what a scripted interval leads to beside its own alert."""
    leads_to = {
        Kind.DROWSY: ("closed", "yawn"),
        Kind.YAWNING: ("yawn",),
        Kind.DEGRADED: ("absent", "dark", "glare", "frozen", "noise", "second_face", "nod"),
        Kind.DISTRACTION: ("look_away", "look_down", "nod"),
    }.get(event.kind, ())
    # PERCLOS looks back over its window; everything else happens where it is caused.
    reach_s = 180.0 if event.kind is Kind.DROWSY else 3.0
    return any(
        interval.kind in leads_to
        and event.started_s <= interval.end_s + reach_s
        and event.at_s >= interval.start_s
        for interval in truth
    )


@dataclass(frozen=True, slots=True)
class ClipScore:
    """One clip: what was called for, found, and raised without cause.

    Attributes:
        clip: its truth.
        matches: each expected closure or distraction with the first telling in its time, or None.
        false: alerts of closures without a closure, and whatever must not be raised.
        raised: how often each kind was raised.
    """

    clip: ClipTruth
    matches: list[tuple[Expected, Event | None]]
    false: list[AlertHistory]
    raised: dict[Kind, int] = field(default_factory=dict)

    @property
    def fails(self) -> bool:
        """Something was missed, or raised without cause at a level that is sounded."""
        missed = any(event is None for _, event in self.matches)
        return missed or any(alert.level >= Level.WARNING for alert in self.false)

    def late_s(self, family: Kind) -> list[float]:
        """Seconds from when the policy wanted each alert of a family to when it came."""
        return [
            event.at_s - expected.due_s
            for expected, event in self.matches
            if event is not None
            and KINDS[expected.kinds[0]].track == KINDS[family].track
            and event.started_s >= expected.start_s - AFTERWARDS_S
        ]


def score_clip(clip: ClipTruth, events: Sequence[Event], policy: Policy) -> ClipScore:
    """Compare a clip's alerts with its truth; event times are seconds of the clip.

    A closure alert that meets nothing expected is false wherever it stands; a distraction is false
    where nobody looks away, and tolerated where the truth names a look away that is too short.
    """
    alerts = alerts_of(events)
    expected = [e for e in expected_of(clip, policy) if e.kinds[0] is not Kind.DEGRADED]
    matches = [(e, _first_telling(alerts, e)) for e in expected]
    false = [alert for alert in alerts if _is_false(alert, clip, expected)]
    raised: dict[Kind, int] = {}
    for alert in alerts:
        kind = max(alert.tellings, key=lambda e: e.level).kind
        raised[kind] = raised.get(kind, 0) + 1
    return ClipScore(clip, matches, false, raised)


def _first_telling(alerts: Sequence[AlertHistory], expected: Expected) -> Event | None:
    for alert in alerts:
        if not alert.kinds & set(expected.kinds):
            continue
        for event in alert.tellings:
            in_time = expected.start_s <= event.at_s <= expected.end_s + AFTERWARDS_S
            if in_time and event.phase is not Phase.END:
                return event
    return None


_AWAY = ("turned", "lowered", "look_away", "look_down", "nod", "tilt")


def _is_false(alert: AlertHistory, clip: ClipTruth, expected: Sequence[Expected]) -> bool:
    if alert.kinds & clip.must_not:
        return True
    start_s, end_s = alert.tellings[0].started_s, alert.last.at_s
    met = any(
        alert.kinds & set(e.kinds)
        and start_s <= e.end_s + AFTERWARDS_S
        and end_s >= e.start_s - SLACK_S
        for e in expected
    )
    if met or alert.kinds & clip.may:
        return False
    if alert.kinds & set(CLOSURES):
        return True
    if Kind.DISTRACTION in alert.kinds:
        return not any(
            i.kind in _AWAY and start_s <= i.end_s and end_s >= i.start_s for i in clip.intervals
        )
    return False
