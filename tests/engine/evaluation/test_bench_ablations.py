"""What is taken away is gone, and nothing else is."""

import numpy as np
import pytest

from engine.evaluation.bench import CHIN_POINTS, LIP_POINTS, SHAPES, Ablation, ablate, list_ablations
from engine.evaluation.trials import TrialClip
from engine.faces.landmark_features import N_FEATURES
from engine.models.compact import N_BANDS, N_SPEECH
from engine.types import Encoded

OF_TIME = (Ablation.STILL, Ablation.SHUFFLED, Ablation.BACKWARDS, Ablation.ELSEWHERE)


def keep(lips: np.ndarray, speech: np.ndarray) -> Encoded:
    """An encoder that embeds nothing: the rows themselves are looked at."""
    one = np.ones((len(lips), 1), np.float32)
    return Encoded(0, one, one, one[:, 0], one[:, 0])


def draw_clip(n_frames: int = 40, width: int = N_FEATURES) -> TrialClip:
    rng = np.random.default_rng(1)
    lips = rng.normal(size=(n_frames, width)).astype(np.float32)
    speech = rng.normal(size=(n_frames, N_SPEECH)).astype(np.float32)
    return TrialClip("a", "a", "", "a", lips, speech, np.ones(n_frames, bool), keep(lips, speech))


def without(kind: Ablation) -> tuple[TrialClip, TrialClip]:
    clip = draw_clip()
    (changed,) = ablate([clip], kind, keep)
    assert changed.lips.dtype == changed.speech.dtype == np.float32
    return clip, changed


def test_a_still_face_is_one_row() -> None:
    clip, changed = without(Ablation.STILL)
    assert np.ptp(changed.lips, axis=0).max() == 0 and np.array_equal(changed.speech, clip.speech)


def test_frames_come_back_in_another_order() -> None:
    clip, shuffled = without(Ablation.SHUFFLED)
    assert not np.array_equal(shuffled.lips, clip.lips)
    assert np.array_equal(np.sort(shuffled.lips[:, 0]), np.sort(clip.lips[:, 0]))
    clip, backwards = without(Ablation.BACKWARDS)
    assert np.array_equal(backwards.lips[::-1], clip.lips)


def test_a_voice_of_another_time_is_the_same_voice() -> None:
    clip, changed = without(Ablation.ELSEWHERE)
    assert np.array_equal(changed.lips, clip.lips) and np.array_equal(changed.speech[20:], clip.speech[:20])


@pytest.mark.parametrize(
    ("kind", "gone"),
    [
        (Ablation.NO_LIPS, [LIP_POINTS]),
        (Ablation.NO_CHIN, [CHIN_POINTS]),
        (Ablation.NO_SHAPES, [SHAPES]),
        (Ablation.ONLY_SHAPES, [LIP_POINTS, CHIN_POINTS]),
    ],
)
def test_columns_of_a_part_stand_still_and_the_others_do_not(kind: Ablation, gone: list[slice]) -> None:
    clip, changed = without(kind)
    held = np.zeros(N_FEATURES, bool)
    for columns in gone:
        held[columns] = True
    assert held.any() and not held.all()
    assert np.ptp(changed.lips[:, held], axis=0).max() < 1e-6
    assert np.array_equal(changed.lips[:, ~held], clip.lips[:, ~held])


def test_loudness_and_what_is_left_without_it_make_the_sound() -> None:
    clip, loud = without(Ablation.LOUDNESS)
    steps = loud.speech.reshape(len(clip.speech), -1, N_BANDS)
    assert np.ptp(steps, axis=2).max() < 1e-6
    np.testing.assert_allclose(steps[:, :, 0], clip.speech.reshape(steps.shape).mean(axis=2), atol=1e-6)
    _, rest = without(Ablation.NO_LOUDNESS)
    np.testing.assert_allclose(rest.speech + loud.speech, clip.speech, atol=1e-6)


def test_other_rows_have_time_and_no_parts() -> None:
    clip = draw_clip(width=7)
    assert list_ablations(clip) == OF_TIME and set(list_ablations(draw_clip())) == set(Ablation)
    with pytest.raises(ValueError, match="blendshapes"):
        ablate([clip], Ablation.NO_SHAPES, keep)
