"""Score real faces with their own and other voices by one network: whole clips, windows, ablations, trimmed silence.

Ablations score the same clips with a feature group of the face, the audio or time removed. The network was trained with
all features, so removing one that others carry too costs nothing here.

In FakeAVCeleb and AV-Deepfake1M the audio of forged clips begins with a brief silence (Smeu et al., CVPR 2025), which
alone separates them from real clips; scores without leading and trailing silence show the effect.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from engine.consistency.offsets import find_offset
from engine.consistency.scorers import ConsistencyScorer
from engine.evaluation.measurements import MeasuredRow
from engine.evaluation.results import Discrimination, HasScore, measure_discrimination
from engine.evaluation.trials import (
    MIN_FRAMES,
    Compare,
    Encode,
    Trial,
    TrialClip,
    cut_segment,
    cut_windows,
    score_other_voices,
    score_own_voices,
    shuffle_faces,
)
from engine.faces.landmark_features import CHIN, LIPS, N_FEATURES
from engine.models.compact import N_BANDS, N_SPEECH
from engine.pipeline import Engine
from engine.speech.filterbanks import FILTERS, MEL_BANDS, MEL_FLOOR, STEPS_PER_FRAME
from engine.types import FPS, Encoded, Evidence, Mode

LIP_POINTS, CHIN_POINTS = slice(0, 2 * len(LIPS)), slice(2 * len(LIPS), 2 * len(LIPS + CHIN))
SHAPES = slice(2 * len(LIPS + CHIN), N_FEATURES)


class Ablation(StrEnum):
    """A feature group removed from a clip. After the first four, the AUC of own against other voices should be 0.5."""

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
"""Map feature frames (T, ...) to changed ones of the same shape."""


def ablate(clips: Sequence[TrialClip], kind: Ablation, encode: Encode, seed: int = 0) -> list[TrialClip]:
    """Remove a feature group from every clip and embed the rest; raise ValueError if the model has no such features."""
    rng, changed = np.random.default_rng(seed), []
    for clip in clips:
        if kind not in list_ablations(clip):
            raise ValueError(f"rows of shape {clip.lips.shape} and {clip.speech.shape} cannot be ablated by {kind!r}")
        lips = FACE[kind](clip.lips, rng) if kind in FACE else clip.lips
        speech = SOUND[kind](clip.speech, rng) if kind in SOUND else clip.speech
        changed.append(replace(clip, lips=lips, speech=speech, encoded=encode(lips, speech, clip.evidence)))
    return changed


def list_ablations(clip: TrialClip) -> tuple[Ablation, ...]:
    """Return the ablations that apply to a clip: the last six need the features of the compact model."""
    of_time = (Ablation.STILL, Ablation.SHUFFLED, Ablation.BACKWARDS, Ablation.ELSEWHERE)
    is_compact = clip.lips.shape[1:] == (N_FEATURES,) and clip.speech.shape[1:] == (N_SPEECH,)
    return tuple(Ablation) if is_compact else of_time


def _still(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.repeat(rows.mean(axis=0, keepdims=True), len(rows), axis=0).astype(rows.dtype)


def _hold(*parts: slice) -> Change:
    """Set columns to their mean over time, which the network subtracts: nothing of them is left."""

    def change(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        held = rows.copy()
        for columns in parts:
            held[:, columns] = rows[:, columns].mean(axis=0)
        return held

    return change


def _level(rows: np.ndarray) -> np.ndarray:
    """Return (T, 160): the mean over the bands of each 10 ms step, repeated in every band."""
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


QUIET = 15.0
"""Mean band power, in multiples of the floor, below which a 10 ms step is silent. White noise that just reaches 0.0005,
the threshold of Smeu et al., has this power; see the test."""


def find_sound(speech: np.ndarray) -> tuple[int, int]:
    """Return the first frame with sound and the one after the last; (0, 0) if all is silent.

    `speech` (T, 160) is from `log_mel`. AV-HuBERT frames (T, 104) are normalised one by one and carry no level: every
    frame counts as sound unless all its values are equal.
    """
    if speech.shape[1] == STEPS_PER_FRAME * FILTERS:
        loud = np.ptp(speech, axis=1) > 0
    else:
        steps = np.exp(speech.astype(np.float64)).reshape(len(speech), STEPS_PER_FRAME, MEL_BANDS).mean(axis=2)
        loud = steps.max(axis=1) > (1 + QUIET) * MEL_FLOOR
    there = np.flatnonzero(loud)
    return (int(there[0]), int(there[-1]) + 1) if len(there) else (0, 0)


def measure_leading_silence(clip: TrialClip) -> float:
    """Return the seconds before the first sound; the whole length if there is none."""
    first, last = find_sound(clip.speech)
    return (first if last else len(clip)) / FPS


def trim_silence(clip: TrialClip, encode: Encode) -> TrialClip | None:
    """Cut the silence at both ends, and one frame more where there was some; None if too little is left.

    Face and audio are cut alike and embedded again, so that nothing of the removed frames leaks in.
    """
    first, last = find_sound(clip.speech)
    first += 1 if first else 0
    last -= 1 if last < len(clip) else 0
    if last - first < MIN_FRAMES:
        return None
    span = slice(first, last)
    return clip if last - first == len(clip) else cut_segment(clip, span, span, encode)


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """Options that change the results."""

    seconds: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0)  # window lengths
    swap: bool = False  # score swapped voices although the manifest has other labels
    voices_per_face: int = 10
    trim_silence: bool = False  # also evaluate without leading and trailing silence
    seed: int = 0
    in_depth: bool = False  # also evaluate ablations, prefixes and zero offset
    first_s: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0)  # in depth: prefixes of the clips


@dataclass(frozen=True, slots=True)
class Sides:
    """Scores of real clips or own voices, and of the others."""

    real: Sequence[HasScore] = field(default_factory=list)
    other: Sequence[HasScore] = field(default_factory=list)


def measure_sides(sides: Iterable[Sides], seed: int) -> Discrimination:
    """Measure discrimination over the pooled scores of several benchmarks."""
    every = list(sides)
    return measure_discrimination(
        [one for side in every for one in side.real], [one for side in every for one in side.other], seed
    )


@dataclass(frozen=True, slots=True, eq=False)
class ConsistencyBenchmark:
    """Clips and the network that scores them: the only one, or one of several held-out networks."""

    engine: Engine
    rows: Sequence[MeasuredRow]
    has_others: bool  # False: real faces are scored with other voices of the same clips
    options: EvaluationOptions

    @property
    def real(self) -> list[TrialClip]:
        return [one.clip for one in self.rows if one.row.is_real]

    @property
    def others(self) -> list[TrialClip]:
        return [one.clip for one in self.rows if not one.row.is_real]

    def swap(self, clips: Sequence[TrialClip] | None = None, compare: Compare | None = None) -> list[Trial]:
        """Score faces with other voices; by default those of the real clips."""
        found = self.real if clips is None else clips
        compare = compare or self.engine.scorer.compare
        return score_other_voices(found, compare, self.options.voices_per_face, self.options.seed)

    def score_windows(self, length_s: float, compare: Compare | None = None) -> Sides:
        """Score all windows of a length."""
        n_frames = round(length_s * FPS)
        return self._score_sides(lambda clips: cut_windows(clips, n_frames, self.engine.scorer.encode), compare)

    def score_prefixes(self, length_s: float) -> Sides:
        """Score the first `length_s` seconds of all clips that are long enough."""
        first = slice(0, round(length_s * FPS))
        encode = self.engine.scorer.encode
        return self._score_sides(
            lambda clips: [cut_segment(clip, first, first, encode) for clip in clips if len(clip) >= first.stop]
        )

    def score_shuffled(self) -> Sides:
        """Score faces with shuffled frames, as a control."""
        return self._score_sides(lambda clips: shuffle_faces(clips, self.engine.scorer.encode, self.options.seed))

    def score_ablated(self, kind: Ablation) -> Sides:
        """Score clips with a feature group removed."""
        return self._score_sides(lambda clips: ablate(clips, kind, self.engine.scorer.encode, self.options.seed))

    def list_ablations(self) -> tuple[Ablation, ...]:
        """Return the ablations that apply to these clips."""
        return list_ablations(self.rows[0].clip) if self.rows else ()

    def measure_trimmed(self) -> list[MeasuredRow]:
        """Score the rows without leading and trailing silence; rows that get too short are left out."""
        cut = [(one, trim_silence(one.clip, self.engine.scorer.encode)) for one in self.rows]
        return self._score((one, clip) for one, clip in cut if clip is not None)

    def measure_prefixes(self, length_s: float) -> list[MeasuredRow]:
        """Score the first `length_s` seconds of the rows that are long enough."""
        first, encode = slice(0, round(length_s * FPS)), self.engine.scorer.encode
        long = [one for one in self.rows if len(one.clip) >= first.stop]
        return self._score((one, cut_segment(one.clip, first, first, encode)) for one in long)

    def _score(self, cut: Iterable[tuple[MeasuredRow, TrialClip]]) -> list[MeasuredRow]:
        compare = self.engine.scorer.compare
        tried = [(one, clip, compare(clip.encoded, clip.evidence)) for one, clip in cut]
        return [replace(one, clip=clip, score=found[0]) for one, clip, found in tried if found is not None]

    def _score_sides(
        self, change: Callable[[Sequence[TrialClip]], Sequence[TrialClip]], compare: Compare | None = None
    ) -> Sides:
        real, compare = change(self.real), compare or self.engine.scorer.compare
        own = score_own_voices(real, compare)
        return Sides(
            own, score_own_voices(change(self.others), compare) if self.has_others else self.swap(real, compare)
        )


def compare_at_zero_offset(scorer: ConsistencyScorer) -> Compare | None:
    """Return a comparison at offset 0 instead of the best offset; None in paper mode, which has no fixed offset."""
    if scorer.mode == Mode.PAPER:
        return None
    options = replace(scorer.options, max_offset=0)

    def compare(encoded: Encoded, evidence: Evidence) -> tuple[float, int] | None:
        return find_offset(encoded, evidence, options)

    return compare
