"""Scored trials of faces and voices from measured clips, by the code that `wayspeak evaluate` runs.

Trials of a set length of speech: spans in which so much is heard while face and voice are compared.

The gates count seconds of speech, not of video, so a calibration for four seconds is one of four seconds of that.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from engine.calibration.builder import FACE, SPEECH
from engine.calibration.records import Task
from engine.calibration.trials import Origin, ScoredTrial, ScoredTrials, TrialOptions, build_trials
from engine.consistency.scorers import ConsistencyScorer
from engine.evaluation.measurements import Measurements
from engine.evaluation.trials import MIN_FRAMES, Compare, Encode, Trial, TrialClip, try_other_voices, try_own_voices
from engine.types import FPS


def try_own_spans(clips: Sequence[TrialClip], seconds: float, encode: Encode, compare: Compare) -> list[Trial]:
    """Hold every face against its own voice, in every span of so much speech, one after the other."""
    return [
        trial
        for clip in clips
        for span in find_spans(_find_speech(clip, clip), seconds)
        if (trial := _try_span(clip, clip, span, encode, compare)) is not None
    ]


def try_other_spans(
    clips: Sequence[TrialClip], seconds: float, encode: Encode, compare: Compare, per_face: int = 10, seed: int = 0
) -> list[Trial]:
    """Hold every face against up to `per_face` voices of other speakers, each in one span, all drawn at random."""
    rng, trials = np.random.default_rng(seed), []
    for face in clips:
        others = [clip for clip in clips if clip.speaker != face.speaker]
        pairs = [(voice, find_spans(_find_speech(face, voice), seconds)) for voice in others]
        long_enough = [(voice, spans) for voice, spans in pairs if spans]
        for which in rng.permutation(len(long_enough))[:per_face]:
            voice, spans = long_enough[which]
            trial = _try_span(face, voice, spans[rng.integers(len(spans))], encode, compare)
            trials += [] if trial is None else [trial]
    return trials


def find_spans(spoken: np.ndarray, seconds: float) -> list[slice]:
    """Cut (T,) bool into spans with exactly so many seconds of it, one after the other; what is left is dropped."""
    wanted = round(seconds * FPS)
    ends = np.flatnonzero(spoken)[wanted - 1 :: wanted] + 1
    starts = [0, *ends[:-1]]
    return [slice(int(start), int(end)) for start, end in zip(starts, ends, strict=False)]


def count_speech_s(clip: TrialClip) -> float:
    """Seconds in which speech is heard while the face is compared with it."""
    return int(_find_speech(clip, clip).sum()) / FPS


def _find_speech(face: TrialClip, voice: TrialClip) -> np.ndarray:
    """(T,) bool of the time that both last."""
    if voice.voiced is None:
        raise ValueError(f"nobody told where speech is heard in {voice.name}")
    length = min(len(face.mask), len(voice.mask))
    spoken: np.ndarray = face.mask[:length] & voice.mask[:length] & voice.voiced[:length]
    return spoken


def _try_span(face: TrialClip, voice: TrialClip, span: slice, encode: Encode, compare: Compare) -> Trial | None:
    """Encode the span by itself: nothing around it, not even its mean, leaks in."""
    mask = face.mask[span] & voice.mask[span]
    if len(mask) < MIN_FRAMES:
        return None
    found = compare(encode(face.lips[span], voice.speech[span]), mask)
    if found is None:
        return None
    speech_s = int(_find_speech(face, voice)[span].sum()) / FPS
    return Trial(face.name, voice.name, face.group, *found, voice.group, speech_s, face.face_px)


WHOLE = "whole"


def gather_consistency(
    found: Measurements, expert: ConsistencyScorer, corpora: Mapping[int, str], origin: Origin, options: TrialOptions
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
        ScoredTrial(one.score, same, (one.group, one.voice_group), condition, (one.speech_s, one.face_px))
        for condition, own, other in tried
        for same, trials in ((True, own), (False, other))
        for one in trials
        if one.speech_s >= options.min_speech_s
    ]
    return build_trials(Task.CONSISTENCY, rows, origin, (SPEECH, FACE), source, len(clips), len(real) - len(clips))
