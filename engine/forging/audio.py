"""Manipulate audio: swap, shift, synthesise, or replace a segment."""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.signal import resample_poly

from engine.synthesis.tts import Speech, Voice, join, pause, speak
from engine.types import SAMPLE_RATE

FADE_S = 0.01  # at both ends of a replaced segment, against clicks
MAX_GAIN = 10.0
QUIET = 1e-4  # RMS below which there is no level to match
VOICES = tuple(f"en-us+{name}" for name in ("f2", "f3", "f5", "m1", "m3", "m7"))
TEXTS = (
    "The council will meet again on Thursday to talk about the new bridge over the river.",
    "Most people who were asked said that they would rather travel by train than by car.",
    "We have looked at the figures of last year, and they are better than anybody had hoped.",
    "Heavy rain is expected in the mountains, and the roads near the border may be closed.",
    "A young painter from the village has won the first prize for a picture of her mother.",
    "Before you open the window, make sure that both of the lamps have been put away.",
)


@dataclass(frozen=True, slots=True, eq=False)
class SpeechClip:
    """Mono audio that begins at the time of the first frame."""

    samples: np.ndarray  # (N,) float32 in [-1, 1], 16 kHz
    present: np.ndarray  # (N,) bool: False where the source has no audio

    def __post_init__(self) -> None:
        if self.samples.shape != self.present.shape:
            raise ValueError(f"samples {self.samples.shape} and present {self.present.shape} differ")

    @property
    def level(self) -> float:
        """RMS of the present samples."""
        audible = self.samples[self.present]
        return float(np.sqrt(np.mean(np.square(audible, dtype=np.float64)))) if len(audible) else 0.0

    def cut(self, first: int, length: int) -> "SpeechClip":
        """Return exactly `length` samples from `first` on, which may be negative, padded with absent samples."""
        samples, present = np.zeros(length, np.float32), np.zeros(length, bool)
        start, stop = max(first, 0), min(first + length, len(self.samples))
        if start < stop:
            samples[start - first : stop - first] = self.samples[start:stop]
            present[start - first : stop - first] = self.present[start:stop]
        return SpeechClip(samples, present)


def shift_sound(sound: SpeechClip, offset_s: float) -> SpeechClip:
    """Delay the audio by `offset_s`, advance it where negative; samples beyond the ends are lost."""
    return sound.cut(-round(offset_s * SAMPLE_RATE), len(sound.samples))


def match_level(sound: SpeechClip, wanted: SpeechClip | None) -> SpeechClip:
    """Match the RMS of another clip, without clipping."""
    if wanted is None or sound.level < QUIET or wanted.level < QUIET:
        return sound
    loudest = float(np.abs(sound.samples).max())
    gain = min(wanted.level / sound.level, MAX_GAIN, 0.99 / loudest)
    return replace(sound, samples=(sound.samples * gain).astype(np.float32))


def replace_segment(
    sound: SpeechClip, other: SpeechClip, start_s: float, end_s: float, fade_s: float = FADE_S
) -> SpeechClip:
    """Replace the audio between two times by that of `other`, cross-faded within `fade_s` around each of them."""
    times = np.arange(len(sound.samples)) / SAMPLE_RATE
    share = np.clip(np.minimum(times - start_s, end_s - times) / fade_s + 0.5, 0, 1).astype(np.float32)  # (N,)
    patch = other.cut(0, len(sound.samples))
    samples = sound.samples * (1 - share) + patch.samples * share
    return SpeechClip(samples, np.where(share > 0.5, patch.present, sound.present))


def synthesise_speech(n_samples: int, chance: np.random.Generator) -> tuple[SpeechClip, str]:
    """Synthesise random sentences of a random voice to a length; return the audio and the voice name."""
    voice = Voice(str(chance.choice(VOICES)), int(chance.integers(135, 175)), int(chance.integers(40, 65)))
    parts: list[Speech] = []
    order = list(chance.permutation(len(TEXTS)))
    while sum(part.duration_s for part in parts) * SAMPLE_RATE < n_samples:
        parts.append(speak(TEXTS[order[len(parts) // 2 % len(order)]], voice))
        parts.append(pause(0.3, parts[0].rate_hz))
    spoken = join(parts)
    common = math.gcd(spoken.rate_hz, SAMPLE_RATE)
    samples = resample_poly(spoken.audio, SAMPLE_RATE // common, spoken.rate_hz // common)[:n_samples]
    return SpeechClip(samples.astype(np.float32), np.ones(len(samples), bool)).cut(0, n_samples), voice.name
