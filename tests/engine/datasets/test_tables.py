"""CSVs and texts as programs of several countries write them."""

from pathlib import Path

import pytest

from engine.datasets.tables import read_number, read_table, read_text
from engine.errors import Code
from tests.raising import raises


def read(folder: Path, data: str | bytes, *wanted: str) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    (folder / "a.csv").write_bytes(data.encode() if isinstance(data, str) else data)
    table = read_table(folder / "a.csv", wanted or ("path", "label"), Code.BAD_MANIFEST)
    return table.columns, [dict(row) for row in table.rows]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("path;label\na,b,c.mp4;real\n", "a,b,c.mp4"),
        ("path,label\na;b;c.mp4,real\n", "a;b;c.mp4"),
        ("path\tlabel\na,b;c.mp4\treal\n", "a,b;c.mp4"),
        ('"path";"label"\r"a;""b"".mp4";real\r', 'a;"b".mp4'),
        ('path;label\r\n"a\r\nb.mp4";real\r\n', "a\r\nb.mp4"),
        ("\n;;\npath;label\n;\n a.mp4 ; real \n", "a.mp4"),
        ("SEP=,\npath,label\na.mp4,real\n", "a.mp4"),
    ],
)
def test_the_separator_is_that_of_the_header(tmp_path: Path, text: str, cell: str) -> None:
    assert read(tmp_path, text) == (("path", "label"), [{"path": cell, "label": "real"}])


def test_a_comma_in_a_table_of_one_column_separates_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "path\na, b.mp4\nc.mp4\n")[1] == [{"path": "a, b.mp4"}, {"path": "c.mp4"}]


def test_short_rows_are_filled_and_columns_without_name_are_kept_apart(tmp_path: Path) -> None:
    columns, rows = read(tmp_path, "path,label,\na.mp4\nb.mp4,real,more\n")
    assert columns == ("path", "label")
    assert rows == [{"path": "a.mp4", "label": "", "": ""}, {"path": "b.mp4", "label": "real", "": "more"}]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("path;label\na.mp4;real;x\n", "row 1 has more cells"),
        ('path;label\n"a.mp4;real\n', "not a CSV file"),
        ("path;label\nü.mp4;real\n".encode("cp1252"), "not a text in UTF-8 or UTF-16"),
        (b"\xff\xfep\0a", "not a text"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, data: str | bytes, says: str) -> None:
    with raises(Code.BAD_MANIFEST, match=says):
        read(tmp_path, data)


def test_a_missing_text_is_named(tmp_path: Path) -> None:
    with raises(Code.BAD_MANIFEST, match=r"gone\.txt cannot be read"):
        read_text(tmp_path / "gone.txt", Code.BAD_MANIFEST)


@pytest.mark.parametrize(("text", "value"), [("0.5", 0.5), ("-0,5", -0.5), ("1e-3", 1e-3), ("7", 7.0)])
def test_a_comma_is_a_decimal_point(text: str, value: float) -> None:
    assert read_number(text) == value


@pytest.mark.parametrize("text", ["1.000,5", "1,000,5", "x", ""])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="could not convert"):
        read_number(text)
