"""Which clips are trained on, which belong together, and how a late sound is undone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.datasets.manifest import find_corpora
from engine.faces.landmark_features import N_FEATURES, N_MOTION
from engine.features.records import AudioFeatures, ClipFeatures, FaceFeatures
from engine.models.compact import N_BANDS, N_SPEECH
from engine.training.clips import MIN_FRAMES, build_clip, choose_rows, shift_sound, split_folds
from tests.engine.training.planted import make_clip, make_row


@pytest.mark.parametrize(
    "cells",
    [
        {"label": "fake"},
        {"label": "desync"},
        {"label": "Real?"},
        {"has_audio": "0"},
        {"has_audio": None},
        {"audio_in_sync": "no"},
        {"audio_in_sync": "unknown"},
        {"audio_in_sync": None},
    ],
)
def test_only_real_rows_with_sound_in_sync_are_chosen(cells: dict[str, Any]) -> None:
    good = make_row()
    assert choose_rows([good]) == [good]
    assert choose_rows([make_row(**cells), good]) == [good]


def test_rows_with_a_constant_offset_are_chosen() -> None:
    near = make_row(audio_in_sync="near")
    assert choose_rows([near]) == [near]


def test_sources_that_share_a_family_of_speakers_are_one_corpus() -> None:
    rows = [
        make_row("a", "GRID_s1"),
        make_row("b", "GRID_s2"),
        make_row("c", "HDTF_x"),
        make_row("b", "LRS_9"),
        make_row("d", "LRS_7"),
        make_row("c", ""),
        make_row("e", ""),
        make_row("f", ""),
    ]
    corpora = find_corpora(rows)
    a, b, c, b_again, d, c_unnamed, e, f = corpora
    assert a == b == b_again == d
    assert c == c_unnamed
    assert len({a, c, e, f}) == 4
    assert {a, c, e, f} <= {"a", "b", "c", "d", "e", "f"}


def test_families_join_whatever_the_order_of_the_rows() -> None:
    rows = [
        make_row("a", "X_1"),
        make_row("b", "Y_1"),
        make_row("c", "Z_1"),
        make_row("c", "X_2"),
        make_row("b", "Z_2"),
    ]
    for order in (rows, rows[::-1], rows[2:] + rows[:2]):
        assert len(set(find_corpora(order))) == 1


def test_folds_never_split_a_corpus_and_are_balanced() -> None:
    lengths = {"big": 900, "middle": 500, "small": 300, "tiny": 100, "least": 90}
    clips = [make_clip(i, n // 3, corpus) for corpus, n in lengths.items() for i in range(3)]
    fold_of = split_folds(clips, 2)
    assert set(fold_of) == set(lengths)
    seconds = [sum(clip.seconds for clip in clips if fold_of[clip.corpus] == fold) for fold in (0, 1)]
    assert max(seconds) / min(seconds) < 1.2
    assert split_folds(clips[::-1], 2) == fold_of


@pytest.mark.parametrize("late", [-6, -1, 1, 4])
def test_known_av_offset_is_corrected_and_both_streams_trimmed(late: int) -> None:
    wanted, clip = make_clip(3, 100, late=0), make_clip(3, 100, late=late)
    shifted = shift_sound(clip, late)
    length = 100 - abs(late)
    assert len(shifted.lips) == len(shifted.real) == length and len(shifted.mel) == 4 * length
    first = max(0, -late)
    assert np.array_equal(shifted.lips, wanted.lips[first : first + length])
    # the noise of the microphone apart, the sound is the one that belongs to these lips
    assert np.abs(shifted.mel - wanted.mel[4 * first : 4 * (first + length)]).mean() < 0.5
    unshifted = clip.mel[4 * first : 4 * (first + length)] - wanted.mel[4 * first : 4 * (first + length)]
    assert np.abs(unshifted).mean() > 0.6


def test_a_frame_stays_real_only_with_its_own_sound() -> None:
    real = np.ones(60, bool)
    real[[10, 40]] = False
    shifted = shift_sound(replace(make_clip(0, 60), real=real), 3)
    assert np.flatnonzero(~shifted.real).tolist() == [7, 10, 37, 40]


def test_zero_or_too_large_shift_leaves_clip_unchanged() -> None:
    clip = make_clip(0, MIN_FRAMES + 2)
    assert shift_sound(clip, 0) is clip
    assert shift_sound(clip, 3) is clip
    assert len(shift_sound(clip, 2).real) == MIN_FRAMES


def make_face(start: int, seen: np.ndarray, face_px: float = 100.0) -> FaceFeatures:
    lips = np.full((len(seen), N_FEATURES), face_px, np.float32)
    thumbnail = np.zeros((96, 96, 3), np.uint8)
    motion = np.zeros((len(seen), N_MOTION), np.float32)
    return FaceFeatures(start, lips, seen, np.zeros(len(seen), np.float32), face_px, thumbnail, motion)


def make_features(*tracks: FaceFeatures, present: np.ndarray | None = None) -> ClipFeatures:
    there = np.ones(100, bool) if present is None else present
    rows = np.arange(100 * N_SPEECH, dtype=np.float32).reshape(100, N_SPEECH)
    heard = AudioFeatures(rows, there, there, -20.0)
    return ClipFeatures("a.mp4", "0" * 64, 100, (640, 480), 25.0, (), heard, tracks, (), {})


def test_a_clip_is_the_main_face_with_the_sound_of_its_time() -> None:
    small, large = make_face(0, np.ones(60, bool), 50.0), make_face(20, np.ones(50, bool), 90.0)
    present = np.arange(100) < 65
    clip = build_clip(make_features(small, large, present=present), make_row("lab", "lab_1"), "labs")
    assert clip is not None
    assert (clip.name, clip.source, clip.speaker, clip.corpus) == ("a.mp4", "lab", "lab_1", "labs")
    assert (clip.lips == 90.0).all() and clip.lips.shape == (50, N_FEATURES)
    assert clip.mel.shape == (200, N_BANDS) and clip.mel[0, 0] == 20 * N_SPEECH
    assert np.flatnonzero(~clip.real)[0] == 45  # frame 65 of the file


def test_clip_with_too_short_face_is_rejected() -> None:
    enough = np.arange(60) < MIN_FRAMES
    assert build_clip(make_features(), make_row(), "lab") is None
    assert build_clip(make_features(make_face(0, enough)), make_row(), "lab") is not None
    assert build_clip(make_features(make_face(0, enough[1:])), make_row(), "lab") is None
    silent = np.arange(100) >= 1
    assert build_clip(make_features(make_face(0, enough), present=silent), make_row(), "lab") is None
