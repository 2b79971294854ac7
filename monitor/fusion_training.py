"""Learn the fusion's curves from traces of which it is known what the eyes did.

    wakeful models drives --portraits portraits --into drives --who teach
    wakeful evaluate drives --truth drives/truth.json --traces drives/traces
    wakeful train-fusion --set drives/truth.json=drives/traces --set video/truth.json=video/traces

Two logistic regressions of piecewise-linear curves: are the lids down, and are lids that are down
closed? A curve may only rise or only fall, as sense demands: no amount of data makes wider lids
speak for closed eyes. Every person counts as much as any other, and the strength
of the smoothing is chosen on people left out.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from monitor.engine.calibration import Baseline
from monitor.engine.eye_state.additive_model import (
    SILENT,
    AdditiveModel,
    Curve,
    Questions,
)
from monitor.engine.eye_state.fusion import EyeFusion
from monitor.engine.eye_state.measures import MEASURES
from monitor.engine.eye_state.visibility import BLIND, picture_causes
from monitor.errors import ConfigError
from monitor.evaluation import from_zero
from monitor.policy import Policy
from monitor.policy.fusion_file import SHIPPED
from monitor.scoring import ClipTruth, TruthInterval, read_truth
from monitor.sinks.trace import SUFFIX, read_trace
from monitor.types import Observation

Floats = NDArray[np.float64]

_WORD = (-6.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 6.0)
KNOTS: dict[str, tuple[float, ...]] = {
    "lids": (-0.5, -0.35, -0.2, -0.05, 0.1, 0.25, 0.45),
    "lids_recent": (-0.5, -0.35, -0.2, -0.05, 0.1, 0.25, 0.45),
    "net_shut": _WORD, "net_shut_recent": _WORD,
    "net_closed": _WORD, "net_closed_recent": _WORD,
    "detector": (-6.0, -3.0, -1.5, -0.5, 0.0, 0.5, 1.5, 3.0, 6.0),
    "detector_recent": (-6.0, -3.0, -1.5, -0.5, 0.0, 0.5, 1.5, 3.0, 6.0),
    "lower_lid": (-0.6, -0.4, -0.2, -0.05, 0.1, 0.25, 0.5),
    "gaze_low": (-0.5, -0.25, 0.0, 0.1, 0.2, 0.35, 0.5),
    "pitch": (-24.0, -16.0, -8.0, 0.0),
    "yaw": (0.0, 12.0, 20.0, 28.0, 36.0, 45.0),
    "mouth": (0.0, 0.2, 0.4, 0.7, 1.0),
}  # fmt: skip
# Which way a curve may go: +1 up, -1 down. A turned head narrows its eyes, and so does a laughing
# mouth.
SHUT = {
    "lids": -1, "lids_recent": -1, "net_shut": 1, "net_shut_recent": 1, "detector": 1,
    "detector_recent": 1, "yaw": -1, "mouth": -1,
}  # fmt: skip
CLOSED = {
    "lids": -1, "lids_recent": -1, "net_closed": 1, "net_closed_recent": 1, "net_shut": 1,
    "detector": 1, "detector_recent": 1, "lower_lid": -1, "gaze_low": -1, "pitch": 1,
}  # fmt: skip
# The most a step of a curve may speak for lowered eyes and against closed ones. A reader's head is
# down, and so is a sleeper's; and where lids are shut, or a frame of glasses stands before them,
# the mesh guesses irises and lower lids. They may speak for closed eyes as they have learned, but
# never so loud against them that they outvote lids and networks that are sure.
MOST_AGAINST = {"pitch": 0.9, "gaze_low": 0.5, "lower_lid": 0.5}
OPEN_EYES, CLOSED_EYES, LOWERED_EYES, UNSURE = 0, 1, 2, -1
# Truth is sure to about this much at the edges of an interval.
EDGE_S = 0.12
# Narrow, but not shut: taught as open, so that a squint is no closure.
_NARROW = frozenset({"half", "squint"})
# What people wrote down in which the eyes may be anything.
_DOUBTFUL = frozenset({"yawn", "laugh", "dark", "glare", "frozen", "noise"})
_SHUT_KINDS = {
    "closed": CLOSED_EYES, "blink": CLOSED_EYES, "lowered": LOWERED_EYES, "look_down": LOWERED_EYES,
}  # fmt: skip
# Without the network the lids decide, at once: a mean of the last moments would only delay them.
SHUT_BY_LANDMARKS = {"lids": -1, "gaze_low": 1, "detector": 1, "yaw": -1, "mouth": -1}
CLOSED_BY_LANDMARKS = {"lids": -1, "detector": 1, "lower_lid": -1, "gaze_low": -1, "pitch": 1}
SHUT_BY_DETECTOR = {"detector": 1}
# Nobody can tell a sleeping head from one that looks down where only the detector sees it: then its
# word for sleep counts. Safety is asymmetric, and this figure is set, not learned.
DETECTOR_MEANS_CLOSED = AdditiveModel(3.0, {})
# Now and then the detector is left out, so that the others can do without it; so much it counts.
WITHOUT_DETECTOR = 0.3
# Added to the log-odds that lids which are down are closed. A sleeper who is missed costs more than
# a reader who is warned, and both count alike in the fit: set, not learned. On 30 drives left out
# of the fit it finds 28 of 34 closures, with nothing 25; 1.4 finds 30, and warns falsely.
TOWARDS_CLOSED = 1.0
# The condition in the truth of pictures that are no film.
STILLS = "stills"
_NET = ("net_shut", "net_shut_recent", "net_closed", "net_closed_recent")
_DETECTOR = ("detector", "detector_recent")


@dataclass(frozen=True, slots=True)
class Rows:
    """Measured frames with their truth.

    Attributes:
        x: (n, measures), NaN where not measured.
        y: (n,) of `OPEN_EYES`, `CLOSED_EYES`, `LOWERED_EYES`.
        weight: (n,), so that every person and every state of a person counts alike.
        person: (n,) whose they are.
        film: (n,) of a living face that moves.
    """

    x: Floats
    y: NDArray[np.int64]
    weight: Floats
    person: NDArray[np.str_]
    film: NDArray[np.bool_]

    def of(self, chosen: NDArray[np.bool_]) -> "Rows":
        """Some of them."""
        return Rows(
            self.x[chosen],
            self.y[chosen],
            self.weight[chosen],
            self.person[chosen],
            self.film[chosen],
        )


# --- from traces to rows -----------------------------------------------------------------------


def label_at(clip: ClipTruth, at_s: float) -> int:
    """What the eyes do at an instant by the truth; `UNSURE` near an edge and in between."""
    near = [i for i in clip.intervals if i.start_s - EDGE_S <= at_s <= i.end_s + EDGE_S]
    shut = {_shut_label(interval, at_s) for interval in near if interval.kind in _SHUT_KINDS}
    if shut:
        return shut.pop() if len(shut) == 1 else UNSURE
    kinds = {interval.kind for interval in near}
    if clip.animated or kinds & _NARROW or not kinds & _DOUBTFUL:
        return OPEN_EYES
    return UNSURE


def _shut_label(interval: TruthInterval, at_s: float) -> int:
    inside = interval.start_s + EDGE_S <= at_s <= interval.end_s - EDGE_S
    return _SHUT_KINDS[interval.kind] if inside and interval.sure else UNSURE


def measure_clip(
    clip: ClipTruth, observations: Sequence[Observation], policy: Policy, *, learn: bool
) -> tuple[Floats, NDArray[np.int64]]:
    """Measures and labels of the frames of a clip, against a baseline that learns or does not."""
    baseline, fusion = Baseline(policy), EyeFusion(policy, SILENT)
    rows, labels = [], []
    for observation in from_zero(observations):
        if picture_causes(observation, policy) & BLIND:
            continue
        measures = fusion.measure(observation, baseline.calibration)
        label = label_at(clip, observation.timestamp_s)
        if learn:
            baseline.update(observation, frozen=label not in (OPEN_EYES, UNSURE))
        if label != UNSURE and any(value is not None for value in measures.values()):
            rows.append([np.nan if v is None else v for v in measures.values()])
            labels.append(label)
    x = np.array(rows, np.float64).reshape(-1, len(MEASURES))
    return x, np.array(labels, np.int64)


def gather(
    clips: Iterable[tuple[ClipTruth, Sequence[Observation]]],
    policy: Policy,
    person_weight: Callable[[ClipTruth], float],
) -> Rows:
    """Rows of many clips; each person's states weigh alike, whatever the length of the clip."""
    parts: list[Rows] = []
    for clip, observations in clips:
        for learn, share in ((True, 1.0), (False, 0.3)):
            x, y = measure_clip(clip, observations, policy, learn=learn)
            if not len(y):
                continue
            count = np.bincount(y, minlength=3)
            weight = share * person_weight(clip) * np.sqrt(count[y] / 30) / count[y]
            film = np.full(len(y), not clip.animated and clip.group != STILLS)
            parts.append(Rows(x, y, weight, np.full(len(y), clip.person), film))
    return _together(*parts)


