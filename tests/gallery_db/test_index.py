"""The index: exactly what the rows say, whatever FAISS would let pass."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest
from sqlalchemy import update

from gallery_db.errors import GalleryDamaged
from gallery_db.gallery import Gallery
from gallery_db.index import Base, IndexOptions, Snapshot, VectorIndex, build_base, check_vectors, make_queries
from gallery_db.schema import TemplateRow
from tests.gallery_db.planted import REASON, RECIPE, draw_person, embed, enrol_people, make_consent, make_samples


def draw(n: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def take(gallery: Gallery, index: VectorIndex) -> Snapshot:
    with gallery.database.read() as connection:
        return index.refresh(connection)


def search_all(snapshot: Snapshot, probe: np.ndarray, k: int = 100) -> list[tuple[int, float]]:
    return snapshot.search(probe[None], k)[0]


def expect_rows(gallery: Gallery, snapshot: Snapshot) -> None:
    """The snapshot finds exactly the speakers there are, with the cosines to templates made anew."""
    probe = draw_person(77)
    wanted = {}
    for speaker in gallery.speakers():
        samples = gallery.samples(speaker.id)
        mean = sum(one.embedding.seconds * one.embedding.vector.astype(np.float64) for one in samples)
        wanted[speaker.id] = float(mean @ probe / np.linalg.norm(mean))
    found = search_all(snapshot, probe)
    assert dict(found) == pytest.approx(wanted, abs=1e-6)
    assert len(found) == snapshot.size == len(wanted)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


def test_faiss_pads_with_nobody_and_nobody_is_never_looked_up() -> None:
    ids, vectors = np.array([5, 9], np.int64), draw(2)
    base = build_base(ids, vectors, IndexOptions())
    assert (base.search(vectors[:1], 4)[1][0, 2:] == -1).all()  # what must not become ids[-1], speaker 9
    snapshot = Snapshot(None, base, *_nothing(8))  # type: ignore[arg-type]
    found = snapshot.search(vectors, 4)
    assert [[speaker for speaker, _ in own] for own in found] == [[5, 9], [9, 5]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_reach_no_index(bad: float) -> None:
    vectors = draw(3)
    spoilt = vectors.copy()
    spoilt[1, 2] = bad
    with pytest.raises(ValueError, match="finite"):
        check_vectors(spoilt, 8)
    with pytest.raises(ValueError, match="finite"):
        build_base(np.arange(3), spoilt, IndexOptions())
    snapshot = Snapshot(None, build_base(np.arange(3), vectors, IndexOptions()), *_nothing(8))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finite"):
        snapshot.search(spoilt, 2)


def test_a_wrong_width_is_refused_in_words() -> None:
    snapshot = Snapshot(None, build_base(np.arange(3), draw(3), IndexOptions()), *_nothing(8))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(1, 7\), wanted \(Q, 8\)"):
        snapshot.search(draw(1, 7), 2)
    with pytest.raises(ValueError, match="wanted"):
        snapshot.search(draw(1)[0], 2)


def test_a_speaker_twice_is_refused_which_faiss_would_not() -> None:
    with pytest.raises(ValueError, match="twice"):
        build_base(np.array([4, 4]), draw(2), IndexOptions())


def test_of_nobody_nobody_is_found() -> None:
    empty = Snapshot(None, build_base(np.empty(0, np.int64), np.empty((0, 0)), IndexOptions()), *_nothing(0))  # type: ignore[arg-type]
    assert (empty.size, empty.search(draw(2), 3)) == (0, [[], []])


def test_it_follows_every_change(sqlite_gallery: Gallery) -> None:
    index = VectorIndex(RECIPE)
    expect_rows(sqlite_gallery, take(sqlite_gallery, index))
    enrol_people(sqlite_gallery, range(1, 6))
    expect_rows(sqlite_gallery, take(sqlite_gallery, index))
    sqlite_gallery.enrol("Person 2", make_samples(2, 4)[2:], make_consent())
    expect_rows(sqlite_gallery, take(sqlite_gallery, index))
    sqlite_gallery.merge("Person 1", "Person 3")
    expect_rows(sqlite_gallery, take(sqlite_gallery, index))
    sqlite_gallery.unmerge("Person 3")
    sqlite_gallery.reassign(sqlite_gallery.samples("Person 3")[0].id, "Person 4")
    expect_rows(sqlite_gallery, take(sqlite_gallery, index))
    sqlite_gallery.forget("Person 5")
    expect_rows(sqlite_gallery, take(sqlite_gallery, index))


def test_small_changes_are_added_and_removals_build_anew(sqlite_gallery: Gallery) -> None:
    index = VectorIndex(RECIPE)
    enrol_people(sqlite_gallery, [1, 2])
    first = take(sqlite_gallery, index)
    assert take(sqlite_gallery, index) is first
    enrol_people(sqlite_gallery, [3])
    sqlite_gallery.enrol("Person 1", make_samples(1, 3)[2:], make_consent())
    second = take(sqlite_gallery, index)
    assert second.base is first.base
    assert (second.size, second.hidden.tolist(), second.tail_ids.tolist()) == (3, [1], [1, 3])
    expect_rows(sqlite_gallery, second)
    sqlite_gallery.forget("Person 3")
    third = take(sqlite_gallery, index)
    assert third.base is not first.base
    assert (third.size, len(third.tail_ids)) == (2, 0)
    assert first.size == 2  # who holds an older one goes on with it


def test_a_long_tail_becomes_part_of_the_base(sqlite_gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gallery_db.index.MAX_TAIL", 3)
    index = VectorIndex(RECIPE)
    enrol_people(sqlite_gallery, [1])
    bases = set()
    for seed in range(2, 12):
        enrol_people(sqlite_gallery, [seed])
        snapshot = take(sqlite_gallery, index)
        assert len(snapshot.tail_ids) <= 3
        bases.add(id(snapshot.base))
        expect_rows(sqlite_gallery, snapshot)
    assert len(bases) > 1


def test_templates_that_are_no_vectors_are_told(sqlite_gallery: Gallery) -> None:
    enrol_people(sqlite_gallery, [1, 2])
    with sqlite_gallery.database.write() as connection:
        connection.execute(
            update(TemplateRow).where(TemplateRow.speaker_id == 1).values(vector=np.ones(64, np.float32))
        )
    with pytest.raises(GalleryDamaged, match="length 1"):
        take(sqlite_gallery, VectorIndex(RECIPE))
    assert sqlite_gallery.check().is_sound
    expect_rows(sqlite_gallery, take(sqlite_gallery, VectorIndex(RECIPE)))


def test_above_a_size_it_is_approximate_with_its_recall_measured() -> None:
    vectors = draw(12_000, 32)
    ids = np.arange(len(vectors)) * 3 + 1
    exact = build_base(ids, vectors, IndexOptions(device="cpu"))
    assert (exact.backend, exact.recall) == ("faiss flat", None)
    base = build_base(ids, vectors, IndexOptions(approximate_above=10_000, device="cpu"))
    assert base.recall is not None
    assert base.recall >= 0.99
    assert "fast scan" in base.backend
    queries = make_queries(vectors, 100, np.random.default_rng(3))
    one, other = (
        [own[0][0] for own in Snapshot(None, each, *_nothing(32)).search(queries, 5)]  # type: ignore[arg-type]
        for each in (exact, base)
    )
    assert np.mean(np.array(one) == np.array(other)) >= 0.97


def test_where_recall_cannot_be_had_it_is_exact_after_all() -> None:
    vectors = draw(2000, 6, seed=1)
    vectors[:] = vectors[0] + 1e-4 * vectors  # all alike: compressed they are one
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    base = build_base(np.arange(2000), vectors, IndexOptions(approximate_above=1000, device="cpu"))
    assert (base.backend, base.recall) == ("faiss flat", None)


def test_an_odd_width_is_searched_exactly() -> None:
    base = build_base(np.arange(2000), draw(2000, 7), IndexOptions(approximate_above=1000, device="cpu"))
    assert base.backend == "faiss flat"


def test_a_gpu_is_used_where_faiss_has_one_and_the_settings_allow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = []

    class Resources:
        """Stands for faiss-gpu's memory."""

    def move(resources: object, device: int, index: object) -> object:
        moved.append((type(resources), device))
        return index

    monkeypatch.setattr("gallery_db.index.count_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", Resources, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", move, raising=False)
    vectors = draw(5)
    base = build_base(np.arange(5), vectors, IndexOptions(approximate_above=1000))
    assert (base.backend, moved) == ("faiss-gpu flat", [(Resources, 0)])
    assert base.search(vectors, 1)[1][:, 0].tolist() == [0, 1, 2, 3, 4]
    assert build_base(np.arange(5), vectors, IndexOptions(device="cpu")).backend == "faiss flat"
    assert len(moved) == 1


def test_eight_search_while_one_enrols_and_forgets(file: Path) -> None:
    """No torn read: whoever was enrolled before a search is found by it, by their name and their own vector."""
    with Gallery.open(file) as gallery:
        enrol_people(gallery, range(1, 9))
        stop, wrong = threading.Event(), []

        def look(seed: int) -> int:
            probe, count = embed(draw_person(seed), 50), 0
            while not stop.is_set():
                first = gallery.search(probe, 3, reason=REASON).candidates[0]
                if first.name != f"Person {seed}" or not first.similarity > 0.8:
                    wrong.append(first)
                count += 1
            return count

        with ThreadPoolExecutor(8) as pool:
            counts = [pool.submit(look, seed) for seed in range(1, 9)]
            end, seed = time.monotonic() + 3, 100
            try:
                while time.monotonic() < end:
                    enrol_people(gallery, [seed])
                    if seed % 3 == 0:
                        gallery.forget(f"Person {seed}")
                    seed += 1
            finally:
                stop.set()
        assert wrong == []
        assert all(one.result() > 0 for one in counts)
        assert seed > 101


def test_no_file_is_written_beside_the_database(file: Path) -> None:
    with Gallery.open(file) as gallery:
        enrol_people(gallery, [1])
        gallery.search(embed(draw_person(1), 50), reason=REASON)
        assert {one.name for one in file.parent.iterdir()} <= {"gallery.db", "gallery.db-wal", "gallery.db-shm"}
    assert {one.name for one in file.parent.iterdir()} == {"gallery.db"}


def _nothing(dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, dim), np.float32)


@pytest.mark.parametrize("n_speakers, threads", [(1000, 1), (300_000, 3)])
def test_a_small_search_takes_one_thread_and_leaves_the_others_alone(n_speakers: int, threads: int) -> None:
    class Watched:
        def search(self, vectors: np.ndarray, k: int) -> int:
            return int(faiss.omp_get_max_threads())

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        base = Base(Watched(), np.arange(n_speakers), 64, "watched", None)
        assert base.search(draw(1), 5) == threads  # type: ignore[comparison-overlap]
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)
