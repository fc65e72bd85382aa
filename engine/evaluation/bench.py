"""Real faces held against their own and other voices by one network: whole clips, windows, parts taken away."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from engine.consistency.offsets import find_offset
from engine.consistency.scorers import Expert
from engine.evaluation.ablations import Ablation, ablate, list_ablations
from engine.evaluation.figures import Parting, Scored, part
from engine.evaluation.measurements import MeasuredRow
from engine.evaluation.silence import trim_silence
from engine.evaluation.trials import (
    Compare,
    Trial,
    TrialClip,
    cut_span,
    cut_windows,
    shuffle_faces,
    try_other_voices,
    try_own_voices,
)
from engine.pipeline import Engine
from engine.types import FPS, Encoded, Mode


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

    real: Sequence[Scored] = field(default_factory=list)
    other: Sequence[Scored] = field(default_factory=list)


def part_sides(sides: Iterable[Sides], seed: int) -> Parting:
    """Part what several benches tried, all of it together."""
    every = list(sides)
    return part([one for side in every for one in side.real], [one for side in every for one in side.other], seed)


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
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


def hold_in_time(expert: Expert) -> Compare | None:
    """Compare at no offset instead of the best; None in paper mode, whose comparison knows no other."""
    if expert.mode == Mode.PAPER:
        return None
    options = replace(expert.options, max_offset=0)

    def compare(encoded: Encoded, mask: np.ndarray) -> tuple[float, int] | None:
        return find_offset(encoded, mask, options)

    return compare
