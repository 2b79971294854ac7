"""A model over a data set: one `Report`."""

import datetime as dt
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from models.architectures.backbones import blank_face, parameters
from models.data import Faces
from models.evaluation.corruptions import CONDITIONS
from models.evaluation.prediction import normalise, predict
from models.inference import load
from models.inference.backend import InferenceError, Precision, Runtime, this_machine
from models.network import build
from models.registry import ModelCard
from models.report import (
    WITHOUT,
    Accuracy,
    Agreement,
    Cost,
    Latency,
    Report,
    Robustness,
    accuracy_of,
    wilson,
)

WARM_UP_CALLS, TIMED_CALLS = 20, 200


def cost_of(model: nn.Module, card: ModelCard) -> Cost:
    """Parameters, and the multiplications of one picture with attention counted."""
    live = parameters(model)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(normalise(blank_face(1, *card.input_hw), card))
    return Cost(
        params_total=live + int(getattr(model, "dead_parameters", 0)),
        params_live=live,
        params_trainable=parameters(model, trainable=True),
        macs=counter.get_total_flops() // 2,
        input_hw=card.input_hw,
        counter=f"torch {torch.__version__.partition('+')[0]} FlopCounterMode, halved",
    )


def measure_accuracy(
    model: nn.Module, card: ModelCard, faces: Faces, split: str, source: str,
    *, device: torch.device | None = None, picked_by: str = "validation", counted: str = "",
) -> tuple[Accuracy, NDArray[np.int64]]:  # fmt: skip
    """The accuracy record, and the label found for each face (N,)."""
    logits = predict(model, card, faces, device or torch.device("cpu"))
    answers = logits.argmax(1).numpy()
    record = accuracy_of(
        faces.truth.numpy(), answers, faces.labels, dataset=faces.source, split=split,
        selection=picked_by, filter=counted, source=source,
    )  # fmt: skip
    return record, answers


def _without(
    record: Accuracy, answers: NDArray[np.int64], faces: Faces, names: Collection[str]
) -> Iterator[Accuracy]:
    """The same answers counted without some faces; nothing where none is named."""
    kept = [i for i, sample in enumerate(faces.samples) if sample.name not in names]
    if not names or len(kept) == len(faces):
        return
    yield accuracy_of(
        faces.truth.numpy()[kept], answers[kept], faces.labels, dataset=record.dataset,
        split=f"{record.split}{WITHOUT}", selection=record.selection, source=record.source,
        filter=f"without {len(faces) - len(kept)} near duplicates of training faces",
    )  # fmt: skip


def measure_robustness(
    model: nn.Module, card: ModelCard, faces: Faces, clean: float,
    device: torch.device | None = None,
) -> Iterator[Robustness]:  # fmt: skip
    """Accuracy under each condition, and the drop from `clean`."""
    for condition, spoil in CONDITIONS.items():
        logits = predict(model, card, faces, device or torch.device("cpu"), change=spoil)
        yield robustness_of(condition, logits.argmax(1).numpy(), faces, clean)


def robustness_of(
    condition: str, answers: NDArray[np.int64], faces: Faces, clean: float
) -> Robustness:
    """What is left under one condition, of answers (N,) to spoiled faces."""
    right = int((answers == faces.truth.numpy()).sum())
    overall = right / len(faces)
    return Robustness(
        condition=condition, dataset=faces.source, n=len(faces), overall=overall,
        ci=wilson(right, len(faces)), drop=clean - overall,
    )  # fmt: skip


def pixels_of(faces: Faces, indices: Iterable[int], channels: int) -> NDArray[np.uint8]:
    """Faces as a camera would give them to `models.inference`: (N, H, W, C) uint8, BGR."""
    stacked = np.stack([faces.image(i) for i in indices])
    return np.ascontiguousarray(stacked[..., ::-1] if channels == 3 else stacked[..., :1])


def runtimes() -> Iterator[tuple[Runtime, Precision]]:
    """Runtime and precision of every way this machine can run a model on its CPU."""
    machine = this_machine()
    engines: tuple[Runtime, ...] = ("openvino", "onnxruntime", "torch")
    for runtime in engines:
        if runtime in machine.runtimes:
            yield runtime, "fp32"
            if runtime == "openvino" and "BF16" in machine.cpu:
                yield runtime, "bf16"


