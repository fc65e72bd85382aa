"""Generate tiny media files with the time encoded in every frame, and a flash and a beep at one instant.

In the upright picture a bright bar moves from left to right through the upper half, so `read_time` gives the time a
picture was made for; the lower half is dark but for the flash. The beep begins at the flash's first picture.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

RATES = {
    "23.976": Fraction(24000, 1001),
    "25": Fraction(25),
    "29.97": Fraction(30000, 1001),
    "50": Fraction(50),
    "60": Fraction(60),
}
CODECS = {  # picture, sound
    ".mp4": ("libx264", "aac"),
    ".mov": ("libx264", "aac"),
    ".mkv": ("libx264", "ac3"),
    ".webm": ("libvpx", "libopus"),
    ".avi": ("mpeg4", "pcm_s16le"),
    ".mpg": ("mpeg2video", "mp2"),
    ".ts": ("libx264", "aac"),
}
SOUND_RATE = 48_000
CHUNK = 960  # samples handed to the sound encoder at once
TICKS = 90_000  # a second of picture time where the rate varies
BAR = 0.05  # its width, as a share of the picture's
FLASH_S = 1.0  # the flash is the first picture not before it
BEEP_S = 0.1
BEEP_HZ = 1000.0
PICTURE_OPTIONS = {"libx264": {"preset": "ultrafast", "crf": "18"}, "libvpx": {"deadline": "realtime", "cpu-used": "8"}}


@dataclass(frozen=True, slots=True)
class Film:
    """What to make; times in seconds after the first picture."""

    duration_s: float = 1.6
    rate: Fraction = RATES["25"]
    times_s: tuple[float, ...] = ()  # when pictures are due, instead of `rate`
    size_px: tuple[int, int] = (160, 120)  # upright
    turn: int = 0  # degrees anticlockwise that a player has to turn the stored picture
    aspect: Fraction = Fraction(1)  # of a stored pixel
    layout: str | None = "stereo"  # None: no sound
    silent: bool = False
    sound_from_s: float = 0.0  # the stream has nothing before
    gap_s: tuple[float, float] = (0.0, 0.0)  # the stream has nothing between
    repeat: int = 1  # each frame is repeated this often with the same encoded time
    cut_s: float = 0.0  # an edit list hides everything earlier
    codecs: tuple[str, str] | None = None
    options: tuple[tuple[str, str], ...] = ()  # of the container
    picture_options: tuple[tuple[str, str], ...] = ()

    @property
    def picture_times_s(self) -> tuple[float, ...]:
        """When each picture is due."""
        count = round(self.duration_s * self.rate)
        return self.times_s or tuple(float(number / self.rate) for number in range(count))

    @property
    def flash_s(self) -> float:
        """When the flash and the beep begin."""
        return next(time for time in self.picture_times_s if time >= FLASH_S - 1e-9)


def draw_picture(time_s: float, film: Film) -> np.ndarray:
    """(H, W, 3) uint8, upright."""
    width, height = film.size_px
    image = np.full((height, width, 3), 16, np.uint8)
    left = round(time_s / film.duration_s * (1 - BAR) * width)
    image[: height // 2, left : left + max(2, round(BAR * width))] = 235
    if film.flash_s - 1e-9 <= time_s < film.flash_s + BEEP_S:
        image[height // 2 :] = 235
    return image


def read_time(image: np.ndarray, film: Film) -> float:
    """Read the time encoded in a decoded, upright frame, in seconds, within 2 % of the duration."""
    upper = image[: image.shape[0] // 2 - 4].mean(axis=(0, 2)) > 100
    assert upper.any(), "no bar in the upper half: the picture is not upright"
    return float(np.flatnonzero(upper)[0] / image.shape[1] / (1 - BAR) * film.duration_s)


def is_flash(image: np.ndarray) -> bool:
    """Is the lower half lit?"""
    return bool(image[image.shape[0] // 2 + 4 :].mean() > 128)


def draw_sound(film: Film) -> np.ndarray:
    """(C, n) float32 at 48 kHz: the beep in every channel but the low-frequency one, over faint noise."""
    times = np.arange(round(film.duration_s * SOUND_RATE)) / SOUND_RATE
    beeping = (times >= film.flash_s) & (times < film.flash_s + BEEP_S)
    mono = 0.5 * np.sin(2 * np.pi * BEEP_HZ * (times - film.flash_s)) * beeping
    mono += 0.001 * np.random.default_rng(0).normal(size=len(times))
    names = [channel.name for channel in av.AudioLayout(film.layout or "mono").channels]
    loud = np.array([[0.0 if film.silent or name == "LFE" else 1.0] for name in names])
    return (loud * mono).astype(np.float32)


def write_clip(path: Path, film: Film | None = None) -> Path:
    """Encode the film in the container that the path's suffix names."""
    film = film or Film()
    picture_codec, sound_codec = film.codecs or CODECS[path.suffix]
    with av.open(str(path), "w", options=dict(film.options)) as container:
        video = _add_pictures(container, picture_codec, film)
        audio = container.add_stream(sound_codec, SOUND_RATE, layout=film.layout) if film.layout else None
        for number, time in enumerate(film.picture_times_s):
            image = draw_picture(film.picture_times_s[number // film.repeat * film.repeat], film)
            turned = np.ascontiguousarray(np.rot90(image, -film.turn // 90))
            frame = av.VideoFrame.from_ndarray(turned, "rgb24")
            frame.time_base = video.codec_context.time_base
            frame.pts = round((time - film.cut_s) / frame.time_base)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            _write_sound(container, audio, film)
    return path


def write_sound_file(path: Path) -> Path:
    """A file with sound alone."""
    film = Film()
    codec = "pcm_s16le" if path.suffix == ".wav" else "aac"
    with av.open(str(path), "w") as container:
        _write_sound(container, container.add_stream(codec, SOUND_RATE, layout=film.layout), film)
    return path


def write_cover(path: Path) -> Path:
    """A song with the picture of its cover."""
    film = Film()
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", 1)
        cover.width, cover.height = film.size_px
        cover.pix_fmt, cover.disposition = "yuvj420p", Disposition.attached_pic
        audio = container.add_stream("aac", SOUND_RATE, layout=film.layout)
        frame = av.VideoFrame.from_ndarray(draw_picture(0.0, film), "rgb24")
        frame.pts, frame.time_base = 0, Fraction(1)
        container.mux([*cover.encode(frame), *cover.encode(None)])
        _write_sound(container, audio, film)
    return path


def write_half(whole: Path, path: Path, share: float = 0.5) -> Path:
    """The first bytes of a file, as of a download that broke off."""
    data = whole.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def _add_pictures(container: av.container.OutputContainer, codec: str, film: Film) -> av.VideoStream:
    options = PICTURE_OPTIONS.get(codec, {}) | dict(film.picture_options)
    video = container.add_stream(codec, film.rate, options=options)
    width, height = film.size_px
    video.width, video.height = (height, width) if film.turn % 180 else (width, height)
    video.pix_fmt = "yuv420p" if width % 2 == 0 and height % 2 == 0 else "yuv444p"
    video.gop_size = 10
    video.bit_rate = 2_000_000
    video.codec_context.sample_aspect_ratio = film.aspect
    video.codec_context.time_base = Fraction(1, TICKS) if film.times_s else 1 / film.rate
    if film.turn:
        video.set_display_rotation(film.turn)
    return video


def _write_sound(container: av.container.OutputContainer, audio: av.AudioStream, film: Film) -> None:
    for frame in _cut_sound(draw_sound(film), film):
        start_s = frame.pts / SOUND_RATE + film.cut_s
        if start_s >= film.sound_from_s and not film.gap_s[0] <= start_s < film.gap_s[1]:
            container.mux(audio.encode(frame))
    container.mux(audio.encode(None))


def _cut_sound(sound: np.ndarray, film: Film) -> Iterator[av.AudioFrame]:
    for start in range(round(film.sound_from_s * SOUND_RATE), sound.shape[1], CHUNK):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[:, start : start + CHUNK]), "fltp", film.layout)
        frame.sample_rate, frame.time_base = SOUND_RATE, Fraction(1, SOUND_RATE)
        frame.pts = start - round(film.cut_s * SOUND_RATE)
        yield frame
