"""Embed the main face of each clip of a manifest."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.datasets.manifest import Row, Skipped
from engine.errors import EngineError
from engine.features.cache import ExtractsFeatures, FeatureCache, extract_cached
from engine.features.records import ClipFeatures
from engine.style.embedder import Embedder, Nature
from engine.types import DynamicEmbedding, OnStep


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedRow:
    """A row with the embedding of its longest face track."""

    row: Row
    sha256: str  # of the file
    embedding: DynamicEmbedding


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedRows:
    """All rows: each one is embedded or skipped."""

    rows: tuple[EmbeddedRow, ...]
    skipped: tuple[Skipped, ...]
    recipe: str  # of the embedder
    observer_recipe: str
    nature: Nature  # the embedder's
    trained_on: frozenset[str] = frozenset()  # speakers in the training data of the embedder


def embed_rows(
    rows: Sequence[Row],
    embedder: Embedder,
    extractor: ExtractsFeatures,
    cache: FeatureCache,
    min_seconds: float = 0.0,
    on_row: OnStep = lambda step, completed, total: None,
) -> EmbeddedRows:
    """Embed every row; rows that cannot be embedded are skipped with a reason. Clips need no audio."""
    embedded: list[EmbeddedRow] = []
    skipped: list[Skipped] = []
    for done, row in enumerate(rows):
        on_row("embed", done, len(rows))
        try:
            found = _embed_row(row, extract_cached(row.path, extractor, cache), embedder, min_seconds)
        except EngineError as error:
            found = error.message
        if isinstance(found, str):
            skipped.append(Skipped(row.written, found))
        else:
            embedded.append(found)
    on_row("embed", len(rows), len(rows))
    trained_on = frozenset(getattr(embedder, "trained_on", ()))  # missing for embedders without training
    recipes = (embedder.recipe, extractor.recipe)
    return EmbeddedRows(tuple(embedded), tuple(skipped), *recipes, embedder.nature, trained_on)


def _embed_row(row: Row, features: ClipFeatures, embedder: Embedder, min_seconds: float) -> EmbeddedRow | str:
    """Embed the longest face track, or return why that is not possible."""
    if features.duration_s < min_seconds:
        return f"it is shorter than {min_seconds:g} s"
    if not features.tracks:
        return "no face is seen"
    found = embedder.embed(features, max(features.tracks, key=lambda track: len(track.seen)))
    if found is None:
        return "its longest face track is too short"
    if found.recipe != embedder.recipe:
        raise ValueError(f"an embedding of recipe {found.recipe} from an embedder of recipe {embedder.recipe}")
    return EmbeddedRow(row, features.sha256, found)
