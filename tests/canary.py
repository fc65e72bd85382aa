"""A port on loopback that notes every connection to it, for tests of what must never be reached."""

import socket
from types import TracebackType

WAIT_S = 60.0  # for a connection to oneself, on a machine however busy


class Canary:
    """A listening port, on IPv4 and where there is one on IPv6 too; use it as a context manager."""

    def __init__(self) -> None:
        if socket.has_dualstack_ipv6():
            self._socket = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
        else:
            self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._socket.settimeout(WAIT_S)
        self.port: int = self._socket.getsockname()[1]

    def hits(self) -> list[tuple[str, int]]:
        """Return host and port of every connection made since the last call, in order.

        Connections wait in the kernel's queue. One more is made here: once that one comes out, all earlier ones have.
        """
        found = []
        with socket.create_connection(("127.0.0.1", self.port), WAIT_S) as marker:
            own = marker.getsockname()[1]
            while True:
                connection, address = self._socket.accept()
                connection.close()
                if address[1] == own and address[0] in ("127.0.0.1", "::ffff:127.0.0.1"):
                    return found
                found.append(address[:2])

    def __enter__(self) -> "Canary":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()
