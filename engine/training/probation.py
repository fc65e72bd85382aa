"""What pre-training is worth: own against other voices on corpora that were left out, beside an untrained network."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.evaluation.trials import Trial, TrialClip, cut_windows, shuffle_faces, try_other_voices, try_own_voices
from engine.models.avhubert import AVHubert
from engine.speech import normalise_rows
from engine.training.reels import Reel, cut_reel
from engine.training.validation import MIN_WHOLE, rate_trials

Tried = tuple[list[Trial], list[Trial]]
"""Trials with own voices, and with others'."""


@dataclass(frozen=True, slots=True)
class Probation:
    """Trials of one fold's reels by a network that saw none of their corpora."""

    whole: Tried
    pieces: Tried  # all of one length, so that nothing is told from how long a clip is, or where it ends
    shuffled: Tried  # the pieces' frames in random order: what is told here is not told from motion


def try_reels(model: AVHubert, reels: Sequence[Reel]) -> Probation:
    """Hold the faces of reels of at least 4 s, as they were published, against own and other voices."""
    whole = [_trial_clip(model, replace(reel, late=0)) for reel in reels if reel.n_frames >= MIN_WHOLE]
    pieces = cut_windows(whole, MIN_WHOLE, model.encode)
    return Probation(_try(whole), _try(pieces), _try(shuffle_faces(pieces, model.encode)))


def sum_up_probation(folds: Sequence[Probation]) -> dict[str, object]:
    """Pool the folds' trials into figures with 95 % intervals over speakers."""
    return {
        "whole": rate_trials([fold.whole for fold in folds]),
        "pieces_of_4_s": rate_trials([fold.pieces for fold in folds]),
        "shuffled_pieces": rate_trials([fold.shuffled for fold in folds]),
    }


def _try(clips: Sequence[TrialClip]) -> Tried:
    return try_own_voices(clips), try_other_voices(clips)


def _trial_clip(model: AVHubert, reel: Reel) -> TrialClip:
    cut = cut_reel(reel, 0, reel.length)
    rows = normalise_rows(cut.energies)
    person = reel.speaker or f"unknown of {reel.source}"
    encoded = model.encode(cut.mouths, rows)
    return TrialClip(reel.name, person, reel.source, person, cut.mouths, rows, cut.real, encoded)
