"""One seam, three runtimes, the same answers; and one line for whatever is wrong."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
import torch
from numpy.typing import NDArray

from models.checkpoint import read_card, write_weights
from models.inference import Network, backend, cache, load
from models.inference.backend import InferenceError, Input, Machine, Runtime, choose
from models.network import ExportError, build
from models.registry import find
from tests.support.paths import ROOT

CPU = Machine(frozenset({"openvino", "onnxruntime", "torch"}), frozenset({"FP32"}), 4, cuda=False)
BF16 = replace(CPU, cpu=frozenset({"FP32", "BF16", "INT8"}))
GPU = replace(BF16, cuda=True)


# --- choosing --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (CPU, ("openvino", "cpu", "fp32")),
        (BF16, ("openvino", "cpu", "bf16")),
        (GPU, ("torch", "cuda", "bf16")),
        (replace(BF16, runtimes=frozenset({"onnxruntime"})), ("onnxruntime", "cpu", "fp32")),
        (replace(GPU, runtimes=frozenset({"openvino"})), ("openvino", "cpu", "bf16")),
    ],
)
def test_auto_takes_the_best_there_is(there: Machine, expected: tuple[str, str, str]) -> None:
    choice = choose(there)
    assert (choice.runtime, choice.device, choice.precision) == expected
    assert choice.why
    assert choice.threads == there.cores


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"device": "cuda"}, "no NVIDIA GPU"),
        ({"runtime": "onnxruntime", "precision": "bf16"}, "precision bf16"),
        ({"precision": "fp16"}, "precision fp16"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(wanted: dict[str, str], says: str) -> None:
    with pytest.raises(InferenceError, match=says) as caught:
        choose(CPU, **wanted)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert "perception." in str(caught.value)


def test_a_runtime_that_is_not_installed_is_refused() -> None:
    with pytest.raises(InferenceError, match="onnxruntime is not installed"):
        choose(replace(CPU, runtimes=frozenset({"torch"})), runtime="onnxruntime")


def test_openvino_does_not_serve_cuda() -> None:
    with pytest.raises(InferenceError, match="openvino serves the CPU"):
        choose(GPU, device="cuda", runtime="openvino")


def test_attention_is_computed_in_fp32_on_a_cpu_unless_bf16_is_asked_for() -> None:
    assert choose(BF16, exact=True).precision == "fp32"
    assert choose(BF16, exact=True, precision="bf16").precision == "bf16"
    assert choose(GPU, exact=True).precision == "bf16"


def test_threads_are_as_asked() -> None:
    assert choose(CPU, threads=1).threads == 1


# --- running ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shelf:
    """Weights of real architectures, as initialised, and the cache of what is made of them."""

    folder: Path

    def put(self, name: str, **changes: Any) -> Path:
        """Write the plain CNN's pair of weights and card under a new name; the weights' path."""
        card = replace(find("cnn"), name=name, sha256="", **changes)
        torch.manual_seed(7)
        path = self.folder / f"{card.name}.safetensors"
        network = build(card, None)
        for parameter in network.parameters():
            if parameter.ndim > 1:  # as initialised, eight layers leave little of the picture
                parameter.data *= 2.5
        write_weights(network, card, path)
        return path


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    folder = tmp_path_factory.mktemp("shelf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAKEFUL_CACHE", str(folder / "cache"))
        yield Shelf(folder)


@pytest.fixture(scope="module")
def classifier(shelf: Shelf) -> Path:
    return shelf.put("classifier", mean=(0.48, 0.45, 0.4), std=(0.2, 0.25, 0.3))


def some_pixels(count: int) -> NDArray[np.uint8]:
    """Pictures of one colour each, with noise."""
    rng = np.random.default_rng(3)
    colours = rng.integers(0, 200, (count, 1, 1, 3))
    return (colours + rng.integers(0, 56, (count, 48, 48, 3))).astype(np.uint8)


def by_hand(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The answer without any of the seam: RGB, scaled, normalised, through torch."""
    card = read_card(path)
    rgb = pixels[..., ::-1].astype(np.float32) / 255
    values = (rgb - np.float32(card.mean)) / np.float32(card.std)
    with torch.inference_mode():
        return build(card, path)(torch.from_numpy(values.transpose(0, 3, 1, 2).copy())).numpy()


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime", "torch"])
def test_every_runtime_answers_as_torch_does_by_hand(classifier: Path, runtime: Runtime) -> None:
    pixels = some_pixels(3)
    expected = by_hand(classifier, pixels)
    network = load(classifier, device="cpu", runtime=runtime, precision="fp32", threads=1)
    (found,) = network(pixels)
    assert found == pytest.approx(expected, abs=1e-3)
    swapped = by_hand(classifier, pixels[..., ::-1])
    assert np.abs(swapped - expected).max() > 1e-2  # the order of the channels is being tested


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime", "torch"])
def test_a_batch_is_its_pictures_one_by_one(classifier: Path, runtime: Runtime) -> None:
    pixels = some_pixels(4)
    network = load(classifier, device="cpu", runtime=runtime, precision="fp32", threads=1)
    one_by_one = np.concatenate([network(pixels[k : k + 1])[0] for k in range(4)])
    assert network(pixels)[0] == pytest.approx(one_by_one, abs=1e-3)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime", "torch"])
