"""`wayspeak analyse`, `phonemes`, `fetch`, `batch` and `verify-bundle`: commands that read files or links.

Each imports what it needs when it is run: not one of them waits for the libraries of another.
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
from engine.settings import Settings
from engine.types import FPS, Mode, Model, OnStep
from webapp.cli.output import STDOUT, show_progress, write_output

if TYPE_CHECKING:
    from engine.calibration.records import Calibration
    from engine.consistency.lip_closures import ArticulationReport
    from engine.features.extractor import FeatureExtractor
    from engine.fetch.fetch import FetchedMedia
    from engine.speech.phonemes import SoundRecogniser
    from webapp.batch.local import BatchRunner
    from webapp.batch.rows import BatchRow

ModelOption = Annotated[
    Model | None, typer.Option(help="Who compares face and voice.  [default: compact; in paper mode AV-HuBERT]")
]
ModeOption = Annotated[Mode, typer.Option(help="By time, every face; or one face as SpeechForensics does.")]
SecondOption = Annotated[Model | None, typer.Option(help="Another model whose opinion stands beside the first's.")]


def analyse(
    file: Annotated[Path, typer.Argument(help="The video.", show_default=False)],
    json: Annotated[
        Path | None, typer.Option(help="Write the report as JSON into this file; '-' for standard output.")
    ] = None,
    model: ModelOption = None,
    mode: ModeOption = Mode.STRICT,
    second: SecondOption = None,
    calibration: Annotated[
        Path | None, typer.Option(help="An approved record for consistency, in place of the one in force.")
    ] = None,
) -> None:
    """Tell for every face in a video whether it belongs to the speech that is heard."""
    from engine.calibration.files import read_record
    from engine.consistency.methods import choose_method
    from engine.pipeline import Engine
    from engine.reports.json import error_to_json, to_json, write_json
    from engine.reports.text import summarise

    try:
        settings = Settings.from_env()
        method = choose_method(model, mode, second, settings.data_dir)
        engine = Engine.load(settings, method, calibrations=read_kept(settings))
        if calibration is not None:
            engine.apply(read_record(calibration))
        with show_progress() as on_step:
            analysis = engine.analyse(file, on_step)
    except EngineError as error:
        if json is not None:
            write_output(write_json(error_to_json(error)), json)
        raise
    if json is not None:
        write_output(write_json(to_json(analysis)), json)
    if json != STDOUT:
        typer.echo(summarise(analysis))


def phonemes(
    file: Annotated[Path, typer.Argument(help="The video.", show_default=False)],
    start: Annotated[float, typer.Option("--from", min=0, help="Begin at this second.")] = 0.0,
    end: Annotated[float | None, typer.Option("--to", min=0, help="End at this one.  [default: the end]")] = None,
    language: Annotated[str, typer.Option(help="What is spoken; only en is known.")] = "en",
    json: Annotated[Path | None, typer.Option(help="Write the table as JSON here; '-' for standard output.")] = None,
) -> None:
    """List the speech sounds that should close or round the lips, and whether the measured lips did.

    An explanation to look and listen to, beside the score of `wayspeak analyse` and no part of it.
    """
    from engine.features.extractor import FeatureExtractor
    from engine.reports.json import write_json
    from engine.reports.lip_closures import to_json
    from engine.speech.phonemes import SoundRecogniser

    if end is not None and end <= start:
        raise typer.BadParameter(f"--to {end:g} is not after --from {start:g}")
    recogniser = SoundRecogniser.load(language)
    extractor = FeatureExtractor.load(Settings.from_env())
    with show_progress() as on_step:
        reports = examine(file, extractor, recogniser, (start, float("inf") if end is None else end), on_step)
    if json != STDOUT:
        print_reports(reports, Console())
    if json is not None:
        write_output(write_json(to_json(reports)), json)


def fetch(
    url: Annotated[str, typer.Argument(help="A page with a video, or the video itself.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Where to write it.  [default: here, under a name of our own]")
    ] = None,
    info: Annotated[bool, typer.Option("--info", help="Only say what is there.")] = False,
    item: Annotated[int, typer.Option(min=0, help="Which video of several, from 1.", show_default=False)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Fetch the one video at a public link; nothing of this machine or its network can be fetched."""
    from engine.fetch import fetch as fetching

    limits = Settings.from_env().fetch_limits
    if info:
        found = fetching.describe(url, limits, item)
        picture = f"{found.thumbnail_type}, {len(found.thumbnail)} bytes" if found.thumbnail else "none"
        _print_facts(
            {"title": found.title, "duration_s": found.duration_s, "extractor": found.extractor, "picture": picture},
            as_json,
        )
        return
    if out is not None and out.exists():
        raise FolderUnwritable(f"{out} is there already.", "Choose another name.")
    with show_progress() as on_step:
        media = fetching.fetch(url, out.parent if out else Path(), limits, on_step, item)
    _print_facts(_list_facts(media, media.path if out is None else media.path.rename(out)), as_json)


