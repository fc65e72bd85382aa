"""Watermark of every forged frame: a visible caption and an invisible pattern; write marked clips only.

Neither covers a face. The pattern is dither modulation (Chen & Wornell 2001, IEEE Trans. Inf. Theory 47(4)): the mean
grey of every 8 x 8 square is quantised to the nearest value of a ladder with a keyed offset. The image content does
not disturb detection, and encoders preserve square means best. `find_watermark` needs only the image in its own size.

`write_marked_clip` is the only path of a forged frame to a file: it checks every frame, then the encoded file. There is
no switch; a frame without the mark raises and leaves no file.
"""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product
from pathlib import Path

import av
import cv2
import numpy as np

from engine.errors import Code, NotForgeable
from engine.forging.audio import SpeechClip
from engine.types import SAMPLE_RATE

WORDS = "FORGED FOR TESTING"
CELL = 8  # pixels
RUNG = 8.0  # grey levels between values of the ladder; a square changes by at most half
THRESHOLD = 20.7  # of `measure_watermark`: false alarm rate 1e-9
WANTED = 35.0  # before encoding
MARGIN = 0.08  # of the face height, kept clear around it
SMALLEST_FACE = 12  # pixels
_LINES = ((WORDS,), ("FORGED", "FOR TESTING"), ("FORGED", "FOR", "TESTING"))
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPITAL_PX = 22.0  # height of a capital at scale 1
_SMALLEST_PX = 7.0  # of a legible capital
_LIKENESS = 0.8  # correlation of the caption's pixels with the drawn ones


@dataclass(frozen=True, slots=True, eq=False)
class Caption:
    """Rendered caption and its position."""

    x0: int
    y0: int
    image: np.ndarray  # (h, w) uint8, white on black

    @property
    def area(self) -> tuple[slice, slice]:
        """Rows and columns in the image."""
        height, width = self.image.shape
        return slice(self.y0, self.y0 + height), slice(self.x0, self.x0 + width)


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """Mark of one clip, equal in all frames."""

    caption: Caption
    free: np.ndarray  # (H // 8, W // 8) bool: squares outside faces and caption
    size_px: tuple[int, int]

    @property
    def room(self) -> int:
        """Number of squares with the pattern."""
        return int(self.free.sum())

    def stamp(self, image: np.ndarray) -> np.ndarray:
        """Mark an image (H, W, 3) uint8 RGB; NotForgeable for too little room for the pattern."""
        self._check_size(image)
        moves = np.where(self.free, np.rint(_climb(_measure_cells(image))), 0).astype(np.int16)
        pattern = cv2.resize(moves, None, fx=CELL, fy=CELL, interpolation=cv2.INTER_NEAREST)
        marked = image.copy()
        part = marked[: pattern.shape[0], : pattern.shape[1]]
        part[:] = cv2.add(part.astype(np.int16), cv2.merge([pattern] * 3), dtype=cv2.CV_8U)
        marked[self.caption.area] = self.caption.image[..., None]
        if measure_watermark(marked) < WANTED:
            raise NotForgeable(
                "The face leaves too little room for the watermark.", "Use a clip with more picture around the face."
            )
        return marked

    def check(self, image: np.ndarray) -> None:
        """Raise UNMARKED_FRAME where an image lacks the pattern or the caption."""
        self._check_size(image)
        if not find_watermark(image):
            raise Code.UNMARKED_FRAME(
                "A forged frame lacks the invisible mark.", "Forged clips are written only with it."
            )
        if not self._shows_words(image):
            raise Code.UNMARKED_FRAME(
                f"A forged frame lacks the caption {WORDS!r}.", "Forged clips are written only with it."
            )

    def _shows_words(self, image: np.ndarray) -> bool:
        found = cv2.cvtColor(np.ascontiguousarray(image[self.caption.area]), cv2.COLOR_RGB2GRAY).ravel()
        return bool(found.std() > 20 and np.corrcoef(found, self.caption.image.ravel())[0, 1] > _LIKENESS)

    def _check_size(self, image: np.ndarray) -> None:
        size = (image.shape[1], image.shape[0])
        if size != self.size_px or image.dtype != np.uint8:
            raise ValueError(f"a picture of {size} {image.dtype}, wanted {self.size_px} uint8")


