"""The typer command behind `wayspeak batch`: many files and links, one row each."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.methods import choose_method
from engine.settings import Settings
from engine.types import Mode, Model
from webapp.batch import BatchRow, write_csv
from webapp.batch_run import Answers, LocalAnswers, load_engine, run_batch
from webapp.batch_sources import read_sources

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def batch(
    sources: Annotated[
        list[str],
        typer.Argument(help="Files, folders, links, CSVs with a column path or url, texts with a link a line."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for results.csv and results.jsonl.")],
    csv: Annotated[bool, typer.Option("--csv", help="Print the CSV, too.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the results that are there already.")] = False,
    model: Annotated[
        Model | None, typer.Option(help="Who compares face and voice.  [default: compact; in paper mode AV-HuBERT]")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="By time, every face; or one face as SpeechForensics does.")] = Mode.STRICT,
    second: Annotated[Model | None, typer.Option(help="Another model whose opinion stands beside the first's.")] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Do it on this Ray cluster; `local` starts one here.")
    ] = None,
) -> None:
    """Tell of many videos whether face and voice belong to the same speech: a row each, in the order given.

    A bad item is a row that says why; the exit code is 1 then. At most 50 links. Timings stand in no row.
    """
    items = read_sources(sources)
    settings = Settings.from_env()
    method = choose_method(model, mode, second, settings.data_dir)
    answers: Answers
    if ray is not None:
        from webapp.batch_ray import RayAnswers

        answers = RayAnswers(ray, settings, method)
    else:
        answers = LocalAnswers(load_engine(settings, method), settings)
    rows = run_batch(items, answers, out, resume, _show_row)
    if csv:
        sys.stdout.write(write_csv(rows))
    n_failed = sum(not row.has_result for row in rows)
    typer.echo(f"{len(rows)} items, {n_failed} failed: {out}{os.sep}results.csv, results.jsonl", err=True)
    if n_failed:
        raise typer.Exit(1)


def _show_row(row: BatchRow, total: int) -> None:
    told = row.error_code or row.status
    typer.echo(f"{row.number} of {total}: {_clean(row.source)}: {told}", err=True)


def _clean(text: str) -> str:
    """Without what would steer a terminal."""
    return "".join(one if one.isprintable() else "�" for one in text)
