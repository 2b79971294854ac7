"""Stored eye crops as another camera, light, lens and head would show them.

Geometry (shift, turn, zoom, squeeze), glasses with frames and reflections, things in front of the
eye, loss of resolution down to an eye of ten pixels, motion, light and noise.

Of glasses there are two kinds. Through spectacles lids are still to be seen, past a rim, a tint,
the hard dot of an infra-red lamp or a soft reflection: the label stays. Behind a mirrored or dark
lens what is seen is the lens: windows and screens with straight bright edges, a wire rim with
glints, the eye a shadow at most. Then the eye is not visible.
"""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from models.data.eyes import ROOM_PX, VIEW_PX
from models.inference.eye_crops import CROP_PX

Image = NDArray[np.uint8]
_Grey = NDArray[np.float32]

# Shares of the crops drawn.
HIDDEN, MIRRORED_LENS, PARTLY_HIDDEN, GLASSES = 0.03, 0.03, 0.05, 0.22
SMALL, MOVED = 0.3, 0.1
LEAST_SPREAD = 5.0  # grey levels that darkening leaves between dark and bright
_SLOPE = np.linspace(-1, 1, CROP_PX)


def vary(crop: Image, other: Image, rng: Generator) -> tuple[Image, bool]:
    """Change one crop by chance: all but its light, which `relight` changes for a whole batch.

    Args:
        crop: (80, 80) as stored.
        other: another stored crop, the stuff that hands, hair and reflections are made of.
        rng: decides.

    Returns:
        (40, 40) as the network sees it, and whether the eye was hidden.
    """
    image, chance = crop, rng.random()
    hidden = chance < HIDDEN + MIRRORED_LENS
    if chance < HIDDEN:
        image = _covered(image, other, rng, wholly=True)
    elif hidden:
        image = _behind_mirror(image, other, rng)
    elif chance < HIDDEN + MIRRORED_LENS + PARTLY_HIDDEN:
        image = _covered(image, other, rng, wholly=False)
    if not hidden and rng.random() < GLASSES:
        image = _behind_glasses(image, rng)
    image = _moved(image, rng, mirror=rng.random() < 0.5)
    return _coarser(image, rng), bool(hidden)


def _moved(image: Image, rng: Generator, *, mirror: bool) -> Image:
    scale = CROP_PX / VIEW_PX * float(np.exp(rng.normal(0, 0.12)))
    middle = np.full(2, ROOM_PX / 2)
    matrix = cv2.getRotationMatrix2D((ROOM_PX / 2, ROOM_PX / 2), rng.normal(0, 7), scale)
    matrix[1] *= rng.uniform(0.82, 1.18)  # seen from above or below; squeezed pictures
    if mirror:
        matrix[:, 0] *= -1
    matrix[:, 2] = CROP_PX / 2 - matrix[:, :2] @ middle + rng.normal(0, 1.7, 2)
    size = (CROP_PX, CROP_PX)
    return np.asarray(
        cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REFLECT_101), np.uint8
    )


