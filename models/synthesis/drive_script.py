"""Read a drive script, text or YAML, into checked parts; `synthesis.drive` gives them their time.

Every fault is one line: the place, what is wrong, the nearest right word.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import yaml

LONGEST_S = 86_400.0
BLINK_S = 0.2


class DriveError(ValueError):
    """A drive script is wrong; one line names the place, the fault and the cure."""


@dataclass(frozen=True, slots=True)
class SegmentWord:
    """A kind of segment: its defaults, and the limits of each parameter."""

    seconds: float
    ramp: float
    parameters: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)


def _share(default: float) -> tuple[float, float, float]:
    return default, 0.0, 1.0


# Each parameter: default, least, most.
WORDS: dict[str, SegmentWord] = {
    "attentive": SegmentWord(5.0, 0.0, {"blinks": (10.0, 0.0, 60.0)}),
    "blink": SegmentWord(BLINK_S, 0.1, {"depth": _share(1.0)}),
    "closed": SegmentWord(2.0, 0.2, {"depth": _share(1.0), "squint": _share(0.0)}),
    "yawn": SegmentWord(4.0, 1.0, {"depth": _share(0.9), "lids": _share(0.3)}),
    "nod": SegmentWord(2.0, 0.5, {"angle": (30.0, -30.0, 45.0)}),
    "look_away": SegmentWord(4.0, 0.4, {"angle": (38.0, -50.0, 50.0), "pitch": (0.0, -45.0, 30.0)}),
    "look_down": SegmentWord(
        3.0, 0.3, {"gaze": _share(1.0), "angle": (10.0, 0.0, 45.0), "lids": _share(0.0)}
    ),
    "tilt": SegmentWord(3.0, 0.6, {"angle": (15.0, -40.0, 40.0)}),
    "talk": SegmentWord(5.0, 0.3, {"depth": _share(0.35), "blinks": (10.0, 0.0, 60.0)}),
    "laugh": SegmentWord(
        2.0, 0.4, {"depth": _share(0.35), "lids": _share(0.3), "squint": _share(0.3)}
    ),
    "absent": SegmentWord(5.0, 1.0),
    "dark": SegmentWord(5.0, 0.3, {"depth": _share(1.0)}),
    "glare": SegmentWord(5.0, 0.3, {"depth": _share(1.0)}),
    "frozen": SegmentWord(4.0, 0.0),
    "noise": SegmentWord(4.0, 0.3, {"depth": _share(0.5)}),
    "second_face": SegmentWord(6.0, 0.6, {"blinks": (10.0, 0.0, 60.0)}),
}  # fmt: skip
_COMMON = ("seconds", "ramp", "at", "hold")


@dataclass(frozen=True, slots=True)
class Part:
    """A segment as written, before it has a place in time.

    Attributes:
        kind: a word of `WORDS`.
        seconds, ramp: how long it lasts, and how long it takes to come and to go.
        at: seconds after the start of its group.
        hold: it lasts until the next `attentive`.
        parameters: by name, defaults filled in.
    """

    kind: str
    seconds: float
    ramp: float
    at: float
    hold: bool
    parameters: Mapping[str, float]


def read_script(script: str) -> tuple[int | None, list[list[Part]]]:
    """The script's own seed (None if it has none) and its groups; a group's parts begin together.

    Raises:
        DriveError: a fault, in one line.
    """
    return _yaml_groups(script) if _looks_like_yaml(script) else (None, _text_groups(script))


def _looks_like_yaml(script: str) -> bool:
    bare = re.sub(r"#.*", "", script).lstrip()
    return bare.startswith(("-", "[", "{")) or re.match(r"\w+\s*:", bare) is not None


def _text_groups(script: str) -> list[list[Part]]:
    return [
        _text_group(item, f"line {number}")
        for number, line in enumerate(script.split("\n"), 1)
        for item in re.finditer(r"[^,;]+", line.split("#", 1)[0])
        if item[0].strip()
    ]


def _text_group(item: re.Match[str], line: str) -> list[Part]:
    parts, column = [], item.start()
    for piece in item[0].split("+"):
        at = column + len(piece) - len(piece.lstrip()) + 1
        parts.append(_text_part(piece.split(), f"drive script, {line}, column {at}"))
        column += len(piece) + 1
    return parts


def _text_part(words: list[str], where: str) -> Part:
    if not words:
        raise DriveError(f"{where}: `+` needs a segment on both sides, as `closed 4 + nod 2`")
    kind, *rest = words
    values: dict[object, object] = {}
    for word in rest:
        name, is_named, value = word.partition("=")
        if not is_named:
            name, value = ("hold", "true") if word == "hold" else ("seconds", word)
        if name in values:
            raise DriveError(f"{where}: `{kind}`: {name} is given twice; give it once")
        values[name] = value
    return _part(kind, values, where)


def _yaml_groups(script: str) -> tuple[int | None, list[list[Part]]]:
    document = _load_yaml(script)
    seed = None
    if isinstance(document, dict):
        _refuse_unknown(document, ("seed", "drive"), "drive script")
        seed, document = document.get("seed"), document.get("drive")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or seed < 0):
        raise DriveError(f"drive script: seed: must be a whole number from 0, got {seed!r:.40}")
    if not isinstance(document, list):
        raise DriveError("drive script: `drive` must be a list of segments, as `- closed: 2`")
    groups: list[list[Part]] = []
    for i, item in enumerate(document):
        groups.extend(_yaml_item(item, f"drive script, drive[{i}]"))
    return seed, groups


def _load_yaml(script: str) -> object:
    try:
        document: object = yaml.safe_load(script)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise DriveError(f"drive script{place}: broken YAML ({problem})") from None
    except RecursionError:
        raise DriveError("drive script: YAML nested too deeply; a drive is a flat list") from None
    return document


def _yaml_item(item: object, where: str) -> list[list[Part]]:
    if isinstance(item, str):
        try:
            return _text_groups(item)
        except DriveError as error:
            raise DriveError(str(error).replace("drive script", where, 1)) from None
    if not isinstance(item, dict) or not item:
        raise DriveError(f"{where}: must be a segment, as `closed: 2`, got {_short(item)}")
    return [[_part(str(kind), _values(given), where) for kind, given in item.items()]]


def _values(given: object) -> Mapping[object, object]:
    """What stands after a kind in YAML: nothing, its seconds, or a mapping."""
    if isinstance(given, dict):
        return given
    return {} if given is None else {"seconds": given}


def _part(kind: str, values: Mapping[object, object], where: str) -> Part:
    """Check a segment's words against `WORDS`."""
    if kind not in WORDS:
        raise DriveError(f"{where}: `{kind:.40}`: no such segment; {_nearest(kind, WORDS)}")
    word, where = WORDS[kind], f"{where}: `{kind}`"
    _refuse_unknown(values, (*_COMMON, *word.parameters), where)
    hold = values.get("hold", False)
    if hold not in (True, False, "true", "false"):
        raise DriveError(f"{where}: hold must be true or false, got {_short(hold)}")
    seconds = _number(values, "seconds", (word.seconds, 0.02, LONGEST_S), where)
    return Part(
        kind=kind,
        seconds=seconds,
        ramp=min(_number(values, "ramp", (word.ramp, 0.0, 60.0), where), seconds),
        at=_number(values, "at", (0.0, 0.0, LONGEST_S), where),
        hold=hold in (True, "true"),
        parameters={
            name: _number(values, name, limits, where) for name, limits in word.parameters.items()
        },
    )


def _number(
    values: Mapping[object, object], name: str, limits: tuple[float, float, float], where: str
) -> float:
    default, least, most = limits
    given = values.get(name, default)
    try:
        value = math.nan
        if isinstance(given, int | float | str) and not isinstance(given, bool):
            value = float(given)
    except (ValueError, OverflowError):
        value = math.nan
    if not least <= value <= most:
        raise DriveError(
            f"{where}: {name} must be a number from {least:g} to {most:g}, got {_short(given)}"
        )
    return value


def _refuse_unknown(values: Mapping[object, object], names: tuple[str, ...], where: str) -> None:
    for name in values:
        if name not in names:
            raise DriveError(f"{where}: {_short(name)}: no such parameter; {_nearest(name, names)}")


def _short(value: object) -> str:
    text = f"`{value}`" if isinstance(value, str) else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _nearest(word: object, words: Iterable[str]) -> str:
    names = list(words)
    near = difflib.get_close_matches(str(word)[:80], names, n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else f"known: {', '.join(names)}"
