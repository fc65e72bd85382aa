"""Augment windows for style training: negatives with changed timing, and identity swaps with unchanged motion.

Each temporal augmentation maps windows (B, T, R) float32 and a random generator to windows of the same shape: the face
stays, the motion is rearranged, smoothed or redrawn. Several leave no discontinuities, so that a network that only
detects those fails on them.

An identity swap warps a still face of one clip, piecewise affine, by the landmarks of another clip: either onto the
shape of that clip, as a face swap does, or keeping the shape of the still face, as reenactment does. All coordinates
are pixels of aligned face crops.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from scipy.spatial import Delaunay

from engine.faces.face_crops import SIZE, AlignedFaces
from engine.synthesis.warping import bend, span_triangles

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Augmentation(StrEnum):
    """Temporal augmentation."""

    SHUFFLED = "shuffled"
    FROZEN = "frozen"
    REVERSED = "reversed"
    HASTENED = "hastened"
    SLOWED = "slowed"
    SMOOTHED = "smoothed"  # temporal low-pass
    SWAPPED = "swapped segments"
    PHASES = "random phases"  # power and cross spectra of all features stay
    WANDERING = "wandering"  # smooth random walk through the frames of the window
    WARPED = "warped"  # smoothly varying speed
    SMOOTH_SHUFFLED = "smoothed shuffle"  # shuffled, smoothed without jumps, original variance


TRAINED = (
    Augmentation.SHUFFLED,
    Augmentation.FROZEN,
    Augmentation.REVERSED,
    Augmentation.HASTENED,
    Augmentation.SLOWED,
    Augmentation.SMOOTHED,
    Augmentation.SWAPPED,
    Augmentation.PHASES,
)
"""Used in training; the others are for validation only, so that they are new to the network."""


def augment(windows: np.ndarray, kinds: Sequence[Augmentation], rng: np.random.Generator) -> np.ndarray:
    """Apply one of the kinds, drawn at random, to each window (B, T, R)."""
    chosen = rng.integers(0, len(kinds), len(windows))
    distorted = windows.copy()
    for number, kind in enumerate(kinds):
        own = np.flatnonzero(chosen == number)
        if len(own):
            distorted[own] = AUGMENT[kind](windows[own], rng)
    return distorted


def resample(windows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Interpolate windows (B, T, R) linearly at fractional frames (B, S), clamped to the window."""
    places = np.clip(places, 0, windows.shape[1] - 1)
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, windows.shape[1] - 1)
    share = (places - below)[..., None].astype(np.float32)
    rows = np.arange(len(windows))[:, None]
    taken: np.ndarray = windows[rows, below] * (1 - share) + windows[rows, above] * share
    return taken


def smooth(windows: np.ndarray, deviation: float) -> np.ndarray:
    """Filter (B, T, R) over time by a Gaussian with a standard deviation in frames, mirrored at the ends."""
    reach = round(3 * deviation)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    kernel /= kernel.sum()
    held = np.pad(windows, ((0, 0), (reach, reach), (0, 0)), mode="reflect")
    length = windows.shape[1]
    smoothed = sum(share * held[:, shift : shift + length] for shift, share in enumerate(kernel))
    return np.asarray(smoothed, np.float32)


