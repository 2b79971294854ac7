"""Who drives: portraits sorted by what has been learned from them.

The portraits that every training of a network keeps back (each fifth of those with open eyes) are
shuffled once for ever: the first hundred that can be turned are the benchmark and teach nothing,
the others may teach the fusion how the networks do on strangers.
"""

import csv
from pathlib import Path

import numpy as np

from models.data.scene_datasets import list_portraits

BENCHMARK = 100
# Every fifth open portrait is kept back by the trainings of the networks.
HELD_BACK_EVERY = 5
# A head that is turned in the picture cannot be turned much further; lids half shut are not open.
MOST_YAW_DEG, MOST_PITCH_DEG, MOST_BLINK = 14.0, 16.0, 0.3
_SHUFFLE = 2026


def cast(folder: Path) -> dict[str, list[Path]]:
    """`benchmark`, `teach` and `trained`: portraits with open eyes that look ahead.

    Args:
        folder: portraits as `list_portraits` reads them; with `portraits.csv`, its measures of
            yaw, pitch and blink choose those that can be animated.

    Raises:
        PictureSetError: there are no portraits.
    """
    fit = _animatable(folder)
    opened = [p.path for p in list_portraits(folder) if p.label == "awake"]
    back = [path for path in opened[::HELD_BACK_EVERY] if path.name in fit or not fit]
    learned = [
        path
        for index, path in enumerate(opened)
        if index % HELD_BACK_EVERY and (path.name in fit or not fit)
    ]
    order = np.random.default_rng(_SHUFFLE)
    back = [back[i] for i in order.permutation(len(back))]
    learned = [learned[i] for i in order.permutation(len(learned))]
    return {
        "benchmark": back[:BENCHMARK],
        "teach": back[BENCHMARK:],
        "trained": learned[:BENCHMARK],
    }


def _animatable(folder: Path) -> set[str]:
    table = folder / "portraits.csv"
    if not table.is_file():
        return set()
    with table.open(encoding="utf-8", newline="") as file:
        return {
            row["file"]
            for row in csv.DictReader(file)
            if abs(float(row["yaw_deg"])) <= MOST_YAW_DEG
            and abs(float(row["pitch_deg"])) <= MOST_PITCH_DEG
            and float(row["blink"]) <= MOST_BLINK
        }
