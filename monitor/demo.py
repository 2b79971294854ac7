"""The demo: an animated driver, the whole real watch, and the score of what it found.

Nothing in here is staged: the drive is rendered, looked at, judged, logged and told over MQTT like
any other. Only the score knows the script, and only after the watch is over.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from rich.console import Console

from models.tables import narrow_table
from monitor.config import CameraConfig, Config, LogConfig, load, state_dir
from monitor.errors import ConfigError
from monitor.policy import load_policy
from monitor.scoring import Score, intervals_of, score
from monitor.sinks.base import Sink, Step
from monitor.sinks.window import draw
from monitor.types import Event, Image, Kind, Level, Phase

if TYPE_CHECKING:
    from models.synthesis.drive import Drive

# A drive that ends earlier than this before its script does was stopped.
END_S = 0.5


class SheetSink(Sink):
    """Keeps a drawn picture of the moments an alert was raised, for the contact sheet."""

    name = "contact sheet"

    def __init__(self, tile_px: int = 420, columns: int = 3) -> None:
        self._tile_px = tile_px
        self._columns = columns
        self._tiles: list[Image] = []
        self._due = False
        self._kept: set[tuple[str, Kind, Level]] = set()
        self._calm_at_s = 5.0

    def on_step(self, step: Step) -> None:
        """Draw the frame if an alert was just raised, and one calm frame at the beginning."""
        frame, observation = step.frame, step.observation
        calm = not self._tiles and observation.timestamp_s >= self._calm_at_s
        if frame.image is not None and (calm or self._due):
            drawn = draw(frame.image, observation, step.state)
            height = round(self._tile_px * drawn.shape[0] / drawn.shape[1])
            small = cv2.resize(drawn, (self._tile_px, height), interpolation=cv2.INTER_AREA)
            place = (self._tile_px - 80, height - 10)
            text = f"{observation.timestamp_s:.1f} s"
            cv2.putText(
                small, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255,) * 3, 1, cv2.LINE_AA
            )
            self._tiles.append(small)
        self._due = False

    def on_event(self, event: Event) -> None:
        """The next frame is worth keeping when something begins or climbs."""
        rung = (event.id, event.kind, event.level)
        if event.phase is not Phase.END and rung not in self._kept:
            self._kept.add(rung)
            self._due = True

    def write(self, path: Path) -> None:
        """Write the sheet as a picture."""
        tiles = list(self._tiles)
        tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % self._columns)
        rows = [
            np.hstack(tiles[i : i + self._columns]) for i in range(0, len(tiles), self._columns)
        ]
        cv2.imwrite(str(path), np.vstack(rows))


class MemorySink(Sink):
    """Keeps every event, for the score, and how far the drive came.

    Attributes:
        events: in the order of telling.
        reached_s: the time of the last frame; a drive begins at 0.
    """

    name = "score"

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.reached_s = 0.0

    def on_step(self, step: Step) -> None:
        """Frames are not scored; their time tells how far the drive came."""
        self.reached_s = step.observation.timestamp_s

    def on_event(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)


def settings(
    *, script: Path | None, portrait: Path | None, policy: str, fast: bool, fps: float, port: int
) -> Config:
    """The demo's configuration: everything embedded, in a folder of its own."""
    home = state_dir() / "demo"
    home.mkdir(parents=True, exist_ok=True)
    camera = CameraConfig(
        source="animated",
        script=str(script) if script else None,
        portrait=portrait,
        fps=fps,
        realtime=not fast,
    )
    return load(
        vehicle="demo",
        policy=policy,
        cameras=(camera,),
        mqtt={"host": "embedded", "port": port},
        store={"url": f"sqlite:///{home / 'demo.db'}"},
        trace={"enabled": True, "folder": home / "traces"},
    )