def batch(
    sources: Annotated[
        list[str],
        typer.Argument(help="Files, folders, links, CSVs with a column path or url, texts with a link a line."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for results.csv and results.jsonl.")],
    csv: Annotated[bool, typer.Option("--csv", help="Print the CSV, too.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the results that are there already.")] = False,
    model: ModelOption = None,
    mode: ModeOption = Mode.STRICT,
    second: SecondOption = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Do it on this Ray cluster; `local` starts one here.")
    ] = None,
) -> None:
    """Tell of many videos whether face and voice belong to the same speech: a row each, in the order given.

    A bad item is a row that says why; the exit code is 1 then. At most 50 links. Timings stand in no row.
    """
    from engine.consistency.methods import choose_method
    from webapp.batch.local import LocalRunner, load_engine, run_batch
    from webapp.batch.rows import write_csv
    from webapp.batch.sources import read_sources

    items = read_sources(sources)
    settings = Settings.from_env()
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
    typer.echo(f"{len(rows)} items, {n_failed} failed: {out}{os.sep}results.csv, results.jsonl", err=True)
    if n_failed:
        raise typer.Exit(1)


def verify_bundle(
    bundle: Annotated[Path, typer.Argument(help="The ZIP, or the folder it was unpacked into.", show_default=False)],
    fingerprint: Annotated[str | None, typer.Option(help="Of the key it must be signed with.")] = None,
) -> None:
    """Check an evidence bundle: every file, the archive itself, and the signature; exit with 1 where one does not hold.

    Without --fingerprint it is told whether this very installation signed it.
    """
    from webapp.bundle import verify
    from webapp.bundle.signing_key import FILE, open_key

    if verify.main([str(bundle), *(["--fingerprint", fingerprint] if fingerprint is not None else [])]):
        raise typer.Exit(1)
    data_dir = Settings.from_env().data_dir
    if fingerprint is None and (data_dir / FILE).exists():  # no key is made to check another's
        members = verify.read_folder(bundle) if bundle.is_dir() else verify.unpack(bundle.read_bytes())
        own = open_key(data_dir).fingerprint == verify.find_fingerprint(members)
        typer.echo("It was signed by this installation." if own else "It was signed by another installation than this.")


def read_kept(settings: Settings) -> list["Calibration"]:
    """Read the calibrations that the users of the gallery keep; where there is no gallery, none is made."""
    from webapp.analysis.gallery_queries import GalleryClient

    gallery = GalleryClient(settings)
    try:
        return gallery.read_calibrations()
    finally:
        gallery.close()


def examine(
    file: Path,
    extractor: "FeatureExtractor",
    recogniser: "SoundRecogniser",
    span_s: tuple[float, float],
    on_step: OnStep = lambda name, completed, total: None,
) -> tuple["ArticulationReport", ...]:
    """See and hear a file, and hold each of its faces against the sounds; EngineError where it cannot be read."""
    from engine.consistency.lip_closures import check_faces
    from engine.media.clip import open_clip

    clip = open_clip(file, extractor.limits)
    if span_s[0] >= clip.n_frames / FPS:
        raise EngineError(
            f"{file.name} is {clip.duration_s:.1f} s long, and {span_s[0]:g} s on is asked for.", "Begin earlier."
        )
    seen = extractor.extract_clip(clip, on_step)
    return check_faces(recogniser, clip.audio, seen.audio.voiced, seen.tracks, span_s, on_step)


def print_reports(reports: tuple["ArticulationReport", ...], console: Console) -> None:
    """Print a table and its sum for each face."""
    from engine.reports.lip_closures import list_rows, summarise

    if not reports:
        console.print("No face was found, so there are no lips to look at.")
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
    return facts | {"layers": list(media.layers), "parts_sha256": list(media.parts_sha256)}


def _print_facts(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(jsonlib.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        if value == []:  # of parts, where it came in one
            continue
        shown = ", ".join(value) if isinstance(value, list) else "not told" if value is None else value
        typer.echo(f"{name:14} {shown}")


def _show_row(row: "BatchRow", total: int) -> None:
    told = row.error_code or row.status
    typer.echo(f"{row.number} of {total}: {_clean(row.source)}: {told}", err=True)


def _clean(text: str) -> str:
    """Without what would steer a terminal."""
    return "".join(one if one.isprintable() else "�" for one in text)
