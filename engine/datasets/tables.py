"""Read the tables and lists that users write, as spreadsheets and text editors save them.

They differ by program and country: a German Excel writes `;` between cells and a comma in numbers, the "Unicode text"
of Excel is UTF-16 with tabs, and older programs end a line by CR alone.
"""

import codecs
import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from engine.errors import ErrorCode

SEPARATORS = (",", ";", "\t")
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
EXCEL_LINE = "sep="  # begins a first line that only names the separator, for Excel


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of a CSV, stripped; rows of empty cells are left out."""

    columns: tuple[str, ...]  # as written
    rows: tuple[Mapping[str, str], ...]  # by column name in lower case; a missing cell is empty


def read_table(path: Path, wanted: Iterable[str], code: ErrorCode) -> Table:
    """Read a CSV separated by comma, semicolon or tab, whichever finds the most `wanted` columns in the header.

    `csv.Sniffer` guesses by frequencies, which fails on paths and on numbers with commas. Raises `code` for a file that
    is not a CSV in UTF-8 or UTF-16, and for a row with more cells than the header.
    """
    text, names = read_text(path, code), {name.lower() for name in wanted}
    if text[: len(EXCEL_LINE)].lower() == EXCEL_LINE:
        text = "".join(text.splitlines(keepends=True)[1:])
    best = max((_Parsed.read(text, separator) for separator in SEPARATORS), key=lambda one: one.rank(names))
    if best.error is not None:
        raise code(f"{path} is not a CSV file: {best.error}.", "Export it again.") from best.error
    if best.too_long:
        raise code(
            f"{path}: row {best.too_long} has more cells than the header.",
            "Put a text that holds the separator in quotes.",
        )
    columns = tuple(name.lower() for name in best.header)
    rows = [dict(zip_longest(columns, row[: len(columns)], fillvalue="")) for row in best.rows]
    return Table(tuple(name for name in best.header if name), tuple(rows))


def read_text(path: Path, code: ErrorCode) -> str:
    """Read a text in UTF-8, or in UTF-16 with its byte-order mark; raises `code` for any other file."""
    try:
        data = path.read_bytes()
        return data.decode("utf-16" if data.startswith(UTF_16) else "utf-8").lstrip("\ufeff")
    except OSError as cause:
        raise code(f"{path} cannot be read: {cause.strerror}.", "Check its name.") from cause
    except UnicodeDecodeError as cause:
        raise code(
            f"{path} is not a text in UTF-8 or UTF-16: {cause}.", "Save it again; in Excel, as 'CSV UTF-8'."
        ) from cause


def read_number(text: str) -> float:
    """Read a number with a decimal point or a decimal comma. Raises ValueError."""
    return float(text.replace(",", ".") if "." not in text else text)


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A CSV read with one separator."""

    header: list[str]
    rows: list[list[str]]
    error: csv.Error | None

    @classmethod
    def read(cls, text: str, separator: str) -> "_Parsed":
        """Read all rows, or those before an error."""
        lines, error = list[list[str]](), None
        try:
            for cells in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True):
                if any(cell.strip() for cell in cells):
                    lines.append([cell.strip() for cell in cells])
        except csv.Error as cause:
            error = cause
        return cls(lines[0] if lines else [], lines[1:], error)

    @property
    def too_long(self) -> int:
        """Return the number of the first row with more cells than the header, from 1; 0 for none."""
        return next((place for place, row in enumerate(self.rows, 1) if any(row[len(self.header) :])), 0)

    def rank(self, wanted: set[str]) -> tuple[int, bool, int]:
        """Order separators by wanted columns in the header, then whether all rows fit it, then columns."""
        found = wanted & {name.lower() for name in self.header}
        return len(found), self.error is None and not self.too_long, len(self.header)
