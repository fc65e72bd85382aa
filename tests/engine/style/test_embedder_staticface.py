"""The baseline follows the shape of a face, and nothing that it does."""

from dataclasses import replace

import numpy as np
import pytest

from engine.faces.face_crops import N_POINTS, POINTS, AlignedFaces
from engine.faces.mouth_crops import MEAN_FACE
from engine.features.records import FaceFeatures
from engine.style.embedder import MEAN_SHAPE, StaticFace
from tests.engine.style.test_embedder import draw_track, observe


def draw_person(person: int, n_frames: int = 60, seed: int = 0, talk: float = 1.0) -> FaceFeatures:
    """A face of its own shape, whose every point moves by itself."""
    shape = MEAN_SHAPE + np.random.default_rng(1000 + person).normal(size=(N_POINTS, 2))
    motion = talk * np.random.default_rng(seed).normal(size=(n_frames, N_POINTS, 2))
    track = draw_track(n_frames, seed)
    assert track.faces is not None
    return replace(track, faces=AlignedFaces(track.faces.pictures, (shape + motion).astype(np.float32)))


def embed(track: FaceFeatures) -> np.ndarray:
    found = StaticFace().embed(observe(track), track)
    assert found is not None
    return found.vector


def test_one_shape_is_one_person_however_it_moves() -> None:
    ada, again, ben = (embed(draw_person(*who)) for who in ((1, 60, 0), (1, 75, 1), (2, 60, 0)))
    assert ada @ again > 0.95
    assert abs(ada @ ben) < 0.3
    still, reversed_ = draw_person(1), draw_person(1)
    assert still.faces is not None and reversed_.faces is not None
    turned = AlignedFaces(reversed_.faces.pictures, reversed_.faces.points[::-1].copy())
    np.testing.assert_allclose(embed(replace(reversed_, faces=turned)), embed(still), atol=1e-5)


def test_the_mean_shape_is_an_upright_face_in_its_place() -> None:
    assert MEAN_SHAPE.shape == (N_POINTS, 2)
    corners = (MEAN_FACE - (64, 68)) * 0.5
    for vertex, row in ((33, 1), (133, 2), (362, 3), (263, 4), (2, 0)):
        assert np.abs(MEAN_SHAPE[POINTS.index(vertex)] - corners[row]).max() < 2.0
    left, right = MEAN_SHAPE[POINTS.index(61)], MEAN_SHAPE[POINTS.index(291)]
    assert left[0] < 32 < right[0] and abs(left[1] - right[1]) < 1
    assert MEAN_SHAPE[POINTS.index(152)][1] > 60 > 20 > MEAN_SHAPE[POINTS.index(105)][1]  # chin below, brow above


def test_all_is_natural_and_nothing_is_refused() -> None:
    track = draw_person(1, 60)
    found = StaticFace().embed(observe(track), track)
    assert found is not None
    assert (found.is_natural, found.evidence, found.n_windows, found.seconds) == (True, 0.0, 2, 2.4)
    assert found.recipe == StaticFace().recipe and StaticFace().nature.admits(found.evidence, 100)
    assert 0 < found.spread < 0.1


def test_frames_that_were_not_seen_have_no_part_in_it() -> None:
    track = draw_person(1, 60)
    assert track.faces is not None
    points, seen = track.faces.points.copy(), np.arange(60) < 40
    points[~seen] = 999
    hidden = replace(track, seen=seen, faces=AlignedFaces(track.faces.pictures, points))
    assert embed(hidden) @ embed(track) > 0.98
    assert StaticFace().embed(observe(hidden), replace(hidden, seen=np.arange(60) < 24)) is None


def test_an_observation_without_faces_is_a_mistake() -> None:
    track = draw_track(has_faces=False)
    with pytest.raises(ValueError, match="extract with `cut_faces`"):
        StaticFace().embed(observe(track), track)
