"""Spans of speech: exactly so many seconds of it, own voices in sync, other voices of other people."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.datasets.manifest import Row
from engine.evaluation.calibration_trials import (
    count_speech_s,
    find_segments,
    leave_out_unknown,
    score_other_segments,
    score_own_segments,
)
from engine.evaluation.trials import TrialClip
from engine.types import Encoded, Evidence
from tests.fakes import make_mouth


def encode(lips: np.ndarray, speech: np.ndarray, evidence: Evidence | None = None) -> Encoded:
    ones = np.ones(len(lips), np.float32)
    return Encoded(0, lips.astype(np.float32), speech.astype(np.float32), ones, ones)


def compare(encoded: Encoded, evidence: Evidence) -> tuple[float, int]:
    """Score 1 where face and voice are the same rows; the offset is their length."""
    mask = evidence.lips & evidence.speech
    return float((encoded.lips[mask] == encoded.speech[mask]).mean()), len(mask)


def make_clip(name: str, n_frames: int, speaker: str = "", silent: slice | None = None, unseen: slice | None = None):
    mouth = make_mouth(n_frames, seed=sum(map(ord, name)))[:, None]
    mask, voiced = np.ones(n_frames, bool), np.ones(n_frames, bool)
    mask[unseen or slice(0)] = False
    voiced[silent or slice(0)] = False
    who = speaker or name
    return TrialClip(name, who, "lab", who, mouth, mouth, Evidence.both(mask), encode(mouth, mouth), voiced, 120.0)


def test_spans_hold_exactly_so_much_speech_and_what_is_left_is_dropped() -> None:
    spoken = np.ones(130, bool)
    assert find_segments(spoken, 2.0) == [slice(0, 50), slice(50, 100)]
    spoken[10:40] = False
    assert find_segments(spoken, 2.0) == [slice(0, 80), slice(80, 130)]
    assert find_segments(spoken, 4.0) == [slice(0, 130)]
    assert find_segments(spoken, 4.04) == [] == find_segments(np.zeros(500, bool), 1.0)


def test_pauses_and_an_unseen_face_make_a_span_longer_and_are_no_speech() -> None:
    clip = make_clip("a", 300, silent=slice(20, 70), unseen=slice(60, 90))
    assert count_speech_s(clip) == 9.2
    first, second = score_own_segments([clip], 4.0, encode, compare)
    assert (first.offset, second.offset) == (170, 100)
    assert (first.score, first.quality.speech_s, first.quality.face_px) == (1.0, 4.0, 120.0)
    assert (first.group, first.voice_group) == ("a", "a")


def test_each_face_is_compared_with_limited_other_speakers() -> None:
    clips = [make_clip(name, 260) for name in "abcdef"] + [make_clip("a2", 260, speaker="a")]
    trials = score_other_segments(clips, 4.0, encode, compare, per_face=3)
    assert len(trials) == 21 and all(one.group != one.voice_group for one in trials)
    assert all(one.score < 0.1 and one.offset == 100 and one.quality.speech_s == 4.0 for one in trials)
    assert {one.voice_group for one in score_other_segments(clips, 4.0, encode, compare)} == set("abcdef")
    assert trials == score_other_segments(clips, 4.0, encode, compare, per_face=3)
    assert trials != score_other_segments(clips, 4.0, encode, compare, per_face=3, seed=1)


def test_what_both_have_together_must_be_long_enough() -> None:
    long, short = make_clip("long", 300), make_clip("short", 110)
    quiet = make_clip("quiet", 300, silent=slice(0, 250))
    pairs = {(one.group, one.voice_group) for one in score_other_segments([long, short, quiet], 4.0, encode, compare)}
    assert pairs == {("long", "short"), ("short", "long"), ("quiet", "long"), ("quiet", "short")}
    assert score_own_segments([quiet], 4.0, encode, compare) == []


def test_clip_without_speech_mask_differs_from_silent_clip() -> None:
    mouth = make_mouth(200)[:, None]
    clip = TrialClip("a", "a", "lab", "a", mouth, mouth, Evidence.both(np.ones(200, bool)), encode(mouth, mouth))
    with pytest.raises(ValueError, match="has no voice activity"):
        count_speech_s(clip)


def test_clips_of_unknown_sync_are_no_genuine_trials() -> None:
    rows = [
        Row(n, Path("a.mp4"), "real", audio_in_sync=sync) for n, sync in enumerate(("yes", "near", "unknown", None))
    ]
    assert [row.audio_in_sync for row in leave_out_unknown(rows)] == ["yes", "near", None]


def test_segment_is_measured_by_its_own_mouth_motion() -> None:
    clip = replace(make_clip("a", 200), gap=np.where(np.arange(200) < 100, 0.0, np.arange(200) % 2).astype(np.float32))
    still, moving = score_own_segments([clip], 4.0, encode, compare)
    assert (still.quality.mouth_motion, moving.quality.mouth_motion) == (0.0, 0.5)
