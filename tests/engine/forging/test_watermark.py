"""Watermark: detection, clear faces, and no forged frame in a file without it."""

import ast
import io
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from engine import evaluation, forging
from engine.errors import Code, NotForgeable
from engine.forging import watermark
from engine.forging.audio import SpeechClip
from engine.forging.watermark import (
    CELL,
    RUNG,
    TAG,
    THRESHOLD,
    WORDS,
    Mark,
    find_watermark,
    measure_watermark,
    plan_mark,
    write_marked_clip,
)
from engine.media.clip import open_clip
from engine.types import SAMPLE_RATE
from tests.engine.forging.actors import Part, draw_astronaut, load_nets, play
from tests.raising import raises

SIZE = (256, 192)  # width, height


def draw_scene(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A picture with large and small things, light and dark."""
    chance, (width, height) = np.random.default_rng(seed), size
    scene = np.zeros((height, width, 3))
    for grain, share in ((48, 3.0), (16, 1.0), (4, 0.3), (1, 0.1)):
        coarse = chance.normal(size=(height // grain + 1, width // grain + 1, 3))
        scene += share * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 20 * scene, 0, 255).astype(np.uint8)


def outline(x: float, y: float, radius: float) -> np.ndarray:
    """A round face."""
    angles = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    return np.column_stack([x + radius * np.cos(angles), y + radius * np.sin(angles)])


def encode(images: list[np.ndarray], crf: int) -> list[np.ndarray]:
    """The image after H.264."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=Fraction(25), options={"crf": str(crf), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = images[0].shape[1], images[0].shape[0], "yuv420p"
        for image in images:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode())
    file.seek(0)
    with av.open(file) as made:
        return [frame.to_ndarray(format="rgb24") for frame in made.decode(video=0)]


@pytest.fixture(scope="module")
def mark() -> Mark:
    return plan_mark(SIZE, [outline(130, 80, 40), outline(134, 82, 40)])


@pytest.mark.parametrize("seed", range(5))
def test_a_marked_image_differs_from_the_unmarked_one(mark: Mark, seed: int) -> None:
    scene = draw_scene(seed)
    assert not find_watermark(scene)
    assert find_watermark(mark.stamp(scene))


@pytest.mark.parametrize("grey", [0, 1, 17, 128, 254, 255])
def test_flat_pictures_can_be_marked_and_are_not_mistaken(mark: Mark, grey: int) -> None:
    flat = np.full((SIZE[1], SIZE[0], 3), grey, np.uint8)
    assert not find_watermark(flat)
    assert find_watermark(mark.stamp(flat))


def test_unmarked_pictures_score_as_chance_would_have_it() -> None:
    scores = np.array([measure_watermark(draw_scene(seed, (128, 128))) for seed in range(300)])
    assert scores.mean() == pytest.approx(1.0, abs=0.2)  # exponential of mean 1
    assert (scores > 3).mean() == pytest.approx(np.exp(-3), abs=0.04)
    assert scores.max() < THRESHOLD / 1.5


@pytest.mark.parametrize(("crf", "speed_px"), [(16, 2), (23, 0)])
def test_watermark_survives_encoding(mark: Mark, crf: int, speed_px: int) -> None:
    moving = [np.roll(draw_scene(), speed_px * shift, axis=1) for shift in range(12)]
    decoded = encode([mark.stamp(image) for image in moving], crf)
    assert len(decoded) == 12 and all(find_watermark(image) for image in decoded)
    assert not any(find_watermark(image) for image in encode(moving, crf))


@pytest.mark.parametrize("levels", [-3, -1, 2, 4])
def test_a_lighter_or_darker_decoder_does_not_hide_it(mark: Mark, levels: int) -> None:
    marked = mark.stamp(np.clip(draw_scene(), 10, 240)).astype(int)
    assert find_watermark(np.clip(marked + levels, 0, 255).astype(np.uint8))


def test_what_is_cut_off_below_and_right_does_not_hide_it(mark: Mark) -> None:
    assert find_watermark(mark.stamp(draw_scene())[:150, :200])


