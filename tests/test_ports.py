import socket

import pytest

from tests.ports import reserve_port


def test_a_reserved_port_refuses_until_its_server_listens_on_it() -> None:
    with reserve_port() as port:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)) as client:
            assert client.getpeername()[1] == port


def test_reserved_port_is_not_assigned_again() -> None:
    with reserve_port() as one, reserve_port() as other:
        assert one != other
        others = [socket.create_server(("127.0.0.1", 0)) for _ in range(500)]
        assert not {one, other} & {each.getsockname()[1] for each in others}
        for each in others:
            each.close()
