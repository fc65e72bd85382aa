"""AV offset of a clip, estimated by a model that reads the planted motion."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest

from engine.models.compact import CompactConsistency
from engine.training.clips import TrainingClip, shift_sound
from engine.training.consistency.av_offset import MAX_SHIFT, MIN_AGREEING, estimate_av_offsets
from engine.types import Encoded
from tests.engine.training.planted import make_clip


class Reader:
    """Embed a frame by its planted number, which lips and audio of one moment share."""

    def __init__(self, blind: bool = False):
        self._blind, self.used = blind, 0

    def encode(self, lips: np.ndarray, speech: np.ndarray) -> Encoded:
        self.used += 1
        ones = np.ones(len(lips), np.float32)
        voice = np.random.default_rng(0).integers(0, 10**6, len(lips)) if self._blind else speech[:, 0]
        return Encoded(0, embed(lips[:, 0]), embed(voice), ones, ones)


def embed(numbers: np.ndarray) -> np.ndarray:
    rows = np.stack([np.random.default_rng(int(number)).normal(size=32) for number in numbers])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def plant(seed: int, late: int, source: str = "lab", clear: bool = True, n_frames: int = 100) -> TrainingClip:
    clip = make_clip(seed, n_frames, source)
    numbers = 1000 * seed + np.arange(n_frames + 40)
    clip.lips[:, 0] = numbers[20 : 20 + n_frames]
    result = numbers[20 - late : 20 - late + n_frames] if clear else numbers[20 : 20 + n_frames] + 500_000
    clip.mel[::4, 0] = result
    return clip


def estimate(clips: Sequence[TrainingClip], reader: Reader | None = None) -> list[int]:
    model = cast(CompactConsistency, reader or Reader())
    return estimate_av_offsets(clips, [model] * len(clips))


@pytest.mark.parametrize("late", [-MAX_SHIFT, -2, 0, 3, MAX_SHIFT])
def test_offset_of_clear_clip_is_estimated_and_corrected(late: int) -> None:
    clip = plant(1, late)
    assert estimate([clip]) == [late]
    assert estimate([shift_sound(clip, late)]) == [0]


def test_an_unclear_clip_takes_the_median_of_its_source() -> None:
    clear = [plant(i, late) for i, late in enumerate([4, 4, 5, 4, -3], start=1)]
    unclear = [plant(10, 0, clear=False), plant(11, 0, "elsewhere", clear=False)]
    assert len(clear) == MIN_AGREEING
    assert estimate([*clear, *unclear]) == [4, 4, 5, 4, -3, 4, 0]
    assert estimate([*clear[1:], *unclear])[-2:] == [0, 0]  # too few agree


def test_clip_beyond_offset_limit_takes_source_median() -> None:
    assert estimate([plant(1, MAX_SHIFT + 2)]) == [0]


def test_audio_blind_model_shifts_nothing() -> None:
    assert estimate([plant(i, 5) for i in range(1, 7)], Reader(blind=True)) == [0] * 6


def test_a_clip_with_too_few_real_frames_is_left_alone() -> None:
    clip = plant(1, 5)
    clip.real[20:] = False
    assert estimate([clip]) == [0]


def test_each_clip_uses_the_model_of_its_fold() -> None:
    clips, readers = [plant(1, 2), plant(2, 3)], [Reader(), Reader(blind=True)]
    assert estimate_av_offsets(clips, cast(list[CompactConsistency], readers)) == [2, 0]
    assert [reader.used for reader in readers] == [1, 1]
    with pytest.raises(ValueError):
        estimate_av_offsets(clips, cast(list[CompactConsistency], readers[:1]))