def test_strong_noise_hides_the_watermark(mark: Mark) -> None:
    marked = mark.stamp(draw_scene()).astype(float)
    per_square = np.random.default_rng(1).uniform(-RUNG, RUNG, (SIZE[1] // CELL, SIZE[0] // CELL))
    noisy = marked + np.kron(per_square, np.ones((CELL, CELL)))[..., None]
    assert not find_watermark(np.clip(noisy, 0, 255).astype(np.uint8))


def test_label_and_pattern_stay_clear_of_the_face(mark: Mark) -> None:
    scene = draw_scene()
    changed = (mark.stamp(scene) != scene).any(axis=2)
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    assert changed.mean() > 0.3
    for middle in ((130, 80), (134, 82)):
        assert not changed[np.hypot(x - middle[0], y - middle[1]) < 44].any()


def test_pixels_outside_the_label_change_by_at_most_half_a_step(mark: Mark) -> None:
    scene = np.clip(draw_scene(), 10, 245)
    moved = np.abs(mark.stamp(scene).astype(int) - scene)
    moved[mark.caption.area] = 0
    assert 0 < moved.max() <= RUNG / 2 + 1


@pytest.mark.parametrize(("x", "y"), [(60, 50), (200, 50), (60, 145), (200, 145)])
def test_label_is_placed_in_a_corner_away_from_the_face(x: int, y: int) -> None:
    caption = plan_mark(SIZE, [outline(x, y, 44)]).caption
    rows, columns = caption.area
    assert (rows.start == 0 or rows.stop == SIZE[1]) and (columns.start == 0 or columns.stop == SIZE[0])
    corners = np.array([(a, b) for a in (columns.start, columns.stop) for b in (rows.start, rows.stop)])
    assert np.hypot(*(corners - [x, y]).T).min() > 48
    assert caption.image.max() > 150 and 0.05 < (caption.image > 100).mean() < 0.5


def test_label_wraps_where_one_line_does_not_fit() -> None:
    wide, narrow = (plan_mark((width, 256), [outline(width / 2, 100, 30)]).caption.image for width in (256, 80))
    assert wide.shape[1] > 1.2 * narrow.shape[1] and narrow.shape[1] <= 80
    assert narrow.shape[0] > 1.5 * wide.shape[0]


def test_a_face_that_leaves_no_corner_is_refused() -> None:
    with pytest.raises(NotForgeable, match="No corner"):
        plan_mark(SIZE, [outline(128, 96, 180)])


def test_a_face_that_leaves_a_corner_but_no_room_for_the_pattern_is_refused() -> None:
    tight = plan_mark((96, 96), [outline(48, 40, 34)])
    with pytest.raises(NotForgeable, match="too little room"):
        tight.stamp(draw_scene(0, (96, 96)))


def test_a_stamped_picture_passes_and_the_given_one_stays_as_it_was(mark: Mark) -> None:
    scene = draw_scene()
    before = scene.copy()
    mark.check(mark.stamp(scene))
    assert np.array_equal(scene, before)


def test_an_unmarked_picture_does_not_pass(mark: Mark) -> None:
    with raises(Code.UNMARKED_FRAME, match="invisible"):
        mark.check(draw_scene())


@pytest.mark.parametrize("cover", ["black", "scene", "noise"])
def test_image_with_overpainted_label_does_not_pass(mark: Mark, cover: str) -> None:
    marked, area = mark.stamp(draw_scene()), mark.caption.area
    covers = {"black": np.zeros_like(marked), "scene": draw_scene(), "noise": draw_scene(9)}
    marked[area] = covers[cover][area]
    with raises(Code.UNMARKED_FRAME, match="caption"):
        mark.check(marked)


@pytest.mark.parametrize("size", [(192, 256), (250, 192)])
def test_a_picture_of_another_size_is_a_mistake(mark: Mark, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="wanted"):
        mark.stamp(draw_scene(0, size))


def test_landmarks_are_measured_where_they_were_without_the_mark() -> None:
    portrait, nets = draw_astronaut(), load_nets()
    frame = list(play(portrait, Part(seconds=0.4)))[7]
    mark = plan_mark((256, 256), [portrait.landmarks[:, :2]])
    region = nets.find_faces(frame)[0].region()
    with_mark, without = (nets.place_landmarks(image, region).landmarks for image in (mark.stamp(frame), frame))
    moved = np.linalg.norm((with_mark - without)[:, :2], axis=1) / portrait.eye_px
    assert moved.mean() < 0.004 and moved.max() < 0.03  # less than what H.264 does to them


N_FRAMES = 30


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
def test_one_unmarked_frame_leaves_no_file(mark: Mark, tmp_path: Path, at: int) -> None:
    frames = list(draw(mark))
    frames[at] = draw_scene()
    with raises(Code.UNMARKED_FRAME, match="invisible"):
        write_marked_clip(tmp_path / "forged.mp4", frames, mark, Fraction(25), None, "test")
    assert list(tmp_path.iterdir()) == []


def test_one_frame_without_the_label_leaves_no_file(mark: Mark, tmp_path: Path) -> None:
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
