"""The bench: its arithmetic, its report, its ear on the broker, and one real short race."""

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openvino
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from openvino import opset13
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console
from typer import Typer
from typer.testing import CliRunner

from monitor import bench
from monitor.bench import roofline
from monitor.bench.contestants import FPS, NAMES, Racer, make
from monitor.bench.figures import BenchDocument, ContestantTurn, Percentiles, SoakStretch
from monitor.bench.report import draw_plot, print_report, print_soak, stretch_line
from monitor.bench.vehicle import Ear, measure_soak
from monitor.config import PerceptionConfig
from monitor.errors import ConfigError, WakefulError
from monitor.perception.networks import open_parts
from monitor.sinks.mqtt.broker import EmbeddedBroker
from tests.support.servers import until

app = Typer()
app.command()(bench.bench)


@pytest.fixture
def own_logging() -> Iterator[None]:
    """The command sets the process's log; the next test has its own."""
    yield
    structlog.reset_defaults()


def turn(*took_ms: float, cpu_s: float = 0.1) -> ContestantTurn:
    return {
        "ms": list(took_ms),
        "wall_s": sum(took_ms) / 1000,
        "cpu_s": cpu_s,
        "memory_mb": 100.0 + len(took_ms),
        "stages": {"landmarks": [value / 2 for value in took_ms]},
    }


READY = {"start_s": 1.5, "memory_mb": 150.0, "torch": False, "how": ["yolov5n on openvino"]}
LATE_MS = {"p50": 8.0, "p95": 11.0, "p99": 14.5}
PACED = {"cores": 0.4, "skipped": 0.015, "late_ms": LATE_MS}


def a_result() -> BenchDocument:
    """A whole result as `measure` makes it, with made-up turns."""
    contestants = {
        name: bench.summary(READY | {"torch": name.startswith("naive")}, [turn(*[ms] * 20)])
        for name, ms in zip(NAMES, (200.0, 160.0, 30.0, 10.0, 5.0), strict=True)
    }
    return {
        "made_at": "2026-11-24T12:00:00+00:00",
        "machine": bench.machine(),
        "settings": {},
        "contestants": contestants,
        "ratios": bench.ratios(contestants),
        "cameras": [
            {"cameras": 1, "fps": 150.0, "cores": 1.5, "memory_mb": 200.0, "paced": PACED},
            {"cameras": 4, "fps": 180.0, "cores": 2.0, "memory_mb": 290.0, "paced": PACED},
        ],
        "roofline": {
            "device": "the CPU",
            "gflops_per_s": {"fp32": 200.0, "bf16": 850.0},
            "copy_gb_per_s": 20.0,
            "models": [
                {
                    "model": "yolov5n",
                    "input": "320x320",
                    "precision": "bf16",
                    "gflops": 1.7,
                    "ms": 4.0,
                    "floor_ms": 2.0,
                }
            ],
        },
        "vehicle": {
            "broker": "Mosquitto",
            "fps": 30,
            "start_s": 2.0,
            "memory_mb": 180.0,
            "torch": False,
            "cores": 0.4,
            "frame_cpu_ms": 13.3,
            "watched_fps": 30.0,
            "late_ms": {
                "alert": {"p50": 10.0, "p95": 12.0, "p99": 13.0, "max": 13.0, "n": 6},
                "state": {"n": 0},
            },
        },
    }


def test_frames_a_second_are_frames_over_time_not_a_mean_of_rates() -> None:
    summed = bench.summary(READY, [turn(10, 10), turn(40)])
    assert summed["fps"] == pytest.approx(3 / 0.060)
    assert summed["frames"] == 3
    assert summed["cpu_ms_per_frame"] == pytest.approx(200 / 3)
    assert summed["memory_mb"] == 102.0
    assert summed["stages_ms"]["landmarks"]["n"] == 3


@given(st.lists(st.floats(0, 1e4), min_size=1))
def test_percentiles_are_in_order(values: list[float]) -> None:
    found = bench.percentiles(values)
    assert min(values) <= found["p50"] <= found["p95"] <= found["p99"] <= max(values)
    assert found["n"] == len(values)


def test_ours_are_compared_with_both_naive_loops() -> None:
    found = a_result()["ratios"]
    assert set(found) == {"poster-every", "poster-fifth", "shipped"}
    assert found["shipped"]["naive"] == pytest.approx(40)
    assert found["shipped"]["naive-threads"] == pytest.approx(32)