def find_watermark(image: np.ndarray) -> bool:
    """Detect the invisible mark in an image (H, W, 3) uint8 RGB."""
    return measure_watermark(image) >= THRESHOLD


def measure_watermark(image: np.ndarray) -> float:
    """Return -ln of the probability that the squares of an unmarked image agree as well with their ladders.

    A common offset from the ladder has no effect: decoders change the brightness by about a level.
    """
    cells = _measure_cells(image)
    if cells.size == 0:
        return 0.0
    agreement = np.exp(2j * np.pi * (cells - _read_key(cells)) / RUNG).sum()
    return float(np.abs(agreement) ** 2 / cells.size)  # for random phases exponential with mean 1 (Rayleigh)


def plan_mark(size_px: tuple[int, int], outlines: list[np.ndarray]) -> Mark:
    """Place the mark of a clip clear of its faces.

    `size_px` is width and height, `outlines` are (P, 2) points of each face in each frame, in pixels. Raises
    NotForgeable where no corner has room for a legible caption.
    """
    width, height = size_px
    kept = _cover_faces(size_px, outlines)
    caption = _place_caption(kept)
    kept[caption.area] = True
    rows, columns = height // CELL, width // CELL
    squares = kept[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL)
    return Mark(caption, np.logical_not(squares.any(axis=(1, 3))), size_px)


def _cover_faces(size_px: tuple[int, int], outlines: list[np.ndarray]) -> np.ndarray:
    """(H, W) bool: area of the faces of all frames, with a margin."""
    covered = np.zeros((size_px[1], size_px[0]), np.uint8)
    tallest = float(SMALLEST_FACE)
    for points in outlines:
        hull = cv2.convexHull(np.round(points).astype(np.int32))
        cv2.fillConvexPoly(covered, hull, 1)
        tallest = max(tallest, float(np.ptp(points[:, 1])))
    reach = 2 * int(np.ceil(MARGIN * tallest)) + 1
    return cv2.dilate(covered, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))) > 0


def _place_caption(kept: np.ndarray) -> Caption:
    """Place the largest possible caption in the corner farthest from every face."""
    height, width = kept.shape
    apart = cv2.distanceTransform(np.pad(~kept, 1, constant_values=True).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    largest = max(_SMALLEST_PX, height / 32)
    for capital_px, lines in product(np.arange(largest, _SMALLEST_PX - 0.5, -1), _LINES):
        image = _draw_words(lines, float(capital_px))
        h, w = image.shape
        if h > height or w > width:
            continue
        corners = [Caption(x, y, image) for y in (height - h, 0) for x in (0, width - w)]
        best = max(corners, key=lambda corner: float(apart[corner.area].min()))
        if not kept[best.area].any():
            return best
    raise NotForgeable(
        f"No corner is free of the face, so there is no room for the caption {WORDS!r}.",
        "Use a clip with more picture around the face.",
    )


def _draw_words(lines: tuple[str, ...], capital_px: float) -> np.ndarray:
    """(h, w) uint8, white on black."""
    scale = capital_px / _CAPITAL_PX
    pitch, edge = round(1.6 * capital_px), round(0.4 * capital_px)
    widths = [cv2.getTextSize(line, _FONT, scale, 1)[0][0] for line in lines]
    image = np.zeros((pitch * len(lines) + edge, max(widths) + 2 * edge), np.uint8)
    for row, line in enumerate(lines):
        foot = (edge, round((row + 1) * pitch - 0.15 * capital_px))
        cv2.putText(image, line, foot, _FONT, scale, 255, 1, cv2.LINE_AA)
    return image


def _measure_cells(image: np.ndarray) -> np.ndarray:
    """(H // 8, W // 8) float32: mean grey of each square."""
    rows, columns = image.shape[0] // CELL, image.shape[1] // CELL
    if rows == 0 or columns == 0:
        return np.zeros((0, 0), np.float32)
    grey = cv2.cvtColor(image[: rows * CELL, : columns * CELL].astype(np.float32), cv2.COLOR_RGB2GRAY)  # BT.601
    return cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA)