# --- fitting -----------------------------------------------------------------------------------


def _basis(x: Floats, knots: Sequence[float]) -> Floats:
    """(n, knots - 1): how far each span is passed, less what is passed at nought; 0 if missing."""
    low, high = np.array(knots[:-1]), np.array(knots[1:])
    passed = np.clip((x[:, None] - low) / (high - low), 0, 1)
    at_nought = np.clip((0 - low) / (high - low), 0, 1)
    return np.where(np.isnan(x)[:, None], 0.0, passed - at_nought)


def fit(
    x: Floats,
    y: NDArray[np.bool_],
    weight: Floats,
    signs: Mapping[str, int],
    smoothing: float,
    most_against: Mapping[str, float] | None = None,
) -> AdditiveModel:
    """The most likely curves under their signs.

    Args:
        x: (n, measures); y: (n,); weight: (n,).
        signs: which measures speak, and which way their curves may go.
        smoothing: of the steps of the curves, and of the bends between them.
        most_against: the largest step against, by measure; others have no bound.
    """
    names = list(MEASURES)
    blocks = [_basis(x[:, names.index(name)], KNOTS[name]) for name in signs]
    design = np.hstack([np.ones((len(y), 1)), *blocks])
    steps = [len(KNOTS[name]) - 1 for name in signs]
    weight = weight / weight.sum()
    penalty = _penalty(steps) * smoothing

    def loss(coefficients: Floats) -> tuple[float, Floats]:
        z = design @ coefficients
        lost = np.logaddexp(0, np.where(y, -z, z))
        slope = weight * (1 / (1 + np.exp(-np.clip(z, -30, 30))) - y)
        bent = penalty @ coefficients
        return float(weight @ lost + coefficients @ bent / 2), design.T @ slope + bent

    bounds: list[tuple[float | None, float | None]] = [(None, None)]
    for name in signs:
        bounds += _bounds(KNOTS[name], signs[name], (most_against or {}).get(name))
    fitted = minimize(
        loss, np.zeros(design.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B",
        options={"maxiter": 800},
    ).x  # fmt: skip
    return _model(fitted, signs)


def _bounds(
    knots: Sequence[float], sign: int, most_against: float | None
) -> list[tuple[float | None, float | None]]:
    """Of each step of a curve: up or down, and no more than so much where it speaks against."""
    bounds: list[tuple[float | None, float | None]] = []
    for low, high in pairwise(knots):
        against = low >= 0 if sign < 0 else high <= 0
        limit = most_against if against else None
        bounds.append((0.0, limit) if sign > 0 else (None if limit is None else -limit, 0.0))
    return bounds


def _penalty(steps: Sequence[int]) -> Floats:
    """Quadratic form: steps are small, and neighbouring steps alike."""
    size = 1 + sum(steps)
    form = np.zeros((size, size))
    at = 1
    for count in steps:
        bends = np.diff(np.eye(count), axis=0)
        form[at : at + count, at : at + count] = 0.3 * np.eye(count) + bends.T @ bends
        at += count
    return form


def _model(coefficients: Floats, signs: Mapping[str, int]) -> AdditiveModel:
    curves, at = {}, 1
    for name in signs:
        knots = KNOTS[name]
        steps = coefficients[at : at + len(knots) - 1]
        at += len(steps)
        values = np.concatenate([[0.0], np.cumsum(steps)])
        values = values - np.interp(0.0, knots, values)
        curves[name] = Curve(knots, tuple(float(v) for v in np.round(values, 4)))
    return AdditiveModel(round(float(coefficients[0]), 4), curves)


def log_odds(model: AdditiveModel, x: Floats) -> Floats:
    """(n,) log-odds of rows of measures."""
    z = np.full(len(x), model.bias)
    for column, name in enumerate(MEASURES):
        if name in model.curves:
            curve = model.curves[name]
            values = np.interp(x[:, column], curve.knots, curve.values)
            z += np.where(np.isnan(x[:, column]), 0.0, values)
    return z


def without(rows: Rows, names: Sequence[str], share: float = 1.0) -> Rows:
    """The rows as they would be without some measures, at a share of their weight."""
    x, columns = rows.x.copy(), list(MEASURES)
    x[:, [columns.index(name) for name in names]] = np.nan
    kept = ~np.isnan(x).all(axis=1)
    return Rows(x, rows.y, rows.weight * share, rows.person, rows.film).of(kept)


def _together(*parts: Rows) -> Rows:
    return Rows(
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.y for part in parts]),
        np.concatenate([part.weight for part in parts]),
        np.concatenate([part.person for part in parts]),
        np.concatenate([part.film for part in parts]),
    )


