"""Tracks taken for one face by drawn shapes, and their pooled quality."""

import numpy as np
import pytest

from engine.consistency.pooling import MAX_SHAPE, N_SHAPE, link_tracks, pool_quality
from engine.features.records import AudioFeatures, ClipFeatures, FaceFeatures
from engine.models.compact import N_FEATURES


def make_face(start: int, shape: float, n_frames: int = 50, gap: float = 0.1, face_px: float = 150.0) -> FaceFeatures:
    """A face with all lip points moved by `shape`, and a lip gap that swings by `gap`."""
    lips = np.zeros((n_frames, N_FEATURES), np.float32)
    lips[:, :N_SHAPE] = shape
    swing = np.where(np.arange(n_frames) % 2, gap, -gap).astype(np.float32)
    seen, picture = np.ones(n_frames, bool), np.zeros((96, 96, 3), np.uint8)
    return FaceFeatures(start, lips, seen, swing, face_px, picture, np.zeros((n_frames, 58), np.float32))


NEAR, FAR = 0.5 * MAX_SHAPE, 3 * MAX_SHAPE


def test_tracks_of_one_shape_that_are_never_seen_together_are_one_face() -> None:
    faces = [make_face(0, 0.0), make_face(50, FAR), make_face(100, NEAR), make_face(150, FAR + NEAR)]
    assert link_tracks(faces, [None] * 4) == ((0, 2), (1, 3))


def test_faces_seen_together_shown_twice_or_too_shortly_are_not_linked() -> None:
    assert link_tracks([make_face(0, 0.0), make_face(49, 0.0)], [None, None]) == ()
    assert link_tracks([make_face(0, 0.0), make_face(50, 0.0)], [None, None]) == ((0, 1),)
    assert link_tracks([make_face(0, 0.0), make_face(60, 0.0), make_face(120, FAR)], [None, 2, None]) == ()
    assert link_tracks([make_face(0, 0.0), make_face(50, 0.0, n_frames=24)], [None, None]) == ()


def test_pooled_quality_sums_seconds_and_keeps_the_worst_of_the_rest() -> None:
    faces = [make_face(0, 0.0, face_px=90.0), make_face(50, 0.0, gap=0.2)]
    ones = np.ones(100, bool)
    audio = AudioFeatures(np.zeros((100, 160), np.float32), ones, ones, -20.0)
    features = ClipFeatures("a", "0" * 64, 100, (1, 1), 25.0, (), audio, tuple(faces), (50,), {})
    found = pool_quality(features, faces)
    assert (found.length_s, found.speech_s, found.face_px, found.mouth_seen) == (4.0, 4.0, 90.0, 1.0)
    assert found.mouth_motion == pytest.approx(np.sqrt((0.1**2 + 0.2**2) / 2))
