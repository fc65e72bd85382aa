"""The index: exactly what the rows say, whatever FAISS would let pass."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest
from sqlalchemy import update

from gallery_db.errors import GalleryDamaged
from gallery_db.faiss_index import Snapshot, VectorIndex, build_snapshot, check_vectors
from gallery_db.gallery import Gallery
from gallery_db.schema import TemplateRow
from gallery_db.templates import Generation
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
    """The snapshot finds exactly the speakers there are, with the cosines to recomputed templates."""
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


def build(ids: np.ndarray, vectors: np.ndarray, device: str = "cpu") -> Snapshot:
    return build_snapshot(Generation("epoch", 1), ids, vectors, device)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_reach_no_index(bad: float) -> None:
    vectors = draw(3)
    spoilt = vectors.copy()
    spoilt[1, 2] = bad
    with pytest.raises(ValueError, match="finite"):
        check_vectors(spoilt, 8)
    with pytest.raises(ValueError, match="finite"):
        build(np.arange(3), spoilt)
    with pytest.raises(ValueError, match="finite"):
        build(np.arange(3), vectors).search(spoilt, 2)


def test_a_wrong_width_is_refused_in_words() -> None:
    snapshot = build(np.arange(3), draw(3))
    with pytest.raises(ValueError, match=r"\(1, 7\), wanted \(Q, 8\)"):
        snapshot.search(draw(1, 7), 2)
    with pytest.raises(ValueError, match="wanted"):
        snapshot.search(draw(1)[0], 2)


def test_a_speaker_twice_is_refused_which_faiss_would_not() -> None:
    with pytest.raises(ValueError, match="twice"):
        build(np.array([4, 4]), draw(2))


def test_empty_index_has_no_results() -> None:
    empty = build(np.empty(0, np.int64), np.empty((0, 0), np.float32))
    assert (empty.size, empty.search(draw(2), 3)) == (0, [[], []])


def test_more_than_there_are_gives_all_and_faiss_pads_with_none() -> None:
    found = build(np.array([5, 9], np.int64), draw(2)).search(draw(2), 4)
    assert [[speaker for speaker, _ in own] for own in found] == [[5, 9], [9, 5]]


@pytest.mark.parametrize("spread", [1.0, 1e-4], ids=["apart", "too alike for float16"])
@pytest.mark.parametrize("k", [1, 5, 300])
def test_it_is_exact_though_the_scan_rounds(spread: float, k: int) -> None:
    vectors = draw(1)[0] + spread * draw(3000, seed=1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids, queries = np.arange(3000)[::-1] * 3 + 1, vectors[:20] + 0.3 * spread * draw(20, seed=2)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    cosines = queries.astype(np.float64) @ vectors.astype(np.float64).T
    for own, exact in zip(build(ids, vectors).search(queries, k), cosines, strict=True):
        score = dict(zip(ids.tolist(), exact.tolist(), strict=True))
        assert [score[speaker] for speaker, _ in own] == pytest.approx(sorted(exact, reverse=True)[:k], abs=2e-7)
        assert dict(own) == pytest.approx({speaker: score[speaker] for speaker, _ in own}, abs=2e-7)
        assert len(dict(own)) == k


def test_of_equal_cosines_the_lowest_id_is_first() -> None:
    ids = np.arange(500) + 7
    found = build(ids, np.repeat(draw(1), 500, axis=0)).search(draw(1), 3)
    assert [speaker for speaker, _ in found[0]] == [7, 8, 9]


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


def test_a_snapshot_serves_until_the_rows_change_and_is_never_changed(sqlite_gallery: Gallery) -> None:
    index = VectorIndex(RECIPE)
    enrol_people(sqlite_gallery, [1, 2])
    first = take(sqlite_gallery, index)
    assert take(sqlite_gallery, index) is first
    enrol_people(sqlite_gallery, [3])
    sqlite_gallery.enrol("Person 1", make_samples(1, 3)[2:], make_consent())
    second = take(sqlite_gallery, index)
    assert (second.size, second.ids.tolist()) == (3, [1, 2, 3])
    expect_rows(sqlite_gallery, second)
    sqlite_gallery.forget("Person 3")
    third = take(sqlite_gallery, index)
    assert (third.size, len(third.vectors)) == (2, 2)
    expect_rows(sqlite_gallery, third)
    assert first.size == 2  # who holds an older one goes on with it


def test_invalid_templates_are_reported(sqlite_gallery: Gallery) -> None:
    enrol_people(sqlite_gallery, [1, 2])
    with sqlite_gallery.database.write() as connection:
        connection.execute(
            update(TemplateRow).where(TemplateRow.speaker_id == 1).values(vector=np.ones(64, np.float32))
        )
    with pytest.raises(GalleryDamaged, match="length 1"):
        take(sqlite_gallery, VectorIndex(RECIPE))
    assert sqlite_gallery.check().is_sound
    expect_rows(sqlite_gallery, take(sqlite_gallery, VectorIndex(RECIPE)))


def test_a_gpu_is_used_where_faiss_has_one_and_the_settings_allow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = []

    class Resources:
        """Stands for faiss-gpu's memory."""

    def move(resources: object, device: int, index: object) -> object:
        moved.append((type(resources), device))
        return index

    monkeypatch.setattr("gallery_db.faiss_index.count_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", Resources, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", move, raising=False)
    vectors = draw(5)
    snapshot = build(np.arange(5), vectors, "auto")
    assert (snapshot.backend, moved) == ("faiss-gpu flat", [(Resources, 0)])
    assert [own[0][0] for own in snapshot.search(vectors, 1)] == [0, 1, 2, 3, 4]
    assert build(np.arange(5), vectors, "cpu").backend == "faiss flat"
    assert len(moved) == 1


def test_eight_search_while_one_enrols_and_forgets(file: Path) -> None:
    """No torn read: a speaker enrolled before a search is found by it, with the right name and vector."""
    with Gallery.open(file) as gallery:
        enrol_people(gallery, range(1, 9))
        stop, wrong, have_searched = threading.Event(), [], set()

        def look(seed: int) -> None:
            probe = embed(draw_person(seed), 50)
            while not stop.is_set():
                first = gallery.search(probe, 3, reason=REASON).candidates[0]
                if first.name != f"Person {seed}" or not first.similarity > 0.8:
                    wrong.append(first)
                have_searched.add(seed)

        with ThreadPoolExecutor(8) as pool:
            searches = [pool.submit(look, seed) for seed in range(1, 9)]
            begun, seed = time.monotonic(), 100
            try:
                while (waited := time.monotonic() - begun) < 3 or (
                    waited < 100 and (len(have_searched) < 8 or seed < 102)
                ):
                    enrol_people(gallery, [seed])
                    if seed % 3 == 0:
                        gallery.forget(f"Person {seed}")
                    seed += 1
            finally:
                stop.set()
        assert wrong == []
        assert all(one.result() is None for one in searches) and len(have_searched) == 8
        assert seed > 101


def test_no_file_is_written_beside_the_database(file: Path) -> None:
    with Gallery.open(file) as gallery:
        enrol_people(gallery, [1])
        gallery.search(embed(draw_person(1), 50), reason=REASON)
        assert {one.name for one in file.parent.iterdir()} <= {"gallery.db", "gallery.db-wal", "gallery.db-shm"}
    assert {one.name for one in file.parent.iterdir()} == {"gallery.db"}


def test_a_search_takes_one_thread_and_leaves_the_setting_alone() -> None:
    class Watched:
        def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            threads.append(faiss.omp_get_max_threads())
            return np.zeros((1, k), np.float32), np.arange(k)[None]

    threads: list[int] = []
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        snapshot = replace(build(np.arange(1000), draw(1000)), index=Watched())
        assert faiss.omp_get_max_threads() == 3
        snapshot.search(draw(1), 5)
        assert (threads, faiss.omp_get_max_threads()) == ([1], 3)
    finally:
        faiss.omp_set_num_threads(before)
