"""Synthetic clips with audio that follows the lips: both are drawn from one hidden motion, easy to learn."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.datasets.manifest import Row
from engine.faces.landmark_features import N_FEATURES
from engine.models.avhubert import AVHubertConfig
from engine.models.compact import N_BANDS, CompactMember
from engine.speech.filterbanks import FILTERS, STEPS_PER_FRAME
from engine.training.avhubert.batches import BatchOptions
from engine.training.avhubert.clusters import ClusterOptions
from engine.training.avhubert.preprocessing import N_CEPSTRA, PreprocessedClip, write_clip
from engine.training.avhubert.train import AVHubertTraining
from engine.training.avhubert.trainer import StepOptions
from engine.training.clips import TrainingClip
from engine.training.consistency import ensemble

N_HIDDEN = 3
TO_CEPSTRA = np.random.default_rng(54321).normal(0, 1, (FILTERS, N_CEPSTRA))
MINI = AVHubertConfig(1, 64, 64, heads=1, trunk=(4, 4, 8, 8), shrink=4, taps=16)
"""Minimal network that learns the planted motion."""


def make_clip(
    seed: int, n_frames: int = 120, corpus: str = "lab", late: int = 0, speaker: str | None = None, source: str = ""
) -> TrainingClip:
    """Build a clip with audio `late` frames after the lips."""
    rng, around = np.random.default_rng(seed), n_frames + 40
    motion = make_motion(rng, around)
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


def make_motion(rng: np.random.Generator, n_frames: int) -> np.ndarray:
    """(T, 3): a walk that keeps coming back."""
    motion = np.cumsum(rng.normal(size=(n_frames, N_HIDDEN)), axis=0)
    return motion - np.apply_along_axis(partial(np.convolve, v=np.ones(25) / 25, mode="same"), 0, motion)


def make_clip_file(
    folder: Path, seed: int, n_frames: int = 100, corpus: str = "lab", late: int = 0, told: int | None = None
) -> PreprocessedClip:
    """Write a preprocessed clip with audio `late` frames after the mouth; `told` is the recorded offset."""
    rng, around = np.random.default_rng(seed), n_frames + 40
    motion = make_motion(rng, around)
    openness = 1 / (1 + np.exp(-motion[20 : 20 + n_frames, :2]))
    mouths = np.stack([draw_mouth(high, wide) for high, wide in openness])
    to_sound = np.random.default_rng(12345).normal(0, 1, (N_HIDDEN, FILTERS))  # the same for all clips
    steps = (20 - late) + np.arange(STEPS_PER_FRAME * n_frames) / STEPS_PER_FRAME
    heard = np.column_stack([np.interp(steps, np.arange(around), motion[:, i]) for i in range(N_HIDDEN)])
    sound = heard @ to_sound + 10 + rng.normal(0, 0.3, (len(steps), FILTERS))
    arrays = {
        "mouths": np.clip(mouths + rng.normal(0, 4, mouths.shape) + rng.uniform(-10, 10), 0, 255).astype(np.uint8),
        "energies": sound.reshape(n_frames, -1).astype(np.float32),
        "cepstra": (sound.reshape(n_frames, STEPS_PER_FRAME, -1).mean(1) @ TO_CEPSTRA).astype(np.float32),
        "seen": np.ones(n_frames, bool),
        "present": np.ones(n_frames, bool),
    }
    path = folder / f"{corpus}-{seed}.safetensors"
    write_clip(path, arrays, told)
    return PreprocessedClip(path, f"{seed}.mp4", corpus, f"{corpus}_{seed}", corpus, n_frames)


def make_clip_files(
    folder: Path, n: int = 6, first: int = 0, corpora: Sequence[str] = ("lab", "hall")
) -> list[PreprocessedClip]:
    """Write preprocessed clips of 4 s and more, alternating the corpora."""
    return [make_clip_file(folder, first + i, 100 + 5 * (i % 6), corpora[i % len(corpora)]) for i in range(n)]


def draw_mouth(high: float, wide: float) -> np.ndarray:
    """(96, 96): a dark ellipse on grey."""
    rows, columns = np.mgrid[-48:48, -48:48]
    inside = (rows / (3 + 25 * high)) ** 2 + (columns / (12 + 25 * wide)) ** 2 < 1
    return np.where(inside, 30.0, 150.0)


def make_training(steps: int = 6, micro_batches: int = 1, **parts: Any) -> AVHubertTraining:
    """Two iterations of a few steps: of cepstra, and of what was learnt of them."""
    return AVHubertTraining(
        MINI,
        iterations=(ClusterOptions(8), ClusterOptions(6, layer=1)),
        steps=StepOptions(steps, micro_batches, learning_rate=5e-3, clip_norm=1.0),
        batches=BatchOptions(size=4, length=30, max_shift=8),
        **parts,
    )


def make_row(source: str = "lab", speaker: str = "", **cells: Any) -> Row:
    """A usable row of a manifest; cells change it."""
    plain: dict[str, Any] = {"label": "real", "has_audio": "1", "audio_in_sync": "yes"} | cells
    return Row(1, Path("clip.mp4"), speaker=speaker, source=source, **plain)


def shrink_members(monkeypatch: pytest.MonkeyPatch, width: int = 24, dim: int = 12) -> None:
    """Let everything that is trained in this process be small."""
    monkeypatch.setattr(ensemble, "CompactMember", partial(CompactMember, width=width, dim=dim))
