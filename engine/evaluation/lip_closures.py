"""How well missed lip gestures part own from foreign speech, by how much of it: what `wayspeak phonemes` is worth.

Clips of one person are joined, in the manifest's order, until there is as much speech as asked for. Each joined face is
held against its own sound, against sounds of other people, and against its own sound moved in time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from engine.consistency.lip_closures import Articulation, Gesture, Tally, check_lips, count
from engine.datasets.manifest import Row
from engine.evaluation.results import Discrimination, part
from engine.features.records import FaceFeatures
from engine.speech.phonemes import Sound
from engine.types import FPS

MIN_SOUNDS = 5  # fewer in a sample say nothing: it is no trial
KINDS: dict[str, frozenset[Gesture]] = {
    "closed": frozenset({Gesture.CLOSED}),
    "rounded": frozenset({Gesture.ROUNDED}),
    "both": frozenset(Gesture),
}


@dataclass(frozen=True, slots=True, eq=False)
class Talk:
    """A clip whose face is measured and whose sounds are recognised."""

    row: Row
    track: FaceFeatures
    voiced: np.ndarray  # (T of the clip,) bool
    sounds: tuple[Sound, ...]

    @property
    def speech_s(self) -> float:
        """How long speech is heard while the face is measured."""
        own = self.voiced[self.track.start : self.track.end]
        return float((own & self.track.seen[: len(own)]).sum()) / FPS


@dataclass(frozen=True, slots=True)
class ClosureTrial:
    """A face, joined from clips of one person, against a sound."""

    group: str  # the person
    tally: Tally
    score: float  # higher speaks for one speech


@dataclass(frozen=True, slots=True)
class ClosureAnswer:
    """What trials of one kind came to."""

    parting: Discrimination  # of faces with their own sounds against these
    share: float | None  # missed, mean over the trials
    by_chance: float | None
    n_sounds: float | None  # in a trial, mean


@dataclass(frozen=True, slots=True)
class ArticulationFigures:
    """For one length of speech and one kind of gesture."""

    seconds: float
    kind: str  # of `KINDS`
    own: ClosureAnswer  # its parting is against foreign sounds, scored by the share that is made alone
    foreign: ClosureAnswer
    shifted: dict[str, ClosureAnswer]  # the own sound moved by so many seconds
    methods: dict[str, ClosureAnswer]  # rows that are not real, with the sound that they have
    n_too_few: int  # own samples with fewer than MIN_SOUNDS sounds


@dataclass(frozen=True, slots=True)
class ArticulationTrials:
    """How trials are made."""

    seconds: tuple[float, ...] = (4.0, 10.0)
    kinds: tuple[str, ...] = tuple(KINDS)
    shifts_s: tuple[float, ...] = (0.12, 0.2, 0.4, 1.0)
    per_person: int = 8  # samples at most, so that nobody of whom there is much stands for all
    voices_per_face: int = 10
    seed: int = 0


def evaluate_articulation(talks: Sequence[Talk], options: ArticulationTrials) -> list[ArticulationFigures]:
    """Work out the figures for every length and kind; scored by how far fewer are missed than by chance."""
    return [
        _evaluate(join(talks, seconds, options.per_person), talks, seconds, kind, options)
        for seconds in options.seconds
        for kind in options.kinds
    ]


def join(talks: Sequence[Talk], seconds: float, per_person: int) -> list[list[Talk]]:
    """Join clips of one person and method until there is so much speech; what remains at the end is left out.

    Of each, at most `per_person` samples are taken, the first.
    """
    sorts: dict[tuple[str, str, str], list[Talk]] = {}
    for talk in talks:
        sorts.setdefault((talk.row.person, talk.row.label, talk.row.method), []).append(talk)
    samples = []
    for listed in sorts.values():
        own: list[list[Talk]] = []
        filling: list[Talk] = []
        for talk in listed:
            filling.append(talk)
            if sum(one.speech_s for one in filling) >= seconds:
                own.append(filling)
                filling = []
        samples += own[:per_person]
    return samples


def move(talk: Talk, late_s: float) -> Talk:
    """Let the sound come later than the face."""
    sounds = tuple(Sound(one.name, one.start_s + late_s, one.end_s + late_s) for one in talk.sounds)
    return replace(talk, sounds=sounds, voiced=np.roll(talk.voiced, round(late_s * FPS)))


def _evaluate(
    samples: list[list[Talk]], talks: Sequence[Talk], seconds: float, kind: str, options: ArticulationTrials
) -> ArticulationFigures:
    real = [sample for sample in samples if sample[0].row.is_real]
    real_talks = [talk for talk in talks if talk.row.is_real]
    own = _try(real, lambda talk: talk, kind)
    chance = np.random.default_rng(options.seed)
    foreign = [
        trial
        for _ in range(options.voices_per_face)
        for trial in _try(real, lambda talk: _draw_voice(talk, real_talks, chance), kind)
    ]
    shifted = {f"{late:g}": _try(real, partial(move, late_s=late), kind) for late in options.shifts_s}
    methods: dict[str, list[list[Talk]]] = {}
    for sample in samples:
        if not sample[0].row.is_real:
            methods.setdefault(sample[0].row.method or sample[0].row.label, []).append(sample)
    return ArticulationFigures(
        seconds=seconds,
        kind=kind,
        own=_tell(own, part(_score_plainly(own), _score_plainly(foreign), options.seed)),
        foreign=_tell(foreign, part(own, foreign, options.seed)),
        shifted={name: _tell(trials, part(own, trials, options.seed)) for name, trials in shifted.items()},
        methods={name: _tell(trials, part(own, trials, options.seed)) for name, trials in _try_all(methods, kind)},
        n_too_few=len(real) - len(own),
    )


def _try_all(methods: dict[str, list[list[Talk]]], kind: str) -> Iterator[tuple[str, list[ClosureTrial]]]:
    for name in sorted(methods):
        yield name, _try(methods[name], lambda talk: talk, kind)


def _try(samples: Sequence[Sequence[Talk]], voice: Callable[[Talk], Talk | None], kind: str) -> list[ClosureTrial]:
    """Hold every face against the voice chosen for it; samples with too few sounds give no trial."""
    trials = []
    for sample in samples:
        found: list[Articulation] = []
        for talk in sample:
            other = voice(talk)
            if other is not None:
                found += check_lips(talk.track, other.sounds, other.voiced).sounds
        tally = count(one for one in found if one.wanted in KINDS[kind])
        if tally.n >= MIN_SOUNDS and tally.share is not None and tally.by_chance is not None:
            trials.append(ClosureTrial(sample[0].row.person, tally, tally.by_chance - tally.share))
    return trials


def _score_plainly(trials: Sequence[ClosureTrial]) -> list[ClosureTrial]:
    """Score by the share that is missed, as if chance were the same for every face."""
    return [replace(one, score=-(one.tally.share or 0.0)) for one in trials]


def _draw_voice(talk: Talk, others: Sequence[Talk], chance: np.random.Generator) -> Talk | None:
    """Draw another person, each as likely, and a clip of theirs; None where there is no other."""
    people = sorted({one.row.person for one in others} - {talk.row.person})
    if not people:
        return None
    person = people[chance.integers(len(people))]
    foreign = [one for one in others if one.row.person == person]
    return foreign[chance.integers(len(foreign))]


def _tell(trials: Sequence[ClosureTrial], parting: Discrimination) -> ClosureAnswer:
    if not trials:
        return ClosureAnswer(parting, None, None, None)
    shares = [(one.tally.share, one.tally.by_chance, one.tally.n) for one in trials]
    share, by_chance, n_sounds = np.asarray(shares, np.float64).mean(axis=0).tolist()
    return ClosureAnswer(parting, share, by_chance, n_sounds)
