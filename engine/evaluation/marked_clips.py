"""The only way by which a forged picture reaches a file: every frame is checked for its mark, and the file once more.

There is no switch. A frame without the mark raises, and nothing is left under the file's name.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from engine.errors import NotForgeable
from engine.evaluation.dubbing import Sound
from engine.evaluation.watermark import WORDS, Mark, find_watermark
from engine.types import SAMPLE_RATE

PICTURE_OPTIONS = {"preset": "veryfast", "threads": "1"}  # one thread: the same bytes each time
QUALITY, FINE_QUALITY = "16", "10"  # x264's constant rate factors
LITTLE_ROOM = 1000  # squares of the mark; with fewer each has to outlive the encoder better
SOUND_BITS_PER_S = 64_000
CHUNK = 1024  # samples handed to the sound encoder at once
TAG = f"{WORDS}: made by Wayspeak's forgery bench. Nobody in it did or said this."


def write_marked_clip(
    path: Path, frames: Iterable[np.ndarray], mark: Mark, rate: Fraction, sound: Sound | None, about: str
) -> int:
    """Write marked frames (H, W, 3) uint8 RGB as H.264, the sound as AAC, in MP4; returns how many frames there are.

    Raises UNMARKED_FRAME for a frame without the mark, NotForgeable where too little of it outlives the encoder,
    ValueError where there is no frame. The file is whole or not there.
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
    path: Path, frames: Iterable[np.ndarray], mark: Mark, rate: Fraction, sound: Sound | None, about: str
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


def _cut_sound(sound: Sound, length: int) -> Iterator[av.AudioFrame]:
    """Frames of the sound from where it begins to where it ends, at most `length` samples after the first picture."""
    there = np.flatnonzero(sound.present[:length])
    if len(there) == 0:
        return
    for start in range(int(there[0]), int(there[-1]) + 1, CHUNK):
        samples = np.ascontiguousarray(sound.samples[None, start : min(start + CHUNK, int(there[-1]) + 1)])
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
        yield frame


def _check_file(path: Path, count: int) -> None:
    """Read every picture back and look for its mark."""
    with av.open(str(path)) as written:
        found = [find_watermark(frame.to_ndarray(format="rgb24")) for frame in written.decode(video=0)]
    if len(found) != count:
        raise ValueError(f"{count} frames were written and {len(found)} are in the file")
    if not all(found):
        raise NotForgeable(
            f"The encoder left too little of the watermark in {len(found) - sum(found)} of {len(found)} frames.",
            "Use a clip with more picture around the face.",
        )
