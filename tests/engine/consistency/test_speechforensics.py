"""SpeechForensics score: reference numbers, unequal lengths, the first face."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.consistency.speechforensics import (
    correlate_offsets,
    count_audio_frames,
    find_speechforensics_offset,
    measure_speechforensics,
    resample_rows,
    select_first_face,
)
from engine.faces.landmark_features import N_MOTION
from engine.features.crop_plan import MAX_FRAMES, choose_first_face, join_rows
from engine.features.records import AudioFeatures, ClipFeatures, FaceFeatures

PART = Path(__file__).parents[2] / "goldens" / "avhubert.npz"
FULL = Path(__file__).parents[3] / ".." / "shared" / "golden" / "avhubert_golden.npz"
TAGS = [(PART, "base2"), *((FULL, tag) for tag in ("base2", "large2", "base12", "large24") if FULL.is_file())]


@pytest.mark.parametrize(("file", "tag"), TAGS, ids=lambda value: value if isinstance(value, str) else value.stem)
def test_curve_and_score_are_those_of_the_reference(file: Path, tag: str) -> None:
    with np.load(file) as golden:
        video, audio = golden[f"{tag}.video_features"], golden[f"{tag}.audio_features"]
        curve, score = golden[f"{tag}.offset_similarity"], float(golden[f"{tag}.score"])
    assert (len(video), len(audio)) == (30, 32)  # so that rows have to be repeated
    np.testing.assert_allclose(correlate_offsets(video, audio).similarity, curve, atol=1e-6)
    found = measure_speechforensics(video, audio)
    assert found.score == pytest.approx(score, abs=1e-6)
    assert found.offset_s == pytest.approx((int(curve.argmax()) - 15) / 25)
    assert find_speechforensics_offset(video, audio) == (found.score, round(found.offset_s * 25))


def rows(n_frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_frames, 16)).astype(np.float32)


@pytest.mark.parametrize("late", [0, 7, -11])
def test_offset_is_positive_where_the_sound_comes_late_and_its_zeros_cost(late: int) -> None:
    own = rows(120)
    sound = np.roll(own, late, axis=0)[max(0, late) :][: 120 - abs(late)]
    sound = np.pad(sound, ((max(0, late), max(0, -late)), (0, 0)))  # nothing of the other end comes round
    found = measure_speechforensics(own, sound)
    assert found.offset_s == pytest.approx(late / 25)
    assert found.score == pytest.approx(1 - abs(late) / 120)
    assert found.curve.pairs[15 + late] == 120 - abs(late)


def test_measures_not_in_the_paper_are_absent() -> None:
    found = measure_speechforensics(rows(60), rows(60, 1))
    assert (found.dynamic_score, found.drift_s, found.beyond_s, found.windows) == (None, None, None, ())


def test_feature_scale_does_not_change_the_score() -> None:
    video, audio = rows(80), rows(80, 1)
    loud = audio * np.linspace(0.1, 9, 80, dtype=np.float32)[:, None]
    assert measure_speechforensics(video, loud).score == pytest.approx(measure_speechforensics(video, audio).score)


def test_prominence_separates_agreement_from_noise() -> None:
    own = rows(150)
    assert measure_speechforensics(own, own + rows(150, 1)).prominence > 4
    assert measure_speechforensics(own, rows(150, 2)).prominence < 4


@pytest.mark.parametrize(("n_rows", "length"), [(30, 32), (32, 30), (5, 5), (1, 4), (7, 1)])
def test_resampling_keeps_the_order_and_the_first(n_rows: int, length: int) -> None:
    taken = resample_rows(np.arange(n_rows, dtype=float)[:, None], length)[:, 0]
    assert len(taken) == length and taken[0] == 0
    assert (np.diff(taken) >= 0).all()
    assert taken[-1] == (n_rows - 1 if length > 1 else 0)


def test_only_the_first_50_seconds_count() -> None:
    video, audio = rows(1400), rows(1400, 1)
    other = np.concatenate([audio[:MAX_FRAMES], rows(150, 2)])
    assert MAX_FRAMES == 1250
    assert measure_speechforensics(video, audio).score == measure_speechforensics(video, other).score


def test_sound_ends_with_its_last_frame() -> None:
    assert count_audio_frames(np.array([False, True, False, True, False])) == 4
    assert count_audio_frames(np.zeros(5, bool)) == 0


def make_track(start: int, length: int, face_px: float, value: float, unseen: tuple[int, ...] = ()) -> FaceFeatures:
    seen = np.ones(length, bool)
    seen[list(unseen)] = False
    lips = np.full((length, 130), value, np.float32)
    motion = np.full((length, N_MOTION), value, np.float32)
    gap, thumbnail = np.full(length, value, np.float32), np.zeros((96, 96, 3), np.uint8)
    return FaceFeatures(start, lips, seen, gap, face_px, thumbnail, motion)


def make_features(n_frames: int, *tracks: FaceFeatures) -> ClipFeatures:
    there = np.ones(n_frames, bool)
    heard = AudioFeatures(np.zeros((n_frames, 160), np.float32), there, there, -20.0)
    return ClipFeatures("a.mp4", "ab" * 32, n_frames, (640, 480), 25.0, (), heard, tracks, (), {})


def test_first_face_is_the_largest_and_longest_and_others_fill_its_gaps() -> None:
    large, small = make_track(10, 20, 200.0, 1.0, unseen=(5,)), make_track(0, 40, 60.0, 2.0)
    chosen = choose_first_face([small, large], 45)
    assert (chosen[:10] == 0).all()
    assert chosen[15] == 0  # the large one is not seen here
    assert (np.delete(chosen[10:30], 5) == 1).all()
    assert (chosen[30:40] == 0).all() and (chosen[40:] == -1).all()


def test_frames_without_a_face_lie_on_a_line_and_the_ends_stand_still() -> None:
    chosen = np.array([-1, 0, 0, -1, -1, 1, -1])
    joined = join_rows(chosen, [1, 5], [np.array([[2.0], [4.0]]), np.array([[10.0]])])
    np.testing.assert_allclose(joined[:, 0], [2, 2, 4, 6, 8, 10, 10])


def test_first_face_spans_the_clip_for_50_seconds_at_most() -> None:
    long = make_features(1300, make_track(100, 900, 150.0, 1.0), make_track(1100, 200, 90.0, 3.0))
    first = select_first_face(long)
    assert first is not None
    assert (first.start, first.end, first.face_px) == (0, MAX_FRAMES, 150.0)
    assert not first.seen[:100].any() and first.seen[100:1000].all() and not first.seen[1000:1100].any()
    assert first.lips[0, 0] == 1.0 and first.lips[1200, 0] == 3.0
    assert first.gap[1050] == pytest.approx(2.0, abs=0.02)
    assert first.mouths is None


def test_first_face_brings_the_mouths_that_were_cut_for_it() -> None:
    mouths = np.zeros((30, 96, 96), np.uint8)
    seen = replace(make_features(30, make_track(0, 30, 100.0, 1.0)), first_mouths=mouths)
    first = select_first_face(seen)
    assert first is not None and first.mouths is mouths


def test_no_face_is_no_first_face() -> None:
    assert select_first_face(make_features(30)) is None
    assert select_first_face(make_features(30, make_track(0, 10, 50.0, 1.0, unseen=tuple(range(10))))) is None
