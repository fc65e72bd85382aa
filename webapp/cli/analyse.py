"""`wayspeak analyse`, `phonemes`, `fetch`, `batch` and `verify-bundle`: commands on files and links.

Each command imports its libraries when it runs, so that it does not wait for those of the others.
"""

import json as jsonlib
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from engine.errors import EngineError, FolderUnwritable
from engine.media.selection import check_selection, parse_channel, parse_time
from engine.settings import Settings
from engine.types import FPS, WHOLE, MediaSelection, Mode, Model, OnStep
from webapp.cli.output import STDOUT, write_output
from webapp.cli.workers import WorkersOption, read_settings
from webapp.progress import show_progress

if TYPE_CHECKING:
    from engine.calibration.records import Calibration
    from engine.consistency.lip_closures import ArticulationReport
    from engine.datasets.manifest import Skipped
    from engine.features.extractor import FeatureExtractor
    from engine.fetch.fetch import FetchedMedia
    from engine.speech.phonemes import SoundRecogniser
    from webapp.batch.local import BatchRunner
    from webapp.batch.rows import BatchRow

ModelOption = Annotated[
    Model | None, typer.Option(help="Model that compares face and voice.  [default: compact; AV-HuBERT in paper mode]")
]
FromOption = Annotated[
    float | None,
    typer.Option(
        "--from",
        parser=parse_time,
        metavar="TIME",
        help="Start of the part to analyse: seconds, mm:ss or h:mm:ss.  [default: start of the recording]",
    ),
]
ToOption = Annotated[
    float | None,
    typer.Option("--to", parser=parse_time, metavar="TIME", help="End of the part.  [default: end of the recording]"),
]
TrackOption = Annotated[
    int | None,
    typer.Option(min=1, help="Number of the audio track, 1 for the first.  [default: the one that fits best]"),
]
ChannelOption = Annotated[
    str | None,
    typer.Option(
        parser=parse_channel,
        metavar="NAME",
        help="Audio channel: mix, left, right, or as FFmpeg names it: FL, FR, FC ...  [default: chosen by content]",
    ),
]
ModeOption = Annotated[Mode, typer.Option(help="All faces over time, or one face as in SpeechForensics.")]
SecondOption = Annotated[Model | None, typer.Option(help="Second model, reported in addition to the first.")]


def analyse(
    file: Annotated[Path, typer.Argument(help="The video.", show_default=False)],
    json: Annotated[
        Path | None, typer.Option(help="Write the report as JSON to this file; '-': standard output.")
    ] = None,
    model: ModelOption = None,
    mode: ModeOption = Mode.STRICT,
    second: SecondOption = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Approved calibration record to use instead of the current one.")
    ] = None,
    start: FromOption = None,
    end: ToOption = None,
    audio_track: TrackOption = None,
    channel: ChannelOption = None,
    workers: WorkersOption = None,
) -> None:
    """Check for every face in a video whether it produces the speech of its sound track."""
    from engine.calibration.files import read_record
    from engine.consistency.methods import choose_method
    from engine.pipeline import Engine
    from engine.reports.json import error_to_json, to_json, write_json
    from engine.reports.text import summarise

    try:
        selection = make_selection(start, end, audio_track, channel)
        settings = read_settings(workers)
        method = choose_method(model, mode, second, settings.data_dir)
        engine = Engine.load(settings, method, calibrations=read_stored_calibrations(settings))
        if calibration is not None:
            engine.apply(read_record(calibration))
        with show_progress() as on_step:
            analysis = engine.analyse(file, on_step, selection)
    except EngineError as error:
        if json is not None:
            write_output(write_json(error_to_json(error)), json)
        raise
    if json is not None:
        write_output(write_json(to_json(analysis)), json)
    if json != STDOUT:
        typer.echo(summarise(analysis, selection != WHOLE))


