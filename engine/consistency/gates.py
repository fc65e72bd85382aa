"""Quality gates: refuse or limit a score where the evidence is too little or too poor, each with its reason.

A refusal (NOT_EVALUATED) removes the score; a limit (LIMITED) keeps the score and adds the reason. Less speech than
10 s is limited: the calibration knows how much was heard, from 1.5 s on. Bounds are inclusive: exactly 1.5 s of speech
is enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from engine.types import Reason, Status

if TYPE_CHECKING:  # it imports torch
    from engine.features.records import ClipQuality, FaceQuality

Gated = tuple[Status, tuple[Reason, ...]]
"""Status and the reasons for it."""

_SEVERITY = {Status.EVALUATED: 0, Status.LIMITED: 1, Status.NOT_EVALUATED: 2, Status.FAILED: 3}


@dataclass(frozen=True, slots=True)
class GateOptions:
    """Bounds of the gates; they enter the recipe."""

    recipe_name: ClassVar = "GateOptions"

    silence_dbfs: float = -60.0  # of sound without speech
    min_length_s: float = 1.0
    min_speech_s: float = 1.5  # while the face is visible; less is refused
    full_speech_s: float = 10.0  # less is limited
    min_mouth_seen: float = 0.6  # share of the voiced frames with visible lips
    min_face_px: float = 48.0
    full_face_px: float = 100.0
    min_mouth_motion: float = 0.01  # stills: below 0.001; 54 speakers: 0.0107 and more in 2 s, 0.015 in 4 s
    min_still_s: float = (
        4.0  # of speech with a still mouth, for STILL_FACE; less with a still mouth is not enough speech
    )
    max_drift_frames: float = 3.0  # 120 ms
    # of several faces one is the speaker when it alone reaches this score and leads all others by the margin; in 6 s of
    # corpora outside the training set, 99 of 100 other voices stay below 0.31 and 9 of 10 own voices reach 0.32
    clear_score: float = 0.35
    clear_margin: float = 0.1
    clear_speech_s: float = 4.0  # of speech, to be the speaker: 1 in 7 other voices reach it in 2 s, 1 in 45 in 4 s
    max_covered: float = 0.2  # share of the speech with a covered mouth; more is limited if enough clear speech is left
    quiet_dbfs: float = -45.0  # of speech; less is limited


def gate_clip(clip: "ClipQuality", options: GateOptions) -> Gated:
    """Gate the clip as a whole; a refusal holds for every face in it."""
    refusals = {
        Reason.NO_AUDIO: not clip.has_audio,
        Reason.SILENT: clip.has_audio and not clip.has_speech and clip.level_dbfs < options.silence_dbfs,
        Reason.NO_FACE: clip.n_faces == 0,
        Reason.TOO_SHORT: clip.duration_s < options.min_length_s,
    }
    limits = {reason: True for reason in clip.reasons}
    limits[Reason.EDITED] = clip.n_cuts > 0
    limits[Reason.QUIET] = clip.has_speech and clip.level_dbfs < options.quiet_dbfs
    limits[Reason.FACE_LOST] = clip.n_faces > 0 and clip.mouth_seen < options.min_mouth_seen
    return _settle(refusals, limits)


def gate_track(track: "FaceQuality", options: GateOptions) -> Gated:
    """Gate one face by its length, speech, visibility, size and mouth motion."""
    too_short = track.length_s < options.min_length_s
    # a still mouth during one second of speech means little; during seconds of it another person speaks
    moves = track.mouth_motion >= options.min_mouth_motion
    is_still = not moves and track.speech_s + track.frozen_s >= options.min_still_s
    enough_speech = track.speech_s >= options.min_speech_s and (moves or is_still)
    spoken_s = track.speech_s + track.covered_s
    covered = track.covered_s > options.max_covered * spoken_s
    occluded = covered and not enough_speech and spoken_s >= options.min_speech_s
    refusals = {
        Reason.TOO_SHORT: too_short,
        Reason.OCCLUDED: occluded,
        Reason.NOT_ENOUGH_SPEECH: not too_short and not enough_speech and not is_still and not occluded,
        Reason.FACE_LOST: track.mouth_seen < options.min_mouth_seen,
        Reason.LOW_RES: track.face_px < options.min_face_px,
        Reason.STILL_FACE: is_still and not occluded,
    }
    limits = {
        Reason.OCCLUDED: covered,
        Reason.NOT_ENOUGH_SPEECH: track.speech_s < options.full_speech_s,
        Reason.LOW_RES: track.face_px < options.full_face_px,
    }
    return _settle(refusals, limits)


def gate_offset(
    offset_frames: float, search_frames: int, drift_frames: float, beyond: bool, options: GateOptions
) -> Gated:
    """Gate the offset: at the edge of the search the true one may lie beyond, and a drifting one is no offset.

    `beyond`: a wider search found a clearly better offset outside the range.
    """
    limits = {
        Reason.OFFSET_BEYOND_SEARCH: beyond or abs(offset_frames) >= search_frames,
        Reason.DRIFT: abs(drift_frames) > options.max_drift_frames,
    }
    return _settle({}, limits)


def gate_speakers(
    spans: Sequence[tuple[int, int]],
    scores: Sequence[float | None],
    options: GateOptions,
    same_as: Sequence[int | None] = (),
) -> tuple[Gated, ...]:
    """Gate each face among those visible at the same time.

    MULTI_FACE unless exactly one person is clearly the speaker; LISTENER if that is another one. `spans` are
    [first, end) frame numbers; the score of a refused face is None; `same_as` is of `same_person.match_faces`.
    """
    people = [number if first is None else first for number, first in enumerate(same_as or [None] * len(spans))]
    return tuple(_settle({}, _find_rivals(i, spans, scores, people, options)) for i in range(len(spans)))


def combine(*gated: Gated) -> Gated:
    """Return the worst status with its reasons, in order."""
    status = max((status for status, _ in gated), key=_SEVERITY.__getitem__, default=Status.EVALUATED)
    kept = [reason for own, reasons in gated if own == status for reason in reasons]
    return status, tuple(dict.fromkeys(kept))


def soften(*gated: Gated) -> Gated:
    """Turn refusals into limits with every reason kept, for a method without refusals."""
    reasons = tuple(dict.fromkeys(reason for _, own in gated for reason in own))
    return (Status.LIMITED if reasons else Status.EVALUATED), reasons


def gate_agreement(agrees: bool) -> Gated:
    """Limit the result of the first model where the second contradicts it."""
    return _settle({}, {Reason.EXPERTS_DISAGREE: not agrees})


def gate_voices(changes: bool) -> Gated:
    """Limit the result of a track in which another voice replaces the own one for a span."""
    return _settle({}, {Reason.VOICE_CHANGES: changes})


def summarise(clip: Gated, tracks: Sequence[Gated]) -> Gated:
    """Combine the gates of an analysis: the status of its best face, no better than the clip's.

    The reasons are the clip's, then those of the best faces.
    """
    best = min((status for status, _ in tracks), key=_SEVERITY.__getitem__, default=clip[0])
    of_best = [reason for status, reasons in tracks if status == best for reason in reasons]
    status = max(clip[0], best, key=_SEVERITY.__getitem__)
    return status, tuple(dict.fromkeys([*clip[1], *of_best]))


def _settle(refusals: dict[Reason, bool], limits: dict[Reason, bool]) -> Gated:
    """Return the refusals that hold, else the limits that hold."""
    for status, rules in ((Status.NOT_EVALUATED, refusals), (Status.LIMITED, limits)):
        fired = tuple(reason for reason, holds in rules.items() if holds)
        if fired:
            return status, fired
    return Status.EVALUATED, ()


def _find_rivals(
    which: int,
    spans: Sequence[tuple[int, int]],
    scores: Sequence[float | None],
    people: Sequence[int],
    options: GateOptions,
) -> dict[Reason, bool]:
    start, end = spans[which]
    best: dict[int, float | None] = {}  # score of each person seen with this face
    for (first, last), score, person in zip(spans, scores, people, strict=True):
        if first < end and start < last:
            known = best.get(person)
            best[person] = score if known is None else max(known, score if score is not None else known)
    if len(best) == 1:
        return {}
    ranked = sorted((score for score in best.values() if score is not None), reverse=True)
    is_clear = bool(ranked) and ranked[0] >= options.clear_score
    contested = not is_clear or (len(ranked) > 1 and ranked[0] - ranked[1] < options.clear_margin)
    listens = not contested and best[people[which]] != ranked[0]
    return {Reason.MULTI_FACE: contested, Reason.LISTENER: listens}
