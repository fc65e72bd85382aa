import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import pytest

from engine.faces.keyframes import split_intervals
from engine.faces.landmarker import Detection, FaceNets, Mesh, Region
from engine.faces.regions import measure_shift
from engine.faces.segments import LEAD
from engine.faces.tracking import Faces, track_faces
from engine.faces.trails import ScannedFrame
from engine.types import Frame
from engine.weights import registry
from tests.engine.faces.scenes import (
    RectangleNets,
    Scene,
    draw_frames,
    hide,
    middles,
    sides,
    spans,
    stand,
    stroll,
    track,
    track_with,
)
from tests.engine.faces.test_tracking import pan_portrait


class RecordingNets(RectangleNets):
    """Records the frames that are searched, and the regions from which landmarks are placed, by frame."""

    def __init__(self, scene: Scene, turn: Callable[[int], float] = lambda index: 0.0):
        super().__init__(scene)
        self.turn = turn
        self.searched: list[int] = []
        self.placed: dict[int, list[Region]] = {}
        self._lock = threading.Lock()

    def find_faces(self, image: np.ndarray, min_score: float = 0.5, closely: bool = False) -> list[Detection]:
        self.searched.append(read_number(image))
        return super().find_faces(image, min_score, closely)

    def place_landmarks(self, image: np.ndarray, region: Region) -> Mesh:
        index = read_number(image)
        with self._lock:
            self.placed.setdefault(index, []).append(region)
        mesh = super().place_landmarks(image, region)
        return Mesh(mesh.presence, turn_landmarks(mesh.landmarks, self.turn(index)))


def read_number(image: np.ndarray) -> int:
    return int(image[0, 0, 0]) + 256 * int(image[0, 0, 1])


def turn_landmarks(landmarks: np.ndarray, angle: float) -> np.ndarray:
    """Turn landmarks around the middle of their box, which stays where it is for a square."""
    centre = (landmarks[:, :2].min(0) + landmarks[:, :2].max(0)) / 2
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    planar = (landmarks[:, :2] - centre) @ turn + centre
    return np.hstack([planar, landmarks[:, 2:]]).astype(np.float32)


def find_lags(nets: RecordingNets, faces: Faces, frames: Sequence[int]) -> list[float]:
    """Difference of the last region of each frame from that of the face's own landmarks in it."""
    (one,) = faces.tracks
    return [measure_shift(nets.placed[i][-1], Mesh(1.0, one.landmarks[i]).region()) for i in frames]


def scan(n_frames: int, cuts: Sequence[int] = (), first: int = 0) -> list[ScannedFrame]:
    return [ScannedFrame(frame, frame.index + first in cuts, None) for frame in draw_frames(n_frames)]


@pytest.mark.parametrize(
    ("n_frames", "cuts", "lengths"),
    [
        (0, (), []),
        (1, (), [1]),
        (11, (), [1, 5, 5]),
        (14, (), [1, 5, 5, 3]),
        (16, (8,), [1, 5, 2, 1, 2, 5]),
        (12, (5, 6), [1, 4, 1, 1, 4, 1]),
    ],
)
def test_an_interval_ends_every_five_frames_and_with_its_shot(
    n_frames: int, cuts: tuple[int, ...], lengths: list[int]
) -> None:
    intervals = list(split_intervals(scan(n_frames, cuts), 5))
    assert [len(one) for one in intervals] == lengths
    assert [scanned.frame.index for one in intervals for scanned in one] == list(range(n_frames))
    assert all(not scanned.is_cut for one in intervals for scanned in one[1:])


def test_regions_between_key_frames_lie_where_the_moving_face_is() -> None:
    nets = RecordingNets(stroll(43))
    between = [i for i in range(1, 42) if i % 5]  # 42 ends the last, incomplete interval
    assert max(find_lags(nets, track_with(nets, draw_frames(43)), between)) < 1e-5


def test_a_key_frame_of_a_moving_face_is_placed_twice_and_others_once() -> None:
    nets = RecordingNets(stroll(43))
    lags = find_lags(nets, track_with(nets, draw_frames(43)), [*range(5, 41, 5), 42])
    assert {i: len(regions) for i, regions in nets.placed.items()} == {
        i: 2 if i % 5 == 0 or i == 42 else 1 for i in range(43)
    }
    assert max(lags) < 1e-5


