"""Many people at once, from a folder or a list of clips to an enrolled gallery: behind `notebooks/enrolment.ipynb`.

A clip is looked at once: what was seen is kept in a portable file, as `wayspeak gallery export` writes it, and read
from there the next time. Delete that file when it is of no more use: whoever is forgotten in the gallery stays in it.

The figure of an enrolment: how alike every two clips are. Pure.
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
class Listed:
    """A clip, and who is said to speak in it."""

    speaker: str
    path: Path
    session: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A clip that gives nothing."""

    speaker: str
    clip: str
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What was made of a list of clips."""

    people: tuple[Person, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class SelfSearch:
    """An enrolled clip, and whom the gallery takes it for."""

    speaker: str
    clip: str
    first: str  # empty: nobody
    similarity: float | None
    is_found: bool


def list_clips(source: Path) -> list[Listed]:
    """Read a CSV with path, speaker and session, or a folder with one folder a person; EngineError where it is none."""
    if source.is_dir():
        found = [
            Listed(folder.name, clip)
            for folder in sorted(source.iterdir())
            if folder.is_dir() and not folder.name.startswith(".")
            for clip in sorted(folder.iterdir())
            if clip.is_file() and not clip.name.startswith(".")
        ]
    else:
        rows = read_manifest(source, required=("path", "label", "speaker"))
        found = [Listed(row.speaker, row.path, row.session or "") for row in rows if row.is_real and row.speaker]
    if not found:
        raise EngineError(
            f"{source} names no clip of anybody.",
            "Give a folder with one folder of clips for each person, or a CSV with path, label (real) and speaker.",
        )
    return found


def look_at_clips(
    listed: Sequence[Listed], load_watcher: Callable[[], "ClipEmbedder"], consent: Consent, kept: Path
) -> Seen:
    """Look for the speaker of each clip; where `kept` is there, read from it what was seen before."""
    if kept.exists():
        return Seen(read_people(kept), ())
    watcher, samples, left_out = load_watcher(), dict[str, list[StoredSample]](), list[LeftOut]()
    for one in listed:
        try:
            found = to_sample(watcher.find_speaker(one.path), one.session)
            samples.setdefault(one.speaker, []).append(_store(found, consent))
        except EngineError as error:
            left_out.append(LeftOut(one.speaker, one.path.name, error.message))
    now = datetime.now(UTC)
    people = tuple(Person(name, now, tuple(own)) for name, own in samples.items())
    if people:
        write_people(kept, people)
    return Seen(people, tuple(left_out))


def try_people(gallery: Gallery, people: Sequence[Person]) -> dict[str, EnrolmentCheck]:
    """Say which clips of each an enrolment would accept, and write nothing."""
    return {one.name: gallery.admit(one.name, _renew(one)) for one in people}


def enrol_people(
    gallery: Gallery, people: Sequence[Person], consent: Consent
) -> dict[str, Enrolment | EnrolmentRefused]:
    """Enrol everybody whom the gallery accepts, each in a transaction of their own; of the others, why not."""
    done: dict[str, Enrolment | EnrolmentRefused] = {}
    for one in people:
        try:
            done[one.name] = gallery.enrol(one.name, _renew(one), consent)
        except EnrolmentRefused as refused:
            done[one.name] = refused
    return done


def search_selves(
    gallery: Gallery, people: Sequence[Person], done: Mapping[str, Enrolment | EnrolmentRefused]
) -> list[SelfSearch]:
    """Look each enrolled clip up where it is enrolled: who does not come first even there cannot be found at all."""
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
    """Name all clips, and give the similarities (N, N) float64 of each with each; ValueError for two recipes."""
    clips = [(one.name, sample) for one in people for sample in one.samples]
    if len({sample.embedding.recipe for _, sample in clips}) > 1:
        raise ValueError("the clips are of two recipes")
    vectors = np.array([sample.embedding.vector for _, sample in clips], np.float64)
    return [f"{name}: {sample.source_name}" for name, sample in clips], vectors @ vectors.T


def tabulate_quality(people: Sequence[Person]) -> Table:
    """Lay out what was seen of each clip, and how like the others of the same person it is."""
    table = Table(
        "person", "clip", "session", "seconds", "face px", "windows", "spread", "natural", "like own", box=SIMPLE
    )
    for one in people:
        for sample, own in zip(one.samples, _measure_own(one), strict=True):
            seen = sample.embedding
            size = "-" if sample.face_px is None else f"{sample.face_px:.0f}"
            figures = (f"{seen.seconds:.1f}", size, str(seen.n_windows), f"{seen.spread:.2f}")
            natural, like = "yes" if seen.is_natural else "NO", "-" if own is None else f"{own:.2f}"
            table.add_row(one.name, sample.source_name, sample.session, *figures, natural, like)
    return table


def tabulate_admissions(admissions: Mapping[str, EnrolmentCheck]) -> Table:
    """Lay out how many clips would be accepted, what is refused and why, and what is warned of."""
    table = Table("person", "accepted", "limited", "refused: outliers, duplicates, tampering", "warnings", box=SIMPLE)
    for name, one in admissions.items():
        refused = "\n".join(f"{each.source_name}: {each.reason}, {each.text}" for each in one.rejections)
        accepted = f"{int(one.accepted.sum())} of {len(one.accepted)}"
        table.add_row(name, accepted, "yes" if one.is_limited else "no", refused, "\n".join(one.warnings))
    return table


def describe_enrolments(done: Mapping[str, Enrolment | EnrolmentRefused]) -> Iterator[str]:
    """Say for each person what became of them."""
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
    """Mean similarity of each clip with the others of its person."""
    vectors = np.array([one.embedding.vector for one in person.samples], np.float64)
    similarity = vectors @ vectors.T
    others = len(vectors) - 1
    return [float(row.sum() - row[place]) / others if others else None for place, row in enumerate(similarity)]


def _renew(person: Person) -> list[NewSample]:
    return [one.to_new() for one in person.samples]


def _store(sample: NewSample, consent: Consent) -> StoredSample:
    """What a portable file holds: it has no numbers of its own."""
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
    """Draw the similarities (N, N) of clips by name: people who are apart make bright squares along the diagonal."""
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
    figure.update_layout(title="How alike every two clips are", height=480, paper_bgcolor="rgba(0,0,0,0)")
    return figure
