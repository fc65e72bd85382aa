"""Power cuts and crowds: an enrolment is there whole or not at all, and none of many is lost."""

from pathlib import Path

import numpy as np
import pytest

from gallery_db.gallery import Gallery
from tests.gallery_db.crowds import enrol_crowd, list_seeds, run_script
from tests.gallery_db.planted import REASON, draw_person, embed, enrol_people

PROCESSES = 8
ENROLMENTS = 40  # of each process; 1,000 in `python -m benchmarks.gallery crowd`

KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from sqlalchemy import event
from gallery_db.gallery import Gallery
from tests.gallery_db.crowds import enrol_crowd, list_seeds, run_script
from tests.gallery_db.planted import make_consent, make_samples

def enrol_and_die(path: Path, at: int) -> None:
    path.parent.mkdir()
    shutil.copy(sys.argv[1], path)
    gallery = Gallery.open(path)
    seen = 0

    def count(*_):
        nonlocal seen
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(gallery.database.engine, name, count)
    gallery.enrol("Victim", make_samples(50), make_consent())
    os._exit(0)

folder, at = Path(sys.argv[2]), 0
while True:
    at += 1
    child = os.fork()
    if not child:
        enrol_and_die(folder / f"{at}" / "gallery.db", at)
    status = os.waitpid(child, 0)[1]
    print(at, "killed" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL else status, flush=True)
    if not os.WIFSIGNALED(status):
        break
    assert at < 400
"""


def test_killed_at_any_statement_an_enrolment_is_whole_or_nothing(file: Path, tmp_path: Path) -> None:
    with Gallery.open(file) as gallery:
        enrol_people(gallery, [1, 2])
    process = run_script(KILLED, file, tmp_path)
    result, _ = process.communicate(timeout=250)
    lines = result.splitlines()
    assert process.returncode == 0
    assert lines[-1].endswith(" 0")
    assert len(lines) > 24
    counts = [inspect(tmp_path / f"{at}" / "gallery.db") for at in range(1, len(lines) + 1)]
    assert counts == sorted(counts)  # nothing, up to the commit; all from then on
    assert set(counts) == {2, 3}


def inspect(path: Path) -> int:
    """How many are enrolled after a crash, when everything about each of them is there."""
    with Gallery.open(path) as gallery:
        assert gallery.database.find_damage() == []
        assert gallery.check().mended == gallery.check().problems == ()
        speakers = gallery.speakers()
        assert [one.n_samples for one in speakers] == [2] * len(speakers)
        found = gallery.search(embed(draw_person(50), 1), 1, reason=REASON).candidates[0]
        assert (found.name == "Victim") == (len(speakers) == 3)
        return len(speakers)


def test_of_eight_processes_that_enrol_at_once_nothing_is_lost(file: Path) -> None:
    Gallery.open(file).close()
    took = enrol_crowd(file, PROCESSES, ENROLMENTS)
    seeds = list_seeds(PROCESSES, ENROLMENTS)
    with Gallery.open(file) as gallery:
        assert {one.name for one in gallery.speakers()} == {f"Person {seed}" for seed in seeds}
        stats = gallery.stats()
        assert stats.n_samples == stats.generation == len(took) == len(seeds)
        assert gallery.check().mended == gallery.check().problems == ()
        for seed in np.random.default_rng(0).choice(seeds, 20):
            found = gallery.search(embed(draw_person(int(seed)), 100 * int(seed)), 1, reason=REASON)
            assert found.candidates[0].name == f"Person {seed}"
            assert found.candidates[0].similarity == pytest.approx(1, abs=1e-5)
