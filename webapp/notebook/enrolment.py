"""Functions of `notebooks/enrolment.ipynb`: enrol many speakers from a folder or a list of clips.

Each clip is processed once: the samples are cached in a file in the format of `wayspeak gallery export`. Delete it when
it is no longer needed: speakers erased from the gallery remain in it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from rich.box import SIMPLE
from rich.table import Table

from engine.datasets.manifest import read_manifest
from engine.errors import EngineError
from gallery_db.errors import EnrolmentRefused
from gallery_db.export import read_people, write_people
from gallery_db.gallery import Gallery
from gallery_db.records import Consent, Enrolment, EnrolmentCheck, NewSample, Person, StoredSample
from webapp.analysis.gallery_queries import to_sample

if TYPE_CHECKING:  # it imports torch
    from engine.style.clip_embeddings import ClipEmbedder

REASON = "self-search after an enrolment"


@dataclass(frozen=True, slots=True)
class ListedClip:
    """Clip with its speaker label."""

    speaker: str
    path: Path
    session: str = ""


@dataclass(frozen=True, slots=True)
class SkippedClip:
    """Clip without a usable sample."""

    speaker: str
    clip: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class ExtractedSamples:
    """Samples by speaker, and skipped clips."""

    people: tuple[Person, ...]
    skipped: tuple[SkippedClip, ...]


@dataclass(frozen=True, slots=True)
class SelfSearch:
    """Result of searching an enrolled clip in the gallery."""

    speaker: str
    clip: str
    first: str  # empty: no candidate
    similarity: float | None
    is_found: bool


def list_clips(source: Path) -> list[ListedClip]:
    """List the clips of a CSV with path, speaker and session, or of one folder per speaker; raises EngineError."""
    if source.is_dir():
        found = [
            ListedClip(folder.name, clip)
            for folder in sorted(source.iterdir())
            if folder.is_dir() and not folder.name.startswith(".")
            for clip in sorted(folder.iterdir())
            if clip.is_file() and not clip.name.startswith(".")
        ]
    else:
        rows = read_manifest(source, required=("path", "label", "speaker"))
        found = [ListedClip(row.speaker, row.path, row.session or "") for row in rows if row.is_real and row.speaker]
    if not found:
        raise EngineError(
            f"{source} contains no clip with a speaker.",
            "Use a folder with one folder of clips per speaker, or a CSV with path, label (real) and speaker.",
        )
    return found


def extract_samples(
    clips: Sequence[ListedClip], load_embedder: Callable[[], "ClipEmbedder"], consent: Consent, kept: Path
) -> ExtractedSamples:
    """Extract a sample from each clip and write them to `kept`; if that file exists, read it instead."""
    if kept.exists():
        return ExtractedSamples(read_people(kept), ())
    embedder, samples, skipped = load_embedder(), dict[str, list[StoredSample]](), list[SkippedClip]()
    for one in clips:
        try:
            found = to_sample(embedder.find_speaker(one.path), one.session)
            samples.setdefault(one.speaker, []).append(_store(found, consent))
        except EngineError as error:
            skipped.append(SkippedClip(one.speaker, one.path.name, error.message))
    now = datetime.now(UTC)
    people = tuple(Person(name, now, tuple(own)) for name, own in samples.items())
    if people:
        write_people(kept, people)
    return ExtractedSamples(people, tuple(skipped))


def check_people(gallery: Gallery, people: Sequence[Person]) -> dict[str, EnrolmentCheck]:
    """Check which clips of each speaker an enrolment would accept; write nothing."""
    return {one.name: gallery.admit(one.name, _renew(one)) for one in people}


def enrol_people(
    gallery: Gallery, people: Sequence[Person], consent: Consent
) -> dict[str, Enrolment | EnrolmentRefused]:
    """Enrol each speaker in a separate transaction; return the results or refusals by name."""
    done: dict[str, Enrolment | EnrolmentRefused] = {}
    for one in people:
        try:
            done[one.name] = gallery.enrol(one.name, _renew(one), consent)
        except EnrolmentRefused as refused:
            done[one.name] = refused
    return done


def search_enrolled(
    gallery: Gallery, people: Sequence[Person], done: Mapping[str, Enrolment | EnrolmentRefused]
) -> list[SelfSearch]:
    """Search each enrolled clip in the gallery; its own speaker should be the first candidate."""
    enrolled = {name: one for name, one in done.items() if isinstance(one, Enrolment)}
    refused = {(name, each.source_hash) for name, one in enrolled.items() for each in one.rejected}
    return [
        _search(gallery, one.name, sample)
        for one in people
        if one.name in enrolled
        for sample in one.samples
        if (one.name, sample.source_hash) not in refused
    ]


def compare_clips(people: Sequence[Person]) -> tuple[list[str], np.ndarray]:
    """Return labels and similarities (N, N) float64 of all clips; raises ValueError for several recipes."""
    clips = [(one.name, sample) for one in people for sample in one.samples]
    if len({sample.embedding.recipe for _, sample in clips}) > 1:
        raise ValueError("the clips are of several recipes")
    vectors = np.array([sample.embedding.vector for _, sample in clips], np.float64)
    return [f"{name}: {sample.source_name}" for name, sample in clips], vectors @ vectors.T


def tabulate_quality(people: Sequence[Person]) -> Table:
    """Tabulate each clip with its mean similarity to the other clips of the speaker."""
    table = Table(
        "person", "clip", "session", "seconds", "face px", "windows", "spread", "natural", "like own", box=SIMPLE
    )
    for one in people:
        for sample, own in zip(one.samples, _measure_own(one), strict=True):
            embedding = sample.embedding
            size = "-" if sample.face_px is None else f"{sample.face_px:.0f}"
            figures = (f"{embedding.seconds:.1f}", size, str(embedding.n_windows), f"{embedding.spread:.2f}")
            natural, like = "yes" if embedding.is_natural else "NO", "-" if own is None else f"{own:.2f}"
            table.add_row(one.name, sample.source_name, sample.session, *figures, natural, like)
    return table


def tabulate_checks(checks: Mapping[str, EnrolmentCheck]) -> Table:
    """Tabulate accepted clips, rejections with reasons, and warnings per speaker."""
    table = Table("person", "accepted", "limited", "refused: outliers, duplicates, tampering", "warnings", box=SIMPLE)
    for name, one in checks.items():
        refused = "\n".join(f"{each.source_name}: {each.reason}, {each.text}" for each in one.rejections)
        accepted = f"{int(one.accepted.sum())} of {len(one.accepted)}"
        table.add_row(name, accepted, "yes" if one.is_limited else "no", refused, "\n".join(one.warnings))
    return table


def describe_enrolments(done: Mapping[str, Enrolment | EnrolmentRefused]) -> Iterator[str]:
    """Describe the result of each enrolment."""
    for name, one in done.items():
        if isinstance(one, EnrolmentRefused):
            yield f"{name}: not enrolled. {one.message}"
        else:
            limited = ", LIMITED" if one.is_limited else ""
            yield f"{name}: {len(one.sample_ids)} clips enrolled, {len(one.rejected)} left out{limited}"


def _search(gallery: Gallery, name: str, sample: StoredSample) -> SelfSearch:
    found = gallery.search(sample.embedding, 1, reason=REASON)
    if not found.candidates:
        return SelfSearch(name, sample.source_name, "", None, False)
    first = found.candidates[0]
    return SelfSearch(name, sample.source_name, first.name, first.similarity, first.name == name)


def _measure_own(person: Person) -> list[float | None]:
    """Return the mean similarity of each clip to the others of its speaker."""
    vectors = np.array([one.embedding.vector for one in person.samples], np.float64)
    similarity = vectors @ vectors.T
    others = len(vectors) - 1
    return [float(row.sum() - row[place]) / others if others else None for place, row in enumerate(similarity)]


def _renew(person: Person) -> list[NewSample]:
    return [one.to_new() for one in person.samples]


def _store(sample: NewSample, consent: Consent) -> StoredSample:
    """Convert to the record of an export; without database ids."""
    return StoredSample(
        id=0,
        speaker_id=0,
        source_hash=sample.source_hash,
        source_name=sample.source_name,
        session=sample.session,
        embedding=sample.embedding,
        consent=consent,
        created_at=datetime.now(UTC),
        face_px=sample.face_px,
        thumbnail=sample.thumbnail,
    )


def plot_similarities(names: Sequence[str], similarities: np.ndarray) -> go.Figure:
    """Plot similarities (N, N) of clips; separable speakers are bright squares on the diagonal."""
    labels = [escape(name) for name in names]
    heat = go.Heatmap(
        x=labels,
        y=labels,
        z=similarities.round(3),
        zmin=-1,
        zmax=1,
        colorscale="Viridis",
        hovertemplate="%{x}<br>%{y}<br>similarity %{z:.2f}<extra></extra>",
    )
    figure = go.Figure(heat)
    figure.update_xaxes(showticklabels=False)
    figure.update_yaxes(showticklabels=False, autorange="reversed")
    figure.update_layout(title="Similarity of all pairs of clips", height=480, paper_bgcolor="rgba(0,0,0,0)")
    return figure
