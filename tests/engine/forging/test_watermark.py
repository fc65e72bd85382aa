"""The mark is found where it is, is not found where it is not, and keeps clear of faces."""

import io
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from engine.errors import Code, NotForgeable
from engine.forging.watermark import (
    CELL,
    RUNG,
    THRESHOLD,
    Mark,
    find_watermark,
    measure_watermark,
    plan_mark,
)
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
def test_the_mark_outlives_the_encoder(mark: Mark, crf: int, speed_px: int) -> None:
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


def test_noise_as_strong_as_the_mark_does(mark: Mark) -> None:
    marked = mark.stamp(draw_scene()).astype(float)
    per_square = np.random.default_rng(1).uniform(-RUNG, RUNG, (SIZE[1] // CELL, SIZE[0] // CELL))
    noisy = marked + np.kron(per_square, np.ones((CELL, CELL)))[..., None]
    assert not find_watermark(np.clip(noisy, 0, 255).astype(np.uint8))


def test_neither_words_nor_pattern_touch_a_face_or_what_is_close_to_it(mark: Mark) -> None:
    scene = draw_scene()
    changed = (mark.stamp(scene) != scene).any(axis=2)
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    assert changed.mean() > 0.3
    for middle in ((130, 80), (134, 82)):
        assert not changed[np.hypot(x - middle[0], y - middle[1]) < 44].any()


def test_no_pixel_outside_the_words_moves_by_more_than_half_a_rung(mark: Mark) -> None:
    scene = np.clip(draw_scene(), 10, 245)
    moved = np.abs(mark.stamp(scene).astype(int) - scene)
    moved[mark.caption.area] = 0
    assert 0 < moved.max() <= RUNG / 2 + 1


@pytest.mark.parametrize(("x", "y"), [(60, 50), (200, 50), (60, 145), (200, 145)])
def test_the_words_go_to_a_corner_away_from_the_face(x: int, y: int) -> None:
    caption = plan_mark(SIZE, [outline(x, y, 44)]).caption
    rows, columns = caption.area
    assert (rows.start == 0 or rows.stop == SIZE[1]) and (columns.start == 0 or columns.stop == SIZE[0])
    corners = np.array([(a, b) for a in (columns.start, columns.stop) for b in (rows.start, rows.stop)])
    assert np.hypot(*(corners - [x, y]).T).min() > 48
    assert caption.image.max() > 150 and 0.05 < (caption.image > 100).mean() < 0.5


def test_words_break_into_lines_where_there_is_no_room_for_one() -> None:
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
def test_a_picture_whose_words_were_painted_over_does_not_pass(mark: Mark, cover: str) -> None:
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
