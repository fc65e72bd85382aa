"""`wayspeak calibrate`: fit a calibration record from a manifest of clips or from stored scores.

`wayspeak calibration`: show, approve and retire records; each change writes a new record that supersedes the old one.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine.calibration.builder import DraftOptions, draft
from engine.calibration.files import approve_by_rules, read_record, write_record
from engine.calibration.records import Calibration, CalibratorKind, Metric, Task
from engine.calibration.trials import POOLS_S, TrialOptions, write_trials
from engine.calibration.validation import RESAMPLES
from engine.calibration.verbal_scale import HYPOTHESES
from engine.errors import Code
from engine.evaluation.calibration_trials import choose_trials, collect_trials, read_scores
from engine.evaluation.measurements import ReadOptions
from engine.settings import Settings
from engine.types import Mode, Model
from webapp.progress import show_counts

app = typer.Typer(add_completion=False, no_args_is_help=True)
File = Annotated[Path, typer.Argument(help="Calibration record.", show_default=False)]
Out = Annotated[Path, typer.Option(help="File of the new record, which supersedes the old one.")]
COLUMNS = {
    "Cllr": "cllr",
    "min": "cllr_min",
    "cal": "cllr_cal",
    "EER": "eer",
    "10 | d": "different_lr_from_10",
    "? | s": "same_inconclusive",
}
LEGEND = "95 %: of Cllr; 10 | d: LR of 10 and more though different; ? | s: inconclusive though same; s+d: how many"


def calibrate(
    manifest: Annotated[
        Path | None, typer.Argument(help="CSV with path, label, speaker, source, session; not needed with --scores.")
    ] = None,
    task: Annotated[Task, typer.Option(help="Task of the scores.")] = Task.CONSISTENCY,
    author: Annotated[str, typer.Option(help="Author of the record; another person must approve it.")] = "",
    out: Annotated[Path, typer.Option(help="File of the record.")] = Path("calibration.json"),
    scores: Annotated[
        Path | None, typer.Option(help="Stored scores to fit to: from --keep-scores, or from --scores of a training.")
    ] = None,
    keep_scores: Annotated[Path | None, typer.Option(help="Store the scores in this file.")] = None,
    only: Annotated[
        str, typer.Option(help="Use only trials with this word in their condition, such as enrolled.")
    ] = "",
    calibrator: Annotated[
        CalibratorKind,
        typer.Option(help="Kind of calibrator; isotonic needs 200 same and 200 different trials, logistic 20."),
    ] = CalibratorKind.LOGISTIC,
    qualities: Annotated[
        str | None, typer.Option(help="Covariates of the calibrator, comma-separated; '': none.")
    ] = None,
    false_support: Annotated[float, typer.Option(help="Target rate of false support.")] = 0.05,
    false_against: Annotated[
        float | None,
        typer.Option(help="Target rate of false exclusion; default 0.02 for consistency, else 0.05."),
    ] = None,
    version: Annotated[str, typer.Option(help="Version of the record.")] = "1.0.0",
    supersedes: Annotated[str, typer.Option(help="Id of the record that this one supersedes.")] = "",
    population: Annotated[str, typer.Option(help="Description of the population and material of the clips.")] = "",
    note: Annotated[str, typer.Option(help="Note to the approver.")] = "",
    cache: Annotated[Path | None, typer.Option(help="Folder of the feature cache.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Number of clips to use, spread evenly; 0: all.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Decoding processes.")] = 1,
    model: Annotated[Model | None, typer.Option(help="For consistency: the model.")] = None,
    mode: Annotated[Mode, typer.Option(help="For consistency: over time, or as in SpeechForensics.")] = Mode.STRICT,
    pool: Annotated[
        list[float] | None, typer.Option(min=1, help="For speakers: seconds per sample; repeatable.")
    ] = None,
    same_session: Annotated[
        bool, typer.Option("--same-session", help="For speakers: also compare samples of one session.")
    ] = False,
    resamples: Annotated[int, typer.Option(min=20, help="Bootstrap resamples per interval.")] = RESAMPLES,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Fit log10 likelihood ratios to the scores of real clips, and validate them on held-out clips.

    The parameters are fitted to all trials; all figures are cross-validated over held-out sources (for speaker tasks:
    held-out speakers). Manipulated clips are ignored, except for `source`, which needs clips with the `pair` of their
    source. The same clips, options and seed yield the same parameters.
    """
    options = DraftOptions(
        author=author,
        kind=calibrator,
        qualities=None if qualities is None else tuple(one.strip() for one in qualities.split(",") if one.strip()),
        version=version,
        false_support=_check_rate(false_support),
        false_against=None if false_against is None else _check_rate(false_against),
        seed=seed,
        resamples=resamples,
        population=population,
        supersedes=supersedes,
        note=note,
    )
    settings = Settings.from_env()
    if scores is not None:
        trials = read_scores(scores, task, model, mode, settings)
    else:
        if manifest is None:
            raise Code.BAD_MANIFEST(
                "There is neither a manifest nor a file of scores.", "Give a manifest, or --scores FILE."
            )
        gather = TrialOptions(pools_s=tuple(pool or POOLS_S), same_session=same_session, seed=seed)
        reading = ReadOptions(cache, 0.0, limit, workers)
        with show_counts() as on_row:
            trials, remark = collect_trials(manifest, task, model, mode, gather, settings, reading, on_row)
        options = replace(options, note=" ".join(filter(None, (note, remark))))
    if keep_scores is not None:
        write_trials(trials, keep_scores)
    record = draft(choose_trials(trials, only), options).record
    write_record(record, out)
    print_record(record, Console(stderr=True))
    typer.echo(f"{out} written: a draft, to be approved by another person than {record.author}.")


