"""What the compact model is worth: measured on corpora that were left out of training, one fold after the other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
    shuffle_faces,
    try_other_voices,
    try_own_voices,
)
from engine.metrics import auc, bootstrap_interval, eer, rank_auc
from engine.models.compact import N_SPEECH, CompactConsistency, centre_lips, centre_speech
from engine.training.clips import TrainingClip
from engine.training.consistency.ensemble import MemberState
from engine.types import FPS, Encoded

SECONDS = (1, 2, 3, 5)
MIN_WHOLE = 4 * FPS  # frames of a clip that is judged whole


@dataclass(frozen=True, slots=True)
class HeldOutTrials:
    """Trials of one fold's clips by a model that saw none of their corpora."""

    whole: tuple[list[Trial], list[Trial]]  # own voices, other voices
    shuffled: tuple[list[Trial], list[Trial]]
    windows: dict[int, tuple[list[Trial], list[Trial]]]  # by seconds
    offsets: list[PlantedOffset]


def try_fold(clips: Sequence[TrainingClip], encode: Encode, fast: bool = False) -> HeldOutTrials:
    """Run all trials on the clips of a fold; `fast` leaves out windows, offsets and the control."""
    whole = [_trial_clip(clip, encode) for clip in clips if len(clip.real) >= MIN_WHOLE]
    if fast:
        return HeldOutTrials(_try(whole), ([], []), {}, [])
    everything = [_trial_clip(clip, encode) for clip in _limit_speakers(clips)]
    return HeldOutTrials(
        whole=_try(whole),
        shuffled=_try(shuffle_faces(whole, encode)),
        windows={seconds: _try(cut_windows(everything, seconds * FPS, encode)) for seconds in SECONDS},
        offsets=list(plant_offsets(whole, encode)),
    )


def sum_up(folds: Sequence[HeldOutTrials]) -> dict[str, object]:
    """Pool the folds' trials into figures with 95 % intervals over speakers."""
    figures: dict[str, object] = {"whole": rate_trials([fold.whole for fold in folds])}
    if any(fold.shuffled[0] for fold in folds):
        figures["shuffled"] = rate_trials([fold.shuffled for fold in folds])
    if any(fold.windows for fold in folds):
        figures["by_seconds"] = {str(s): rate_trials([fold.windows[s] for fold in folds]) for s in SECONDS}
    offsets = [offset for fold in folds for offset in fold.offsets]
    if offsets:
        figures["offsets"] = {
            "n": len(offsets),
            "clips": len({offset.name for offset in offsets}),
            "within_1_frame": _share(offset.error <= 1 for offset in offsets),
            "within_1_frame_own": _share(offset.own_error <= 1 for offset in offsets),
        }
    return figures


def encode_by_context(trainees: Sequence[MemberState]) -> Encode:
    """Embed by the layers that tell the units, for a network that was trained on masked prediction alone.

    What SpeechForensics takes from AV-HuBERT: the last hidden rows with the other modality absent.
    """
    trainee = trainees[0]

    @torch.inference_mode()
    def encode(lips: np.ndarray, speech: np.ndarray) -> Encoded:
        device = next(trainee.parameters()).device
        reach = trainee.member.reach + sum(trainee.prediction.CONTEXT)
        rows = []
        for stream, values in (
            (trainee.member.lips, centre_lips(lips)),
            (trainee.member.speech, centre_speech(speech)),
        ):
            held = F.pad(torch.from_numpy(values).to(device).T[None], (reach, reach), mode="replicate").transpose(1, 2)
            hidden = trainee.prediction.context(stream(held)[0])[0]
            rows.append(F.normalize(hidden, dim=-1).cpu().numpy())
        ones = np.ones(len(lips), np.float32)
        return Encoded(0, rows[0], rows[1], ones, ones)

    return encode


def encode_by_members(trainees: Sequence[MemberState]) -> Encode:
    """Embed as the product does."""
    return CompactConsistency.of([trainee.member for trainee in trainees]).encode


def _limit_speakers(clips: Sequence[TrainingClip], max_s: float = 20.0) -> list[TrainingClip]:
    """Keep each speaker's first clips up to `max_s`, so that nobody's clips outnumber all others'."""
    spent: dict[str, float] = {}
    kept = []
    for clip in clips:
        if spent.get(clip.speaker, 0.0) + clip.seconds <= max_s + 1 or clip.speaker not in spent:
            spent[clip.speaker] = spent.get(clip.speaker, 0.0) + clip.seconds
            kept.append(clip)
    return kept


def _trial_clip(clip: TrainingClip, encode: Encode) -> TrialClip:
    speech = clip.mel.reshape(-1, N_SPEECH)
    person = clip.speaker or f"unknown of {clip.source}"
    return TrialClip(clip.name, person, clip.source, person, clip.lips, speech, clip.real, encode(clip.lips, speech))


def _try(clips: Sequence[TrialClip]) -> tuple[list[Trial], list[Trial]]:
    return try_own_voices(clips), try_other_voices(clips)


def rate_trials(folds: Sequence[tuple[list[Trial], list[Trial]]]) -> dict[str, object]:
    """Give AUC and EER of own against other voices, all folds' trials pooled, with a 95 % interval over speakers."""
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
