"""Who may it be, and is it this one: similarities found and turned into evidence, within the caller's transaction."""

from collections.abc import Sequence

import numpy as np
from sqlalchemy import Connection, select

from engine.types import DynamicEmbedding
from gallery_db.errors import GalleryCode
from gallery_db.evidence import Judge, conclude_nothing
from gallery_db.nearest import Finder, read_known
from gallery_db.people import read_samples
from gallery_db.records import Candidate, SampleSimilarity, Search, SearchReason, Speaker, Verification
from gallery_db.schema import TemplateRow

REORDERED = 100  # candidates at least that a calibration may put into another order
EMPTY = "nothing to search"


def search(connection: Connection, finder: Finder, embedding: DynamicEmbedding, k: int, judge: Judge) -> Search:
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


def verify(connection: Connection, speaker: Speaker, embedding: DynamicEmbedding, judge: Judge) -> Verification:
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
    connection: Connection, embedding: DynamicEmbedding, ids: Sequence[int], judge: Judge, n_speakers: int
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
