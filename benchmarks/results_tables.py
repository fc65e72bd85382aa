"""Tables and phrases of the page of results."""

from collections.abc import Iterable, Mapping, Sequence

from engine.evaluation.figures import Against, Hits, Parting, Share
from engine.evaluation.robustness import Outcome
from engine.evaluation.robustness_command import name_step

FEW = 5  # clips of a method below which it comes after the others
Tried = Parting | Against


def lay_methods(methods: Mapping[str, Against]) -> list[str]:
    """A row for each method, those of few clips last."""
    ordered = sorted(methods.items(), key=lambda item: (item[1].n < FEW, item[1].auc or 0.0))
    rows = [(name, one.n, *_lay(one), number(one.average_precision)) for name, one in ordered]
    return lay_table(("method", "clips", "AUC", "95 %", "EER", "AP of real"), rows)


def lay_partings(partings: Mapping[str, Parting]) -> list[str]:
    """A row for each condition."""
    rows = [(name, *_lay(one), f"{one.n_real} / {one.n_other}") for name, one in partings.items()]
    return lay_table(("", "AUC", "95 %", "EER", "real / other trials"), rows)


def lay_outcomes(outcomes: Iterable[Outcome]) -> list[str]:
    """A row for each thing done to clips at each level."""
    head = ("done", "level", "AUC", "95 %", "EER", "false alarms (95 %)", "silent", "gates aside (95 %)", "unscored")
    rows = [
        (
            name_done(one),
            one.step.level,
            *_lay(one.parting),
            name_share(one.false_alarms),
            one.n_silent_on,
            name_share(one.doubted),
            len(one.skipped),
        )
        for one in outcomes
    ]
    return lay_table(head, rows)


def lay_hits(named: Mapping[str, Hits]) -> list[str]:
    """A row for each way to count an offset as found."""
    rows = []
    for name, hits in named.items():
        ci = "-" if hits.ci is None else f"{hits.ci[0]:.1%} to {hits.ci[1]:.1%}"
        share = "-" if hits.within_1_frame is None else f"{hits.within_1_frame:.1%}"
        rows.append((name, share, ci, number(hits.median_error_frames, 1)))
    return lay_table(("within one frame", "share", "95 %", "median error, frames"), rows)


def lay_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of Markdown, and an empty one."""

    def line(cells: Iterable[object]) -> str:
        return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"

    return [line(head), line(["---"] * len(head)), *(line(row) for row in rows), ""]


def name_done(one: Outcome) -> str:
    """Say what was done, and how strongly."""
    step = name_step(one.step)
    if one.step.kind is None:
        return "nothing"
    unit = f" {step['unit']}" if step["unit"] else ""
    return f"{step['perturbation']} ({step['strength']:g}{unit})"


def name_methods(methods: Mapping[str, Against], names: Iterable[str]) -> str:
    """Name methods with their AUC and how many clips there are of each."""
    return ", ".join(f"{name} {number(methods[name].auc, 2)} ({methods[name].n})" for name in names)


def name_auc(one: Tried) -> str:
    """AUC with its interval, in short."""
    ci = f" ({one.ci[0]:.2f} to {one.ci[1]:.2f})" if one.ci else ""
    return f"{number(one.auc, 2)}{ci}"


def name_share(share: Share | None) -> str:
    """A share of how many, with its interval."""
    if share is None:
        return "-"
    ci = f" ({share.ci[0]:.0%} to {share.ci[1]:.0%})" if share.ci else ""
    return f"{share.share:.0%} of {share.n}{ci}"


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or that there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def _lay(one: Tried) -> tuple[str, str, str]:
    over = "" if one.ci_over == "people" else " (over clips)"
    ci = "-" if one.ci is None else f"{one.ci[0]:.3f} to {one.ci[1]:.3f}{over}"
    return number(one.auc), ci, number(one.eer)
