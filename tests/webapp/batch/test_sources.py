"""Items of a batch: files, folders and lists, in the given order."""

from pathlib import Path

import pytest

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


def test_of_a_folder_the_videos_within_are_taken(tmp_path: Path) -> None:
    for name in ("b.mp4", "a/c.MOV", "notes.txt", "a/list.csv", "picture.png", "z.webm"):
        write(tmp_path, name)
    assert [one.path for one in read_sources([str(tmp_path)])] == [
        tmp_path / "a" / "c.MOV", tmp_path / "b.mp4", tmp_path / "z.webm",
    ]  # fmt: skip


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
