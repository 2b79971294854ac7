"""One stored eye crop as another camera, light, lens and head would show it.

Geometry (shift, turn, zoom, squeeze), glasses with frames and reflections, things in front of the
eye, loss of resolution down to an eye of ten pixels, motion, light and noise.
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
HIDDEN, PARTLY_HIDDEN, GLASSES, SMALL, MOVED = 0.04, 0.06, 0.15, 0.3, 0.1
# A left eye is a mirrored right eye; where the side is known most stay as they are.
MIRRORED = {True: 0.5, False: 0.15}
LEAST_SPREAD = 5.0  # grey levels that darkening leaves between dark and bright


def vary(crop: Image, other: Image, rng: Generator, *, either_side: bool) -> tuple[Image, bool]:
    """Change one crop by chance.

    Args:
        crop: (80, 80) as stored.
        other: another stored crop, the stuff that hands, hair and reflections are made of.
        rng: decides.
        either_side: nobody knows whether it is a left or a right eye.

    Returns:
        (40, 40) as the network sees it, and whether the eye was hidden.
    """
    image, chance = crop, rng.random()
    hidden = chance < HIDDEN
    if chance < HIDDEN + PARTLY_HIDDEN:
        image = _covered(image, other, rng, wholly=hidden)
    if not hidden and rng.random() < GLASSES:
        image = _behind_glasses(image, rng)
    image = _moved(image, rng, mirror=rng.random() < MIRRORED[either_side])
    return _relit(_coarser(image, rng), rng), bool(hidden)


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


def _relit(image: Image, rng: Generator) -> Image:
    out = image.astype(np.float32)
    if rng.random() < 0.1:
        _beside_a_window(out, rng)
    if rng.random() < 0.5:
        across, down = (np.linspace(-1, 1, CROP_PX) * rng.uniform(-0.6, 0.6) for _ in "xy")
        out *= (1 + across[None] + down[:, None]).astype(np.float32)
    spread = float(out.std()) + 1e-3
    darkest = min(max(LEAST_SPREAD / spread, 0.12), 1.0)
    gain = float(np.exp(rng.uniform(np.log(darkest), np.log(1.5))))
    out = 255 * np.clip(out / 255 * gain, 0, 1) ** rng.uniform(0.6, 1.5)
    noise = rng.uniform(0, 0.3) ** 1.5 / 0.3**0.5 * spread * min(gain, 1)
    lit = np.clip(out + rng.normal(0, 1, out.shape) * noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))]
        lit = np.asarray(cv2.imdecode(cv2.imencode(".jpg", lit, quality)[1], 0), np.uint8)
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
        glare = np.zeros_like(out)
        spot = (int(rng.uniform(0.2, 0.8) * ROOM_PX), int(rng.uniform(0.25, 0.75) * ROOM_PX))
        wide = rng.uniform(1.5, 7) if rng.random() < 0.6 else rng.uniform(5, 14)
        axes = (int(wide + 1), int(max(wide * rng.uniform(0.4, 1), 1)))
        tilt, shine = float(rng.uniform(-60, 60)), float(rng.uniform(60, 255))
        cv2.ellipse(glare, spot, axes, tilt, 0, 360, shine, -1)
        out += cv2.GaussianBlur(glare, (0, 0), float(rng.uniform(0.4, 2.5)))
    return np.clip(out, 0, 255).astype(np.uint8)
