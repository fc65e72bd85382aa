"""Whose way of speaking is it: people told apart, looked up, and found behind a forged face."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from engine.datasets.manifest import Row
from engine.errors import Code
from engine.evaluation.results import Identified, IdentityFigures, IdentityReport, OpenSet
from engine.evaluation.speakers.comparisons import SamplePairs, Search, pair_candidates, pair_samples, search
from engine.evaluation.speakers.embeddings import EmbeddedRows
from engine.evaluation.speakers.metrics import (
    RESAMPLES,
    Strangers,
    find_strangers,
    tell_following,
    tell_open_set,
    tell_recognition,
)
from engine.evaluation.speakers.samples import Sample, may_meet, name_speaker, pool_rows
from engine.style.embedder import EmbedderName

FEW = 10  # people, behind intervals that then are said to be of few


class IdentityTask(StrEnum):
    """What is asked about people."""

    VERIFICATION = "verification"  # are these two samples of one person?
    IDENTIFICATION = "identification"  # who of the enrolled is it, if anybody?
    IOS = "ios"  # who moved the face of a forged clip?


@dataclass(frozen=True, slots=True)
class IdentityOptions:
    """What changes the figures."""

    task: IdentityTask
    embedder: EmbedderName = EmbedderName.DYNAMICS
    pool_s: float | None = None  # least seconds of a sample; None: as the manifest has it
    same_session: bool = False  # let samples of one session meet
    gate: bool = True  # who is told not to move naturally names nobody and is not enrolled
    seed: int = 0
    resamples: int = RESAMPLES  # behind each interval


@dataclass(frozen=True, slots=True, eq=False)
class SpeakerBenchmark:
    """Everybody who is enrolled, and how probes are held against them throughout one evaluation."""

    real: tuple[Sample, ...]  # untouched: the gallery, then those that are not enrolled since they seem not to be
    gallery: tuple[Sample, ...]
    has_sessions: bool
    options: IdentityOptions

    @property
    def is_across(self) -> bool:
        """No sample meets another one of its speaker's session, as far as the manifest knows."""
        return self.has_sessions and not self.options.same_session

    def allow(self, probes: Sequence[Sample]) -> np.ndarray:
        return may_meet(probes, self.gallery, self.has_sessions, self.options.same_session)

    def search(self, probes: Sequence[Sample]) -> Search:
        return search(probes, self.gallery, self.allow(probes))

    def pair(self, probes: Sequence[Sample], found: Search) -> SamplePairs:
        """Give the pairs that the task is about: of samples, or of a sample and a person."""
        if self.options.task != IdentityTask.VERIFICATION:
            return pair_candidates(found)
        return pair_samples(probes, self.gallery, self.allow(probes), once=probes is self.real)

    def tell(self, probes: Sequence[Sample], strangers: Strangers | None, untouched: Search | None) -> Identified:
        """Work out all figures of one set of probes."""
        found, how = self.search(probes), (self.options.seed, self.options.resamples)
        tried = ~np.isnan(found.scores).all(axis=1)
        return Identified(
            tell_recognition(self.pair(probes, found), found, *how),
            int((found.refused & tried).sum()),
            int(tried.sum()),
            None if strangers is None else tell_open_set(found, strangers, *how),
            None if untouched is None else tell_following(found, untouched, *how),
        )


def check_manifest(rows: Sequence[Row], options: IdentityOptions) -> None:
    """Refuse, as BAD_MANIFEST, rows that cannot answer whatever is found in the clips."""
    real = [row for row in rows if row.is_real and row.speaker]
    if not any(row.is_real for row in rows):
        raise Code.BAD_MANIFEST("The manifest has no row with the label real.", "Only untouched clips are enrolled.")
    people = {row.speaker for row in real}
    if len(people) < 2:
        raise Code.BAD_MANIFEST(
            f"The real rows of the manifest name {len(people)} speakers in the column speaker, wanted two at least.",
            "Name who is seen in each clip.",
        )
    if options.task == IdentityTask.IOS:
        _check_forged(rows, people)
    usable = [row for row in rows if name_unusable(row, options.task) is None]
    if not _has_genuine(usable, options):
        across = _has_sessions(rows) and not options.same_session
        raise Code.BAD_MANIFEST(
            "No speaker of the manifest has clips of two sessions, and clips of one session are not compared."
            if across
            else "No speaker of the manifest has two clips.",
            "Add clips of another day, or see what --same-session gives." if across else "Nothing can be compared.",
        )


def name_unusable(row: Row, task: IdentityTask) -> str | None:
    """Say why the cells of a row make it of no use for the task; None where they do not."""
    if not name_speaker(row):
        return "it names no speaker"
    if task != IdentityTask.IOS or row.is_real:
        return None
    if not (row.face_owner and row.motion_owner):
        return "it does not name the owners of its face and of its motion"
    return "its face and its motion are of one person" if row.face_owner == row.motion_owner else None


