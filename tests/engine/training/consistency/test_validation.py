"""Results of a model on a held-out fold of clips with planted truth."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.models.compact import N_SPEECH, CompactConsistency
from engine.training.clips import TrainingClip
from engine.training.consistency.ensemble import MemberOptions, MemberState
from engine.training.consistency.validation import (
    MIN_WHOLE,
    SECONDS,
    Extent,
    HeldOutTrials,
    _limit_speakers,
    encode_by_context,
    encode_by_members,
    score_fold,
    summarise_folds,
)
from engine.types import Encoded, Evidence
from tests.engine.training.planted import make_clip, make_clips, shrink_members


def encode_rows(lips: np.ndarray, speech: np.ndarray, evidence: Evidence | None = None) -> Encoded:
    """A perfect ear: the motion behind these clips is read from either side by least squares."""
    ones = np.ones(len(lips), np.float32)
    world = np.random.default_rng(12345)  # the one of the planted clips
    to_lips, to_mel = world.normal(0, 0.03, (3, lips.shape[1])), world.normal(0, 1, (3, 40))
    seen = (lips - lips.mean(0)) @ np.linalg.pinv(to_lips)
    heard = speech.reshape(-1, 4, 40).mean(1)
    heard = (heard - heard.mean(0)) @ np.linalg.pinv(to_mel)
    return Encoded(0, embed(seen), embed(heard), ones, ones)


def embed(rows: np.ndarray) -> np.ndarray:
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)).astype(np.float32)


def deaf(lips: np.ndarray, speech: np.ndarray, evidence: Evidence | None = None) -> Encoded:
    rng, ones = np.random.default_rng(len(lips)), np.ones(len(lips), np.float32)
    return Encoded(0, embed(rng.normal(size=(len(lips), 8))), embed(rng.normal(size=(len(lips), 8))), ones, ones)


@pytest.fixture(scope="module")
def fold() -> HeldOutTrials:
    return score_fold(make_clips(8), encode_rows)


def test_perfect_model_has_perfect_metrics(fold: HeldOutTrials) -> None:
    figures = summarise_folds([fold])
    whole, offsets = figures["whole"], figures["offsets"]
    assert isinstance(whole, dict) and isinstance(offsets, dict)
    assert (whole["auc"], whole["eer"], whole["n_own"], whole["n_other"]) == (1.0, 0.0, 8, 56)
    assert whole["ci"] == [1.0, 1.0]
    assert offsets == {"n": 8 * 25, "clips": 8, "within_1_frame": 1.0, "within_1_frame_own": 1.0}
    by_seconds = figures["by_seconds"]
    assert isinstance(by_seconds, dict) and list(by_seconds) == [str(seconds) for seconds in SECONDS]
    assert by_seconds["1"]["n_own"] > by_seconds["3"]["n_own"] > 0
    assert by_seconds["3"]["auc"] > 0.95
    json.dumps(figures)  # plain numbers alone


def test_shuffled_faces_and_audio_blind_models_score_at_chance(fold: HeldOutTrials) -> None:
    shuffled = summarise_folds([fold])["shuffled"]
    assert isinstance(shuffled, dict) and 0.2 < shuffled["auc"] < 0.8
    whole = summarise_folds([score_fold(make_clips(8), deaf, Extent.WHOLE)])["whole"]
    assert isinstance(whole, dict) and 0.2 < whole["auc"] < 0.8


def test_folds_are_pooled_and_figures_of_whole_clips_are_of_them_alone() -> None:
    folds = [score_fold(make_clips(n, first=100 * n), encode_rows, Extent.WHOLE) for n in (4, 6)]
    assert list(summarise_folds(folds)) == ["whole"]
    whole = summarise_folds(folds)["whole"]
    assert isinstance(whole, dict) and (whole["n_own"], whole["n_other"]) == (4 + 6, 12 + 30)
    windows = [score_fold(make_clips(n, first=100 * n), encode_rows, Extent.WINDOWS) for n in (4, 6)]
    figures = summarise_folds(windows)
    assert list(figures) == ["whole", "by_seconds"] and figures["whole"] == whole


def test_short_clips_are_not_judged_whole_but_give_windows() -> None:
    clips = [make_clip(i, MIN_WHOLE if i < 3 else MIN_WHOLE - 1) for i in range(6)]
    tried = score_fold(clips, encode_rows)
    assert {trial.face for trial in tried.whole[0]} == {"0.mp4", "1.mp4", "2.mp4"}
    assert {trial.face for trial in tried.windows[3][0]} == {f"{i}.mp4" for i in range(6)}


def test_clips_per_speaker_are_capped() -> None:
    clips = [make_clip(i, 200, speaker="much") for i in range(9)] + [make_clip(20, 900, speaker="long")]
    kept = _limit_speakers(clips)
    assert [clip.name for clip in kept] == ["0.mp4", "1.mp4", "20.mp4"]  # 16 s of the one, the other's only clip


def test_unknown_speakers_of_a_source_are_never_each_others_other_voice() -> None:
    clips = [make_clip(i, 120, source="web", speaker="") for i in range(4)] + [make_clip(9, 120, speaker="lab_9")]
    tried = score_fold(clips, encode_rows, Extent.WHOLE)
    assert len(tried.whole[1]) == 8  # each of the four against the fifth, and back
    assert all("9.mp4" in (trial.face, trial.voice) for trial in tried.whole[1])


def make_state(monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> MemberState:
    shrink_members(monkeypatch)
    torch.manual_seed(seed)
    state = MemberState(MemberOptions())
    for tensor in state.parameters():
        if tensor.ndim:
            torch.nn.init.normal_(tensor, std=0.3)
    return state.eval()


def rows_of(clip: TrainingClip) -> tuple[np.ndarray, np.ndarray]:
    return clip.lips, clip.mel.reshape(-1, N_SPEECH)


def test_the_context_layers_give_unit_rows_for_every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    state, clip = make_state(monkeypatch), make_clip(0, 77)
    encoded = encode_by_context([state])(*rows_of(clip))
    assert encoded.lips.shape == encoded.speech.shape == (77, 24)
    for rows in (encoded.lips, encoded.speech):
        assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert (encoded.lips_weight == 1).all()
    with torch.no_grad():
        for tensor in state.prediction.context[0].parameters():
            tensor.zero_()
    assert not np.allclose(encode_by_context([state])(*rows_of(clip)).lips, encoded.lips, atol=1e-3)
    later = replace(clip, lips=clip.lips[:60], mel=clip.mel[:240], real=clip.real[:60])
    assert len(encode_by_context([state])(*rows_of(later)).lips) == 60


def test_members_embed_as_the_product_does(monkeypatch: pytest.MonkeyPatch) -> None:
    states, clip = [make_state(monkeypatch, seed) for seed in (0, 1)], make_clip(0, 50)
    found = encode_by_members(states)(*rows_of(clip))
    wanted = CompactConsistency.of([state.member for state in states]).encode(*rows_of(clip))
    assert found.lips.shape == (50, 24) and np.array_equal(found.lips, wanted.lips)
    assert np.array_equal(found.speech, wanted.speech)
