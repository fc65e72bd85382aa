"""Silence at the ends of a clip: found in the rows that are kept, and cut away from face and sound alike."""

import numpy as np
import pytest

from engine.evaluation.bench import find_sound, measure_leading_silence, trim_silence
from engine.evaluation.trials import TrialClip
from engine.speech.filterbanks import filterbank_rows, log_mel
from engine.types import SAMPLES_PER_FRAME
from tests.fakes import JAW_COLUMN, FakeEncoder, make_mouth, make_voice


def make_trial(silent: int = 0, after: int = 0, n_frames: int = 100) -> TrialClip:
    mouth = make_mouth(n_frames, 3)
    sound = make_voice(mouth)
    sound[: silent * SAMPLES_PER_FRAME] = 0
    sound[len(sound) - after * SAMPLES_PER_FRAME :] = 0
    speech, lips = log_mel(sound), np.zeros((n_frames, -JAW_COLUMN), np.float32)
    lips[:, JAW_COLUMN] = mouth
    real = np.ones(n_frames, bool)
    return TrialClip("a.mp4", "a", "lab", "a", lips, speech, real, FakeEncoder().encode(lips, speech), real)


def test_silence_is_what_lies_below_the_published_threshold() -> None:
    rng = np.random.default_rng(0)
    for peak, is_silent in ((0.0002, True), (0.002, False)):
        rows = log_mel(rng.uniform(-peak, peak, 20 * SAMPLES_PER_FRAME).astype(np.float32))
        assert (find_sound(rows) == (0, 0)) == is_silent


def test_rows_of_avhubert_tell_exact_silence_alone() -> None:
    sound = make_voice(make_mouth(20, 1))
    sound[: 6 * SAMPLES_PER_FRAME] = 0
    assert find_sound(filterbank_rows(sound)) == (5, 20)  # the window of the step before reaches into the sound


def test_both_ends_are_cut_from_face_and_sound() -> None:
    clip = make_trial(silent=12, after=8)
    assert measure_leading_silence(clip) == pytest.approx(0.44, abs=0.04)
    cut = trim_silence(clip, FakeEncoder().encode)
    assert cut is not None and cut.voiced is not None
    assert len(cut.mask) == len(cut.lips) == len(cut.speech) == len(cut.voiced) == len(cut.encoded.lips)
    assert 77 <= len(cut.mask) <= 80
    assert np.array_equal(cut.speech, clip.speech[12 : 12 + len(cut.mask)])


def test_a_clip_that_is_never_silent_stays_itself() -> None:
    clip = make_trial()
    assert trim_silence(clip, FakeEncoder().encode) is clip
    assert measure_leading_silence(clip) == 0.0


def test_too_little_sound_is_nothing() -> None:
    assert trim_silence(make_trial(silent=80), FakeEncoder().encode) is None
    silent = make_trial(silent=100)
    assert trim_silence(silent, FakeEncoder().encode) is None
    assert measure_leading_silence(silent) == 4.0
