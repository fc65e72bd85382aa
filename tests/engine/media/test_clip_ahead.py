import threading
import time
from collections.abc import Iterator

import pytest

from engine.media.clip import read_ahead


@pytest.mark.timeout(100)
def test_reading_ahead_keeps_order_and_is_bounded():
    taken: list[int] = []

    def count() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    items = read_ahead(count(), depth=3)
    assert next(items) == 0
    end = time.monotonic() + 60
    while len(taken) < 4 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)  # time to take more than it may
    assert 4 <= len(taken) <= 5
    assert list(items) == list(range(1, 50))


@pytest.mark.timeout(100)
def test_reading_ahead_that_is_abandoned_closes_its_source_and_its_thread():
    closed = threading.Event()

    def count() -> Iterator[int]:
        try:
            yield from range(1_000_000)
        finally:
            closed.set()

    items = read_ahead(count())
    next(items)
    items.close()  # type: ignore[attr-defined]

    assert closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


@pytest.mark.timeout(100)
def test_reading_ahead_works_while_the_reader_does():
    started = [threading.Event() for _ in range(10)]

    def count() -> Iterator[int]:
        for number, event in enumerate(started):
            event.set()
            yield number

    for number in read_ahead(count()):
        assert all(event.wait(60) for event in started[: number + 2])  # the next one too, while this one is held
