"""Ed25519 key with which this installation signs bundles; created on first use in the data folder."""

import contextlib
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engine.errors import FolderUnwritable
from webapp.errors import WebCode

FILE = "signing-key.ed25519"  # in the data folder
SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key; a signature shows that this installation wrote the data, and nothing else."""

    _key: Ed25519PrivateKey

    @property
    def public(self) -> bytes:
        """Public key, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key, to be published separately from what was signed."""
        return hashlib.sha256(self.public).hexdigest()

    def sign(self, message: bytes) -> bytes:
        """Return the deterministic signature, 64 bytes."""
        return self._key.sign(message)


def open_key(data_dir: Path) -> SigningKey:
    """Read or create the key, readable by this user only.

    Raise KEY_DAMAGED if the file is not a key, FolderUnwritable if it cannot be read or written.
    """
    path = data_dir / FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _write_seed(path)
        return _read_key(path)
    except OSError as cause:
        raise FolderUnwritable(
            f"The signing key {path} cannot be read or written: {cause.strerror}.",
            "Allow the user that runs Wayspeak to, or choose another folder with WAYSPEAK_DATA.",
        ) from cause


def _write_seed(path: Path) -> None:
    """Create the file atomically; if two processes do so at once, both use the same key."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # readable by this user only
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(Ed25519PrivateKey.generate().private_bytes_raw())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def _read_key(path: Path) -> SigningKey:
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    seed = path.read_bytes()
    if len(seed) != SEED_BYTES:
        raise WebCode.KEY_DAMAGED(
            f"The signing key {path} has {len(seed)} bytes, wanted {SEED_BYTES}.",
            "Put it back from a copy, or delete it: a new one with another fingerprint is created.",
        )
    return SigningKey(Ed25519PrivateKey.from_private_bytes(seed))