def _coarser(image: Image, rng: Generator) -> Image:
    chance, size = rng.random(), (CROP_PX, CROP_PX)
    if chance < SMALL:
        side = int(np.exp(rng.uniform(np.log(15), np.log(CROP_PX))))
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    if chance < SMALL + MOVED:
        length = int(rng.integers(2, 6))
        line = np.zeros((length, length), np.float32)
        line[length // 2] = 1
        middle = ((length - 1) / 2, (length - 1) / 2)
        spin = cv2.getRotationMatrix2D(middle, rng.uniform(0, 180), 1)
        kernel = cv2.warpAffine(line, spin, (length, length))
        return np.asarray(cv2.filter2D(image, -1, kernel / max(kernel.sum(), 1e-6)), np.uint8)
    return image


def relight(crops: Image, rng: Generator) -> Image:
    """A batch in other light, with a sensor's noise and some of it through JPEG: (N, 40, 40)."""
    count = len(crops)
    out = crops.astype(np.float32)
    for index in np.flatnonzero(rng.random(count) < 0.1):
        _beside_a_window(out[index], rng)
    slopes = rng.uniform(-0.6, 0.6, (2, count, 1)) * (rng.random((count, 1)) < 0.5)
    across, down = (slopes * _SLOPE).astype(np.float32)
    out *= 1 + across[:, None] + down[:, :, None]
    spread = out.std((1, 2)) + 1e-3
    darkest = np.clip(LEAST_SPREAD / spread, 0.12, 1.0)
    gain = np.exp(rng.uniform(np.log(darkest), np.log(1.5))).astype(np.float32)
    gamma = rng.uniform(0.6, 1.5, count).astype(np.float32)
    out = 255 * np.clip(out * (gain / 255)[:, None, None], 0, 1) ** gamma[:, None, None]
    noise = rng.uniform(0, 0.3, count) ** 1.5 / 0.3**0.5 * spread * np.minimum(gain, 1)
    grain = rng.standard_normal(out.shape, np.float32) * noise.astype(np.float32)[:, None, None]
    lit = np.clip(out + grain, 0, 255).astype(np.uint8)
    for index in np.flatnonzero(rng.random(count) < 0.3):
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))]
        lit[index] = cv2.imdecode(cv2.imencode(".jpg", lit[index], quality)[1], 0)
    return np.asarray(lit, np.uint8)


def _beside_a_window(image: _Grey, rng: Generator) -> None:
    """Bright background where the turned face ends."""
    edge, slant = rng.uniform(0, 0.3) * CROP_PX, rng.uniform(-0.3, 0.3) * CROP_PX
    corners = np.array([[0, 0], [edge + slant, 0], [edge - slant, CROP_PX], [0, CROP_PX]])
    if rng.random() < 0.5:
        corners[:, 0] = CROP_PX - corners[:, 0]
    cv2.fillPoly(image, [corners.astype(np.int32)], float(rng.uniform(120, 255)), cv2.LINE_AA)


# --- in front of the eye -----------------------------------------------------------------------