def test_a_request_may_be_waited_for_later(classifier: Path, runtime: Runtime) -> None:
    network = load(classifier, device="cpu", runtime=runtime, precision="fp32", threads=1)
    pixels = some_pixels(1)
    wait = network.start(pixels)
    assert wait()[0] == pytest.approx(network(pixels)[0])


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime", "torch"])
def test_a_request_keeps_what_it_reads(classifier: Path, runtime: Runtime) -> None:
    network = load(classifier, device="cpu", runtime=runtime, precision="fp32", threads=1)
    pixels = some_pixels(1)
    expected = network(pixels)[0]
    for _ in range(20):
        wait = network.start(pixels.copy())  # nobody else holds this copy
        rubbish = [np.full_like(pixels, 255) for _ in range(50)]  # takes the place of what is freed
        assert wait()[0] == pytest.approx(expected)
        del rubbish


def test_answers_are_not_overwritten_by_the_next(classifier: Path) -> None:
    network = load(classifier, device="cpu", threads=1)
    first = network(some_pixels(1))[0]
    kept = first.copy()
    network(np.zeros((1, 48, 48, 3), np.uint8))
    assert np.array_equal(first, kept)


def test_networks_of_one_model_share_what_is_compiled_and_not_their_answers(
    classifier: Path,
) -> None:
    first, second = (load(classifier, device="cpu", runtime="openvino", threads=1) for _ in "ab")
    compiled = [network._backend._free[1][0][1] for network in (first, second)]  # type: ignore[attr-defined]
    assert compiled[0] is compiled[1]
    pixels = some_pixels(2)
    one, two = first(pixels[:1])[0], second(pixels[1:])[0]
    later = first.start(pixels[:1]), second.start(pixels[1:])
    assert later[0]()[0] == pytest.approx(one)
    assert later[1]()[0] == pytest.approx(two)
    assert np.abs(one - two).max() > 1e-2


def test_bf16_stays_near_fp32(classifier: Path) -> None:
    if "BF16" not in backend.this_machine().cpu:
        pytest.skip("this chip has no bf16")
    pixels = some_pixels(8)
    exact = load(classifier, device="cpu", runtime="openvino", precision="fp32")(pixels)[0]
    network = load(classifier, device="cpu", runtime="openvino")
    assert network.choice.precision == "bf16"
    assert "bf16" in network.describe()
    found = network(pixels)[0]
    assert not np.array_equal(found, exact)
    assert np.abs(found - exact).max() < 0.05 * max(float(np.abs(exact).max()), 1.0)


