"""Voice activity detection with silero-vad, and audio level."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from engine.types import SAMPLE_RATE, SAMPLES_PER_FRAME
from engine.weights import registry


@dataclass(frozen=True, slots=True)
class VoiceOptions:
    """Options of voice activity detection; the defaults are those of silero-vad."""

    recipe_name: ClassVar = "VoiceOptions"

    threshold: float = 0.5  # probability of speech in 32 ms
    min_speech_ms: int = 250  # shorter bursts are dropped
    min_silence_ms: int = 100  # shorter pauses are bridged
    pad_ms: int = 30  # added on both sides of a speech segment


class VoiceDetector:
    """silero-vad (MIT, code and weights) with the network of its package; run one call at a time."""

    def __init__(
        self, network: torch.nn.Module, find_segments: Callable[..., list[dict[str, int]]], options: VoiceOptions
    ):
        self._network = network
        self._find_segments = find_segments
        self.options = options

    @classmethod
    def load(cls, path: Path | None = None, options: VoiceOptions = VoiceOptions()) -> "VoiceDetector":
        """Load the network, by default the verified file of the installed package."""
        path = path or registry.silero_vad()
        threads = torch.get_num_threads()
        from silero_vad import utils_vad  # here, because importing it sets torch to one thread for the whole process

        torch.set_num_threads(threads)
        return cls(utils_vad.init_jit_model(str(path)), utils_vad.get_speech_timestamps, options)

    def find_speech(self, audio: np.ndarray) -> np.ndarray:
        """Return (T,) bool: speech fills at least half of the video frame.

        `audio` is (N,) float32 in [-1, 1] at 16 kHz, T = N // 640. Voices of all speakers and languages count; singing
        may count too.
        """
        n_frames = len(audio) // SAMPLES_PER_FRAME
        if n_frames == 0:
            return np.zeros(0, bool)
        spoken = np.zeros(n_frames * SAMPLES_PER_FRAME, bool)
        with _one_thread():
            segments = self._find_segments(
                torch.from_numpy(np.array(audio, np.float32)),
                self._network,
                sampling_rate=SAMPLE_RATE,
                threshold=self.options.threshold,
                min_speech_duration_ms=self.options.min_speech_ms,
                min_silence_duration_ms=self.options.min_silence_ms,
                speech_pad_ms=self.options.pad_ms,
            )
        for segment in segments:
            spoken[segment["start"] : segment["end"]] = True
        return spoken.reshape(n_frames, SAMPLES_PER_FRAME).mean(axis=1) >= 0.5


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit torch to one thread within the context.

    The network runs tens of thousands of tiny steps. Two threads on two busy cores wait for each other at every step:
    85 s for 20 s of audio instead of 0.8.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def level_dbfs(audio: np.ndarray) -> float:
    """Return the RMS level in dBFS: 0 for a constant 1, -3 for a full-scale sine, -inf for no audio or all zeros."""
    power = float(np.mean(np.square(audio, dtype=np.float64))) if len(audio) else 0.0
    return float(10 * np.log10(power)) if power > 0 else float("-inf")
