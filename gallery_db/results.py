"""What was said of clips, and by which calibrations."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from gallery_db.records import Result
from gallery_db.schema import ResultRow, ResultSpeakerRow


def add_result(
    connection: Connection,
    kind: str,
    source_hash: str,
    recipe: str,
    payload: dict[str, Any],
    speaker_ids: Sequence[int],
    calibration_id: str | None,
) -> int:
    """Write a result and whom it names."""
    values = {
        "kind": kind,
        "source_hash": source_hash,
        "recipe": recipe,
        "calibration_id": calibration_id,
        "payload": payload,
        "created_at": datetime.now(UTC),
    }
    number = connection.execute(insert(ResultRow).values(values).returning(ResultRow.id)).scalar_one()
    named = [{"result_id": number, "speaker_id": one} for one in sorted(set(speaker_ids))]
    if named:
        connection.execute(insert(ResultSpeakerRow), named)
    return number


def read_results(connection: Connection, speaker_id: int | None = None) -> list[Result]:
    """Read results in the order they were kept; all, or those that name a speaker."""
    query = select(ResultRow.__table__).order_by(ResultRow.id)
    if speaker_id is not None:
        named = select(ResultSpeakerRow.result_id).where(ResultSpeakerRow.speaker_id == speaker_id)
        query = query.where(ResultRow.id.in_(named))
    rows = connection.execute(query).all()
    names: dict[int, list[int]] = {}
    pairs = select(ResultSpeakerRow.result_id, ResultSpeakerRow.speaker_id).order_by(ResultSpeakerRow.speaker_id)
    for result_id, one in connection.execute(pairs.where(ResultSpeakerRow.result_id.in_([row.id for row in rows]))):
        names.setdefault(result_id, []).append(one)
    return [
        Result(
            id=row.id,
            kind=row.kind,
            source_hash=row.source_hash,
            recipe=row.recipe,
            calibration_id=row.calibration_id,
            payload=row.payload,
            speaker_ids=tuple(names.get(row.id, ())),
            created_at=row.created_at,
        )
        for row in rows
    ]
