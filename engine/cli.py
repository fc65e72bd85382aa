"""The engine's part of the command line: `wayspeak analyse`, `doctor`, `weights`, `train`, `evaluate`, `fetch` ...

`webapp/cli.py` adds the gallery's commands, and is what `wayspeak` runs. Only typer is imported to print a help page;
the engine, and torch with it, is imported by the command that needs it.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.errors import EngineError
from engine.output import STDOUT, write_output
from engine.types import Mode, Model, OnStep

if TYPE_CHECKING:
    from rich.progress import TaskID

    from engine.calibration.records import Calibration
    from engine.settings import Settings

    ReadCalibrations = Callable[[Settings], Iterable[Calibration]]

app = typer.Typer(
    help="Do this face and this voice belong to the same speech?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
train = typer.Typer(help="Train Wayspeak's own models from clips.", no_args_is_help=True)
app.add_typer(train, name="train")

EVALUATION, TRAINING = "engine.evaluation.command", "engine.training.command"
FETCHING = "engine.fetch.command"
FORGERY, ROBUSTNESS = "engine.evaluation.forge_command", "engine.evaluation.robustness_command"
CALIBRATION, CALIBRATIONS = "engine.calibrate_command", "engine.calibration_command"
PRE_TRAINING = "engine.training.avhubert_command"
STYLES = "engine.training.dynamics_command"
WEIGHTS = "engine.weights_command"
ARTICULATION = "engine.articulation_command"
FORWARDED = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command()
def analyse(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The video.", show_default=False)],
    json: Annotated[
        Path | None, typer.Option(help="Write the report as JSON into this file; '-' for standard output.")
    ] = None,
    model: Annotated[
        Model | None, typer.Option(help="Who compares face and voice.  [default: compact; in paper mode AV-HuBERT]")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="By time, every face; or one face as SpeechForensics does.")] = Mode.STRICT,
    second: Annotated[Model | None, typer.Option(help="Another model whose opinion stands beside the first's.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="An approved record for consistency, in place of the one in force.")
    ] = None,
) -> None:
    """Tell for every face in a video whether it belongs to the speech that is heard."""
    from engine.calibration.files import read_record
    from engine.methods import choose_method
    from engine.pipeline import Engine
    from engine.report import error_to_json, to_json, write_json
    from engine.settings import Settings
    from engine.summary import summarise

    try:
        settings = Settings.from_env()
        method = choose_method(model, mode, second, settings.data_dir)
        engine = Engine.load(settings, method, calibrations=[] if context.obj is None else context.obj(settings))
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


@app.command()
def doctor() -> None:
    """Print versions, device and weights, and what is missing; exit with 1 if something needed is."""
    from engine.doctor import examine, is_healthy
    from engine.settings import Settings

    findings = examine(Settings.from_env())
    width = max(len(finding.topic) for finding in findings)
    for finding in findings:
        typer.echo(f"{finding.mark:8} {finding.topic:{width}}  {finding.text}")
    if not is_healthy(findings):
        raise typer.Exit(1)


@app.command(context_settings=FORWARDED, add_help_option=False)
def weights(context: typer.Context) -> None:
    """Bring weights in, accept their licence, list or verify: `wayspeak weights import|accept|list|verify`."""
    forward(WEIGHTS, context)


@app.command(context_settings=FORWARDED, add_help_option=False)
def phonemes(context: typer.Context) -> None:
    """List the sounds that should close or round the lips, and whether they did: `wayspeak phonemes FILE`."""
    forward(ARTICULATION, context)


@app.command(context_settings=FORWARDED, add_help_option=False)
def evaluate(context: typer.Context) -> None:
    """Measure on a manifest of clips: `wayspeak evaluate MANIFEST.csv --task ...`, for clips and for people."""
    forward(EVALUATION, context)


@app.command(context_settings=FORWARDED, add_help_option=False)
def robustness(context: typer.Context) -> None:
    """Measure what is left when clips get worse: `wayspeak robustness MANIFEST.csv [--what all] [--levels 1,3,5]`."""
    forward(ROBUSTNESS, context)


@app.command(context_settings=FORWARDED, add_help_option=False)
def calibrate(context: typer.Context) -> None:
    """Make scores mean something: `wayspeak calibrate MANIFEST.csv --task ... --author NAME --out RECORD.json`."""
    forward(CALIBRATION, context)


@app.command(context_settings=FORWARDED, add_help_option=False)
def calibration(context: typer.Context) -> None:
    """Look at a calibration record, approve or retire it: `wayspeak calibration show|approve|retire RECORD.json`."""
    forward(CALIBRATIONS, context)


@app.command(context_settings=FORWARDED, add_help_option=False)
def forge(context: typer.Context) -> None:
    """Forge marked clips whose truth is known, to measure on: `wayspeak forge MANIFEST.csv --out FOLDER`."""
    forward(FORGERY, context)


@app.command(context_settings=FORWARDED, add_help_option=False)
def fetch(context: typer.Context) -> None:
    """Fetch the video at a link, safely and with where it is from: `wayspeak fetch URL [--out FILE] [--info]`."""
    forward(FETCHING, context)


@train.command("consistency", context_settings=FORWARDED, add_help_option=False)
def train_consistency(context: typer.Context) -> None:
    """Train the compact consistency model: from a manifest of clips to the shipped weights."""
    forward(TRAINING, context)


@train.command("dynamics", context_settings=FORWARDED, add_help_option=False)
def train_dynamics(context: typer.Context) -> None:
    """Train the model of speaking styles: from a manifest of speakers to the shipped weights."""
    forward(STYLES, context)


@train.command("avhubert", context_settings=FORWARDED, add_help_option=False)
def train_avhubert(context: typer.Context) -> None:
    """Train AV-HuBERT itself, of any size: masked prediction of units and frame-wise alignment."""
    forward(PRE_TRAINING, context)


def main(command: typer.Typer = app, name: str = "wayspeak", kept: "ReadCalibrations | None" = None) -> None:
    """Run the command line; an EngineError becomes one line on standard error and exit code 2.

    `kept` reads the calibrations that users keep, which the engine knows nothing of.
    """
    try:
        command(prog_name=name, obj=kept)
    except EngineError as error:
        message = " ".join(f"{error.message.rstrip('.')}. {error.hint}".split())
        sys.stderr.write(f"wayspeak: {message}\n")
        sys.exit(2)
    except BrokenPipeError:  # `wayspeak ... | head`: nobody reads on, and that is no error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def forward(module: str, context: typer.Context, name: str = "") -> None:
    """Run the typer `app` of a module with the arguments as they came, those that ask for help included.

    `name` is that of the command where the app has several.
    """
    command: typer.Typer = importlib.import_module(module).app
    if name and context.parent is not None:
        command(args=[name, *context.args], prog_name=context.parent.command_path)
    else:
        command(args=context.args, prog_name=context.command_path)


@contextmanager
def show_progress() -> Iterator[OnStep]:
    """Draw a bar on standard error where that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield lambda name, completed, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def on_step(name: str, completed: int, total: int) -> None:
            task = tasks.get(name)
            if task is None:
                task = tasks[name] = bar.add_task(name, total=total or None)
            bar.update(task, completed=completed)

        yield on_step


if __name__ == "__main__":
    main()