def evaluate_identity(embedded: EmbeddedRows, manifest: Sequence[Row], options: IdentityOptions) -> IdentityReport:
    """Work out the figures of what was embedded; of the whole manifest the cells alone are read."""
    pooled = pool_rows(embedded.rows, manifest, embedded.nature, options.pool_s, options.seed)
    samples = [replace(one, is_natural=one.is_natural or not options.gate) for one in pooled.samples]
    gallery = tuple(one for one in samples if one.is_real and one.is_natural)
    refused = tuple(one for one in samples if one.is_real and not one.is_natural)
    real, made = gallery + refused, tuple(one for one in samples if not one.is_real)
    bench = SpeakerBenchmark(real, gallery, _has_sessions(manifest), options)
    figures = _tell_figures(bench, made)
    speakers = {one.speaker for one in real}
    return IdentityReport(
        task=options.task,
        embedder=options.embedder,
        recipe=embedded.recipe,
        observer_recipe=embedded.observer_recipe,
        figures=figures,
        pool_s=options.pool_s,
        across_sessions=bench.is_across,
        n_rows=len(embedded.rows) - len(pooled.skipped),
        n_samples=len(real),
        n_speakers=len(speakers),
        n_trained_speakers=len(speakers & embedded.trained_on),
        n_made_samples=len(made),
        gated=options.gate,
        not_enrolled=tuple(name for one in refused if one.enrol is not False for name in one.names),
        seconds=float(np.median([one.seconds for one in real])) if real else None,
        remarks=tuple(_remark(bench, made, figures)),
        skipped=(*embedded.skipped, *pooled.skipped),
    )


def _tell_figures(bench: SpeakerBenchmark, made: Sequence[Sample]) -> IdentityFigures:
    own = bench.search(bench.real)
    task = bench.options.task
    strangers = find_strangers(own) if task == IdentityTask.IDENTIFICATION else None
    untouched = own if task == IdentityTask.IOS else None
    methods: dict[str, list[Sample]] = {}
    for one in made:
        methods.setdefault(one.method, []).append(one)
    return IdentityFigures(
        whole=bench.tell(made if task == IdentityTask.IOS else bench.real, strangers, untouched),
        per_method={name: bench.tell(methods[name], strangers, untouched) for name in sorted(methods)},
    )


def _remark(bench: SpeakerBenchmark, made: Sequence[Sample], figures: IdentityFigures) -> Iterator[str]:
    """Say what the figures must not be read without."""
    whole = figures.whole.recognition
    if not bench.options.gate:
        yield "NOT GATED: motion that is told not to be natural was enrolled and looked up all the same."
    if not bench.has_sessions:
        yield (
            "NOT ACROSS SESSIONS: no row tells its session, so clips of one day may have been held against each other, "
            "and light, clothes or camera may have told the people apart."
        )
    elif bench.options.same_session:
        yield "NOT ACROSS SESSIONS: samples of one session were held against each other, as was asked for."
    elif unplaced := sum(not one.motion_placed for one in (*bench.real, *made)):
        yield f"{unplaced} samples tell no session and were held against nobody's own."
    if faceless := sum(not one.face_placed and one.motion_placed for one in made):
        yield (
            f"Of {faceless} samples the manifest does not tell the session that the face is from (donor_path): "
            "the gallery may hold that very clip of it."
        )
    if whole.n_genuine == 0:
        yield "No sample could be held against another one of its speaker."
    if whole.n_probe_speakers < FEW:
        yield f"The intervals are over {whole.n_probe_speakers} people alone: more people would change them."
    yield from _remark_strangers(figures.whole.open_set)


def _remark_strangers(found: OpenSet | None) -> Iterator[str]:
    for name, is_supported in (found.supported if found else {}).items():
        if found and not is_supported:
            yield (
                f"{found.n_nonmated} samples of strangers cannot support a share of {float(name):.0%}: even without an "
                f"error they show no less than {found.smallest_fpir or 1:.1%}, and they are of "
                f"{found.n_nonmated_speakers} people."
            )


def _has_sessions(rows: Sequence[Row]) -> bool:
    return any(row.session for row in rows)


def _has_genuine(usable: Sequence[Row], options: IdentityOptions) -> bool:
    """Some speaker has an untouched clip and another one that it may be held against."""
    across = _has_sessions(usable) and not options.same_session
    enrolled: dict[str, set[str]] = {}
    anywhere: dict[str, set[str]] = {}
    for row in usable:
        place = (row.session or "") if across else str(row.path)
        if row.is_real and place:
            enrolled.setdefault(row.speaker, set()).add(place)
        # a forged clip may be placed by the clip that drives it, which is looked up later
        anywhere.setdefault(name_speaker(row), set()).add(place or str(row.driver_path or ""))
    return any(len(places | anywhere[name]) - ("" in anywhere[name]) > 1 for name, places in enrolled.items())


def _check_forged(rows: Sequence[Row], people: set[str]) -> None:
    forged = [row for row in rows if not row.is_real and name_unusable(row, IdentityTask.IOS) is None]
    if not forged:
        raise Code.BAD_MANIFEST(
            "The manifest has no forged row that names two people, one as face_owner and another as motion_owner.",
            "Forged clips are looked up by who moved, untouched ones (label real) are enrolled.",
        )
    if not {row.motion_owner for row in forged} & people:
        names = ", ".join(sorted({row.motion_owner or "" for row in forged})[:5])
        raise Code.BAD_MANIFEST(
            f"None of the people who moved the forged faces ({names}) has an untouched clip.",
            "Add rows with the label real of them.",
        )