def _check_rate(rate: float) -> float:
    if not 0 < rate < 1:
        raise typer.BadParameter(f"a target rate is between 0 and 1, found {rate}")
    return rate


@app.command()
def show(record: File) -> None:
    """Print a record with its validation, author and approver."""
    print_record(read_record(record), Console(file=sys.stdout))


@app.command()
def approve(
    record: File,
    out: Out,
    approver: Annotated[str, typer.Option(help="Approver; not the author.")] = "",
    by_rules: Annotated[bool, typer.Option("--by-rules", help="Approve by the fixed rules of a release.")] = False,
) -> None:
    """Approve a draft of another person."""
    if by_rules == bool(approver):
        raise typer.BadParameter("give either --approver or --by-rules.")
    found = read_record(record)
    approved = approve_by_rules(found) if by_rules else found.approve(approver)
    write_record(approved, out)
    typer.echo(f"{out} written: approved by {approved.approver}, in place of {approved.supersedes[:12]}.")


@app.command()
def retire(record: File, out: Out, note: Annotated[str, typer.Option(help="Reason.")]) -> None:
    """Retire an approved record; results keep the id of their record."""
    retired = read_record(record).retire(note)
    write_record(retired, out)
    typer.echo(f"{out} written: retired, in place of {retired.supersedes[:12]}.")


def print_record(record: Calibration, console: Console) -> None:
    """Print the validation on held-out trials, the zones and bounds, and the provenance of a record."""
    pair, counts, policy = HYPOTHESES[record.task], record.counts, record.policy
    title = f"Calibration for {record.task}, on held-out trials"
    table = Table("trials", "95 %", *COLUMNS, "s+d", box=SIMPLE, padding=(0, 1, 0, 0), title=title)
    told: dict[str, dict[str, Metric]] = {}
    for metric in record.metrics:
        told.setdefault(metric.condition, {})[metric.name] = metric
    for condition, found in told.items():
        first = next(iter(found.values()))
        cells = [f"{found[name].value:.3f}" if name in found else "-" for name in COLUMNS.values()]
        table.add_row(escape(condition), _spread(found.get("cllr")), *cells, f"{first.n_same}+{first.n_different}")
    console.print(table)
    zones = f"supported from {policy.supported_llr:+.2f}, against from {policy.against_llr:+.2f}"
    lines = [
        LEGEND,
        f"same: {pair.first}; different: {pair.second}",
        f"log10 LR from {record.bounds.lower_llr:+.2f} to {record.bounds.upper_llr:+.2f}; {zones}",
        f"{counts.people} people, {counts.sources} held out in turn, {counts.clips} clips; {counts.abstained} refused",
        f"scored by {record.scored_by}; against {record.population}",
        *[
            f"from {one.from_s:g} s of speech: log10 LR from {one.lower_llr:+.2f} to {one.upper_llr:+.2f}"
            for one in record.bounds_by_length
        ],
        *[
            f"real clips of {one.from_s:g} s of speech and more: {len(one.scores)}, smallest p {one.smallest_p:.3f}"
            for one in (record.conformal.strata if record.conformal else ())
        ],
        f"{record.status}, version {record.version}, by {record.author}, approved by {record.approver or 'nobody'}",
        *([record.note] if record.note else []),
        f"recipe {record.recipe}",
        f"id {record.id}",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _spread(metric: Metric | None) -> str:
    if metric is None or metric.low is None or metric.high is None:
        return "-"
    return f"{metric.low:.2f}-{metric.high:.2f}"
