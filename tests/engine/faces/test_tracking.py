import itertools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import cast

import cv2
import numpy as np
import pytest
from skimage import data

from engine.errors import Code
from engine.faces.landmarker import Detection, Mesh, Region, overlap
from engine.faces.tracking import FaceNets, track_faces
from engine.types import Frame
from engine.weights import registry
from tests.engine.faces.scenes import (
    HEIGHT,
    WIDTH,
    Box,
    RectangleNets,
    Scene,
    draw_frames,
    draw_landmarks,
    hide,
    middles,
    sides,
    spans,
    stand,
    stroll,
    track,
    track_with,
)
from tests.raising import raises


def test_a_walking_face_is_one_track_with_its_rows() -> None:
    (one,) = track(stroll(50)).tracks
    assert (one.start, one.end) == (0, 50)
    assert one.seen.all()
    np.testing.assert_allclose(middles(one), [(60 + 2 * i, 80) for i in range(50)], atol=1e-3)
    np.testing.assert_allclose(one.boxes[:, :2], one.landmarks[:, :, :2].min(1))
    np.testing.assert_allclose(one.boxes[:, 2:], one.landmarks[:, :, :2].max(1))
    np.testing.assert_allclose(one.blendshapes[:, 7], one.boxes[:, 0] / WIDTH, atol=1e-6)


@pytest.mark.parametrize("scene", [[], [[]] * 30])
def test_no_frames_or_no_faces_give_no_tracks(scene: Scene) -> None:
    faces = track(scene)
    assert (faces.tracks, faces.cuts) == ((), ())


def test_every_frame_is_reported() -> None:
    seen: list[int] = []
    track_faces(draw_frames(12, held=[4]), cast(FaceNets, RectangleNets(stand(12))), None, seen.append)
    assert seen == list(range(12))


def test_landmarks_are_placed_once_a_frame_for_a_face_that_is_followed() -> None:
    nets = RectangleNets([[(80.0, 90.0, 60.0), (240.0, 90.0, 40.0)]] * 40)
    track_with(nets, draw_frames(40))
    assert nets.calls["place"] == 2 * 40 + 2  # the detector's box differs from that of the landmarks
    assert nets.calls["read"] == 2 * 40
    assert nets.calls["find"] == 40 / 10


@pytest.mark.parametrize("apart", [16.0, 25.0, 40.0, 70.0])
@pytest.mark.parametrize("speed", [2.0, 4.0, 6.0])
def test_faces_that_cross_keep_their_tracks(apart: float, speed: float) -> None:
    """Identified by their sizes, 60 and 44 pixels, constant within a track."""
    n_frames = int(200 / speed)
    scene = [[(60.0 + speed * i, 60.0, 60.0), (260.0 - speed * i, 60.0 + apart, 44.0)] for i in range(n_frames)]
    faces = track(scene)
    assert spans(faces) == [(0, n_frames)] * 2
    for one, side in zip(faces.tracks, (60.0, 44.0), strict=True):
        np.testing.assert_allclose(sides(one), side, atol=1e-3)
        assert one.seen.mean() > 0.6


@pytest.mark.parametrize("speed", [3.0, 5.0])
def test_a_face_that_passes_behind_another_is_found_again(speed: float) -> None:
    n_frames = int(200 / speed)
    scene: Scene = []
    for i in range(n_frames):
        near, far = (60.0 + speed * i, 90.0, 60.0), (260.0 - speed * i, 90.0, 50.0)
        scene.append([near] if abs(near[0] - far[0]) < 25 else [near, far])
    faces = track(scene)
    assert spans(faces) == [(0, n_frames)] * 2
    front, behind = faces.tracks
    assert front.seen.all()
    np.testing.assert_allclose(sides(front), 60, atol=1e-3)
    np.testing.assert_allclose(sides(behind), 50, atol=1e-3)
    np.testing.assert_allclose(middles(behind)[:, 0], 260 - speed * np.arange(n_frames), atol=1e-2)


@pytest.mark.parametrize("gap", [1, 5, 12])
def test_a_gap_is_interpolated_and_marked(gap: int) -> None:
    (one,) = track(hide(stroll(50), 20, gap)).tracks
    assert (one.start, one.end) == (0, 50)
    np.testing.assert_array_equal(np.flatnonzero(~one.seen), np.arange(20, 20 + gap))
    np.testing.assert_allclose(middles(one)[:, 0], 60 + 2 * np.arange(50), atol=1e-3)  # as it would have walked
    np.testing.assert_allclose(one.blendshapes[:, 0], (30 + 2 * np.arange(50)) / WIDTH, atol=1e-5)


