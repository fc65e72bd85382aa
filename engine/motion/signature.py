"""Motion signature of a face track: scaled velocities of its channels, weighted by motion above landmark noise."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter1d

from engine.features.records import FaceFeatures
from engine.motion.channels import MATRIX, N_CHANNELS, sum_regions
from engine.types import FPS

VERSION = 1
"""Increase when the same features and options yield another signature or alignment."""
TINY = 1e-9
NOISE_GAIN = 20.0  # variance of a third difference of white noise over that of the noise: 1 + 9 + 9 + 1
ROUNDS = 2  # of clipping and scaling
REACH = 10  # frames after which velocities are taken as uncorrelated
MAD = 1.4826  # deviation of a normal variable over its median absolute deviation


@dataclass(frozen=True, slots=True)
class SignatureOptions:
    """Options of a signature; they enter the recipe."""

    recipe_name: ClassVar = "SignatureOptions"

    smoothing: float = 1.2  # deviation of the Gaussian that velocities are smoothed with, in frames
    limit: float = 3.0  # velocities are clipped to this many deviations, so that no single blink decides


@dataclass(frozen=True, slots=True, eq=False)
class MotionSignature:
    """Motion of one face through one shot, at 25 Hz."""

    start: int  # frame number of row 0
    rows: np.ndarray  # (T, C) float32: velocities of unit variance times the weight of the channel; 0 where not valid
    valid: np.ndarray  # (T,) bool: seen, and so are the frames that the velocity is computed from
    motion: np.ndarray  # (R,) float32: number of channels of a region that move, each counted by its weight
    covariance: np.ndarray  # (REACH + 1, C, C) float32: of the rows with those up to REACH frames later

    @property
    def seconds(self) -> float:
        """Seconds with valid rows."""
        return int(self.valid.sum()) / FPS


def describe_signature(face: FaceFeatures, options: SignatureOptions | None = None) -> MotionSignature:
    """Compute the signature of a face track."""
    options = options or SignatureOptions()
    values = face.motion.astype(np.float64) @ MATRIX  # (T, C)
    values -= values.mean(axis=0)
    kernel = gaussian_filter1d(_impulse(options.smoothing), options.smoothing, order=1)
    velocity = gaussian_filter1d(values, options.smoothing, axis=0, order=1, mode="nearest")
    valid = ~binary_dilation(~face.seen, iterations=round(options.smoothing) + 1)
    if valid.sum() < 4:
        return build_signature(face.start, np.zeros((len(valid), N_CHANNELS), np.float32), valid & False)
    power = (velocity[valid] ** 2).mean(axis=0)
    noise = _estimate_noise(values, face.seen) * (kernel**2).sum()
    weight = np.sqrt(np.clip(1 - noise / np.maximum(power, TINY), 0, 1))
    scaled = _scale(velocity, valid)
    for _ in range(ROUNDS):
        scaled = _scale(scaled.clip(-options.limit, options.limit), valid)
    return build_signature(face.start, (scaled * weight).astype(np.float32), valid)


def build_signature(start: int, rows: np.ndarray, valid: np.ndarray) -> MotionSignature:
    """Build a signature from its rows (T, C), which are zero where not `valid` (T,)."""
    covariance = find_covariance(rows, int(valid.sum()))
    deviation = np.sqrt(np.diagonal(covariance[0]))
    return MotionSignature(start, rows, valid, sum_regions(deviation), covariance.astype(np.float32))


def find_covariance(rows: np.ndarray, n_rows: int) -> np.ndarray:
    """Return the covariance (REACH + 1, C, C) of rows (T, C) with those 0 to REACH frames later, over `n_rows`."""
    padded = np.concatenate([rows, np.zeros((REACH, rows.shape[1]), rows.dtype)])
    later = (padded[lag : lag + len(rows)] for lag in range(REACH + 1))
    return np.stack([rows.T @ one for one in later]) / max(n_rows, 1)


def _scale(rows: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Scale (T, C) to a mean square of 1 over the valid rows, and zero the others."""
    deviation = np.sqrt((rows[valid] ** 2).mean(axis=0))
    return np.where(valid[:, None], rows / np.maximum(deviation, TINY), 0.0)


def _estimate_noise(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Estimate the variance (C,) of white noise from third differences, which smooth motion hardly affects."""
    steps = np.diff(values, 3, axis=0)
    usable = seen[3:] & seen[2:-1] & seen[1:-2] & seen[:-3]
    if not usable.any():
        return np.zeros(values.shape[1])
    deviation: np.ndarray = MAD * np.median(np.abs(steps[usable]), axis=0)
    return deviation**2 / NOISE_GAIN


def _impulse(smoothing: float) -> np.ndarray:
    length = 2 * int(np.ceil(4 * smoothing)) + 3
    impulse = np.zeros(length)
    impulse[length // 2] = 1
    return impulse
