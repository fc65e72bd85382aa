"""Synthetic face tracks with smooth random motion, and the same motion transformed."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from engine.faces.landmark_features import N_MOTION
from engine.faces.landmarker import BLENDSHAPES
from engine.features.records import AudioFeatures, ClipFeatures, FaceFeatures
from engine.motion.channels import COLUMNS, MATRIX, REGION, REGIONS, MotionRegion

LEFT = [i for i, name in enumerate(BLENDSHAPES) if name.endswith("Left")]
RIGHT = [COLUMNS[BLENDSHAPES[i].removesuffix("Left") + "Right"] for i in LEFT]
ODD_POSE = [COLUMNS[name] for name in ("yaw", "roll", "x")]


def make_motion(seed: int, n_frames: int = 250) -> np.ndarray:
    """(T, 58): smooth random motion in every feature."""
    noise = np.random.default_rng(seed).normal(size=(n_frames, N_MOTION))
    return gaussian_filter1d(noise, 3.0, axis=0).astype(np.float32)


def make_face(motion: np.ndarray, start: int = 0, seen: np.ndarray | None = None) -> FaceFeatures:
    n_frames = len(motion)
    seen = np.ones(n_frames, bool) if seen is None else seen
    gap, thumbnail = np.zeros(n_frames, np.float32), np.zeros((96, 96, 3), np.uint8)
    return FaceFeatures(start, np.zeros((n_frames, 1)), seen, gap, 100.0, thumbnail, motion)


def mirror(motion: np.ndarray) -> np.ndarray:
    """Return the motion (T, 58) of the mirrored picture."""
    mirrored = motion.copy()
    mirrored[:, LEFT], mirrored[:, RIGHT] = motion[:, RIGHT], motion[:, LEFT]
    mirrored[:, ODD_POSE] *= -1
    return mirrored


def play(motion: np.ndarray, speed: float) -> np.ndarray:
    """Return the motion (T, 58) played `speed` times as fast."""
    places = np.arange(0, len(motion) - 1, speed)
    columns = [np.interp(places, np.arange(len(motion)), column) for column in motion.T]
    return np.stack(columns, axis=1).astype(np.float32)


def spoil(motion: np.ndarray, noise: float, seed: int = 99) -> np.ndarray:
    """Add other motion, `noise` times as strong."""
    return motion + noise * make_motion(seed, len(motion))


def replace_region(motion: np.ndarray, other: np.ndarray, region: MotionRegion) -> np.ndarray:
    """Take the features of a region from another motion (T, 58)."""
    columns = np.flatnonzero(MATRIX[:, REGIONS.index(region) == REGION].any(axis=1))
    mixed = motion.copy()
    mixed[:, columns] = other[: len(motion), columns]
    return mixed


def make_features(*motions: np.ndarray, name: str = "a.mp4", sha256: str = "ab" * 32) -> ClipFeatures:
    """Make the features of a clip without sound, with one face for each motion (T, 58)."""
    faces = tuple(make_face(motion) for motion in motions)
    n_frames = max((len(motion) for motion in motions), default=250)
    silent = np.zeros(n_frames, bool)
    audio = AudioFeatures(np.zeros((n_frames, 160), np.float32), silent, silent, -np.inf)
    return ClipFeatures(name, sha256, n_frames, (640, 480), 25.0, (), audio, faces, (), {})
