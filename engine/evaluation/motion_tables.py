"""Tables of `wayspeak evaluate --task source` on the terminal."""

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine.evaluation.motion_sources import SourceFigures, SourceReport

COLUMNS = ("clips", "first", "above 99.9 % of wrong", "LR 100 and more", "offset within a frame", "n")


def print_sources(report: SourceReport, console: Console) -> None:
    """Print the figures by condition and method, and the wrong pairs."""
    _print_figures(report.per_condition, "source: true source among all other recordings", console)
    for condition, figures in report.per_method.items():
        _print_figures(figures, condition, console)
    table = Table("wrong pairs", "n", "score of 1 in 1,000", "LR 100 and more", "of one person", "LR 100 and more")
    for condition, wrong in report.wrong.items():
        cells = (wrong.n, f"{wrong.threshold:.2f}", wrong.strong, wrong.n_same_person, wrong.strong_same_person)
        table.add_row(condition, *("-" if cell is None else str(cell) for cell in cells))
    console.print(table)
    console.print(f"{report.n_rows} clips, {report.n_probes} of them with a source among the others.")
    if report.calibration is None:
        console.print("No calibration of this recipe is in force: there are scores, but no likelihood ratios.")
    console.print(f"recipe {report.recipe}", highlight=False, soft_wrap=True)


def _print_figures(figures: Mapping[str, SourceFigures], title: str, console: Console) -> None:
    table = Table("", *COLUMNS, title=title)
    for name, one in figures.items():
        shares = (_share(share) for share in (one.first, one.above_wrong, one.strong, one.offset))
        table.add_row(escape(name), str(one.n), *shares, str(one.n_offsets))
    console.print(table)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"
