"""Content Credentials (C2PA) of a file and whether they are valid; without network access.

The file is untrusted, so the C2PA library reads it in a separate process that drops all privileges but the open file
before it reads the first byte (`c2pa_child`).
"""

import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import engine
from engine.settings import MediaLimits
from gallery_db.text import clean

MODULE = "webapp.bundle.c2pa_child"
MAX_CPU_S, MAX_WALL_S = 60, 120
MAX_ANSWER = 64 * 1024
MAX_TEXT = 200
HEAD_BYTES = 16


class CredentialState(StrEnum):
    """Result of reading a file's Content Credentials."""

    NONE = "none"
    INVALID = "invalid"
    VALID = "valid"
    TRUSTED = "trusted"
    NOT_EXAMINED = "not examined"


TEXTS = {
    CredentialState.NONE: (
        "The file carries no Content Credentials. That means nothing: most platforms strip them, and most cameras "
        "write none."
    ),
    CredentialState.INVALID: (
        "The file carries Content Credentials that do not hold: the file was changed after it was signed, or they are "
        "damaged. Editing without signing again has the same effect."
    ),
    CredentialState.VALID: (
        "The file carries Content Credentials that hold: nothing was changed since it was signed. Who signed is not "
        "checked against a list of trusted signers. They state who signed, not that the content is true."
    ),
    CredentialState.TRUSTED: (
        "The file carries Content Credentials that hold, of a signer on the list of trusted ones. They state who "
        "signed, not that the content is true."
    ),
    CredentialState.NOT_EXAMINED: "Content Credentials were not examined",
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """State, explanation and claimed signer; signer and generator are untrusted texts."""

    state: CredentialState = CredentialState.NOT_EXAMINED
    detail: str = ""  # why they were not examined
    signer: str = ""
    generator: str = ""

    @property
    def text(self) -> str:
        """Return the full explanation."""
        claims = [f"Signed by: {self.signer}." if self.signer else "", f"Made with: {self.generator}."]
        claimed = " ".join(claim for claim in claims[: 1 + bool(self.generator)] if claim)
        ending = f": {self.detail}." if self.detail else "." if self.state is CredentialState.NOT_EXAMINED else ""
        return f"{TEXTS[self.state]}{ending} {claimed}".strip()

    def describe(self) -> dict[str, Any]:
        """Return the fields for `exhibit.json`."""
        return {**asdict(self), "state": str(self.state), "words": self.text}


def examine_credentials(path: Path, limits: MediaLimits | None = None) -> Credentials:
    """Read a file's Content Credentials in a confined process; return the reason instead of raising."""
    if importlib.util.find_spec("c2pa") is None:
        return Credentials(detail="the package c2pa-python is not installed")
    if os.name != "posix":
        return Credentials(detail="this system cannot confine the process that would read them")
    try:
        with path.open("rb") as file:
            kind = _find_media_type(file.read(HEAD_BYTES))
            if kind is None:
                return Credentials(detail="Content Credentials of this file type are not supported")
            file.seek(0)
            return _read_confined(file, kind, limits or MediaLimits())
    except OSError:
        return Credentials(detail="the file no longer exists")


def _find_media_type(head: bytes) -> str | None:
    """Return the media type by the first bytes, since the file name is untrusted."""
    if head[4:8] == b"ftyp":
        return "video/quicktime" if head[8:12] == b"qt  " else "video/mp4"
    return "video/avi" if head[:4] == b"RIFF" and head[8:12] == b"AVI " else None


def _read_confined(file: io.BufferedReader, kind: str, limits: MediaLimits) -> Credentials:
    bounded = replace(limits, max_cpu_s=MAX_CPU_S)
    command = [sys.executable, "-P", "-m", MODULE, str(file.fileno()), kind, str(os.getpid())]
    with _run(command, file.fileno()) as child:
        try:
            answer, _ = child.communicate(json.dumps(asdict(bounded)).encode(), MAX_WALL_S)
        except subprocess.TimeoutExpired:
            return Credentials(detail="reading them took too long")
    return _read_answer(answer) if child.returncode == 0 else Credentials(detail="reading them failed on this file")


@contextlib.contextmanager
def _run(command: list[str], media: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start the process without our environment, which may contain secrets, and kill it at the end."""
    environment = {"PYTHONPATH": str(Path(str(engine.__file__)).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    child = subprocess.Popen(  # noqa: S603 - our own module
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**environment, **kept},
        pass_fds=[media],
        start_new_session=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def _read_answer(answer: bytes) -> Credentials:
    """Parse the untrusted answer of the process."""
    try:
        fields = json.loads(answer[:MAX_ANSWER])
        state = CredentialState(fields["state"])
        signer, generator = (clean(str(fields[name]))[:MAX_TEXT] for name in ("signer", "generator"))
    except (ValueError, KeyError, TypeError):
        return Credentials(detail="the process that read them returned an invalid answer")
    return Credentials(state, "", signer, generator)
