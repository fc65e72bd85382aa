"""Forgetting, looked for in the bytes of every file that SQLite keeps."""

import threading
import time
from pathlib import Path

import pytest

from gallery_db import erasure
from gallery_db.gallery import Gallery
from tests.gallery_db.planted import REASON, draw_person, embed, enrol_people, make_consent, make_samples

NAME = "Zebediah Quixote-Featherstonehaugh"
PURPOSE = "a purpose that nobody else has: zqx-4711"


def plant(gallery: Gallery) -> list[bytes]:
    """Enrol a speaker among others; return the identifying bytes in the files."""
    enrol_people(gallery, range(1, 20))
    samples = make_samples(77, 3)
    gallery.enrol(NAME, samples, make_consent(purpose=PURPOSE))
    enrol_people(gallery, range(20, 40))
    traces = [NAME.encode(), NAME.casefold().encode(), PURPOSE.encode()]
    for one in samples:
        assert one.thumbnail is not None
        vector = one.embedding.vector.tobytes()
        traces += [vector[:64], vector[64:128], one.thumbnail[100:164], one.thumbnail[-64:], one.source_name.encode()]
        traces.append(one.source_hash.encode())
    return traces


def find(file: Path, traces: list[bytes]) -> set[bytes]:
    """Which of them stand in any file of the data folder."""
    contents = [path.read_bytes() for path in file.parents[1].rglob("*") if path.is_file()]
    assert contents
    return {one for one in traces if any(one in content for content in contents)}


def test_erased_speaker_is_in_no_file(file: Path) -> None:
    with Gallery.open(file) as gallery:
        traces = plant(gallery)
        gallery.search(embed(draw_person(77), 50), reason=REASON)
        assert find(file, traces) == set(traces)
        assert gallery.forget(NAME).is_erased
        assert find(file, traces) == set()
        assert len(gallery.speakers()) == 39
    assert find(file, traces) == set()


def test_erased_merged_and_renamed_speaker_is_in_no_file(file: Path) -> None:
    with Gallery.open(file) as gallery:
        traces = plant(gallery)
        gallery.merge("Person 5", NAME)
        gallery.unmerge(NAME)
        gallery.rename(NAME, "Somebody")
        gallery.reassign(gallery.samples("Person 6")[0].id, "Somebody")
        gallery.merge("Somebody", "Person 7")
        assert gallery.forget("Somebody").is_erased
        assert find(file, traces) == set()
        assert find(file, [b"Person 7", b"Somebody"]) == set()


def test_speaker_with_lapsed_consent_is_in_no_file(file: Path) -> None:
    with Gallery.open(file) as gallery:
        enrol_people(gallery, range(1, 10))
        samples = make_samples(77, 2)
        gallery.enrol(NAME, samples, make_consent(1, purpose=PURPOSE))
        traces = [NAME.encode(), PURPOSE.encode(), *[one.embedding.vector.tobytes()[:64] for one in samples]]
        (receipt,) = gallery.forget_overdue(make_consent(2).expires_at)
        assert receipt.is_erased
        assert find(file, traces) == set()


def test_open_reader_delays_erasure(file: Path) -> None:
    """With a reader open the log cannot be emptied: it is tried again until they leave."""
    with Gallery.open(file) as gallery, Gallery.open(file) as other:
        traces = plant(gallery)
        with other.database.read() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM speaker").scalar_one()
            receipt = gallery.forget(NAME, timeout_s=0.2)
            assert not receipt.is_erased
            assert any("keeps open" in place for place in receipt.remaining)
            assert find(file, traces)
        assert erasure.erase(gallery.database, traces, timeout_s=10)
        assert find(file, traces) == set()


def test_erasure_waits_for_reader(file: Path) -> None:
    with Gallery.open(file) as gallery, Gallery.open(file) as other:
        traces, reading = plant(gallery), threading.Event()

        def read() -> None:
            with other.database.read() as connection:
                connection.exec_driver_sql("SELECT count(*) FROM speaker").scalar_one()
                reading.set()
                time.sleep(0.7)

        thread = threading.Thread(target=read)
        thread.start()
        assert reading.wait(60)
        assert gallery.forget(NAME, timeout_s=30).is_erased
        thread.join()
        assert find(file, traces) == set()


def test_a_stale_copy_that_the_log_left_is_cleaned_by_a_rewrite(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were `secure_delete` off, as in some builds of SQLite, bytes would stay: they are looked for and rewritten."""
    from gallery_db import database

    careless = {name: value for name, value in database.PRAGMAS.items() if "secure" not in name}
    monkeypatch.setattr(database, "PRAGMAS", careless | {"secure_delete=off": 0})
    with Gallery.open(file) as gallery:
        traces = plant(gallery)
        rewritten = []
        rewrite = erasure._vacuum
        monkeypatch.setattr(erasure, "_vacuum", lambda one: rewritten.append(1) or rewrite(one))
        assert gallery.forget(NAME).is_erased
        assert rewritten == [1]
        assert find(file, traces) == set()


def test_traces_are_found_across_the_pieces_that_are_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "CHUNK", 1000)
    with Gallery.open(file) as gallery:
        beside = file.with_name("gallery.db-beside")
        beside.write_bytes(b"x" * 990 + b"needle in two pieces" + b"x" * 2000)
        assert erasure.find_traces(gallery.database, [b"needle in two pieces", b"not there", b""]) == [
            b"needle in two pieces"
        ]
