"""A clip as a picture: the truth above, what was measured below, and the alerts."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from monitor.evaluation import Run
from monitor.scoring import alerts_of
from monitor.types import DriverState, Eyes, Level

# Colours that people with any colour vision tell apart (Okabe and Ito).
_TRUTH = {
    "closed": "#D55E00", "lowered": "#E69F00", "look_down": "#E69F00", "turned": "#56B4E9",
    "look_away": "#56B4E9", "yawn": "#CC79A7", "laugh": "#CC79A7", "half": "#F0E442",
    "squint": "#F0E442",
}  # fmt: skip
_ELSE = "#BBBBBB"
_EYES = {Eyes.OPEN: "#009E73", Eyes.CLOSED: "#D55E00", Eyes.UNKNOWN: "#DDDDDD"}
_LEVELS = {
    Level.INFO: "#999999", Level.CAUTION: "#E69F00", Level.WARNING: "#D55E00",
    Level.CRITICAL: "#000000",
}  # fmt: skip


def draw_timeline(run: Run, path: Path) -> None:
    """Write the timeline of a clip as a PNG.

    Raises:
        OSError: it cannot be written there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(12, 6), layout="constrained")
    FigureCanvasAgg(figure)
    truth, eyes, lids, pose, alerts = figure.subplots(
        5, 1, sharex=True, height_ratios=(1, 0.4, 2, 1.6, 1)
    )
    truth.set_title(run.score.clip.name, loc="left")
    _truth_rows(truth, run)
    _ribbon(eyes, run.states)
    _measures(lids, run)
    _curve(pose, run.states, "yaw, °", lambda s: s.pose.yaw_deg if s.pose else None)
    _curve(pose, run.states, "pitch, °", lambda s: s.pose.pitch_deg if s.pose else None)
    pose.legend(loc="upper right", fontsize=7)
    _alert_rows(alerts, run)
    alerts.set_xlabel("seconds")
    figure.savefig(path, dpi=90)


def _truth_rows(axes: Axes, run: Run) -> None:
    kinds = list(dict.fromkeys(i.kind for i in run.score.clip.intervals))
    for interval in run.score.clip.intervals:
        row = kinds.index(interval.kind)
        axes.barh(
            row, interval.end_s - interval.start_s, left=interval.start_s, height=0.8,
            color=_TRUTH.get(interval.kind, _ELSE),
        )  # fmt: skip
    axes.set_yticks(range(len(kinds)), kinds, fontsize=7)


def _ribbon(axes: Axes, states: Iterable[DriverState]) -> None:
    states = list(states)
    for now, then in pairwise(states):
        axes.axvspan(now.timestamp_s, then.timestamp_s, color=_EYES[now.eyes], lw=0)
    axes.set_yticks([0.5], ["eyes"], fontsize=7)


def _measures(axes: Axes, run: Run) -> None:
    _curve(axes, run.states, "openness", lambda s: s.openness)
    times = [o.timestamp_s for o in run.observations]
    detected = [
        o.detection.sleep / max(o.detection.sleep + o.detection.awake, 1e-6)
        if o.detection else None
        for o in run.observations
    ]  # fmt: skip
    axes.plot(times, _gaps(detected), label="detector: sleep", lw=1, color="#0072B2")
    axes.set_ylim(-0.05, 1.25)
    axes.legend(loc="upper right", fontsize=7)


def _curve(
    axes: Axes,
    states: Iterable[DriverState],
    label: str,
    value: Callable[[DriverState], float | None],
) -> None:
    states = list(states)
    axes.plot([s.timestamp_s for s in states], _gaps(map(value, states)), label=label, lw=1)


def _gaps(values: Iterable[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _alert_rows(axes: Axes, run: Run) -> None:
    alerts = alerts_of(run.events)
    for row, alert in enumerate(alerts):
        for event, later in pairwise(alert.tellings):
            axes.barh(
                row,
                later.at_s - event.at_s,
                left=event.at_s,
                color=_LEVELS[event.level],
                height=0.8,
            )
    axes.set_yticks(range(len(alerts)), [alert.last.kind.value for alert in alerts], fontsize=7)
