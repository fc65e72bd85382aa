"""Validate the compact model on held-out corpora, fold by fold."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from engine.evaluation.trials import (
    Encode,
    PlantedOffset,
    Trial,
    TrialClip,
    cut_windows,
    plant_offsets,
    score_other_voices,
    score_own_voices,
    shuffle_faces,
)
from engine.metrics import auc, bootstrap_interval, eer, rank_auc
from engine.models.compact import N_SPEECH, CompactConsistency, centre_lips, centre_speech
from engine.training.clips import TrainingClip
from engine.training.consistency.ensemble import MemberState
from engine.types import FPS, Encoded, Evidence

SECONDS = (1, 2, 3, 5)
MIN_WHOLE = 4 * FPS  # frames: shorter clips are not scored whole


class Extent(StrEnum):
    """Trials to score."""

    WHOLE = "whole"  # whole clips
    WINDOWS = "windows"  # and windows
    ALL = "all"  # and the control and planted offsets


@dataclass(frozen=True, slots=True)
class HeldOutTrials:
    """Trials of the clips of one fold, scored by a model that saw none of their corpora."""

    whole: tuple[list[Trial], list[Trial]]  # own voices, other voices
    shuffled: tuple[list[Trial], list[Trial]]
    windows: dict[int, tuple[list[Trial], list[Trial]]]  # by seconds
    offsets: list[PlantedOffset]


def score_fold(clips: Sequence[TrainingClip], encode: Encode, depth: Extent = Extent.ALL) -> HeldOutTrials:
    """Score trials of the clips of a fold."""
    whole = [_build_trial_clip(clip, encode) for clip in clips if len(clip.real) >= MIN_WHOLE]
    if depth == Extent.WHOLE:
        return HeldOutTrials(_score(whole), ([], []), {}, [])
    everything = [_build_trial_clip(clip, encode) for clip in _limit_speakers(clips)]
    windows = {seconds: _score(cut_windows(everything, seconds * FPS, encode)) for seconds in SECONDS}
    if depth == Extent.WINDOWS:
        return HeldOutTrials(_score(whole), ([], []), windows, [])
    shuffled = _score(shuffle_faces(whole, encode))
    return HeldOutTrials(_score(whole), shuffled, windows, list(plant_offsets(whole, encode)))


def summarise_folds(folds: Sequence[HeldOutTrials]) -> dict[str, object]:
    """Pool the trials of all folds and compute results with 95 % intervals over speakers."""
    figures: dict[str, object] = {"whole": measure_trials([fold.whole for fold in folds])}
    if any(fold.shuffled[0] for fold in folds):
        figures["shuffled"] = measure_trials([fold.shuffled for fold in folds])
    if any(fold.windows for fold in folds):
        figures["by_seconds"] = {str(s): measure_trials([fold.windows[s] for fold in folds]) for s in SECONDS}
    offsets = [offset for fold in folds for offset in fold.offsets]
    if offsets:
        figures["offsets"] = {
            "n": len(offsets),
            "clips": len({offset.name for offset in offsets}),
            "within_1_frame": _share(offset.error <= 1 for offset in offsets),
            "within_1_frame_own": _share(offset.own_error <= 1 for offset in offsets),
        }
    return figures


def encode_by_context(states: Sequence[MemberState]) -> Encode:
    """Embed by the layers that predict the units, for a network trained on masked prediction alone.

    As SpeechForensics uses AV-HuBERT: the last hidden features, with the other modality absent.
    """
    state = states[0]

    @torch.inference_mode()
    def encode(lips: np.ndarray, speech: np.ndarray, evidence: Evidence | None = None) -> Encoded:
        device = next(state.parameters()).device
        seen, heard = (None, None) if evidence is None else (evidence.lips, evidence.speech)
        reach = state.member.reach + sum(state.prediction.CONTEXT)
        rows = []
        for stream, values in (
            (state.member.lips, centre_lips(lips, seen)),
            (state.member.speech, centre_speech(speech, heard)),
        ):
            held = F.pad(torch.from_numpy(values).to(device).T[None], (reach, reach), mode="replicate").transpose(1, 2)
            hidden = state.prediction.context(stream(held)[0])[0]
            rows.append(F.normalize(hidden, dim=-1).cpu().numpy())
        ones = np.ones(len(lips), np.float32)
        return Encoded(0, rows[0], rows[1], ones, ones)

    return encode


def encode_by_members(states: Sequence[MemberState]) -> Encode:
    """Embed as inference does."""
    return CompactConsistency.of([state.member for state in states]).encode


def _limit_speakers(clips: Sequence[TrainingClip], max_s: float = 20.0) -> list[TrainingClip]:
    """Keep each speaker's first clips up to `max_s`, so that no speaker dominates."""
    spent: dict[str, float] = {}
    kept = []
    for clip in clips:
        if spent.get(clip.speaker, 0.0) + clip.seconds <= max_s + 1 or clip.speaker not in spent:
            spent[clip.speaker] = spent.get(clip.speaker, 0.0) + clip.seconds
            kept.append(clip)
    return kept


def _build_trial_clip(clip: TrainingClip, encode: Encode) -> TrialClip:
    speech = clip.mel.reshape(-1, N_SPEECH)
    person = clip.speaker or f"unknown of {clip.source}"
    evidence = Evidence.both(clip.real)
    encoded = encode(clip.lips, speech, evidence)
    return TrialClip(clip.name, person, clip.source, person, clip.lips, speech, evidence, encoded)


def _score(clips: Sequence[TrialClip]) -> tuple[list[Trial], list[Trial]]:
    return score_own_voices(clips), score_other_voices(clips)


def measure_trials(folds: Sequence[tuple[list[Trial], list[Trial]]]) -> dict[str, object]:
    """Return AUC and EER of own against other voices over the pooled folds, with a 95 % interval over speakers."""
    own = [trial for real, _ in folds for trial in real]
    other = [trial for _, swapped in folds for trial in swapped]
    scores = [trial.score for trial in own + other]
    labels = [True] * len(own) + [False] * len(other)
    groups = [trial.group for trial in own + other]
    real, swapped = scores[: len(own)], scores[len(own) :]
    low, high = bootstrap_interval(rank_auc, scores, labels, groups)
    return {
        "auc": round(auc(real, swapped), 4),
        "ci": [round(low, 4), round(high, 4)],
        "eer": round(eer(real, swapped), 4),
        "n_own": len(own),
        "n_other": len(other),
    }


def _share(hits: Iterable[bool]) -> float:
    return round(float(np.mean(list(hits))), 4)
