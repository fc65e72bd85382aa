"""Who may it be, and is it this one: similarities found and turned into evidence, within the caller's transaction.

Who lies nearest: an index in memory over SQLite's rows, pgvector's exact scan in PostgreSQL.
"""

import threading
from collections.abc import Iterable, Sequence

import numpy as np
from sqlalchemy import Connection, Float, bindparam, func, select

from engine.types import DynamicEmbedding
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
from gallery_db.scoring import CandidateScorer, Known, conclude_nothing
from gallery_db.speakers import is_too_little, read_samples

Hits = list[tuple[int, float]]
"""Speakers and cosines, best first, each speaker once."""


class NeighbourIndex:
    """Finds the templates nearest to a vector, never of another recipe; any number of threads may ask."""

    def __init__(self, device: str = "auto"):
        self._device = device
        self._indexes: dict[str, VectorIndex] = {}
        self._lock = threading.Lock()

    def find(self, connection: Connection, recipe: str, vectors: np.ndarray, k: int) -> list[Hits]:
        """Give the k nearest speakers of each of (Q, D) in what the connection sees.

        EMBEDDER_MISMATCH where the templates of this recipe are of another width.
        """
        if connection.dialect.name == "postgresql":
            width = connection.execute(select(TemplateRow.dim).where(TemplateRow.recipe == recipe).limit(1)).scalar()
            _expect_width(vectors, width or 0)
            return [_scan(connection, recipe, one, k) for one in check_vectors(vectors, vectors.shape[1])]
        snapshot = self.snapshot(connection, recipe)
        _expect_width(vectors, snapshot.width)
        return snapshot.search(vectors, k)

    def snapshot(self, connection: Connection, recipe: str) -> Snapshot:
        """Give the index of a recipe, as new as what the connection sees."""
        with self._lock:
            index = self._indexes.setdefault(recipe, VectorIndex(recipe, self._device))
        return index.refresh(connection)

    def count(self, connection: Connection, recipe: str) -> int:
        """How many speakers are enrolled in a recipe."""
        if connection.dialect.name == "postgresql":
            query = select(func.count()).select_from(TemplateRow).where(TemplateRow.recipe == recipe)
            return connection.execute(query).scalar_one()
        return self.snapshot(connection, recipe).size

    def describe(self, connection: Connection, recipe: str) -> str:
        """Name how a recipe is searched."""
        if connection.dialect.name == "postgresql":
            return "pgvector exact"
        return self.snapshot(connection, recipe).backend

    def forget(self) -> None:
        """Drop what is in memory: the next search builds it anew from the rows."""
        with self._lock:
            self._indexes.clear()

    def read_stats(self, connection: Connection) -> tuple[RecipeStats, ...]:
        """Count recipe by recipe."""
        query = select(EmbeddingRow.recipe, func.count()).group_by(EmbeddingRow.recipe).order_by(EmbeddingRow.recipe)
        return tuple(
            RecipeStats(recipe, self.count(connection, recipe), count, self.describe(connection, recipe))
            for recipe, count in connection.execute(query)
        )


def read_known(connection: Connection, recipe: str, ids: Iterable[int]) -> dict[int, tuple[Known, np.ndarray]]:
    """Read what is known of speakers in a recipe, with their templates (D,); those who are gone are left out."""
    query = (
        select(SpeakerRow.id, SpeakerRow.name, TemplateRow.n_samples, TemplateRow.seconds, TemplateRow.vector)
        .join(TemplateRow, TemplateRow.speaker_id == SpeakerRow.id)
        .where(TemplateRow.recipe == recipe, SpeakerRow.id.in_(list(ids)))
    )
    return {
        row.id: (
            Known(row.id, row.name, row.n_samples, row.seconds, is_too_little(row.seconds, row.n_samples)),
            row.vector,
        )
        for row in connection.execute(query)
    }


def read_neighbours(
    connection: Connection, finder: NeighbourIndex, recipe: str, vectors: np.ndarray, but: int | None, k: int = 3
) -> list[Neighbour]:
    """Read the speakers nearest to any of (Q, D), one left out."""
    hits = finder.find(connection, recipe, vectors, k + 1)
    ids = {speaker for own in hits for speaker, _ in own} - {but}
    known = read_known(connection, recipe, ids)
    return [Neighbour(one.speaker_id, one.name, vector) for one, vector in known.values()]