def _covered(image: Image, other: Image, rng: Generator, *, wholly: bool) -> Image:
    """Something in front: an opaque lens or a hand over the eye, or a strand beside it."""
    lens = wholly and rng.random() < 0.6
    mask = _lens(rng) if lens else _edge(rng, wholly=wholly)
    share = mask.astype(np.float32) / 255 * rng.uniform(0.93 if wholly else 0.7, 1)
    out = image * (1 - share) + _stuff(other, rng) * share
    if lens and rng.random() < 0.6:
        rims, _ = cv2.findContours(
            (mask > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        tone, thick = float(rng.uniform(0, 220)), int(rng.integers(1, 5))
        cv2.drawContours(out, rims, -1, tone, thick, cv2.LINE_AA)
    return np.clip(out, 0, 255).astype(np.uint8)


def _lens(rng: Generator) -> Image:
    mask = np.zeros((ROOM_PX, ROOM_PX), np.uint8)
    turn, squareness = np.linspace(0, 2 * np.pi, 40), rng.uniform(2, 5)
    half = ROOM_PX * np.array([rng.uniform(0.26, 0.5), rng.uniform(0.2, 0.45)])
    rim = np.stack([np.cos(turn), np.sin(turn)], 1)
    rim = np.sign(rim) * np.abs(rim) ** (2 / squareness) * half
    rim += ROOM_PX / 2 + rng.normal((0, 1), 2.5)
    cv2.fillPoly(mask, [np.round(rim * 8).astype(np.int32)], 255, cv2.LINE_AA, 3)
    return mask


def _edge(rng: Generator, *, wholly: bool) -> Image:
    """One side of a slanting edge: beyond the eye (wholly) or short of it."""
    angle = rng.uniform(0, 2 * np.pi)
    reach = rng.uniform(15, 40) if wholly else rng.uniform(-34, -20)
    across, down = np.meshgrid(*[np.arange(ROOM_PX) - ROOM_PX / 2] * 2)
    before = across * np.cos(angle) + down * np.sin(angle) * (1.0 if wholly else 1.35) < reach
    return np.asarray(cv2.GaussianBlur((before * 255).astype(np.uint8), (0, 0), 1), np.uint8)


def _stuff(other: Image, rng: Generator) -> _Grey:
    """Skin or hair (a corner of another crop, blown up), a lens with a dim reflection, or plain."""
    size, chance = (ROOM_PX, ROOM_PX), rng.random()
    slope = np.linspace(-1, 1, ROOM_PX)
    if chance < 0.45:
        side = int(rng.integers(10, 26))
        left, top = (
            int(
                rng.choice([rng.integers(0, 14), rng.integers(ROOM_PX - side - 14, ROOM_PX - side)])
            )
            for _ in "xy"
        )
        corner = other[top : top + side, left : left + side]
        out = cv2.resize(corner, size, interpolation=cv2.INTER_CUBIC).astype(np.float32)
        out = (out - out.mean()) * rng.uniform(0.3, 1.5) + rng.uniform(30, 210)
    elif chance < 0.8:
        out = cv2.GaussianBlur(other, (0, 0), rng.uniform(0.5, 5)).astype(np.float32)
        out = np.rot90(out, int(rng.integers(4))) * rng.uniform(0, 0.35) + rng.uniform(5, 70)
        angle = rng.uniform(0, np.pi)
        tilt = slope[None] * np.cos(angle) + slope[:, None] * np.sin(angle)
        out = out * (1 + rng.uniform(-0.5, 0.9) * tilt)
    else:
        plain = np.full((ROOM_PX, ROOM_PX), rng.uniform(0, 255))
        out = plain * (1 + rng.uniform(-0.3, 0.3) * slope[:, None])
    grain = rng.normal(0, 1, (ROOM_PX, ROOM_PX)) * rng.uniform(0, 5)
    return np.asarray(out + grain, np.float32)


def _behind_glasses(image: Image, rng: Generator) -> Image:
    """A frame round the eye, a tint, a reflection of a lamp."""
    out = image.astype(np.float32)
    if rng.random() < 0.5:
        out = out * rng.uniform(0.55, 1.0) + rng.uniform(0, 40)
    centre = (int(ROOM_PX / 2 + rng.normal(0, 5)), int(ROOM_PX / 2 + rng.normal(4, 4)))
    half = (int(ROOM_PX * rng.uniform(0.3, 0.5)), int(ROOM_PX * rng.uniform(0.22, 0.42)))
    tone = float(rng.choice([rng.uniform(0, 60), rng.uniform(120, 230)], p=[0.7, 0.3]))
    thick = int(rng.integers(1, 6))
    if rng.random() < 0.5:
        cv2.ellipse(out, centre, half, float(rng.normal(0, 6)), 0, 360, tone, thick, cv2.LINE_AA)
    else:
        low = (centre[0] - half[0], centre[1] - half[1])
        high = (centre[0] + half[0], centre[1] + half[1])
        cv2.rectangle(out, low, high, tone, thick, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 3))):
        out += _glare(rng)
    if rng.random() < 0.4:
        _lamp_dots(out, rng)
    return np.clip(out, 0, 255).astype(np.uint8)


def _glare(rng: Generator) -> _Grey:
    """A soft reflection, a few pixels to a third of the crop wide."""
    glare = np.zeros((ROOM_PX, ROOM_PX), np.float32)
    spot = (int(rng.uniform(0.2, 0.8) * ROOM_PX), int(rng.uniform(0.25, 0.75) * ROOM_PX))
    wide = rng.uniform(1.5, 7) if rng.random() < 0.6 else rng.uniform(5, 14)
    axes = (int(wide + 1), int(max(wide * rng.uniform(0.4, 1), 1)))
    tilt, shine = float(rng.uniform(-60, 60)), float(rng.uniform(60, 255))
    cv2.ellipse(glare, spot, axes, tilt, 0, 360, shine, -1)
    return np.asarray(cv2.GaussianBlur(glare, (0, 0), float(rng.uniform(0.4, 2.5))), np.float32)


