"""Scored trials: kept in a file to the last digit, and refused when they are something else."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.calibration.trials import ScoredTrials, join_trials, read_trials, write_trials
from engine.errors import Code, FolderUnwritable
from tests.engine.calibration.drawn import draw_search, draw_trials
from tests.raising import raises

ARRAYS = ("scores", "same", "people", "sources", "conditions", "qualities")


def assert_equal(one: ScoredTrials, other: ScoredTrials) -> None:
    for name in one.__slots__:
        mine, theirs = getattr(one, name), getattr(other, name)
        assert np.array_equal(mine, theirs) if name in ARRAYS else mine == theirs, name


def test_trials_come_back_from_their_file_as_they_were(tmp_path: Path) -> None:
    plain = draw_trials()
    named = replace(plain, people=np.where(plain.people == "s0p0", 'Åsa "quoted", with a comma', plain.people))
    bare = replace(plain, quality_names=(), qualities=np.zeros((len(plain), 0)))
    for trials in (plain, draw_search(), named, bare, plain.take(np.zeros(0, int))):
        write_trials(trials, tmp_path / "new" / "scores.json")
        assert_equal(read_trials(tmp_path / "new" / "scores.json"), trials)
    write_trials(plain, tmp_path / "one.json")
    write_trials(read_trials(tmp_path / "one.json"), tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_some_trials_can_be_taken_and_parts_put_together_again() -> None:
    trials = draw_trials()
    parts = [
        replace(trials.take(np.flatnonzero(trials.same == kind)), n_clips=3, n_abstained=1) for kind in (True, False)
    ]
    joined = join_trials(parts)
    assert (len(joined), joined.n_clips, joined.n_abstained) == (len(trials), 6, 2)
    assert joined.same[: trials.same.sum()].all() and not joined.same[trials.same.sum() :].any()
    assert np.array_equal(np.sort(joined.scores), np.sort(trials.scores))
    small = join_trials([draw_search(), replace(draw_search(), gallery_size=5)])
    assert small.gallery_size == 5
    for other in (replace(trials, recipe="x"), replace(trials, quality_names=("y",)), draw_search()):
        with pytest.raises(ValueError, match="2 kinds"):
            join_trials([trials, other])


def test_arrays_that_do_not_belong_together_and_numbers_that_are_none_are_refused() -> None:
    trials = draw_trials()
    with pytest.raises(ValueError, match="people has shape"):
        replace(trials, people=trials.people[:, 0])
    with pytest.raises(ValueError, match="qualities has shape"):
        replace(trials, quality_names=("a", "b"))
    with pytest.raises(ValueError, match="finite"):
        replace(trials, scores=np.where(trials.same, np.nan, trials.scores))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda found: found | {"format": "wayspeak scores 9"}, "expected 'wayspeak scores 1'"),
        (lambda found: found | {"columns": ["score"]}, "expected 'wayspeak scores 1'"),
        (lambda found: found | {"task": "palmistry"}, "palmistry"),
        (lambda found: {name: value for name, value in found.items() if name != "recipe"}, "recipe"),
        (lambda found: found | {"trials": [found["trials"][0][:-1]]}, "not as long"),
        (lambda found: found | {"trials": [[0.5, 1, *found["trials"][0][2:]]]}, "neither true nor false"),
        (lambda found: found | {"trials": [["much", True, *found["trials"][0][2:]]]}, "much"),
        (lambda found: [1], "indices"),
    ],
)
def test_another_file_is_refused_with_what_is_wrong(tmp_path: Path, change: object, reason: str) -> None:
    path = tmp_path / "scores.json"
    write_trials(draw_trials().take(np.arange(3)), path)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))  # type: ignore[operator]
    with raises(Code.BAD_SCORES, match=reason):
        read_trials(path)


def test_what_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    with raises(Code.BAD_SCORES, match="absent"):
        read_trials(tmp_path / "absent.json")
    for text in ("", "{", '{"format": NaN}'):
        (tmp_path / "broken.json").write_text(text)
        with raises(Code.BAD_SCORES, match="no file of scores"):
            read_trials(tmp_path / "broken.json")
    with pytest.raises(FolderUnwritable, match="cannot be written"):
        write_trials(draw_trials(), tmp_path / "broken.json" / "scores.json")
