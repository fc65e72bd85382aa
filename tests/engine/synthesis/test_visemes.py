"""Speaking manner parameters change the motion of equal phonemes."""

import numpy as np
import pytest

from engine.synthesis.tts import Phoneme
from engine.synthesis.visemes import Manner, move_face
from engine.types import FPS

SOUNDS = tuple(Phoneme(name, 0.2 * i, 0.2 * (i + 1)) for i, name in enumerate(["a", "u", "m", "i", "b", "o", "f", "a"]))
N_FRAMES = 40


def test_lips_lag_behind_the_jaw_by_the_manner() -> None:
    plain, late = (move_face(SOUNDS, N_FRAMES, Manner(lag_s=lag)) for lag in (0.0, 2 / FPS))
    np.testing.assert_array_equal(late.open, plain.open)
    np.testing.assert_allclose(late.spread[2:], plain.spread[:-2], atol=1e-9)
    assert np.abs(late.spread - plain.spread).max() > 0.2


def test_the_head_nods_with_the_jaw_by_the_manner() -> None:
    plain, nodding, other = (move_face(SOUNDS, N_FRAMES, Manner(nod_deg=nod)) for nod in (0.0, 4.0, -4.0))
    added = nodding.turn_deg - plain.turn_deg
    np.testing.assert_array_equal(added[:, [0, 2]], 0)
    np.testing.assert_allclose(added, plain.turn_deg - other.turn_deg)
    assert np.corrcoef(added[:, 1], plain.open)[0, 1] > 0.7
    assert 1 < np.ptp(added[:, 1]) < 4 * 1.5


def test_a_motion_is_as_skewed_as_its_manner() -> None:
    assert move_face(SOUNDS, 5, Manner(skew=0.3)).skew == 0.3 and move_face(SOUNDS, 5).skew == 0


@pytest.mark.parametrize("blend_s", [0.02, 0.09])
def test_far_reaching_sounds_blur_into_each_other(blend_s: float) -> None:
    opened = move_face(SOUNDS, N_FRAMES, Manner(blend_s=blend_s)).open
    sharp = move_face(SOUNDS, N_FRAMES, Manner(blend_s=0.045)).open
    assert (np.abs(np.diff(opened)).sum() > np.abs(np.diff(sharp)).sum()) == (blend_s < 0.045)
