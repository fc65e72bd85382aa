"""How long a search among everybody takes, what it needs and how often it is right; how long enrolling takes.

`python -m benchmarks.gallery [--sizes 1000,100000,1000000]`. First the ways to search, then the gallery itself: a
search with all it asks of the database, an index built anew from its rows, and enrolling with all its checks. Vectors
are random directions, of all the hardest to sort into lists or graphs; a query is one of them with noise as long as
itself, about 0.7 similar. Each way searches the same vectors for the same queries, one after the other as people ask,
in one run; recall@1 is against NumPy's exact answer. PostgreSQL runs on this machine, from the package that the tests
use.
"""

import hashlib
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import faiss
import numpy as np
import psycopg
import typer
from sqlalchemy import insert, update

from benchmarks.speed import compare, stopwatch
from engine.types import DynamicEmbedding
from gallery_db.database import Database, open_database
from gallery_db.gallery import Gallery
from gallery_db.index import IndexOptions, VectorIndex, build_base, make_queries
from gallery_db.records import Basis, Consent, NewSample
from gallery_db.schema import GenerationRow, SpeakerRow, TemplateRow
from tests.gallery_db.servers import run_postgres

DIM = 64  # of our embeddings
SEED = 7
TARGET_MS, TARGET_RECALL = 20.0, 0.99  # at 1 M
N_REBUILT, TARGET_REBUILD_S = 200_000, 1.0
N_ENROLLED, PER_SPEAKER, TARGET_ENROL_S = 10_000, 10, 10.0
RECIPE = "random"
LINKS, EFFORT = 16, 128  # of the graph: edges a node, candidates kept in a search
PROBED = 16  # of a thousand lists

Searcher = Callable[[np.ndarray], int]
"""From one query (D,) to the row of the nearest."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A way to search, ready."""

    search: Searcher
    megabytes: float


@dataclass(frozen=True, slots=True)
class Line:
    """What one way is worth at one size."""

    name: str
    n: int
    build_s: float
    p50_ms: float
    p95_ms: float
    cpu_ms: float  # of all threads of this process, a query; what a busy machine changes less
    per_s: float  # queries, one after the other
    megabytes: float
    recall: float


