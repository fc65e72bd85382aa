"""Lists of the benchmark quote foreign names against formulas of spreadsheets."""

from pathlib import Path

from engine.datasets.manifest import Row, read_manifest
from engine.forging.bench import COLUMNS, _open_lists
from tests.payloads import PAYLOADS, check_csv


def write_lists(folder: Path, text: str) -> Path:
    original = Row(number=1, path=folder / "a.mp4", label="real", speaker=text, source=text, method="")
    with _open_lists(folder, [original]) as add_line:
        add_line(dict.fromkeys(COLUMNS, text) | {"path": "b.mp4", "label": "fake", "offset_s": "-0.2"})
    return folder / "manifest.csv"


def read(path: Path) -> str:
    with path.open(encoding="utf-8", newline="") as file:
        return file.read()


def test_names_are_no_formulas(tmp_path: Path) -> None:
    check_csv(lambda text: read(write_lists(tmp_path, text)))
    check_csv(lambda text: read(write_lists(tmp_path, text).with_name("forged.csv")))


def test_names_are_read_back_as_they_were(tmp_path: Path) -> None:
    for text in PAYLOADS:
        first = read_manifest(write_lists(tmp_path, text))[0]
        assert first.speaker == first.source == text
