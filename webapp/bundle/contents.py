"""Contents of an evidence bundle, collected from a finished job."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.calibration.files import list_shipped
from engine.calibration.records import Calibration, to_json
from engine.errors import EngineError
from engine.reports.media import list_facts
from engine.types import Analysis
from gallery_db.gallery import Gallery
from gallery_db.text import clean, describe_search, describe_verification
from webapp.analysis.analyser import AnalysisResult
from webapp.bundle.c2pa import Credentials, examine_credentials
from webapp.bundle.environment import describe_environment, read_cards
from webapp.jobs import files as folders
from webapp.jobs.store import JobStore


@dataclass(frozen=True, slots=True, eq=False)
class BundleContents:
    """A file, its results, and the calibrations, model cards and versions behind them."""

    name: str  # the file name as uploaded
    size_bytes: int
    sha256: str  # computed while the file was copied, before any decoder read it
    analysis: Analysis
    result: str  # the same as JSON: byte for byte what `wayspeak analyse --json` writes
    finished_at: datetime  # UTC; the bundle contains no later time, so that it can be reproduced
    speakers: str | None = None  # JSON of the speaker result; None: not requested
    speaker_lines: tuple[str, ...] = ()  # the speaker result as text
    thumbnails: dict[int, Path] = field(default_factory=dict)  # PNG by face number
    calibrations: dict[str, str] = field(default_factory=dict)  # JSON by id of every calibration record used
    origin: dict[str, Any] | None = None  # of a fetched file; None: uploaded
    credentials: Credentials = field(default_factory=Credentials)
    cards: dict[str, str] = field(default_factory=dict)  # Markdown by file name
    environment: dict[str, Any] = field(default_factory=dict)
    phonemes: str | None = None  # JSON of the lip closures; None: not requested

    def describe(self) -> dict[str, Any]:
        """Return what the bundle contains, how it was made, and what it omits."""
        return {
            "schema_version": 1,
            "original": {
                "name": self.name,
                "size_bytes": self.size_bytes,
                "sha256": self.sha256,
                "sha256_taken": "while the file was copied, before any decoder saw it",
                "is_in_bundle": False,
            },
            "finished_at": self.finished_at.isoformat(),
            "judged": [f"{one.head}: {one}" for one in list_facts(self.analysis.media)],
            "recipe": self.analysis.recipe,
            "calibrations": sorted(self.calibrations) or "none was in force: scores are raw, without likelihood ratio",
            "asked_about_speakers": self.speakers is not None,
            "origin": self.origin if self.origin is not None else "a file was brought",
            "c2pa": self.credentials.describe(),
        }


def collect_contents(store: JobStore, job_id: str) -> BundleContents:
    """Collect the contents of a job; raise UNKNOWN_JOB, JOB_NOT_DONE or REPORT_DAMAGED."""
    found, job = store.read_result(job_id), store.get(job_id)
    folder = store.folder(job_id)
    origin, phonemes = folder / folders.ORIGIN, folder / folders.PHONEMES
    pictures = {int(path.stem): path for path in sorted((folder / folders.FACES).glob("*.png"))}
    return BundleContents(
        name=clean(job.name),
        size_bytes=job.size_bytes,
        sha256=job.sha256 or found.analysis.sha256,
        analysis=found.analysis,
        result=(folder / folders.RESULT).read_text("utf-8"),
        finished_at=job.finished_at or job.created_at,
        speakers=store.read_speakers(job_id),
        speaker_lines=tuple(_describe_speakers(found)),
        thumbnails=pictures,
        calibrations={one.id: to_json(one) for one in _find_calibrations(_list_used(found), store)},
        origin=json.loads(origin.read_text("utf-8")) if origin.exists() else None,
        credentials=examine_credentials(store.input(job_id), store.settings.limits),
        cards=read_cards(),
        environment=describe_environment(store.settings.data_dir),
        phonemes=phonemes.read_text("utf-8") if phonemes.exists() else None,
    )


def _describe_speakers(found: AnalysisResult) -> Iterator[str]:
    if found.speakers_error is not None:
        yield f"{found.speakers_error.message} {found.speakers_error.hint}"
        return
    for number, face in enumerate(found.faces):
        asked = found.searches is not None or found.verifications is not None
        if asked:
            yield f"Face {face.face + 1}, {face.start_s:.1f} to {face.end_s:.1f} s, {face.speech_s:.1f} s of speech"
        if found.searches is not None:
            yield from describe_search(found.searches[number])
        if found.verifications is not None:
            yield from describe_verification(found.verifications[number])


def _list_used(found: AnalysisResult) -> set[str]:
    """Return the ids of all calibrations that the result used."""
    reports = [track.consistency for track in found.analysis.tracks]
    notes = [note for one in reports for note in (one.calibration, one.span_calibration)]
    ids = [one.calibration_id for one in found.searches or ()]
    ids += [one.calibration_id for one in found.verifications or ()]
    return {note.id for note in notes if note is not None} | {one for one in ids if one is not None}


def _find_calibrations(used: Iterable[str], store: JobStore) -> Iterator[Calibration]:
    """Yield the records; a deleted one remains known by its id in the result."""
    wanted = set(used)
    if not wanted:
        return
    known = {one.id: one for one in list_shipped()}
    if not wanted <= set(known):
        try:
            with Gallery.open(store.settings) as gallery:
                known |= {one.id: one for one in gallery.calibrations()}
        except EngineError:
            pass
    yield from (known[one] for one in sorted(wanted & set(known)))
