"""Perturb clips: seven perturbations of the image and seven of the audio, each at five levels.

Image: the perturbations of DeeperForensics (Jiang et al., CVPR 2020) with its parameters, as SpeechForensics (Liang et
al., NeurIPS 2024, figure 2) uses them. Audio: levels of our own, from barely audible to barely intelligible. The random
seed depends on the clip, the kind and the level alone.
"""

import io
import zlib
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from fractions import Fraction
from typing import cast

import av
import cv2
import numpy as np
from av.audio.stream import AudioStream
from scipy.signal import butter, fftconvolve, istft, resample, sosfiltfilt, stft

from engine.types import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, Clip, Frame

VERSION = 1
"""Increase it when the same clip, kind and level would produce other images or audio."""
BLOCK = 8  # side of a grey block in pixels
SHORT_SIDE = 256  # side in pixels of the image that the number of blocks refers to
CODED_CHUNK = 1024  # samples per encoder call
MAX_LAG_S = 0.2  # longest delay of an encoder


class Perturbation(StrEnum):
    """Kind of perturbation."""

    SATURATION = "saturation"
    CONTRAST = "contrast"
    BLOCKS = "block-wise"
    PICTURE_NOISE = "Gaussian noise"
    BLUR = "Gaussian blur"
    PIXELATION = "pixelation"
    COMPRESSION = "compression"
    SOUND_NOISE = "noise in the sound"
    REVERBERATION = "reverberation"
    MP3 = "MP3"
    AAC = "AAC"
    OPUS = "Opus"
    PITCH = "pitch"
    BAND_LIMIT = "band-limit"


LEVELS: dict[Perturbation, tuple[float, ...]] = {
    Perturbation.SATURATION: (0.4, 0.3, 0.2, 0.1, 0.0),  # share of the colour kept
    Perturbation.CONTRAST: (0.85, 0.725, 0.6, 0.475, 0.35),  # share of the brightness kept
    Perturbation.BLOCKS: (16, 32, 48, 64, 80),  # grey blocks
    Perturbation.PICTURE_NOISE: (0.001, 0.002, 0.005, 0.01, 0.05),  # variance
    Perturbation.BLUR: (7, 9, 13, 17, 21),  # kernel size in pixels, six standard deviations
    Perturbation.PIXELATION: (2, 3, 4, 5, 6),  # downsampling factor
    Perturbation.COMPRESSION: (30, 32, 35, 38, 40),  # CRF of H.264
    Perturbation.SOUND_NOISE: (20, 15, 10, 5, 0),  # SNR in dB, white noise
    Perturbation.REVERBERATION: (0.2, 0.4, 0.6, 0.9, 1.3),  # RT60 in seconds
    Perturbation.MP3: (64, 32, 24, 16, 8),  # kbit/s
    Perturbation.AAC: (64, 32, 24, 16, 8),
    Perturbation.OPUS: (64, 32, 16, 8, 6),
    Perturbation.PITCH: (1, 2, 4, 7, 10),  # semitones higher
    Perturbation.BAND_LIMIT: (6000, 4000, 2500, 1500, 800),  # Hz
}
UNITS: dict[Perturbation, str] = {
    Perturbation.SOUND_NOISE: "dB",
    Perturbation.REVERBERATION: "s",
    Perturbation.MP3: "kbit/s",
    Perturbation.AAC: "kbit/s",
    Perturbation.OPUS: "kbit/s",
    Perturbation.PITCH: "semitones",
    Perturbation.BAND_LIMIT: "Hz",
    Perturbation.COMPRESSION: "CRF",
    Perturbation.BLUR: "px",
}
OF_PICTURE = tuple(LEVELS)[:7]
OF_SOUND = tuple(LEVELS)[7:]
ENCODERS = {  # container, encoder
    Perturbation.MP3: ("mp3", "libmp3lame"),
    Perturbation.AAC: ("adts", "aac"),
    Perturbation.OPUS: ("ogg", "libopus"),
}


def perturb(clip: Clip, kind: Perturbation, level: int) -> Clip:
    """Perturb the images or the audio of a clip at level 1 to 5; its timing stays."""
    strength = LEVELS[kind][level - 1]
    seed = zlib.crc32(f"{clip.sha256} {kind} {level}".encode())
    if kind in OF_SOUND:
        return replace(clip, audio=perturb_sound(clip.audio, kind, strength, seed))
    if kind == Perturbation.COMPRESSION:
        return replace(clip, read_frames=lambda: compress_frames(clip.read_frames(), int(strength)))

    def read_frames() -> Iterator[Frame]:
        rng = np.random.default_rng(seed)
        for frame in clip.read_frames():
            yield replace(frame, image=perturb_picture(frame.image, kind, strength, rng))

    return replace(clip, read_frames=read_frames)


