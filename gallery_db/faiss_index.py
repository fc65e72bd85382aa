"""FAISS index of the templates, in memory only and never older than their rows.

One index per recipe, one row per speaker. It is a flat inner product: FAISS scans all vectors, on the CPU in float16
because a scan is limited by memory bandwidth, and the best are compared again in float32, so the result equals an
exact search. Snapshots are immutable and a new generation builds another one, so a search keeps its state, and no
deleted vector stays in memory. No file is written, so none can be damaged or left behind.

FAISS accepts NaN and a wrong width without an error, so vectors are checked before.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import Connection, Executable, LargeBinary, select, type_coerce

from gallery_db.errors import GalleryDamaged
from gallery_db.schema import TemplateRow
from gallery_db.templates import Generation, read_generation

UNIT = 1e-3  # tolerance of the length of a stored vector
N_SPARE = 100  # rows of the scan beyond k that are compared again in float32
ROUNDING = 1e-3  # bound on the error of a cosine in the scan: 2^-11 with float16 rows, 2^-10 where a GPU uses TF32


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Immutable index of all templates of one recipe in one generation."""

    generation: Generation
    ids: np.ndarray  # (N,) int64, ascending: speaker of each row
    vectors: np.ndarray = field(repr=False)  # (N, D) float32, unit length; never logged
    index: Any  # `faiss` index of the same rows; None without rows
    backend: str
    lock: AbstractContextManager[Any]  # held while FAISS searches

    @property
    def size(self) -> int:
        """Number of speakers."""
        return len(self.ids)

    @property
    def width(self) -> int:
        """Dimension D of the vectors; 0 without rows."""
        return self.vectors.shape[1]

    def search(self, vectors: np.ndarray, k: int) -> list[list[tuple[int, float]]]:
        """Return the k nearest speakers of each unit vector (Q, D): id and cosine, best first, each speaker once.

        Raises ValueError for vectors of another width or that are not finite.
        """
        vectors = check_vectors(vectors, self.width) if self.size else vectors
        k = min(k, self.size)
        if k < 1:
            return [[] for _ in vectors]
        with self.lock, _one_thread():
            cosines, rows = self.index.search(vectors, min(k + N_SPARE, self.size))
        return [self._rank(*one, k) for one in zip(vectors, rows, cosines[:, -1], strict=True)]

    def _rank(self, query: np.ndarray, rows: np.ndarray, worst: float, k: int) -> list[tuple[int, float]]:
        """Rank rows of the scan by exact cosines, or all rows if the scan may have missed one of the k best.

        `worst` is the lowest cosine of the scan: no other row has a higher one, except for rounding.
        """
        cosines = self.vectors[rows] @ query
        if len(rows) < self.size and np.partition(cosines, -k)[-k] <= worst + ROUNDING:
            rows, cosines = np.arange(self.size), self.vectors @ query
        ids = self.ids[rows]
        best = np.lexsort((ids, -cosines))[:k]
        return list(zip(ids[best].tolist(), cosines[best].tolist(), strict=True))


class VectorIndex:
    """Cache of the newest snapshot of one recipe; thread-safe."""

    def __init__(self, recipe: str, device: str = "auto"):
        self.recipe = recipe
        self._device = device  # cpu: no GPU
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None

    def refresh(self, connection: Connection) -> Snapshot:
        """Return a snapshot at least as new as the connection's; raises GalleryDamaged for an invalid vector."""
        now = read_generation(connection)
        with self._lock:
            last = self._snapshot
            if last is None or last.generation.epoch != now.epoch or last.generation.value < now.value:
                last = build_snapshot(now, *read_templates(connection, self.recipe), self._device)
                self._snapshot = last
            return last


def read_templates(connection: Connection, recipe: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the speakers (N,) int64, ascending, and unit vectors (N, D) float32 of a recipe."""
    query = (
        select(TemplateRow.speaker_id, type_coerce(TemplateRow.vector, LargeBinary), TemplateRow.dim)
        .where(TemplateRow.recipe == recipe)
        .order_by(TemplateRow.speaker_id)
    )
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
    """Fetch raw driver rows: row objects for 200,000 speakers would take as long as the rest of the search."""
    result = connection.execute(query)
    assert result.cursor is not None
    return result.cursor.fetchall()


def _damaged(what: str) -> GalleryDamaged:
    return GalleryDamaged(f"The gallery contains {what}.", "Repair it from the samples: wayspeak gallery check.")


def check_vectors(vectors: np.ndarray, width: int) -> np.ndarray:
    """Return (Q, D) float32 in C order; raises ValueError for another width or values that are not finite."""
    if vectors.ndim != 2 or vectors.shape[1] != width:
        raise ValueError(f"vectors of shape {vectors.shape}, wanted (Q, {width})")
    if not np.isfinite(vectors).all():
        raise ValueError("a vector has values that are not finite")
    return np.ascontiguousarray(vectors, np.float32)


def build_snapshot(generation: Generation, ids: np.ndarray, vectors: np.ndarray, device: str = "auto") -> Snapshot:
    """Index unit vectors (N, D) of speakers (N,) int64, on a GPU if FAISS has one and the device is not cpu."""
    import faiss  # slow to import, first needed by a search

    if not len(ids):
        return Snapshot(generation, ids, vectors, None, "faiss flat", nullcontext())
    if len(np.unique(ids)) != len(ids):
        raise ValueError("a speaker occurs twice in one index")
    width = vectors.shape[1]
    vectors = check_vectors(vectors, width)
    if device != "cpu" and count_gpus() > 0:
        flat = faiss.IndexFlatIP(width)
        flat.add(vectors)
        moved = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, flat)
        return Snapshot(generation, ids, vectors, moved, "faiss-gpu flat", threading.Lock())  # one search at a time
    index = faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    with _one_thread():
        index.add(vectors)
    return Snapshot(generation, ids, vectors, index, "faiss flat", nullcontext())


def count_gpus() -> int:
    """Return the number of GPUs that FAISS can use; 0 with its CPU build."""
    import faiss

    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit FAISS to one thread: on a busy machine its threads wait for each other longer than they work.

    The number of threads is a setting of the calling thread and changes no result.
    """
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
