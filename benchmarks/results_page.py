"""Write docs/results.md from the results: limitations first, every figure with its 95 % interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import jinja2
import plotly.graph_objects as go

from engine.evaluation.groups import FEW, order_groups, order_verdicts
from engine.evaluation.plots import plot_consistency, plot_robustness, write_pictures
from engine.evaluation.results import (
    ConsistencyResults,
    Discrimination,
    GroupResult,
    MethodResult,
    OffsetResults,
    Share,
    Trimmed,
    Verdicts,
)
from engine.evaluation.robustness import PerturbationResult, RobustnessReport
from webapp.cli.robustness import name_step

TEMPLATES = Path(__file__).with_name("templates")
Named = TypeVar("Named")


@dataclass(frozen=True, slots=True)
class Subset:
    """Real clips of one evaluation."""

    n_clips: int = 0
    n_people: int = 0
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """All results; None or empty if not measured."""

    manifest_sha256: str = ""
    recipe: str = ""  # of the shipped network
    dubbed: ConsistencyResults | None = None  # against swapped voices
    dubbed_of: Subset = Subset()
    offsets: OffsetResults | None = None  # planted
    genuine: dict[str, dict[str, Verdicts]] = field(default_factory=dict)  # by grouping, of clips of 2 s or more
    genuine_of: Subset = Subset()
    forged: ConsistencyResults | None = None  # against forged clips of 3 s or more
    forged_of: Subset = Subset()
    forged_short: ConsistencyResults | None = None  # the first 2 s of all
    forged_short_of: Subset = Subset()
    picture: RobustnessReport | None = None  # perturbed
    sound: RobustnessReport | None = None
    longer: RobustnessReport | None = None  # perturbed sound, in clips with enough speech to be scored


def write_page(measured: Measured, path: Path) -> None:
    """Write the page, without sections that were not measured."""
    path.write_text(_load().get_template("results.md.j2").render(m=measured), encoding="utf-8")


def draw_results(measured: Measured, folder: Path) -> None:
    """Write the plots of the page as PNG."""
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
    """Set up Jinja2 for Markdown: no escaping, undefined names raise."""
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
        enough=lambda named: [(name, one) for name, one in named if one.parting.n_real >= FEW],
        few_last=order_methods,
        grouped=list_groups,
        highest=find_highest,
        interval=name_interval,
        judged=list_verdicts,
        lowest=lambda outcomes: min(outcomes, key=lambda one: 1.0 if one.parting.auc is None else one.parting.auc),
        moved=measure_move,
        named=name_all,
        number=number,
        percent=lambda share: "-" if share is None else f"{share:.1%}",
        rate=name_rate,
        share=name_share,
        shortest=lambda windows: min(windows, key=float),
    )
    found.globals["FEW"] = FEW
    return found


def order_methods(methods: Mapping[str, MethodResult]) -> list[tuple[str, MethodResult]]:
    """Sort methods by AUC, those with few clips last."""
    return sorted(methods.items(), key=lambda item: (item[1].n < FEW, item[1].auc or 0.0))


def list_groups(groups: Mapping[str, Mapping[str, GroupResult]]) -> list[tuple[str, GroupResult]]:
    """Return the groups of all groupings, the worst of each first; those of few clips are marked."""
    return [
        (f"{grouping}: {name}{'' if one.parting.n_real >= FEW else ' (few)'}", one)
        for grouping, own in groups.items()
        for name, one in order_groups(own)
    ]


def list_verdicts(groups: Mapping[str, Mapping[str, Verdicts]]) -> list[tuple[str, Verdicts]]:
    """Return the genuine clips of all groups, the worst of each grouping first; those of few clips are marked."""
    return [
        (f"{grouping}: {name}{'' if one.against.n >= FEW else ' (few)'}", one)
        for grouping, own in groups.items()
        for name, one in order_verdicts(own)
    ]


def find_highest(outcomes: Sequence[PerturbationResult], field: str) -> PerturbationResult:
    """Return the outcome with the highest share in this field."""
    return max(outcomes, key=lambda one: share.share if (share := getattr(one, field)) else 0.0)


def measure_move(trimmed: Trimmed, plain: Mapping[str, MethodResult]) -> float:
    """Return the largest change of AUC of a method when silence is trimmed."""
    pairs = [(one.auc, trimmed.per_method[name].auc) for name, one in plain.items() if name in trimmed.per_method]
    return max((abs(after - before) for before, after in pairs if before is not None and after is not None), default=0)


def name_all(values: Mapping[str, Named], form: str) -> list[tuple[str, Named]]:
    """Format each key, such as `first {} s`."""
    return [(form.format(key), value) for key, value in values.items()]


def name_done(one: PerturbationResult) -> str:
    """Name the perturbation and its strength."""
    step = name_step(one.step)
    if one.step.kind is None:
        return "nothing"
    unit = f" {step['unit']}" if step["unit"] else ""
    return f"{step['perturbation']} ({step['strength']:g}{unit})"


def name_auc(one: Discrimination | MethodResult) -> str:
    """Format an AUC with its interval in two digits."""
    ci = f" ({one.ci[0]:.2f} to {one.ci[1]:.2f})" if one.ci else ""
    return f"{number(one.auc, 2)}{ci}"


def name_interval(one: Discrimination | MethodResult) -> str:
    """Format the interval of an AUC, with the resampling unit unless it is people."""
    over = "" if one.ci_over == "people" else " (over clips)"
    return "-" if one.ci is None else f"{one.ci[0]:.3f} to {one.ci[1]:.3f}{over}"


def name_share(share: Share | None) -> str:
    """Format a share with its count and interval."""
    if share is None:
        return "-"
    ci = f" ({share.ci[0]:.0%} to {share.ci[1]:.0%})" if share.ci else ""
    return f"{share.share:.0%} of {share.n}{ci}"


def name_rate(share: Share) -> str:
    """Format a share of a few per cent with its interval."""
    return f"{share.share:.1%}" + (f" ({share.ci[0]:.1%} to {share.ci[1]:.1%})" if share.ci else "")


def number(value: float | None, digits: int = 3) -> str:
    """Format a number, or a dash for None."""
    return "-" if value is None else f"{value:.{digits}f}"