def play(
    console: Console,
    *,
    script: Path | None,
    portrait: Path | None,
    policy: str,
    fast: bool,
    fps: float,
    contact_sheet: Path | None,
    port: int,
) -> bool:
    """Run the demo and print the score; True when everything scripted was found and no more."""
    from monitor import app

    config = settings(
        script=script, portrait=portrait, policy=policy, fast=fast, fps=fps, port=port
    )
    drive = _drive(script)
    memory, sheet = MemorySink(), SheetSink()
    began_s = time.monotonic()
    pulse = app.run(config, console=console, extra=(memory, sheet))
    spent_s = time.monotonic() - began_s
    if memory.reached_s < drive.duration_s - END_S:
        console.print(
            f"stopped after {memory.reached_s:.0f} of {drive.duration_s:.0f} s: not scored",
            highlight=False,
        )
        return False
    result = score(intervals_of(drive.truth()), memory.events, load_policy(config.policy))
    _print_score(console, result)
    rate = pulse.frames / max(spent_s, 1e-9)
    console.print(
        f"{pulse.frames} frames of a {drive.duration_s:.0f} s drive in {spent_s:.1f} s "
        f"({rate:.0f} fps with rendering); looking and judging took "
        f"{_ms(pulse.latency_ms(0.5))} at p50, {_ms(pulse.latency_ms(0.99))} at p99",
        highlight=False,
    )
    console.print(f"log: {config.store.url}\ntrace: {config.trace.folder}", highlight=False)
    if contact_sheet is not None:
        sheet.write(contact_sheet)
        console.print(f"contact sheet: {contact_sheet}", highlight=False)
    return result.perfect


def film(
    console: Console, path: Path, *, script: Path | None, portrait: Path | None, fps: float
) -> None:
    """Write a drive as an mp4 that browsers play, and its ground truth as JSON beside it.

    Raises:
        ConfigError: the drive script is wrong, or the film cannot be written there.
        SourceError: the portrait cannot be read or shows no face.
    """
    from rich.progress import track

    from models.synthesis.film import frame_count, write_mp4, write_truth
    from monitor.camera import open_source
    from monitor.logs import natives_silenced

    drive = _drive(script)
    camera = CameraConfig(
        source="animated", script=str(script) if script else None, portrait=portrait, fps=fps
    )
    with natives_silenced(LogConfig()), open_source(camera) as source:
        pictures = (frame.image for frame in source if frame.image is not None)
        shown = track(pictures, "filming", total=frame_count(drive, fps), console=console)
        try:
            written = write_mp4(path, shown, fps)
            write_truth(path.with_suffix(".json"), drive)
        except OSError as error:
            raise ConfigError(f"--film {path}: cannot be written ({error.strerror})") from None
    truth = path.with_suffix(".json")
    console.print(f"{path}: {written} pictures, {fps:g} a second; truth: {truth}", highlight=False)


def _drive(script: Path | None) -> "Drive":
    from models.synthesis.drive import Drive, DriveError
    from monitor.camera import DEMO_SCRIPT

    try:
        return Drive.load(script or DEMO_SCRIPT)
    except DriveError as error:
        raise ConfigError(str(error)) from None


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _print_score(console: Console, result: Score) -> None:
    table = narrow_table(
        "scripted", "from", "expected", "found", "raised at", "late by", title="The score"
    )
    for expected, event in result.matches:
        kinds = " or ".join(kind.value for kind in expected.kinds)
        if event is None:
            table.add_row(
                expected.name,
                f"{expected.start_s:.2f} s",
                kinds,
                "[bold dark_orange]MISSED[/]",
                "-",
                "-",
            )
            continue
        late_s = event.at_s - expected.due_s
        table.add_row(
            expected.name,
            f"{expected.start_s:.2f} s",
            kinds,
            "[bold]found[/]",
            f"{event.at_s:.2f} s",
            f"{late_s:+.2f} s",
        )
    for event in (alert.last for alert in result.false):
        table.add_row(
            "nothing", "", "no alert", f"[bold dark_orange]FALSE {event.kind.value}[/]",
            f"{event.started_s:.2f} s", "",
        )  # fmt: skip
    console.print(table)
    hits = sum(event is not None for _, event in result.matches)
    console.print(
        f"{hits} of {len(result.matches)} found, {len(result.false)} false", highlight=False
    )
