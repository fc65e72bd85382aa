"""The index over templates: derived from their rows, held in memory alone, never older than they are.

One index a recipe, one row a speaker. A snapshot is never changed: a refresh makes another one, so whoever searches
goes on with the state they began with. It has a base, searched by FAISS, and a tail of what changed since the base was
built; a removal builds the base anew, so that no vector stays in memory that is not in the rows. No file is written, so
there is none to be damaged or left behind.

FAISS as it is: it pads with the id -1, takes a NaN without a word, and fails on a wrong width without one. So positions
are turned into ids here, never by FAISS, and vectors are checked before they reach it.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import Connection, Executable, LargeBinary, select, type_coerce

from gallery_db.errors import GalleryDamaged
from gallery_db.schema import TemplateRow
from gallery_db.templates import Generation, read_generation

UNIT = 1e-3  # how far from 1 the length of a stored vector may be
SEED = 20_251_121  # of the queries that measure recall
N_TRAINING = 50_000  # vectors that tell how to compress
FEW_PAIRS = 250_000  # vectors to compare, some 3 ms of one core
MAX_TAIL = 2000  # speakers; a search asks the base for as many more


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """When an exact search is given up for a faster one, and when it is taken back."""

    approximate_above: int = 200_000  # speakers; up to here every vector is compared
    least_recall: float = 0.99  # of the first, against the exact search; below it the index is exact after all
    n_queries: int = 200  # that recall is measured with
    device: str = "auto"  # cpu: never a GPU

    def __post_init__(self) -> None:
        if self.approximate_above < 1000 or not 0 < self.least_recall <= 1 or self.n_queries < 1:
            raise ValueError(f"{self}: wanted more than 1000 speakers, a recall up to 1, and a query at least")


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """What FAISS searches."""

    index: Any  # of `faiss`; None where there is nothing
    ids: np.ndarray  # (N,) int64, rising: row to speaker
    width: int  # D; 0 where there is nothing
    backend: str
    recall: float | None  # None: exact
    lock: Any = None  # held while it is searched, where it takes one search at a time
    n_compared: int = 0  # with whole vectors, after a scan of compressed ones; 0: all are

    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Cosines and rows (Q, K) of the nearest; row -1 is nobody."""
        with self.lock or nullcontext(), _search_alone(len(vectors) * len(self.ids)):
            if not self.n_compared:
                return self.index.search(vectors, k)
            return self.index.search(vectors, k, params=_compare_anew(max(self.n_compared / k, 4.0)))


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """All templates of one recipe in one generation."""

    generation: Generation
    base: Base
    hidden: np.ndarray  # (H,) int64 ids of the base that the tail replaces
    tail_ids: np.ndarray  # (M,) int64
    tail: np.ndarray = field(repr=False)  # (M, D) float32

    @property
    def size(self) -> int:
        """How many speakers it holds."""
        return len(self.base.ids) - len(self.hidden) + len(self.tail_ids)

    @property
    def width(self) -> int:
        """D of its vectors; 0 where there are none."""
        return self.base.width or self.tail.shape[1]

    def search(self, vectors: np.ndarray, k: int) -> list[list[tuple[int, float]]]:
        """Give the k nearest of each of (Q, D): speaker and cosine, best first, each speaker once.

        ValueError where the vectors are not of this width, or not finite.
        """
        vectors = check_vectors(vectors, self.width) if self.size else vectors
        if not self.size or k < 1:
            return [[] for _ in vectors]
        found: list[dict[int, float]] = [{} for _ in vectors]
        self._search_base(vectors, k, found)
        if len(self.tail_ids):
            for row, cosines in enumerate(vectors @ self.tail.T):
                found[row] |= dict(zip(self.tail_ids.tolist(), cosines.tolist(), strict=True))
        return [sorted(own.items(), key=lambda one: (-one[1], one[0]))[:k] for own in found]

    def _search_base(self, vectors: np.ndarray, k: int, found: list[dict[int, float]]) -> None:
        wanted = min(k + len(self.hidden), len(self.base.ids))
        if not wanted:
            return
        hidden = set(self.hidden.tolist())
        cosines, rows = self.base.search(vectors, wanted)
        for own, scores, places in zip(found, cosines.tolist(), rows.tolist(), strict=True):
            named = ((int(self.base.ids[at]), score) for at, score in zip(places, scores, strict=True) if at >= 0)
            own |= {speaker: score for speaker, score in named if speaker not in hidden}


