"""Landmark features: lips independent of pose; motion columns for rotation, position and size."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engine.faces.landmark_features import (
    CHIN,
    LIPS,
    MOUTH_SHAPES,
    N_FEATURES,
    N_MOTION,
    N_SHAPES,
    STABLE,
    STABLE_SHAPE,
    describe_lips,
    describe_motion,
    find_poses,
)
from engine.faces.landmarker import BLENDSHAPES, N_LANDMARKS
from engine.types import FaceTrack
from tests.engine.faces.heads import align_heads

LOWER_LIP = (91, 181, 84, 17, 314, 405, 321, 95, 88, 178, 87, 14, 317, 402, 318, 324)
CENTRED_SHAPE = STABLE_SHAPE - STABLE_SHAPE.mean(0)


def make_heads(n_frames: int, seed: int = 0) -> np.ndarray:
    """(T, 478, 3): heads of random points; those that speech does not move are about where a head has them."""
    rng = np.random.default_rng(seed)
    heads = rng.uniform(-1, 1, (n_frames, N_LANDMARKS, 3))
    heads[:, STABLE] = STABLE_SHAPE + rng.normal(0, 0.03, (n_frames, len(STABLE), 3))
    return heads


def make_track(landmarks: np.ndarray, blendshapes: np.ndarray | None = None) -> FaceTrack:
    length = len(landmarks)
    planar = landmarks[:, :, :2]
    return FaceTrack(
        start=0,
        boxes=np.hstack([planar.min(1), planar.max(1)]).astype(np.float32),
        landmarks=landmarks.astype(np.float32),
        blendshapes=np.zeros((length, 52), np.float32) if blendshapes is None else blendshapes,
        seen=np.ones(length, bool),
        thumbnail=np.zeros((96, 96, 3), np.uint8),
    )


def move(heads: np.ndarray, degrees: tuple[float, float, float], scale: float, shift: tuple[float, ...]) -> np.ndarray:
    return scale * heads @ Rotation.from_euler("xyz", degrees, degrees=True).as_matrix().T + np.array(shift)


def test_points_and_shapes_are_chosen_once_each() -> None:
    assert len(set(LIPS)) == 40
    assert len(set(CHIN)) == 11
    assert not set(STABLE) & set(LIPS + CHIN)  # what speech moves does not place the head
    assert len(STABLE) == len(STABLE_SHAPE)
    names = [BLENDSHAPES[i] for i in MOUTH_SHAPES]
    assert {"jawOpen", "mouthPucker", "mouthClose"} <= set(names)
    assert not any(name.startswith(("eye", "brow", "_")) for name in names)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (10, -25, 5), (-40, 60, 30), (0, 180, 0), (170, 20, -100)])
@pytest.mark.parametrize("scale", [0.01, 1.0, 250.0])
def test_turning_scaling_and_shifting_a_head_changes_nothing(degrees: tuple[float, ...], scale: float) -> None:
    heads = make_heads(6)
    moved = move(heads, (degrees[0], degrees[1], degrees[2]), scale, (400.0, -30.0, 7.0))
    np.testing.assert_allclose(align_heads(moved), align_heads(heads), atol=1e-6)


def test_aligned_points_are_restored_to_where_they_were() -> None:
    heads = move(make_heads(4), (10, -25, 5), 120.0, (400.0, -30.0, 7.0))
    poses = find_poses(heads)
    aligned = poses.align(heads)
    for row in range(4):
        np.testing.assert_allclose(poses.restore(aligned[row], row), heads[row], atol=1e-6)


def test_a_head_of_the_mean_shape_comes_to_lie_on_it() -> None:
    head = make_heads(1)
    head[:, STABLE] = STABLE_SHAPE
    aligned = align_heads(move(head, (15, -35, 8), 90.0, (300.0, 200.0, -5.0)))
    np.testing.assert_allclose(aligned[0, STABLE], CENTRED_SHAPE, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_small_turn_scale_or_shift_fits_the_mean_shape_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    stable = align_heads(move(make_heads(1, seed), (20, -30, 10), 3.0, (1.0, 2.0, 3.0)))[0, STABLE]
    best = np.square(stable - CENTRED_SHAPE).sum()
    for _ in range(50):
        degrees, shift = rng.normal(0, 1, 3), rng.normal(0, 0.01, 3)
        other = move(stable, (degrees[0], degrees[1], degrees[2]), 1 + rng.normal(0, 0.01), tuple(shift))
        assert np.square(other - CENTRED_SHAPE).sum() >= best - 1e-12


@pytest.mark.parametrize("flatten", [1.0, 1e-3])
def test_a_mirrored_head_is_turned_but_never_mirrored_back(flatten: float) -> None:
    heads = make_heads(4) * (1, 1, flatten)
    for wanted in (heads, heads * (-1, 1, 1), heads * (1, 1, -1)):
        for head, aligned in zip(wanted, align_heads(wanted), strict=True):
            linear = np.linalg.lstsq(head - head.mean(0), aligned - aligned.mean(0), rcond=None)[0]
            size = np.cbrt(np.linalg.det(linear))
            assert size > 0
            np.testing.assert_allclose(linear @ linear.T / size**2, np.eye(3), atol=1e-5)


def test_each_frame_is_aligned_by_itself() -> None:
    heads = make_heads(5)
    np.testing.assert_allclose(align_heads(heads)[3:4], align_heads(heads[3:4]), atol=1e-12)


def test_rows_have_the_promised_columns_and_end_with_the_mouths_blendshapes() -> None:
    blendshapes = np.random.default_rng(1).random((7, 52)).astype(np.float32)
    rows = describe_lips(make_track(100 * make_heads(7), blendshapes))
    assert rows.shape == (7, N_FEATURES) == (7, 130)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows[:, 2 * len(LIPS + CHIN) :], blendshapes[:, MOUTH_SHAPES])


def test_an_opened_jaw_moves_chin_and_lower_lip_down_and_nothing_else() -> None:
    head = make_heads(1)
    head[:, STABLE] = STABLE_SHAPE
    opened = head.copy()
    opened[:, LOWER_LIP + CHIN, 1] += 0.2
    rows = describe_lips(make_track(100 * np.concatenate([head, opened])))
    change = (rows[1] - rows[0])[: 2 * len(LIPS + CHIN)].reshape(-1, 2)
    moves = np.isin(LIPS + CHIN, LOWER_LIP + CHIN)
    np.testing.assert_allclose(change[moves], np.tile([0, 0.2], (moves.sum(), 1)), atol=1e-4)
    np.testing.assert_allclose(change[~moves], 0, atol=1e-4)


def test_head_motion_is_not_taken_for_speech() -> None:
    head = make_heads(1)
    moved = [
        move(100 * head, (12 * np.sin(t / 3), 25 * np.sin(t / 5), 6 * np.sin(t)), 1 + t / 20, (9.0 * t, 4.0 * t, 0.0))
        for t in range(20)
    ]
    rows = describe_lips(make_track(np.concatenate(moved)))
    np.testing.assert_allclose(rows, np.tile(rows[:1], (20, 1)), atol=1e-3)


def make_rigid_head(turns: np.ndarray, sizes: np.ndarray, places: np.ndarray, seed: int = 0) -> FaceTrack:
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
    nod = describe_motion(make_rigid_head(steps[:, None] * [0.2, 0, 0], np.full(5, 80.0), np.zeros((5, 2))))
    step = describe_motion(make_rigid_head(zeros, np.full(5, 80.0), steps[:, None] * [40.0, 0]))
    lean = describe_motion(make_rigid_head(zeros, 80 * np.exp(0.1 * steps), np.zeros((5, 2))))
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
    small = describe_motion(make_rigid_head(turns, np.full(6, 50.0), places))
    large = describe_motion(make_rigid_head(turns, np.full(6, 150.0), 3 * places, seed=0))
    centred = [rows[:, N_SHAPES:] - rows[:, N_SHAPES:].mean(0) for rows in (small, large)]
    np.testing.assert_allclose(centred[0], centred[1], atol=1e-4)
    np.testing.assert_array_equal(small[:, :N_SHAPES], large[:, :N_SHAPES])
