"""Quality covariates from drawn frames with known motion and speech."""

import numpy as np
import pytest

from engine.calibration.qualities import FACE, MOTION, QUALITIES, SPEECH, SpeechQuality, measure_quality


def test_only_frames_with_speech_count() -> None:
    spoken = np.zeros(100, bool)
    spoken[20:70] = True
    gap = np.where(spoken, np.where(np.arange(100) % 2, 0.1, 0.2), 9.0)
    found = measure_quality(spoken, gap, 120.0)
    assert (found.speech_s, found.face_px) == (2.0, 120.0)
    assert found.mouth_motion == pytest.approx(0.05)


def test_covariates_are_natural_logarithms_and_finite_without_speech() -> None:
    found = {name: covariate(SpeechQuality(2.0, 120.0, 0.05)) for name, covariate in QUALITIES.items()}
    assert found == {SPEECH: np.log(2.0), FACE: np.log(120.0), MOTION: np.log(0.05)}
    silent = measure_quality(np.zeros(9, bool), np.ones(9), 0.0)
    assert silent == SpeechQuality()
    assert all(np.isfinite(covariate(silent)) for covariate in QUALITIES.values())
