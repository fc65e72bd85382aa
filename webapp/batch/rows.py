"""One row per item of a batch, byte-identical from the command line, a cluster and the page.

An item that fails is a row with its error, and stops no other. Rows contain no timings. With several faces, the row
describes the one with the most speech, and their number.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from engine.datasets.manifest import guard_cell
from engine.errors import Code, EngineError
from engine.reports.json import to_json
from engine.reports.media import describe_selection
from engine.types import Analysis, MediaSelection, SpanKind
from webapp.analysis.records import AnalysisRequest, JobError
from webapp.batch.sources import Source
from webapp.jobs import files as folders
from webapp.jobs.records import Job, JobState, NewJob
from webapp.jobs.store import JobStore

FAILED = "FAILED"
MAX_LISTED = 1000  # maximum number of listed jobs of one batch


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One item; None for unknown values."""

    number: int  # of the item, from 1
    source: str  # the file or link as given
    name: str
    sha256: str | None
    status: str  # of the analysis; FAILED, or the state of a job that has no result
    error_code: str | None = None
    error: str | None = None
    reasons: tuple[str, ...] = ()  # of the clip and of the track
    duration_s: float | None = None
    n_faces: int | None = None
    face: int | None = None  # the track that the following fields describe, numbered as in the analysis
    score: float | None = None
    offset_s: float | None = None
    speech_s: float | None = None
    llr: float | None = None
    zone: str | None = None
    calibration: str | None = None  # id of the calibration record of `llr`
    recipe: str | None = None
    asked: str = ""  # part and audio that were asked for, as `describe_selection` writes them; "" for the default
    from_s: float | None = None  # judged part, audio track and channel
    to_s: float | None = None
    audio_track: int | None = None
    channel: str | None = None
    other_voice: tuple[str, ...] = ()  # spans of the face in which another voice speaks, seconds: "42.0-49.2"

    @property
    def has_result(self) -> bool:
        """Return whether the item was analysed."""
        return self.recipe is not None


ROW = TypeAdapter(BatchRow)


def make_row(source: Source, analysis: Analysis) -> BatchRow:
    """Return the row of an analysis, numbers rounded as in its report."""
    return _read_report(source.number, source.written, to_json(analysis), source.selection)


def make_error_row(source: Source, name: str, sha256: str | None, error: JobError) -> BatchRow:
    """Return the row of a failed item."""
    asked = describe_selection(source.selection)
    return BatchRow(source.number, source.written, name, sha256, FAILED, error.code, error.message, asked=asked)


def submit(
    store: JobStore, owner: str, sources: Sequence[Source], question: AnalysisRequest, batch: str
) -> list[BatchRow]:
    """Submit all items as jobs of one batch and return the rows of refused ones."""
    refused = []
    for source in sources:
        try:
            own = replace(question, selection=source.selection)
            store.enqueue(NewJob(owner, source.name, own, source.path, source.url, batch))
        except EngineError as error:
            refused.append(make_error_row(source, source.name, None, JobError.of(error)))
    return refused


def list_job_rows(store: JobStore, batch: str) -> list[BatchRow]:
    """Return the rows of all jobs of a batch in submission order."""
    jobs = reversed(store.list(batch=batch, limit=MAX_LISTED))
    return [_make_job_row(store, number, job) for number, job in enumerate(jobs, start=1)]


def _make_job_row(store: JobStore, number: int, job: Job) -> BatchRow:
    source = job.url or job.name
    if job.state == JobState.DONE:
        try:
            report = json.loads((store.folder(job.id) / folders.RESULT).read_text("utf-8"))
            return _read_report(number, source, report, job.question.selection)
        except (OSError, ValueError, KeyError):  # deleted in the meantime, or damaged
            return BatchRow(number, source, job.name, job.sha256, FAILED, Code.REPORT_DAMAGED, "Its result is gone.")
    code, message = (job.error.code, job.error.message) if job.error else (None, None)
    asked = describe_selection(job.question.selection)
    return BatchRow(number, source, job.name, job.sha256, str(job.state), code, message, asked=asked)


def _read_report(number: int, source: str, report: Mapping[str, Any], selection: MediaSelection) -> BatchRow:
    media = report.get("media", {})  # absent from reports of earlier versions
    row = BatchRow(
        number=number,
        source=source,
        name=report["file"]["name"],
        sha256=report["file"]["sha256"],
        status=report["status"],
        reasons=tuple(report["reasons"]),
        duration_s=report["file"]["duration_s"],
        n_faces=len(report["tracks"]),
        recipe=report["recipe"],
        asked=describe_selection(selection),
        from_s=media.get("from_s"),
        to_s=media.get("to_s"),
        audio_track=media.get("audio_track"),
        channel=media.get("channel"),
    )
    if not report["tracks"]:
        return row
    track = max(report["tracks"], key=lambda one: (one["consistency"]["speech_s"], -one["id"]))
    found = track["consistency"]
    return replace(
        row,
        reasons=tuple(dict.fromkeys([*report["reasons"], *found["reasons"]])),
        face=track["id"],
        score=found["score"],
        offset_s=found["offset_s"],
        speech_s=found["speech_s"],
        llr=found["llr"],
        zone=found.get("zone"),
        calibration=(found.get("calibration") or {}).get("id"),
        other_voice=tuple(
            f"{one['start_s']:.1f}-{one['end_s']:.1f}"
            for one in found.get("spans", ())
            if one["kind"] == SpanKind.INCONSISTENT
        ),
    )


def write_jsonl(rows: Iterable[BatchRow]) -> str:
    """Write rows as JSON lines."""
    return "".join(json.dumps(asdict(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def read_jsonl(text: str) -> list[BatchRow]:
    """Read the rows of `write_jsonl`; skip incomplete lines and those of another version."""
    rows = []
    for line in text.splitlines():
        try:
            rows.append(ROW.validate_json(line, extra="forbid"))
        except ValueError:
            continue
    return rows


def write_csv(rows: Iterable[BatchRow]) -> str:
    """Write rows as CSV without formulas; unknown values are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([one.name for one in fields(BatchRow)])
    for row in rows:
        cells = asdict(row) | {"reasons": " ".join(row.reasons), "other_voice": " ".join(row.other_voice)}
        writer.writerow(["" if cell is None else guard_cell(str(cell)) for cell in cells.values()])
    return text.getvalue()


def write_results(folder: Path, rows: Iterable[BatchRow]) -> None:
    """Write both files, each of them atomically."""
    kept = list(rows)
    for name, text in (("results.jsonl", write_jsonl(kept)), ("results.csv", write_csv(kept))):
        part = folder / f".{name}.part"
        part.write_text(text, "utf-8", newline="")
        part.replace(folder / name)
