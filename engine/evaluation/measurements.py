"""Measure the clips of a manifest: one score and AV offset for each row, or the reason why there is none."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.consistency.model_specs import SPECS
from engine.datasets.manifest import Row, Skipped, read_manifest
from engine.datasets.public import Choice, Layout, read_layout
from engine.errors import EngineError
from engine.evaluation.speakers.embeddings import EmbeddedRows, embed_rows
from engine.evaluation.speakers.identity import IdentityOptions, name_unusable
from engine.evaluation.trials import TrialClip
from engine.faces.tracking import FaceOptions
from engine.features.cache import FeatureCache, decode_ahead, extract_cached
from engine.features.extractor import FeatureExtractor
from engine.features.records import ClipFeatures, FaceFeatures
from engine.pipeline import Engine
from engine.settings import Settings
from engine.style.embedder import load_embedder
from engine.types import FPS, Model, OnStep
from engine.weights import registry

MIN_TRACK = FPS  # frames: shorter face tracks are not scored


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredRow:
    """A row with the score of its best face; gates are not applied."""

    row: Row
    score: float
    offset_s: float  # positive: audio is late
    refused: bool  # the gates refuse all faces of the clip
    clip: TrialClip  # the best face and its audio
    source_fps: float = 0.0  # of the file; 0: not known


@dataclass(frozen=True, slots=True, eq=False)
class Measurements:
    """All rows of a manifest: each one is measured or skipped."""

    measured: tuple[MeasuredRow, ...]
    skipped: tuple[Skipped, ...]
    has_others: bool  # a row, measured or skipped, has another label than real


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options for reading clips: which ones, from which cache; the results of a clip do not depend on them."""

    cache: Path | None
    min_seconds: float
    limit: int  # 0: all
    workers: int

    def open_cache(
        self, settings: Settings, recipe: str, with_mouths: bool = False, with_faces: bool = False
    ) -> FeatureCache:
        return FeatureCache(self.cache or settings.data_dir / "cache", recipe, with_mouths, with_faces)

    def decode(
        self, rows: Sequence[Row], settings: Settings, options: FaceOptions, store: FeatureCache, on_row: OnStep
    ) -> None:
        """Fill the cache with several worker processes; with one worker, clips are decoded when they are measured."""
        if self.workers > 1:
            decode_ahead([row.path for row in rows], settings, options, store, self.workers, on_row)


def read_rows(
    paths: Sequence[Path], layout: Layout | None = None, choice: Choice | None = None
) -> tuple[list[Row], list[Skipped]]:
    """Read manifests and dataset folders; return their rows, numbered consecutively, and the files that are missing."""
    rows: list[Row] = []
    absent: list[Skipped] = []
    for path in paths:
        if path.is_dir():
            listing = read_layout(path, layout, choice)
            absent += listing.absent
            rows += listing.rows
        else:
            rows += read_manifest(path)
    return [replace(row, number=number) for number, row in enumerate(rows, start=1)], absent


def choose_rows(
    rows: Sequence[Row], limit: int = 0, refuse: Callable[[Row], str | None] | None = None
) -> tuple[list[Row], list[Skipped]]:
    """Split rows into usable ones and ones to skip, from their cells alone.

    `limit` keeps so many usable rows, spread evenly over the manifest; 0 keeps all. `refuse` returns why a row cannot
    be used, or None; by default, audio that is missing or out of sync.
    """
    checked = [(row, (refuse or _check_cells)(row)) for row in rows]
    usable = [row for row, reason in checked if reason is None]
    skipped = [Skipped(row.written, reason) for row, reason in checked if reason is not None]
    if 0 < limit < len(usable):
        usable = [usable[i] for i in np.linspace(0, len(usable) - 1, limit).round().astype(int)]
    return usable, skipped


def measure_rows(
    rows: Sequence[Row],
    engine: Engine,
    cache: FeatureCache,
    min_seconds: float = 0.0,
    on_row: OnStep = lambda step, completed, total: None,
) -> Measurements:
    """Measure every row; rows that cannot be read or scored are skipped with a reason."""
    measured: list[MeasuredRow] = []
    skipped: list[Skipped] = []
    for done, row in enumerate(rows):
        on_row("measure", done, len(rows))
        try:
            found = measure_features(row, extract_cached(row.path, engine.extractor, cache), engine, min_seconds)
        except EngineError as error:
            found = error.message
        if isinstance(found, str):
            skipped.append(Skipped(row.written, found))
        else:
            measured.append(found)
    on_row("measure", len(rows), len(rows))
    return Measurements(tuple(measured), tuple(skipped), any(not row.is_real for row in rows))


