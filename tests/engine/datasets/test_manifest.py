"""Manifests: rows, errors with row and column, escaped cells."""

from pathlib import Path

import pytest

from engine.datasets.manifest import Row, guard_cell, read_cell, read_manifest
from engine.errors import Code
from tests.payloads import PAYLOADS
from tests.raising import raises


def write(folder: Path, text: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_paths_are_of_the_manifests_folder_and_empty_cells_are_nothing(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "\ufeffpath, label,speaker,source,method,offset_s,sample,has_audio,audio_in_sync,language,session,note\n"
        'clips/a.mp4,real,Ada,lab,,-0.12,s1,1,yes,en,,"text, with a comma"\n'
        f"{tmp_path}/b.mp4,fake,,,Wav2Lip,,,,,,,\n",
    )
    first, second = read_manifest(path)
    assert first == Row(
        number=1,
        path=tmp_path / "clips" / "a.mp4",
        label="real",
        speaker="Ada",
        source="lab",
        offset_s=-0.12,
        sample="s1",
        has_audio="1",
        audio_in_sync="yes",
        language="en",
    )
    assert second == Row(number=2, path=tmp_path / "b.mp4", label="fake", method="Wav2Lip")
    assert first.is_real and not second.is_real


@pytest.mark.parametrize(
    "text",
    [
        "path;label;offset_s;;\r\na, b.mp4;real;-0,12;;\r\n;;;;\r\n",
        "Path\tLabel\toffset_s\t\ra, b.mp4\treal\t-0,12\t\r",
        'path,label,offset_s,\n"a, b.mp4",real,"-0,12",\n,,,\n',
        'sep=;\r\n"path";"label";"offset_s"\r\n"a, b.mp4";"real";"-0.12"\r\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"])
def test_a_manifest_of_any_spreadsheet_is_read(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "list.csv").write_bytes((text if encoding.startswith("utf-8") else f"\ufeff{text}").encode(encoding))
    (row,) = read_manifest(tmp_path / "list.csv")
    assert (row.path, row.label, row.offset_s) == (tmp_path / "a, b.mp4", "real", -0.12)


def test_path_and_label_are_enough(tmp_path: Path) -> None:
    assert read_manifest(write(tmp_path, "label,path\nreal,a.mp4\n")) == [Row(1, tmp_path / "a.mp4", "real")]


def test_unknown_people_of_one_source_count_as_one_and_of_none_as_many(tmp_path: Path) -> None:
    text = "path,label,speaker,source\na,real,Ada,lab\nb,real,Ada,film\nc,real,,lab\nd,real,,lab\ne,real,,\nf,real,,\n"
    people = [row.person for row in read_manifest(write(tmp_path, text))]
    assert people[0] == people[1]
    assert people[2] == people[3]
    assert len(set(people)) == 4


def test_who_owns_face_and_motion_where_they_are_from_and_who_is_enrolled(tmp_path: Path) -> None:
    text = "path,label,face_owner,motion_owner,donor_path,driver_path,enrol\na,fake,Ada,Ben,c/1.mp4,/d/2.mp4,0\n"
    forged, plain, either = read_manifest(write(tmp_path, text + "b,real,,,,,1\nc,real,,,,,\n"))
    assert (forged.face_owner, forged.motion_owner, forged.enrol) == ("Ada", "Ben", False)
    assert (forged.donor_path, forged.driver_path) == (tmp_path / "c" / "1.mp4", Path("/d/2.mp4"))
    assert (plain.face_owner, plain.donor_path, plain.driver_path, plain.enrol) == (None, None, None, True)
    assert either.enrol is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,label,enrol\na.mp4,real,1\nb.mp4,real,yes\n", "row 2 has enrol 'yes'"),
        ("path,speaker\na.mp4,Ada\n", r"lacks the column label; the columns found are: path, speaker"),
        ("", r"lacks the column label, path; the columns found are: none"),
        ("path,label\n", "no rows"),
        ("path,label\na.mp4,real\n,real\n", "row 2 has no path"),
        ("path,label\na.mp4,\n", "row 1 has no label"),
        ("path,label\na.mp4,real,more\n", "row 1 has more cells"),
        ("path,label\na.mp4\n", "row 1 has no label"),
        ("path,label,offset_s\na.mp4,real,0.1\nb.mp4,real,late\n", "row 2 has the offset_s 'late'"),
        ("path,label,offset_s\na.mp4,real,inf\n", "row 1 has the offset_s 'inf'"),
        ("path;label;offset_s\na.mp4;real;1.000,5\n", "row 1 has the offset_s '1.000,5'"),
        ("Datei;label\na.mp4;real\n", r"lacks the column path; the columns found are: Datei, label"),
        ('path,label\n"a.mp4,real\n', "not a CSV file"),
    ],
)
def test_a_bad_manifest_says_what_is_wrong_and_where(tmp_path: Path, text: str, says: str) -> None:
    with raises(Code.BAD_MANIFEST, match=says):
        read_manifest(write(tmp_path, text))


def test_a_column_that_the_caller_needs_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "path,label\na.mp4,real\n")
    with raises(Code.BAD_MANIFEST, match="lacks the column speaker"):
        read_manifest(path, required=("speaker",))


def test_a_manifest_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with raises(Code.BAD_MANIFEST, match="cannot be read"):
        read_manifest(tmp_path / "none.csv")
    with raises(Code.BAD_MANIFEST, match="cannot be read"):
        read_manifest(tmp_path)
    (tmp_path / "film.csv").write_bytes(b"\x00\xff\xfe\x80")
    with raises(Code.BAD_MANIFEST, match="not a text in UTF-8"):
        read_manifest(tmp_path / "film.csv")


def test_a_missing_file_is_named_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    path = write(tmp_path, "path,label\na.mp4,real\nb.mp4,real\n")
    assert len(read_manifest(path)) == 2
    with raises(Code.BAD_MANIFEST, match=r"row 2 names the file .*b\.mp4.*1 of 2"):
        read_manifest(path, check_files=True)


PLAIN = ["", "Ada Lovelace", "-0.2", "+1.5e3", "12", "a=b", "it's", "'quoted'", "…", "~/clip.mp4"]
FORMULAS = ["=1+1", "-x.mp4", "@here", "+49 30 1234", "--", "-", "\t=1", "'=1", "''-2+3", "＝1+1"]


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_and_numbers_stay_as_they_are(text):
    assert guard_cell(text) == read_cell(text) == text


@pytest.mark.parametrize("text", FORMULAS)
def test_what_begins_like_a_formula_is_text(text):
    assert guard_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", [*PLAIN, *FORMULAS, *PAYLOADS])
def test_what_was_written_is_read_back(text):
    assert read_cell(guard_cell(text)) == text
