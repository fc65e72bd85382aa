"""Progress bars on standard error, for the command line and the notebooks."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, ProgressColumn, TaskID

from engine.types import OnStep


class Report(Protocol):
    """Show the progress of a step; `note` fills an extra column of the caller."""

    def __call__(self, step: str, completed: int, total: int | None = None, note: str = "") -> None: ...


@contextmanager
def show_progress() -> Iterator[OnStep]:
    """Show a transient progress bar if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield lambda name, completed, total: None
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def on_step(name: str, completed: int, total: int) -> None:
            task = tasks.get(name)
            if task is None:
                task = tasks[name] = bar.add_task(name, total=total or None)
            bar.update(task, completed=completed)

        yield on_step


@contextmanager
def show_counts(*columns: ProgressColumn, console: Console | None = None, disable: bool = False) -> Iterator[Report]:
    """Show a persistent progress bar with a count for each step on standard error."""
    shown = (*Progress.get_default_columns(), MofNCompleteColumn(), *columns)
    bar, tasks = Progress(*shown, console=console or Console(stderr=True), disable=disable), dict[str, TaskID]()

    def report(step: str, completed: int, total: int | None = None, note: str = "") -> None:
        bar.start()  # with the first step, so that an earlier error is printed without a bar
        if step not in tasks:
            tasks[step] = bar.add_task(step, total=total, note=note)
        bar.update(tasks[step], completed=completed, total=total, note=note)

    try:
        yield report
    finally:
        if tasks:
            bar.stop()
