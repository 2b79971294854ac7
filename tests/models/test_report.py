"""Reports: numbers with their intervals, published apart from measured."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.comparison import cells, compare, draw, markdown, published_markdown
from models.registry import RESULTS
from models.report import (
    Accuracy,
    Cost,
    Latency,
    Report,
    ReportError,
    accuracy_of,
    load_published,
    load_reports,
    mean_class_interval,
    wilson,
)


@given(n=st.integers(1, 5000), share=st.floats(0, 1))
def test_wilsons_interval_holds_the_share_and_lies_in_0_to_1(n: int, share: float) -> None:
    right = round(share * n)
    low, high = wilson(right, n)
    assert 0 <= low <= right / n <= high <= 1


def test_wilson_agrees_with_the_textbook() -> None:
    low, high = wilson(81, 263)  # Wikipedia's and R's prop.test without correction
    assert (low, high) == pytest.approx((0.2553, 0.3662), abs=5e-4)
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1


def test_a_wider_sample_is_surer() -> None:
    def width(n: int) -> float:
        low, high = wilson(n // 2, n)
        return high - low

    assert width(1000) < width(100) < width(10)


def test_wilson_refuses_impossible_counts() -> None:
    for right, n in ((1, 0), (3, 2), (-1, 5)):
        with pytest.raises(ValueError, match="right"):
            wilson(right, n)


def test_the_mean_over_classes_is_not_the_overall_accuracy() -> None:
    truth, found = np.array([0] * 90 + [1] * 10), np.array([0] * 90 + [0] * 10)
    record = accuracy_of(truth, found, ("calm", "tired"), dataset="x", split="test")
    assert (record.overall, record.mean_class) == (0.9, 0.5)
    assert record.confusion == ((90, 0), (10, 0))
    assert record.per_class == {"calm": 1.0, "tired": 0.0}
    assert record.origin == "measured"


def test_a_class_without_pictures_does_not_count() -> None:
    record = accuracy_of(
        np.array([0, 0]), np.array([0, 1]), ("a", "b", "c"), dataset="x", split="test"
    )
    assert record.mean_class == 0.5
    assert record.per_class["c"] is None


def test_the_bootstrap_interval_holds_the_mean() -> None:
    confusion = np.array([[80, 20], [5, 15]])
    low, high = mean_class_interval(confusion)
    assert low < (0.8 + 0.75) / 2 < high


def report(name: str, overall: float, macs: int) -> Report:
    accuracy = Accuracy(
        dataset="FER+", split="PublicTest", n=100, overall=overall, mean_class=overall,
        ci=wilson(round(overall * 100), 100), origin="measured",
    )  # fmt: skip
    cost = Cost(params_total=10, params_live=9, macs=macs, input_hw=(48, 48))
    latency = tuple(
        Latency(runtime="openvino", device="cpu", threads=1, precision=p, p50_ms=ms, p95_ms=ms)
        for p, ms in (("fp32", 2.0), ("bf16", 1.0))
    )
    return Report(model=name, accuracy=(accuracy,), cost=cost, latency=latency)


def test_a_report_survives_being_written(tmp_path: Path) -> None:
    first = report("small", 0.8, 100)
    first.save(tmp_path / "small.json")
    assert Report.load(tmp_path / "small.json") == first
    assert load_reports(tmp_path) == [first]
    assert load_reports(tmp_path / "nothing") == []


def test_flops_are_derived_never_written(tmp_path: Path) -> None:
    cost = report("small", 0.8, 100).cost
    assert cost is not None
    assert cost.flops == 200
    assert "flops" not in report("small", 0.8, 100).to_json()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ('{"model": "x", "acuracy": []}', "acuracy: Extra inputs"),
        ('{"model": "x", "cost": {"macs": "many"}}', "cost.macs"),
        (json.dumps({"model": "x", "accuracy": [
            {"dataset": "d", "split": "s", "origin": "measured", "labels": ["a"],
             "confusion": [[1, 2]]}]}), "square"),
    ],
)  # fmt: skip
def test_a_broken_report_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ReportError, match=told) as caught:
        load_reports(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_published_figures_are_sourced_and_keep_to_themselves() -> None:
    published = load_published()
    figures = [a for r in published for a in r.accuracy]
    assert all(a.origin == "published" and a.source for a in figures)
    raf = {r.model: a.overall for r in published for a in r.accuracy if a.dataset == "RAF-DB"}
    assert raf["poster_v2"] == pytest.approx(2829 / 3068, abs=1e-6)
    assert raf["fdrl"] == 0.8947
    assert raf["yolov5_faces"] == 0.736
    assert all(a.origin == "measured" for r in load_reports() for a in r.accuracy)


def test_every_measured_figure_of_the_package_says_how_sure_it_is() -> None:
    for result in load_reports(RESULTS):
        for a in result.accuracy:
            assert a.n, result.model
            assert a.ci, result.model
            assert a.ci[0] <= (a.overall or 0) <= a.ci[1], result.model
            assert a.source or result.command, result.model


def test_the_best_comes_first_and_the_untrained_last() -> None:
    untrained = Report(model="large", cost=Cost(params_total=5, macs=7))
    rows = compare([untrained, report("a", 0.7, 10), report("b", 0.8, 20)], "FER+", "PublicTest")
    assert [row.model for row in rows] == ["b", "a", "large"]
    assert "not trained here" in cells(rows[2])
    assert rows[0].latency is not None
    assert rows[0].latency.precision == "bf16"
    table = markdown(rows)
    assert "**80.0** (71.1-86.7)" in table
    assert len(table.splitlines()) == 2 + 3
    assert [row.model for row in compare([report("a at 64 px", 0.7, 10)], "RAF-DB", "test")] == []
    own, sized = report("a", 0.8, 20), report("a at 64 px", 0.7, 10)
    assert [row.model for row in compare([own, sized], "RAF-DB", "test")] == ["a"]
    assert [row.model for row in compare([own, sized], "FER+", "PublicTest")] == ["a", "a at 64 px"]
    assert "92.21" in published_markdown(load_published())


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    rows = compare(
        [report("a", 0.7, 10_000_000), report("b", 0.8, 200_000_000)], "FER+", "PublicTest"
    )
    draw(rows, tmp_path / "images" / "plot.png", "two models")
    assert (tmp_path / "images" / "plot.png").stat().st_size > 10_000
