import threading
import time
from collections.abc import Iterator

import pytest

from engine.media.clip import read_ahead


@pytest.mark.timeout(20)
def test_reading_ahead_keeps_order_and_is_bounded():
    taken: list[int] = []

    def count() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    items = read_ahead(count(), depth=3)
    assert next(items) == 0
    time.sleep(0.1)
    assert len(taken) <= 5
    assert list(items) == list(range(1, 50))


@pytest.mark.timeout(20)
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


@pytest.mark.timeout(20)
def test_reading_ahead_works_while_the_reader_does():
    def slow() -> Iterator[int]:
        for number in range(10):
            time.sleep(0.02)
            yield number

    began = time.perf_counter()
    for _ in read_ahead(slow()):
        time.sleep(0.02)
    assert time.perf_counter() - began < 0.35  # one after the other takes 0.4 s
