"""Real faces held against their own and other voices by one network: whole clips, windows, parts taken away.

What a score rests on: the same clips tried again with a part of the face, of the sound, or of time taken away.

The network is the one that was trained with all of it, so a part that others tell as well costs nothing here.

The silence before and after the sound of a clip: some collections of forgeries can be told by it alone.

In FakeAVCeleb and AV-Deepfake1M the sound of forged clips begins with a brief silence (Smeu et al., CVPR 2025), by
which a detector is flattered that looks at no face. A figure without it is told from the rows that were kept.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from engine.consistency.offsets import find_offset
from engine.consistency.scorers import ConsistencyScorer
from engine.evaluation.measurements import MeasuredRow
from engine.evaluation.results import Discrimination, HasScore, part
from engine.evaluation.trials import (
    MIN_FRAMES,
    Compare,
    Encode,
    Trial,
    TrialClip,
    cut_span,
    cut_windows,
    shuffle_faces,
    try_other_voices,
    try_own_voices,
)
from engine.faces.landmark_features import CHIN, LIPS, N_FEATURES
from engine.models.compact import N_BANDS, N_SPEECH
from engine.pipeline import Engine
from engine.speech.filterbanks import FILTERS, MEL_BANDS, MEL_FLOOR, STEPS_PER_FRAME
from engine.types import FPS, Encoded, Mode

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


QUIET = 15.0
"""Times the floor: the mean power in the bands below which a step of 10 ms is silent. White noise that hardly reaches
0.0005, the threshold of Smeu et al., has so much; see the test."""


def find_sound(speech: np.ndarray) -> tuple[int, int]:
    """First frame with sound, and the one after the last; (0, 0) where all is silent.

    `speech` (T, 160) are rows of `speech.log_mel`. Rows of AV-HuBERT are normalised one by one and tell no level: for
    (T, 104) every frame counts as sound but those in which all numbers are alike.
    """
    if speech.shape[1] == STEPS_PER_FRAME * FILTERS:
        loud = np.ptp(speech, axis=1) > 0
    else:
        steps = np.exp(speech.astype(np.float64)).reshape(len(speech), STEPS_PER_FRAME, MEL_BANDS).mean(axis=2)
        loud = steps.max(axis=1) > (1 + QUIET) * MEL_FLOOR
    there = np.flatnonzero(loud)
    return (int(there[0]), int(there[-1]) + 1) if len(there) else (0, 0)


def measure_leading_silence(clip: TrialClip) -> float:
    """Seconds before the first sound; the whole length where there is none."""
    first, last = find_sound(clip.speech)
    return (first if last else len(clip.mask)) / FPS


def trim_silence(clip: TrialClip, encode: Encode) -> TrialClip | None:
    """Cut the silence at both ends away, and one frame more where there was some; None where too little is left.

    Face and sound are cut alike and embedded anew, so that nothing of what was cut leaks in.
    """
    first, last = find_sound(clip.speech)
    first += 1 if first else 0
    last -= 1 if last < len(clip.mask) else 0
    if last - first < MIN_FRAMES:
        return None
    span = slice(first, last)
    return clip if last - first == len(clip.mask) else cut_span(clip, span, span, encode)


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What changes the figures."""

    seconds: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0)  # lengths of the windows
    swap: bool = False  # hold real faces against other voices though the manifest has other labels
    voices_per_face: int = 10
    trim_silence: bool = False  # tell as well what is left where leading and trailing silence is cut away
    seed: int = 0
    in_depth: bool = False  # tell as well what the figures rest on
    first_s: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0)  # in depth: so much of each clip's beginning


@dataclass(frozen=True, slots=True)
class Sides:
    """What is told apart."""

    real: Sequence[HasScore] = field(default_factory=list)
    other: Sequence[HasScore] = field(default_factory=list)


def part_sides(sides: Iterable[Sides], seed: int) -> Discrimination:
    """Part what several benches tried, all of it together."""
    every = list(sides)
    return part([one for side in every for one in side.real], [one for side in every for one in side.other], seed)


