"""Templates: one vector a speaker and recipe, the mean of their samples weighted by seconds, of length 1.

They are derived: `renew_templates` writes them in the transaction of every change, and is the only one that does.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection, delete, insert, select, update

from gallery_db.schema import EmbeddingRow, GenerationRow, SampleRow, TemplateRow

NO_LENGTH = 1e-6  # of a mean of unit vectors: they cancel out
CHUNK = 500  # speakers a query; databases bound the number of parameters


@dataclass(frozen=True, slots=True)
class Generation:
    """When templates last changed; to be compared within one epoch only."""

    epoch: str
    value: int


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """What a search compares with."""

    speaker_id: int
    recipe: str
    vector: np.ndarray = field(repr=False)  # (D,) float32, unit length; in no log
    n_samples: int
    seconds: float


def read_generation(connection: Connection) -> Generation:
    """Read the only row."""
    row = connection.execute(select(GenerationRow.epoch, GenerationRow.value)).one()
    return Generation(*row)


def renew_templates(connection: Connection, speaker_ids: Iterable[int]) -> int:
    """Rewrite the templates of these speakers from their samples, in a new generation, and give that.

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
    wanted = list(compute_templates(connection, ids))
    removed = found - {(one.recipe, one.speaker_id) for one in wanted}
    for part in _chunk(ids):
        connection.execute(delete(TemplateRow).where(TemplateRow.speaker_id.in_(part)))
    if wanted:
        connection.execute(insert(TemplateRow), [_write(one, now) for one in wanted])
    moved = {"value": now} | ({"removed_at": now} if removed else {})
    connection.execute(update(GenerationRow).values(moved))
    return now


def compute_templates(connection: Connection, speaker_ids: Iterable[int]) -> Iterator[Template]:
    """Give the templates that these speakers' samples make, recipe by recipe."""
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
    """Join unit rows (n, D) into their mean weighted by seconds (n,), of length 1: (D,) float32.

    Where they cancel out, that of the most seconds stands for all.
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
