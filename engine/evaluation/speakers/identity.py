"""Evaluate speaker embeddings: verification, identification, and identification of forged clips by motion (IOS)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from engine.datasets.manifest import Row
from engine.errors import Code
from engine.evaluation.speakers.comparisons import SamplePairs, Search, pair_candidates, pair_samples, search
from engine.evaluation.speakers.embeddings import EmbeddedRows
from engine.evaluation.speakers.metrics import (
    RESAMPLES,
    UnenrolledProbes,
    measure_following,
    measure_open_set,
    measure_recognition,
    score_unenrolled,
)
from engine.evaluation.speakers.results import IdentityReport, IdentityResults, OpenSet, ProbeResults
from engine.evaluation.speakers.samples import Sample, find_comparable, name_speaker, pool_rows
from engine.style.embedder import EmbedderName

FEW = 10  # intervals over fewer people get a remark


class IdentityTask(StrEnum):
    """Speaker evaluation task."""

    VERIFICATION = "verification"  # are two samples of one person?
    IDENTIFICATION = "identification"  # which enrolled speaker is it, if any?
    IOS = "ios"  # who is the person of the motion in a forged clip?


@dataclass(frozen=True, slots=True)
class IdentityOptions:
    """Options that change the results."""

    task: IdentityTask
    embedder: EmbedderName = EmbedderName.DYNAMICS
    pool_s: float | None = None  # minimum seconds of a sample; None: as in the manifest
    same_session: bool = False  # compare samples of one session
    gate: bool = True  # samples with unnatural motion are neither enrolled nor identified
    seed: int = 0
    resamples: int = RESAMPLES  # per interval


@dataclass(frozen=True, slots=True, eq=False)
class SpeakerBenchmark:
    """The gallery of one evaluation, and how probes are compared with it."""

    real: tuple[Sample, ...]  # the gallery, then real samples with unnatural motion
    gallery: tuple[Sample, ...]
    has_sessions: bool
    options: IdentityOptions

    @property
    def is_across(self) -> bool:
        """Samples are compared across sessions only, as far as the manifest has them."""
        return self.has_sessions and not self.options.same_session

    def allow(self, probes: Sequence[Sample]) -> np.ndarray:
        return find_comparable(probes, self.gallery, self.has_sessions, self.options.same_session)

    def search(self, probes: Sequence[Sample]) -> Search:
        return search(probes, self.gallery, self.allow(probes))

    def pair(self, probes: Sequence[Sample], found: Search) -> SamplePairs:
        """Return the pairs of the task: of two samples, or of a sample and a speaker."""
        if self.options.task != IdentityTask.VERIFICATION:
            return pair_candidates(found)
        return pair_samples(probes, self.gallery, self.allow(probes), once=probes is self.real)

    def measure(
        self, probes: Sequence[Sample], nonmated: UnenrolledProbes | None, untouched: Search | None
    ) -> ProbeResults:
        """Compute all results of one set of probes."""
        found, how = self.search(probes), (self.options.seed, self.options.resamples)
        tried = ~np.isnan(found.scores).all(axis=1)
        return ProbeResults(
            measure_recognition(self.pair(probes, found), found, *how),
            int((found.refused & tried).sum()),
            int(tried.sum()),
            None if nonmated is None else measure_open_set(found, nonmated, *how),
            None if untouched is None else measure_following(found, untouched, *how),
        )


def check_manifest(rows: Sequence[Row], options: IdentityOptions) -> None:
    """Raise BAD_MANIFEST if the task cannot be evaluated on these rows, whatever the clips contain."""
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
            "Add clips of another day, or use --same-session." if across else "Nothing can be compared.",
        )


def name_unusable(row: Row, task: IdentityTask) -> str | None:
    """Return why a row cannot be used for the task according to its cells, or None."""
    if not name_speaker(row):
        return "it names no speaker"
    if task != IdentityTask.IOS or row.is_real:
        return None
    if not (row.face_owner and row.motion_owner):
        return "it does not name the owners of its face and of its motion"
    return "its face and its motion are of one person" if row.face_owner == row.motion_owner else None


def evaluate_identity(embedded: EmbeddedRows, manifest: Sequence[Row], options: IdentityOptions) -> IdentityReport:
    """Compute the results of the embedded rows; only the cells of the whole manifest are read."""
    pooled = pool_rows(embedded.rows, manifest, embedded.nature, options.pool_s, options.seed)
    samples = [replace(one, is_natural=one.is_natural or not options.gate) for one in pooled.samples]
    gallery = tuple(one for one in samples if one.is_real and one.is_natural)
    refused = tuple(one for one in samples if one.is_real and not one.is_natural)
    real, made = gallery + refused, tuple(one for one in samples if not one.is_real)
    bench = SpeakerBenchmark(real, gallery, _has_sessions(manifest), options)
    figures = _evaluate_tasks(bench, made)
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


def _evaluate_tasks(bench: SpeakerBenchmark, made: Sequence[Sample]) -> IdentityResults:
    own = bench.search(bench.real)
    task = bench.options.task
    nonmated = score_unenrolled(own) if task == IdentityTask.IDENTIFICATION else None
    untouched = own if task == IdentityTask.IOS else None
    methods: dict[str, list[Sample]] = {}
    for one in made:
        methods.setdefault(one.method, []).append(one)
    return IdentityResults(
        whole=bench.measure(made if task == IdentityTask.IOS else bench.real, nonmated, untouched),
        per_method={name: bench.measure(methods[name], nonmated, untouched) for name in sorted(methods)},
    )


def _remark(bench: SpeakerBenchmark, made: Sequence[Sample], figures: IdentityResults) -> Iterator[str]:
    """Yield the limitations of the results."""
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
    yield from _remark_open_set(figures.whole.open_set)


def _remark_open_set(found: OpenSet | None) -> Iterator[str]:
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
    """Return whether a speaker has a real clip and another one to compare it with."""
    across = _has_sessions(usable) and not options.same_session
    enrolled: dict[str, set[str]] = {}
    anywhere: dict[str, set[str]] = {}
    for row in usable:
        place = (row.session or "") if across else str(row.path)
        if row.is_real and place:
            enrolled.setdefault(row.speaker, set()).add(place)
        # the session of a forged clip may follow from its driving clip, which is found later
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
