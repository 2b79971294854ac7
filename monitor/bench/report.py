"""What `wakeful bench` measured, as tables and as a picture."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from models.tables import narrow_table
from monitor.bench.figures import (
    BenchDocument,
    CamerasFigures,
    ContestantFigures,
    Roofline,
    SoakDocument,
    SoakStretch,
    VehicleFigures,
)
from monitor.errors import ConfigError

TITLES = {
    "naive": "naive, as it ships",
    "naive-threads": "naive, all cores",
    "poster-every": "Wakeful, POSTER V2 1/1",
    "poster-fifth": "Wakeful, POSTER V2 1/5",
    "shipped": "Wakeful, as shipped",
}
LEGEND = """\
naive: YOLO().predict at 640, FaceMesh on stills and eager POSTER V2, all on every frame
1/1, 1/5: with the full POSTER V2 on every frame, on every fifth"""

# A recording played at its own rate is late by more than this only where frames queue up.
KEEPS_UP_MS = 500.0
# A camera is served where its pictures are answered this soon, and nearly all of them.
SERVED_MS, SERVED_SKIPPED = 100.0, 0.01


def print_report(console: Console, result: BenchDocument) -> None:
    """All tables."""
    about = result["machine"]
    console.print(
        f"{about['cpu']}, {about['cores']} cores, {about['memory_gb']} GB, {about['system']}, "
        f"Python {about['python']}; load before {about['load_before']:.1f}"
    )
    if about["load_before"] > 0.5 * about["cores"]:
        console.print("[yellow]the machine was busy before: figures are too low, ratios less sure")
    console.print(_speed(result))
    console.print(LEGEND, highlight=False)
    console.print(_cost(result["contestants"]))
    shipped = result["contestants"].get("shipped")
    for line in shipped["how"] if shipped else ():
        console.print(f"  {line}", highlight=False)
    console.print(_stages(result["contestants"]))
    if result["cameras"]:
        console.print(_cameras(result["cameras"]))
        console.print(_kept_up(result["cameras"]))
    console.print(_roofline(result["roofline"]))
    if "vehicle" in result:
        for line in _vehicle(result["vehicle"]):
            console.print(line)


def stretch_line(stretch: SoakStretch) -> str:
    """One stretch of a soak."""
    late = stretch["late_ms"]["state"]
    latency = f"p50 {late['p50']:.1f}, p99 {late['p99']:.1f} ms" if late["n"] else "nothing told"
    return (
        f"minute {stretch['minute']:.0f}: {stretch['resident_mb']:.0f} MB resident "
        f"({stretch['memory_mb']:.0f} its own), {stretch['cores']:.0%} of one core, state to "
        f"subscriber {latency} (n {late['n']}), {stretch['threads']} threads, "
        f"{stretch['files']} open files, machine's load {stretch['load']:.1f}"
    )


def print_soak(console: Console, result: SoakDocument) -> None:
    """What became of memory and latency; the stretches were told as they ended."""
    soak = result["soak"]
    start, first, last = soak["start"], soak["stretches"][0], soak["stretches"][-1]
    grown = last["memory_mb"] - first["memory_mb"]
    console.print(
        f"{soak['minutes']:g} minutes with {soak['broker']}: memory {start['memory_mb']:.0f} MB at "
        f"the start, {first['memory_mb']:.0f} after the first stretch, {last['memory_mb']:.0f} at "
        f"the end ({grown:+.1f} MB since the first stretch)",
        highlight=False,
    )


def _speed(result: BenchDocument) -> Table:
    columns = ("", "fps", "x naive", "x all cores", "p50", "p95", "p99 ms")
    table = _table("frames as fast as they go: 640x480, animated drive, in turns", columns)
    for name, one in result["contestants"].items():
        times = result["ratios"].get(name, {})
        table.add_row(
            TITLES[name],
            f"{one['fps']:.1f}",
            *(_times(times.get(naive)) for naive in ("naive", "naive-threads")),
            *(f"{one['frame_ms'][key]:.1f}" for key in ("p50", "p95", "p99")),
        )
    return table


def _cost(contestants: Mapping[str, ContestantFigures]) -> Table:
    columns = ("", "CPU ms a frame", "cores", "MB", "start s", "torch loaded")
    table = _table("what it costs", columns)
    for name, one in contestants.items():
        table.add_row(
            TITLES[name],
            f"{one['cpu_ms_per_frame']:.1f}",
            f"{one['cores']:.2f}",
            f"{one['memory_mb']:.0f}",
            f"{one['start_s']:.1f}",
            "yes" if one["torch"] else "no",
        )
    return table


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.1f}x"


def _stages(contestants: Mapping[str, ContestantFigures]) -> Table:
    table = _table(
        "stage by stage, ms a call", ("contestant", "stage", "p50", "p95", "p99", "calls")
    )
    for name, one in contestants.items():
        for stage, took in one["stages_ms"].items():
            values = (f"{took[key]:.2f}" for key in ("p50", "p95", "p99"))
            table.add_row(TITLES[name], stage, *values, str(took["n"]))
    return table


def _cameras(rows: Iterable[CamerasFigures]) -> Table:
    columns = (
        "cameras", "fps together", "fps each", "cores", "MB", "MB a camera more",
        "at 30 fps: skipped", "p50", "p99 ms", "cores",
    )  # fmt: skip
    table = _table("cameras in one process: as fast as they go, then at 30 fps each", columns)
    before: CamerasFigures | None = None
    for row in rows:
        more = ""
        if before is not None:
            grown = row["memory_mb"] - before["memory_mb"]
            more = f"{grown / (row['cameras'] - before['cameras']):.0f}"
        each, paced = row["fps"] / row["cameras"], row["paced"]
        table.add_row(
            str(row["cameras"]), f"{row['fps']:.0f}", f"{each:.0f}", f"{row['cores']:.2f}",
            f"{row['memory_mb']:.0f}", more, f"{paced['skipped']:.1%}",
            f"{paced['late_ms']['p50']:.1f}", f"{paced['late_ms']['p99']:.1f}",
            f"{paced['cores']:.2f}",
        )  # fmt: skip
        before = row
    return table


def _kept_up(rows: Iterable[CamerasFigures]) -> str:
    """The most cameras that this machine serves at 30 fps."""
    served = [
        row["cameras"]
        for row in rows
        if row["paced"]["late_ms"]["p99"] < SERVED_MS and row["paced"]["skipped"] <= SERVED_SKIPPED
    ]
    most = max(served, default=0)
    return (
        f"at 30 fps, with p99 below {SERVED_MS:.0f} ms and at most {SERVED_SKIPPED:.0%} skipped: "
        f"{most} camera{'' if most == 1 else 's'} of those tried"
    )


def _roofline(measured: Roofline) -> Table:
    rates = ", ".join(
        f"{name} {rate:.0f} GFLOP/s" for name, rate in measured["gflops_per_s"].items()
    )
    copied = f"copy {measured['copy_gb_per_s']:.0f} GB/s"
    title = f"roofline of {measured['device']}: matmul {rates}; {copied}"
    table = _table(title, ("model", "input", "as", "GFLOP", "floor ms", "takes ms", "reached"))
    for one in measured["models"]:
        share = one["floor_ms"] / one["ms"]
        table.add_row(
            one["model"], one["input"], one["precision"], f"{one['gflops']:.2f}",
            f"{one['floor_ms']:.2f}", f"{one['ms']:.2f}", f"{share:.0%}",
        )  # fmt: skip
    return table


def _vehicle(measured: VehicleFigures) -> list[str]:
    torch = "torch loaded" if measured["torch"] else "no torch"
    whole = (
        f"`wakeful run` at {measured['fps']} fps with {measured['broker']}: first state after "
        f"{measured['start_s']:.1f} s, {measured['memory_mb']:.0f} MB, {torch}, "
        f"{measured['cores']:.0%} of one core"
    )
    lines = [whole]
    if measured["frame_cpu_ms"] is not None:
        lines.append(f"  processor time a frame: {measured['frame_cpu_ms']:.1f} ms, all threads")
    if measured["late_ms"]["state"].get("p50", 0) > KEEPS_UP_MS:
        lines.append(
            "  [yellow]the machine does not keep up with 30 fps: this is a queue, no latency"
        )
    for kind, late in measured["late_ms"].items():
        if late["n"]:
            lines.append(
                f"  from capture to the subscriber, {kind}: p50 {late['p50']:.1f}, p95 "
                f"{late['p95']:.1f}, p99 {late['p99']:.1f} ms ({late['n']} messages)"
            )
    return lines


def _table(title: str, columns: Iterable[str]) -> Table:
    table = narrow_table(title=title)
    for number, name in enumerate(columns):
        words = number == 0 or name == "stage"
        table.add_column(name, justify="left" if words else "right", no_wrap=words)
    return table


def draw_plot(result: BenchDocument, path: Path) -> None:
    """Frames a second of every contestant, and of more cameras, as a PNG.

    Raises:
        ConfigError: the file cannot be written, or matplotlib is not there.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - half a second, only for a plot
    except ImportError:
        raise ConfigError("--plot: matplotlib is not installed; pip install matplotlib") from None
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = figure.subplots(1, 2, width_ratios=(3, 2)) if result["cameras"] else [figure.subplots()]
    contestants = result["contestants"]
    names, fps = [TITLES[name] for name in contestants], [c["fps"] for c in contestants.values()]
    bars = axes[0].barh(names[::-1], fps[::-1], color="#3b6ea5")
    axes[0].bar_label(bars, fmt="%.0f", padding=3)
    axes[0].set_xlabel("frames a second")
    axes[0].margins(x=0.12)
    if result["cameras"]:
        rows = result["cameras"]
        axes[1].plot([r["cameras"] for r in rows], [r["fps"] for r in rows], "o-", color="#3b6ea5")
        axes[1].set(xlabel="cameras in one process", ylabel="frames a second, together")
        axes[1].set_ylim(0, 1.1 * max(row["fps"] for row in rows))
    figure.suptitle(f"{result['machine']['cpu']}, {result['machine']['cores']} cores", fontsize=10)
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--plot {path}: cannot be written ({error})") from None
