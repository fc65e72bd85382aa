"""What a score rests on: the same clips tried again with a part of the face, of the sound, or of time taken away.

The network is the one that was trained with all of it, so a part that others tell as well costs nothing here.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum

import numpy as np

from engine.evaluation.trials import Encode, TrialClip
from engine.faces.landmark_features import CHIN, LIPS, N_FEATURES
from engine.models.compact import N_BANDS, N_SPEECH

LIP_POINTS, CHIN_POINTS = slice(0, 2 * len(LIPS)), slice(2 * len(LIPS), 2 * len(LIPS + CHIN))
SHAPES = slice(2 * len(LIPS + CHIN), N_FEATURES)


class Ablation(StrEnum):
    """What is done to a clip. After the first four, own and other voices should not be told apart."""

    STILL = "faces held still"
    SHUFFLED = "faces' frames in random order"
    BACKWARDS = "faces backwards"
    ELSEWHERE = "voices half a clip away"
    NO_LIPS = "without lip points"
    NO_CHIN = "without chin points"
    NO_SHAPES = "without blendshapes"
    ONLY_SHAPES = "blendshapes alone"
    LOUDNESS = "loudness alone"
    NO_LOUDNESS = "without loudness"


Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""From rows (T, ...) to as many others."""


def ablate(clips: Sequence[TrialClip], kind: Ablation, encode: Encode, seed: int = 0) -> list[TrialClip]:
    """Take away from every clip, and embed anew what is left; ValueError where the model's rows have no such part."""
    rng, changed = np.random.default_rng(seed), []
    for clip in clips:
        if kind not in list_ablations(clip):
            raise ValueError(f"rows of shape {clip.lips.shape} and {clip.speech.shape} have no part as in {kind!r}")
        lips = FACE[kind](clip.lips, rng) if kind in FACE else clip.lips
        speech = SOUND[kind](clip.speech, rng) if kind in SOUND else clip.speech
        changed.append(replace(clip, lips=lips, speech=speech, encoded=encode(lips, speech)))
    return changed


def list_ablations(clip: TrialClip) -> tuple[Ablation, ...]:
    """Give what can be done to a clip: the last six are for the numbers of the compact model."""
    of_time = (Ablation.STILL, Ablation.SHUFFLED, Ablation.BACKWARDS, Ablation.ELSEWHERE)
    is_compact = clip.lips.shape[1:] == (N_FEATURES,) and clip.speech.shape[1:] == (N_SPEECH,)
    return tuple(Ablation) if is_compact else of_time


def _still(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.repeat(rows.mean(axis=0, keepdims=True), len(rows), axis=0).astype(rows.dtype)


def _hold(*parts: slice) -> Change:
    """Keep columns where they are on average: the network takes their mean away, and nothing is left of them."""

    def change(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        held = rows.copy()
        for columns in parts:
            held[:, columns] = rows[:, columns].mean(axis=0)
        return held

    return change


def _level(rows: np.ndarray) -> np.ndarray:
    """(T, 160): the mean over the bands of each step of 10 ms, in every band."""
    steps = rows.reshape(len(rows), -1, N_BANDS)
    return np.repeat(steps.mean(axis=2, keepdims=True), N_BANDS, axis=2).reshape(rows.shape).astype(rows.dtype)


FACE: dict[Ablation, Change] = {
    Ablation.STILL: _still,
    Ablation.SHUFFLED: lambda rows, rng: rows[rng.permutation(len(rows))],
    Ablation.BACKWARDS: lambda rows, rng: rows[::-1].copy(),
    Ablation.NO_LIPS: _hold(LIP_POINTS),
    Ablation.NO_CHIN: _hold(CHIN_POINTS),
    Ablation.NO_SHAPES: _hold(SHAPES),
    Ablation.ONLY_SHAPES: _hold(LIP_POINTS, CHIN_POINTS),
}
SOUND: dict[Ablation, Change] = {
    Ablation.ELSEWHERE: lambda rows, rng: np.roll(rows, len(rows) // 2, axis=0),
    Ablation.LOUDNESS: lambda rows, rng: _level(rows),
    Ablation.NO_LOUDNESS: lambda rows, rng: rows - _level(rows),
}