def score_clips(
    rows: Sequence[Row],
    engine: Engine,
    settings: Settings,
    reading: ReadOptions,
    on_row: OnStep = lambda step, completed, total: None,
) -> Measurements:
    """Extract features of all usable rows and score them."""
    usable, useless = choose_rows(rows, reading.limit)
    store = reading.open_cache(settings, engine.extractor.recipe, SPECS[engine.scorer.model].needs_mouths)
    with name_disk_errors():
        reading.decode(usable, settings, engine.extractor.face_options, store, on_row)
        found = measure_rows(usable, engine, store, reading.min_seconds, on_row)
    return replace(found, skipped=(*useless, *found.skipped))


def embed_clips(
    rows: Sequence[Row],
    options: IdentityOptions,
    settings: Settings,
    reading: ReadOptions,
    on_row: OnStep = lambda step, completed, total: None,
) -> EmbeddedRows:
    """Extract features of all usable rows and embed their faces."""
    usable, useless = choose_rows(rows, reading.limit, lambda row: name_unusable(row, options.task))
    embedder, extractor = load_embedder(options.embedder, settings), FeatureExtractor.load(settings, cut_faces=True)
    store = reading.open_cache(settings, extractor.recipe, with_faces=True)
    with name_disk_errors():
        reading.decode(usable, settings, extractor.face_options, store, on_row)
        embedded = embed_rows(usable, embedder, extractor, store, reading.min_seconds, on_row)
    return replace(embedded, skipped=(*useless, *embedded.skipped))


def read_trained_sources(settings: Settings, model: Model) -> frozenset[str]:
    """Return the sources that the installed model was trained on, from its sidecar; empty for imported weights."""
    spec = SPECS[model]
    if not spec.names_sources:
        return frozenset()
    record = registry.read_sidecar(registry.locate_accepted(spec.weight, settings.data_dir)).get("trained_on", {})
    return frozenset(record.get("sources", ()))


@contextmanager
def name_disk_errors() -> Iterator[None]:
    """Turn an OSError of the cache into an EngineError with a hint."""
    try:
        yield
    except OSError as cause:
        raise EngineError(f"The cache cannot be written: {cause}.", "Choose another folder with --cache.") from cause


def _check_cells(row: Row) -> str | None:
    """Return why a row cannot be used according to the manifest, or None."""
    if row.has_audio == "0":
        return "the manifest says that it has no sound"
    if row.is_real and row.audio_in_sync == "no":
        return "the manifest says that its sound is not in sync"
    return None


def measure_features(row: Row, features: ClipFeatures, engine: Engine, min_seconds: float = 0.0) -> MeasuredRow | str:
    """Score the face with the highest score, or return why no face can be scored."""
    if not features.audio.present.any():
        return "it has no sound"
    if features.duration_s < min_seconds:
        return f"it is shorter than {min_seconds:g} s"
    faces = [face for face in engine.scorer.choose_faces(features) if len(face.seen) >= MIN_TRACK]
    if not faces:
        return "no face is seen for a second"
    found = [(result, face) for face in faces if (result := engine.scorer.measure(features, face)) is not None]
    if not found:
        return "face and sound are there together for too short a time"
    best, face = max(found, key=lambda pair: pair[0].score)
    trial = _make_trial(row, features, face, engine)
    return MeasuredRow(row, best.score, best.offset_s, engine.refuses(features), trial, features.source_fps)


def _make_trial(row: Row, features: ClipFeatures, face: FaceFeatures, engine: Engine) -> TrialClip:
    scorer = engine.scorer
    lips, speech = scorer.select_inputs(face, features.audio)
    evidence = scorer.find_evidence(features, face)
    return TrialClip(
        name=row.written,
        speaker=row.person,
        source=row.source,
        group=row.person,
        lips=lips,
        speech=speech,
        evidence=evidence,
        encoded=scorer.encode(lips, speech, evidence),
        voiced=features.audio.voiced[face.start : face.end],
        face_px=face.face_px,
        gap=face.gap,
    )