def measure_latency(
    weights: Path, pixels: NDArray[np.uint8], threads: Iterable[int]
) -> Iterator[Latency]:
    """Latency of every runtime on one picture (1, H, W, C) at each number of threads."""
    for count in threads:
        for runtime, precision in runtimes():
            network = load(
                weights, device="cpu", runtime=runtime, precision=precision, threads=count
            )
            milliseconds = []
            for call in range(WARM_UP_CALLS + TIMED_CALLS):
                began = time.perf_counter()
                network(pixels)
                if call >= WARM_UP_CALLS:
                    milliseconds.append(1000 * (time.perf_counter() - began))
            yield Latency(
                runtime=runtime, device="cpu", threads=count, precision=precision,
                warm_up=WARM_UP_CALLS, n=TIMED_CALLS,
                p50_ms=round(float(np.percentile(milliseconds, 50)), 3),
                p95_ms=round(float(np.percentile(milliseconds, 95)), 3),
            )  # fmt: skip


def measure_agreement(
    model: nn.Module, card: ModelCard, weights: Path, faces: Faces, count: int = 1000,
    also: Iterable[tuple[Runtime, Precision]] = (),
) -> Iterator[Agreement]:  # fmt: skip
    """How often each runtime names the label that eager fp32 names."""
    indices = range(min(count, len(faces)))
    truth = faces.truth[: len(indices)].numpy()
    eager = predict(model, card, faces.part(indices), torch.device("cpu")).argmax(1).numpy()
    pixels = pixels_of(faces, indices, card.channels)
    for runtime, precision in (*runtimes(), *also):
        if runtime == "torch":
            continue
        network = load(weights, device="cpu", runtime=runtime, precision=precision)
        rows = [network(pixels[i : i + 50])[0] for i in range(0, len(pixels), 50)]
        answers = np.concatenate(rows).argmax(1)
        yield Agreement(
            runtime=runtime, precision=precision, n=len(indices),
            same_top1=float((answers == eager).mean()), accuracy=float((answers == truth).mean()),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is to be measured, and how it is to be called in the report.

    Attributes:
        split, counted: named in the record.
        command: that gives these figures again.
        robustness: measure the spoiled pictures too.
        threads: latency at each of these; empty measures none.
        picked_by: what the weights were chosen on.
        left_out: names of faces; the accuracy without them is a second record.
        device: where to compute; None is the CPU.
    """

    split: str
    command: str = ""
    robustness: bool = True
    threads: tuple[int, ...] = (1,)
    picked_by: str = "validation"
    counted: str = ""
    left_out: Collection[str] = ()
    device: torch.device | None = None


def evaluate(card: ModelCard, weights: Path, faces: Faces, wanted: Measurement) -> Report:
    """Everything measurable of a model on one data set.

    Args:
        card: of the model; its input size is the faces'.
        weights: any file `models.checkpoint` can read; runtimes are measured for ours only.
        faces: what to measure on.
        wanted: what is to be measured.
    """
    device, threads = wanted.device or torch.device("cpu"), wanted.threads
    model = build(card, weights)
    cost = cost_of(model, card)
    faces = faces.cached()
    model = model.to(device)
    record, answers = measure_accuracy(
        model, card, faces, wanted.split, wanted.command, device=device,
        picked_by=wanted.picked_by, counted=wanted.counted,
    )  # fmt: skip
    records = (record, *_without(record, answers, faces, wanted.left_out))
    spoiled = measure_robustness(model, card, faces, record.overall or 0.0, device)
    picture = pixels_of(faces, [0], card.channels)
    ours = weights.suffix == ".safetensors" and bool(threads)
    try:
        latency = tuple(measure_latency(weights, picture, threads)) if ours else ()
        same = tuple(measure_agreement(model.cpu(), card, weights, faces)) if ours else ()
        notes: tuple[str, ...] = ()
    except InferenceError as error:
        latency, same, notes = (), (), (f"runtimes not measured: {error}",)
    return Report(
        model=card.name, task=card.task, labels=card.labels, weights_sha256=card.sha256,
        created=dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"), command=wanted.command,
        accuracy=records, cost=cost, latency=latency, agreement=same, notes=notes,
        robustness=tuple(spoiled) if wanted.robustness else (),
    )  # fmt: skip
