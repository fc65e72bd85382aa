"""1:N identification and 1:1 verification in the caller's transaction.

Neighbours come from an in-memory index over SQLite's rows, or from pgvector's exact scan in PostgreSQL.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from sqlalchemy import Connection, Float, bindparam, exists, func, or_, select
from sqlalchemy.orm import aliased

from engine.types import DynamicEmbedding
from gallery_db.enrolment_checks import is_limited
from gallery_db.errors import GalleryCode
from gallery_db.faiss_index import Snapshot, VectorIndex, check_vectors
from gallery_db.records import (
    Candidate,
    Neighbour,
    RecipeStats,
    SampleSimilarity,
    Search,
    SearchReason,
    Speaker,
    Verification,
)
from gallery_db.schema import EmbeddingRow, SpeakerRow, TemplateRow, Vector
from gallery_db.scoring import CandidateScorer, EnrolledSpeaker, conclude_nothing
from gallery_db.speakers import read_samples

MIN_CANDIDATES = 100  # compared at least, since a calibration may change their order
Hits = list[tuple[int, float]]
"""Speaker ids and cosines, best first, each speaker once."""


class NeighbourIndex:
    """Search for the templates nearest to a vector within one recipe; thread-safe."""

    def __init__(self, device: str = "auto"):
        self._device = device
        self._indexes: dict[str, VectorIndex] = {}
        self._lock = threading.Lock()

    def find(self, connection: Connection, recipe: str, vectors: np.ndarray, k: int) -> list[Hits]:
        """Return the k nearest speakers of each vector (Q, D) in the connection's snapshot.

        Raises EMBEDDER_MISMATCH if the templates of this recipe have another width.
        """
        if connection.dialect.name == "postgresql":
            width = connection.execute(select(TemplateRow.dim).where(TemplateRow.recipe == recipe).limit(1)).scalar()
            _expect_width(vectors, width or 0)
            return [_scan(connection, recipe, one, k) for one in check_vectors(vectors, vectors.shape[1])]
        snapshot = self.snapshot(connection, recipe)
        _expect_width(vectors, snapshot.width)
        return snapshot.search(vectors, k)

    def snapshot(self, connection: Connection, recipe: str) -> Snapshot:
        """Return the index of a recipe, at least as new as the connection's snapshot."""
        with self._lock:
            index = self._indexes.setdefault(recipe, VectorIndex(recipe, self._device))
        return index.refresh(connection)

    def count(self, connection: Connection, recipe: str) -> int:
        """Return the number of speakers enrolled in a recipe."""
        if connection.dialect.name == "postgresql":
            query = select(func.count()).select_from(TemplateRow).where(TemplateRow.recipe == recipe)
            return connection.execute(query).scalar_one()
        return self.snapshot(connection, recipe).size

    def describe(self, connection: Connection, recipe: str) -> str:
        """Return the name of the search backend of a recipe."""
        if connection.dialect.name == "postgresql":
            return "pgvector exact"
        return self.snapshot(connection, recipe).backend

    def clear(self) -> None:
        """Drop the indexes in memory; the next search builds them from the rows."""
        with self._lock:
            self._indexes.clear()

    def read_stats(self, connection: Connection) -> tuple[RecipeStats, ...]:
        """Count speakers and vectors per recipe."""
        query = select(EmbeddingRow.recipe, func.count()).group_by(EmbeddingRow.recipe).order_by(EmbeddingRow.recipe)
        return tuple(
            RecipeStats(recipe, self.count(connection, recipe), count, self.describe(connection, recipe))
            for recipe, count in connection.execute(query)
        )


def read_enrolled(
    connection: Connection, recipe: str, ids: Iterable[int]
) -> dict[int, tuple[EnrolledSpeaker, np.ndarray]]:
    """Read speakers of a recipe with their templates (D,), by id; deleted speakers are missing."""
    query = (
        select(SpeakerRow.id, SpeakerRow.name, TemplateRow.n_samples, TemplateRow.seconds, TemplateRow.vector)
        .join(TemplateRow, TemplateRow.speaker_id == SpeakerRow.id)
        .where(TemplateRow.recipe == recipe, SpeakerRow.id.in_(list(ids)))
    )
    return {
        row.id: (
            EnrolledSpeaker(row.id, row.name, row.n_samples, row.seconds, is_limited(row.seconds, row.n_samples)),
            row.vector,
        )
        for row in connection.execute(query)
    }


def read_neighbours(
    connection: Connection, index: NeighbourIndex, recipe: str, vectors: np.ndarray, except_id: int | None, k: int = 3
) -> list[Neighbour]:
    """Read the speakers nearest to any of the vectors (Q, D), except one."""
    hits = index.find(connection, recipe, vectors, k + 1)
    ids = {speaker for own in hits for speaker, _ in own} - {except_id}
    speakers = read_enrolled(connection, recipe, ids).values()
    return [Neighbour(one.speaker_id, one.name, vector) for one, vector in speakers]


