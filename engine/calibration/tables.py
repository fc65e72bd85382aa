"""A calibration record for people at a terminal."""

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine.calibration.bands import HYPOTHESES
from engine.calibration.records import Calibration, Metric

COLUMNS = {
    "Cllr": "cllr",
    "min": "cllr_min",
    "cal": "cllr_cal",
    "EER": "eer",
    "10 | d": "different_lr_from_10",
    "? | s": "same_inconclusive",
}
LEGEND = "95 %: of Cllr; 10 | d: LR of 10 and more though different; ? | s: inconclusive though same; s+d: how many"


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
