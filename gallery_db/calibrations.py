"""Calibration records of a gallery: append-only."""

import json
from datetime import datetime

from sqlalchemy import Connection, insert, select

from engine.calibration.files import list_shipped
from engine.calibration.records import Calibration, from_json, to_json
from engine.errors import Code
from gallery_db.schema import CalibrationRow


def add_calibration(connection: Connection, record: Calibration) -> None:
    """Store a record; a shipped predecessor is stored with it.

    Raises BAD_CALIBRATION if the record is stored already or its predecessor is neither stored nor shipped.
    """
    known = set(connection.execute(select(CalibrationRow.id)).scalars())
    if record.id in known:
        raise Code.BAD_CALIBRATION(f"The calibration {record.id[:12]} is stored already.", "Nothing needs to be done.")
    shipped = {one.id: one for one in list_shipped()}
    if record.supersedes and record.supersedes not in known and record.id not in shipped:  # drafts are not shipped
        if record.supersedes not in shipped:
            raise Code.BAD_CALIBRATION(
                f"The calibration supersedes {record.supersedes[:12]}, which is not stored here.",
                "Store that one first.",
            )
        add_calibration(connection, shipped[record.supersedes])
        known.add(record.supersedes)
    values = {
        "id": record.id,
        "version": record.version,
        "task": str(record.task),
        "status": str(record.status),
        "recipe": record.recipe,
        "record": json.loads(to_json(record)),
        "manifest_sha256": record.manifest_sha256,
        "code_version": record.code_version,
        "notebook_sha256": record.notebook_sha256 or None,
        "seed": record.seed,
        "author": record.author,
        "approver": record.approver or None,
        "valid_from": datetime.fromisoformat(record.created),
        "supersedes": record.supersedes if record.supersedes in known else None,
    }
    connection.execute(insert(CalibrationRow).values(values))


def read_calibrations(connection: Connection) -> list[Calibration]:
    """Read all records, oldest first; raises BAD_CALIBRATION for a modified record."""
    query = select(CalibrationRow.record).order_by(CalibrationRow.valid_from, CalibrationRow.id)
    return [from_json(json.dumps(record)) for record in connection.execute(query).scalars()]