def test_the_report_says_what_was_measured() -> None:
    page = io.StringIO()
    print_report(Console(file=page, width=100), a_result())
    said = page.getvalue()
    for word in (
        "40.0x",
        "Wakeful, as shipped",
        "Mosquitto",
        "no torch",
        "50%",
        "p99 13.0 ms",
        "1.5%",
    ):
        assert word in said


def test_the_report_says_how_many_cameras_are_served() -> None:
    result = a_result()
    served = PACED | {"skipped": 0.0}
    late = served | {"late_ms": LATE_MS | {"p99": 140.0}}
    one = result["cameras"][0]
    rows = [(1, served), (2, served), (4, PACED), (8, late)]
    result["cameras"] = [one | {"cameras": count, "paced": paced} for count, paced in rows]
    page = io.StringIO()
    print_report(Console(file=page, width=100), result)
    assert "2 cameras of those tried" in page.getvalue()


@pytest.mark.parametrize(
    ("most", "tried"), [(0, ()), (1, (1,)), (8, (1, 2, 4, 8)), (20, (1, 2, 4, 8, 16, 20))]
)
def test_cameras_are_doubled_up_to_the_most(most: int, tried: tuple[int, ...]) -> None:
    assert bench.doubling(most) == tried


def test_torch_measures_a_devices_rates_in_each_precision() -> None:
    rates = roofline.torch_rates("cpu", 64, 0.02)
    assert set(rates.gflops) == {"fp32", "bf16", "fp16"}
    assert all(rate > 0 for rate in (*rates.gflops.values(), rates.copy_gb_s))


