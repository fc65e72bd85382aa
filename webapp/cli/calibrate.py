"""`wayspeak calibrate`: from a manifest of clips, or from kept scores, to a calibration record as JSON.

`wayspeak calibration`: show a record, approve it, retire it. Records are never changed, but superseded.
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
from webapp.cli.output import show_counts

app = typer.Typer(add_completion=False, no_args_is_help=True)
File = Annotated[Path, typer.Argument(help="A record that `wayspeak calibrate` wrote.", show_default=False)]
Out = Annotated[Path, typer.Option(help="Where the record goes that takes its place.")]
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
        Path | None, typer.Argument(help="CSV with path, label, speaker, source, session; without it: --scores.")
    ] = None,
    task: Annotated[Task, typer.Option(help="What the scores answer.")] = Task.CONSISTENCY,
    author: Annotated[str, typer.Option(help="Who makes the record; another person approves it.")] = "",
    out: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("calibration.json"),
    scores: Annotated[
        Path | None, typer.Option(help="Scores to calibrate from: of --keep-scores, or of a training's --scores.")
    ] = None,
    keep_scores: Annotated[Path | None, typer.Option(help="Keep the scores here, to calibrate from again.")] = None,
    only: Annotated[
        str, typer.Option(help="Fit to and measure on trials alone whose condition has this word, such as enrolled.")
    ] = "",
    calibrator: Annotated[
        CalibratorKind, typer.Option(help="Isotonic needs 200 trials on either side, logistic 20.")
    ] = CalibratorKind.LOGISTIC,
    qualities: Annotated[
        str | None, typer.Option(help="What the calibrator looks at beside the score, by comma; '' for nothing.")
    ] = None,
    false_support: Annotated[float, typer.Option(help="Share of different ones that may be called supported.")] = 0.05,
    false_against: Annotated[float, typer.Option(help="Share of same ones that may be called against.")] = 0.05,
    version: Annotated[str, typer.Option(help="Of the record.")] = "1.0.0",
    supersedes: Annotated[str, typer.Option(help="Id of the record that this one takes the place of.")] = "",
    population: Annotated[str, typer.Option(help="In words: who and what the clips stand for.")] = "",
    note: Annotated[str, typer.Option(help="What whoever approves it should know.")] = "",
    cache: Annotated[Path | None, typer.Option(help="Folder for what was seen in each clip.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Take so many clips, spread evenly; 0 takes all.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that decode.")] = 1,
    model: Annotated[Model | None, typer.Option(help="For consistency: who compares.")] = None,
    mode: Annotated[Mode, typer.Option(help="For consistency: by time, or as SpeechForensics does.")] = Mode.STRICT,
    pool: Annotated[
        list[float] | None, typer.Option(min=1, help="For people: seconds of a sample; again for more.")
    ] = None,
    same_session: Annotated[
        bool, typer.Option("--same-session", help="For people: let one session meet itself.")
    ] = False,
    resamples: Annotated[int, typer.Option(min=20, help="Behind each interval.")] = RESAMPLES,
    seed: Annotated[int, typer.Option(help="Of everything drawn at random.")] = 0,
) -> None:
    """Fit log10 likelihood ratios to the scores of real clips, and say what they are worth on clips left out.

    The parameters are fitted to all trials; every figure is of trials whose sources (for people: whose people) had no
    part in fitting. Forged clips are left out. The same clips, options and seed give the same parameters.
    """
    options = DraftOptions(
        author=author,
        kind=calibrator,
        qualities=None if qualities is None else tuple(one.strip() for one in qualities.split(",") if one.strip()),
        version=version,
        false_support=_check_rate(false_support),
        false_against=_check_rate(false_against),
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
                "There is neither a manifest nor a file of scores.", "Name a manifest, or --scores FILE."
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
    typer.echo(f"{out} written: a draft, which another person than {record.author} approves.")


def _check_rate(rate: float) -> float:
    if not 0 < rate < 1:
        raise typer.BadParameter(f"a wished rate is between 0 and 1, found {rate}")
    return rate


@app.command()
def show(record: File) -> None:
    """Print a record: what it is of, how good it is, who made and who approved it."""
    print_record(read_record(record), Console(file=sys.stdout))


@app.command()
def approve(
    record: File,
    out: Out,
    approver: Annotated[str, typer.Option(help="Who approves it; never who made it.")] = "",
    by_rules: Annotated[
        bool, typer.Option("--by-rules", help="Approve by the fixed rules of a release, in place of a person.")
    ] = False,
) -> None:
    """Approve a draft that another person made."""
    if by_rules == bool(approver):
        raise typer.BadParameter("a draft is approved either by --approver or --by-rules.")
    found = read_record(record)
    approved = approve_by_rules(found) if by_rules else found.approve(approver)
    write_record(approved, out)
    typer.echo(f"{out} written: approved by {approved.approver}, in place of {approved.supersedes[:12]}.")


@app.command()
def retire(record: File, out: Out, note: Annotated[str, typer.Option(help="Why.")]) -> None:
    """Retire an approved record; results keep the id of the record that they were made with."""
    retired = read_record(record).retire(note)
    write_record(retired, out)
    typer.echo(f"{out} written: retired, in place of {retired.supersedes[:12]}.")


def print_record(record: Calibration, console: Console) -> None:
    """Print what it is of, how good it is on what was held out, and where its zones and bounds are."""
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