def fit_questions(
    rows: Rows, shut: Mapping[str, int], closed: Mapping[str, int], smoothing: float
) -> Questions:
    """Are the lids down, and are lids that are down closed?"""
    rows = _together(rows, without(rows, _DETECTOR, WITHOUT_DETECTOR))
    lids_down = rows.y != OPEN_EYES
    down = rows.of(lids_down)
    is_closed = down.y == CLOSED_EYES
    return Questions(
        fit(rows.x, lids_down, _balanced(lids_down, rows.weight), shut, smoothing),
        fit(down.x, is_closed, _balanced(is_closed, down.weight), closed, smoothing, MOST_AGAINST),
    )


def asked_of_network(rows: Rows) -> Rows:
    """Those in which the eye network saw an eye."""
    return rows.of(~np.isnan(rows.x[:, list(MEASURES).index("net_shut")]))


def asked_of_landmarks(rows: Rows) -> Rows:
    """Those of people on film, as they would be without the network.

    Of small animated faces, and of closed eyes behind glasses in pictures, the mesh keeps the lids
    half apart. Only the network can tell that these are closed; landmarks alone would learn from
    them to call every squint closed.
    """
    return without(rows.of(rows.film), _NET)


def fit_fusion(rows: Rows, smoothing: Mapping[str, float]) -> dict[str, Questions]:
    """All questions, by who is there to be asked.

    Args:
        rows: of everybody to learn from.
        smoothing: for `network` and `landmarks`; that of `network` serves the detector, too.
    """
    heads = rows.of(~np.isnan(rows.x[:, list(MEASURES).index("detector")]))
    lids_down = heads.y != OPEN_EYES
    down = _balanced(lids_down, heads.weight)
    network = fit_questions(asked_of_network(rows), SHUT, CLOSED, smoothing["network"])
    bias = round(network.closed.bias + TOWARDS_CLOSED, 4)
    return {
        "network": replace(network, closed=replace(network.closed, bias=bias)),
        "landmarks": fit_questions(
            asked_of_landmarks(rows), SHUT_BY_LANDMARKS, CLOSED_BY_LANDMARKS, smoothing["landmarks"]
        ),
        "detector": Questions(
            fit(heads.x, lids_down, down, SHUT_BY_DETECTOR, smoothing["network"]),
            DETECTOR_MEANS_CLOSED,
        ),
    }


