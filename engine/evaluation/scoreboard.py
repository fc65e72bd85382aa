"""The figures of an evaluation, for people and for programs."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine.evaluation.figures import ConsistencyFigures, Hits, OffsetFigures, Parting, Report, Skipped

MAX_NAMED = 20  # files on the terminal, of those skipped for one reason; the JSON names all

Interval = tuple[float, float] | None


def to_json(report: Report) -> dict[str, Any]:
    """Lay the figures out as the JSON of `wayspeak evaluate`; null where a figure cannot be told."""
    figures = report.figures
    own = _lay_consistency(figures) if isinstance(figures, ConsistencyFigures) else _lay_offset(figures)
    rest = asdict(report)
    del rest["figures"]
    return own | rest


def print_report(report: Report, console: Console) -> None:
    """Print the tables."""
    if isinstance(report.figures, ConsistencyFigures):
        _print_consistency(report.figures, console)
    else:
        _print_offset(report.figures, console)
    console.print(f"{report.n_rows} clips measured; the gates would refuse {report.n_refused_by_gates} of them.")
    if report.n_from_trained_sources:
        console.print(
            f"{report.n_from_trained_sources} of them are of sources that the model was trained on: these flatter it."
        )
    _print_skipped(report.skipped, console)
    console.print(f"recipe {report.recipe}", highlight=False, soft_wrap=True)


def _print_skipped(skipped: Sequence[Skipped], console: Console) -> None:
    """Name the files by what they were skipped for, so that many of one kind do not hide the others."""
    by_reason: dict[str, list[str]] = {}
    for one in skipped:
        by_reason.setdefault(one.reason, []).append(one.path)
    if skipped:
        console.print(f"{len(skipped)} clips skipped:")
    for reason, paths in by_reason.items():
        more = f" and {len(paths) - MAX_NAMED} more, named in the JSON" if len(paths) > MAX_NAMED else ""
        line = f"  {reason} ({len(paths)}): {', '.join(paths[:MAX_NAMED])}{more}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _lay_consistency(figures: ConsistencyFigures) -> dict[str, Any]:
    laid = asdict(figures)
    return {"task": "consistency", "others": laid.pop("others")} | laid.pop("parting") | laid


def _lay_offset(figures: OffsetFigures) -> dict[str, Any]:
    laid = asdict(figures)
    own = laid.pop("within_1_frame_own") or {}
    return (
        {"task": "offset", "truth": laid.pop("truth")}
        | laid.pop("hits")
        | {
            "within_1_frame_own": own.get("within_1_frame"),
            "ci_own": own.get("ci"),
            "median_error_frames_own": own.get("median_error_frames"),
        }
        | laid
    )


def _print_consistency(figures: ConsistencyFigures, console: Console) -> None:
    swapped = figures.others != "labelled"
    against = "the voice of another real clip" if swapped else "all clips labelled otherwise"
    table = Table("", "AUC", "95 %", "EER", "real", "other", title=f"Real clips against {against}")
    table.add_row("whole clips", *_name_parting(figures.parting))
    for length, parting in figures.by_seconds.items():
        table.add_row(f"windows of {length} s", *_name_parting(parting))
    table.add_row("control: faces shuffled in time", *_name_parting(figures.control))
    console.print(table)
    if swapped:
        console.print("No row has another label: the others are real faces with swapped voices.")
    methods = Table("method", "AUC", "95 %", "n", title="All real clips against each method")
    for name, one in figures.per_method.items():
        methods.add_row(escape(name), _name(one.auc), _name_interval(one.ci), str(one.n))
    console.print(methods)


def _print_offset(figures: OffsetFigures, console: Console) -> None:
    planted = figures.truth == "planted"
    title = f"Offsets {'planted into' if planted else 'known of'} {figures.n_clips} clips"
    table = Table("", "within 1 frame", "95 %", "median error", "n", title=title)
    table.add_row("from the true offset", *_name_hits(figures.hits))
    if figures.within_1_frame_own is not None:
        table.add_row("from it and the clip's own", *_name_hits(figures.within_1_frame_own))
    for shift, hits in figures.by_shift.items():
        table.add_row(f"planted {int(shift):+d}", *_name_hits(hits))
    console.print(table)


def _name_parting(parting: Parting) -> Iterable[str]:
    counts = (str(parting.n_real), str(parting.n_other))
    return (_name(parting.auc), _name_interval(parting.ci), _name(parting.eer), *counts)


def _name_hits(hits: Hits) -> Iterable[str]:
    return _name(hits.within_1_frame), _name_interval(hits.ci), _name(hits.median_error_frames, 1), str(hits.n)


def _name(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _name_interval(ci: Interval) -> str:
    return "-" if ci is None else f"{ci[0]:.3f} to {ci[1]:.3f}"