def phonemes(
    file: Annotated[Path, typer.Argument(help="The video.", show_default=False)],
    start: FromOption = None,
    end: ToOption = None,
    language: Annotated[str, typer.Option(help="Spoken language; only en is supported.")] = "en",
    json: Annotated[
        Path | None, typer.Option(help="Write the table as JSON to this file; '-': standard output.")
    ] = None,
    workers: WorkersOption = None,
) -> None:
    """List the phonemes that need closed or rounded lips, with the measured lips.

    This explains a result; it is not part of the score of `wayspeak analyse`.
    """
    from engine.features.extractor import FeatureExtractor
    from engine.reports.json import write_json
    from engine.reports.lip_closures import to_json
    from engine.speech.phonemes import SoundRecogniser

    part = make_selection(start, end)
    span_s = (part.from_s, float("inf") if part.to_s is None else part.to_s)
    recogniser = SoundRecogniser.load(language)
    extractor = FeatureExtractor.load(read_settings(workers))
    with show_progress() as on_step:
        reports = check_lips(file, extractor, recogniser, span_s, on_step)
    if json != STDOUT:
        print_reports(reports, Console())
    if json is not None:
        write_output(write_json(to_json(reports)), json)


def fetch(
    url: Annotated[str, typer.Argument(help="Link of a page with a video, or of a video file.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="File to write.  [default: a generated name in this folder]")] = None,
    info: Annotated[bool, typer.Option("--info", help="Only print the metadata.")] = False,
    item: Annotated[
        int, typer.Option(min=0, help="Number of the video on a page with several, from 1.", show_default=False)
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Download the video at a public link; private addresses are refused."""
    from engine.fetch import fetch as fetching

    limits = Settings.from_env().fetch_limits
    if info:
        found = fetching.describe(url, limits, item)
        picture = f"{found.thumbnail_type}, {len(found.thumbnail)} bytes" if found.thumbnail else "none"
        _print_facts(
            {
                "title": found.title,
                "duration_s": found.duration_s,
                "extractor": found.extractor,
                "picture": picture,
                "format_id": found.format_id,
                "language": found.language or None,
                "offered": list(found.offered),
            },
            as_json,
        )
        return
    if out is not None and out.exists():
        raise FolderUnwritable(f"{out} already exists.", "Choose another name.")
    with show_progress() as on_step:
        media = fetching.fetch(url, out.parent if out else Path(), limits, on_step, item)
    _print_facts(_list_facts(media, media.path if out is None else media.path.rename(out)), as_json)


def batch(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, links, CSV files with a path or url column, text files with one link per line."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for results.csv and results.jsonl.")],
    csv: Annotated[bool, typer.Option("--csv", help="Also print the CSV.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Keep existing results.")] = False,
    model: ModelOption = None,
    mode: ModeOption = Mode.STRICT,
    second: SecondOption = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Run on this Ray cluster; `local` starts one.")
    ] = None,
    start: FromOption = None,
    end: ToOption = None,
    audio_track: TrackOption = None,
    channel: ChannelOption = None,
    workers: WorkersOption = None,
) -> None:
    """Check face and voice of many videos: one row each, in the given order.

    A CSV may have the columns from, to, audio_track and channel; the options are for items without them.
    A failed item is a row with its error, and the exit code is 1. At most 50 links.
    """
    from engine.consistency.methods import choose_method
    from gallery_db.text import clean
    from webapp.batch.local import LocalRunner, load_engine, run_batch
    from webapp.batch.rows import write_csv
    from webapp.batch.sources import read_sources

    skipped: list[Skipped] = []
    items = read_sources(sources, skipped.append, make_selection(start, end, audio_track, channel))
    for one in skipped:
        typer.echo(f"left out: {clean(one.path)}: {one.reason}", err=True)
    settings = read_settings(workers)
    method = choose_method(model, mode, second, settings.data_dir)
    answers: BatchRunner
    if ray is not None:
        from webapp.batch.ray import RayRunner

        answers = RayRunner(ray, settings, method)
    else:
        answers = LocalRunner(load_engine(settings, method), settings)
    rows = run_batch(items, answers, out, resume, _show_row)
    if csv:
        sys.stdout.write(write_csv(rows))
    n_failed = sum(not row.has_result for row in rows)
    left_out = f", {len(skipped)} other files left out" if skipped else ""
    typer.echo(f"{len(rows)} items, {n_failed} failed{left_out}: {out}{os.sep}results.csv, results.jsonl", err=True)
    if n_failed:
        raise typer.Exit(1)


def make_selection(
    start: float | None = None, end: float | None = None, audio_track: int | None = None, channel: str | None = None
) -> MediaSelection:
    """Return the part and audio that the options choose; raise BAD_SELECTION for a part that ends before its start."""
    selection = MediaSelection(start or 0.0, end, audio_track, channel)
    check_selection(selection)
    return selection


def verify_bundle(
    bundle: Annotated[Path, typer.Argument(help="ZIP file, or folder with its content.", show_default=False)],
    fingerprint: Annotated[str | None, typer.Option(help="Fingerprint of the expected signing key.")] = None,
) -> None:
    """Verify all files and the signature of an evidence bundle; exit with 1 if a check fails.

    Without --fingerprint, the command reports whether this installation signed the bundle.
    """
    from webapp.bundle import verify
    from webapp.bundle.signing_key import FILE, open_key

    if verify.main([str(bundle), *(["--fingerprint", fingerprint] if fingerprint is not None else [])]):
        raise typer.Exit(1)
    data_dir = Settings.from_env().data_dir
    if fingerprint is None and (data_dir / FILE).exists():  # do not create a key for this check
        members = verify.read_folder(bundle) if bundle.is_dir() else verify.unpack(bundle.read_bytes())
        own = open_key(data_dir).fingerprint == verify.find_fingerprint(members)
        typer.echo("It was signed by this installation." if own else "It was signed by another installation than this.")


def read_stored_calibrations(settings: Settings) -> list["Calibration"]:
    """Read the calibrations stored in the gallery; does not create a gallery."""
    from webapp.analysis.gallery_queries import GalleryClient

    client = GalleryClient(settings)
    try:
        return client.read_calibrations()
    finally:
        client.close()


def check_lips(
    file: Path,
    extractor: "FeatureExtractor",
    recogniser: "SoundRecogniser",
    span_s: tuple[float, float],
    on_step: OnStep = lambda name, completed, total: None,
) -> tuple["ArticulationReport", ...]:
    """Compare the lips of each face in a file with the phonemes within `span_s`; raises EngineError."""
    from engine.consistency.lip_closures import check_faces
    from engine.media.clip import open_clip

    clip = open_clip(file, extractor.limits)
    if span_s[0] >= clip.n_frames / FPS:
        raise EngineError(
            f"{file.name} is {clip.duration_s:.1f} s long, shorter than --from {span_s[0]:g}.", "Start earlier."
        )
    features = extractor.extract_clip(clip, on_step)
    return check_faces(recogniser, clip.audio, features.audio.voiced, features.tracks, span_s, on_step)


def print_reports(reports: tuple["ArticulationReport", ...], console: Console) -> None:
    """Print a table and a summary for each face."""
    from engine.reports.lip_closures import list_rows, summarise

    if not reports:
        console.print("No face was found, so there are no lips to measure.")
    for number, report in enumerate(reports):
        title = f"Face {number + 1}, {report.start_s:.1f} to {report.end_s:.1f} s"
        table = Table("at s", "sound", "lips", "measured", "", title=title)
        for row in list_rows(report):
            table.add_row(*row)
        if report.sounds:
            console.print(table)
        else:
            console.print(f"{title}: no sound that should close or round the lips was heard.")
        for line in summarise(report):
            console.print(line, highlight=False)


def _list_facts(media: "FetchedMedia", path: Path) -> dict[str, Any]:
    facts = asdict(media) | {"path": str(path), "fetched_at": media.fetched_at.isoformat(timespec="seconds")}
    lists = {"layers": list(media.layers), "parts_sha256": list(media.parts_sha256), "offered": list(media.offered)}
    return facts | lists | {"language": media.language or None}


def _print_facts(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(jsonlib.dumps(facts, indent=2, default=asdict))
        return
    for name, value in facts.items():
        if value == []:  # no parts: a single download
            continue
        shown = "; ".join(map(str, value)) if isinstance(value, list) else "unknown" if value is None else value
        typer.echo(f"{name:14} {shown}")


def _show_row(row: "BatchRow", total: int) -> None:
    from gallery_db.text import clean

    result = row.error_code or row.status
    typer.echo(f"{row.number} of {total}: {clean(row.source)}: {result}", err=True)