def test_a_network_of_floats_takes_its_own_scale(shelf: Shelf) -> None:
    path = shelf.put("floats")
    values = np.random.default_rng(5).normal(size=(2, 3, 48, 48)).astype(np.float32)
    with torch.inference_mode():
        expected = build(read_card(path), path)(torch.from_numpy(values)).numpy()
    network = load(path, device="cpu", precision="fp32", feed="floats", threads=1)
    assert network(values)[0] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 48, 48, 1), np.uint8),
        np.zeros((1, 3, 48, 48), np.uint8),
        np.zeros((1, 48, 48, 3), np.float32),
        np.zeros((0, 48, 48, 3), np.uint8),
    ],
)
def test_another_shape_or_type_is_refused(classifier: Path, wrong: NDArray[Any]) -> None:
    network = load(classifier, device="cpu", threads=1)
    with pytest.raises(ValueError, match=r"classifier takes \(batch, 48, 48, 3\) uint8, got"):
        network(wrong)


@pytest.mark.gpu
def test_the_gpu_answers_as_the_cpu_does(classifier: Path) -> None:
    if not backend.this_machine().cuda:
        pytest.skip("no NVIDIA GPU here")
    pixels = some_pixels(4)
    expected = by_hand(classifier, pixels)
    exact = load(classifier, device="cuda", precision="fp32")
    half = load(classifier, device="cuda")
    for _ in range(3):  # a captured graph gives the same answer each time
        assert exact(pixels)[0] == pytest.approx(expected, abs=2e-2)
        assert half(pixels)[0] == pytest.approx(expected, abs=0.1)
    assert exact(pixels[:1])[0] == pytest.approx(expected[:1], abs=2e-2)


# --- the CPU's path carries no torch, and what is made is made once --------------------------


def test_a_cpu_run_never_imports_torch(classifier: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from models.inference import load\n"
        f"network = load(Path({str(classifier)!r}), device='cpu', threads=1)\n"
        "network(np.zeros((1, 48, 48, 3), np.uint8))\n"
        "assert not {'torch', 'ultralytics'} & set(sys.modules)\n"
    )
    load(classifier, device="cpu", threads=1)  # made, if this test runs alone
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ})


def test_what_is_made_once_is_kept(classifier: Path, shelf: Shelf) -> None:
    load(classifier, device="cpu", threads=1)
    with structlog.testing.capture_logs() as logged:
        load(classifier, device="cpu", threads=1)
    assert logged == []
    made = list((shelf.folder / "cache" / "models").glob("classifier-*.onnx"))
    assert len(made) == 1


def test_other_weights_inputs_and_feeds_are_other_files() -> None:
    files = {
        cache.graph_name(find("cnn"), sha, (side, side), feed)
        for sha in ("a" * 64, "b" * 64)
        for side in (48, 64)
        for feed in ("pixels", "floats")
    }
    assert len(files) == 8