def _lamp_dots(image: _Grey, rng: Generator) -> None:
    """The camera's own infra-red lamps in the lens: saturated dots with hard edges."""
    x, y = ROOM_PX / 2 + rng.normal((2, 2), (9, 6))
    radius = float(rng.uniform(1.5, 5))
    for turn in range(int(rng.integers(1, 4))):
        spot = (int(x + 1.7 * turn * radius), int(y + rng.normal(0, 1)))
        axes = (int(radius + 0.5), int(radius * rng.uniform(0.7, 1.2) + 0.5))
        cv2.ellipse(image, spot, axes, 0, 0, 360, float(rng.uniform(200, 255)), -1, cv2.LINE_AA)


def _behind_mirror(image: Image, other: Image, rng: Generator) -> Image:
    """A mirrored or dark lens: its reflections are seen, of the eye a shadow at most."""
    shadow = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 3)).astype(np.float32)
    spread = float(image.std()) + 4
    seen = (shadow - shadow.mean()) * rng.uniform(0, 0.35) + rng.uniform(0.6, 3) * spread
    angle, slope = rng.normal(np.pi / 2, 0.5), np.linspace(-1, 1, ROOM_PX)
    tilt = slope[None] * np.cos(angle) + slope[:, None] * np.sin(angle)
    lens = seen + spread * rng.uniform(-0.3, 1.5) * np.clip(tilt * rng.uniform(1, 3), -1, 1)
    if rng.random() < 0.5:
        mirrored = cv2.GaussianBlur(other, (0, 0), rng.uniform(1, 4)).astype(np.float32)
        lens += (np.rot90(mirrored, 2) - mirrored.mean()) * rng.uniform(0, 0.4)
    for _ in range(int(rng.integers(1, 4))):
        _window(lens, spread * rng.uniform(1.5, 6), rng)
    for _ in range(int(rng.integers(0, 5))):
        spot = (int(rng.uniform(0.2, 0.8) * ROOM_PX), int(rng.uniform(0.3, 0.8) * ROOM_PX))
        axes = (int(rng.integers(1, 5)), int(rng.integers(1, 3)))
        cv2.ellipse(lens, spot, axes, 0, 0, 360, float(lens.max()), -1, cv2.LINE_AA)
    mask = _wide_lens(rng)
    share = (mask / 255.0).astype(np.float32)
    out = image * (1 - share) + lens * share
    _wire(out, mask, rng)
    return np.asarray(np.clip(out, 0, 255), np.uint8)


def _window(lens: _Grey, brighter: float, rng: Generator) -> None:
    """A window, a screen or a bright road: a four-cornered patch with sharp edges."""
    middle = rng.uniform(0.25, 0.75, 2) * ROOM_PX
    half = rng.uniform(3, 18), rng.uniform(2, 12)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half + rng.normal(0, 2, (4, 2))
    patch = np.zeros((ROOM_PX, ROOM_PX), np.float32)
    cv2.fillPoly(patch, [np.round((corners + middle) * 8).astype(np.int32)], 1, cv2.LINE_AA, 3)
    lens += patch * brighter * rng.uniform(0.3, 1)


def _wide_lens(rng: Generator) -> Image:
    """A lens that reaches beyond the eye on all sides, round below as aviators are, or dropped."""
    mask = np.zeros((ROOM_PX, ROOM_PX), np.uint8)
    turn = np.linspace(0, 2 * np.pi, 40)
    half = ROOM_PX * np.array([rng.uniform(0.4, 0.75), rng.uniform(0.3, 0.65)])
    rim = np.stack([np.cos(turn), np.sin(turn)], 1)
    rim = np.sign(rim) * np.abs(rim) ** (2 / rng.uniform(2, 4)) * half
    rim += ROOM_PX / 2 + rng.normal((0, 2), (8, 5))
    cv2.fillPoly(mask, [np.round(rim * 8).astype(np.int32)], 255, cv2.LINE_AA, 3)
    return np.asarray(mask, np.uint8)


def _wire(image: _Grey, mask: Image, rng: Generator) -> None:
    """A rim: thin and bright with glints, or dark."""
    rims, _ = cv2.findContours(
        (mask > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    bright = rng.random() < 0.6
    tone = float(image.max() if bright else rng.uniform(0, 40))
    cv2.drawContours(image, rims, -1, tone, 1 if bright else int(rng.integers(1, 5)), cv2.LINE_AA)