@pytest.mark.parametrize("gap", [13, 20])
def test_a_longer_gap_ends_the_track(gap: int) -> None:
    faces = track(hide(stroll(60), 20, gap))
    assert spans(faces) == [(0, 20), (20 + gap, 60)]
    assert all(one.seen.all() for one in faces.tracks)


def test_frames_after_the_last_seen_are_cut_off() -> None:
    (one,) = track(hide(stand(40), 30, 10)).tracks
    assert (one.start, one.end) == (0, 30)


@pytest.mark.parametrize(("length", "found"), [(9, 0), (10, 1)])
def test_a_track_shorter_than_the_least_is_dropped(length: int, found: int) -> None:
    assert len(track(hide(stand(40), length, 40)).tracks) == found
    assert len(track(hide(stand(40), 0, 40 - length), detect_every=1).tracks) == found


def test_a_face_that_comes_later_is_found_at_the_next_look() -> None:
    scene = [[(80.0, 90.0, 60.0)] + [(240.0, 90.0, 50.0)] * (i >= 7) for i in range(40)]
    assert spans(track(scene)) == [(0, 40), (10, 40)]


def test_the_largest_faces_are_followed() -> None:
    scene: Scene = [[(50.0, 90.0, 60.0), (150.0, 90.0, 45.0), (250.0, 90.0, 30.0)]] * 20
    faces = track(scene, max_faces=2)
    assert sorted(float(np.median(sides(one))) for one in faces.tracks) == pytest.approx([45, 60])
    assert faces.left_out == 1


