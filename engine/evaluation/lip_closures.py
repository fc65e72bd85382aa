"""Measure how well missed lip closures discriminate own from foreign speech, by amount of speech (`wayspeak phonemes`).

Clips of one person are joined, in the order of the manifest, until they have enough speech. Each joined face is scored
with its own audio, with audio of other people, and with its own audio shifted in time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from engine.consistency.lip_closures import Articulation, Gesture, Tally, check_lips, count
from engine.datasets.manifest import Row
from engine.evaluation.results import Discrimination, measure_discrimination
from engine.features.records import FaceFeatures
from engine.speech.phonemes import Sound
from engine.types import FPS

MIN_SOUNDS = 5  # samples with fewer sounds are no trials
KINDS: dict[str, frozenset[Gesture]] = {
    "closed": frozenset({Gesture.CLOSED}),
    "rounded": frozenset({Gesture.ROUNDED}),
    "both": frozenset(Gesture),
}


@dataclass(frozen=True, slots=True, eq=False)
class ClosureClip:
    """A clip with the measured face and the recognised sounds."""

    row: Row
    track: FaceFeatures
    voiced: np.ndarray  # (T of the clip,) bool
    sounds: tuple[Sound, ...]

    @property
    def speech_s(self) -> float:
        """Seconds of speech with a measured face."""
        own = self.voiced[self.track.start : self.track.end]
        return float((own & self.track.seen[: len(own)]).sum()) / FPS


@dataclass(frozen=True, slots=True)
class ClosureTrial:
    """A face, joined from clips of one person, with an audio track."""

    group: str  # the person
    tally: Tally
    score: float  # higher: more consistent


@dataclass(frozen=True, slots=True)
class ClosureResult:
    """Results of the trials of one kind."""

    parting: Discrimination  # own audio against these trials
    share: float | None  # share of missed closures, mean over trials
    by_chance: float | None
    n_sounds: float | None  # per trial, mean


@dataclass(frozen=True, slots=True)
class LipClosureResults:
    """Results for one amount of speech and one kind of gesture."""

    seconds: float
    kind: str  # of `KINDS`
    own: ClosureResult  # its `parting` is against foreign audio, scored by the share of made closures alone
    foreign: ClosureResult
    shifted: dict[str, ClosureResult]  # by seconds that the own audio is shifted
    methods: dict[str, ClosureResult]  # rows that are not real, with their own audio
    n_too_few: int  # own samples with fewer than MIN_SOUNDS sounds


@dataclass(frozen=True, slots=True)
class LipClosureOptions:
    """How trials are built."""

    seconds: tuple[float, ...] = (4.0, 10.0)
    kinds: tuple[str, ...] = tuple(KINDS)
    shifts_s: tuple[float, ...] = (0.12, 0.2, 0.4, 1.0)
    per_person: int = 8  # samples at most, so that people with many clips do not dominate
    voices_per_face: int = 10
    seed: int = 0


def evaluate_lip_closures(clips: Sequence[ClosureClip], options: LipClosureOptions) -> list[LipClosureResults]:
    """Evaluate each amount of speech and kind of gesture; score: share missed by chance minus share missed."""
    return [
        _evaluate(join_clips(clips, seconds, options.per_person), clips, seconds, kind, options)
        for seconds in options.seconds
        for kind in options.kinds
    ]


def join_clips(clips: Sequence[ClosureClip], seconds: float, per_person: int) -> list[list[ClosureClip]]:
    """Join clips of one person and method until they have `seconds` of speech; the remainder is dropped.

    Returns at most the first `per_person` samples of each.
    """
    sorts: dict[tuple[str, str, str], list[ClosureClip]] = {}
    for clip in clips:
        sorts.setdefault((clip.row.person, clip.row.label, clip.row.method), []).append(clip)
    samples = []
    for listed in sorts.values():
        own: list[list[ClosureClip]] = []
        filling: list[ClosureClip] = []
        for clip in listed:
            filling.append(clip)
            if sum(one.speech_s for one in filling) >= seconds:
                own.append(filling)
                filling = []
        samples += own[:per_person]
    return samples


def delay_sound(clip: ClosureClip, late_s: float) -> ClosureClip:
    """Delay the sounds by `late_s` seconds."""
    sounds = tuple(Sound(one.name, one.start_s + late_s, one.end_s + late_s) for one in clip.sounds)
    return replace(clip, sounds=sounds, voiced=np.roll(clip.voiced, round(late_s * FPS)))


def _evaluate(
    samples: list[list[ClosureClip]],
    clips: Sequence[ClosureClip],
    seconds: float,
    kind: str,
    options: LipClosureOptions,
) -> LipClosureResults:
    real = [sample for sample in samples if sample[0].row.is_real]
    real_talks = [clip for clip in clips if clip.row.is_real]
    own = _score(real, lambda clip: clip, kind)
    chance = np.random.default_rng(options.seed)
    foreign = [
        trial
        for _ in range(options.voices_per_face)
        for trial in _score(real, lambda clip: _draw_voice(clip, real_talks, chance), kind)
    ]
    shifted = {f"{late:g}": _score(real, partial(delay_sound, late_s=late), kind) for late in options.shifts_s}
    methods: dict[str, list[list[ClosureClip]]] = {}
    for sample in samples:
        if not sample[0].row.is_real:
            methods.setdefault(sample[0].row.method or sample[0].row.label, []).append(sample)
    return LipClosureResults(
        seconds=seconds,
        kind=kind,
        own=_result(own, measure_discrimination(_score_by_share(own), _score_by_share(foreign), options.seed)),
        foreign=_result(foreign, measure_discrimination(own, foreign, options.seed)),
        shifted={
            name: _result(trials, measure_discrimination(own, trials, options.seed)) for name, trials in shifted.items()
        },
        methods={
            name: _result(trials, measure_discrimination(own, trials, options.seed))
            for name, trials in _score_methods(methods, kind)
        },
        n_too_few=len(real) - len(own),
    )


def _score_methods(methods: dict[str, list[list[ClosureClip]]], kind: str) -> Iterator[tuple[str, list[ClosureTrial]]]:
    for name in sorted(methods):
        yield name, _score(methods[name], lambda clip: clip, kind)


def _score(
    samples: Sequence[Sequence[ClosureClip]], voice: Callable[[ClosureClip], ClosureClip | None], kind: str
) -> list[ClosureTrial]:
    """Score every face with the voice chosen for it; samples with too few sounds are left out."""
    trials = []
    for sample in samples:
        found: list[Articulation] = []
        for clip in sample:
            other = voice(clip)
            if other is not None:
                found += check_lips(clip.track, other.sounds, other.voiced).sounds
        tally = count(one for one in found if one.wanted in KINDS[kind])
        if tally.n >= MIN_SOUNDS and tally.share is not None and tally.by_chance is not None:
            trials.append(ClosureTrial(sample[0].row.person, tally, tally.by_chance - tally.share))
    return trials


def _score_by_share(trials: Sequence[ClosureTrial]) -> list[ClosureTrial]:
    """Score by the share of missed closures alone, as if chance were the same for every face."""
    return [replace(one, score=-(one.tally.share or 0.0)) for one in trials]


def _draw_voice(clip: ClosureClip, others: Sequence[ClosureClip], chance: np.random.Generator) -> ClosureClip | None:
    """Draw another person uniformly, then one of their clips; None if there is no other."""
    people = sorted({one.row.person for one in others} - {clip.row.person})
    if not people:
        return None
    person = people[chance.integers(len(people))]
    foreign = [one for one in others if one.row.person == person]
    return foreign[chance.integers(len(foreign))]


def _result(trials: Sequence[ClosureTrial], parting: Discrimination) -> ClosureResult:
    if not trials:
        return ClosureResult(parting, None, None, None)
    shares = [(one.tally.share, one.tally.by_chance, one.tally.n) for one in trials]
    share, by_chance, n_sounds = np.asarray(shares, np.float64).mean(axis=0).tolist()
    return ClosureResult(parting, share, by_chance, n_sounds)
