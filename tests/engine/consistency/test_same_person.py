"""Simultaneous faces with the same motion, against faces that move by themselves."""

import numpy as np
import pytest

from engine.consistency.same_person import match_faces
from engine.faces.landmark_features import N_MOTION
from engine.faces.landmarker import BLENDSHAPES
from engine.features.records import FaceFeatures

LEFT, RIGHT = ([i for i, name in enumerate(BLENDSHAPES) if name.endswith(end)] for end in ("Left", "Right"))
YAW, ROLL = len(BLENDSHAPES) + 1, len(BLENDSHAPES) + 2


def move(seed: int, n_frames: int = 200) -> FaceFeatures:
    """A face with smooth random motion in every signal."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n_frames + 8, N_MOTION + 1))
    rows = np.apply_along_axis(lambda row: np.convolve(row, np.hanning(9), "valid"), 0, noise).astype(np.float32)
    return make(rows[:, 0] * 0.05, rows[:, 1:])


def make(gap: np.ndarray, motion: np.ndarray, start: int = 0) -> FaceFeatures:
    n_frames = len(gap)
    thumbnail = np.zeros((96, 96, 3), np.uint8)
    return FaceFeatures(start, np.zeros((n_frames, 1)), np.ones(n_frames, bool), gap, 100.0, thumbnail, motion)


def mirror(face: FaceFeatures, noise: float = 0.0, start: int = 0) -> FaceFeatures:
    motion = face.motion.copy()
    motion[:, LEFT], motion[:, RIGHT] = face.motion[:, RIGHT], face.motion[:, LEFT]
    motion[:, [YAW, ROLL]] *= -1
    rng = np.random.default_rng(9)
    gap = face.gap * 1.1 + noise * face.gap.std() * rng.normal(size=len(face.gap))
    motion += noise * motion.std(0) * rng.normal(size=motion.shape)
    return make(gap.astype(np.float32), motion.astype(np.float32), start)


@pytest.mark.parametrize("noise", [0.0, 0.4])
@pytest.mark.parametrize("start", [-6, 0, 5])
def test_a_mirrored_and_delayed_copy_is_the_same_person(noise: float, start: int) -> None:
    face = move(1)
    copy = mirror(face, noise)
    shown = make(np.roll(copy.gap, start), np.roll(copy.motion, start, axis=0))
    assert match_faces([face, move(2), shown, mirror(face)]) == (None, None, 0, 0)


def test_other_people_are_not() -> None:
    assert match_faces([move(seed) for seed in range(12)]) == (None,) * 12


def test_one_after_the_other_is_not() -> None:
    face = move(1)
    assert match_faces([face, make(face.gap, face.motion, start=200)]) == (None, None)
    assert match_faces([face, make(face.gap, face.motion, start=160)]) == (None, None)


def test_faces_that_never_move_are_not() -> None:
    still = make(np.full(200, 0.2, np.float32), np.zeros((200, N_MOTION), np.float32))
    assert match_faces([still, still]) == (None, None)
