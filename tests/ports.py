"""Free ports for servers that are started with a number, safe with several processes of tests."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserve_port() -> Iterator[int]:
    """Yield a port of 127.0.0.1 that the system assigns to no other program until the block ends.

    The port is bound but does not accept connections: a server can still open it by number with SO_REUSEADDR.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
