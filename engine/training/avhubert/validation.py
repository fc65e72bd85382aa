"""Validate pre-training on held-out corpora: own against other voices, compared with an untrained network."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from engine.errors import Code
from engine.evaluation.trials import Trial, TrialClip, cut_windows, score_other_voices, score_own_voices, shuffle_faces
from engine.models.avhubert import AVHubert
from engine.speech.filterbanks import normalise_rows
from engine.training.avhubert.preprocessing import PreprocessedClip, read_window
from engine.training.avhubert.train import AVHubertTraining, build_untrained, train_avhubert
from engine.training.avhubert.trainer import RunContext
from engine.training.clips import split_folds
from engine.training.consistency.validation import MIN_WHOLE, measure_trials
from engine.types import Evidence

N_FOLDS = 4


class Objective(StrEnum):
    """Training objective."""

    BOTH = "both"
    ALIGNMENT = "alignment"
    MASKING = "masking"


LOSSES: dict[Objective, dict[str, float]] = {
    Objective.BOTH: {},
    Objective.ALIGNMENT: {"masked": 0.0, "unmasked": 0.0},
    Objective.MASKING: {"alignment": 0.0},
}
"""Loss weights set by each objective."""


OwnAndOther = tuple[list[Trial], list[Trial]]
"""Trials with own and with other voices."""


@dataclass(frozen=True, slots=True)
class HeldOutResult:
    """Trials of the clips of one fold, scored by a network that saw none of their corpora."""

    whole: OwnAndOther
    pieces: OwnAndOther  # of equal length, so that length and end of a clip are not informative
    shuffled: OwnAndOther  # control: pieces with shuffled frames


def score_clips(model: AVHubert, clips: Sequence[PreprocessedClip]) -> HeldOutResult:
    """Score the faces of clips of at least 4 s, as published, with own and other voices."""
    whole = [_build_trial_clip(model, replace(clip, late=0)) for clip in clips if _is_long(clip)]
    pieces = cut_windows(whole, MIN_WHOLE, model.encode)
    return HeldOutResult(_score(whole), _score(pieces), _score(shuffle_faces(pieces, model.encode)))


def measure_held_out(
    clips: Sequence[PreprocessedClip],
    options: AVHubertTraining,
    context: RunContext,
    folds: Sequence[int],
    objectives: Sequence[Objective],
) -> dict[str, object]:
    """Train without each fold in turn, with each objective, and measure on the held-out fold.

    Raises BAD_MANIFEST if there is only one corpus, or if no held-out clip is long enough.
    """
    fold_of = split_folds(clips, N_FOLDS)
    measured = [fold for fold in folds if any(fold_of[one.corpus] == fold and _is_long(one) for one in clips)]
    if len(set(fold_of.values())) < 2 or not measured:
        raise Code.BAD_MANIFEST(
            "No clips can be held out for validation",
            f"Validation needs clips of two sources, and clips of {MIN_WHOLE} frames in a held-out fold.",
        )
    inside = {fold: [one for one in clips if fold_of[one.corpus] == fold] for fold in measured}
    outside = {fold: [one for one in clips if fold_of[one.corpus] != fold] for fold in measured}
    figures: dict[str, object] = {}
    if context.group.leads:
        figures["untrained"] = summarise_held_out(
            [score_clips(build_untrained(options), inside[fold]) for fold in measured]
        )
    for name in objectives:
        kind = choose_losses(options, name)
        scored, losses = [], {}
        for fold in measured:
            apart = replace(context, folder=context.folder / f"{name}-{fold}")
            model, trends = train_avhubert(outside[fold], kind, apart)
            losses[str(fold)] = [trend.summarise() for trend in trends]
            if context.group.leads:
                scored.append(score_clips(model, inside[fold]))
        if context.group.leads:
            figures[name] = summarise_held_out(scored) | {"losses_first_and_last": losses}
    return figures


def choose_losses(options: AVHubertTraining, objective: Objective) -> AVHubertTraining:
    """Switch off the losses that are not part of the objective."""
    weights: dict[str, Any] = {**LOSSES[objective]}
    return replace(options, losses=replace(options.losses, **weights))


def summarise_held_out(folds: Sequence[HeldOutResult]) -> dict[str, object]:
    """Pool the trials of all folds and compute results with 95 % intervals over speakers."""
    return {
        "whole": measure_trials([fold.whole for fold in folds]),
        "pieces_of_4_s": measure_trials([fold.pieces for fold in folds]),
        "shuffled_pieces": measure_trials([fold.shuffled for fold in folds]),
    }


def _is_long(clip: PreprocessedClip) -> bool:
    return clip.n_frames >= MIN_WHOLE


def _score(clips: Sequence[TrialClip]) -> OwnAndOther:
    return score_own_voices(clips), score_other_voices(clips)


def _build_trial_clip(model: AVHubert, clip: PreprocessedClip) -> TrialClip:
    cut = read_window(clip, 0, clip.length)
    rows = normalise_rows(cut.energies)
    person = clip.speaker or f"unknown of {clip.source}"
    evidence = Evidence.both(cut.real)
    encoded = model.encode(cut.mouths, rows, evidence)
    return TrialClip(clip.name, person, clip.source, person, cut.mouths, rows, evidence, encoded)
