"""Items of a batch: files, folders and lists, in the given order."""

from pathlib import Path

import pytest

from engine.datasets.manifest import Skipped
from engine.types import MediaSelection
from tests.clips import Film, write_clip
from tests.raising import raises
from webapp.batch.sources import MAX_LINKS, read_sources
from webapp.errors import WebCode

URL = "https://example.org/watch?v="


def write(folder: Path, name: str, text: str = "x", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding)
    return path


def test_files_and_links_stay_in_order_and_need_not_be_there(tmp_path: Path) -> None:
    file = write(tmp_path, "a.mp4")
    found = read_sources([f"{URL}1", str(file), "gone.mp4", "HTTP://EXAMPLE.ORG/b"])
    assert [(one.number, one.path, one.url) for one in found] == [
        (1, None, f"{URL}1"), (2, file, None), (3, Path("gone.mp4"), None), (4, None, "HTTP://EXAMPLE.ORG/b"),
    ]  # fmt: skip
    assert [one.name for one in found] == [f"{URL}1", "a.mp4", "gone.mp4", "HTTP://EXAMPLE.ORG/b"]


def test_of_a_folder_every_video_is_taken_by_its_bytes(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "b.mp4", Film(duration_s=1.2)).read_bytes()
    for name in ("a/c.VOB", "film", "list.txt", "z.dat", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(clip)
    for name in ("notes.mp4", "a/list.csv", "picture.png"):
        write(tmp_path, name)
    skipped: list[Skipped] = []
    found = read_sources([str(tmp_path)], skipped.append)
    assert [one.path for one in found] == [
        tmp_path / name for name in (".hidden", "a/c.VOB", "b.mp4", "film", "list.txt", "z.dat")
    ]
    assert [one.path for one in skipped] == [
        f"{tmp_path}/{name}" for name in ("a/list.csv", "notes.mp4", "picture.png")
    ]
    assert all("The file is text, not a video" in one.reason for one in skipped)


def test_a_folder_without_videos_names_what_it_has(tmp_path: Path) -> None:
    write(tmp_path, "notes.mp4")
    with raises(WebCode.BAD_BATCH, match=r"1 files are no videos, such as .*notes\.mp4"):
        read_sources([str(tmp_path)])


def test_a_video_named_like_a_list_is_a_video(tmp_path: Path) -> None:
    for name in ("clip.txt", "clip.csv"):
        path = write_clip(tmp_path / "clip.mp4", Film(duration_s=1.2)).rename(tmp_path / name)
        assert [one.path for one in read_sources([str(path)])] == [path]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_of_any_program_is_read(tmp_path: Path, separator: str, encoding: str) -> None:
    cells = (("Note", "URL", "", ""), (f'"a{separator} ü"', f'"{URL}1,2"', "", ""), ("", "", "", ""))
    text = "".join(f"{separator.join(row)}\r" for row in cells)
    found = read_sources([str(write(tmp_path, "list.csv", text, encoding))])
    assert [one.url for one in found] == [f"{URL}1,2"]


def test_a_table_without_a_wanted_column_lists_what_it_has(tmp_path: Path) -> None:
    with raises(WebCode.BAD_BATCH, match="the columns found are: Datei, Titel"):
        read_sources([str(write(tmp_path, "list.csv", "Datei;Titel\na.mp4;x\n"))])


def test_a_text_of_windows_is_read(tmp_path: Path) -> None:
    found = read_sources([str(write(tmp_path, "links.txt", f"{URL}1\r{URL}2\r\nü.mp4", "utf-16"))])
    assert [one.written for one in found] == [f"{URL}1", f"{URL}2", "ü.mp4"]


def test_table_paths_are_relative_to_it_or_links(tmp_path: Path) -> None:
    text = f'label,Path,url\nreal,clips/a.mp4,\nfake,"two, words.mp4",\nx,,{URL}1\nx,,\nx,\'=odd.mp4,{URL}2\n'
    found = read_sources([str(write(tmp_path, "list.csv", "\ufeff" + text))])
    assert [one.written for one in found] == ["clips/a.mp4", "two, words.mp4", f"{URL}1", "=odd.mp4"]
    assert found[0].path == tmp_path / "clips" / "a.mp4" and found[2].url == f"{URL}1"


def test_a_text_has_a_link_a_line(tmp_path: Path) -> None:
    found = read_sources([str(write(tmp_path, "links.txt", f"# mine\n\n {URL}1 \r\n{URL}2\nfile.mp4\n"))])
    assert [one.url for one in found] == [f"{URL}1", f"{URL}2", None] and found[2].path == tmp_path / "file.mp4"


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", "file,label\na.mp4,real\n"), ("a.csv", ""), ("a.csv", "path\n"), ("a.txt", "# nothing\n"),
     ("gone.csv", None), ("gone.txt", None)],
)  # fmt: skip
def test_a_list_of_nothing_is_refused(tmp_path: Path, name: str, text: str | None) -> None:
    if text is not None:
        write(tmp_path, name, text)
    with raises(WebCode.BAD_BATCH) as caught:
        read_sources([str(tmp_path / name)])
    assert caught.value.code == "BAD_BATCH" and caught.value.hint


def test_an_empty_folder_and_a_table_that_is_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00path")
    for given in ("empty", "bytes.csv"):
        with raises(WebCode.BAD_BATCH):
            read_sources([str(tmp_path / given)])


def test_links_are_few(tmp_path: Path) -> None:
    links = [f"{URL}{number}" for number in range(MAX_LINKS + 1)]
    assert len(read_sources([*links[:-1], "a.mp4", "b.mp4"])) == MAX_LINKS + 2
    with raises(WebCode.BAD_BATCH, match="51 links"):
        read_sources(links)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_list_chooses_part_and_sound_of_each_item(tmp_path: Path, separator: str) -> None:
    rows = [
        ("path", "From", "to", "audio_track", "channel"),
        ("a.mp4", "1:05", "0:01:15", "2", "left"),
        ("b.mp4", "", "90", "", ""),
        ("c.mp4", "", "", "", "FC"),
    ]
    listed = write(tmp_path, "list.csv", "\n".join(separator.join(row) for row in rows))
    default = MediaSelection(5.0, None, 3)
    found = read_sources([str(listed), f"{URL}1"], selection=default)
    assert [one.selection for one in found] == [
        MediaSelection(65.0, 75.0, 2, "FL"), MediaSelection(5.0, 90.0, 3), MediaSelection(5.0, None, 3, "FC"), default,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("1:75,,,", "row 2: '1:75' is no time"),
        ("20,10,,", "row 2: The part ends at 0:00:10"),
        (",,zero,", "row 2: "),
        (",,0,", "row 2: There is no audio track 0"),
        (",,,middle one", "row 2: 'middle one' is no channel"),
    ],
)
def test_nonsense_in_a_list_names_its_row(tmp_path: Path, cells: str, message: str) -> None:
    listed = write(tmp_path, "list.csv", f"path,from,to,audio_track,channel\na.mp4,,,,\nb.mp4,{cells}\n")
    with raises(WebCode.BAD_BATCH, match=message):
        read_sources([str(listed)])
