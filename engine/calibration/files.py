"""Calibration records as files."""

from functools import cache
from pathlib import Path

from engine.calibration.records import Calibration, from_json, to_json
from engine.errors import Code, FolderUnwritable

SHIPPED = Path(__file__).parent / "shipped"
"""Approved records that come with the program; the drafts they were approved from are in `docs/calibration-drafts`."""


def read_record(path: Path) -> Calibration:
    """Read a record; BAD_CALIBRATION where there is none, or it was changed since it was sealed."""
    try:
        text = path.read_text("utf-8")
    except OSError as cause:
        raise Code.BAD_CALIBRATION(f"The record {path} cannot be read: {cause.strerror}.", "Check its name.") from cause
    except UnicodeDecodeError as cause:
        raise Code.BAD_CALIBRATION(
            f"The record {path} is no text in UTF-8.", "Make it with `wayspeak calibrate`."
        ) from cause
    return from_json(text)


def write_record(record: Calibration, path: Path) -> None:
    """Write a record, or say why that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_json(record), encoding="utf-8")
    except OSError as cause:
        raise FolderUnwritable(f"{path} cannot be written: {cause.strerror}.", "Choose another place.") from cause


@cache
def list_shipped() -> tuple[Calibration, ...]:
    """Read the records that come with the program once, in the order of their file names."""
    return tuple(read_record(path) for path in sorted(SHIPPED.glob("*.json")))
