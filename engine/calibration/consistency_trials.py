"""Scored trials of faces and voices from measured clips, by the code that `wayspeak evaluate` runs."""

from collections.abc import Mapping

from engine.calibration.drafts import FACE, SPEECH
from engine.calibration.gathering import GatherOptions, Origin, Scored, lay_trials
from engine.calibration.records import Task
from engine.calibration.spans import count_speech_s, try_other_spans, try_own_spans
from engine.calibration.trials import ScoredTrials
from engine.consistency.scorers import Expert
from engine.evaluation.measurements import Measurements
from engine.evaluation.trials import try_other_voices, try_own_voices

WHOLE = "whole"


def gather_consistency(
    found: Measurements, expert: Expert, corpora: Mapping[int, str], origin: Origin, options: GatherOptions
) -> ScoredTrials:
    """Hold the faces of real clips against their own and other voices, in whole and in spans of speech.

    Clips that the gates refuse have no part in it, nor do others than real ones: what a forged clip is evidence for
    depends on how it was forged. `corpora` names by the row's number what is held out together.
    """
    real = [one for one in found.measured if one.row.is_real]
    clips = [one.clip for one in real if not one.refused and count_speech_s(one.clip) >= options.min_speech_s]
    source = {one.row.person: corpora[one.row.number] for one in real}
    draw = (expert.compare, options.per_face, options.seed)
    tried = [(WHOLE, try_own_voices(clips, expert.compare), try_other_voices(clips, *draw))]
    for length in options.lengths_s:
        own = try_own_spans(clips, length, expert.encode, expert.compare)
        tried.append((f"{length:g} s", own, try_other_spans(clips, length, expert.encode, *draw)))
    rows = [
        Scored(one.score, same, (one.group, one.voice_group), condition, (one.speech_s, one.face_px))
        for condition, own, other in tried
        for same, trials in ((True, own), (False, other))
        for one in trials
        if one.speech_s >= options.min_speech_s
    ]
    return lay_trials(Task.CONSISTENCY, rows, origin, (SPEECH, FACE), source, len(clips), len(real) - len(clips))
