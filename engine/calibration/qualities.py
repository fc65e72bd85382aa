"""Quality covariates of a consistency calibration: how much was compared, and how well it was seen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from engine.types import FPS

LEAST = 0.04  # of seconds and pixels before the logarithm: one frame, in seconds
LEAST_MOTION = 1e-3  # of the lip gap; a filmed mouth that speaks moves ten times as much


@dataclass(frozen=True, slots=True)
class SpeechQuality:
    """Measurements of the speech of one face that is compared."""

    speech_s: float = 0.0  # seconds with speech and a visible mouth in a moving picture
    face_px: float = 0.0  # median width of the face
    mouth_motion: float = 0.0  # standard deviation of the lip gap during speech, over the distance of the eye corners


def measure_quality(spoken: np.ndarray, gap: np.ndarray, face_px: float) -> SpeechQuality:
    """Measure a face with the lip gap (T,) by its frames with speech, `spoken` (T,) bool."""
    motion = float(gap[spoken].std()) if spoken.any() else 0.0
    return SpeechQuality(int(spoken.sum()) / FPS, face_px, motion)


SPEECH, FACE, MOTION = "log speech seconds", "log face size", "log mouth motion"
QUALITIES: Mapping[str, Callable[[SpeechQuality], float]] = {
    SPEECH: lambda one: float(np.log(max(one.speech_s, LEAST))),
    FACE: lambda one: float(np.log(max(one.face_px, LEAST))),
    MOTION: lambda one: float(np.log(max(one.mouth_motion, LEAST_MOTION))),
}
"""Covariates by name: natural logarithms, in the fit and in its application."""
