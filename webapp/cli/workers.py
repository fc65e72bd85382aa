"""Option for the number of segments of a recording that are processed at a time."""

from dataclasses import replace
from typing import Annotated

import typer

from engine.settings import MAX_WORKERS, Settings

WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        max=MAX_WORKERS,
        help="Segments of a recording processed at a time; 0: as many as cores.  [default: WAYSPEAK_WORKERS, or 0]",
    ),
]


def read_settings(workers: int | None) -> Settings:
    """Read the settings of the environment, with the number of workers of the option where it is given."""
    settings = Settings.from_env()
    return settings if workers is None else replace(settings, workers=workers)
