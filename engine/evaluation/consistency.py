"""How well real clips are told from others, and how often a planted offset is found."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.evaluation.figures import (
    ConsistencyFigures,
    OffsetError,
    OffsetFigures,
    Parting,
    Scored,
    Trimmed,
    count_hits,
    count_planted,
    part,
    part_methods,
)
from engine.evaluation.measurements import MeasuredRow
from engine.evaluation.silence import measure_leading_silence, trim_silence
from engine.evaluation.trials import (
    Trial,
    TrialClip,
    cut_windows,
    plant_offsets,
    shuffle_faces,
    try_other_voices,
    try_own_voices,
)
from engine.manifest import REAL
from engine.metrics import auc
from engine.pipeline import Engine
from engine.types import FPS

SWAPPED = "swapped voice"
"""The method of trials that hold a real face against the voice of another real clip."""


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What changes the figures."""

    seconds: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0)  # lengths of the windows
    swap: bool = False  # hold real faces against other voices though the manifest has other labels
    voices_per_face: int = 10
    trim_silence: bool = False  # tell as well what is left where leading and trailing silence is cut away
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PooledScore:
    """A sample: the mean of its rows."""

    score: float
    group: str
    method: str
    is_real: bool
    language: str = ""


def evaluate_consistency(
    rows: Sequence[MeasuredRow], has_others: bool, engine: Engine, options: EvaluationOptions
) -> ConsistencyFigures:
    """Hold real clips against all others; against swapped voices where the manifest has no others."""
    pooled = pool_samples(rows)
    real = [one for one in pooled if one.is_real]
    labelled = [one for one in pooled if not one.is_real]
    real_clips, other_clips = ([one.clip for one in rows if one.row.is_real == wanted] for wanted in (True, False))
    bench = _Bench(engine, options, other_clips if has_others else None)
    swapped = bench.swap(real_clips) if options.swap or not has_others else []
    methods: dict[str, list[Scored]] = {SWAPPED: [*swapped]} if swapped else {}
    methods |= _sort_methods(labelled)
    return ConsistencyFigures(
        others="labelled" if has_others else SWAPPED,
        parting=part(real, labelled if has_others else swapped, options.seed),
        per_method=part_methods(real, methods, options.seed),
        by_seconds={f"{length:g}": bench.part_windows(real_clips, length) for length in options.seconds},
        control=bench.part_shuffled(real_clips),
        per_language=_part_languages(pooled, real_clips, swapped, rows, options.seed),
        trimmed=bench.part_trimmed(rows, has_others) if options.trim_silence else None,
    )


def evaluate_offset(rows: Sequence[MeasuredRow], engine: Engine, options: EvaluationOptions) -> OffsetFigures:
    """Compare offsets with the manifest's own; where it has none, with those planted into the real clips."""
    told = [(one, one.row.offset_s) for one in rows if one.row.offset_s is not None]
    if told:
        errors = [OffsetError(abs(one.offset_s - offset_s) * FPS, one.row.person) for one, offset_s in told]
        return OffsetFigures("offset_s", count_hits(errors, options.seed), None, {}, len(errors))
    clips = [one.clip for one in rows if one.row.is_real]
    planted = list(plant_offsets(clips, engine.expert.encode, compare=engine.expert.compare))
    shifts = sorted({one.planted for one in planted})
    return OffsetFigures(
        truth="planted",
        hits=count_planted(planted, seed=options.seed),
        within_1_frame_own=count_planted(planted, relative_to_own=True, seed=options.seed),
        by_shift={f"{shift}": count_planted([one for one in planted if one.planted == shift]) for shift in shifts},
        n_clips=len({one.name for one in planted}),
    )


def pool_samples(rows: Sequence[MeasuredRow]) -> list[PooledScore]:
    """Take the mean score of the rows of one sample, label and method; a row without a sample stands alone."""
    pools: dict[tuple[str, str, str], list[MeasuredRow]] = {}
    for one in rows:
        sample = f"sample {one.row.sample}" if one.row.sample else f"row {one.row.number}"
        pools.setdefault((one.row.label, one.row.method, sample), []).append(one)
    return [
        PooledScore(
            score=float(np.mean([one.score for one in pool])),
            group=pool[0].row.person,
            method=method or label,
            is_real=pool[0].row.is_real,
            language=pool[0].row.language or "",
        )
        for (label, method, _), pool in pools.items()
    ]


