"""What pre-training is worth: own against other voices on corpora that were left out, beside an untrained network."""

from collections.abc import Sequence
from dataclasses import replace

from engine.evaluation.trials import TrialClip, shuffle_faces, try_other_voices, try_own_voices
from engine.models.avhubert import AVHubert
from engine.speech import normalise_rows
from engine.training.reels import Reel, cut_reel
from engine.training.validation import MIN_WHOLE, HeldOut


def try_reels(model: AVHubert, reels: Sequence[Reel]) -> HeldOut:
    """Hold the faces of reels of at least 4 s, as they were published, against own and other voices.

    And as a control the faces with their frames in random order.
    """
    clips = [_trial_clip(model, replace(reel, late=0)) for reel in reels if reel.n_frames >= MIN_WHOLE]
    shuffled = shuffle_faces(clips, model.encode)
    return HeldOut(
        whole=(try_own_voices(clips), try_other_voices(clips)),
        shuffled=(try_own_voices(shuffled), try_other_voices(shuffled)),
        windows={},
        offsets=[],
    )


def _trial_clip(model: AVHubert, reel: Reel) -> TrialClip:
    cut = cut_reel(reel, 0, reel.length)
    rows = normalise_rows(cut.energies)
    person = reel.speaker or f"unknown of {reel.source}"
    encoded = model.encode(cut.mouths, rows)
    return TrialClip(reel.name, person, reel.source, person, cut.mouths, rows, cut.real, encoded)
