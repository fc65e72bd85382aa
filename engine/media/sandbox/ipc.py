"""Messages between the engine and a confined process: JSON and raw bytes, never a pickle.

The file may have taken control of the confined process, so every message from it is untrusted input.
"""

import json
import socket
import struct
from dataclasses import dataclass
from typing import Any

HEAD = struct.Struct("<II")  # length of the note and of the data, in bytes
STATUS = struct.Struct("<i")  # sent over the leash: exit status, or minus the signal number
MAX_NOTE, MAX_DATA = 2**16, 2**24


class InvalidMessage(Exception):
    """The bytes received are not a valid message."""


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One message: its kind, a JSON object, and raw bytes."""

    kind: str
    note: dict[str, Any]
    data: bytes = b""


class Link:
    """One end of a connection that carries messages."""

    def __init__(self, channel: socket.socket):
        self._channel, self._reader = (
            channel,
            channel.makefile("rb", 2**16),
        )  # buffered: one system call

    def send(self, kind: str, note: dict[str, Any] | None = None, data: bytes = b"") -> None:
        """Send one message; block while the other end does not read."""
        written = json.dumps([kind, note or {}]).encode()
        self._channel.sendall(HEAD.pack(len(written), len(data)) + written)
        if data:
            self._channel.sendall(data)

    def receive(self) -> Message | None:
        """Wait for the next message; None when the other end has closed. Raises InvalidMessage, TimeoutError."""
        head = self._read(HEAD.size)
        if head is None:
            return None
        n_note, n_data = HEAD.unpack(head)
        if n_note > MAX_NOTE or n_data > MAX_DATA:
            raise InvalidMessage(f"a message of {n_note} and {n_data} bytes")
        note, data = self._read(n_note), self._read(n_data)
        if note is None or data is None:
            return None
        try:
            kind, fields = json.loads(note)
        except (ValueError, TypeError, RecursionError) as cause:
            raise InvalidMessage("not a JSON pair") from cause
        if not isinstance(kind, str) or not isinstance(fields, dict):
            raise InvalidMessage("not a kind and an object")
        return Message(kind, fields, data)

    def close(self) -> None:
        """Close this end."""
        self._reader.close()
        self._channel.close()

    def _read(self, count: int) -> bytes | None:
        data = self._reader.read(count)
        return data if len(data) == count else None
