"""`wayspeak users`: accounts, roles and API keys."""

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
keys = typer.Typer(no_args_is_help=True, help="Manage API keys.")
app.add_typer(keys, name="key")

Name = Annotated[str, typer.Argument(help="Name of the account.", show_default=False)]
AskRole = Annotated[Role, typer.Option(help="Role of the account.")]


@app.command()
def add(
    name: Name,
    role: AskRole = Role.ANALYST,
    generate: Annotated[bool, typer.Option("--generate", help="Generate a password and print it.")] = False,
) -> None:
    """Create an account. As soon as an account exists, a login is required."""
    password = secrets.token_urlsafe(18) if generate else _ask_password()
    with _open() as store:
        store.add(name, password, role)
    typer.echo(f"{name.strip().lower()} may log in now, as {role}.")
    if generate:
        typer.echo(f"Password: {password}")


@app.command("list")
def list_accounts(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the accounts."""
    with _open() as store:
        found = store.accounts()
    if as_json:
        accounts = [
            {"name": one.name, "role": str(one.role), "disabled": one.is_disabled, "keys": one.n_keys} for one in found
        ]
        sys.stdout.write(write_json({"schema_version": 1, "found": accounts}))
        return
    for one in found:
        state = "disabled" if one.is_disabled else f"{one.n_keys} keys"
        typer.echo(f"{one.name:24} {one.role:9} since {one.created_at:%Y-%m-%d}, {state}")
    if not found:
        typer.echo("There are no accounts: the app is for one local user, on this machine alone.")


@app.command()
def passwd(name: Name) -> None:
    """Set a new password; open sessions are closed."""
    password = _ask_password()
    with _open() as store:
        store.set_password(name, password)
    typer.echo("The password was changed.")


@app.command()
def role(name: Name, new: Annotated[Role, typer.Argument(help="Role of the account.", show_default=False)]) -> None:
    """Change the role of an account; open sessions are closed."""
    with _open() as store:
        store.set_role(name, new)
    typer.echo(f"{name} is {new} now.")


@app.command()
def disable(
    name: Name, undo: Annotated[bool, typer.Option("--undo", help="Enable the account again.")] = False
) -> None:
    """Disable an account. Its jobs stay, and its name is not reused."""
    with _open() as store:
        store.disable(name, not undo)
    typer.echo(f"{name} may {'log in again' if undo else 'not log in any more'}.")


@keys.command("add")
def add_key(name: Name) -> None:
    """Create an API key and print it; it cannot be shown again."""
    with _open() as store:
        typer.echo(store.add_key(name))


@keys.command("revoke")
def revoke_keys(name: Name) -> None:
    """Revoke all API keys of an account."""
    with _open() as store:
        typer.echo(f"{store.delete_keys(name)} keys revoked.")


@contextmanager
def _open() -> Iterator[AccountStore]:
    store = AccountStore.open(Settings.from_env())
    try:
        yield store
    finally:
        store.close()


def _ask_password() -> str:
    """Prompt twice on a terminal, else read one line of standard input: a password is never an argument."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    line = sys.stdin.readline().rstrip("\n")
    if not line:
        raise EngineError("No password was entered.", "Enter it on a terminal, pipe it in, or use --generate.")
    return line