class VectorIndex:
    """Keeps the newest snapshot of one recipe; any number of threads may ask."""

    def __init__(self, recipe: str, options: IndexOptions | None = None):
        self.recipe = recipe
        self._options = options or IndexOptions()
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None

    def refresh(self, connection: Connection) -> Snapshot:
        """Give a snapshot that is not older than what the connection sees. GalleryDamaged where a row is no vector."""
        now = read_generation(connection)
        with self._lock:
            last = self._snapshot
            if last is None or last.generation.epoch != now.epoch or now.removed_at > last.generation.value:
                self._snapshot = self._build(connection, now)
            elif now.value > last.generation.value:
                self._snapshot = self._extend(connection, last, now)
            assert self._snapshot is not None
            return self._snapshot

    def _build(self, connection: Connection, now: Generation) -> Snapshot:
        ids, vectors = read_templates(connection, self.recipe)
        nothing = np.empty(0, np.int64)
        return Snapshot(now, build_base(ids, vectors, self._options), nothing, nothing, vectors[:0])

    def _extend(self, connection: Connection, last: Snapshot, now: Generation) -> Snapshot:
        """Put what changed into the tail; where it grows long, build anew."""
        ids, vectors = read_templates(connection, self.recipe, last.generation.value)
        if not len(ids):
            return Snapshot(now, last.base, last.hidden, last.tail_ids, last.tail)
        kept = ~np.isin(last.tail_ids, ids)
        if kept.sum() + len(ids) > min(max(64, len(last.base.ids) // 50), MAX_TAIL) or last.base.width not in (
            0,
            vectors.shape[1],
        ):
            return self._build(connection, now)
        tail_ids = np.concatenate([last.tail_ids[kept], ids])
        tail = np.concatenate([last.tail[kept], vectors]) if kept.any() else vectors
        hidden = np.intersect1d(last.base.ids, tail_ids)
        return Snapshot(now, last.base, hidden, tail_ids, tail)


def read_templates(connection: Connection, recipe: str, after: int = -1) -> tuple[np.ndarray, np.ndarray]:
    """Read speakers (N,) int64, rising, and vectors (N, D) float32 that changed after a generation; by default all."""
    query = (
        select(TemplateRow.speaker_id, type_coerce(TemplateRow.vector, LargeBinary), TemplateRow.dim)
        .where(TemplateRow.recipe == recipe)
        .order_by(TemplateRow.speaker_id)
    )
    if after >= 0:  # of all, SQLite would take them by generation and then sort them, vectors and all
        query = query.where(TemplateRow.generation > after)
    rows = _fetch(connection, query)
    if not rows:
        return np.empty(0, np.int64), np.empty((0, 0), np.float32)
    widths = {row[2] for row in rows} | {len(row[1]) / 4 for row in rows}
    if len(widths) != 1:
        raise _damaged(f"templates of {len(widths)} widths under one recipe")
    vectors = np.frombuffer(b"".join([row[1] for row in rows]), "<f4").astype(np.float32).reshape(len(rows), -1)
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    if not (np.abs(lengths - 1) <= UNIT).all():  # NaN fails too
        raise _damaged(f"{int((~(np.abs(lengths - 1) <= UNIT)).sum())} templates that are not of length 1")
    return np.array([row[0] for row in rows], np.int64), vectors


def _fetch(connection: Connection, query: Executable) -> Sequence[tuple[int, bytes, int]]:
    """Fetch as the driver gives it: a row object for each of 200,000 speakers would take as long as all else."""
    result = connection.execute(query)
    assert result.cursor is not None
    return result.cursor.fetchall()


def _damaged(what: str) -> GalleryDamaged:
    return GalleryDamaged(f"The gallery holds {what}.", "Mend it from the samples: wayspeak gallery check.")


def check_vectors(vectors: np.ndarray, width: int) -> np.ndarray:
    """Give (Q, D) float32 as FAISS wants it; ValueError where it is not of this width, or not finite."""
    if vectors.ndim != 2 or vectors.shape[1] != width:
        raise ValueError(f"vectors of shape {vectors.shape}, wanted (Q, {width})")
    if not np.isfinite(vectors).all():
        raise ValueError("a vector with numbers that are not finite")
    return np.ascontiguousarray(vectors, np.float32)


def build_base(ids: np.ndarray, vectors: np.ndarray, options: IndexOptions) -> Base:
    """Index unit vectors (N, D) of speakers (N,): exact, or approximate where there are many and recall allows it."""
    import faiss  # slow to import, and not needed until somebody is looked for

    if not len(ids):
        return Base(None, ids, 0, "faiss flat", None)
    if len(np.unique(ids)) != len(ids):
        raise ValueError("a speaker twice in one index")
    flat = faiss.IndexFlatIP(check_vectors(vectors, vectors.shape[1]).shape[1])
    flat.add(vectors)
    if options.device != "cpu" and count_gpus() > 0:
        resources = faiss.StandardGpuResources()
        index = faiss.index_cpu_to_gpu(resources, 0, flat)
        return Base(index, ids, vectors.shape[1], "faiss-gpu flat", None, threading.Lock())  # one search at a time
    if len(ids) > options.approximate_above:
        found = _approximate(flat, vectors, options)
        if found is not None:
            index, n_compared, recall = found
            name = f"faiss fast scan, {n_compared} compared anew"
            return Base(index, ids, vectors.shape[1], name, recall, n_compared=n_compared)
    return Base(flat, ids, vectors.shape[1], "faiss flat", None)


def count_gpus() -> int:
    """How many GPUs FAISS can use; 0 with its build for the CPU."""
    import faiss

    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def _approximate(flat: Any, vectors: np.ndarray, options: IndexOptions) -> tuple[Any, int, float] | None:
    """Compress to half a byte for two numbers, scan that, and compare the best anew with whole vectors.

    André, Kermarrec & Le Scouarnec 2017, "Accelerated nearest neighbor search with quick ADC". Recall is measured with
    stored vectors that carry noise as long as themselves: about 0.7 similar to the one they came from. As few are
    compared anew as it allows; None where that were a tenth of all.
    """
    import faiss

    width = vectors.shape[1]
    if width % 2:
        return None
    generator = np.random.default_rng(SEED)
    codes = faiss.IndexPQFastScan(width, width // 2, 4, faiss.METRIC_INNER_PRODUCT)
    codes.train(vectors[np.sort(generator.choice(len(vectors), min(len(vectors), N_TRAINING), replace=False))])
    codes.add(vectors)
    index = faiss.IndexRefine(codes, flat)
    queries = make_queries(vectors, options.n_queries, generator)
    exact = flat.search(queries, 1)[1][:, 0]
    n_compared = 256
    while n_compared <= len(vectors) // 10:
        found = index.search(queries, 1, params=_compare_anew(n_compared))[1][:, 0]
        recall = float((found == exact).mean())
        if recall >= options.least_recall:
            return index, n_compared, recall
        n_compared *= 2
    return None


@contextmanager
def _search_alone(n_pairs: int) -> Iterator[None]:
    """Keep FAISS to one thread where there is little to do: on a busy machine its threads wait for each other longer.

    How many it takes is each thread's own setting, and changes no result.
    """
    import faiss

    before = faiss.omp_get_max_threads()
    if n_pairs < FEW_PAIRS:
        faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _compare_anew(times: float) -> Any:
    """How many of the scan, for each that is wanted, are compared with whole vectors."""
    import faiss

    parameters = faiss.IndexRefineSearchParameters()
    parameters.k_factor = times
    return parameters


def make_queries(vectors: np.ndarray, n_queries: int, generator: np.random.Generator) -> np.ndarray:
    """Give stored unit vectors (Q, D) with noise of length 1, made of length 1 again."""
    picked = vectors[generator.integers(len(vectors), size=n_queries)]
    noise = generator.standard_normal(picked.shape).astype(np.float32)
    mixed = picked + noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return np.ascontiguousarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), np.float32)