def _expect_width(vectors: np.ndarray, width: int) -> None:
    """Raise EMBEDDER_MISMATCH if vectors (Q, D) differ in width from the enrolled ones; 0: none are enrolled."""
    if width and vectors.shape[1] != width:
        raise GalleryCode.EMBEDDER_MISMATCH(
            f"The embedding has {vectors.shape[1]} dimensions, the enrolled ones have {width}.",
            "The recipe is the same, so one of the two is damaged: wayspeak gallery check.",
        )


def _scan(connection: Connection, recipe: str, vector: np.ndarray, k: int) -> Hits:
    """Compare with every template; pgvector's `<#>` is the negative inner product."""
    wanted = bindparam("probe", vector, type_=Vector())
    negative = TemplateRow.vector.op("<#>", return_type=Float())(wanted)
    query = (
        select(TemplateRow.speaker_id, negative.label("negative"))
        .where(TemplateRow.recipe == recipe)
        .order_by("negative", TemplateRow.speaker_id)
        .limit(k)
    )
    return [(speaker, -score) for speaker, score in connection.execute(query)]


def search(
    connection: Connection, index: NeighbourIndex, embedding: DynamicEmbedding, k: int, scorer: CandidateScorer
) -> Search:
    """Identify among all speakers of the recipe; raises EMBEDDER_MISMATCH if all are of other recipes."""
    recipe = embedding.recipe
    n_speakers = index.count(connection, recipe)
    if not n_speakers:
        _refuse_other_recipes(connection, recipe)
        return conclude_nothing(SearchReason.GALLERY_EMPTY, scorer, 0, "nothing to search")
    backend = index.describe(connection, recipe)
    if not embedding.is_natural:
        return conclude_nothing(SearchReason.NOT_NATURAL, scorer, n_speakers, backend)
    (hits,) = index.find(connection, recipe, embedding.vector[None], max(k, MIN_CANDIDATES))
    candidates = _score(connection, embedding, [speaker for speaker, _ in hits], scorer, n_speakers)
    found = scorer.conclude(candidates, k, n_speakers, backend)
    if _leaves_out(connection, recipe):
        found = replace(found, reasons=(*found.reasons, SearchReason.OTHER_RECIPE))
    return found


def verify(
    connection: Connection, speaker: Speaker, embedding: DynamicEmbedding, scorer: CandidateScorer
) -> Verification:
    """Compare an embedding with one speaker; raises EMBEDDER_MISMATCH without samples of the recipe."""
    if speaker.id not in read_enrolled(connection, embedding.recipe, [speaker.id]):
        raise GalleryCode.EMBEDDER_MISMATCH(
            f"No sample of {speaker.name} is enrolled in the recipe {embedding.recipe}.",
            "Enrol the clips again with these weights.",
        )
    if not embedding.is_natural:
        return scorer.conclude_one(speaker, None, ())
    (candidate,) = _score(connection, embedding, [speaker.id], scorer, 0)
    stored = read_samples(connection, [speaker.id], embedding.recipe, with_thumbnails=False)
    cosines = _compare(np.array([one.embedding.vector for one in stored]), embedding)
    samples = [
        SampleSimilarity(one.id, one.source_name, float(cosine)) for one, cosine in zip(stored, cosines, strict=True)
    ]
    return scorer.conclude_one(speaker, candidate, tuple(sorted(samples, key=lambda one: -one.similarity)))


def _score(
    connection: Connection, embedding: DynamicEmbedding, ids: Sequence[int], scorer: CandidateScorer, n_speakers: int
) -> list[Candidate]:
    """Score against the stored templates, so that the result does not depend on the search backend."""
    speakers = read_enrolled(connection, embedding.recipe, ids)
    if not speakers:
        return []
    templates = np.array([vector for _, vector in speakers.values()])
    cosines = _compare(templates, embedding)
    return scorer.score(embedding, [one for one, _ in speakers.values()], cosines, n_speakers)


def _compare(vectors: np.ndarray, embedding: DynamicEmbedding) -> np.ndarray:
    """Return cosines (N,) float64 of unit rows (N, D), each row summed separately: independent of N."""
    return (vectors.astype(np.float64) * embedding.vector.astype(np.float64)).sum(axis=1).clip(-1, 1)


def _leaves_out(connection: Connection, recipe: str) -> bool:
    """Return whether speakers are enrolled in other recipes and not in this one."""
    own = aliased(TemplateRow)
    is_own = exists().where(own.recipe == recipe, own.speaker_id == TemplateRow.speaker_id)
    others = or_(TemplateRow.recipe < recipe, TemplateRow.recipe > recipe)  # two ranges of the key, usually empty
    return bool(connection.execute(select(exists().where(others, ~is_own))).scalar())


def _refuse_other_recipes(connection: Connection, recipe: str) -> None:
    others = connection.execute(select(TemplateRow.recipe).distinct()).scalars().all()
    if others:
        raise GalleryCode.EMBEDDER_MISMATCH(
            f"The embedding is of the recipe {recipe}, enrolled are {', '.join(sorted(others))}.",
            "Embeddings of two recipes are never compared: enrol the clips again with these weights.",
        )
