from pathlib import Path
from typing import cast

import numpy as np
import pytest

from benchmarks.landmarks import choose_rows, find_lost, measure_jitter, settle
from engine.datasets.manifest import Row
from engine.faces.landmarker import FaceNets, Mesh
from engine.types import FaceTrack
from tests.engine.faces.scenes import RectangleNets, Scene, draw_frames, draw_landmarks, hide, stroll, track


def make_row(number: int, source: str, speaker: str, label: str = "real") -> Row:
    return Row(number, Path(f"{number}.mp4"), label, speaker=speaker, source=source)


def test_every_source_and_every_speaker_has_its_turn() -> None:
    rows = [make_row(i, "a", "ann" if i < 4 else f"bob {i}") for i in range(8)]
    rows += [make_row(10, "b", "cleo"), make_row(11, "b", "dan", "fake"), make_row(12, "b", "eve")]
    assert [row.number for row in choose_rows(rows, 6)] == [0, 10, 4, 12, 5, 6]
    assert len(choose_rows(rows, 60)) == 10


def test_a_face_is_lost_where_it_is_found_and_not_followed() -> None:
    scene: Scene = [[(60.0, 60.0, 40.0), (250.0, 120.0, 50.0)]] * 20
    nets, frames = RectangleNets(scene), draw_frames(20)
    alone = track(hide([faces[:1] for faces in scene], 10, 3))
    found = nets.find_faces(frames[5].image)
    assert [one.box.mean() for one in find_lost(found, alone, 5)] == [found[0].box.mean()]
    assert find_lost(found, alone, 11) == found  # the other one is missing there
    assert find_lost(found, track(scene), 5) == []


def test_settled_landmarks_are_placed_from_their_own_region() -> None:
    """Networks that move halfway from the region to the face settle closer to it with each run."""

    class Halfway(RectangleNets):
        def place_landmarks(self, image: np.ndarray, region: object) -> Mesh:
            x = float(region.centre[0])  # type: ignore[attr-defined]
            return Mesh(1.0, draw_landmarks((x + (100.0 - x) / 2, 80.0, 60.0)))

    scene = stroll(12, speed=0)
    placed = list(settle(track(scene).tracks[0], draw_frames(12), cast(FaceNets, Halfway(scene))))
    assert [index for index, _ in placed] == [2, 6, 10]
    for _, landmarks in placed:
        assert landmarks[:2, 0].mean() == pytest.approx(60 + 40 * 0.75, abs=1e-3)


def make_track(offsets: np.ndarray) -> FaceTrack:
    """A face 60 pixels wide that moves along x by these offsets (T,)."""
    points = draw_landmarks((100.0, 80.0, 60.0))
    landmarks = np.stack([points + np.array([x, 0, 0], np.float32) for x in offsets])
    boxes = np.concatenate([landmarks[:, :, :2].min(1), landmarks[:, :, :2].max(1)], axis=1)
    seen = np.ones(len(offsets), bool)
    return FaceTrack(
        0, boxes, landmarks, np.zeros((len(offsets), 52), np.float32), seen, np.zeros((96, 96, 3), np.uint8)
    )


def test_jitter_is_the_distance_from_the_middle_of_the_neighbours() -> None:
    offsets = np.array([0.0, 6.0, 12.0, 18.0, 24.0, 24.0, 27.0, 24.0])
    speed, jitter = measure_jitter(make_track(offsets), np.array([1, 2, 6]))
    np.testing.assert_allclose(speed, [0.1, 0.1, 0.0], atol=1e-6)
    np.testing.assert_allclose(jitter[:, :, 0], np.tile([[0.0], [0.0], [0.05]], 478), atol=1e-6)
    np.testing.assert_allclose(jitter[:, :, 1], 0, atol=1e-6)
