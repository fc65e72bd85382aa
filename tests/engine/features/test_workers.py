"""Results come in order, the earliest error wins, and no thread is left."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from engine.features.workers import WAITING, JobStopped, Report, run_in_order

pytestmark = pytest.mark.timeout(100)


@pytest.fixture(autouse=True)
def no_threads() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("segments")]


def count_to(n_frames: int, result: int = 0) -> Callable[[Report], int]:
    def job(report: Report) -> int:
        for _ in range(n_frames):
            report(True)
        return result

    return job


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_results_come_in_the_order_of_the_jobs(workers: int) -> None:
    jobs = [count_to(20 - number, number) for number in range(20)]
    assert list(run_in_order(jobs, workers, lambda count: None)) == list(range(20))


def test_a_job_that_ends_first_waits_for_the_one_before() -> None:
    second_done = threading.Event()

    def first(report: Report) -> int:
        assert second_done.wait(60)
        return 1

    def second(report: Report) -> int:
        second_done.set()
        return 2

    assert list(run_in_order([first, second], 2, lambda count: None)) == [1, 2]


def test_few_jobs_are_begun_before_their_results_are_taken() -> None:
    begun: list[int] = []

    def make(number: int) -> Callable[[Report], int]:
        return lambda report: begun.append(number) or number  # type: ignore[func-returns-value]

    with closing(run_in_order([make(number) for number in range(50)], 2, lambda count: None)) as results:
        for number, result in enumerate(results):
            assert result == number and len(begun) <= number + 1 + 2 * WAITING


@pytest.mark.parametrize("workers", [1, 3])
def test_every_frame_that_counts_is_reported_in_this_thread(workers: int) -> None:
    here, counts = threading.get_ident(), []

    def job(report: Report) -> None:
        report(False)
        for _ in range(5):
            report(True)

    def on_frames(count: int) -> None:
        assert threading.get_ident() == here
        counts.append(count)

    list(run_in_order([job] * 4, workers, on_frames))
    assert counts == list(range(1, 21))


def test_an_error_while_reporting_stops_all_jobs() -> None:
    stopped: list[int] = []

    def make(number: int) -> Callable[[Report], None]:
        def job(report: Report) -> None:
            try:
                while True:
                    report(True)
            except JobStopped:
                stopped.append(number)
                raise

        return job

    def cancel(count: int) -> None:
        if count == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_in_order([make(number) for number in range(9)], 2, cancel))
    assert sorted(stopped) == [0, 1]


def test_the_error_of_the_earliest_job_is_raised_and_later_jobs_are_stopped() -> None:
    second_failed = threading.Event()

    def first(report: Report) -> None:
        assert second_failed.wait(60)
        raise ValueError("first")

    def second(report: Report) -> None:
        second_failed.set()
        raise ValueError("second")

    def endless(report: Report) -> None:
        while True:
            report(False)

    with pytest.raises(ValueError, match="first"):
        list(run_in_order([first, second, endless], 3, lambda count: None))


def test_results_that_are_no_longer_taken_stop_the_jobs() -> None:
    def endless(report: Report) -> int:
        while True:
            report(True)

    results = run_in_order([count_to(3, 7), endless], 2, lambda count: None)
    assert next(results) == 7
    results.close()
