"""Degradations of the motion of a face, as an edited copy of its video would show it."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from engine.evaluation.motion_clips import MotionClip
from engine.faces.landmarker import BLENDSHAPES
from engine.features.records import FaceFeatures
from engine.motion.channels import COLUMNS
from engine.motion.signature import describe_signature
from engine.types import FPS

LEFT = [i for i, name in enumerate(BLENDSHAPES) if name.endswith("Left")]
RIGHT = [COLUMNS[BLENDSHAPES[i].removesuffix("Left") + "Right"] for i in LEFT]
ODD_POSE = [COLUMNS[name] for name in ("yaw", "roll", "x")]
FASTER = 1.1
SLOW_FPS = 15.0  # of a copy with dropped frames


def degrade(clip: MotionClip, name: str) -> MotionClip:
    """Return the clip after a degradation of `DEGRADATIONS`; frames that were not seen stay unseen."""
    places = PLACES.get(name, lambda n: np.arange(n, dtype=float))(len(clip.face.seen))
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, len(clip.face.seen) - 1)
    share = (places - low)[:, None]
    motion = clip.face.motion[low] * (1 - share) + clip.face.motion[high] * share
    motion = CHANGES.get(name, lambda rows: rows)(motion.astype(np.float32))
    seen = clip.face.seen[low] & clip.face.seen[high]
    face = _rebuild(clip.face, motion, seen)
    return replace(clip, face=face, signature=describe_signature(face))


def mirror(motion: np.ndarray) -> np.ndarray:
    """Return the motion (T, 58) of the mirrored picture."""
    mirrored = motion.copy()
    mirrored[:, LEFT], mirrored[:, RIGHT] = motion[:, RIGHT], motion[:, LEFT]
    mirrored[:, ODD_POSE] *= -1
    return mirrored


def _shuffle_halves(motion: np.ndarray) -> np.ndarray:
    return np.concatenate([motion[len(motion) // 2 :], motion[: len(motion) // 2]])


def _replace_half(motion: np.ndarray) -> np.ndarray:
    """Replace the second half by the first, backwards."""
    half = len(motion) - len(motion) // 2
    return np.concatenate([motion[:half], motion[:half][::-1][: len(motion) - half]])


def _hold(n_frames: int) -> np.ndarray:
    """Return the frame that is shown at each time when only `SLOW_FPS` are kept."""
    kept = np.floor(np.arange(n_frames) * SLOW_FPS / FPS)
    return np.minimum(np.ceil(kept * FPS / SLOW_FPS), n_frames - 1)


def _rebuild(face: FaceFeatures, motion: np.ndarray, seen: np.ndarray) -> FaceFeatures:
    n = len(motion)
    return FaceFeatures(
        face.start, np.zeros((n, 1), np.float32), seen, np.zeros(n, np.float32), face.face_px, face.thumbnail, motion
    )


PLACES: Mapping[str, Callable[[int], np.ndarray]] = {
    "1.1 times as fast": lambda n: np.arange(0, n - 1, FASTER),
    "frames dropped to 15 fps": _hold,
}
CHANGES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored": mirror,
    "halves exchanged": _shuffle_halves,
    "half replaced": _replace_half,
}
DEGRADATIONS = ("mirrored", "1.1 times as fast", "frames dropped to 15 fps", "halves exchanged", "half replaced")
