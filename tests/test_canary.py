"""A canary misses no connection, so that `hits() == []` is a proof."""

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.canary import Canary

CALL = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1]))).close()"


@pytest.fixture
def canary() -> Iterator[Canary]:
    with Canary() as canary:
        yield canary


def test_an_untouched_canary_has_no_hits(canary: Canary) -> None:
    assert canary.hits() == [] and canary.hits() == []


def test_hits_are_complete_in_order_and_reported_once(canary: Canary) -> None:
    ports = []
    for _ in range(200):  # each is read at once after it was made: none may come too late
        with socket.create_connection(("127.0.0.1", canary.port)) as one:
            ports.append(one.getsockname()[1])
        if len(ports) % 3 == 0:
            assert [port for _, port in canary.hits()] == ports[-3:]
    assert [port for _, port in canary.hits()] == ports[198:]
    assert canary.hits() == []


def test_a_hit_of_another_process_that_has_ended_is_seen(canary: Canary) -> None:
    subprocess.run([sys.executable, "-I", "-c", CALL, str(canary.port)], check=True, timeout=60)
    assert len(canary.hits()) == 1


def test_more_hits_than_a_usual_queue_holds_are_seen(canary: Canary) -> None:
    for _ in range(500):
        socket.create_connection(("127.0.0.1", canary.port)).close()
    assert len(canary.hits()) == 500


def test_the_assertion_of_the_tests_fails_on_a_hit(canary: Canary) -> None:
    socket.create_connection(("127.0.0.1", canary.port)).close()
    with pytest.raises(AssertionError):
        assert canary.hits() == []
