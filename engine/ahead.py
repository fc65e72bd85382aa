"""Items made by a thread before they are asked for."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterable[Item], depth: int = 4) -> Generator[Item, None, None]:
    """Yield the items while a thread prepares up to `depth` more; its errors are raised here, its source is closed.

    PyAV, OpenCV and LiteRT work outside the interpreter's lock, so a second core is busy while the reader keeps the
    first one so.
    """
    source = iter(items)
    end = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    pending: deque[Future[object]] = deque(pool.submit(next, source, end) for _ in range(depth))
    try:
        while (item := pending.popleft().result()) is not end:
            pending.append(pool.submit(next, source, end))
            yield item  # type: ignore[misc]  # `end` is no Item, and nothing else comes besides
    finally:
        pool.shutdown(cancel_futures=True)
        close = getattr(source, "close", None)
        if close is not None:
            close()