def _balanced(y: NDArray[np.bool_], weight: Floats) -> Floats:
    """Both answers weigh alike."""
    of_yes, of_no = weight[y].sum(), weight[~y].sum()
    return np.where(y, weight / max(of_yes, 1e-9), weight / max(of_no, 1e-9))


def loss_of(asked: Questions, rows: Rows) -> float:
    """Mean negative log-likelihood of the three states, the states weighing alike."""
    shut, closed = (
        1 / (1 + np.exp(-log_odds(model, rows.x))) for model in (asked.shut, asked.closed)
    )
    of = np.stack([1 - shut, shut * closed, shut * (1 - closed)])[rows.y, np.arange(len(rows.y))]
    lost = -np.log(np.maximum(of, 1e-6))
    means = [np.average(lost[rows.y == s], weights=rows.weight[rows.y == s])
             for s in range(3) if (rows.y == s).any()]  # fmt: skip
    return float(np.mean(means))


def loss_by_smoothing(
    rows: Rows,
    shut: Mapping[str, int],
    closed: Mapping[str, int],
    choices: Sequence[float],
    folds: int = 4,
) -> dict[float, float]:
    """Loss on people left out, for each strength of smoothing."""
    people = np.unique(rows.person)
    order = np.random.default_rng(0).permutation(len(people))
    fold_of = dict(zip(people[order].tolist(), np.arange(len(people)) % folds, strict=True))
    fold = np.array([fold_of[person] for person in rows.person.tolist()])

    def left_out(k: int, strength: float) -> float:
        asked = fit_questions(rows.of(fold != k), shut, closed, strength)
        return loss_of(asked, rows.of(fold == k))

    return {
        strength: float(np.mean([left_out(k, strength) for k in range(folds)]))
        for strength in choices
    }


