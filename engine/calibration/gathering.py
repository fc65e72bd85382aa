"""Scored trials from measured clips and from embedded samples, by the code that `wayspeak evaluate` runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.calibration.drafts import ENROLLED, FACE, PROBE, SPEECH
from engine.calibration.records import Task
from engine.calibration.spans import count_speech_s, try_other_spans, try_own_spans
from engine.calibration.trials import ScoredTrials
from engine.evaluation.embeddings import EmbeddedRows
from engine.evaluation.measurements import Measurements
from engine.evaluation.samples import Sample, may_meet, pool_rows
from engine.evaluation.searches import Search, choose_pairs, pair_samples, search
from engine.evaluation.trials import try_other_voices, try_own_voices
from engine.experts import Expert
from engine.manifest import Row

LEAST = 0.04  # of a quality: a frame, so that its logarithm is there
WHOLE = "whole"
THEMSELVES = "the weights that the recipe names"
LENGTHS_S = (4.0, 6.0, 10.0)
POOLS_S = (5.0, 10.0, 20.0)


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of all trials."""

    recipe: str
    manifest_sha256: str
    scored_by: str = THEMSELVES


@dataclass(frozen=True, slots=True)
class GatherOptions:
    """Which trials are made."""

    lengths_s: tuple[float, ...] = LENGTHS_S  # of speech, beside the whole clips
    pools_s: tuple[float, ...] = POOLS_S  # of samples of people
    min_speech_s: float = 4.0  # the gates refuse what has less
    per_face: int = 10  # voices of others
    same_session: bool = False
    seed: int = 0


def gather_consistency(
    found: Measurements, expert: Expert, corpora: Mapping[int, str], origin: Origin, options: GatherOptions
) -> ScoredTrials:
    """Hold the faces of real clips against their own and other voices, in whole and in spans of speech.

    Clips that the gates refuse have no part in it, nor do others than real ones: what a forged clip is evidence for
    depends on how it was forged. `corpora` names by the row's number what is held out together.
    """
    real = [one for one in found.measured if one.row.is_real]
    clips = [one.clip for one in real if not one.refused and count_speech_s(one.clip) >= options.min_speech_s]
    source = {one.row.person: corpora[one.row.number] for one in real}
    draw = (expert.compare, options.per_face, options.seed)
    tried = [(WHOLE, try_own_voices(clips, expert.compare), try_other_voices(clips, *draw))]
    for length in options.lengths_s:
        own = try_own_spans(clips, length, expert.encode, expert.compare)
        tried.append((f"{length:g} s", own, try_other_spans(clips, length, expert.encode, *draw)))
    rows = [
        _Scored(one.score, same, (one.group, one.voice_group), condition, (one.speech_s, one.face_px))
        for condition, own, other in tried
        for same, trials in ((True, own), (False, other))
        for one in trials
        if one.speech_s >= options.min_speech_s
    ]
    return _lay(Task.CONSISTENCY, rows, origin, (SPEECH, FACE), source, len(clips), len(real) - len(clips))


def gather_people(
    embedded: EmbeddedRows, manifest: Sequence[Row], task: Task, origin: Origin, options: GatherOptions
) -> ScoredTrials:
    """Hold samples of real clips against samples and against people, or look them up; by samples of several lengths.

    Samples whose motion is not natural name nobody and are not enrolled: they have no part in it.
    """
    rng, rows = np.random.default_rng(options.seed), list[_Scored]()
    n_abstained, sizes = 0, [0]
    for pool_s in options.pools_s:
        pooled = pool_rows(embedded.rows, manifest, embedded.nature, pool_s, options.seed).samples
        real = [one for one in pooled if one.is_real and one.is_natural]
        n_abstained += sum(one.is_real and not one.is_natural for one in pooled)
        bench = _Bench(real, may_meet(real, real, any(row.session for row in manifest), options.same_session))
        if task == Task.IDENTIFICATION:
            rows += bench.look_up(f"{pool_s:g} s")
            sizes.append(len({one.speaker for one in real}) - 1)
        else:
            rows += bench.pair(f"{pool_s:g} s", options.per_face, rng)
            rows += bench.hold_against_people(f"{pool_s:g} s, enrolled", options.per_face, rng)
    speakers = {one.row.speaker: one.row.speaker for one in embedded.rows}
    scored = _lay(task, rows, origin, (PROBE, ENROLLED), speakers, len(embedded.rows), n_abstained)
    return replace(scored, gallery_size=max(sizes) if task == Task.IDENTIFICATION else 0)


