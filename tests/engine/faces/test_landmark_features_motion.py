"""Motion rows: what a head does stands in its own column, and who it is nowhere."""

import numpy as np
from scipy.spatial.transform import Rotation

from engine.faces.landmark_features import N_MOTION, N_SHAPES, STABLE, STABLE_SHAPE, describe_motion
from engine.types import FaceTrack


def make_track(turns: np.ndarray, sizes: np.ndarray, places: np.ndarray, seed: int = 0) -> FaceTrack:
    """A random rigid head (T frames) turned by rotation vectors (T, 3), sized in pixels (T,), placed at (T, 2)."""
    rng = np.random.default_rng(seed)
    head = rng.normal(0, 0.3, (478, 3))
    head[list(STABLE)] = STABLE_SHAPE
    turned = np.einsum("pi,tij->tpj", head, Rotation.from_rotvec(turns).as_matrix().transpose(0, 2, 1))
    landmarks = turned * sizes[:, None, None]
    landmarks[..., :2] += places[:, None]
    n_frames = len(turns)
    return FaceTrack(
        0,
        np.zeros((n_frames, 4), np.float32),
        landmarks.astype(np.float32),
        rng.random((n_frames, N_SHAPES), np.float32),
        np.ones(n_frames, bool),
        np.zeros((96, 96, 3), np.uint8),
    )


def test_a_nod_a_step_and_a_lean_stand_in_their_own_columns() -> None:
    steps = np.linspace(0, 1, 5)
    zeros = np.zeros((5, 3))
    nod = describe_motion(make_track(steps[:, None] * [0.2, 0, 0], np.full(5, 80.0), np.zeros((5, 2))))
    step = describe_motion(make_track(zeros, np.full(5, 80.0), steps[:, None] * [40.0, 0]))
    lean = describe_motion(make_track(zeros, 80 * np.exp(0.1 * steps), np.zeros((5, 2))))
    assert nod.shape == (5, N_MOTION)
    moved = [np.ptp(rows[:, N_SHAPES:], axis=0) for rows in (nod, step, lean)]
    np.testing.assert_allclose(moved[0][0], 0.2, atol=0.01)
    assert moved[0][1:3].max() < 0.01
    np.testing.assert_allclose(moved[1][3], 0.5, atol=0.01)
    assert moved[1][[0, 1, 2, 4, 5]].max() < 0.01
    np.testing.assert_allclose(moved[2][5], 0.1, atol=0.01)


def test_the_size_of_the_picture_and_the_shape_of_the_face_are_no_motion() -> None:
    turns = np.random.default_rng(1).normal(0, 0.1, (6, 3))
    places = np.random.default_rng(2).normal(0, 5, (6, 2))
    small = describe_motion(make_track(turns, np.full(6, 50.0), places))
    large = describe_motion(make_track(turns, np.full(6, 150.0), 3 * places, seed=0))
    centred = [rows[:, N_SHAPES:] - rows[:, N_SHAPES:].mean(0) for rows in (small, large)]
    np.testing.assert_allclose(centred[0], centred[1], atol=1e-4)
    np.testing.assert_array_equal(small[:, :N_SHAPES], large[:, :N_SHAPES])