def test_a_result_is_json_and_a_picture(tmp_path: Path) -> None:
    result = a_result()
    assert json.loads(json.dumps(result)) == result
    draw_plot(result, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
    draw_plot(result | {"cameras": []}, tmp_path / "alone.png")
    with pytest.raises(ConfigError, match="cannot be written"):
        draw_plot(result, tmp_path / "no" / "folder.png")


def test_an_unknown_contestant_is_answered_with_those_there_are() -> None:
    answer = CliRunner().invoke(app, ["--only", "torchscript"])
    assert isinstance(answer.exception, ConfigError)
    assert "shipped" in str(answer.exception)


def test_a_contestant_that_breaks_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(WakefulError, match=r"shipped broke: .*no\.npy") as caught:
        bench.RacerProcess("shipped", tmp_path / "no.npy")
    assert "\n" not in str(caught.value)


# --- the roofline ----------------------------------------------------------------------------


def test_operations_are_two_a_multiply_add(tmp_path: Path) -> None:
    image = opset13.parameter([-1, 3, 8, 8], openvino.Type.f32)
    kernel = opset13.constant(np.ones((4, 3, 3, 3), np.float32))
    convolved = opset13.convolution(image, kernel, [1, 1], [1, 1], [1, 1], [1, 1])
    flat = opset13.reshape(convolved, np.array([-1, 256]), special_zero=False)
    head = opset13.matmul(flat, opset13.constant(np.ones((256, 10), np.float32)), False, False)
    openvino.save_model(openvino.Model([head], [image]), str(tmp_path / "net.xml"))
    multiply_adds = 4 * 8 * 8 * 27 + 256 * 10
    assert roofline.gflops_of(tmp_path / "net.xml") == pytest.approx(2 * multiply_adds / 1e9)


def test_the_work_of_every_shipped_graph_is_counted() -> None:
    """The detector's graph leaves its sides open: it is counted at those it is run at."""
    work = {
        network.input_hw: roofline.gflops_of(network.graph, network.input_hw)
        for network in open_parts(PerceptionConfig(device="cpu")).networks
        if network.graph is not None
    }
    assert all(gflops > 0 for gflops in work.values())
    assert work[320, 320] / work[256, 256] == pytest.approx(320**2 / 256**2, rel=0.01)


def test_rates_are_measured() -> None:
    rates = roofline.measure_rates(seconds=0.05)
    assert rates.gflops["fp32"] > 0
    assert rates.copy_gb_s > 0


# --- the ear ---------------------------------------------------------------------------------


def test_lateness_is_from_capture_to_the_subscriber() -> None:
    with EmbeddedBroker(0) as broker:
        ear = Ear(broker.port)
        speaker = Client(CallbackAPIVersion.VERSION2)
        speaker.connect("127.0.0.1", broker.port)
        speaker.loop_start()

        def say(channel: str, told: dict[str, object]) -> None:
            speaker.publish(f"dms/v1/bench/{channel}", json.dumps(told), qos=1).wait_for_publish(10)

        until(lambda: (say("state", {"at": time.time()}), ear.late_ms["state"])[1])
        ear.forget()
        say("state", {"at": time.time() - 0.5})
        say("alert", {"data": {"phase": "end", "at": time.time() - 9}})
        say("alert", {"data": {"phase": "start", "at": time.time() - 0.2}})
        say("stats", {"at": time.time()})
        # What was said before `forget` may still come in after it, hardly late at all.
        until(lambda: max(ear.late_ms["state"], default=0) >= 500 and ear.late_ms["alert"])
        speaker.disconnect()
        speaker.loop_stop()
        ear.close()
    (alert_ms,) = ear.late_ms["alert"]
    assert 200 <= alert_ms < 9000


# --- the real thing --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("own_logging")
def test_the_shipped_watch_races_without_torch(tmp_path: Path) -> None:
    target = tmp_path / "bench.json"
    options = ["--seconds", "0.3", "--rounds", "2", "--cameras", "0", "--vehicle", "0"]
    answer = CliRunner().invoke(app, ["--only", "shipped", *options, "--json", str(target)])
    assert answer.exception is None
    shipped = json.loads(target.read_text())["contestants"]["shipped"]
    assert shipped["torch"] is False
    assert shipped["frames"] > 0
    assert len(shipped["fps_of_rounds"]) == 2
    assert "landmarks" in shipped["stages_ms"]


@pytest.mark.slow
def test_the_naive_loop_is_what_its_packages_ship() -> None:
    notes: dict[str, list[float]] = {"detector": [], "landmarks": [], "expression": []}
    naive = make("naive", notes)
    naive(np.zeros((480, 640, 3), np.uint8), 0)
    assert {name: len(took) for name, took in notes.items()} == dict.fromkeys(notes, 1)
    assert "torch" in naive.describe()[0]


@pytest.mark.slow
def test_cameras_share_a_process_and_are_looked_at_apart(tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", np.zeros((3, 120, 160, 3), np.uint8))
    answer = Racer("shipped", tmp_path / "frames.npy").cameras(2, 0.5)
    assert answer["flat_out"]["frames"] >= 2
    paced = answer["paced"]
    assert len(paced["late_ms"]) + paced["skipped"] == pytest.approx(2 * 0.5 * FPS, abs=2)


# --- the soak --------------------------------------------------------------------------------


def a_stretch(minute: float, memory_mb: float, late_ms: Percentiles) -> SoakStretch:
    return {
        "minute": minute,
        "memory_mb": memory_mb,
        "resident_mb": memory_mb + 100,
        "cores": 0.37,
        "threads": 28,
        "files": 21,
        "load": 0.5,
        "late_ms": {"state": late_ms, "alert": {"n": 0}},
    }


def test_a_soak_tells_what_grew() -> None:
    told, silent = {"p50": 10.0, "p95": 20.0, "p99": 31.0, "n": 600}, {"n": 0}
    stretches = [a_stretch(10, 280.0, told), a_stretch(60, 281.5, silent)]
    soak = {"minutes": 60, "broker": "Mosquitto", "start": {"memory_mb": 250.0}}
    page = io.StringIO()
    print_soak(Console(file=page, width=200), {"soak": soak | {"stretches": stretches}})
    assert "+1.5 MB since the first stretch" in page.getvalue()
    assert "p99 31.0 ms (n 600)" in stretch_line(stretches[0])
    assert "nothing told" in stretch_line(stretches[1])


@pytest.mark.slow
def test_the_whole_process_is_soaked_and_ends(tmp_path: Path) -> None:
    told: list[bench.Result] = []
    soak = measure_soak(tmp_path, 0.1, told.append)
    assert soak["stretches"] == told
    assert [round(stretch["minute"] * 60) for stretch in told] == [1, 2, 3, 4, 5, 6]
    assert sum(stretch["late_ms"]["state"]["n"] for stretch in told) > 0
    assert all(stretch["memory_mb"] > 50 for stretch in told)
