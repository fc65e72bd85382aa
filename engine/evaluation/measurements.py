"""The clips of a manifest, measured one by one: a score and an offset each, or why there is none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.cache import ObservationCache, observe_cached
from engine.errors import EngineError
from engine.evaluation.trials import TrialClip
from engine.manifest import Row, Skipped
from engine.observation import Observation, ObservedTrack
from engine.pipeline import Engine
from engine.types import FPS, OnStep

MIN_TRACK = FPS  # frames of a face that is scored


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredRow:
    """A row with the score of its best face, through no gate."""

    row: Row
    score: float
    offset_s: float  # positive: the sound comes late
    refused: bool  # the gates would not have scored any face of it
    clip: TrialClip  # that face and the sound of its time


@dataclass(frozen=True, slots=True, eq=False)
class Measurements:
    """All rows of a manifest: each is in one of the two."""

    measured: tuple[MeasuredRow, ...]
    skipped: tuple[Skipped, ...]
    has_others: bool  # some row is labelled other than real, be it measured or not


def choose_rows(
    rows: Sequence[Row], limit: int = 0, refuse: Callable[[Row], str | None] | None = None
) -> tuple[list[Row], list[Skipped]]:
    """Part the rows worth decoding from those whose own cells say otherwise.

    `limit` keeps that many, spread evenly over the manifest; 0 keeps all. `refuse` says what is wrong with a row, None
    where nothing is; by default a sound that is absent or out of sync.
    """
    told = [(row, (refuse or _read_cells)(row)) for row in rows]
    usable = [row for row, reason in told if reason is None]
    skipped = [Skipped(row.written, reason) for row, reason in told if reason is not None]
    if 0 < limit < len(usable):
        usable = [usable[i] for i in np.linspace(0, len(usable) - 1, limit).round().astype(int)]
    return usable, skipped


def measure_rows(
    rows: Sequence[Row],
    engine: Engine,
    cache: ObservationCache,
    min_seconds: float = 0.0,
    on_row: OnStep = lambda step, completed, total: None,
) -> Measurements:
    """Measure every row; what cannot be read or scored is skipped with its reason, never silently."""
    measured: list[MeasuredRow] = []
    skipped: list[Skipped] = []
    for done, row in enumerate(rows):
        on_row("measure", done, len(rows))
        try:
            found = measure_observation(row, observe_cached(row.path, engine.observer, cache), engine, min_seconds)
        except EngineError as error:
            found = error.message
        if isinstance(found, str):
            skipped.append(Skipped(row.written, found))
        else:
            measured.append(found)
    on_row("measure", len(rows), len(rows))
    return Measurements(tuple(measured), tuple(skipped), any(not row.is_real for row in rows))


def _read_cells(row: Row) -> str | None:
    """Say why a row is of no use, as far as the manifest knows."""
    if row.has_audio == "0":
        return "the manifest says that it has no sound"
    if row.is_real and row.audio_in_sync == "no":
        return "the manifest says that its sound is not in sync"
    return None


def measure_observation(row: Row, seen: Observation, engine: Engine, min_seconds: float = 0.0) -> MeasuredRow | str:
    """Score the face that fits the sound best, or say why none can be."""
    if not seen.heard.present.any():
        return "it has no sound"
    if seen.duration_s < min_seconds:
        return f"it is shorter than {min_seconds:g} s"
    faces = [face for face in engine.expert.choose_faces(seen) if len(face.seen) >= MIN_TRACK]
    if not faces:
        return "no face is seen for a second"
    found = [(result, face) for face in faces if (result := engine.expert.measure(seen, face)) is not None]
    if not found:
        return "face and sound are there together for too short a time"
    best, face = max(found, key=lambda pair: pair[0].score)
    return MeasuredRow(row, best.score, best.offset_s, engine.refuses(seen), _take_face(row, seen, face, engine))


def _take_face(row: Row, seen: Observation, face: ObservedTrack, engine: Engine) -> TrialClip:
    expert = engine.expert
    lips, speech = expert.encoder.read(face, seen.heard)
    return TrialClip(
        name=row.written,
        speaker=row.person,
        source=row.source,
        group=row.person,
        lips=lips,
        speech=speech,
        mask=expert.mask(seen, face),
        encoded=expert.encode(lips, speech),
        voiced=seen.heard.voiced[face.start : face.end],
        face_px=face.face_px,
    )
