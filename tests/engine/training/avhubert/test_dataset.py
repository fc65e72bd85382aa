"""From a manifest to clips: usable clips are kept, unusable ones are named and left out."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.errors import Code
from engine.settings import Settings
from engine.training.avhubert import dataset
from engine.training.avhubert.dataset import PreprocessedDataset
from engine.training.avhubert.preprocessing import NO_FACE, PreprocessedClip, write_clip
from engine.training.clips import MIN_FRAMES
from engine.weights.registry import hash_file
from tests.engine.training.planted import make_clip_file
from tests.raising import raises

HEADER = "path,label,has_audio,audio_in_sync,speaker,source"


class FakeMaker:
    """Makes a clip of what the file says: how many frames, how late; refuses what says `broken`."""

    recipe = "drawn-0123"
    made: list[str]

    def __init__(self) -> None:
        self.made = []

    def make(self, video: Path, path: Path) -> None:
        self.made.append(video.name)
        told = video.read_text().split()
        if told[0] == "broken":
            raise Code.UNREADABLE_VIDEO("it is broken")
        if told[0] == "nobody":
            return write_clip(path, NO_FACE, None)
        drawn = make_clip_file(
            path.parent.parent / "drawn", 1, int(told[0]), told=int(told[1]) if told[1] != "?" else None
        )
        path.parent.mkdir(exist_ok=True)
        drawn.path.replace(path)
        return None


@dataclass
class Bench:
    folder: Path
    maker: FakeMaker
    told: list[str] = field(default_factory=list)
    counted: list[tuple[int, int]] = field(default_factory=list)

    def gather(self, files: dict[str, str], workers: int = 1) -> list[PreprocessedClip]:
        rows = []
        for name, text in files.items():
            source, _, speaker = text.partition("/")[2].partition("/")
            (self.folder / f"{name}.mp4").write_text(f"{text.partition('/')[0]} {name}")
            rows.append(f"{name}.mp4,real,1,yes,{speaker},{source}")
        manifest = self.folder / "clips.csv"
        manifest.write_text("\n".join([HEADER, *rows, "absent.mp4,real,1,yes,,x", "fake.mp4,fake,1,yes,,x"]) + "\n")
        self.told.clear()
        self.counted.clear()
        context = PreprocessedDataset(
            self.folder / "reels",
            Settings(self.folder),
            workers,
            lambda done, total: self.counted.append((done, total)),
            self.told.append,
        )
        return context.gather(manifest)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    maker = FakeMaker()
    monkeypatch.setattr(dataset.Preprocessor, "load", lambda settings: maker)
    return Bench(tmp_path, maker)


def test_clips_are_preprocessed_once(bench: Bench) -> None:
    files = {"a": "50 2/lab/X_1", "b": "60 0/hall/Y_1"}
    clips = bench.gather(files)
    assert [(clip.name, clip.n_frames, clip.late, clip.source) for clip in clips] == [
        ("a.mp4", 50, 2, "lab"),
        ("b.mp4", 60, 0, "hall"),
    ]
    assert (
        clips[0].path == bench.folder / "reels" / FakeMaker.recipe / f"{hash_file(bench.folder / 'a.mp4')}.safetensors"
    )
    assert bench.maker.made == ["a.mp4", "b.mp4"]
    assert bench.counted == [(1, 3), (2, 3), (3, 3)]  # the row of the absent file counts as done from the start
    assert bench.gather(files) == clips
    assert bench.maker.made == ["a.mp4", "b.mp4"]


def test_what_cannot_be_used_is_named_and_left_out(bench: Bench) -> None:
    clips = bench.gather({"a": "broken/lab", "b": "nobody/lab", "c": "40 0/lab"})
    assert [clip.name for clip in clips] == ["c.mp4"]
    assert sorted(told.partition(" ")[0].rstrip(":") for told in bench.told) == ["a.mp4", "absent.mp4", "b.mp4"]
    assert any("it is broken" in told for told in bench.told)
    bench.gather({"a": "broken/lab", "b": "nobody/lab", "c": "40 0/lab"})
    assert bench.maker.made == ["a.mp4", "b.mp4", "c.mp4", "a.mp4"]  # a clip without a face is not searched again


def test_damaged_clip_file_is_rebuilt(bench: Bench) -> None:
    (clip,) = bench.gather({"a": "50 0/lab"})
    whole = clip.path.read_bytes()
    for damage in (b"", whole[:1000], b"\xff" * 64):
        clip.path.write_bytes(damage)
        assert bench.gather({"a": "50 0/lab"}) == [clip] and clip.path.read_bytes() == whole


def test_unclear_clip_takes_offset_of_its_source_if_long_enough(bench: Bench) -> None:
    clear = {f"c{i}": f"60 {late}/lab" for i, late in enumerate([3, 3, 4, 3, 2])}
    unclear = {"u": "60 ?/lab", "other": "60 ?/hall", "short": f"{MIN_FRAMES + 2} ?/lab"}
    late = {clip.name: clip.late for clip in bench.gather(clear | unclear)}
    assert (late["c2.mp4"], late["u.mp4"], late["other.mp4"], late["short.mp4"]) == (4, 3, 0, 0)


def test_speakers_of_one_family_make_one_corpus(bench: Bench) -> None:
    clips = bench.gather({"a": "40 0/lab/GRID_s1", "b": "41 0/hall/GRID_s2", "c": "42 0/street/Z_1"})
    assert clips[0].corpus == clips[1].corpus != clips[2].corpus


@pytest.mark.parametrize("text", ["broken/lab", "nobody/lab"])
def test_a_manifest_without_any_face_is_refused(bench: Bench, text: str) -> None:
    with raises(Code.BAD_MANIFEST, match="none of the 2 clips"):
        bench.gather({"a": text})


def test_several_processes_preprocess_and_report_unreadable_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.mp4").write_bytes(name.encode() * 100)
    (tmp_path / "clips.csv").write_text(f"{HEADER}\na.mp4,real,1,yes,,lab\nb.mp4,real,1,yes,,lab\n")
    told: list[str] = []
    context = PreprocessedDataset(tmp_path / "reels", Settings(tmp_path), 2, on_skip=told.append)
    with raises(Code.BAD_MANIFEST):
        context.gather(tmp_path / "clips.csv")
    assert sorted(line.partition(":")[0] for line in told) == ["a.mp4", "b.mp4"]