def test_a_still_face_is_placed_once_a_frame() -> None:
    nets = RecordingNets(stand(41))
    track_with(nets, draw_frames(41))
    assert nets.calls["place"] == 41 + 1  # the detector's box differs from that of the landmarks
    assert nets.calls["read"] == 41
    assert nets.searched == [0, 10, 20, 30, 40]


def test_a_head_that_rolls_over_the_half_turn_is_followed_the_short_way() -> None:
    nets = RecordingNets(stand(31), lambda index: np.deg2rad(150 + 2 * index))
    faces = track_with(nets, draw_frames(31))
    between = [i for i in range(1, 31) if i % 5]
    assert spans(faces) == [(0, 31)]
    angles = np.array([nets.placed[i][-1].angle for i in between])
    np.testing.assert_allclose(np.exp(1j * angles), np.exp(1j * np.deg2rad(150 + 2 * np.array(between))), atol=1e-5)


@pytest.mark.parametrize("cut", [31, 33, 35, 36])
def test_the_last_frame_of_a_shot_is_a_key_frame_and_so_is_the_first(cut: int) -> None:
    scene: Scene = [[(60.0 + 2 * i, 80.0, 60.0)] for i in range(cut)] + [
        [(250.0 - 2 * i, 90.0, 50.0)] for i in range(25)
    ]
    nets = RecordingNets(scene)
    faces = track_with(nets, draw_frames(len(scene), shade=lambda i: 40 if i < cut else 220))
    assert (faces.cuts, spans(faces)) == ((cut,), [(0, cut), (cut, cut + 25)])
    before, after = faces.tracks
    np.testing.assert_allclose(middles(before)[:, 0], 60 + 2 * np.arange(cut), atol=1e-3)
    np.testing.assert_allclose(middles(after)[:, 0], 250 - 2 * np.arange(25), atol=1e-3)
    for i in range(1, cut):
        assert measure_shift(nets.placed[i][-1], Mesh(1.0, before.landmarks[i]).region()) < 1e-5
    assert cut in nets.searched


@pytest.mark.parametrize(("appears", "found"), [(7, 10), (10, 10), (11, 20), (18, 20)])
def test_a_face_that_joins_another_is_found_within_ten_frames(appears: int, found: int) -> None:
    scene = [[(80.0, 90.0, 60.0)] + [(240.0, 90.0, 50.0)] * (i >= appears) for i in range(45)]
    assert spans(track(scene)) == [(0, 45), (found, 45)]


@pytest.mark.parametrize("appears", [6, 8, 10, 11])
def test_a_face_that_appears_alone_is_found_in_its_first_frame(appears: int) -> None:
    nets = RecordingNets(hide(stand(45), 0, appears))
    assert spans(track_with(nets, draw_frames(45))) == [(appears, 45)]
    assert [i for i in nets.searched if i < appears - 4] == [i for i in (0, 0, 5) if i < appears - 4]  # 0 also closely


def test_a_fast_face_is_followed_frame_by_frame() -> None:
    nets = RecordingNets(stroll(31, speed=6.0))
    (one,) = track_with(nets, draw_frames(31)).tracks
    assert one.seen.all()
    np.testing.assert_allclose(middles(one)[:, 0], 60 + 6.0 * np.arange(31), atol=1e-3)
    for i in range(1, 31):
        np.testing.assert_allclose(nets.placed[i][-1].centre[0], 60 + 6.0 * (i - 1), atol=1e-3)


def test_a_lost_face_returns_while_another_is_seen() -> None:
    scene = [[(80.0, 90.0, 60.0)] + [(240.0 - i, 90.0, 50.0)] * (not 23 <= i < 29) for i in range(60)]
    faces = track(scene)
    assert spans(faces) == [(0, 60), (0, 60)]
    near, far = faces.tracks
    assert near.seen.all()
    np.testing.assert_array_equal(np.flatnonzero(~far.seen), np.arange(23, 29))
    np.testing.assert_allclose(middles(far)[:, 0], 240.0 - np.arange(60), atol=1e-2)


