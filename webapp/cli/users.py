"""`wayspeak users`: who may log in, and with which role."""

import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from engine.errors import EngineError
from engine.reports.json import write_json
from engine.settings import Settings
from webapp.accounts.records import Role
from webapp.accounts.store import AccountStore

app = typer.Typer(add_completion=False, no_args_is_help=True)
keys = typer.Typer(no_args_is_help=True, help="Keys of the API.")
app.add_typer(keys, name="key")

Name = Annotated[str, typer.Argument(help="Name of the account.", show_default=False)]
AskRole = Annotated[Role, typer.Option(help="What they may do.")]


@app.command()
def add(
    name: Name,
    role: AskRole = Role.ANALYST,
    generate: Annotated[bool, typer.Option("--generate", help="Make a password and print it.")] = False,
) -> None:
    """Make an account. From the first one on everybody has to log in."""
    password = secrets.token_urlsafe(18) if generate else _ask_password()
    with _open() as store:
        store.add(name, password, role)
    typer.echo(f"{name.strip().lower()} may log in now, as {role}.")
    if generate:
        typer.echo(f"Password: {password}")


@app.command("list")
def list_accounts(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List everybody who may log in."""
    with _open() as store:
        found = store.accounts()
    if as_json:
        told = [
            {"name": one.name, "role": str(one.role), "disabled": one.is_disabled, "keys": one.n_keys} for one in found
        ]
        sys.stdout.write(write_json({"schema_version": 1, "found": told}))
        return
    for one in found:
        state = "disabled" if one.is_disabled else f"{one.n_keys} keys"
        typer.echo(f"{one.name:24} {one.role:9} since {one.created_at:%Y-%m-%d}, {state}")
    if not found:
        typer.echo("There are no accounts: the app is for one local user, on this machine alone.")


@app.command()
def passwd(name: Name) -> None:
    """Set a new password; open sessions end."""
    password = _ask_password()
    with _open() as store:
        store.set_password(name, password)
    typer.echo("The password was changed.")


@app.command()
def role(name: Name, new: Annotated[Role, typer.Argument(help="What they may do.", show_default=False)]) -> None:
    """Change what somebody may do; open sessions end."""
    with _open() as store:
        store.set_role(name, new)
    typer.echo(f"{name} is {new} now.")


@app.command()
def disable(name: Name, undo: Annotated[bool, typer.Option("--undo", help="Let them in again.")] = False) -> None:
    """Let somebody in no more. Their jobs stay, and the name is never given to anybody else."""
    with _open() as store:
        store.disable(name, not undo)
    typer.echo(f"{name} may {'log in again' if undo else 'not log in any more'}.")


@keys.command("add")
def add_key(name: Name) -> None:
    """Make a key of the API and print it; it is shown this once."""
    with _open() as store:
        typer.echo(store.add_key(name))


@keys.command("revoke")
def revoke_keys(name: Name) -> None:
    """Make all of somebody's keys useless."""
    with _open() as store:
        typer.echo(f"{store.delete_keys(name)} keys open nothing any more.")


@contextmanager
def _open() -> Iterator[AccountStore]:
    store = AccountStore.open(Settings.from_env())
    try:
        yield store
    finally:
        store.close()


def _ask_password() -> str:
    """Ask twice on a terminal; else read one line, so that a program can set it and no list of processes shows it."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    line = sys.stdin.readline().rstrip("\n")
    if not line:
        raise EngineError("No password was given.", "Type it on a terminal, pipe it in, or use --generate.")
    return line
