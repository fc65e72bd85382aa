"""Results of the gallery as lines for a terminal and as JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

import numpy as np

from engine.calibration.records import Task
from engine.calibration.verbal_scale import state
from gallery_db.records import (
    Candidate,
    Check,
    Enrolment,
    EnrolmentCheck,
    Receipt,
    Rejection,
    Search,
    SearchReason,
    Speaker,
    Stats,
    Verification,
)

SCHEMA_VERSION = 1  # of the JSON
CAUTION = "Moving alike is evidence to be weighed, no proof of who somebody is."
EXPLANATIONS = {  # shown on the page: keys of its translations
    SearchReason.UNCALIBRATED: "similarities are raw, so nobody can be told to be supported or not",
    SearchReason.GALLERY_EMPTY: "nobody is enrolled",
    SearchReason.NOT_NATURAL: "the motion is not natural, the clip may have been tampered with; it names nobody",
    SearchReason.AMBIGUOUS_TOP2: "the first two are too close to be told apart",
    SearchReason.PROBE_TOO_SHORT: "the face is seen for less than 4 s, which no calibration is for: use a longer clip",
    SearchReason.ENROL_TOO_SHORT: "there is less than 20 s of the first, or one clip alone",
    SearchReason.OTHER_RECIPE: "some people are enrolled by other weights or an older version and were not compared",
}


def describe_search(found: Search) -> list[str]:
    """Describe the result of a search."""
    return [
        _conclude(found),
        *_explain(found.reasons),
        *[f"  {state(one.llr, Task.IDENTIFICATION).text}" for one in found.candidates[:1] if one.llr is not None],
        *[f"  {rank}. {_describe_candidate(one)}" for rank, one in enumerate(found.candidates, start=1)],
    ]


def describe_verification(found: Verification) -> list[str]:
    """Describe the result of a verification."""
    name = clean(found.speaker.name)
    if found.similarity is None:
        return [f"No result for {name}.", *_explain(found.reasons)]
    headings = {True: f"It is supported that this is {name}", False: f"It is not supported that this is {name}"}
    heading = headings[found.is_supported] if found.is_supported is not None else f"Compared with {name}"
    own = ", ".join(f"{clean(one.source_name)} {one.similarity:.3f}" for one in found.samples)
    return [
        f"{heading}: {_measure(found.similarity, found.llr)}; {_count(found.speaker)}",
        *_explain(found.reasons),
        *([] if found.llr is None else [f"  {state(found.llr, Task.VERIFICATION).text}"]),
        f"  to each of their clips: {own}",
    ]


def describe_enrolment(done: Enrolment) -> list[str]:
    """Describe the result of an enrolment."""
    speaker = done.speaker
    lines = [
        f"{clean(speaker.name)}: {_plural(len(done.sample_ids), 'clip')} enrolled, {_count(speaker)} in all",
        *describe_rejections(done.rejected),
        *_warn(done.warnings, done.is_limited),
    ]
    if speaker.expires_at is not None:
        lines.append(f"  to be forgotten by {speaker.expires_at:%Y-%m-%d}, when the term of the consent ends")
    return lines


def describe_enrolment_check(found: EnrolmentCheck) -> list[str]:
    """Describe which samples an enrolment would accept."""
    return [
        f"{_plural(int(found.accepted.sum()), 'clip')} of {len(found.accepted)} would be enrolled",
        *describe_rejections(found.rejections),
        *_warn(found.warnings, found.is_limited),
    ]


def describe_rejections(rejected: Sequence[Rejection]) -> list[str]:
    """Describe the rejected clips."""
    return [f"  left out: {clean(one.source_name)}: {clean(one.text)} ({one.reason})" for one in rejected]


def describe_speakers(speakers: Sequence[Speaker], now: datetime) -> list[str]:
    """Describe the enrolled speakers, with limited enrolments and terms."""
    if not speakers:
        return ["No speaker is enrolled."]
    width = max(len(clean(one.name)) for one in speakers)
    return [f"{clean(one.name):{width}}  {_count(one)}{_note(one, now)}" for one in speakers]


def describe_receipt(name: str, receipt: Receipt) -> list[str]:
    """Describe an erasure and the copies that it cannot reach."""
    removed = ", ".join(f"{count} {name}" for name, count in receipt.removed.items() if count)
    erased = (
        "Their bytes are gone from every file of the database."
        if receipt.is_erased
        else "Their bytes may still stand in the files of the database."
    )
    return [
        f"{clean(name)} was forgotten at {receipt.forgotten_at:%Y-%m-%d %H:%M:%S} UTC",
        f"  in the records of the gallery: {receipt.subject}",
        f"  removed: {removed or 'nothing'}",
        f"  {erased}",
        *[f"  not reached: {place}" for place in receipt.remaining],
    ]


def describe_stats(stats: Stats) -> list[str]:
    """Describe the statistics of the gallery."""
    recipes = [
        f"  {one.recipe}: {_plural(one.n_speakers, 'speaker')}, {_plural(one.n_vectors, 'vector')}, {one.backend}"
        for one in stats.recipes
    ]
    overdue = f"; {_plural(stats.n_overdue, 'speaker')} overdue to be forgotten" if stats.n_overdue else ""
    return [
        f"{_plural(stats.n_speakers, 'speaker')}, {_plural(stats.n_samples, 'clip')}, {stats.seconds:.0f} s{overdue}",
        *recipes,
        f"{stats.database}: {stats.bytes_on_disk / 1e6:.1f} MB, schema {stats.version}, generation {stats.generation}",
    ]


def describe_check(found: Check) -> list[str]:
    """Describe the result of an integrity check."""
    lines = [f"mended: {text}" for text in found.mended] + [f"problem: {text}" for text in found.problems]
    return lines or ["The gallery is sound."]


def to_json(record: Any) -> Any:
    """Convert a record to dicts, lists, strings and finite numbers."""
    if is_dataclass(record) and not isinstance(record, type):
        return {one.name: to_json(getattr(record, one.name)) for one in fields(record)}
    if isinstance(record, dict):
        return {str(name): to_json(value) for name, value in record.items()}
    if isinstance(record, np.ndarray):
        return to_json(record.tolist())
    if isinstance(record, tuple | list):
        return [to_json(one) for one in record]
    if isinstance(record, datetime):
        return record.isoformat()
    if isinstance(record, float):
        return round(record, 6) if np.isfinite(record) else None
    return str(record) if isinstance(record, str) else record


def clean(text: str) -> str:
    """Replace characters that would control a terminal."""
    return "".join(one if one.isprintable() else "�" for one in text)


def _conclude(found: Search) -> str:
    among = f"of {_plural(found.n_speakers, 'enrolled speaker')}"
    if found.supported:
        return f"Supported, {among}: {clean(found.supported[0].name)}"
    if found.is_supported is False:
        return f"None supported, {among}"
    return f"No speaker is named, {among}"


def _describe_candidate(one: Candidate) -> str:
    limited = ", LIMITED" if one.is_limited else ""
    return (
        f"{clean(one.name)}: {_measure(one.similarity, one.llr)}; "
        f"{_plural(one.n_samples, 'clip')}, {one.seconds:.1f} s{limited}"
    )


def _measure(similarity: float, llr: float | None) -> str:
    """Return the log10 LR, or the similarity marked as uncalibrated."""
    if llr is None:
        return f"similarity {similarity:.3f} (uncalibrated)"
    return f"log10 likelihood ratio {llr:+.2f} (similarity {similarity:.3f})"


def _count(speaker: Speaker) -> str:
    limited = ", LIMITED" if speaker.is_limited else ""
    return f"{_plural(speaker.n_samples, 'clip')}, {speaker.seconds:.1f} s{limited}"


def _warn(warnings: Sequence[str], is_limited: bool) -> list[str]:
    limited = ["  LIMITED: 20 s of speech over two clips are asked for; enrol more clips"] if is_limited else []
    return [*[f"  warning: {clean(text)}" for text in warnings], *limited]


def _note(speaker: Speaker, now: datetime) -> str:
    if speaker.expires_at is None:
        return ""
    if speaker.expires_at <= now:
        return f", OVERDUE: to be forgotten by {speaker.expires_at:%Y-%m-%d}"
    return f", until {speaker.expires_at:%Y-%m-%d}"


def _explain(reasons: Iterable[SearchReason]) -> list[str]:
    return [f"  {reason}: {EXPLANATIONS[reason]}" for reason in reasons]


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
