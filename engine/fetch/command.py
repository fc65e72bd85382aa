"""The typer command behind `wayspeak fetch`: the video at a link as a file, or what a site says of it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cli import show_progress
from engine.errors import FolderUnwritable
from engine.fetch.fetching import describe, fetch
from engine.fetch.records import FetchedMedia
from engine.settings import Settings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def fetch_url(
    url: Annotated[str, typer.Argument(help="A page with a video, or the video itself.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Where to write it.  [default: here, under a name of our own]")
    ] = None,
    info: Annotated[bool, typer.Option("--info", help="Only say what is there.")] = False,
    item: Annotated[int, typer.Option(min=0, help="Which video of several, from 1.", show_default=False)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Fetch the one video at a public link; nothing of this machine or its network can be fetched."""
    limits = Settings.from_env().fetch_limits
    if info:
        found = describe(url, limits, item)
        picture = f"{found.thumbnail_type}, {len(found.thumbnail)} bytes" if found.thumbnail else "none"
        _print(
            {"title": found.title, "duration_s": found.duration_s, "extractor": found.extractor, "picture": picture},
            as_json,
        )
        return
    if out is not None and out.exists():
        raise FolderUnwritable(f"{out} is there already.", "Choose another name.")
    with show_progress() as on_step:
        media = fetch(url, out.parent if out else Path(), limits, on_step, item)
    _print(_list_facts(media, media.path if out is None else media.path.rename(out)), as_json)


def _list_facts(media: FetchedMedia, path: Path) -> dict[str, Any]:
    facts = asdict(media) | {"path": str(path), "fetched_at": media.fetched_at.isoformat(timespec="seconds")}
    return facts | {"layers": list(media.layers), "parts_sha256": list(media.parts_sha256)}


def _print(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        if value == []:  # of parts, where it came in one
            continue
        shown = ", ".join(value) if isinstance(value, list) else "not told" if value is None else value
        typer.echo(f"{name:14} {shown}")