@dataclass(frozen=True, slots=True)
class _Scored:
    """One trial."""

    score: float
    same: bool
    people: tuple[str, str]
    condition: str
    raw: tuple[float, ...]  # qualities before their logarithm


@dataclass(frozen=True, slots=True, eq=False)
class _Bench:
    """Samples of one length, each held against the others that it may meet."""

    samples: Sequence[Sample]
    allowed: np.ndarray  # (n, n) bool

    def pair(self, name: str, per_probe: int, rng: np.random.Generator) -> list[_Scored]:
        """Sample against sample: all pairs of one person, of two so many for each probe."""
        pairs = pair_samples(self.samples, self.samples, self.allowed, once=True)
        probes, _ = chosen = choose_pairs(self.allowed, once=True)
        sides = [[self.samples[int(which)] for which in side] for side in chosen]
        return [
            _Scored(
                float(pairs.scores[row]),
                bool(pairs.genuine[row]),
                (sides[0][row].speaker, sides[1][row].speaker),
                name,
                (sides[0][row].seconds, sides[1][row].seconds),
            )
            for row in _thin(probes, pairs.genuine, per_probe, rng).tolist()
        ]

    def hold_against_people(self, name: str, per_probe: int, rng: np.random.Generator) -> list[_Scored]:
        """Sample against person: all samples of theirs that it may meet, pooled."""
        found = search(self.samples, self.samples, self.allowed)
        probes, columns = np.nonzero(~np.isnan(found.scores))
        speakers = np.array(found.speakers)[columns]
        genuine = np.array([one.speaker for one in self.samples])[probes] == speakers
        return [
            self._score(found, int(probes[row]), int(columns[row]), bool(genuine[row]), name)
            for row in _thin(probes, genuine, per_probe, rng)
        ]

    def look_up(self, name: str) -> list[_Scored]:
        """Each sample's own person while enrolled, and its first candidate while not."""
        found, scored = search(self.samples, self.samples, self.allowed), []
        own = found.place([one.speaker for one in self.samples])
        for probe, column in enumerate(own):
            if column >= 0:
                scored.append(self._score(found, probe, int(column), True, name))
            others = found.scores[probe].copy()
            if column >= 0:
                others[column] = np.nan
            if not np.isnan(others).all():
                scored.append(self._score(found, probe, int(np.nanargmax(others)), False, name))
        return scored

    def _score(self, found: Search, probe: int, column: int, same: bool, name: str) -> _Scored:
        person, one = found.speakers[column], self.samples[probe]
        met = np.flatnonzero(self.allowed[probe]).tolist()
        enrolled_s = sum(self.samples[other].seconds for other in met if self.samples[other].speaker == person)
        score = float(found.scores[probe, column])
        return _Scored(score, same, (one.speaker, person), name, (one.seconds, enrolled_s))


def _thin(probes: np.ndarray, genuine: np.ndarray, per_probe: int, rng: np.random.Generator) -> np.ndarray:
    """(K,) rows: all that are genuine, and of the others up to so many of each probe, drawn at random."""
    drawn = rng.permutation(len(probes))
    drawn = drawn[~genuine[drawn]]
    order = drawn[np.argsort(probes[drawn], kind="stable")]
    starts = np.flatnonzero(np.append(True, np.diff(probes[order]) > 0)[: len(order)])
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    return np.sort(np.concatenate([np.flatnonzero(genuine), order[place < per_probe]]))


def _lay(
    task: Task,
    rows: Sequence[_Scored],
    origin: Origin,
    names: tuple[str, ...],
    source_of: Mapping[str, str],
    n_clips: int,
    n_abstained: int,
) -> ScoredTrials:
    people = np.array([one.people for one in rows], str).reshape(len(rows), 2)
    return ScoredTrials(
        task=task,
        recipe=origin.recipe,
        scored_by=origin.scored_by,
        manifest_sha256=origin.manifest_sha256,
        scores=np.array([one.score for one in rows], np.float64),
        same=np.array([one.same for one in rows], bool),
        people=people,
        sources=np.array([[source_of[name] for name in pair] for pair in people], str).reshape(len(rows), 2),
        conditions=np.array([one.condition for one in rows], str),
        quality_names=names,
        qualities=np.log(
            np.maximum(np.array([one.raw for one in rows], np.float64).reshape(len(rows), len(names)), LEAST)
        ),
        n_clips=n_clips,
        n_abstained=n_abstained,
    )