def _expect_width(vectors: np.ndarray, width: int) -> None:
    """EMBEDDER_MISMATCH where vectors (Q, D) are not as wide as what is enrolled; 0: nothing is."""
    if width and vectors.shape[1] != width:
        raise GalleryCode.EMBEDDER_MISMATCH(
            f"The embedding has {vectors.shape[1]} numbers, those enrolled have {width}.",
            "The recipe is the same, so one of the two is damaged: wayspeak gallery check.",
        )


def _scan(connection: Connection, recipe: str, vector: np.ndarray, k: int) -> Hits:
    """Compare with every template; pgvector's `<#>` is the inner product with its sign turned."""
    wanted = bindparam("probe", vector, type_=Vector())
    turned = TemplateRow.vector.op("<#>", return_type=Float())(wanted)
    query = (
        select(TemplateRow.speaker_id, turned.label("turned"))
        .where(TemplateRow.recipe == recipe)
        .order_by("turned", TemplateRow.speaker_id)
        .limit(k)
    )
    return [(speaker, -score) for speaker, score in connection.execute(query)]


REORDERED = 100  # candidates at least that a calibration may put into another order
EMPTY = "nothing to search"


def search(
    connection: Connection, finder: NeighbourIndex, embedding: DynamicEmbedding, k: int, judge: CandidateScorer
) -> Search:
    """Look among everyone of the embedding's recipe; EMBEDDER_MISMATCH where all are of others."""
    recipe = embedding.recipe
    n_speakers = finder.count(connection, recipe)
    if not n_speakers:
        _refuse_other_recipes(connection, recipe)
        return conclude_nothing(SearchReason.GALLERY_EMPTY, judge, 0, EMPTY)
    backend = finder.describe(connection, recipe)
    if not embedding.is_natural:
        return conclude_nothing(SearchReason.NOT_NATURAL, judge, n_speakers, backend)
    (hits,) = finder.find(connection, recipe, embedding.vector[None], max(k, REORDERED))
    candidates = _weigh(connection, embedding, [speaker for speaker, _ in hits], judge, n_speakers)
    return judge.conclude(candidates, k, n_speakers, backend)


def verify(
    connection: Connection, speaker: Speaker, embedding: DynamicEmbedding, judge: CandidateScorer
) -> Verification:
    """Hold an embedding against one speaker; EMBEDDER_MISMATCH where they are enrolled in other recipes alone."""
    if speaker.id not in read_known(connection, embedding.recipe, [speaker.id]):
        raise GalleryCode.EMBEDDER_MISMATCH(
            f"Nothing of {speaker.name} is enrolled in the recipe {embedding.recipe}.",
            "Enrol their clips anew with these weights.",
        )
    if not embedding.is_natural:
        return judge.conclude_one(speaker, None, ())
    (candidate,) = _weigh(connection, embedding, [speaker.id], judge, 0)
    stored = read_samples(connection, [speaker.id], embedding.recipe, with_thumbnails=False)
    cosines = _compare(np.array([one.embedding.vector for one in stored]), embedding)
    samples = [
        SampleSimilarity(one.id, one.source_name, float(cosine)) for one, cosine in zip(stored, cosines, strict=True)
    ]
    return judge.conclude_one(speaker, candidate, tuple(sorted(samples, key=lambda one: -one.similarity)))


def _weigh(
    connection: Connection, embedding: DynamicEmbedding, ids: Sequence[int], judge: CandidateScorer, n_speakers: int
) -> list[Candidate]:
    """Compare with the templates themselves: which index found them changes no digit of what is said."""
    known = read_known(connection, embedding.recipe, ids)
    if not known:
        return []
    templates = np.array([vector for _, vector in known.values()])
    cosines = _compare(templates, embedding)
    return judge.weigh(embedding, [one for one, _ in known.values()], cosines, n_speakers)


def _compare(vectors: np.ndarray, embedding: DynamicEmbedding) -> np.ndarray:
    """Cosines (N,) float64 of unit rows (N, D), each summed by itself: the same however many there are."""
    return (vectors.astype(np.float64) * embedding.vector.astype(np.float64)).sum(axis=1).clip(-1, 1)


def _refuse_other_recipes(connection: Connection, recipe: str) -> None:
    others = connection.execute(select(TemplateRow.recipe).distinct()).scalars().all()
    if others:
        raise GalleryCode.EMBEDDER_MISMATCH(
            f"The embedding is of the recipe {recipe}, enrolled is {', '.join(sorted(others))}.",
            "Embeddings of two recipes are never compared: enrol the clips anew with these weights.",
        )