def _sort_methods(labelled: Sequence[PooledScore]) -> dict[str, list[Scored]]:
    methods: dict[str, list[Scored]] = {}
    for one in labelled:
        methods.setdefault(one.method, []).append(one)
    return methods


def _part_languages(
    pooled: Sequence[PooledScore],
    clips: Sequence[TrialClip],
    swapped: Sequence[Trial],
    rows: Sequence[MeasuredRow],
    seed: int,
) -> dict[str, Parting]:
    """Part real clips and others of each language that the manifest names; by swapped voices where it has no others."""
    spoken = {one.clip.name: one.row.language for one in rows}
    parted = {}
    for language in sorted({one.language for one in pooled if one.language}):
        own = [one for one in pooled if one.language == language]
        others: list[Scored] = [one for one in own if not one.is_real]
        others = others or [one for one in swapped if spoken.get(one.face) == language]
        parted[language] = part([one for one in own if one.is_real], others, seed)
    return parted


@dataclass(frozen=True, slots=True, eq=False)
class _Bench:
    """How faces are held against voices throughout one evaluation."""

    engine: Engine
    options: EvaluationOptions
    others: list[TrialClip] | None  # None: the other voices of the real clips themselves

    def swap(self, clips: Sequence[TrialClip]) -> list[Trial]:
        return try_other_voices(clips, self.engine.expert.compare, self.options.voices_per_face, self.options.seed)

    def part_windows(self, clips: Sequence[TrialClip], length_s: float) -> Parting:
        n_frames = round(length_s * FPS)
        others = None if self.others is None else cut_windows(self.others, n_frames, self.engine.expert.encode)
        return self._part(cut_windows(clips, n_frames, self.engine.expert.encode), others)

    def part_trimmed(self, rows: Sequence[MeasuredRow], has_others: bool) -> Trimmed:
        cut = [(one, trim_silence(one.clip, self.engine.expert.encode)) for one in rows]
        left = [replace(one, clip=clip) for one, clip in cut if clip is not None]
        scored = [(one, self.engine.expert.compare(one.clip.encoded, one.clip.mask)) for one in left]
        told = [replace(one, score=found[0]) for one, found in scored if found is not None]
        pooled = pool_samples(told)
        real, labelled = [one for one in pooled if one.is_real], [one for one in pooled if not one.is_real]
        swapped = [] if has_others else self.swap([one.clip for one in told if one.row.is_real])
        methods: dict[str, list[Scored]] = _sort_methods(labelled) if has_others else {SWAPPED: [*swapped]}
        silences = _measure_silences(rows)
        return Trimmed(
            parting=part(real, labelled if has_others else swapped, self.options.seed),
            per_method=part_methods(real, methods, self.options.seed),
            silence_s={name: float(np.mean(lengths)) for name, lengths in silences.items()},
            by_silence_alone=_part_silences(silences),
            n_too_short=len(rows) - len(told),
        )

    def part_shuffled(self, clips: Sequence[TrialClip]) -> Parting:
        encode, seed = self.engine.expert.encode, self.options.seed
        others = None if self.others is None else shuffle_faces(self.others, encode, seed)
        return self._part(shuffle_faces(clips, encode, seed), others)

    def _part(self, clips: Sequence[TrialClip], others: Sequence[TrialClip] | None) -> Parting:
        compare = self.engine.expert.compare
        other = self.swap(clips) if others is None else try_own_voices(others, compare)
        return part(try_own_voices(clips, compare), other, self.options.seed)


def _measure_silences(rows: Sequence[MeasuredRow]) -> dict[str, list[float]]:
    """Seconds of silence before the sound of each clip, by method; those of real clips come first."""
    found: dict[str, list[float]] = {}
    for one in sorted(rows, key=lambda one: not one.row.is_real):
        name = REAL if one.row.is_real else one.row.method or one.row.label
        found.setdefault(name, []).append(measure_leading_silence(one.clip))
    return found


def _part_silences(silences: dict[str, list[float]]) -> float | None:
    """AUC of others against real by the leading silence alone: 1 where it is longer in all others."""
    others = [length for name, lengths in silences.items() if name != REAL for length in lengths]
    return auc(others, silences[REAL]) if others and silences.get(REAL) else None
