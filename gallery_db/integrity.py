"""Integrity check of the gallery, and repair of derived data."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sqlalchemy import Connection, LargeBinary, select, type_coerce

from gallery_db import audit
from gallery_db.audit import Action
from gallery_db.database import Database
from gallery_db.records import Check
from gallery_db.schema import EmbeddingRow, SpeakerRow, TemplateRow
from gallery_db.speakers import drop_unused_consents
from gallery_db.templates import Template, compute_templates, renew_templates

UNIT = 1e-5  # tolerance of the length of an embedding
CHUNK = 500  # speakers per query


def check(database: Database) -> Check:
    """Check files, audit chain, vectors and templates; repair templates and consents, report other problems."""
    problems = database.find_damage()
    with database.write() as connection:
        broken = audit.find_break(connection)
        if broken is not None:
            problems.append(f"row {broken} of the audit was changed, removed or added by another program")
        damaged = dict(_find_damaged_vectors(connection))
        problems += [
            f"sample {number}: {problem}; forget it and enrol the clip again" for number, problem in damaged.items()
        ]
        mended = [] if damaged else _mend_templates(connection)
        n_consents = drop_unused_consents(connection)
        if n_consents:
            mended.append(f"{n_consents} consents without samples")
        if mended:
            audit.append(connection, Action.MEND, None, {"mended": mended})
    return Check(tuple(mended), tuple(problems))


def _find_damaged_vectors(connection: Connection) -> Iterator[tuple[int, str]]:
    """Yield samples with a vector of wrong width, not finite, or not of length 1."""
    query = select(EmbeddingRow.sample_id, EmbeddingRow.dim, _raw(connection, EmbeddingRow.vector))
    for sample_id, width, raw in connection.execute(query.order_by(EmbeddingRow.id)):
        vector = _read(raw, width)
        if vector is None:
            yield sample_id, f"its vector does not have {width} dimensions"
        elif not abs(float(np.linalg.norm(vector.astype(np.float64))) - 1) <= UNIT:
            yield sample_id, "its vector is not of length 1"


def _mend_templates(connection: Connection) -> list[str]:
    """Recompute templates that differ from their samples or have none."""
    ids = list(connection.execute(select(SpeakerRow.id).order_by(SpeakerRow.id)).scalars())
    wrong: list[int] = []
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        wanted = {(one.recipe, one.speaker_id): one for one in compute_templates(connection, part)}
        found = dict(_read_templates(connection, part))
        wrong += [
            speaker_id
            for recipe, speaker_id in sorted(wanted.keys() | found.keys())
            if not _agree(wanted.get((recipe, speaker_id)), found.get((recipe, speaker_id)))
        ]
    if not wrong:
        return []
    renew_templates(connection, wrong)
    return [f"{len(set(wrong))} templates that differed from their samples"]


def _read_templates(
    connection: Connection, ids: list[int]
) -> Iterator[tuple[tuple[str, int], tuple[np.ndarray | None, int, float]]]:
    query = select(
        TemplateRow.recipe, TemplateRow.speaker_id, TemplateRow.dim, TemplateRow.n_samples, TemplateRow.seconds
    ).add_columns(_raw(connection, TemplateRow.vector).label("raw"))
    for row in connection.execute(query.where(TemplateRow.speaker_id.in_(ids))):
        yield (row.recipe, row.speaker_id), (_read(row.raw, row.dim), row.n_samples, row.seconds)


def _agree(wanted: Template | None, found: tuple[np.ndarray | None, int, float] | None) -> bool:
    if wanted is None or found is None:
        return False
    vector, n_samples, seconds = found
    return (
        vector is not None
        and vector.shape == wanted.vector.shape
        and bool(np.abs(vector - wanted.vector).max() <= UNIT)
        and n_samples == wanted.n_samples
        and abs(seconds - wanted.seconds) <= 1e-6 * max(1.0, wanted.seconds)
    )


def _raw(connection: Connection, column: Any) -> Any:
    """Select the stored bytes of a vector in SQLite, so that damaged ones can be read."""
    return type_coerce(column, LargeBinary) if connection.dialect.name == "sqlite" else column


def _read(raw: bytes | np.ndarray, width: int) -> np.ndarray | None:
    if isinstance(raw, np.ndarray):
        return raw if len(raw) == width else None
    return np.frombuffer(raw, "<f4") if len(raw) == 4 * width else None
