"""What a drive came to, in a few lines when it is over: time, alerts, and where to look further."""

from collections import Counter, defaultdict

from monitor.addresses import redacted
from monitor.config import Config, state_dir
from monitor.sinks.base import Sink, Step
from monitor.types import Event


class SummarySink(Sink):
    """Adds up the monitored time of each camera and the alerts by kind."""

    name = "summary"

    def __init__(self) -> None:
        self._first_s: dict[str, float] = {}
        self._last_s: dict[str, float] = {}
        self._monitored_s: defaultdict[str, float] = defaultdict(float)
        self._alerts: dict[str, str] = {}

    def on_step(self, step: Step) -> None:
        """Count the time since the frame before, monitored or not."""
        camera, now_s = step.frame.camera, step.observation.timestamp_s
        self._first_s.setdefault(camera, now_s)
        if step.state.monitored:
            self._monitored_s[camera] += now_s - self._last_s.get(camera, now_s)
        self._last_s[camera] = now_s

    def on_event(self, event: Event) -> None:
        """Keep what each alert came to: a microsleep may have become a sleep."""
        self._alerts[event.id] = event.kind.value

    def lines(self, config: Config) -> list[str]:
        """The summary of a drive with this configuration; call it when the drive is over."""
        watched = [self._time(camera) for camera in self._last_s] or ["no frame came"]
        counts = Counter(self._alerts.values()).most_common()
        alerts = ", ".join(f"{count} {kind}" for kind, count in counts) or "none"
        places = [("event log", redacted(config.store.resolved_url()))]
        for name, part in (("traces", config.trace), ("clips", config.clips)):
            places += [(name, str(part.folder or state_dir() / name))] if part.enabled else []
        return [
            *watched,
            f"alerts: {alerts}",
            *(f"{name}: {place}" for name, place in places),
        ]

    def _time(self, camera: str) -> str:
        lasted_s = self._last_s[camera] - self._first_s[camera]
        monitored_s = self._monitored_s[camera]
        share = f" ({monitored_s / lasted_s:.0%})" if lasted_s > 0 else ""
        whose = f"camera {camera}: " if len(self._last_s) > 1 else ""
        return f"{whose}{clock(lasted_s)} watched, {clock(monitored_s)} monitored{share}"


def clock(seconds: float) -> str:
    """A length of time as people read it: `41 s`, `2 min 05 s`, `1 h 12 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
