"""Main face of a source clip or the reason of its refusal; motion independent of shape."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engine.datasets.manifest import Row
from engine.errors import Code, NotForgeable
from engine.faces.landmark_features import find_poses
from engine.faces.landmarker import BLENDSHAPES
from engine.forging.source_clips import (
    HeadMotion,
    SourceClip,
    find_shape,
    load_source_clip,
    measure_deviation,
    measure_motion,
    measure_turn,
    smooth,
)
from engine.synthesis.portrait import LOWER, LOWER_LIDS, N_MESH, UPPER, UPPER_LIDS
from engine.types import FPS, SAMPLE_RATE, FaceTrack
from tests.clips import Film, write_clip
from tests.engine.forging.actors import Part, draw_astronaut, draw_stranger, film, load_nets
from tests.raising import raises


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceClip:
    path = film(tmp_path_factory.mktemp("sources") / "one.mp4", draw_astronaut())
    return load_source_clip(Row(1, path, "real", speaker="astronaut", written="one.mp4"), load_nets())


def test_source_clip_spans_the_face_at_the_clips_rate(source: SourceClip) -> None:
    assert source.rate == FPS and len(source) == 35 and source.size_px == (256, 256)
    assert source.sound is not None and len(source.sound.samples) == round(35 / 25 * SAMPLE_RATE)
    assert len(list(source.read_images())) == 35
    assert len(source.outline_faces()) == 35


def test_the_still_is_the_most_neutral_frame_with_its_landmarks(source: SourceClip) -> None:
    best = int(source.neutral[0])
    images = list(source.read_images())
    assert np.array_equal(source.still.image, images[best])
    assert np.allclose(source.still.landmarks, source.landmarks[best], atol=1e-3)
    assert source.motion.lids[best].mean() > 0.8, "the eyes are open"
    assert not 12 <= best <= 14, "it blinks there"


def test_smoothing_removes_tremor_and_keeps_closures() -> None:
    chance, times = np.random.default_rng(0), np.arange(60)
    closing = np.clip(np.abs(times - 30) / 4, 0, 1)[:, None, None] * np.ones((1, 478, 3))
    trembling = closing + 0.1 * chance.normal(size=closing.shape)
    still = smooth(trembling)
    assert (still - closing)[:25].std() < 0.085
    assert np.abs(smooth(closing) - closing).max() < 0.06
    assert smooth(trembling[:3]).shape == (3, 478, 3)


def test_a_clip_without_a_face_is_refused_by_name(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "bar.mp4", Film())
    with pytest.raises(NotForgeable, match=r"No face is seen in bar\.mp4"):
        load_source_clip(Row(1, path, "real", written="bar.mp4"), load_nets())


def test_a_face_that_is_seen_too_briefly_is_refused(tmp_path: Path) -> None:
    path = film(tmp_path / "brief.mp4", draw_astronaut(), Part(seconds=0.8))
    with pytest.raises(NotForgeable, match=r"0\.80 s"):
        load_source_clip(Row(1, path, "real", written="brief.mp4"), load_nets())


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with raises(Code.UNREADABLE_VIDEO):
        load_source_clip(Row(1, tmp_path / "text.mp4", "real"), load_nets())


def test_a_face_from_the_side_is_not_drawn(source: SourceClip, monkeypatch: pytest.MonkeyPatch) -> None:
    source.check_frontal()
    monkeypatch.setattr("engine.forging.source_clips.MAX_TURN_DEG", 0.5)
    with pytest.raises(NotForgeable, match="turned away"):
        source.check_frontal()


N = 24


def shape_of(landmarks: np.ndarray) -> np.ndarray:
    return find_poses(landmarks[None]).align(landmarks[None])


@pytest.fixture(scope="module")
def landmarks() -> np.ndarray:
    """(24, 478, 3): the astronaut opens the mouth, blinks, and moves the head."""
    portrait, times = draw_astronaut(), np.arange(N)
    points = np.repeat(portrait.landmarks[None].astype(np.float64), N, axis=0)
    opened = 0.5 + 0.5 * np.sin(times)
    points[:, :N_MESH, :2] = portrait.rest + opened[:, None, None] * portrait.basis[0]
    points[10:12, :N_MESH, :2] += 0.9 * portrait.basis[4]
    centre = points.mean(1, keepdims=True)
    turns = Rotation.from_euler("xyz", np.column_stack([np.sin(times), np.cos(times), 0.5 * times]), degrees=True)
    turned = np.einsum("tpi,tji->tpj", points - centre, turns.as_matrix()) * (1 + 0.01 * times)[:, None, None]
    return turned + centre + np.column_stack([times, -times, 0 * times])[:, None]


@pytest.fixture(scope="module")
def motion(landmarks: np.ndarray) -> HeadMotion:
    return measure_motion(landmarks, find_shape(shape_of(draw_astronaut().landmarks)))


def test_a_shape_at_rest_has_its_lips_closed_and_its_eyes_open() -> None:
    shape = find_shape(shape_of(draw_astronaut().landmarks))
    assert np.abs(shape.points[UPPER[3], 1] - shape.points[LOWER[3], 1]).max() < 0.02
    assert np.linalg.norm(shape.lids, axis=1).max() > 0.05
    assert np.linalg.norm(shape.points[263] - shape.points[33]) == pytest.approx(1.0, abs=0.1)


def test_shape_and_motion_give_the_face_back(landmarks: np.ndarray, motion: HeadMotion) -> None:
    shape, poses = find_shape(shape_of(draw_astronaut().landmarks)), find_poses(landmarks)
    aligned = poses.align(landmarks)[:, :N_MESH]
    for row in range(N):
        again = shape.move(motion.deform[row], motion.lids[row])
        others = np.setdiff1d(np.arange(N_MESH), UPPER_LIDS)
        assert np.abs(again - aligned[row])[others].max() < 1e-9
        assert np.abs(again - aligned[row])[UPPER_LIDS].max() < 0.05


def test_lids_are_shut_while_the_eyes_blink_and_open_else(motion: HeadMotion) -> None:
    assert motion.lids[10:12].mean() < 0.35 and motion.lids[:10].mean() > 0.9


def test_moving_turning_and_nearing_the_head_does_not_deform_the_face(
    landmarks: np.ndarray, motion: HeadMotion
) -> None:
    turn = Rotation.from_euler("xyz", [4, -6, 9], degrees=True).as_matrix()
    elsewhere = measure_motion(
        1.7 * landmarks @ turn.T + [30, -20, 5], find_shape(shape_of(draw_astronaut().landmarks))
    )
    assert np.allclose(elsewhere.deform, motion.deform, atol=1e-9)
    assert np.allclose(elsewhere.size, motion.size)


def test_pose_is_relative_to_its_mean(motion: HeadMotion) -> None:
    assert np.abs(motion.shift.mean(0)).max() < 1e-9
    assert motion.size.mean() == pytest.approx(1.0)
    assert np.abs(Rotation.from_rotvec(motion.turn).mean().as_rotvec()).max() < 1e-6
    assert np.ptp(motion.turn[:, 2]) == pytest.approx(np.deg2rad(0.5 * (N - 1)), rel=0.1)


def test_equal_weights_of_one_leave_the_motion_as_it_is(motion: HeadMotion) -> None:
    same = motion.weigh(np.eye(N))
    backwards = motion.weigh(np.eye(N)[::-1])
    for name in ("deform", "lids", "turn", "shift", "size"):
        assert np.allclose(getattr(same, name), getattr(motion, name))
        assert np.allclose(getattr(backwards, name), getattr(motion, name)[::-1])
    assert len(motion.weigh(np.full((5, N), 1 / N))) == 5


def test_another_face_does_the_same_and_stays_another_face(motion: HeadMotion) -> None:
    other = find_shape(shape_of(draw_stranger().landmarks))
    own = find_shape(shape_of(draw_astronaut().landmarks))
    gaps = []
    for shape in (own, other):
        moved = np.stack([shape.move(motion.deform[row], motion.lids[row]) for row in range(N)])
        gaps.append(moved[:, LOWER[3, 5], 1] - moved[:, UPPER[3, 5], 1])
    assert np.allclose(gaps[0], gaps[1], atol=0.02)
    assert np.abs(other.points - own.points).max() > 0.05


def test_shut_eyes_of_one_face_are_shut_in_another() -> None:
    other = find_shape(shape_of(draw_stranger().landmarks))
    shut = other.move(np.zeros((N_MESH, 3)), np.zeros(14))
    assert np.allclose(shut[UPPER_LIDS], shut[LOWER_LIDS])


def test_a_neutral_frame_is_the_most_restful() -> None:
    points = np.repeat(draw_astronaut().landmarks[None], 5, axis=0)
    shapes = np.zeros((5, 52), np.float32)
    shapes[0, BLENDSHAPES.index("eyeBlinkLeft")] = shapes[0, BLENDSHAPES.index("eyeBlinkRight")] = 0.9
    shapes[1, BLENDSHAPES.index("jawOpen")] = 0.6
    seen = np.array([True, True, False, True, True])
    turn = Rotation.from_euler("y", 25, degrees=True).as_matrix()
    points[3] = (points[3] - points[3].mean(0)) @ turn.T + points[3].mean(0)
    boxes = np.zeros((5, 4), np.float32)
    track = FaceTrack(0, boxes, points, shapes, seen, np.zeros((96, 96, 3), np.uint8))
    order = np.argsort(measure_deviation(track, find_poses(points))).tolist()
    assert order[0] == 4 and order[-1] == 2
    assert measure_turn(find_poses(points))[3] - measure_turn(find_poses(points))[4] > 12
