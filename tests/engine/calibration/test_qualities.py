"""Quality covariates from drawn frames with known speed, loudness and speech."""

import numpy as np
import pytest

from engine.calibration.qualities import CONTRAST, FACE, QUALITIES, SPEECH, SPEED, SpeechQuality, measure_quality


def test_only_frames_with_speech_count() -> None:
    spoken = np.zeros(100, bool)
    spoken[20:70] = True
    gap = np.concatenate([np.arange(20) * 9.0, np.arange(50) * 0.02, np.arange(30) * 9.0])
    loudness, recorded = np.where(spoken, -4.0, -9.0), np.ones(100, bool)
    loudness[90:], recorded[90:] = -99.0, False
    found = measure_quality(spoken, gap, loudness, recorded, 120.0)
    assert (found.speech_s, found.face_px) == (2.0, 120.0)
    assert found.mouth_speed == pytest.approx(0.02) and found.contrast == pytest.approx(5.0)


def test_covariates_are_natural_logarithms_and_finite_without_speech() -> None:
    found = {name: covariate(SpeechQuality(2.0, 120.0, 0.02, 5.0)) for name, covariate in QUALITIES.items()}
    assert found == {SPEECH: np.log(2.0), FACE: np.log(120.0), SPEED: np.log(0.02), CONTRAST: 5.0}
    silent = measure_quality(np.zeros(9, bool), np.ones(9), np.zeros(9), np.ones(9, bool), 0.0)
    assert silent == SpeechQuality()
    assert all(np.isfinite(covariate(silent)) for covariate in QUALITIES.values())
