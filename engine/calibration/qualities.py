"""Quality covariates of a consistency calibration: how much was compared, and how well it was seen and heard."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from engine.types import FPS

LEAST = 0.04  # of seconds and pixels before the logarithm: one frame, in seconds
LEAST_SPEED = 1e-3  # of the lip gap a frame; a filmed mouth that speaks moves ten times as fast
NOISE_FLOOR = 10  # percentile of the loudness of recorded frames taken for the noise between the speech


@dataclass(frozen=True, slots=True)
class SpeechQuality:
    """Measurements of the speech of one face that is compared."""

    speech_s: float = 0.0  # seconds with speech and a visible mouth in a moving picture
    face_px: float = 0.0  # median width of the face
    mouth_speed: float = 0.0  # mean change of the lip gap from frame to frame, over the distance of the eye corners
    contrast: float = 0.0  # natural log of the power of the speech over that of the quietest frames


def measure_quality(
    spoken: np.ndarray, gap: np.ndarray, loudness: np.ndarray, recorded: np.ndarray, face_px: float
) -> SpeechQuality:
    """Measure T frames: `spoken` and `recorded` (T,) bool, lip `gap` (T,), `loudness` (T,) mean log power."""
    both = spoken[1:] & spoken[:-1]
    speed = float(np.abs(np.diff(gap))[both].mean()) if both.any() else 0.0
    contrast = 0.0
    if (spoken & recorded).any():
        contrast = float(loudness[spoken].mean() - np.percentile(loudness[recorded], NOISE_FLOOR))
    return SpeechQuality(int(spoken.sum()) / FPS, face_px, speed, max(0.0, contrast))


SPEECH, FACE, SPEED, CONTRAST = "log speech seconds", "log face size", "log mouth speed", "log speech contrast"
QUALITIES: Mapping[str, Callable[[SpeechQuality], float]] = {
    SPEECH: lambda one: float(np.log(max(one.speech_s, LEAST))),
    FACE: lambda one: float(np.log(max(one.face_px, LEAST))),
    SPEED: lambda one: float(np.log(max(one.mouth_speed, LEAST_SPEED))),
    CONTRAST: lambda one: one.contrast,
}
"""Covariates by name: natural logarithms, in the fit and in its application."""
