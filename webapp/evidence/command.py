"""The typer command behind `wayspeak verify-bundle`."""

from pathlib import Path
from typing import Annotated

import typer

from engine.settings import Settings
from webapp.evidence import verify
from webapp.evidence.keys import FILE, open_key

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command("verify-bundle")
def verify_bundle(
    bundle: Annotated[Path, typer.Argument(help="The ZIP, or the folder it was unpacked into.", show_default=False)],
    fingerprint: Annotated[str | None, typer.Option(help="Of the key it must be signed with.")] = None,
) -> None:
    """Check an evidence bundle: every file, the archive itself, and the signature; exit with 1 where one does not hold.

    Without --fingerprint it is told whether this very installation signed it.
    """
    if verify.main([str(bundle), *(["--fingerprint", fingerprint] if fingerprint is not None else [])]):
        raise typer.Exit(1)
    data_dir = Settings.from_env().data_dir
    if fingerprint is None and (data_dir / FILE).exists():  # no key is made to check another's
        members = verify.read_folder(bundle) if bundle.is_dir() else verify.unpack(bundle.read_bytes())
        own = open_key(data_dir).fingerprint == verify.find_fingerprint(members)
        typer.echo("It was signed by this installation." if own else "It was signed by another installation than this.")