def test_twenty_faces_are_followed_and_none_is_left_out() -> None:
    scene: Scene = [[(20.0 + 30 * (i % 10), 45.0 + 80 * (i // 10), 20.0) for i in range(20)]] * 20
    faces = track(scene)
    assert len(faces.tracks) == 20 and faces.left_out == 0


class NearSightedNets(RectangleNets):
    """Finds faces below 20 pixels only when it searches closely."""

    def __init__(self, scene: Scene):
        super().__init__(scene)
        self.close = 0

    def find_faces(self, image: np.ndarray, min_score: float = 0.5, closely: bool = False) -> list[Detection]:
        self.close += closely
        found = super().find_faces(image, min_score)
        return [one for one in found if closely or one.box[2] - one.box[0] > 20]


SMALL_FACE = (300.0, 160.0, 18.0)
FOUR = [(40.0 + 60 * i, 60.0, 40.0) for i in range(4)]


@pytest.mark.parametrize(
    ("others", "n_found", "n_close"),
    [
        ([], 1, 3),  # no face in sight
        (FOUR, 5, 3),  # a grid
        ([(40.0, 60.0, 24.0)], 2, 3),  # small faces alone
        (FOUR[:1], 1, 0),  # one person in front of the camera: nothing more is done
        (FOUR[:3], 3, 0),
    ],
)
def test_small_faces_are_searched_where_they_may_be(others: list[Box], n_found: int, n_close: int) -> None:
    nets = NearSightedNets([[*others, SMALL_FACE]] * 110)
    faces = track_with(nets, draw_frames(110))
    assert (len(faces.tracks), nets.close) == (n_found, n_close)


def test_a_shot_cut_ends_all_tracks_and_starts_new_ones() -> None:
    scene: Scene = [[(80.0, 90.0, 60.0), (240.0, 90.0, 50.0)]] * 60
    faces = track(scene, draw_frames(60, shade=lambda i: 40 if i < 33 else 220))
    assert faces.cuts == (33,)
    assert spans(faces) == [(0, 33), (0, 33), (33, 60), (33, 60)]


def test_a_gap_is_not_bridged_over_a_cut() -> None:
    scene = hide(stand(60), 30, 6)
    faces = track(scene, draw_frames(60, shade=lambda i: 40 if i < 33 else 220))
    assert spans(faces) == [(0, 30), (36, 60)]


def test_slowly_changing_light_is_no_cut() -> None:
    faces = track(stand(60), draw_frames(60, shade=lambda i: 30 + 3 * i))
    assert faces.cuts == ()
    assert spans(faces) == [(0, 60)]


def test_a_held_picture_repeats_its_row_and_costs_nothing() -> None:
    nets = RectangleNets(stroll(50))
    held = range(1, 50, 2)
    (one,) = track_with(nets, draw_frames(50, held)).tracks
    assert (one.start, one.end) == (0, 50)
    for name in ("boxes", "landmarks", "blendshapes", "seen"):
        rows = getattr(one, name)
        np.testing.assert_array_equal(rows[0::2], rows[1::2])
    assert nets.calls["place"] == 25 + 11  # of each key frame again, since it moved


def test_a_face_missed_in_a_held_picture_is_unseen_as_long_as_it_is_held() -> None:
    scene = hide(stand(60), 20, 1)
    (one,) = track(scene, draw_frames(60, held=range(21, 32))).tracks
    np.testing.assert_array_equal(np.flatnonzero(~one.seen), np.arange(20, 32))  # 12, the most
    assert spans(track(scene, draw_frames(60, held=range(21, 33)))) == [(0, 20), (33, 60)]


def test_a_held_picture_without_faces_is_not_searched_again() -> None:
    nets = RectangleNets([[]] * 30)
    track_with(nets, draw_frames(30, held=range(10, 30)))
    assert nets.calls["find"] == 3 + 1  # frames 0, 5 and 10, and once closely


@dataclass
class Walker:
    """A face on a random way, hidden now and then for at most the longest gap."""

    rng: np.random.Generator
    place: np.ndarray
    side: float
    hidden: int = 0
    shown: int = 0

    def step(self) -> Box | None:
        self.place = np.clip(self.place + self.rng.normal(0, 2.0, 2), (30, 30), (WIDTH - 30, HEIGHT - 30))
        if self.hidden == 0 and self.shown > 3 and self.rng.random() < 0.15:
            self.hidden, self.shown = int(self.rng.integers(1, 12)), 0
        elif self.hidden:
            self.hidden -= 1
        self.shown += self.hidden == 0
        return None if self.hidden else (float(self.place[0]), float(self.place[1]), self.side)


def wander(seed: int, n_faces: int, n_frames: int = 150) -> Scene:
    rng = np.random.default_rng(seed)
    walkers = [Walker(rng, rng.uniform((40, 40), (WIDTH - 40, HEIGHT - 40)), 36.0 + 8 * i) for i in range(n_faces)]
    return [[face for walker in walkers if (face := walker.step())] for _ in range(n_frames)]


@pytest.mark.parametrize("seed", range(12))
def test_one_face_in_and_out_of_sight_is_one_track(seed: int) -> None:
    scene = wander(seed, 1)
    (one,) = track(scene).tracks
    np.testing.assert_array_equal(one.seen, [bool(faces) for faces in scene[: one.end]])


@pytest.mark.parametrize("seed", range(12))
def test_two_tracks_never_follow_one_face(seed: int) -> None:
    scene = wander(seed, 4)
    faces = track(scene)
    assert len(faces.tracks) >= 3
    for a, b in combinations(faces.tracks, 2):
        for i in range(max(a.start, b.start), min(a.end, b.end)):
            if a.seen[i - a.start] and b.seen[i - b.start]:
                assert overlap(a.boxes[i - a.start], b.boxes[i - b.start]) <= 0.5
    for i, visible in enumerate(scene):
        followed = sum(bool(t.start <= i < t.end and t.seen[i - t.start]) for t in faces.tracks)
        assert followed <= len(visible)


class SlippingNets(RectangleNets):
    """Landmarks that slip from a small face to a large neighbour."""

    def place_landmarks(self, image: np.ndarray, region: Region) -> Mesh:
        largest = max(self._faces(image), key=lambda face: face[2])
        mesh = super().place_landmarks(image, region)
        slips = image[0, 0, 0] >= 30 and np.abs(region.centre - largest[:2]).max() < 45
        return Mesh(1.0, draw_landmarks(largest)) if slips else mesh


def test_a_track_that_slips_onto_its_neighbour_does_not_drive_it_off() -> None:
    small_first: Scene = [[(170.0, 90.0, 56.0)]] * 10  # the one that slips is the older track
    scene: Scene = small_first + [[(170.0, 90.0, 56.0), (140.0, 90.0, 60.0)]] * 50
    faces = track_with(SlippingNets(scene), draw_frames(60))
    large, small = sorted(faces.tracks, key=lambda one: -one.end)
    assert (large.start, large.end, small.start, small.end) == (10, 60, 0, 30)
    np.testing.assert_allclose(sides(large), 60, atol=1e-3)
    np.testing.assert_allclose(sides(small), 56, atol=1e-3)


def test_the_thumbnail_is_of_the_largest_seen_face() -> None:
    scene: Scene = [[(160.0, 90.0, 40.0 + i)] for i in range(40)]
    frames = draw_frames(40, shade=lambda i: 60 + i)
    (one,) = track(scene, frames).tracks
    assert one.thumbnail.shape == (96, 96, 3)
    assert one.thumbnail.max() > 60 + 30  # within a tenth of the largest


@pytest.fixture(scope="module")
def nets() -> FaceNets:
    return FaceNets.load(registry.face_landmarker())


def pan_portrait(n_frames: int, step_px: int) -> list[Frame]:
    """A 320x240 view that moves over the portrait, its face ever further left."""
    portrait = cv2.copyMakeBorder(data.astronaut(), 0, 0, 60, 0, cv2.BORDER_REPLICATE)
    views = (portrait[20:260, 60 + step_px * i : 380 + step_px * i] for i in range(n_frames))
    return [Frame(i, np.ascontiguousarray(view), True) for i, view in enumerate(views)]


def test_a_pan_over_the_portrait_is_one_track_whose_landmarks_move_with_it(nets: FaceNets) -> None:
    faces = track_faces(pan_portrait(25, 5), nets)
    assert faces.cuts == ()
    (one,) = faces.tracks
    assert (one.start, one.end) == (0, 25)
    assert one.seen.all()
    steady = one.landmarks[:, :, :2] + np.array([5.0, 0.0]) * np.arange(25)[:, None, None]
    assert np.linalg.norm(steady - np.median(steady, axis=0), axis=2).max(axis=1).mean() < 4.0
    np.testing.assert_allclose(steady[:, [468, 473]].mean(axis=(0, 1)), (224.7, 82.5), atol=3)  # the pupils' middle
    assert one.blendshapes.min() >= 0
    assert one.blendshapes.max() <= 1


def test_the_portrait_after_a_cut_to_a_wall_is_a_new_track(nets: FaceNets) -> None:
    view = pan_portrait(1, 0)[0].image
    wall = np.full_like(view, (20, 90, 20))
    shots = [view] * 12 + [wall] * 6 + [view] * 12
    faces = track_faces([Frame(i, image, True) for i, image in enumerate(shots)], nets)
    assert faces.cuts == (12, 18)
    assert spans(faces) == [(0, 12), (18, 30)]


class SlowNets(RectangleNets):
    """Takes its time for everything, and notes what was busy at once."""

    def __init__(self, scene: Scene):
        super().__init__(scene)
        self.busy: list[str] = []
        self.together: set[tuple[str, ...]] = set()

    def find_faces(self, image: np.ndarray, min_score: float = 0.5, closely: bool = False) -> list[Detection]:
        with self._busy("find", 0.02):
            return super().find_faces(image, min_score)

    def place_landmarks(self, image: np.ndarray, region: Region) -> Mesh:
        with self._busy("place", 0.005):
            return super().place_landmarks(image, region)

    def read_blendshapes(self, landmarks: np.ndarray) -> np.ndarray:
        with self._busy("read", 0.004):
            return super().read_blendshapes(landmarks)

    @contextmanager
    def _busy(self, what: str, seconds: float) -> Iterator[None]:
        self.busy.append(what)
        time.sleep(seconds)
        self.together.add(tuple(sorted(self.busy)))
        self.busy.remove(what)
        yield


@pytest.mark.parametrize("n_faces", [1, 2])
def test_what_is_done_side_by_side_changes_no_track(n_faces: int) -> None:
    at = [(80.0, 90.0, 60.0), (240.0, 90.0, 40.0)][:n_faces]
    scene: Scene = [[(x + i, y, side) for x, y, side in at] for i in range(20)] + [[]] * 5 + [at] * 15
    slow, quick = SlowNets(scene), RectangleNets(scene)
    frames = draw_frames(40, held=[3, 10, 25, 26])
    found, wanted = (track_with(nets, frames) for nets in (slow, quick))
    assert spans(found) == spans(wanted) and len(found.tracks) > 0
    for one, other in zip(found.tracks, wanted.tracks, strict=True):
        for name in ("boxes", "landmarks", "blendshapes", "seen", "thumbnail"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert any({"place", "read"} <= set(own) for own in slow.together)
    at_once = max(own.count("place") for own in slow.together)
    assert (at_once > 1) == ((os.cpu_count() or 1) > 1)


def test_failing_source_raises_its_error_and_leaves_no_thread() -> None:
    def broken() -> Iterator[Frame]:
        yield from draw_frames(7)
        raise Code.DECODER_FAILED("The decoder crashed.", "Export it again.")

    with raises(Code.DECODER_FAILED):
        track_faces(broken(), cast(FaceNets, RectangleNets(stand(7))))
    assert not [one for one in threading.enumerate() if one.name.startswith(("faces", "read-ahead"))]


def test_closing_the_tracker_closes_the_source() -> None:
    closed = threading.Event()

    def endless() -> Iterator[Frame]:
        try:
            yield from itertools.cycle(draw_frames(5))
        finally:
            closed.set()

    def stop(index: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        track_faces(endless(), cast(FaceNets, RectangleNets(stand(5))), None, stop)
    assert closed.is_set()
    assert not [one for one in threading.enumerate() if one.name.startswith(("faces", "read-ahead"))]