@pytest.mark.parametrize("held", [[4, 5], [5, 6, 10], [1, 2, 3, 4], list(range(3, 19)), [39]])
def test_repeated_frames_repeat_their_row_wherever_they_are(held: list[int]) -> None:
    nets = RecordingNets(stroll(40))
    (one,) = track_with(nets, draw_frames(40, held)).tracks
    shown = [max(j for j in range(i + 1) if j not in held) for i in range(40)]
    np.testing.assert_allclose(middles(one)[:, 0], [60 + 2 * j for j in shown], atol=1e-3)
    assert not set(held) & set(nets.placed)
    for i in held:
        np.testing.assert_array_equal(one.blendshapes[i], one.blendshapes[i - 1])


def test_faces_side_by_side_never_exchange_their_regions() -> None:
    scene: Scene = [[(60.0 + 2 * i, 60.0, 60.0), (250.0 - 2 * i, 120.0, 44.0)] for i in range(60)]
    faces = track(scene)
    for one, side in zip(faces.tracks, (60.0, 44.0), strict=True):
        assert one.seen.all()
        np.testing.assert_allclose(sides(one), side, atol=1e-3)


class UnevenNets(RectangleNets):
    """Networks of random duration."""

    def place_landmarks(self, image: np.ndarray, region: Region) -> Mesh:
        time.sleep(random.uniform(0, 0.003))
        return super().place_landmarks(image, region)


def assert_equal(found: Faces, wanted: Faces) -> None:
    assert (spans(found), found.cuts, found.left_out) == (spans(wanted), wanted.cuts, wanted.left_out)
    for one, other in zip(found.tracks, wanted.tracks, strict=True):
        for name in ("boxes", "landmarks", "blendshapes", "seen", "thumbnail", "covered"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_tracks_do_not_depend_on_the_timing_of_threads() -> None:
    scene = [[(60.0 + 2 * i, 60.0, 60.0)] + [(250.0 - i, 120.0, 44.0)] * (i % 17 < 13) for i in range(70)]
    frames = draw_frames(70, held=[8, 20, 33])
    wanted = track_with(RectangleNets(scene), frames)
    assert len(wanted.tracks) == 2
    uneven = UnevenNets(scene)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: track_with(uneven, frames), range(4)):
            assert_equal(found, wanted)


@pytest.fixture(scope="module")
def nets() -> FaceNets:
    return FaceNets.load(registry.face_landmarker())


def test_segments_tracked_at_once_agree_with_one_after_the_other(nets: FaceNets) -> None:
    frames = pan_portrait(23, 4)
    wanted = track_faces(frames, nets)
    assert spans(wanted) == [(0, 23)]
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(lambda _: track_faces(frames, nets), range(3)):
            assert_equal(found, wanted)


@pytest.mark.parametrize("first", [10, 13])
def test_a_tracker_that_begins_later_agrees_once_it_has_settled(nets: FaceNets, first: int) -> None:
    frames = pan_portrait(31, 4)
    (whole,), (late,) = (track_faces(some, nets).tracks for some in (frames, frames[first:]))
    apart = np.linalg.norm(whole.landmarks[first:] - late.landmarks, axis=2).max(axis=1)
    width = np.median(whole.boxes[:, 2] - whole.boxes[:, 0])
    assert (late.start, late.end) == (first, 31)
    assert apart[LEAD:].max() / width < 0.001 < apart[0] / width


def test_frames_of_one_interval_alone_are_kept() -> None:
    """A frame is released when its interval ends: at most two intervals' frames are alive besides those read ahead."""
    alive: set[int] = set()
    most = 0

    class Kept(np.ndarray):
        def __del__(self) -> None:
            alive.discard(id(self))

    def stream() -> Iterator[Frame]:
        nonlocal most
        for frame in draw_frames(120):
            image = frame.image.view(Kept)
            alive.add(id(image))
            most = max(most, len(alive))
            yield Frame(frame.index, image, True)

    track_faces(stream(), cast(FaceNets, RectangleNets(stand(120))))
    assert 5 <= most <= 2 * 5 + 8
