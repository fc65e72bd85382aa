"""The page of results, written from what was measured: weaknesses first, every figure with its 95 % interval."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import jinja2
import plotly.graph_objects as go

from benchmarks.results_records import Measured
from engine.evaluation.plots import plot_consistency, plot_robustness, write_pictures
from engine.evaluation.results import Discrimination, MethodResult, Share, Trimmed
from engine.evaluation.robustness import PerturbationResult
from webapp.cli.robustness import name_step

TEMPLATES = Path(__file__).with_name("templates")
FEW = 5  # clips of a method below which it comes after the others
Named = TypeVar("Named")


def write_page(measured: Measured, path: Path) -> None:
    """Write the page; sections that were not measured are missing in it."""
    path.write_text(_load().get_template("results.md.j2").render(m=measured), encoding="utf-8")


def draw_results(measured: Measured, folder: Path) -> None:
    """Draw what the page shows."""
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, go.Figure] = {}
    if measured.dubbed:
        drawn = plot_consistency(measured.dubbed)
        figures |= {name: drawn[name] for name in ("windows", "lengths", "ablations")}
    if measured.forged:
        drawn = plot_consistency(measured.forged)
        figures |= {name: drawn[name] for name in ("scores", "methods")}
    for name, report in (("picture", measured.picture), ("sound", measured.sound)):
        if report:
            figures[name] = plot_robustness(report)
    write_pictures(figures, folder)


def _load() -> jinja2.Environment:
    """Set up Jinja2 for Markdown: nothing is escaped, and a name that was not passed raises."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters.update(
        auc=name_auc,
        cell=lambda text: text.replace("|", "/"),
        done=name_done,
        few_last=order_methods,
        highest=find_highest,
        interval=name_interval,
        lowest=lambda outcomes: min(outcomes, key=lambda one: 1.0 if one.parting.auc is None else one.parting.auc),
        moved=measure_move,
        named=name_all,
        number=number,
        percent=lambda share: "-" if share is None else f"{share:.1%}",
        share=name_share,
        shortest=lambda windows: min(windows, key=float),
    )
    return found


def order_methods(methods: Mapping[str, MethodResult]) -> list[tuple[str, MethodResult]]:
    """Sort methods by AUC, those of few clips last."""
    return sorted(methods.items(), key=lambda item: (item[1].n < FEW, item[1].auc or 0.0))


def find_highest(outcomes: Sequence[PerturbationResult], field: str) -> PerturbationResult:
    """Find the outcome with the highest share in this field."""
    return max(outcomes, key=lambda one: share.share if (share := getattr(one, field)) else 0.0)


def measure_move(trimmed: Trimmed, plain: Mapping[str, MethodResult]) -> float:
    """Measure by how much the AUC of any method moves when silence is cut away."""
    pairs = [(one.auc, trimmed.per_method[name].auc) for name, one in plain.items() if name in trimmed.per_method]
    return max((abs(after - before) for before, after in pairs if before is not None and after is not None), default=0)


def name_all(values: Mapping[str, Named], form: str) -> list[tuple[str, Named]]:
    """Put each key into a form, such as `first {} s`."""
    return [(form.format(key), value) for key, value in values.items()]


def name_done(one: PerturbationResult) -> str:
    """Name the perturbation and its strength."""
    step = name_step(one.step)
    if one.step.kind is None:
        return "nothing"
    unit = f" {step['unit']}" if step["unit"] else ""
    return f"{step['perturbation']} ({step['strength']:g}{unit})"


def name_auc(one: Discrimination | MethodResult) -> str:
    """Format an AUC with its interval, in short."""
    ci = f" ({one.ci[0]:.2f} to {one.ci[1]:.2f})" if one.ci else ""
    return f"{number(one.auc, 2)}{ci}"


def name_interval(one: Discrimination | MethodResult) -> str:
    """Format the interval of an AUC, and over what it was resampled where that is not people."""
    over = "" if one.ci_over == "people" else " (over clips)"
    return "-" if one.ci is None else f"{one.ci[0]:.3f} to {one.ci[1]:.3f}{over}"


def name_share(share: Share | None) -> str:
    """Format a share of how many, with its interval."""
    if share is None:
        return "-"
    ci = f" ({share.ci[0]:.0%} to {share.ci[1]:.0%})" if share.ci else ""
    return f"{share.share:.0%} of {share.n}{ci}"


def number(value: float | None, digits: int = 3) -> str:
    """Format a figure, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"
