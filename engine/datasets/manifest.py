"""Read clip manifests: CSV files with one clip per row, for evaluation and training.

Also escapes cells against CSV injection (OWASP): spreadsheets evaluate a cell that begins like a formula, even in
quotes, and untrusted text such as a file name or title may begin so. A leading apostrophe makes it text.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.datasets.tables import read_number, read_table
from engine.errors import Code

FORMULA_STARTS = frozenset("=+-@\t\r\n＝＋－＠")
GUARD = "'"


def guard_cell(text: str) -> str:
    """Escape text for a CSV cell; `read_cell` reverses it. A plain number stays a number."""
    return f"{GUARD}{text}" if _is_formula(text.lstrip(GUARD)) and not _is_number(text) else text


def read_cell(text: str) -> str:
    """Unescape a cell that `guard_cell` wrote."""
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
    """A row of the manifest without a result."""

    path: str  # as written in the manifest
    reason: str


REAL = "real"


@dataclass(frozen=True, slots=True)
class Row:
    """One clip of a manifest; an empty cell equals a missing column."""

    number: int  # 1 is the first row below the header
    path: Path  # resolved against the manifest's folder
    label: str  # `real` or another class
    speaker: str = ""
    source: str = ""
    method: str = ""
    offset_s: float | None = None  # positive: the sound comes late
    sample: str | None = None  # rows with the same sample are pooled
    has_audio: str | None = None  # 1 or 0
    audio_in_sync: str | None = None  # yes, near (a constant AV offset of some frames), unknown or no
    language: str | None = None
    sex: str | None = None  # as labelled
    session: str | None = None  # sessions of one speaker differ in day, appearance or place
    face_owner: str | None = None  # of a manipulated clip: speaker of the face
    motion_owner: str | None = None  # of a manipulated clip: speaker of the motion
    pair: str | None = (
        None  # rows with the same pair show the same motion or picture: a result, its driver, its sisters
    )
    enrol: bool | None = None  # True: enrolment only, False: probe only, None: both
    donor_path: Path | None = None  # of a manipulated clip: source of the face
    driver_path: Path | None = None  # of a manipulated clip: source of the motion
    written: str = field(default="", compare=False)  # the path as written in the manifest

    @property
    def is_real(self) -> bool:
        """Return whether the label is `real` in any case."""
        return self.label.lower() == REAL

    @property
    def is_synchronised(self) -> bool:
        """Return whether the clip is real and its own audio fits, but for a constant AV offset of some frames."""
        return self.is_real and self.has_audio != "0" and self.audio_in_sync in ("yes", "near")

    @property
    def person(self) -> str:
        """Return the group of the clip for splits and comparisons.

        It is the speaker; all clips of a source without a speaker form one group, since they may show the same person.
        """
        if self.speaker:
            return self.speaker
        return f"unknown of {self.source}" if self.source else f"unknown in {self.path}"


OPTIONAL = ("sample", "has_audio", "audio_in_sync", "language", "sex", "session", "face_owner", "motion_owner", "pair")


def read_manifest(path: Path, required: Sequence[str] = ("path", "label"), check_files: bool = False) -> list[Row]:
    """Read all rows of a CSV; columns without a field are ignored.

    Raises BAD_MANIFEST for a missing manifest, a missing required column, an invalid value, and, with `check_files`, a
    missing clip.
    """
    wanted = {"path", "label", *required}
    table = read_table(path, wanted, Code.BAD_MANIFEST)
    lacking = sorted(wanted - {name.lower() for name in table.columns})
    if lacking:
        raise Code.BAD_MANIFEST(
            f"{path} lacks the column {', '.join(lacking)}; "
            f"the columns found are: {', '.join(table.columns) or 'none'}.",
            "The first line must name the columns.",
        )
    rows = [_read_row(path, number, cells) for number, cells in enumerate(table.rows, start=1)]
    if not rows:
        raise Code.BAD_MANIFEST(f"The manifest {path} has a header but no rows.", "Add one row per clip.")
    missing = [row for row in rows if check_files and not row.path.is_file()]
    if missing:
        raise Code.BAD_MANIFEST(
            f"{path}: row {missing[0].number} names the file {missing[0].path}, which does not exist "
            f"({len(missing)} of {len(rows)} are missing).",
            "Paths are relative to the folder of the manifest.",
        )
    return rows


def find_corpora(rows: Sequence[Row]) -> list[str]:
    """Name each row's corpus: one source, or one first part of the speakers' names (`GRID_s1`), is one corpus."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    for row in rows:
        family = row.speaker.split("_")[0]
        if family:
            parent[root(f"speakers {family}")] = root(f"source {row.source}")
    return [root(f"source {row.source}").removeprefix("source ") for row in rows]


def _read_row(path: Path, number: int, cells: Mapping[str, str]) -> Row:
    plain = {name: read_cell(cell) for name, cell in cells.items()}
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
        donor_path=_read_path(path, plain.get("donor_path", "")),
        driver_path=_read_path(path, plain.get("driver_path", "")),
        written=plain["path"],
        **{name: plain.get(name) or None for name in OPTIONAL},
    )


def _read_path(path: Path, text: str) -> Path | None:
    return path.parent / text if text else None


def _read_enrol(path: Path, number: int, text: str) -> bool | None:
    if text not in ("", "0", "1"):
        raise Code.BAD_MANIFEST(f"{path}: row {number} has enrol {text!r}, wanted 1, 0 or nothing.", "")
    return text == "1" if text else None


def _read_offset(path: Path, number: int, text: str) -> float | None:
    if not text:
        return None
    try:
        offset_s = read_number(text)
    except ValueError:
        offset_s = math.nan
    if not math.isfinite(offset_s):
        raise Code.BAD_MANIFEST(f"{path}: row {number} has the offset_s {text!r}, wanted seconds such as -0.12.", "")
    return offset_s
