"""How well the eye-state network tells eyes apart: by set and by person, with intervals."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from models.data.eyes import EyeCrops
from models.evaluation.detector import roc_area

DRAWS = 1000  # of the bootstrap over people
# What may be added to a logit, and the share of hidden eyes that must be called so.
BIASES = tuple(step / 10 for step in range(21))
HIDDEN_REACHED = 0.9
# Round its best value balanced accuracy is flat: the least bias that is so near to it is taken, for
# raising closed raises false alarms, too.
AS_GOOD = 0.002


def closed_scores(judged: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds of closed against open or lowered, (N,): above 0 the eye counts as closed."""
    return np.asarray(
        np.log(judged[:, 1] + 1e-9) - np.log(judged[:, 0] + judged[:, 2] + 1e-9), np.float64
    )


def raise_logits(judged: NDArray[np.float64], bias: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (N, 4) as they are once `bias`, (4,), was added to the logits."""
    raised = judged * np.exp(bias)
    return np.asarray(raised / raised.sum(1, keepdims=True), np.float64)


def best_bias(data: EyeCrops, judged: NDArray[np.float64]) -> NDArray[np.float64]:
    """What to add to the four logits, (4,), of a network that will meet people it has never seen.

    On such people a network errs to one side. Closed is raised by what makes the mean balanced
    accuracy of the sets best (sets count alike, however many crops they have); then not visible by
    the least that calls `HIDDEN_REACHED` of the hidden eyes so.

    Args:
        data: crops of people whom the networks that judged them had not seen.
        judged: (N, 4) probabilities.
    """
    bias = np.zeros(4)
    bias[1] = _best_closed(data, judged)
    hidden = (data.states[:, 3] > 0) & (data.states.sum(1) == 1)
    for raised in BIASES if hidden.any() else ():
        bias[3] = raised
        called = raise_logits(judged[hidden], bias).argmax(1) == 3
        if called.mean() >= HIDDEN_REACHED:
            break
    return bias


def _best_closed(data: EyeCrops, judged: NDArray[np.float64]) -> float:
    certain, closed = _two_states(data)
    scores, means = closed_scores(judged), []
    for raised in BIASES:
        each = []
        for source in np.unique(data.source):
            here = certain & (data.source == source)
            if closed[here].any() and not closed[here].all():
                each.append(_balanced_accuracy(scores[here] + raised > 0, closed[here]))
        means.append(float(np.mean(each)) if each else 0.0)
    return next(r for r, mean in zip(BIASES, means, strict=True) if mean >= max(means) - AS_GOOD)


class StateFigures(TypedDict):
    """Eyes of one state: the shares that are called so, and closed."""

    n: int
    called_so: float
    called_closed: float


class TwoClasses(TypedDict):
    """Closed eyes against open ones."""

    closed_called_closed: float
    open_called_closed: float
    balanced_accuracy: float
    roc: float | None


class EyeFigures(TypedDict):
    """Of one set, or of one person in it; what it holds none of is left out."""

    closed: int
    open: int
    closed_called_closed: NotRequired[float]
    open_called_closed: NotRequired[float]
    balanced_accuracy: NotRequired[float]
    roc: NotRequired[float | None]
    intervals_95: NotRequired[Mapping[str, list[float]]]
    lowered: NotRequired[StateFigures]
    not_visible: NotRequired[StateFigures]


@dataclass(frozen=True, slots=True)
class EyeSetFigures:
    """A set's figures, those of its people, and apart for glasses where some wear them."""

    whole: EyeFigures
    apart: dict[str, EyeFigures]
    people: dict[str, EyeFigures]

    def to_json(self) -> dict[str, object]:
        """The whole set's figures with the others beside them, by name."""
        return {**self.whole, **self.apart, "people": self.people}


def set_figures(data: EyeCrops, judged: NDArray[np.float64]) -> EyeSetFigures:
    """Figures of the crops of one set, judged as (N, 4) probabilities."""
    worn = {"with_glasses": data.glasses, "without_glasses": ~data.glasses}
    return EyeSetFigures(
        eye_figures(data, judged),
        {name: eye_figures(data.only(here), judged[here]) for name, here in worn.items()}
        if data.glasses.any()
        else {},
        dict(by_person(data, judged)),
    )


def eye_figures(data: EyeCrops, judged: NDArray[np.float64], seed: int = 0) -> EyeFigures:
    """Figures of one set.

    Args:
        data: crops with their labels.
        judged: (N, 4) probabilities.
        seed: of the bootstrap.

    Returns:
        Counts, `balanced_accuracy` and `roc` of closed against open with 95 % intervals over
        people, shares of lowered and hidden eyes that are called so and of those called closed.
    """
    certain, closed = _two_states(data)
    scores, truth = closed_scores(judged)[certain], closed[certain]
    people = data.people[certain]
    row: EyeFigures = {"closed": int(truth.sum()), "open": int((~truth).sum())}
    if truth.any() and not truth.all():
        two = _two_classes(scores, truth)
        row["closed_called_closed"] = two["closed_called_closed"]
        row["open_called_closed"] = two["open_called_closed"]
        row["balanced_accuracy"], row["roc"] = two["balanced_accuracy"], two["roc"]
        if len(np.unique(people)) > 1 or "" in people:
            row["intervals_95"] = _intervals(scores, truth, people, np.random.default_rng(seed))
    lowered, not_visible = (_of_state(data, judged, state) for state in (2, 3))
    if lowered is not None:
        row["lowered"] = lowered
    if not_visible is not None:
        row["not_visible"] = not_visible
    return row


def _of_state(data: EyeCrops, judged: NDArray[np.float64], state: int) -> StateFigures | None:
    here = (data.states[:, state] > 0) & (data.states.sum(1) == 1)
    if not here.any():
        return None
    return {
        "n": int(here.sum()),
        "called_so": float((judged[here].argmax(1) == state).mean()),
        "called_closed": float((judged[here].argmax(1) == 1).mean()),
    }


def by_person(data: EyeCrops, judged: NDArray[np.float64]) -> Iterator[tuple[str, EyeFigures]]:
    """Figures of every person that has a name."""
    for person in np.unique(data.people[data.people != ""]):
        here = data.people == person
        yield str(person), eye_figures(data.only(here), judged[here])


def _two_states(data: EyeCrops) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whose eyes are surely closed or surely seen and not closed, and which are closed."""
    hidden = data.states[:, 3] > 0
    closed = (data.states[:, 1] > 0) & ~hidden
    opened = (data.states[:, 0] > 0) & ~hidden
    return closed ^ opened, closed


def _balanced_accuracy(called: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float((called[truth].mean() + (~called[~truth]).mean()) / 2)


def _two_classes(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> TwoClasses:
    called = scores > 0
    return {
        "closed_called_closed": float(called[truth].mean()),
        "open_called_closed": float(called[~truth].mean()),
        "balanced_accuracy": _balanced_accuracy(called, truth),
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
            drawn["balanced_accuracy"].append(figures["balanced_accuracy"])
            if figures["roc"] is not None:
                drawn["roc"].append(figures["roc"])
    return {
        name: [float(v) for v in np.percentile(values, (2.5, 97.5))]
        for name, values in drawn.items()
    }
