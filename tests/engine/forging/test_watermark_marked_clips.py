"""Nothing forged reaches a file without its mark, and what does keeps its time."""

import ast
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from engine import evaluation, forging
from engine.errors import Code, NotForgeable
from engine.forging import watermark
from engine.forging.audio import SpeechClip
from engine.forging.watermark import TAG, WORDS, Mark, find_watermark, plan_mark, write_marked_clip
from engine.media.clip import open_clip
from engine.types import SAMPLE_RATE
from tests.engine.forging.test_watermark import SIZE, draw_scene, outline
from tests.raising import raises

N_FRAMES = 30


@pytest.fixture(scope="module")
def mark() -> Mark:
    return plan_mark(SIZE, [outline(130, 80, 40)])


def draw(mark: Mark, n_frames: int = N_FRAMES) -> Iterator[np.ndarray]:
    """Marked frames of a scene that moves."""
    scene = draw_scene()
    for shift in range(n_frames):
        yield mark.stamp(np.roll(scene, shift, axis=1))


def click(at_s: float, seconds: float = N_FRAMES / 25, first_s: float = 0.0) -> SpeechClip:
    """A short noise at one instant; nothing is there before `first_s`."""
    samples = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    start = round(at_s * SAMPLE_RATE)
    samples[start : start + 160] = 0.5 * np.random.default_rng(0).uniform(-1, 1, 160)
    return SpeechClip(samples, np.arange(len(samples)) >= first_s * SAMPLE_RATE)


def test_every_picture_in_the_file_carries_the_mark_and_the_file_is_tagged(mark: Mark, tmp_path: Path) -> None:
    path = tmp_path / "forged.mp4"
    assert write_marked_clip(path, draw(mark), mark, Fraction(25), click(0.5), "face-swap") == N_FRAMES
    with av.open(str(path)) as clip:
        assert clip.metadata["title"] == WORDS
        assert clip.metadata["comment"].startswith(TAG) and "face-swap" in clip.metadata["comment"]
        codecs = [stream.codec_context.name for stream in clip.streams]
        images = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
    assert codecs == ["h264", "aac"]
    assert len(images) == N_FRAMES and all(find_watermark(image) for image in images)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("at", [0, 17, N_FRAMES - 1])
def test_one_unmarked_frame_and_there_is_no_file(mark: Mark, tmp_path: Path, at: int) -> None:
    frames = list(draw(mark))
    frames[at] = draw_scene()
    with raises(Code.UNMARKED_FRAME, match="invisible"):
        write_marked_clip(tmp_path / "forged.mp4", frames, mark, Fraction(25), None, "test")
    assert list(tmp_path.iterdir()) == []


def test_one_frame_without_the_words_and_there_is_no_file(mark: Mark, tmp_path: Path) -> None:
    frames = list(draw(mark))
    frames[5] = frames[5].copy()
    frames[5][mark.caption.area] = 128
    with raises(Code.UNMARKED_FRAME, match="caption"):
        write_marked_clip(tmp_path / "forged.mp4", frames, mark, Fraction(25), None, "test")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_which_the_mark_was_lost_is_not_kept(
    mark: Mark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watermark, "FINE_QUALITY", "51")
    with pytest.raises(NotForgeable, match="encoder"):
        write_marked_clip(tmp_path / "forged.mp4", draw(mark), mark, Fraction(25), None, "test")
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_of_the_name_stays_where_the_new_one_fails(mark: Mark, tmp_path: Path) -> None:
    path = tmp_path / "forged.mp4"
    path.write_bytes(b"older")
    with pytest.raises(ValueError, match="no frame"):
        write_marked_clip(path, iter(()), mark, Fraction(25), None, "test")
    assert path.read_bytes() == b"older"


def test_the_same_frames_give_the_same_bytes(mark: Mark, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one.mp4", "two.mp4")]
    for path in paths:
        write_marked_clip(path, draw(mark), mark, Fraction(25), click(0.5), "test")
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(24)])
def test_the_rate_and_the_instant_of_a_sound_are_kept(mark: Mark, tmp_path: Path, rate: Fraction) -> None:
    path = tmp_path / "forged.mp4"
    write_marked_clip(path, draw(mark), mark, rate, click(0.5), "test")
    clip = open_clip(path)
    assert clip.source_fps == pytest.approx(float(rate), abs=0.01)
    heard = np.flatnonzero(np.abs(clip.audio) > 0.05)
    assert heard[0] / SAMPLE_RATE == pytest.approx(0.5, abs=0.01)
    assert clip.reasons == ()


def test_sound_that_begins_late_is_absent_before(mark: Mark, tmp_path: Path) -> None:
    path = tmp_path / "forged.mp4"
    write_marked_clip(path, draw(mark), mark, Fraction(25), click(0.7, first_s=0.4), "test")
    clip = open_clip(path)
    assert not clip.audio_present[:9].any() and clip.audio_present[11:29].all()
    assert np.flatnonzero(np.abs(clip.audio) > 0.05)[0] / SAMPLE_RATE == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("sound", [None, SpeechClip(np.zeros(0, np.float32), np.zeros(0, bool))])
def test_without_sound_the_file_has_none(mark: Mark, tmp_path: Path, sound: SpeechClip | None) -> None:
    path = tmp_path / "forged.mp4"
    write_marked_clip(path, draw(mark), mark, Fraction(25), sound, "test")
    assert not open_clip(path).has_audio


def test_an_odd_size_is_kept(tmp_path: Path) -> None:
    odd = plan_mark((255, 191), [outline(130, 80, 40)])
    frames = [odd.stamp(draw_scene(0, (255, 191)))] * 5
    write_marked_clip(tmp_path / "forged.mp4", frames, odd, Fraction(25), None, "test")
    assert open_clip(tmp_path / "forged.mp4").size_px == (255, 191)


def opens_containers(source: str) -> bool:
    """Whether a module imports a writer of video."""
    names = [
        alias.name if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    return any(name.split(".")[0] == "av" or name.endswith((".write_clip", "synthesis.animation")) for name in names)


def test_no_other_module_of_the_bench_could_write_a_video() -> None:
    folders = [Path(folder) for room in (evaluation, forging) for folder in room.__path__]
    modules = {
        f"{path.parent.name}/{path.name}": path.read_text("utf-8") for one in folders for path in one.glob("*.py")
    }
    assert {f"forging/{name}.py" for name in ("bench", "manipulations", "face_swap", "retiming")} <= set(modules)
    in_memory = modules.pop("evaluation/perturbations.py")  # degrades clips in memory for a measurement
    assert set(re.findall(r"av\.open\(([^,)]+)", in_memory)) == {"coded"}
    assert in_memory.count("coded = io.BytesIO()") + in_memory.count("coded = [], io.BytesIO()") == 2
    assert [name for name, source in modules.items() if opens_containers(source)] == ["forging/watermark.py"]
    assert not any("VideoWriter" in source or "imwrite" in source for source in modules.values())


def test_that_check_sees_every_way_of_importing() -> None:
    for line in ("import av", "from av import open", "from engine.synthesis.animation import write_clip"):
        assert opens_containers(f"def f():\n    {line}")
    assert not opens_containers("from engine.synthesis.animation import HeadMesh")
