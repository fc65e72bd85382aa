"""Comparison of clips: segments with times of both, the recording with most evidence first."""

import json
from dataclasses import replace

import numpy as np
import pytest

from engine.faces.face_crops import AlignedFaces
from engine.faces.landmark_features import N_MOTION
from engine.features.records import ClipFeatures
from engine.motion.channels import MotionRegion
from engine.motion.comparison import SourceSearch, describe_clip, search_sources
from engine.motion.patterns import Pattern
from engine.motion.report import CAUTION, NOT_FOUND, STILL, list_lines, to_json
from engine.reports.json import write_json
from engine.style.embedder import MEAN_SHAPE
from tests.engine.motion.calibrated import RECIPE, make_calibration
from tests.engine.motion.moving import make_features, make_motion, mirror, play, replace_region, spoil


def search(suspect: np.ndarray, *recordings: np.ndarray, calibrated: bool = True) -> SourceSearch:
    clips = [describe_clip(make_features(one, name=f"{i}.mp4")) for i, one in enumerate(recordings)]
    known = make_calibration() if calibrated else None
    return search_sources(describe_clip(make_features(suspect, name="suspect.mp4")), clips, RECIPE, known)


def test_the_source_comes_first_with_the_times_of_both() -> None:
    source = make_motion(1, 500)
    found = search(spoil(source[200:400], 0.5), make_motion(2), source, make_motion(3))
    assert found.recordings[0].name == "1.mp4"
    assert [len(one.segments) for one in found.recordings] == [1, 0, 0]
    (segment,) = found.recordings[0].segments
    assert (segment.from_s, segment.to_s) == (0, 8) and (segment.source_from_s, segment.source_to_s) == (8, 16)
    assert segment.offset_s == 8 and segment.speed == 1 and not segment.mirrored
    assert segment.llr == 4 and segment.pattern == Pattern.SAME_MOTION and segment.face_similarity is None
    assert found.calibration is not None and found.recipe == RECIPE and found.recordings[0].seconds == 8


def test_each_piece_is_named_with_its_recording() -> None:
    one, other = make_motion(4), make_motion(5)
    found = search(np.concatenate([one[50:180], other[20:170]]), one, other)
    spans = {rec.name: [(seg.from_s, seg.to_s, seg.offset_s) for seg in rec.segments] for rec in found.recordings}
    ((_, end, first),) = spans["0.mp4"]
    ((begin, _, second),) = spans["1.mp4"]
    assert abs(end - 5.2) < 0.5 and abs(begin - 5.2) < 0.5
    assert first == pytest.approx(2, abs=0.05) and second == pytest.approx(0.8 - 5.2, abs=0.05)


def test_another_mouth_and_another_face_of_several() -> None:
    source = make_motion(6)
    lips = replace_region(source, make_motion(7), MotionRegion.MOUTH)
    suspect = describe_clip(make_features(make_motion(8), lips))
    found = search_sources(suspect, [describe_clip(make_features(make_motion(9), source))], RECIPE, make_calibration())
    (segment,) = found.recordings[0].segments
    assert (segment.face, segment.source_face, segment.pattern) == (1, 1, Pattern.OTHER_MOUTH)
    assert [one.follows for one in segment.regions] == [True, True, False]


def test_still_faces_are_said_to_be_still() -> None:
    still = np.zeros((250, N_MOTION), np.float32)
    found = search(still, make_motion(10))
    assert found.is_still and list(list_lines(found))[1].strip() == STILL
    found = search(make_motion(10), still)
    assert found.recordings[0].is_still and found.recordings[0].best_llr is None
    assert STILL in "\n".join(list_lines(found))


def test_text_and_json_name_what_follows_and_nothing_else() -> None:
    source = make_motion(11, 400)
    found = search(mirror(play(source[50:350], 1.1)), make_motion(12), source)
    text = "\n".join(list_lines(found))
    assert "mirrored" in text and "1.1" in text and "head follows" in text and NOT_FOUND in text
    assert text.endswith(CAUTION) and "log10 LR +4.0" in text
    assert not any(word in text.lower() for word in ("fake", "forger", "manipulat"))
    written = json.loads(write_json(to_json(found)))
    segment = written["recordings"][0]["segments"][0]
    assert segment["mirrored"] and segment["speed"] == pytest.approx(1.1, abs=0.01)
    assert segment["pattern"] == "same motion"
    assert segment["strength"].startswith("The findings are about 10 000 times more probable")
    assert written["recordings"][1]["sentence"] == NOT_FOUND and written["calibration"]["author"]


def test_without_a_calibration_there_are_scores_only() -> None:
    source = make_motion(13)
    found = search(source, source, calibrated=False)
    assert found.recordings[0].segments[0].llr is None and found.recordings[0].segments[0].score > 3
    assert any(line.startswith("No calibration") for line in list_lines(found))


@pytest.mark.parametrize(("shift", "pattern"), [(0.0, Pattern.SAME_MOTION), (-2.0, Pattern.OTHER_FACE)])
def test_an_unlike_face_shape_is_another_face(shift: float, pattern: Pattern) -> None:
    source = make_motion(14)
    one, other = (show_face(make_features(source), factor) for factor in (1.0, 1.0 + shift))
    found = search_sources(describe_clip(one), [describe_clip(other)], RECIPE, make_calibration())
    (segment,) = found.recordings[0].segments
    assert segment.pattern == pattern and segment.face_similarity == pytest.approx(1.0 + shift, abs=1e-3)


def show_face(features: ClipFeatures, factor: float) -> ClipFeatures:
    """Add aligned faces with a shape that differs from the mean by `factor` times a fixed one."""
    shape = MEAN_SHAPE + factor * np.random.default_rng(1).normal(size=MEAN_SHAPE.shape)
    n_frames = len(features.tracks[0].seen)
    faces = AlignedFaces(np.zeros((n_frames, 64, 64), np.uint8), np.tile(shape, (n_frames, 1, 1)).astype(np.float32))
    return replace(features, tracks=(replace(features.tracks[0], faces=faces),))
