"""Messages between the engine and a process that decodes: plain words and numbers, never a pickle.

Whoever decodes may have been taken over by what it decodes, so nothing it sends is trusted to be more than bytes.
"""

import json
import socket
import struct
from dataclasses import dataclass
from typing import Any

HEAD = struct.Struct("<II")  # bytes of the note, bytes of the data
STATUS = struct.Struct("<i")  # how a decoder ended, over its leash: exit status, or minus the signal
MAX_NOTE, MAX_DATA = 2**16, 2**24


class InvalidMessage(Exception):
    """What came over the link is no message."""


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One message."""

    kind: str
    note: dict[str, Any]
    data: bytes = b""


class Link:
    """One end of a connection."""

    def __init__(self, channel: socket.socket):
        self._channel, self._reader = channel, channel.makefile("rb", 2**16)  # a small message is one call

    def send(self, kind: str, note: dict[str, Any] | None = None, data: bytes = b"") -> None:
        """Send one message; waits while the other side does not read."""
        written = json.dumps([kind, note or {}]).encode()
        self._channel.sendall(HEAD.pack(len(written), len(data)) + written)
        if data:
            self._channel.sendall(data)

    def receive(self) -> Message | None:
        """Wait for the next message; None: the other side has ended. Raises InvalidMessage and TimeoutError."""
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
            raise InvalidMessage("a message that is no JSON pair") from cause
        if not isinstance(kind, str) or not isinstance(fields, dict):
            raise InvalidMessage("a message of the wrong shape")
        return Message(kind, fields, data)

    def close(self) -> None:
        """Close this end."""
        self._reader.close()
        self._channel.close()

    def _read(self, count: int) -> bytes | None:
        data = self._reader.read(count)
        return data if len(data) == count else None
