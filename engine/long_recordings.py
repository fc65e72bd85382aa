"""Analyse a long recording in parts, so that memory does not grow with its length.

Each part is read, scored and dropped before the next; a track ends with its part. Under `PART_S` there is one part.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from engine.consistency.gates import summarise
from engine.media.limits import check_duration
from engine.media.preview import make_preview
from engine.settings import MediaLimits
from engine.types import FPS, Analysis, MediaReport, MediaSelection, OnStep, SpeakerReport, Status, TrackReport

if TYPE_CHECKING:
    from engine.features.extractor import FeatureExtractor
    from engine.features.records import ClipFeatures

PART_S = 900.0
MIN_SPEECH_S = 10.0  # in the audio track chosen for a part, for the other parts to keep the track


def plan_parts(path: Path, limits: MediaLimits, selection: MediaSelection) -> tuple[MediaSelection, ...]:
    """Split what is selected into parts of equal length, `PART_S` at most; raises TOO_LONG and what reading raises."""
    if limits.max_duration_s <= PART_S:
        return (selection,)
    duration_s = make_preview(path, limits, n_pictures=0).facts.duration_s
    to_s = duration_s if selection.to_s is None else min(selection.to_s, duration_s)
    length_s = to_s - selection.from_s
    check_duration(length_s, limits)
    count = max(1, ceil(length_s / PART_S))
    bounds = [round((selection.from_s + length_s * number / count) * FPS) / FPS for number in range(1, count)]
    return tuple(
        replace(selection, from_s=from_s, to_s=end_s)
        for from_s, end_s in zip([selection.from_s, *bounds], [*bounds, selection.to_s], strict=True)
    )


def read_parts(
    extractor: "FeatureExtractor",
    path: Path,
    selection: MediaSelection,
    on_step: OnStep,
    sha256: str | None = None,
    keep_audio: bool = False,
    only_first: bool = False,
) -> Iterator["ClipFeatures"]:
    """Yield the features of one part after the other; all of the audio track that the first with speech has.

    `on_step("part", number, count)` comes before each of several parts. `only_first` is for paper mode, which scores
    the first 50 s alone.
    """
    parts = plan_parts(path, extractor.limits, selection)
    track = selection.audio_track
    for number, part in enumerate(parts[:1] if only_first else parts):
        if len(parts) > 1:
            on_step("part", number, len(parts))
        features = extractor.extract(path, on_step, sha256, keep_audio, replace(part, audio_track=track))
        if features.audio.voiced.sum() >= MIN_SPEECH_S * FPS:
            track = features.media.audio_track
        sha256 = features.sha256
        yield features


def join_analyses(parts: Sequence[Analysis]) -> Analysis:
    """Join the analyses of the parts of a recording; the tracks are numbered over all parts."""
    first = parts[0]
    if len(parts) == 1:
        return first
    status, reasons = summarise((Status.EVALUATED, ()), [(part.status, part.reasons) for part in parts])
    names = dict.fromkeys(name for part in parts for name in part.timings_s)
    return replace(
        first,
        duration_s=sum(part.duration_s for part in parts),
        status=status,
        reasons=reasons,
        timings_s={name: sum(part.timings_s.get(name, 0.0) for part in parts) for name in names},
        tracks=tuple(_join_tracks(parts)),
        media=_join_media([part.media for part in parts]),
        speakers=tuple(_join_speakers(parts)),
    )


def _join_tracks(parts: Sequence[Analysis]) -> Iterator[TrackReport]:
    n_before = 0
    for part in parts:
        for track in part.tracks:
            same = None if track.same_as is None else track.same_as + n_before
            yield replace(track, id=track.id + n_before, same_as=same)
        n_before += len(part.tracks)


def _join_speakers(parts: Sequence[Analysis]) -> Iterator[SpeakerReport]:
    n_before = 0
    for part in parts:
        for speaker in part.speakers:
            yield replace(speaker, tracks=tuple(number + n_before for number in speaker.tracks))
        n_before += len(part.tracks)


def _join_media(parts: Sequence[MediaReport]) -> MediaReport:
    seams = {seam.at_s: seam for part in parts for seam in part.seams}
    return replace(
        parts[0],
        to_s=parts[-1].to_s,
        seams=tuple(seams[at_s] for at_s in sorted(seams)),
        faces_left_out=max(part.faces_left_out for part in parts),
    )
