"""What pre-training is worth: own against other voices on corpora that were left out, beside an untrained network."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from engine.errors import Code
from engine.evaluation.trials import Trial, TrialClip, cut_windows, shuffle_faces, try_other_voices, try_own_voices
from engine.models.avhubert import AVHubert
from engine.speech.filterbanks import normalise_rows
from engine.training.avhubert.preprocessing import PreprocessedClip, cut_reel
from engine.training.avhubert.train import AVHubertTraining, begin_untrained, train_avhubert
from engine.training.avhubert.trainer import RunContext
from engine.training.clips import split_folds
from engine.training.consistency.validation import MIN_WHOLE, rate_trials

N_FOLDS = 4


class Objective(StrEnum):
    """What is learnt."""

    BOTH = "both"
    ALIGNMENT = "alignment"
    MASKING = "masking"


LOSSES: dict[Objective, dict[str, float]] = {
    Objective.BOTH: {},
    Objective.ALIGNMENT: {"masked": 0.0, "unmasked": 0.0},
    Objective.MASKING: {"alignment": 0.0},
}
"""Weights of losses that each objective sets."""


Tried = tuple[list[Trial], list[Trial]]
"""Trials with own voices, and with others'."""


@dataclass(frozen=True, slots=True)
class HeldOutResult:
    """Trials of one fold's reels by a network that saw none of their corpora."""

    whole: Tried
    pieces: Tried  # all of one length, so that nothing is told from how long a clip is, or where it ends
    shuffled: Tried  # the pieces' frames in random order: what is told here is not told from motion


def try_reels(model: AVHubert, reels: Sequence[PreprocessedClip]) -> HeldOutResult:
    """Hold the faces of reels of at least 4 s, as they were published, against own and other voices."""
    whole = [_trial_clip(model, replace(reel, late=0)) for reel in reels if _is_long(reel)]
    pieces = cut_windows(whole, MIN_WHOLE, model.encode)
    return HeldOutResult(_try(whole), _try(pieces), _try(shuffle_faces(pieces, model.encode)))


def measure_held_out(
    reels: Sequence[PreprocessedClip],
    options: AVHubertTraining,
    shop: RunContext,
    folds: Sequence[int],
    objectives: Sequence[Objective],
) -> dict[str, object]:
    """Train without each of the folds in turn, by each of the objectives, and measure on what was left out.

    BAD_MANIFEST where nothing can be left out, or nothing left out is long enough to be judged.
    """
    fold_of = split_folds(reels, N_FOLDS)
    judged = [fold for fold in folds if any(fold_of[one.corpus] == fold and _is_long(one) for one in reels)]
    if len(set(fold_of.values())) < 2 or not judged:
        raise Code.BAD_MANIFEST(
            "Nothing can be left out to be judged",
            f"Validation needs clips of two sources, and some of {MIN_WHOLE} frames in a fold that is left out.",
        )
    inside = {fold: [one for one in reels if fold_of[one.corpus] == fold] for fold in judged}
    outside = {fold: [one for one in reels if fold_of[one.corpus] != fold] for fold in judged}
    figures: dict[str, object] = {}
    if shop.crew.leads:
        figures["untrained"] = sum_up_probation([try_reels(begin_untrained(options), inside[fold]) for fold in judged])
    for name in objectives:
        kind = choose_losses(options, name)
        tried, losses = [], {}
        for fold in judged:
            apart = replace(shop, folder=shop.folder / f"{name}-{fold}")
            model, trends = train_avhubert(outside[fold], kind, apart)
            losses[str(fold)] = [trend.sum_up() for trend in trends]
            if shop.crew.leads:
                tried.append(try_reels(model, inside[fold]))
        if shop.crew.leads:
            figures[name] = sum_up_probation(tried) | {"losses_first_and_last": losses}
    return figures


def choose_losses(options: AVHubertTraining, objective: Objective) -> AVHubertTraining:
    """Switch off the losses that are not of the objective."""
    weights: dict[str, Any] = {**LOSSES[objective]}
    return replace(options, losses=replace(options.losses, **weights))


def sum_up_probation(folds: Sequence[HeldOutResult]) -> dict[str, object]:
    """Pool the folds' trials into figures with 95 % intervals over speakers."""
    return {
        "whole": rate_trials([fold.whole for fold in folds]),
        "pieces_of_4_s": rate_trials([fold.pieces for fold in folds]),
        "shuffled_pieces": rate_trials([fold.shuffled for fold in folds]),
    }


def _is_long(reel: PreprocessedClip) -> bool:
    return reel.n_frames >= MIN_WHOLE


def _try(clips: Sequence[TrialClip]) -> Tried:
    return try_own_voices(clips), try_other_voices(clips)


def _trial_clip(model: AVHubert, reel: PreprocessedClip) -> TrialClip:
    cut = cut_reel(reel, 0, reel.length)
    rows = normalise_rows(cut.energies)
    person = reel.speaker or f"unknown of {reel.source}"
    encoded = model.encode(cut.mouths, rows)
    return TrialClip(reel.name, person, reel.source, person, cut.mouths, rows, cut.real, encoded)
