"""The state and the alerts as a live table in the terminal."""

import time
from collections import deque
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from monitor.sinks.base import Sink, Step
from monitor.types import DriverState, Event, Eyes, Level, Observation, Phase
from monitor.types.evidence import (
    AbsenceEvidence,
    ClosureEvidence,
    DegradedEvidence,
    DistractionEvidence,
    PerclosEvidence,
    RuleEvidence,
    YawnEvidence,
)

STYLES: dict[Level, str] = {
    Level.NONE: "bold white",
    Level.INFO: "bold bright_blue",
    Level.CAUTION: "bold dark_orange",
    Level.WARNING: "bold white on dark_orange3",
    Level.CRITICAL: "bold white on deep_pink4",
}
PHASE_WORDS = {Phase.START: "raised", Phase.UPDATE: "now", Phase.END: "over"}
# The eye takes in no more; the loop has better things to do.
REFRESH_S = 0.15
SHOWN_ALERTS = 12


class ConsoleSink(Sink):
    """A sink that draws itself: one table of the driver's state, one of the latest alerts.

    Args:
        console: where to draw.
        fps: the rate of a camera's loop, shown beside its state.
        length_s: how long the source is, for a progress bar; None where nobody knows.
    """

    name = "console"

    def __init__(
        self,
        console: Console,
        fps: Callable[[str], float | None] = lambda _: None,
        length_s: float | None = None,
    ) -> None:
        self._fps = fps
        self._length_s = length_s
        self._alerts: deque[Event] = deque(maxlen=SHOWN_ALERTS)
        self._drawn_s = float("-inf")
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._began_s: float | None = None
        self._latest: dict[str, tuple[Observation, DriverState]] = {}

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()

    def on_step(self, step: Step) -> None:
        """Redraw a few times a second; of several cameras, the one with the most urgent state."""
        if self._began_s is None:
            self._began_s = step.observation.timestamp_s
        self._latest[step.frame.camera] = (step.observation, step.state)
        now_s = time.monotonic()
        if now_s - self._drawn_s >= REFRESH_S:
            self._drawn_s = now_s
            latest = list(self._latest.items())
            camera, (observation, state) = max(latest, key=lambda item: item[1][1].level)
            self._live.update(self._draw(camera, observation, state), refresh=True)

    def on_event(self, event: Event) -> None:
        """Keep the alert for the table; an update replaces its last line."""
        if event.phase is Phase.UPDATE and self._alerts and self._alerts[-1].id == event.id:
            self._alerts.pop()
        self._alerts.append(event)

    def close(self) -> None:
        """Leave the last picture standing."""
        self._live.stop()

    def _draw(self, camera: str, observation: Observation, state: DriverState) -> Group:
        parts: list[Panel | ProgressBar] = [
            self._state_panel(camera, observation, state),
            self._alert_panel(),
        ]
        if self._length_s and self._began_s is not None:
            seen_s = observation.timestamp_s - self._began_s
            parts.append(ProgressBar(total=self._length_s, completed=min(seen_s, self._length_s)))
        return Group(*parts)

    def _since_begin(self, timestamp_s: float) -> str:
        """Since the first frame: a camera's own clock counts from the machine's boot."""
        return f"{timestamp_s - (self._began_s or 0.0):.1f} s"

    def _state_panel(self, camera: str, observation: Observation, state: DriverState) -> Panel:
        table = Table.grid(padding=(0, 2))
        for _ in range(4):
            table.add_column(min_width=16)
        pose, calibration = state.pose, state.calibration
        table.add_row(
            f"eyes     {_eyes(state.eyes)}",
            f"openness {_number(state.openness)}",
            f"closed   {state.closure_s:.1f} s",
            f"PERCLOS  {_number(state.perclos)}",
        )
        table.add_row(
            "yaw      " + ("-" if pose is None else f"{pose.yaw_deg:+.0f}°"),
            "pitch    " + ("-" if pose is None else f"{pose.pitch_deg:+.0f}°"),
            f"emotion  {state.emotion or '-'}",
            f"fps      {_number(self._fps(camera), 0)}",
        )
        table.add_row(
            "baseline " + ("-" if calibration is None else f"{calibration.progress:.0%}"),
            f"seen     {state.coverage:.0%}",
            f"speed    {_number(state.speed_kmh, 0)}",
            f"t        {self._since_begin(observation.timestamp_s)}",
        )
        style = STYLES[state.level]
        whose = f"{camera} · " if len(self._latest) > 1 else ""
        title = Text(f" {whose}{headline(state)} ", style=style)
        return Panel(table, title=title, title_align="left")

    def _alert_panel(self) -> Panel:
        table = Table(box=None, padding=(0, 2, 0, 0), expand=True)
        several = len(self._latest) > 1
        for heading in ("at", *(["camera"] if several else []), "alert", "level", "", "lasted"):
            table.add_column(heading, no_wrap=True)
        table.add_column("why", no_wrap=True, overflow="ellipsis", ratio=1)
        for event in self._alerts:
            table.add_row(
                self._since_begin(event.at_s),
                *([event.camera] if several else []),
                event.kind.value,
                Text(event.level.name.lower(), style=STYLES[event.level]),
                PHASE_WORDS[event.phase],
                f"{event.duration_s:.1f} s",
                why(event.evidence),
            )
        return Panel(table, title=" alerts ", title_align="left")


def headline(state: DriverState) -> str:
    """The state in a few words; an impaired watch never reads like a calm one."""
    if state.kind is not None:
        return f"{state.kind.value.upper()} · {state.level.name.lower()}"
    if state.degraded:
        return "NOT WATCHED · " + ", ".join(
            cause.value.replace("_", " ") for cause in state.degraded
        )
    return "attentive"


def why(evidence: RuleEvidence) -> str:
    """What was seen, in a few words that fit a column."""
    match evidence:
        case ClosureEvidence():
            words = f"eyes closed {evidence.closed_s:.1f} s" + (", head nods" * evidence.nod)
        case PerclosEvidence(perclos=None):
            words = "eyes closed too much of the time"
        case PerclosEvidence():
            words = f"eyes closed {evidence.perclos:.0%} of {evidence.window_s:.0f} s"
        case DistractionEvidence():
            several = " in several looks" if evidence.limit == "vats" else ""
            words = f"eyes off the road {evidence.away_s:.1f} s{several}"
        case YawnEvidence():
            words = f"mouth wide open {evidence.open_s:.1f} s"
        case AbsenceEvidence():
            words = f"driver not seen {evidence.gone_s:.1f} s"
        case DegradedEvidence():
            words = evidence.cause.value.replace("_", " ")
        case _:
            words = ""
    return words


def _eyes(eyes: Eyes) -> str:
    return {Eyes.OPEN: "open", Eyes.CLOSED: "[bold]CLOSED[/]", Eyes.UNKNOWN: "not seen"}[eyes]


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
