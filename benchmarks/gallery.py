"""How long a search among everybody takes, and how long building the index and enrolling take.

`python -m benchmarks.gallery [--sizes 1000,10000,100000,1000000]`. At each size: the index alone, as the gallery
searches it; pgvector in PostgreSQL, which runs on this machine from the package that the tests use; the index built
from its rows; and a whole search of the gallery with all it reads and writes. Then enrolling with all its checks.
Vectors are random directions; a query is one of them with noise of the same length, about 0.7 similar. Queries follow
one another, and every result must be that of an exact search.
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
from typing import Annotated

import numpy as np
import psycopg
import typer
from sqlalchemy import insert, update

from benchmarks.speed import compare, stopwatch
from engine.types import DynamicEmbedding
from gallery_db.database import Database, open_database
from gallery_db.faiss_index import VectorIndex, build_snapshot
from gallery_db.gallery import Gallery
from gallery_db.records import Basis, Consent, NewSample
from gallery_db.schema import GenerationRow, SpeakerRow, TemplateRow
from gallery_db.search import MIN_CANDIDATES
from gallery_db.templates import Generation
from tests.gallery_db.servers import run_postgres

DIM = 64  # of our embeddings
SEED = 7
TARGET_MS = 25.0  # at 1 M
TARGET_INDEX_S = 5e-6  # per row
N_ENROLLED, PER_SPEAKER, TARGET_ENROL_S = 10_000, 10, 10.0
RECIPE = "random"

Searcher = Callable[[np.ndarray], int]
"""From one query (D,) to the row of the nearest."""


@dataclass(frozen=True, slots=True)
class Line:
    """Times of one way to search at one size."""

    name: str
    n: int
    p50_ms: float
    p95_ms: float
    cpu_ms: float  # of all threads of this process, a query; depends less on what else runs
    per_s: float  # queries, one after the other


def draw_vectors(n: int) -> np.ndarray:
    """(n, D) float32 unit rows."""
    drawn = np.random.default_rng(SEED).standard_normal((n, DIM), np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn


def draw_queries(vectors: np.ndarray, n_queries: int) -> np.ndarray:
    """(Q, D) float32: unit vectors with noise of length 1, of length 1 again."""
    generator = np.random.default_rng(SEED + 1)
    noise = generator.standard_normal((n_queries, DIM)).astype(np.float32)
    mixed = vectors[generator.integers(len(vectors), size=n_queries)]
    mixed = mixed + noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def prepare_index(vectors: np.ndarray) -> Searcher:
    """The index of the gallery, asked for as many as the gallery asks it for."""
    snapshot = build_snapshot(Generation("benchmark", 1), np.arange(len(vectors)), vectors, "cpu")
    return lambda query: snapshot.search(query[None], MIN_CANDIDATES)[0][0][0]


def prepare_postgres(server: str, vectors: np.ndarray) -> Searcher:
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

    def search(query: np.ndarray) -> int:
        found = connection.execute("SELECT id FROM template ORDER BY vector <#> %s LIMIT 1", (query,)).fetchone()
        assert found is not None
        return int(found[0])

    return search


def measure(name: str, search: Searcher, vectors: np.ndarray, queries: np.ndarray) -> Line:
    """Warm up, and ask one query after the other."""
    search(queries[0])
    spent, found = [], []
    began_cpu = time.process_time()
    for query in queries:
        began = time.perf_counter()
        found.append(search(query))
        spent.append(time.perf_counter() - began)
    cpu_ms = 1000 * (time.process_time() - began_cpu) / len(queries)
    exact = np.concatenate([(vectors @ part.T).argmax(axis=0) for part in np.array_split(queries, 10)])
    assert found == exact.tolist(), f"{name} missed {np.sum(np.array(found) != exact)} of {len(queries)}"
    p50, p95 = (1000 * float(np.quantile(spent, share)) for share in (0.5, 0.95))
    return Line(name, len(vectors), p50, p95, cpu_ms, len(spent) / sum(spent))


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


def search_gallery(database: Database, vectors: np.ndarray, queries: np.ndarray) -> Line:
    """A search among everyone as a user starts it: read, compare, conclude, and put on record."""
    gallery = Gallery(database, "cpu")

    def search(query: np.ndarray) -> int:
        return gallery.search(embed(query), reason="measured").candidates[0].speaker_id - 1

    return measure("Gallery.search", search, vectors, queries)


def measure_rebuild(database: Database, what: str, spent_s: Counter[str]) -> None:
    """From rows to an index."""
    with stopwatch(spent_s, what), database.read() as connection:
        VectorIndex(RECIPE, "cpu").refresh(connection)


def measure_enrolment(folder: Path, n_samples: int, what: str, spent_s: Counter[str]) -> None:
    """Enrol so many samples, a transaction and all checks for each speaker."""
    people, consent = draw_vectors(n_samples // PER_SPEAKER), Consent(Basis.RESEARCH, "benchmark", 1, "1", "nobody")
    generator = np.random.default_rng(SEED)
    spread = generator.standard_normal((len(people), PER_SPEAKER, DIM)).astype(np.float32) * 0.5 / DIM**0.5
    clips = people[:, None] + spread
    clips /= np.linalg.norm(clips, axis=2, keepdims=True)
    with Gallery.open(folder / "enrolled.db", "cpu") as gallery, stopwatch(spent_s, what):
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
        f"{line.n:>9,} {line.name:16}{line.p50_ms:10.3f}{line.p95_ms:10.3f}{line.cpu_ms:10.3f}{line.per_s:10.0f}",
        flush=True,
    )


def _name(speaker: int, sample: int) -> str:
    return hashlib.sha256(f"{speaker} {sample}".encode()).hexdigest()


@contextmanager
def _start_server(wanted: bool) -> Iterator[str | None]:
    if not wanted:
        yield None
        return
    with run_postgres() as server:
        yield server


def main(
    sizes: Annotated[str, typer.Option(help="How many vectors.")] = "1000,10000,100000,1000000",
    queries: Annotated[int, typer.Option(min=20, help="At each size.")] = 1000,
    postgres: Annotated[bool, typer.Option(help="Beside a real server.")] = True,
    enrolled: Annotated[int, typer.Option(help="Samples that are enrolled.")] = N_ENROLLED,
) -> None:
    print(f"{os.cpu_count()} cores; load before the start {', '.join(f'{one:.1f}' for one in os.getloadavg())}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a stopped run, too, leaves no server behind
    titles = "".join(f"{title:>10}" for title in ("p50 ms", "p95 ms", "cpu ms", "queries/s"))
    print(f"{'vectors':>9} {'way':16}{titles}")
    spent_s: Counter[str] = Counter()
    with _start_server(postgres) as server, tempfile.TemporaryDirectory() as folder:
        for n in map(int, sizes.split(",")):
            vectors = draw_vectors(n)
            asked = draw_queries(vectors, queries)
            print_line(measure("index", prepare_index(vectors), vectors, asked))
            if server is not None:
                few = asked[: max(20, queries // (1 + n // 10_000))]
                print_line(measure("pgvector exact", prepare_postgres(server, vectors), vectors, few))
            database = open_database(Path(folder) / f"{n}.db")
            fill(database, vectors)
            measure_rebuild(database, f"index of {n:,}", spent_s)
            print_seconds(f"index of {n:,}", spent_s, TARGET_INDEX_S * n)
            line = search_gallery(database, vectors, asked)
            print_line(line)
            if n == 1_000_000:
                compare("p50 at 1 M, ms", line.p50_ms, TARGET_MS)
            database.close()
        measure_enrolment(Path(folder), enrolled, f"enrolling {enrolled:,} samples", spent_s)
        print_seconds(f"enrolling {enrolled:,} samples", spent_s, TARGET_ENROL_S)


if __name__ == "__main__":
    typer.run(main)
