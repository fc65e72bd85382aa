"""The silence before and after the sound of a clip: some collections of forgeries can be told by it alone.

In FakeAVCeleb and AV-Deepfake1M the sound of forged clips begins with a brief silence (Smeu et al., CVPR 2025), by
which a detector is flattered that looks at no face. A figure without it is told from the rows that were kept.
"""

import numpy as np

from engine.evaluation.trials import MIN_FRAMES, Encode, TrialClip, cut_span
from engine.speech.filterbanks import FILTERS, MEL_BANDS, MEL_FLOOR, STEPS_PER_FRAME
from engine.types import FPS

QUIET = 15.0
"""Times the floor: the mean power in the bands below which a step of 10 ms is silent. White noise that hardly reaches
0.0005, the threshold of Smeu et al., has so much; see the test."""


def find_sound(speech: np.ndarray) -> tuple[int, int]:
    """First frame with sound, and the one after the last; (0, 0) where all is silent.

    `speech` (T, 160) are rows of `speech.log_mel`. Rows of AV-HuBERT are normalised one by one and tell no level: for
    (T, 104) every frame counts as sound but those in which all numbers are alike.
    """
    if speech.shape[1] == STEPS_PER_FRAME * FILTERS:
        loud = np.ptp(speech, axis=1) > 0
    else:
        steps = np.exp(speech.astype(np.float64)).reshape(len(speech), STEPS_PER_FRAME, MEL_BANDS).mean(axis=2)
        loud = steps.max(axis=1) > (1 + QUIET) * MEL_FLOOR
    there = np.flatnonzero(loud)
    return (int(there[0]), int(there[-1]) + 1) if len(there) else (0, 0)


def measure_leading_silence(clip: TrialClip) -> float:
    """Seconds before the first sound; the whole length where there is none."""
    first, last = find_sound(clip.speech)
    return (first if last else len(clip.mask)) / FPS


def trim_silence(clip: TrialClip, encode: Encode) -> TrialClip | None:
    """Cut the silence at both ends away, and one frame more where there was some; None where too little is left.

    Face and sound are cut alike and embedded anew, so that nothing of what was cut leaks in.
    """
    first, last = find_sound(clip.speech)
    first += 1 if first else 0
    last -= 1 if last < len(clip.mask) else 0
    if last - first < MIN_FRAMES:
        return None
    span = slice(first, last)
    return clip if last - first == len(clip.mask) else cut_span(clip, span, span, encode)