def choose_smoothing(losses: Mapping[float, float]) -> float:
    """The least strength whose loss is within a hundredth of the best: ties keep sharp curves."""
    return min(s for s, loss in losses.items() if loss <= 1.01 * min(losses.values()))


def write_fusion(path: Path, asked: Mapping[str, Questions], card: Mapping[str, object]) -> None:
    """The model's file: its card, and the curves, with the sha256 of the curves."""
    curves = {
        witness: {"shut": both.shut.to_dict(), "closed": both.closed.to_dict()}
        for witness, both in asked.items()
    }
    content = json.dumps(curves, sort_keys=True, separators=(",", ":"))
    values = {
        "name": "eye_fusion",
        **card,
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
        "measures": MEASURES,
        **curves,
    }
    path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


# --- the command -------------------------------------------------------------------------------

SMOOTHING = (0.001, 0.003, 0.01, 0.03, 0.1)
# A real person is worth many animated ones: there are few, and animation is not life.
REAL = 20.0


def read_set(truth: Path, traces: Path) -> list[tuple[ClipTruth, list[Observation]]]:
    """The clips of a truth file with what was measured on them.

    Raises:
        ConfigError: the truth cannot be read, or a clip has no trace.
        SourceError: a trace is damaged.
    """
    clips = []
    for clip in read_truth(truth):
        trace = traces / f"{Path(clip.file).stem}{SUFFIX}"
        if not trace.is_file():
            raise ConfigError(
                f"{trace}: is not there; make it with `wakeful evaluate --truth {truth} "
                f"--traces {traces}`"
            )
        clips.append((clip, [given[0] for given in read_trace(trace)[1]]))
    return clips


def train(
    sets: Sequence[str],
    *,
    into: Path | None = None,
    leave_out: frozenset[str] = frozenset(),
    licence: str = "",
) -> list[str]:
    """Learn the curves and write them with their card.

    Args:
        sets: TRUTH=TRACES, each a truth file and the folder of its traces.
        into: the model's file; None for the one in use.
        leave_out: names of clips and people to learn nothing from.
        licence: of what was learned from.

    Returns:
        Lines for people: from what, and how well people left out were told.

    Raises:
        ConfigError: a set is not there.
        SourceError: a trace is damaged.
    """
    clips = [
        (clip, observations)
        for pair in sets
        for clip, observations in read_set(*_pair(pair))
        if not {clip.name, clip.person} & leave_out
    ]
    rows = gather(clips, Policy(), lambda clip: 1.0 if clip.animated else REAL)
    losses = {
        "network": loss_by_smoothing(asked_of_network(rows), SHUT, CLOSED, SMOOTHING),
        "landmarks": loss_by_smoothing(
            asked_of_landmarks(rows), SHUT_BY_LANDMARKS, CLOSED_BY_LANDMARKS, SMOOTHING
        ),
    }
    smoothing = {asked: choose_smoothing(by) for asked, by in losses.items()}
    card = {
        "description": "P(open), P(closed) and P(lowered) of a driver's eyes from what a frame and "
        "the second before it measure: two sums of curves, see monitor/engine/eye_state",
        "trained_on": _trained_on(rows, clips),
        "data_licence": licence,
        "left_out": sorted(leave_out),
        "smoothing": smoothing,
        "loss_on_people_left_out": {
            asked: {str(k): round(v, 4) for k, v in by.items()} for asked, by in losses.items()
        },
    }
    path = into or SHIPPED
    write_fusion(path, fit_fusion(rows, smoothing), card)
    return [
        f"{path}: {card['trained_on']}",
        f"loss on people left out, by smoothing: {card['loss_on_people_left_out']}",
    ]


def _pair(text: str) -> tuple[Path, Path]:
    truth, separator, traces = text.partition("=")
    if not separator:
        raise ConfigError(f"--set {text}: is TRUTH=TRACES, a file and a folder")
    return Path(truth), Path(traces)


def _trained_on(
    rows: Rows, clips: Sequence[tuple[ClipTruth, Sequence[Observation]]]
) -> dict[str, int]:
    states = np.bincount(rows.y, minlength=3)
    return {
        "animated_drives": sum(clip.animated for clip, _ in clips),
        "real_clips": sum(not clip.animated for clip, _ in clips),
        "people": len(np.unique(rows.person)),
        "frames_open": int(states[OPEN_EYES]),
        "frames_closed": int(states[CLOSED_EYES]),
        "frames_lowered": int(states[LOWERED_EYES]),
    }
