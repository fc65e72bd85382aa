"""Units: one a frame, the same every time, alike where the sound is alike."""

import numpy as np
import pytest
import torch

from engine.models.compact import CompactMember
from engine.training.consistency.units import N_UNITS, cluster_hidden, cluster_mfcc
from tests.engine.training.planted import make_clip, make_clips


@pytest.fixture
def member() -> CompactMember:
    torch.manual_seed(0)
    return CompactMember(width=16, dim=8).eval()


def test_every_frame_has_a_unit_and_the_same_one_again() -> None:
    clips = make_clips(6)
    units, again = cluster_mfcc(clips, 3), cluster_mfcc(clips, 3)
    for clip, one, other in zip(clips, units, again, strict=True):
        assert one.shape == clip.real.shape and one.dtype == np.int64
        assert np.array_equal(one, other)
    found = np.unique(np.concatenate(units))
    assert found.min() >= 0 and found.max() < N_UNITS and len(found) > N_UNITS / 2


def test_units_of_learnt_rows_are_the_same_again(member: CompactMember) -> None:
    clips = make_clips(6)
    units, again = cluster_hidden(clips, member, 3), cluster_hidden(clips, member, 3)
    assert [len(one) for one in units] == [len(clip.real) for clip in clips]
    assert all(np.array_equal(one, other) for one, other in zip(units, again, strict=True))
    for weights in member.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    learnt = cluster_hidden(clips, member, 3)
    assert any(not np.array_equal(one, other) for one, other in zip(units, learnt, strict=True))


def test_units_discriminate_sounds_regardless_of_level() -> None:
    clip = make_clip(0, 300)
    tones = np.repeat(np.arange(300) // 30 % 2, 4)  # two sounds in turn
    shapes = np.random.default_rng(1).normal(0, 3, (2, 40))
    noise = np.random.default_rng(2).normal(0, 0.3, (1200, 40))
    clip.mel[:] = shapes[tones] + noise
    units = cluster_mfcc([clip], 0)[0]
    frames = np.arange(300) // 30 % 2
    steady = (np.arange(300) % 30 > 1) & (np.arange(300) % 30 < 28)  # the change itself belongs to neither
    assert not set(units[steady & (frames == 0)]) & set(units[steady & (frames == 1)])
    louder = make_clip(0, 300)
    louder.mel[:] = clip.mel + 2
    assert (cluster_mfcc([louder], 0)[0] == units).mean() > 0.95