def cut_clip(clip: Clip, seconds: float) -> Clip:
    """Keep the first `seconds` of a clip and of its audio; other tracks and channels are left out."""
    n_frames = min(clip.n_frames, round(seconds * FPS))

    def read_frames() -> Iterator[Frame]:
        for frame in clip.read_frames():
            if frame.index >= n_frames:
                return
            yield frame

    return replace(
        clip,
        n_frames=n_frames,
        duration_s=n_frames / FPS,
        audio=clip.audio[: n_frames * SAMPLES_PER_FRAME].copy(),
        audio_present=clip.audio_present[:n_frames].copy(),
        read_frames=read_frames,
        signals=(),
        split={},
        read_channel=None,
    )


def perturb_picture(image: np.ndarray, kind: Perturbation, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Perturb one image (H, W, 3) uint8 RGB."""
    height, width = image.shape[:2]
    if kind == Perturbation.SATURATION:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
        return _to_bytes(grey + strength * (image - grey))
    if kind == Perturbation.CONTRAST:
        return _to_bytes(image * np.float32(strength))
    if kind == Perturbation.BLOCKS:
        return _cover(image, int(strength) * max(1, min(height, width) // SHORT_SIDE), rng)
    if kind == Perturbation.PICTURE_NOISE:
        return _add_noise(image, strength, rng)
    if kind == Perturbation.BLUR:
        return cv2.GaussianBlur(image, (int(strength), int(strength)), strength / 6)
    if kind == Perturbation.PIXELATION:
        small = cv2.resize(image, (max(1, width // int(strength)), max(1, height // int(strength))))
        return cv2.resize(small, (width, height))
    raise ValueError(f"{kind} is not a perturbation of one image")


def compress_frames(frames: Iterator[Frame], crf: int) -> Iterator[Frame]:
    """Encode frames as H.264 and decode them again; odd sides lose a pixel, which is padded afterwards."""
    kept, coded = [], io.BytesIO()
    with av.open(coded, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": str(crf)})
        for frame in frames:
            kept.append((frame.index, frame.is_new, frame.image.shape))
            height, width = (side // 2 * 2 for side in frame.image.shape[:2])
            if len(kept) == 1:
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.image[:height, :width]), format="rgb24")
            picture.pts, picture.time_base = len(kept) - 1, Fraction(1, FPS)
            container.mux(stream.encode(picture))
        if kept:
            container.mux(stream.encode())
    coded.seek(0)
    if not kept:
        return
    with av.open(coded, "r") as decoded:
        for (index, is_new, shape), picture in zip(kept, decoded.decode(video=0), strict=True):
            image = picture.to_ndarray(format="rgb24")
            margin = [(0, shape[0] - image.shape[0]), (0, shape[1] - image.shape[1]), (0, 0)]
            yield Frame(index, np.pad(image, margin, "edge"), is_new)


def perturb_sound(audio: np.ndarray, kind: Perturbation, strength: float, seed: int = 0) -> np.ndarray:
    """Perturb audio (N,) float32 at 16 kHz; length and timing stay."""
    rng, sound = np.random.default_rng(seed), audio.astype(np.float64)
    if not sound.any():
        return audio
    if kind == Perturbation.SOUND_NOISE:
        level = np.sqrt(np.square(sound).mean()) / 10 ** (strength / 20)
        changed = sound + rng.normal(0, level, len(sound))
    elif kind == Perturbation.REVERBERATION:
        changed = _reverberate(sound, strength, rng)
    elif kind == Perturbation.PITCH:
        changed = _raise_pitch(sound, strength)
    elif kind == Perturbation.BAND_LIMIT:
        changed = sosfiltfilt(butter(6, strength, fs=SAMPLE_RATE, output="sos"), sound)
    elif kind in ENCODERS:
        changed = _align(_code(audio, *ENCODERS[kind], int(strength)), sound)
    else:
        raise ValueError(f"{kind} is not a perturbation of audio")
    return np.clip(changed, -1, 1).astype(np.float32)


def _to_bytes(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0, 255).astype(np.uint8)


def _cover(image: np.ndarray, n_blocks: int, rng: np.random.Generator) -> np.ndarray:
    covered = image.copy()
    tops = rng.integers(0, max(1, image.shape[0] - BLOCK), n_blocks)
    lefts = rng.integers(0, max(1, image.shape[1] - BLOCK), n_blocks)
    for top, left in zip(tops, lefts, strict=True):
        covered[top : top + BLOCK, left : left + BLOCK] = 128
    return covered


def _add_noise(image: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """Add noise in limited-range YCbCr, as DeeperForensics does: 219 steps of luma and 224 of chroma."""
    turned = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb)
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(np.sqrt(variance))
    turned = turned + noise * np.array([255 / 219, 255 / 224, 255 / 224], np.float32)
    return _to_bytes(cv2.cvtColor(turned, cv2.COLOR_YCrCb2RGB) * 255)


def _reverberate(sound: np.ndarray, rt60_s: float, rng: np.random.Generator) -> np.ndarray:
    """Convolve with decaying noise after the direct sound, of the same energy (Moorer 1979); the level stays."""
    time_s = np.arange(round(rt60_s * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.normal(size=len(time_s)) * 10 ** (-3 * time_s / rt60_s)
    tail /= np.sqrt(np.square(tail).sum())
    tail[0] = 1.0
    changed = fftconvolve(sound, tail)[: len(sound)]
    return np.asarray(changed * np.sqrt(np.square(sound).mean() / np.square(changed).mean()))


def _raise_pitch(sound: np.ndarray, semitones: float) -> np.ndarray:
    """Stretch time by a phase vocoder (Flanagan & Golden 1966) and resample to the original length."""
    size, hop, factor = 1024, 256, 2 ** (semitones / 12)
    spectrum = stft(sound, nperseg=size, noverlap=size - hop)[2]  # (bins, steps)
    places = np.arange(0, spectrum.shape[1] - 1, 1 / factor)
    below, share = places.astype(int), places % 1
    magnitude = (1 - share) * np.abs(spectrum[:, below]) + share * np.abs(spectrum[:, below + 1])
    due = 2 * np.pi * hop * np.arange(len(spectrum))[:, None] / size
    turn = np.angle(spectrum[:, below + 1]) - np.angle(spectrum[:, below]) - due
    turn = due + turn - 2 * np.pi * np.round(turn / (2 * np.pi))
    phase = np.angle(spectrum[:, :1]) + np.cumsum(turn, axis=1) - turn
    stretched = istft(magnitude * np.exp(1j * phase), nperseg=size, noverlap=size - hop)[1]
    return np.asarray(resample(stretched[: round(len(sound) * factor)], len(sound)))


def _code(audio: np.ndarray, container_name: str, encoder: str, kbits: int) -> np.ndarray:
    """Encode and decode audio; return (M,) float64 with the delay of the encoder."""
    coded = io.BytesIO()
    with av.open(coded, "w", format=container_name) as container:
        stream = cast(AudioStream, container.add_stream(encoder, rate=SAMPLE_RATE, layout="mono"))
        stream.bit_rate = 1000 * kbits
        fifo = av.AudioResampler(format=stream.format, layout="mono", rate=SAMPLE_RATE)
        for start in range(0, len(audio), CODED_CHUNK):
            piece = audio[None, start : start + CODED_CHUNK].astype(np.float32)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
            for ready in fifo.resample(frame):
                container.mux(stream.encode(ready))
        container.mux(stream.encode())
    coded.seek(0)
    plain = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    with av.open(coded, "r") as decoded:
        pieces = [ready.to_ndarray()[0] for frame in decoded.decode(audio=0) for ready in plain.resample(frame)]
    return np.concatenate([*pieces, np.zeros(0, np.float32)]).astype(np.float64)


def _align(changed: np.ndarray, sound: np.ndarray) -> np.ndarray:
    """Remove the delay of an encoder, as players do, by cross-correlation; return as many samples as `sound`."""
    reach = round(MAX_LAG_S * SAMPLE_RATE)
    padded = np.pad(changed, (reach, max(0, len(sound) + reach - len(changed))))
    likeness = fftconvolve(padded[: len(sound) + 2 * reach], sound[::-1], "valid")
    lag = int(np.argmax(likeness))
    return padded[lag : lag + len(sound)]