@dataclass(frozen=True, slots=True, eq=False)
class ConsistencyBenchmark:
    """Clips and the network that judges them; it may be one of several, each of which never saw its clips."""

    engine: Engine
    rows: Sequence[MeasuredRow]
    has_others: bool  # False: real faces are held against other voices of these very clips
    options: EvaluationOptions

    @property
    def real(self) -> list[TrialClip]:
        return [one.clip for one in self.rows if one.row.is_real]

    @property
    def others(self) -> list[TrialClip]:
        return [one.clip for one in self.rows if not one.row.is_real]

    def swap(self, clips: Sequence[TrialClip] | None = None, compare: Compare | None = None) -> list[Trial]:
        """Hold faces against other voices; by default those of the real clips."""
        found = self.real if clips is None else clips
        compare = compare or self.engine.expert.compare
        return try_other_voices(found, compare, self.options.voices_per_face, self.options.seed)

    def try_windows(self, length_s: float, compare: Compare | None = None) -> Sides:
        """Try all windows of a length."""
        n_frames = round(length_s * FPS)
        return self._try(lambda clips: cut_windows(clips, n_frames, self.engine.expert.encode), compare)

    def try_first(self, length_s: float) -> Sides:
        """Try the beginnings of all clips that are so long."""
        first = slice(0, round(length_s * FPS))
        encode = self.engine.expert.encode
        return self._try(
            lambda clips: [cut_span(clip, first, first, encode) for clip in clips if len(clip.mask) >= first.stop]
        )

    def try_shuffled(self) -> Sides:
        """Try faces whose frames are out of order: nothing should be told of them."""
        return self._try(lambda clips: shuffle_faces(clips, self.engine.expert.encode, self.options.seed))

    def try_ablated(self, kind: Ablation) -> Sides:
        """Try what is left without a part."""
        return self._try(lambda clips: ablate(clips, kind, self.engine.expert.encode, self.options.seed))

    def list_ablations(self) -> tuple[Ablation, ...]:
        """Give the parts that can be taken away from these clips."""
        return list_ablations(self.rows[0].clip) if self.rows else ()

    def trim(self) -> list[MeasuredRow]:
        """Score the rows without leading and trailing silence; those that are then too short are left out."""
        cut = [(one, trim_silence(one.clip, self.engine.expert.encode)) for one in self.rows]
        return self._score((one, clip) for one, clip in cut if clip is not None)

    def begin(self, length_s: float) -> list[MeasuredRow]:
        """Score the beginnings of the rows that are so long."""
        first, encode = slice(0, round(length_s * FPS)), self.engine.expert.encode
        long = [one for one in self.rows if len(one.clip.mask) >= first.stop]
        return self._score((one, cut_span(one.clip, first, first, encode)) for one in long)

    def _score(self, cut: Iterable[tuple[MeasuredRow, TrialClip]]) -> list[MeasuredRow]:
        compare = self.engine.expert.compare
        tried = [(one, clip, compare(clip.encoded, clip.mask)) for one, clip in cut]
        return [replace(one, clip=clip, score=found[0]) for one, clip, found in tried if found is not None]

    def _try(
        self, change: Callable[[Sequence[TrialClip]], Sequence[TrialClip]], compare: Compare | None = None
    ) -> Sides:
        real, compare = change(self.real), compare or self.engine.expert.compare
        own = try_own_voices(real, compare)
        return Sides(own, try_own_voices(change(self.others), compare) if self.has_others else self.swap(real, compare))


def hold_in_time(expert: ConsistencyScorer) -> Compare | None:
    """Compare at no offset instead of the best; None in paper mode, whose comparison knows no other."""
    if expert.mode == Mode.PAPER:
        return None
    options = replace(expert.options, max_offset=0)

    def compare(encoded: Encoded, mask: np.ndarray) -> tuple[float, int] | None:
        return find_offset(encoded, mask, options)

    return compare
