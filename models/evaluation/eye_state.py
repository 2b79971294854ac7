"""How well the eye-state network tells eyes apart: by set and by person, with intervals."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.data.eyes import EyeCrops
from models.evaluation.detector import roc_area

DRAWS = 1000  # of the bootstrap over people


def closed_scores(judged: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds of closed against open or lowered, (N,): above 0 the eye counts as closed."""
    return np.asarray(
        np.log(judged[:, 1] + 1e-9) - np.log(judged[:, 0] + judged[:, 2] + 1e-9), np.float64
    )


def eye_figures(data: EyeCrops, judged: NDArray[np.float64], seed: int = 0) -> dict[str, Any]:
    """Figures of one set.

    Args:
        data: crops with their labels.
        judged: (N, 4) probabilities.
        seed: of the bootstrap.

    Returns:
        Counts, `balanced_accuracy` and `roc` of closed against open with 95 % intervals over
        people, shares of lowered and hidden eyes that are called so and of those called closed.
    """
    closed = data.states[:, 1] > 0
    opened = (data.states[:, 0] > 0) & (data.states[:, 3] == 0)
    row: dict[str, Any] = {"closed": int(closed.sum()), "open": int(opened.sum())}
    labelled = (closed | opened) & ~(closed & opened)
    scores, truth, people = closed_scores(judged)[labelled], closed[labelled], data.people[labelled]
    if truth.any() and not truth.all():
        row |= _two_classes(scores, truth)
        row["intervals_95"] = _intervals(scores, truth, people, np.random.default_rng(seed))
    for state, name in ((2, "lowered"), (3, "not_visible")):
        here = (data.states[:, state] > 0) & (data.states.sum(1) == 1)
        if here.any():
            row[name] = {
                "n": int(here.sum()),
                "called_so": float((judged[here].argmax(1) == state).mean()),
                "called_closed": float((judged[here].argmax(1) == 1).mean()),
            }
    return row


def by_person(data: EyeCrops, judged: NDArray[np.float64]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Figures of every person that has a name."""
    for person in np.unique(data.people[data.people != ""]):
        here = data.people == person
        yield str(person), eye_figures(data.only(here), judged[here])


def _two_classes(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> dict[str, float | None]:
    called = scores > 0
    return {
        "closed_called_closed": float(called[truth].mean()),
        "open_called_closed": float(called[~truth].mean()),
        "balanced_accuracy": float((called[truth].mean() + (~called[~truth]).mean()) / 2),
        "roc": roc_area(scores, truth),
    }


def _intervals(
    scores: NDArray[np.float64],
    truth: NDArray[np.bool_],
    people: NDArray[np.str_],
    rng: np.random.Generator,
) -> Mapping[str, list[float]]:
    """Bootstrap over people; over crops where nobody is named."""
    names = people if (people != "").all() else np.arange(len(people)).astype(np.str_)
    of_person = [np.flatnonzero(names == name) for name in np.unique(names)]
    drawn: dict[str, list[float]] = {"balanced_accuracy": [], "roc": []}
    for _ in range(DRAWS):
        picks = rng.integers(len(of_person), size=len(of_person))
        rows = np.concatenate([of_person[index] for index in picks])
        if truth[rows].any() and not truth[rows].all():
            figures = _two_classes(scores[rows], truth[rows])
            for name, values in drawn.items():
                value = figures[name]
                if value is not None:
                    values.append(value)
    return {
        name: [float(v) for v in np.percentile(values, (2.5, 97.5))]
        for name, values in drawn.items()
    }
