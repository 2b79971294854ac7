"""How it looks: colours of the levels, small pieces of HTML, words for numbers and times.

Whatever comes from outside (names, notes, evidence) passes `escape` before it becomes HTML.
"""

import html
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from dashboard.components import terms
from monitor.types import CAUSES, Kind, Level

# Blue, orange and crimson: no red against green, yellow against blue, yellow against red or red
# against violet (EU 2021/1341, 3.4.3). Each level also has its word and its mark.
_LIGHT: Final = {
    Level.NONE: "#2f72ad",
    Level.INFO: "#8aa6c1",
    Level.CAUTION: "#e2a262",
    Level.WARNING: "#cf5a12",
    Level.CRITICAL: "#a3172d",
}
_DARK: Final = {
    Level.NONE: "#78b3e8",
    Level.INFO: "#5c7f9f",
    Level.CAUTION: "#ffc56e",
    Level.WARNING: "#ff8a3c",
    Level.CRITICAL: "#ff4f64",
}
LEVEL_WORDS: Final = {
    Level.NONE: "attentive",
    Level.INFO: "info",
    Level.CAUTION: "caution",
    Level.WARNING: "warning",
    Level.CRITICAL: "critical",
}
LEVEL_ICONS: Final = {
    Level.NONE: ":material/check_circle:",
    Level.INFO: ":material/info:",
    Level.CAUTION: ":material/change_history:",
    Level.WARNING: ":material/warning:",
    Level.CRITICAL: ":material/dangerous:",
}
KIND_WORDS: Final = {kind.value: kind.words for kind in Kind}
CAUSE_WORDS: Final = {
    "monitored": "monitored",
    **{cause.value: spec.words for cause, spec in CAUSES.items()},
}


def dark() -> bool:
    """Whether the reader sees the dark theme."""
    return getattr(st.context.theme, "type", None) == "dark"


def level_colors() -> dict[Level, str]:
    """Each level's colour on the reader's background."""
    return _DARK if dark() else _LIGHT


def ink() -> dict[str, str]:
    """Text, muted text, lines, the accent and the 'unknown' grey on the reader's background."""
    if dark():
        return {
            "text": "#e4eaf1",
            "muted": "#93a0af",
            "line": "#2a3644",
            "accent": "#78b3e8",
            "unknown": "#4a5665",
            "panel": "#18212c",
            "back": "#0f151d",
        }
    return {
        "text": "#17212e",
        "muted": "#66717f",
        "line": "#dfe4ea",
        "accent": "#2f72ad",
        "unknown": "#c3cad3",
        "panel": "#f3f5f8",
        "back": "#ffffff",
    }


def escape(value: Any) -> str:
    """Text that may stand in HTML, in an attribute too."""
    return html.escape(str(value), quote=True)


def plain(value: Any) -> str:
    """Text that may stand in markdown: none of it is a link, a picture or emphasis."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]()#+-.!<>|~$:" else sign for sign in str(value))


@st.cache_data
def _stylesheet() -> str:
    return (Path(__file__).parents[1] / "static" / "wakeful.css").read_text(encoding="utf-8")


def style() -> None:
    """The stylesheet of the page's own pieces; called once a run, before anything is drawn."""
    colors, tone = level_colors(), ink()
    names = {"--wk-" + LEVEL_WORDS[level]: color for level, color in colors.items()}
    names |= {f"--wk-{name}": color for name, color in tone.items()}
    names["--wk-on-level"] = tone["back"] if dark() else "#ffffff"
    variables = ";".join(f"{name}:{value}" for name, value in names.items())
    st.html(f"<style>:root{{{variables}}}{_stylesheet()}</style>")


def pill(text: str, level: Level | None) -> str:
    """A level as a word on its colour; None is the hatched grey of what is not known."""
    name = "unknown" if level is None else LEVEL_WORDS[level]
    return f'<span class="wk-pill wk-{name}">{escape(text)}</span>'


def tile(label: str, value: str, note: str = "", level: Level | None = None) -> str:
    """A number that matters with its label; `level` colours its edge when it calls for action."""
    edge = f" wk-edge-{LEVEL_WORDS[level]}" if level is not None else ""
    return (
        f'<div class="wk-tile{edge}"><div class="wk-label">{_term(label)}</div>'
        f'<div class="wk-value">{escape(value)}</div>'
        f'<div class="wk-note">{escape(note)}</div></div>'
    )


def tiles(*pieces: str) -> None:
    """A row of tiles that wraps on a narrow screen."""
    st.html(f'<div class="wk-tiles">{"".join(pieces)}</div>')


def heading(title: str, line: str = "") -> None:
    """The page's name and what it answers."""
    st.html(
        f'<div class="wk-head"><h1>{escape(title)}</h1><p class="wk-lead">{escape(line)}</p></div>'
    )


def section(title: str) -> None:
    """A part's heading, which explains itself where it is no everyday word."""
    st.markdown(f"##### {plain(title)}", help=terms.about(title))


def facts(pairs: list[tuple[str, str]]) -> str:
    """Names and values in a compact grid."""
    cells = "".join(
        f'<div class="wk-fact">{_term(name)}<b>{escape(value)}</b></div>' for name, value in pairs
    )
    return f'<div class="wk-facts">{cells}</div>'


def term(name: str) -> str | None:
    """What a heading means, for its tooltip; None where it is an everyday word."""
    return terms.about(name)


def _term(name: str) -> str:
    """A heading that explains itself to whoever points at it."""
    meaning = terms.about(name)
    if meaning is None:
        return f"<span>{escape(name)}</span>"
    return f'<span class="wk-term" tabindex="0" title="{escape(meaning)}">{escape(name)}</span>'


def nothing(title: str, cure: str, command: str | None = None) -> None:
    """An empty or broken page that says what to do next."""
    st.html(
        f'<div class="wk-empty"><h3>{escape(title)}</h3><p>{escape(cure)}</p></div>',
    )
    if command:
        st.code(command, language="bash")


def kind_word(kind: str | None) -> str:
    """A kind of alert as people say it."""
    return KIND_WORDS.get(kind or "", kind or "")


def cause_word(cause: str) -> str:
    """A cause as people say it."""
    return CAUSE_WORDS.get(cause, cause.replace("_", " "))


def zone() -> ZoneInfo:
    """The reader's own time zone, as the browser tells it."""
    try:
        return ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def clock(at: float | None, *, seconds: bool = True) -> str:
    """Epoch seconds as the reader's local time."""
    if at is None:
        return "-"
    pattern = "%d %b %Y %H:%M:%S" if seconds else "%d %b %Y %H:%M"
    return datetime.fromtimestamp(at, zone()).strftime(pattern)


def ago(seconds: float) -> str:
    """A length of time since, in the one unit that says it."""
    if seconds < 1.5:
        return "just now"
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name} ago"
    return f"{seconds / 86_400:.0f} days ago"


def lasting(seconds: float | None) -> str:
    """A duration in the units that say it."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def number(value: float | None, digits: int = 0, unit: str = "") -> str:
    """A number with thousands set apart; a dash for what is not known."""
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return "-"
    return f"{value:,.{digits}f}{unit}"


def share(value: float | None, digits: int = 0) -> str:
    """0..1 as a percentage; a dash for what is not known."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def position(latitude: float | None, longitude: float | None) -> str:
    """Degrees north and east; a dash for what is not known."""
    if latitude is None or longitude is None:
        return "-"
    return f"{latitude:.3f}°, {longitude:.3f}°"


def size(count: float | None) -> str:
    """Bytes in the unit that says it."""
    if count is None:
        return "-"
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return ""
