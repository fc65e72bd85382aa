"""`wayspeak batch` with the real engine, on one machine and on a cluster of Ray: the same rows byte for byte."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clips import Film, write_clip
from webapp.batch.rows import read_jsonl

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "a.mp4", Film(duration_s=1.2))
    write_clip(folder / "b.mkv", Film(duration_s=1.3, layout=None))
    (folder / "=bad.mp4").write_bytes(b"\x1a\x45\xdf\xa3 and no more")
    (folder / "notes.mp4").write_text("a text")
    return folder


def run(clips: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "webapp.cli", "batch", *options]
    environment = os.environ | ENVIRONMENT | {"WAYSPEAK_DATA": str(clips.parent / "data")}
    return subprocess.run(command, cwd=clips, env=environment, capture_output=True, text=True, check=False, timeout=280)


@pytest.fixture(scope="module")
def alone(clips: Path) -> Iterator[Path]:
    """What one machine writes."""
    done = run(clips, ".", "gone.mp4", "--out", "../alone", "--csv")
    assert done.returncode == 1 and "4 items, 2 failed, 1 other files left out" in done.stderr
    assert "left out: notes.mp4: The file is text, not a video." in done.stderr
    assert done.stdout == (clips.parent / "alone" / "results.csv").read_text("utf-8")
    yield clips.parent / "alone"


def test_a_bad_file_and_a_missing_one_are_rows_among_the_others(alone: Path) -> None:
    rows = read_jsonl((alone / "results.jsonl").read_text("utf-8"))
    assert [(row.source, row.status, row.error_code) for row in rows] == [
        ("=bad.mp4", "FAILED", "UNREADABLE_VIDEO"),
        ("a.mp4", "NOT_EVALUATED", None),
        ("b.mkv", "NOT_EVALUATED", None),
        ("gone.mp4", "FAILED", "UNREADABLE_VIDEO"),
    ]
    assert "NO_FACE" in rows[1].reasons and "NO_AUDIO" in rows[2].reasons
    assert [row.sha256 is None for row in rows] == [False, False, False, True]
    assert "1,'=bad.mp4,'=bad.mp4," in (alone / "results.csv").read_text("utf-8")


def test_a_list_that_cannot_be_read_is_one_line(clips: Path) -> None:
    done = run(clips, "gone.csv", "--out", "../none")
    assert done.returncode == 2 and done.stderr.startswith("wayspeak: gone.csv cannot be read") and not done.stdout


def test_a_cluster_writes_the_same_rows(clips: Path, alone: Path) -> None:
    done = run(clips, ".", "gone.mp4", "--out", "../cluster", "--ray", "local")
    assert done.returncode == 1, done.stderr
    for name in ("results.csv", "results.jsonl"):
        assert (clips.parent / "cluster" / name).read_bytes() == (alone / name).read_bytes()


def test_missing_cluster_is_reported(clips: Path) -> None:
    done = run(clips, ".", "--out", "../none", "--ray", "127.0.0.1:1")
    assert done.returncode == 2 and "No Ray cluster answers at 127.0.0.1:1" in done.stderr
