"""Trials of spans on drawn clips: stretches with exactly so much speech, and sounds put in at known places."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from engine.calibration.records import Task
from engine.calibration.trials import Origin, TrialOptions
from engine.consistency.offsets import PLAIN_MEAN
from engine.evaluation.span_trials import (
    FollowedClip,
    collect_span_trials,
    draw_places,
    find_stretches,
    replace_sound,
)
from engine.evaluation.trials import TrialClip
from engine.span_reports import write_span_recipe
from engine.types import Encoded, Evidence

N = 300


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def encode(lips: np.ndarray, speech: np.ndarray, evidence: Evidence) -> Encoded:
    ones = np.ones(len(lips), np.float32)
    return Encoded(0, unit(lips), unit(speech), ones, ones)


def make_clip(seed: int, n_frames: int = N) -> TrialClip:
    rows = np.random.default_rng(seed).normal(size=(n_frames, 16)).astype(np.float32)
    evidence = Evidence.both(np.ones(n_frames, bool))
    who, voiced = f"p{seed}", np.ones(n_frames, bool)
    return TrialClip(who, who, "lab", who, rows, rows, evidence, encode(rows, rows, evidence), voiced, 100.0)


def test_stretches_have_exactly_so_much_speech_and_begin_and_end_with_it() -> None:
    spoken = np.ones(60, bool)
    spoken[10:20] = False
    found = find_stretches(spoken, 1.0)
    assert len(found) == 26 and all(spoken[one].sum() == 25 for one in found)
    assert (found[0], found[-1]) == (slice(0, 35), slice(35, 60))
    assert find_stretches(spoken, 3.0) == []


def test_a_stretch_is_scored_against_the_level_of_the_rest() -> None:
    clip, other = make_clip(0), make_clip(1)
    edited = replace_sound(clip, other, slice(100, 150), slice(0, 50), encode)
    followed = FollowedClip.of(edited, PLAIN_MEAN)
    assert followed is not None
    rest = np.delete(followed.similarity, slice(200, 250)).mean()
    assert followed.score(slice(200, 250)) == pytest.approx(1 - rest / 2, abs=1e-6)
    score = followed.score(slice(100, 150))
    assert score is not None and score == pytest.approx(-0.5, abs=0.15)
    assert followed.score(slice(0, N)) is None


def test_sound_is_replaced_with_its_speech_and_its_level() -> None:
    clip, other = make_clip(0), make_clip(1)
    heard, voiced = np.ones(N, bool), np.ones(N, bool)
    heard[5] = voiced[6] = False
    other = replace(other, evidence=Evidence(other.evidence.lips, heard), voiced=voiced)
    edited = replace_sound(clip, other, slice(100, 150), slice(0, 50), encode)
    np.testing.assert_array_equal(edited.speech[100:150], other.speech[:50])
    np.testing.assert_array_equal(edited.speech[:100], clip.speech[:100])
    assert not edited.evidence.speech[105] and edited.evidence.speech.sum() == N - 1
    assert edited.voiced is not None and not edited.voiced[106] and clip.evidence.speech.all()

    mel = np.full((N, 160), -4.0, np.float32)
    loud = replace(clip, lips=mel, speech=mel)
    quiet = replace(other, speech=mel - 3)
    matched = replace_sound(loud, quiet, slice(100, 150), slice(0, 50), encode)
    np.testing.assert_allclose(matched.speech, mel, atol=1e-5)
    faded = replace_sound(loud, quiet, slice(100, 150), slice(0, 50), encode, 20)
    np.testing.assert_allclose(faded.speech, mel, atol=1e-4)  # the powers of two equal sounds add up to the same


def test_places_have_enough_speech_of_both() -> None:
    clip, other = make_clip(0), make_clip(1)
    voiced = np.ones(N, bool)
    voiced[:200] = False
    rng = np.random.default_rng(0)
    for _ in range(20):
        places = draw_places(replace(clip, voiced=voiced), other, 2.0, rng)
        assert places is not None
        here, there = places
        assert here.stop - here.start == there.stop - there.start == 50 and voiced[here].mean() >= 0.6
    assert draw_places(clip, replace(other, voiced=np.zeros(N, bool)), 2.0, rng) is None
    assert draw_places(make_clip(2, 40), other, 2.0, rng) is None


def test_own_stretches_score_higher_than_foreign_ones() -> None:
    clips = [make_clip(seed) for seed in range(6)]
    rows = [SimpleNamespace(is_real=True, person=one.speaker, number=number) for number, one in enumerate(clips)]
    measured = [
        SimpleNamespace(row=row, refused=row.number == 5, clip=clip) for row, clip in zip(rows, clips, strict=True)
    ]
    corpora = {number: f"c{number}" for number in range(6)}
    scorer = SimpleNamespace(options=PLAIN_MEAN, encode=encode)
    origin = Origin("recipe", "ab" * 32)
    found = collect_span_trials(SimpleNamespace(measured=measured), scorer, corpora, origin, TrialOptions())  # type: ignore[arg-type]
    assert found.task == Task.SPANS and found.recipe == write_span_recipe("recipe")
    assert set(found.conditions) == {"1 s", "1.5 s", "2 s", "3 s", "5 s"}
    assert found.same.sum() == 5 * 5 and (~found.same).sum() == 5 * 5 * 4
    assert found.scores[found.same].min() > 0.4 and found.scores[~found.same].max() < -0.2
    assert (found.n_clips, found.n_abstained) == (5, 1)
    assert set(found.people[~found.same].ravel()) == {f"p{n}" for n in range(5)}
    assert (found.people[found.same][:, 0] == found.people[found.same][:, 1]).all()
