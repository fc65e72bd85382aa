"""Clips whose sound follows the lips: both are drawn from one hidden motion, so there is something small to learn."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.lips import N_FEATURES
from engine.manifest import Row
from engine.models.compact import N_BANDS, Member
from engine.training import members
from engine.training.clips import TrainingClip

N_HIDDEN = 3


def make_clip(
    seed: int, n_frames: int = 120, corpus: str = "lab", late: int = 0, speaker: str | None = None, source: str = ""
) -> TrainingClip:
    """A clip whose sound comes `late` frames after the lips that make it."""
    rng, around = np.random.default_rng(seed), n_frames + 40
    motion = np.cumsum(rng.normal(size=(around, N_HIDDEN)), axis=0)
    motion = motion - np.apply_along_axis(partial(np.convolve, v=np.ones(25) / 25, mode="same"), 0, motion)
    world = np.random.default_rng(12345)  # the same for all clips
    to_lips, to_mel = world.normal(0, 0.03, (N_HIDDEN, N_FEATURES)), world.normal(0, 1, (N_HIDDEN, N_BANDS))
    lips = motion[20 : 20 + n_frames] @ to_lips + rng.normal(0, 0.01, N_FEATURES)
    steps = (20 - late) + np.arange(4 * n_frames) / 4
    heard = np.column_stack([np.interp(steps, np.arange(around), motion[:, i]) for i in range(N_HIDDEN)])
    mel = heard @ to_mel - 5 + rng.normal(0, 0.3, (4 * n_frames, N_BANDS))
    return TrainingClip(
        name=f"{seed}.mp4",
        source=source or corpus,
        speaker=f"{corpus}_{seed}" if speaker is None else speaker,
        corpus=corpus,
        lips=lips.astype(np.float32),
        mel=mel.astype(np.float32),
        real=np.ones(n_frames, bool),
    )


def make_clips(n: int = 6, first: int = 0, corpora: Sequence[str] = ("lab", "hall")) -> list[TrainingClip]:
    """Clips of 4 to 6 s, in turn of each corpus."""
    return [make_clip(first + i, 100 + 10 * (i % 6), corpora[i % len(corpora)]) for i in range(n)]


def make_row(source: str = "lab", speaker: str = "", **cells: Any) -> Row:
    """A usable row of a manifest; cells change it."""
    plain: dict[str, Any] = {"label": "real", "has_audio": "1", "audio_in_sync": "yes"} | cells
    return Row(1, Path("clip.mp4"), speaker=speaker, source=source, **plain)


def shrink_members(monkeypatch: pytest.MonkeyPatch, width: int = 24, dim: int = 12) -> None:
    """Let everything that is trained in this process be small."""
    monkeypatch.setattr(members, "Member", partial(Member, width=width, dim=dim))