def _climb(cells: np.ndarray) -> np.ndarray:
    """Difference of each square to the nearest value of its ladder, black and white excluded."""
    foot = _read_key(cells)
    lowest, highest = np.ceil((1 - foot) / RUNG), np.floor((254 - foot) / RUNG)
    return foot + RUNG * np.clip(np.rint((cells - foot) / RUNG), lowest, highest) - cells


def _read_key(cells: np.ndarray) -> np.ndarray:
    """Offset of the ladder of each square, in grey levels, independent of the image size."""
    rows, columns = cells.shape
    return np.resize(_draw_key(), (max(rows, 512), 512))[:rows, np.arange(columns) % 512]


@cache
def _draw_key() -> np.ndarray:
    chance = np.random.default_rng(zlib.crc32(WORDS.encode()))
    return chance.uniform(0, RUNG, size=(512, 512)).astype(np.float32)


PICTURE_OPTIONS = {"preset": "veryfast", "threads": "1"}  # one thread: the same bytes each time
QUALITY, FINE_QUALITY = "16", "10"  # x264's constant rate factors
LITTLE_ROOM = 1000  # squares of the mark; fewer ones need a finer encoding
SOUND_BITS_PER_S = 64_000
CHUNK = 1024  # samples handed to the sound encoder at once
TAG = f"{WORDS}: made by Wayspeak's forgery bench. Nobody in it did or said this."


def write_marked_clip(
    path: Path, frames: Iterable[np.ndarray], mark: Mark, rate: Fraction, sound: SpeechClip | None, about: str
) -> int:
    """Write marked frames (H, W, 3) uint8 RGB as H.264 and audio as AAC in MP4; return the number of frames.

    Raises UNMARKED_FRAME for a frame without the mark, NotForgeable where too little of it survives the encoder,
    ValueError without frames. The file is complete or absent.
    """
    partial = path.with_name(path.name + ".part")
    try:
        count = _encode(partial, frames, mark, rate, sound, about)
        _check_file(partial, count)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _encode(
    path: Path, frames: Iterable[np.ndarray], mark: Mark, rate: Fraction, sound: SpeechClip | None, about: str
) -> int:
    count = 0
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as out:
        out.metadata.update(title=WORDS, comment=f"{TAG} Kind: {about}.")
        quality = {"crf": QUALITY if mark.room > LITTLE_ROOM else FINE_QUALITY}
        picture = out.add_stream("libx264", rate=rate, options=PICTURE_OPTIONS | quality)
        picture.width, picture.height = mark.size_px
        picture.pix_fmt = "yuv420p" if picture.width % 2 == 0 and picture.height % 2 == 0 else "yuv444p"
        voice = out.add_stream("aac", SAMPLE_RATE, layout="mono", bit_rate=SOUND_BITS_PER_S) if sound else None
        for image in frames:
            mark.check(image)
            out.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            count += 1
        if count == 0:
            raise ValueError("no frame to write")
        out.mux(picture.encode())
        if voice is not None and sound is not None:
            for frame in _cut_sound(sound, round(count / rate * SAMPLE_RATE)):
                out.mux(voice.encode(frame))
            out.mux(voice.encode())
    return count


def _cut_sound(sound: SpeechClip, length: int) -> Iterator[av.AudioFrame]:
    """Yield the audio from its first to its last present sample, at most `length` samples from the first frame."""
    there = np.flatnonzero(sound.present[:length])
    if len(there) == 0:
        return
    for start in range(int(there[0]), int(there[-1]) + 1, CHUNK):
        samples = np.ascontiguousarray(sound.samples[None, start : min(start + CHUNK, int(there[-1]) + 1)])
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
        yield frame


def _check_file(path: Path, count: int) -> None:
    """Decode every frame and detect its mark."""
    with av.open(str(path)) as written:
        found = [find_watermark(frame.to_ndarray(format="rgb24")) for frame in written.decode(video=0)]
    if len(found) != count:
        raise ValueError(f"{count} frames were written and {len(found)} are in the file")
    if not all(found):
        raise NotForgeable(
            f"The encoder left too little of the watermark in {len(found) - sum(found)} of {len(found)} frames.",
            "Use a clip with more picture around the face.",
        )