def test_a_cache_that_cannot_be_written_costs_time_not_the_watch(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("WAKEFUL_CACHE", str(tmp_path / "file"))
    with structlog.testing.capture_logs() as logged:
        network = load(classifier, device="cpu", threads=1)
    assert network(some_pixels(1))[0].shape == (1, 8)
    warned = [entry for entry in logged if entry["log_level"] == "warning"]
    assert len(warned) == 1
    assert "WAKEFUL_CACHE" in warned[0]["event"]


# --- what is wrong with a file ---------------------------------------------------------------


def test_a_model_without_weights_says_where_they_should_be() -> None:
    card = replace(find("poster"), name="not_shipped")
    with pytest.raises(
        InferenceError, match=r"not_shipped: no weights at .*not_shipped\.safetensors"
    ):
        load(card)


def test_weights_without_a_card_are_refused(tmp_path: Path) -> None:
    (tmp_path / "alone.safetensors").write_bytes(b"")
    with pytest.raises(InferenceError, match=r"its card alone\.json is not beside it"):
        load(tmp_path / "alone.safetensors")


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
@pytest.mark.parametrize("damage", ["cut short", "changed", "junk"])
def test_damaged_weights_are_refused_in_one_line(
    shelf: Shelf, damage: str, runtime: Runtime
) -> None:
    path = shelf.put(f"damaged_{damage.replace(' ', '_')}_{runtime}")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(
        {"cut short": bytes(content[:1000]), "changed": bytes(content)}.get(damage, b"x")
    )
    with pytest.raises(InferenceError, match="sha256") as caught:
        load(path, device="cpu", runtime=runtime)
    assert "\n" not in str(caught.value)


def test_a_card_can_name_no_code_but_the_models_own(shelf: Shelf) -> None:
    card = replace(find("cnn"), architecture="os:system")
    with pytest.raises(ExportError, match="not known"):
        build(card, None)


def test_a_broken_graph_is_refused_in_one_line(classifier: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(b"no graph")
    (tmp_path / "mine.json").write_text(classifier.with_suffix(".json").read_text())
    for runtime in ("openvino", "onnxruntime"):
        with pytest.raises(InferenceError, match=r"mine\.onnx: cannot be opened") as caught:
            load(tmp_path / "mine.onnx", device="cpu", runtime=runtime)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def test_an_uncalibrated_int8_says_how_to_calibrate(classifier: Path) -> None:
    if "INT8" not in backend.this_machine().cpu:
        pytest.skip("this chip has no int8")
    with pytest.raises(InferenceError, match="calibrated first"):
        load(classifier, device="cpu", runtime="openvino", precision="int8")


def test_where_the_gpu_fails_the_cpu_takes_over_and_says_so(
    classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = backend.this_machine()
    if there.cuda:
        pytest.skip("the GPU of this machine would not fail")
    monkeypatch.setattr("models.inference.this_machine", lambda: replace(there, cuda=True))
    with structlog.testing.capture_logs() as logged:
        network = load(classifier, threads=1)
    assert network.choice.device == "cpu"
    assert "GPU not usable" in network.describe()
    assert [entry["log_level"] for entry in logged if "GPU" in entry["event"]] == ["warning"]


def test_no_command_of_the_watch_pays_for_torch() -> None:
    code = (
        "import sys, typer, monitor.cli\n"
        "door = typer.main.get_command(monitor.cli.app)\n"
        "for name in door.list_commands(None):\n"
        "    door.get_command(None, name)\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "False"


# --- several threads, one network ------------------------------------------------------------


def asked_at_once(network: Network, questions: Sequence[Input]) -> list[NDArray[np.float32]]:
    with ThreadPoolExecutor(len(questions)) as threads:
        return [outputs[0] for outputs in threads.map(network, questions)]


@pytest.mark.parametrize("gathered", [False, True])
def test_several_threads_are_each_given_their_own_answer(classifier: Path, gathered: bool) -> None:
    network = load(classifier, device="cpu", runtime="openvino", precision="fp32", streams=4)
    shared = network.gathered(4) if gathered else network
    questions = [some_pixels(24)[n : n + 1 + n % 3] for n in range(20)]
    for _ in range(3):
        for question, found in zip(questions, asked_at_once(shared, questions), strict=True):
            assert found == pytest.approx(by_hand(classifier, question), abs=2e-2)
    shared.close()


@pytest.mark.gpu
def test_cameras_share_the_gpu_in_batches(classifier: Path) -> None:
    if not backend.this_machine().cuda:
        pytest.skip("no NVIDIA GPU here: batches of several cameras run on one only")
    network = load(classifier, device="cuda", precision="fp32", streams=4)
    questions = [some_pixels(8)[n : n + 1] for n in range(8)]
    for question, found in zip(questions, asked_at_once(network, questions), strict=True):
        assert found == pytest.approx(by_hand(classifier, question), abs=2e-2)
    network.close()


def test_nobody_is_told_that_openvino_is_used(tmp_path: Path) -> None:
    """Its telemetry would write a client id into the home and report to its makers."""
    code = "from models.inference.backend import openvino_core; openvino_core().available_devices"
    home = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=home, check=True, cwd=ROOT)
    assert list(tmp_path.iterdir()) == []
