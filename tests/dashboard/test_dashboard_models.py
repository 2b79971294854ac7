"""The models page: the pick, the cards, a picture of one's own."""

import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dashboard.queries.leaderboard import LeaderboardRow, as_good, pick
from dashboard.queries.model_trial import MAX_PIXELS, Bench, UploadError, decode
from models.report import Latency
from tests.support.dashboards import opened, words

# As the page's select box words it; importing the page would draw it.
EVERY = "every data set, side by side"


def _picture(width: int, height: int, form: str = "PNG") -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (width, height), "gray").save(held, form)
    return held.getvalue()


def test_a_large_picture_is_made_small_before_it_is_looked_at() -> None:
    assert max(decode(_picture(4000, 3000, "JPEG")).shape[:2]) == 1280
    small = decode(_picture(64, 48))
    assert small.shape == (48, 64, 3)
    assert small.dtype == np.uint8


@pytest.mark.parametrize("data", [b"", b"GIF89a....", b"\x89PNG\r\n\x1a\nxx", b"<svg/>"])
def test_what_is_no_picture_is_told_in_one_line(data: bytes) -> None:
    with pytest.raises(UploadError, match="not a picture"):
        decode(data)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    side = int(MAX_PIXELS**0.5) + 100
    held = io.BytesIO()
    Image.new("1", (side, side)).save(held, "PNG")
    with pytest.raises(UploadError, match="million"):
        decode(held.getvalue())


def test_a_picture_of_sixteen_bits_is_not_all_white() -> None:
    shades = np.linspace(0, 65_535, 64 * 48).reshape(48, 64).astype(np.uint16)
    held = io.BytesIO()
    Image.fromarray(shades).save(held, "PNG")
    seen = decode(held.getvalue())
    assert (seen[0, 0, 0], seen[-1, -1, 0]) == (0, 255)
    assert 120 < seen.mean() < 135


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


def test_every_shipped_model_answers_to_a_face(bench: Bench) -> None:
    skimage = pytest.importorskip("skimage.data")
    held = io.BytesIO()
    Image.fromarray(skimage.astronaut()).save(held, "JPEG")
    trial = bench.look(decode(held.getvalue()))
    assert trial.face is not None
    assert {answer.model for answer in trial.answers} == {card.name for card in bench.cards}
    assert trial.silent == ()
    top = {
        answer.model: max(answer.shares, key=lambda pair: pair[1])[0] for answer in trial.answers
    }
    assert (top["awake_sleep_n"], top["eye_state"]) == ("awake", "eyes open")


def test_without_a_face_the_classifiers_say_why_they_do_not_answer(bench: Bench) -> None:
    trial = bench.look(np.full((240, 320, 3), 90, np.uint8))
    assert trial.face is None
    silent = dict(trial.silent)
    assert silent["cnn"] == "there is no face to show it"
    assert {answer.model for answer in trial.answers} | set(silent) == {
        card.name for card in bench.cards
    }


def standing(model: str, value: float, ms: float, **changes: Any) -> LeaderboardRow:
    values: dict[str, Any] = {
        "model": model, "origin": "measured", "dataset": "FER+", "split": "PublicTest", "n": 3157,
        "value": value, "interval": (value - 0.013, value + 0.013), "mean_class": None,
        "selection": "validation", "source": "", "macs": None, "params": None,
        "fastest": Latency(runtime="openvino", device="cpu", p50_ms=ms),
    }  # fmt: skip
    return LeaderboardRow(**{**values, **changes})


def test_the_pick_is_the_most_accurate_within_the_time() -> None:
    rows = [standing("slow", 0.90, 40.0), standing("good", 0.85, 4.0), standing("poor", 0.6, 0.1)]
    rows.append(standing("a paper's", 0.99, 1.0, origin="published"))
    assert [getattr(pick(rows, ms), "model", None) for ms in (0.01, 1, 5, 50)] == [
        None, "poor", "good", "slow",
    ]  # fmt: skip


def test_a_quicker_model_within_the_interval_is_told_beside_the_pick() -> None:
    best = standing("best", 0.841, 0.6)
    near, far = standing("near", 0.840, 0.2), standing("far", 0.80, 0.1)
    slower = standing("slower", 0.8405, 9.0)
    assert as_good([best, near, far, slower], best) == [near]


@pytest.mark.parametrize("task", ["Expression", "Awake or asleep", "Eye state"])
def test_each_task_begins_with_what_to_use_on_a_cpu(one_vehicle: str, task: str) -> None:
    app = opened("compare", task=task)
    assert not app.exception
    assert re.search(r"<h2>On a CPU: \w+", words(app))


def test_published_figures_stand_beside_measured_ones(one_vehicle: str) -> None:
    app = opened("compare")
    next(box for box in app.selectbox if box.label == "Measured on").set_value(EVERY).run()
    table = app.dataframe[0].value
    assert {"measured", "published"} <= set(table["origin"])
    assert {"cnn", "poster_v2", "fdrl"} <= set(table["model"])