def draw_vectors(n: int) -> np.ndarray:
    """(n, D) float32 unit rows."""
    drawn = np.random.default_rng(SEED).standard_normal((n, DIM), np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn


def prepare_numpy(vectors: np.ndarray) -> Prepared:
    """One product with all."""
    return Prepared(lambda query: int((vectors @ query).argmax()), vectors.nbytes / 1e6)


def prepare_faiss(index: Any, vectors: np.ndarray) -> Prepared:
    """An index of FAISS, trained where it must be, and filled."""
    if not index.is_trained:
        index.train(vectors[:: max(1, len(vectors) // 100_000)])
    index.add(vectors)
    return Prepared(lambda query: int(index.search(query[None], 1)[1][0, 0]), _measure_index(index))


def prepare_graph(vectors: np.ndarray) -> Prepared:
    """A graph, HNSW (Malkov and Yashunin 2016)."""
    index = faiss.IndexHNSWFlat(DIM, LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efSearch = EFFORT
    return prepare_faiss(index, vectors)


def prepare_lists(vectors: np.ndarray) -> Prepared:
    """An inverted file with a fixed share of it probed."""
    index: Any = faiss.index_factory(DIM, "IVF1000,Flat", faiss.METRIC_INNER_PRODUCT)
    index.nprobe = PROBED
    return prepare_faiss(index, vectors)


def prepare_ours(vectors: np.ndarray) -> Prepared:
    """What the gallery takes at this size, with the recall it measured itself."""
    base = build_base(np.arange(len(vectors)), vectors, IndexOptions(device="cpu"))
    return Prepared(lambda query: int(base.ids[base.search(query[None], 1)[1][0, 0]]), _measure_index(base.index))


def prepare_postgres(server: str, vectors: np.ndarray) -> Prepared:
    """PostgreSQL with pgvector, an exact scan by its workers."""
    from pgvector.psycopg import register_vector

    connection = psycopg.connect(server, autocommit=True)
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    register_vector(connection)
    connection.execute("DROP TABLE IF EXISTS template")
    connection.execute(f"CREATE TABLE template (id int PRIMARY KEY, vector vector({DIM}) NOT NULL)".encode())
    with connection.cursor() as cursor, cursor.copy("COPY template FROM STDIN WITH (FORMAT BINARY)") as copy:
        copy.set_types(["int4", "vector"])
        for row, vector in enumerate(vectors):
            copy.write_row((row, vector))
    connection.execute("VACUUM ANALYZE template")
    size = connection.execute("SELECT pg_total_relation_size('template')").fetchone()

    def search(query: np.ndarray) -> int:
        found = connection.execute("SELECT id FROM template ORDER BY vector <#> %s LIMIT 1", (query,)).fetchone()
        assert found is not None
        return int(found[0])

    return Prepared(search, (size[0] if size else 0) / 1e6)


def measure(
    name: str, prepare: Callable[[np.ndarray], Prepared], vectors: np.ndarray, queries: np.ndarray, exact: np.ndarray
) -> Line:
    """Build, warm up, and ask one query after the other."""
    began = time.perf_counter()
    prepared = prepare(vectors)
    build_s = time.perf_counter() - began
    prepared.search(queries[0])
    spent, found = [], []
    began_cpu = time.process_time()
    for query in queries:
        began = time.perf_counter()
        found.append(prepared.search(query))
        spent.append(time.perf_counter() - began)
    cpu_ms = 1000 * (time.process_time() - began_cpu) / len(queries)
    p50, p95 = (1000 * float(np.quantile(spent, share)) for share in (0.5, 0.95))
    recall = float(np.mean(np.array(found) == exact[: len(found)]))
    return Line(name, len(vectors), build_s, p50, p95, cpu_ms, len(spent) / sum(spent), prepared.megabytes, recall)


def compare_searches(n: int, n_queries: int, server: str | None, graph_up_to: int) -> Iterator[Line]:
    """Every way at one size."""
    vectors = draw_vectors(n)
    queries = make_queries(vectors, n_queries, np.random.default_rng(SEED + 1))
    exact = np.concatenate([(vectors @ part.T).argmax(axis=0) for part in np.array_split(queries, 10)])
    ways: dict[str, Callable[[np.ndarray], Prepared]] = {
        "numpy": prepare_numpy,
        "faiss flat": lambda own: prepare_faiss(faiss.IndexFlatIP(DIM), own),
        "wayspeak": prepare_ours,
    }
    if n <= graph_up_to:
        ways["faiss HNSW"] = prepare_graph
    if n >= 100_000:  # a thousand lists need as many vectors each
        ways["faiss IVF"] = prepare_lists
    for name, prepare in ways.items():
        yield measure(name, prepare, vectors, queries, exact)
    if server is not None:
        few = queries[: max(20, n_queries // (1 + n // 10_000))]
        yield measure("pgvector exact", lambda own: prepare_postgres(server, own), vectors, few, exact)


def fill(database: Database, vectors: np.ndarray) -> None:
    """Write speakers with their templates, and no samples: all that a search reads."""
    now = datetime.now(UTC)
    with database.write() as connection:
        for start in range(0, len(vectors), 10_000):
            numbers = range(start + 1, min(start + 10_000, len(vectors)) + 1)
            names = [{"id": i, "name": f"P{i}", "name_key": f"p{i}", "salt": b"", "created_at": now} for i in numbers]
            connection.execute(insert(SpeakerRow), names)
            same = {"recipe": RECIPE, "dim": DIM, "n_samples": 2, "seconds": 20.0, "generation": 1}
            rows = [{"speaker_id": i, "vector": vectors[i - 1]} | same for i in numbers]
            connection.execute(insert(TemplateRow), rows)
        connection.execute(update(GenerationRow).values(value=1))


def search_gallery(database: Database, vectors: np.ndarray, n_queries: int) -> Line:
    """A search among everyone as a person starts it: read, compare, conclude, and put on record."""
    gallery, queries = (
        Gallery(database, IndexOptions(device="cpu")),
        make_queries(vectors, n_queries, np.random.default_rng(SEED + 1)),
    )
    exact = np.concatenate([(vectors @ part.T).argmax(axis=0) for part in np.array_split(queries, 10)])
    prepared = Prepared(
        lambda query: gallery.search(embed(query), reason="measured").candidates[0].speaker_id - 1,
        sum(file.stat().st_size for file in database.files()) / 1e6,
    )
    return measure("Gallery.search", lambda _: prepared, vectors, queries, exact)


def measure_rebuild(database: Database, what: str, spent_s: Counter[str]) -> None:
    """From rows to an index."""
    with stopwatch(spent_s, what), database.read() as connection:
        VectorIndex(RECIPE, IndexOptions(device="cpu")).refresh(connection)


def measure_enrolment(folder: Path, n_samples: int, what: str, spent_s: Counter[str]) -> None:
    """Enrol so many samples, a transaction and all checks for each speaker."""
    people, consent = draw_vectors(n_samples // PER_SPEAKER), Consent(Basis.RESEARCH, "benchmark", 1, "1", "nobody")
    generator = np.random.default_rng(SEED)
    spread = generator.standard_normal((len(people), PER_SPEAKER, DIM)).astype(np.float32) * 0.5 / DIM**0.5
    clips = people[:, None] + spread
    clips /= np.linalg.norm(clips, axis=2, keepdims=True)
    with Gallery.open(folder / "enrolled.db", IndexOptions(device="cpu")) as gallery, stopwatch(spent_s, what):
        for number, own in enumerate(clips):
            samples = [NewSample(_name(number, i), "clip.mp4", "", embed(one)) for i, one in enumerate(own)]
            done = gallery.enrol(f"P{number}", samples, consent, allow_duplicate=True)
            assert len(done.sample_ids) == PER_SPEAKER, done.rejected


def embed(vector: np.ndarray) -> DynamicEmbedding:
    """A clip's embedding with this vector."""
    return DynamicEmbedding(vector, 10.0, 0.1, RECIPE, 8, 2.0, True)


def print_seconds(what: str, spent_s: Counter[str], target: float) -> None:
    compare(f"{what}, s", spent_s[what], target)
    print(f"  of the processor {spent_s[f'cpu {what}']:.3f}", flush=True)


def print_line(line: Line) -> None:
    print(
        f"{line.n:>9,} {line.name:16}{line.build_s:9.2f}{line.p50_ms:10.3f}{line.p95_ms:10.3f}{line.cpu_ms:10.3f}"
        f"{line.per_s:10.0f}{line.megabytes:9.0f}{line.recall:9.3f}",
        flush=True,
    )


def _name(speaker: int, sample: int) -> str:
    return hashlib.sha256(f"{speaker} {sample}".encode()).hexdigest()


def _measure_index(index: Any) -> float:
    """Megabytes; what an index writes is what it holds."""
    writer = faiss.VectorIOWriter()
    faiss.write_index(index, writer)
    return writer.data.size() / 1e6


@contextmanager
def _start_server(wanted: bool) -> Iterator[str | None]:
    if not wanted:
        yield None
        return
    with run_postgres() as server:
        yield server


def main(
    sizes: Annotated[str, typer.Option(help="How many vectors.")] = "1000,100000,1000000",
    queries: Annotated[int, typer.Option(min=20, help="At each size.")] = 1000,
    postgres: Annotated[bool, typer.Option(help="Beside a real server.")] = True,
    graph_up_to: Annotated[
        int, typer.Option(help="Size up to which a graph is built: a million takes long.")
    ] = 1_000_000,
    rebuilt: Annotated[int, typer.Option(help="Rows from which an index is built anew.")] = N_REBUILT,
    enrolled: Annotated[int, typer.Option(help="Samples that are enrolled.")] = N_ENROLLED,
) -> None:
    print(f"{os.cpu_count()} cores; load before the start {', '.join(f'{one:.1f}' for one in os.getloadavg())}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a stopped run, too, leaves no server behind
    titles = "".join(f"{title:>10}" for title in ("p50 ms", "p95 ms", "cpu ms", "queries/s"))
    print(f"{'vectors':>9} {'way':16}{'build s':>9}{titles}{'MB':>9}{'recall@1':>9}")
    spent_s: Counter[str] = Counter()
    counts = [int(size) for size in sizes.split(",")]
    with _start_server(postgres) as server:
        for n in counts:
            for line in compare_searches(n, queries, server, graph_up_to):
                print_line(line)
    with tempfile.TemporaryDirectory() as folder:
        for n in sorted({*counts, rebuilt}):
            database, vectors = open_database(Path(folder) / f"{n}.db"), draw_vectors(n)
            fill(database, vectors)
            if n == rebuilt:
                measure_rebuild(database, f"rebuild of {n:,}", spent_s)
                print_seconds(f"rebuild of {n:,}", spent_s, TARGET_REBUILD_S)
            line = search_gallery(database, vectors, queries)
            print_line(line)
            if n == 1_000_000:
                compare("p50 at 1 M, ms", line.p50_ms, TARGET_MS)
                compare("1 - recall@1 at 1 M", 1 - line.recall, 1 - TARGET_RECALL)
            database.close()
        measure_enrolment(Path(folder), enrolled, f"enrolling {enrolled:,} samples", spent_s)
        print_seconds(f"enrolling {enrolled:,} samples", spent_s, TARGET_ENROL_S)


if __name__ == "__main__":
    typer.run(main)