def _shuffle(windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    order = rng.permuted(np.tile(np.arange(windows.shape[1]), (len(windows), 1)), axis=1)
    shuffled: np.ndarray = windows[np.arange(len(windows))[:, None], order]
    return shuffled


def _freeze(windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    chosen = windows[np.arange(len(windows)), rng.integers(0, windows.shape[1], len(windows))]
    return np.repeat(chosen[:, None], windows.shape[1], axis=1)


def _reverse(windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return windows[:, ::-1].copy()


def _hasten(windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Speed up by 1.3 to 2.2, reflected at the end."""
    last = windows.shape[1] - 1
    places = np.arange(last + 1) * rng.uniform(1.3, 2.2, (len(windows), 1)) % (2 * last)
    return resample(windows, np.where(places > last, 2 * last - places, places))


def _slow(windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Slow down to 0.45 to 0.77 of the speed, from a random start in the window."""
    last = windows.shape[1] - 1
    speed = rng.uniform(0.45, 0.77, (len(windows), 1))
    return resample(windows, (rng.random((len(windows), 1)) * (1 - speed)) * last + np.arange(last + 1) * speed)


def _low_pass(windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return smooth(windows, 3.0)


def _swap_segments(windows: np.ndarray, rng: np.random.Generator, n_segments: int = 4) -> np.ndarray:
    length = windows.shape[1]
    swapped = []
    for window in windows:
        cuts = np.sort(rng.choice(np.arange(4, length - 4), n_segments - 1, replace=False))
        parts = np.split(np.arange(length), cuts)
        swapped.append(window[np.concatenate([parts[part] for part in rng.permutation(n_segments)])])
    return np.stack(swapped)


def _draw_phases(windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    spectrum = np.fft.rfft(windows, axis=1)
    turns = np.exp(2j * np.pi * rng.random((len(windows), spectrum.shape[1], 1)))
    turns[:, 0] = 1
    return np.fft.irfft(spectrum * turns, n=windows.shape[1], axis=1).astype(np.float32)


def _wander(windows: np.ndarray, rng: np.random.Generator, n_knots: int = 4) -> np.ndarray:
    knots = rng.uniform(0, windows.shape[1] - 1, (len(windows), n_knots))
    return resample(windows, _join_knots(knots, windows.shape[1]))


def _warp(windows: np.ndarray, rng: np.random.Generator, n_parts: int = 6) -> np.ndarray:
    last = windows.shape[1] - 1
    paces = np.exp(rng.normal(0, 0.9, (len(windows), n_parts)))
    knots = np.hstack([np.zeros((len(windows), 1)), np.cumsum(paces, axis=1)])
    places = _join_knots(knots / knots[:, -1:] * last, last + 1)
    return resample(windows, smooth(places[..., None].astype(np.float32), 1.0)[..., 0])


def _smooth_shuffle(windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    shuffled = smooth(_shuffle(windows, rng), 1.2)
    shuffled -= shuffled.mean(1, keepdims=True)
    wide = windows.std(1, keepdims=True) / (shuffled.std(1, keepdims=True) + 1e-6)
    return (windows.mean(1, keepdims=True) + shuffled * wide).astype(np.float32)


def _join_knots(knots: np.ndarray, length: int) -> np.ndarray:
    """Return (B, length): a curve through knots (B, K) with zero slope at each."""
    at = np.linspace(0, knots.shape[1] - 1, length)
    below = np.minimum(at.astype(int), knots.shape[1] - 2)
    share = at - below
    share = share * share * (3 - 2 * share)
    curve: np.ndarray = knots[:, below] * (1 - share) + knots[:, below + 1] * share
    return curve


AUGMENT: dict[Augmentation, Augment] = {
    Augmentation.SHUFFLED: _shuffle,
    Augmentation.FROZEN: _freeze,
    Augmentation.REVERSED: _reverse,
    Augmentation.HASTENED: _hasten,
    Augmentation.SLOWED: _slow,
    Augmentation.SMOOTHED: _low_pass,
    Augmentation.SWAPPED: _swap_segments,
    Augmentation.PHASES: _draw_phases,
    Augmentation.WANDERING: _wander,
    Augmentation.WARPED: _warp,
    Augmentation.SMOOTH_SHUFFLED: _smooth_shuffle,
}


_RIM = np.array([(x, y) for x in (0, 21, 42, 63) for y in (0, 63)] + [(x, y) for x in (0, 63) for y in (21, 42)], float)
_PIXELS = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), axis=-1).astype(np.float32)  # (64, 64, 2) x, y


@dataclass(frozen=True, slots=True, eq=False)
class StillFace:
    """One frame of a face."""

    picture: np.ndarray  # (64, 64) uint8
    points: np.ndarray  # (108, 2) float32, pixels


def swap_identity(still: StillFace, motion: np.ndarray, keep_shape: bool) -> AlignedFaces:
    """Animate a still face by landmarks (T, 108, 2).

    `keep_shape` keeps the shape of the still face; otherwise it takes the shape of the landmarks.
    """
    away = motion - np.median(motion, axis=0)
    rest = still.points if keep_shape else np.median(motion, axis=0)
    corners = np.vstack([rest, _RIM])
    based = _place(still, corners)
    weights, owners = _weigh_corners(corners)
    shifts = np.concatenate([away, np.zeros((len(away), len(_RIM), 2))], axis=1)  # (T, V, 2)
    fields = (shifts[:, owners] * weights[None, ..., None]).sum(2)  # (T, 4096, 2)
    moved = [_shift(based, field.reshape(SIZE, SIZE, 2).astype(np.float32)) for field in fields]
    return AlignedFaces(np.stack(moved), (rest + away).astype(np.float32))


def _place(still: StillFace, corners: np.ndarray) -> np.ndarray:
    """Warp the still face so that its points lie at the corners (V, 2)."""
    own = np.vstack([still.points, _RIM])
    colour = np.repeat(still.picture[..., None], 3, axis=2)
    bent = bend(colour, own, corners, span_triangles(own), (0, 0, SIZE, SIZE))
    placed: np.ndarray = np.where(bent.covered, bent.image[..., 0], still.picture)
    return placed


def _weigh_corners(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (4096, 3) barycentric weights and corner indices of the triangle of each pixel."""
    mesh = Delaunay(corners)
    pixels = _PIXELS.reshape(-1, 2).astype(np.float64)
    found = mesh.find_simplex(pixels)
    found = np.where(found < 0, 0, found)
    transforms = mesh.transform[found]
    first = np.einsum("nij,nj->ni", transforms[:, :2], pixels - transforms[:, 2])
    weights = np.column_stack([first, 1 - first.sum(1)])
    return np.clip(np.nan_to_num(weights), 0, 1), mesh.simplices[found]


def _shift(picture: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Shift pixels by a field (64, 64, 2) that is small relative to the triangles."""
    source = _PIXELS - field
    return cv2.remap(picture, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
