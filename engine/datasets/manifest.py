"""A list of clips with what is known about each: the CSV that evaluation and training read.

Text in the cells of a CSV that a spreadsheet may open: none is taken for a formula.

A cell that begins like a formula is one to spreadsheets, whatever quotes stand around it, and the words of a stranger
(a file's name, a title) may begin so. An apostrophe before it makes it text (OWASP, CSV injection).
"""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import Code

FORMULA_STARTS = frozenset("=+-@\t\r\n＝＋－＠")
GUARD = "'"


def guard_cell(text: str) -> str:
    """The text as it is to be written; `read_cell` gives it back. A plain number stays one."""
    return f"{GUARD}{text}" if _is_formula(text.lstrip(GUARD)) and not _is_number(text) else text


def read_cell(text: str) -> str:
    """What was meant by a cell that `guard_cell` wrote."""
    return text[1:] if text.startswith(GUARD) and _is_formula(text.lstrip(GUARD)) else text


def _is_formula(text: str) -> bool:
    return text[:1] in FORMULA_STARTS


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and text.strip() == text


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row of the manifest that gave nothing."""

    path: str  # as it stands in the manifest
    reason: str


REAL = "real"


@dataclass(frozen=True, slots=True)
class Row:
    """One clip of a manifest; an empty cell and an absent column are the same."""

    number: int  # 1 is the first row below the header
    path: Path  # resolved against the manifest's folder
    label: str  # `real`, or what else it is
    speaker: str = ""
    source: str = ""
    method: str = ""
    offset_s: float | None = None  # positive: the sound comes late
    sample: str | None = None  # rows of one sample are pooled
    has_audio: str | None = None  # 1 or 0
    audio_in_sync: str | None = None  # yes or no
    language: str | None = None
    session: str | None = None  # two of one speaker are of another day, look or place
    face_owner: str | None = None  # of a forged clip: whose face is seen
    motion_owner: str | None = None  # of a forged clip: who moved
    enrol: bool | None = None  # may be enrolled alone, or be looked up alone; None: both
    donor_path: Path | None = None  # of a forged clip: where its face is from
    driver_path: Path | None = None  # of a forged clip: where its motion is from
    written: str = field(default="", compare=False)  # the path as it stands in the manifest

    @property
    def is_real(self) -> bool:
        """Labelled as it was filmed, by anyone's spelling of the word."""
        return self.label.lower() == REAL

    @property
    def person(self) -> str:
        """Who may not be parted between two halves, nor taken for another.

        The speaker; where that is not told, everybody unknown of the source counts as one, since they may be.
        """
        if self.speaker:
            return self.speaker
        return f"unknown of {self.source}" if self.source else f"unknown in {self.path}"


OPTIONAL = ("sample", "has_audio", "audio_in_sync", "language", "session", "face_owner", "motion_owner")


def read_manifest(path: Path, required: Sequence[str] = ("path", "label"), check_files: bool = False) -> list[Row]:
    """Read all rows of a CSV; columns that no field is named after are ignored.

    Raises BAD_MANIFEST: no such file, a required column that is missing, a row with a value that cannot be used, and,
    with `check_files`, a row whose file is not there.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _read_rows(path, file, {"path", "label", *required})
    except OSError as cause:
        raise Code.BAD_MANIFEST(f"The manifest {path} cannot be read: {cause.strerror}.", "Check its name.") from cause
    except (UnicodeDecodeError, csv.Error) as cause:
        raise Code.BAD_MANIFEST(
            f"The manifest {path} is not a CSV file in UTF-8: {cause}.", "Export it anew."
        ) from cause
    if not rows:
        raise Code.BAD_MANIFEST(f"The manifest {path} has a header and no rows.", "Add one row per clip.")
    missing = [row for row in rows if check_files and not row.path.is_file()]
    if missing:
        raise Code.BAD_MANIFEST(
            f"{path}: row {missing[0].number} names the file {missing[0].path}, which is not there "
            f"({len(missing)} of {len(rows)} are missing).",
            "Paths are taken from the manifest's folder.",
        )
    return rows


def _read_rows(path: Path, lines: Iterable[str], required: set[str]) -> list[Row]:
    reader = csv.DictReader(lines, strict=True)
    found = [name.strip() for name in reader.fieldnames or ()]
    lacking = sorted(required - set(found))
    if lacking:
        raise Code.BAD_MANIFEST(
            f"{path} lacks the column {', '.join(lacking)}; the columns found are: {', '.join(found) or 'none'}.",
            "The first line must name the columns.",
        )
    reader.fieldnames = found
    return [_read_row(path, number, cells) for number, cells in enumerate(reader, start=1)]


def _read_row(path: Path, number: int, cells: dict[str | None, str | None]) -> Row:
    if None in cells:
        raise Code.BAD_MANIFEST(
            f"{path}: row {number} has more cells than the header.", "Put text with commas in quotes."
        )
    plain = {name: read_cell((value or "").strip()) for name, value in cells.items() if name is not None}
    for name in ("path", "label"):
        if not plain[name]:
            raise Code.BAD_MANIFEST(f"{path}: row {number} has no {name}.", "Fill the cell or remove the row.")
    return Row(
        number=number,
        path=path.parent / plain["path"],
        label=plain["label"],
        speaker=plain.get("speaker", ""),
        source=plain.get("source", ""),
        method=plain.get("method", ""),
        offset_s=_read_offset(path, number, plain.get("offset_s", "")),
        enrol=_read_enrol(path, number, plain.get("enrol", "")),
        donor_path=_read_place(path, plain.get("donor_path", "")),
        driver_path=_read_place(path, plain.get("driver_path", "")),
        written=plain["path"],
        **{name: plain.get(name) or None for name in OPTIONAL},
    )


def _read_place(path: Path, text: str) -> Path | None:
    return path.parent / text if text else None


def _read_enrol(path: Path, number: int, text: str) -> bool | None:
    if text not in ("", "0", "1"):
        raise Code.BAD_MANIFEST(f"{path}: row {number} has enrol {text!r}, wanted 1, 0 or nothing.", "")
    return text == "1" if text else None


def _read_offset(path: Path, number: int, text: str) -> float | None:
    if not text:
        return None
    try:
        offset_s = float(text)
    except ValueError:
        offset_s = math.nan
    if not math.isfinite(offset_s):
        raise Code.BAD_MANIFEST(f"{path}: row {number} has the offset_s {text!r}, wanted seconds such as -0.12.", "")
    return offset_s
