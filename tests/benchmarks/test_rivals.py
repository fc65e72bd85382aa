import pytest

from benchmarks.common import Spent, measure, median_range
from benchmarks.rivals import Method, compare_methods, load_part, mean, print_methods


def test_the_middle_of_an_odd_number_is_one_of_them() -> None:
    assert median_range([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)


def test_ratios_are_of_processor_time_within_a_round(capsys: pytest.CaptureFixture[str]) -> None:
    ours = [Spent(9.0, 1.0), Spent(1.0, 2.0), Spent(5.0, 4.0)]
    theirs = [Spent(1.0, 20.0), Spent(1.0, 20.0), Spent(1.0, 60.0)]
    turns = {"ours": iter([Spent(0.0, 0.0), *ours]), "theirs": iter(theirs)}
    methods = [Method("ours", lambda: next(turns["ours"])), Method("theirs", lambda: next(turns["theirs"]), True)]
    taken = compare_methods(methods, 3)
    assert taken == {"ours": ours, "theirs": theirs}
    print_methods(methods, taken)
    first, second = capsys.readouterr().out.splitlines()[2:]
    assert first == "| ours | 5.000 | 2.000 | 1.00 (1.00 to 1.00) |"
    assert second == "| theirs | 1.000 | 20.000 | 15 (10 to 20), met |"


def test_processor_time_is_that_of_the_work() -> None:
    spent = measure(lambda: sum(range(3_000_000)))
    assert 0 < spent.cpu_s < 5
    assert mean([Spent(1.0, 2.0), Spent(3.0, 6.0)]) == Spent(2.0, 4.0)


def test_a_rival_that_is_not_installed_is_named() -> None:
    with pytest.raises(SystemExit, match="not installed"):
        load_part("no_such_rival", "nets.py")


def test_a_part_is_loaded_without_its_package() -> None:
    assert load_part("engine", "faces/shots.py").SMALL == (64, 36)
