"""Free ports for servers that are started with a number, safe with several processes of tests."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserve_port() -> Iterator[int]:
    """Yield a port of 127.0.0.1 that the system assigns to no other program until the block ends.

    It is bound here and not listened on: who names its number, with SO_REUSEADDR as servers do, can still listen on it.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
