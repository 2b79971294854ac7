"""How it looks: colours of the levels, small pieces of HTML, words for numbers and times.

Whatever comes from outside (names, notes, evidence) passes `escape` before it becomes HTML.
"""

import html
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from monitor.types import Level

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
    Level.CAUTION: "#d9a066",
    Level.WARNING: "#ff944d",
    Level.CRITICAL: "#ff6b74",
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
KIND_WORDS: Final = {
    "drowsy": "Drowsy",
    "microsleep": "Microsleep",
    "sleep": "Sleep",
    "unresponsive": "Unresponsive",
    "distraction": "Distraction",
    "yawning": "Yawning",
    "absent": "Driver absent",
    "degraded": "Watch impaired",
}
CAUSE_WORDS: Final = {
    "monitored": "monitored",
    "camera_lost": "camera lost",
    "camera_frozen": "camera frozen",
    "obscured": "camera covered",
    "low_light": "too dark",
    "glare": "glare",
    "low_fps": "too few frames",
    "no_face": "no face in view",
    "eyes_not_visible": "eyes not visible",
    "multiple_faces": "several faces",
    "uncalibrated": "still calibrating",
    "model_error": "a model failed",
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


def style() -> None:
    """The stylesheet of the page's own pieces; called once a run, before anything is drawn."""
    colors, tone = level_colors(), ink()
    names = {"--wk-" + LEVEL_WORDS[level]: color for level, color in colors.items()}
    names |= {f"--wk-{name}": color for name, color in tone.items()}
    names["--wk-on-level"] = tone["back"] if dark() else "#ffffff"
    variables = ";".join(f"{name}:{value}" for name, value in names.items())
    st.html(f"<style>:root{{{variables}}}{_CSS}</style>")


def pill(text: str, level: Level | None) -> str:
    """A level as a word on its colour; None is the hatched grey of what is not known."""
    name = "unknown" if level is None else LEVEL_WORDS[level]
    return f'<span class="wk-pill wk-{name}">{escape(text)}</span>'


def tile(label: str, value: str, note: str = "", level: Level | None = None) -> str:
    """A number that matters with its label; `level` colours its edge when it calls for action."""
    edge = f" wk-edge-{LEVEL_WORDS[level]}" if level is not None else ""
    return (
        f'<div class="wk-tile{edge}"><div class="wk-label">{escape(label)}</div>'
        f'<div class="wk-value">{escape(value)}</div>'
        f'<div class="wk-note">{escape(note)}</div></div>'
    )


def tiles(*pieces: str) -> None:
    """A row of tiles that wraps on a narrow screen."""
    st.html(f'<div class="wk-tiles">{"".join(pieces)}</div>')


def heading(title: str, line: str = "") -> None:
    """The page's name and what it answers."""
    st.html(
        f'<div class="wk-head"><h1>{escape(title)}</h1>'
        f'<p class="wk-lead">{escape(line)}</p></div>'
    )


def facts(pairs: list[tuple[str, str]]) -> str:
    """Names and values in a compact grid."""
    cells = "".join(
        f'<div class="wk-fact"><span>{escape(name)}</span><b>{escape(value)}</b></div>'
        for name, value in pairs
    )
    return f'<div class="wk-facts">{cells}</div>'


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


def size(count: float | None) -> str:
    """Bytes in the unit that says it."""
    if count is None:
        return "-"
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return ""


_CSS: Final = """
.block-container,[data-testid="stMainBlockContainer"]{padding-top:3.6rem;padding-bottom:3rem;max-width:1320px}
.wk-head{display:flex;align-items:baseline;gap:.9rem;flex-wrap:wrap;margin:.2rem 0 .1rem}
.wk-head h1{font-size:1.75rem;font-weight:650;letter-spacing:-.015em;margin:0;padding:0;color:var(--wk-text)}
.wk-lead{color:var(--wk-muted);margin:0;font-size:.98rem}
.wk-tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.2rem,1fr));gap:.7rem;margin:.2rem 0 .4rem}
.wk-tile{background:var(--wk-panel);border-radius:.6rem;padding:.75rem .95rem;border-left:4px solid transparent}
.wk-label{color:var(--wk-muted);font-size:.83rem}
.wk-value{font-size:1.7rem;font-weight:620;line-height:1.25;letter-spacing:-.01em;color:var(--wk-text);font-variant-numeric:tabular-nums}
.wk-note{color:var(--wk-muted);font-size:.83rem;min-height:1.1em}
.wk-edge-attentive{border-left-color:var(--wk-attentive)}
.wk-edge-info{border-left-color:var(--wk-info)}
.wk-edge-caution{border-left-color:var(--wk-caution)}
.wk-edge-warning{border-left-color:var(--wk-warning)}
.wk-edge-critical{border-left-color:var(--wk-critical)}
.wk-pill{display:inline-block;border-radius:999px;padding:.1rem .62rem;font-size:.82rem;font-weight:620;white-space:nowrap;color:var(--wk-on-level)}
.wk-pill.wk-attentive{background:var(--wk-attentive)}
.wk-pill.wk-info{background:var(--wk-info)}
.wk-pill.wk-caution{background:var(--wk-caution);color:#2b1a07}
.wk-pill.wk-warning{background:var(--wk-warning)}
.wk-pill.wk-critical{background:var(--wk-critical)}
.wk-pill.wk-unknown{color:var(--wk-text);background:repeating-linear-gradient(135deg,var(--wk-unknown) 0 5px,transparent 5px 10px);border:1px dashed var(--wk-muted)}
.wk-facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.6rem,1fr));gap:.35rem 1.2rem}
.wk-fact{display:flex;flex-direction:column;border-top:1px solid var(--wk-line);padding:.3rem 0}
.wk-fact span{color:var(--wk-muted);font-size:.8rem}
.wk-fact b{font-weight:560;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.wk-card{border:1px solid var(--wk-line);border-left:5px solid var(--wk-line);border-radius:.6rem;padding:.7rem .9rem;height:100%}
.wk-card.wk-c-critical{border-left-color:var(--wk-critical)}
.wk-card.wk-c-warning{border-left-color:var(--wk-warning)}
.wk-card.wk-c-caution{border-left-color:var(--wk-caution)}
.wk-card.wk-c-attentive,.wk-card.wk-c-info{border-left-color:var(--wk-attentive)}
.wk-card.wk-c-unknown{border-style:dashed;border-left-color:var(--wk-muted)}
.wk-card-top{display:flex;justify-content:space-between;align-items:center;gap:.6rem;margin-bottom:.3rem}
.wk-card-top b{font-size:1.05rem;overflow-wrap:anywhere}
.wk-card p{margin:.1rem 0;color:var(--wk-muted);font-size:.88rem}
.wk-empty{border:1px dashed var(--wk-line);border-radius:.7rem;padding:1.6rem 1.4rem;margin-top:.6rem;text-align:center}
.wk-empty h3{margin:0 0 .3rem;padding:0;font-size:1.12rem;font-weight:620}
.wk-empty p{margin:0;color:var(--wk-muted);max-width:46rem;margin-inline:auto}
.wk-hero{display:flex;align-items:center;gap:1rem;flex-wrap:wrap;border-radius:.7rem;padding:.9rem 1.1rem;background:var(--wk-panel);border-left:7px solid var(--wk-line)}
.wk-hero h2{font-size:1.45rem;font-weight:650;margin:0;padding:0}
.wk-hero p{margin:0;color:var(--wk-muted)}
.wk-hero.wk-c-critical{border-left-color:var(--wk-critical)}
.wk-hero.wk-c-warning{border-left-color:var(--wk-warning)}
.wk-hero.wk-c-caution{border-left-color:var(--wk-caution)}
.wk-hero.wk-c-attentive,.wk-hero.wk-c-info{border-left-color:var(--wk-attentive)}
.wk-hero.wk-c-unknown{background:repeating-linear-gradient(135deg,var(--wk-panel) 0 9px,transparent 9px 18px);border:1px dashed var(--wk-muted);border-left:7px solid var(--wk-muted)}
.wk-legend{display:flex;gap:.5rem;flex-wrap:wrap;font-size:.83rem;color:var(--wk-muted)}
.wk-foot{color:var(--wk-muted);font-size:.8rem;margin-top:1.4rem;border-top:1px solid var(--wk-line);padding-top:.5rem;overflow-wrap:anywhere}
.wk-story{font-size:1.02rem;line-height:1.55;margin:.2rem 0 .6rem}
[data-testid="stElementToolbar"]{opacity:.85}
@media (max-width:640px){
 [data-testid="stMainBlockContainer"]{padding-left:.9rem;padding-right:.9rem}
 .wk-tiles{grid-template-columns:repeat(2,minmax(0,1fr));gap:.5rem}
 .wk-value{font-size:1.35rem}
 .wk-tile{padding:.6rem .7rem}
 .wk-facts{grid-template-columns:repeat(2,minmax(0,1fr))}
}
"""
