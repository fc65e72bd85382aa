"""Templates: one unit vector per speaker and recipe, the mean of the samples weighted by seconds.

Only `renew_templates` writes them, in the transaction of every change of samples.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection, delete, insert, select, update

from gallery_db.schema import EmbeddingRow, GenerationRow, SampleRow, TemplateRow

NO_LENGTH = 1e-6  # of a mean of unit vectors: below, they cancel out
CHUNK = 500  # speakers per query; databases limit the number of parameters


@dataclass(frozen=True, slots=True)
class Generation:
    """Generation of the last change of templates; comparable within one epoch only."""

    epoch: str
    value: int


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """Template of a speaker in one recipe."""

    speaker_id: int
    recipe: str
    vector: np.ndarray = field(repr=False)  # (D,) float32, unit length; never logged
    n_samples: int
    seconds: float


def read_generation(connection: Connection) -> Generation:
    """Read the current generation."""
    row = connection.execute(select(GenerationRow.epoch, GenerationRow.value)).one()
    return Generation(*row)


def renew_templates(connection: Connection, speaker_ids: Iterable[int]) -> int:
    """Recompute the templates of these speakers from their samples; return the new generation.

    A speaker without samples of a recipe has no template of it.
    """
    ids = sorted(set(speaker_ids))
    now = read_generation(connection).value + 1
    found = {
        (row.recipe, row.speaker_id)
        for part in _chunk(ids)
        for row in connection.execute(
            select(TemplateRow.recipe, TemplateRow.speaker_id).where(TemplateRow.speaker_id.in_(part))
        )
    }
    templates = list(compute_templates(connection, ids))
    removed = found - {(one.recipe, one.speaker_id) for one in templates}
    for part in _chunk(ids):
        connection.execute(delete(TemplateRow).where(TemplateRow.speaker_id.in_(part)))
    if templates:
        connection.execute(insert(TemplateRow), [_write(one, now) for one in templates])
    values = {"value": now} | ({"removed_at": now} if removed else {})
    connection.execute(update(GenerationRow).values(values))
    return now


def compute_templates(connection: Connection, speaker_ids: Iterable[int]) -> Iterator[Template]:
    """Compute the templates of these speakers from their samples, recipe by recipe."""
    for part in _chunk(sorted(set(speaker_ids))):
        query = (
            select(SampleRow.speaker_id, EmbeddingRow.recipe, EmbeddingRow.vector, EmbeddingRow.seconds)
            .join(SampleRow, EmbeddingRow.sample_id == SampleRow.id)
            .where(SampleRow.speaker_id.in_(part))
            .order_by(EmbeddingRow.id)
        )
        groups: dict[tuple[int, str], list[tuple[np.ndarray, float]]] = {}
        for row in connection.execute(query):
            groups.setdefault((row.speaker_id, row.recipe), []).append((row.vector, row.seconds))
        for (speaker_id, recipe), pairs in sorted(groups.items()):
            seconds = np.array([own for _, own in pairs])
            vector = join_vectors(np.array([own for own, _ in pairs]), seconds)
            yield Template(speaker_id, recipe, vector, len(pairs), float(seconds.sum()))


def join_vectors(vectors: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Return the unit-length mean (D,) float32 of unit rows (n, D), weighted by seconds (n,).

    If they cancel out, the vector of the longest sample is returned.
    """
    mean = seconds.astype(np.float64) @ vectors.astype(np.float64) / seconds.sum()
    length = np.linalg.norm(mean)
    if length < NO_LENGTH:
        return np.asarray(vectors[np.argmax(seconds)], np.float32)
    return np.asarray(mean / length, np.float32)


def _chunk(ids: list[int]) -> Iterator[list[int]]:
    return (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))


def _write(template: Template, generation: int) -> dict[str, object]:
    return {
        "recipe": template.recipe,
        "speaker_id": template.speaker_id,
        "dim": len(template.vector),
        "vector": template.vector,
        "n_samples": template.n_samples,
        "seconds": template.seconds,
        "generation": generation,
    }
