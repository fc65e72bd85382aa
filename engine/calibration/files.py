"""Calibration records as files."""

from pathlib import Path

from engine.calibration.records import Calibration, from_json, to_json
from engine.errors import BadCalibration, FolderUnwritable

SHIPPED = Path(__file__).parent / "shipped"
"""Records that come with the program; a draft among them judges nothing until it is approved (`choose_current`)."""


def read_record(path: Path) -> Calibration:
    """Read a record; BadCalibration where there is none, or it was changed since it was sealed."""
    try:
        text = path.read_text("utf-8")
    except OSError as cause:
        raise BadCalibration(f"The record {path} cannot be read: {cause.strerror}.", "Check its name.") from cause
    except UnicodeDecodeError as cause:
        raise BadCalibration(f"The record {path} is no text in UTF-8.", "Make it with `wayspeak calibrate`.") from cause
    return from_json(text)


def write_record(record: Calibration, path: Path) -> None:
    """Write a record, or say why that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_json(record), encoding="utf-8")
    except OSError as cause:
        raise FolderUnwritable(f"{path} cannot be written: {cause.strerror}.", "Choose another place.") from cause


def list_shipped() -> tuple[Calibration, ...]:
    """Give the records that come with the program, in the order of their files' names."""
    return tuple(read_record(path) for path in sorted(SHIPPED.glob("*.json")))
