"""Time of 1:N searches, index builds and enrolments (`search`), and concurrent enrolments (`crowd`).

`python -m benchmarks.gallery search [--sizes 1000,10000,100000,1000000]` measures at each size: the index alone, as the
gallery searches it; pgvector in PostgreSQL, which runs on this machine from the package of the tests; the index build;
and a complete search of the gallery with all reads and writes. Then enrolments with all checks. Vectors are random
directions; a query is one of them plus noise of the same length, cosine about 0.7. Queries are sequential, and every
result must equal that of an exact search.

`python -m benchmarks.gallery crowd [--processes 8] [--enrolments 1000]` enrols from many processes at once and exits
with 1 if an enrolment is lost.
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

from benchmarks.common import compare, stopwatch
from engine.types import DynamicEmbedding
from gallery_db.database import Database, open_database
from gallery_db.faiss_index import VectorIndex, build_snapshot
from gallery_db.gallery import Gallery
from gallery_db.records import Basis, Consent, NewSample
from gallery_db.schema import GenerationRow, SpeakerRow, TemplateRow
from gallery_db.search import MIN_CANDIDATES
from gallery_db.templates import Generation
from tests.gallery_db.crowds import enrol_crowd, list_seeds
from tests.gallery_db.servers import run_postgres

DIM = 64  # of our embeddings
SEED = 7
TARGET_MS = 25.0  # at 1 M
TARGET_INDEX_S = 5e-6  # per row
N_ENROLLED, PER_SPEAKER, TARGET_ENROL_S = 10_000, 10, 10.0
RECIPE = "random"

app = typer.Typer(add_completion=False, no_args_is_help=True)

Searcher = Callable[[np.ndarray], int]
"""Maps a query (D,) to the row of its nearest neighbour."""


@dataclass(frozen=True, slots=True)
class Line:
    """Times of one search backend at one size."""

    name: str
    n: int
    p50_ms: float
    p95_ms: float
    cpu_ms: float  # of all threads of this process, per query; depends less on other load
    per_s: float  # sequential queries


def draw_vectors(n: int) -> np.ndarray:
    """Return random unit vectors (n, D) float32."""
    drawn = np.random.default_rng(SEED).standard_normal((n, DIM), np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn


def draw_queries(vectors: np.ndarray, n_queries: int) -> np.ndarray:
    """Return unit vectors (Q, D) float32: vectors plus noise of length 1, normalised."""
    generator = np.random.default_rng(SEED + 1)
    noise = generator.standard_normal((n_queries, DIM)).astype(np.float32)
    mixed = vectors[generator.integers(len(vectors), size=n_queries)]
    mixed = mixed + noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def prepare_index(vectors: np.ndarray) -> Searcher:
    """Search the index of the gallery, for as many candidates as the gallery does."""
    snapshot = build_snapshot(Generation("benchmark", 1), np.arange(len(vectors)), vectors, "cpu")
    return lambda query: snapshot.search(query[None], MIN_CANDIDATES)[0][0][0]


def prepare_postgres(server: str, vectors: np.ndarray) -> Searcher:
    """Search with an exact scan of pgvector in PostgreSQL."""
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
    """Warm up, then measure sequential queries."""
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
    """Write speakers with templates and without samples, which searches do not read."""
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
    """Measure a complete search: read, compare, decide, write the audit log."""
    gallery = Gallery(database, "cpu")

    def search(query: np.ndarray) -> int:
        return gallery.search(embed(query), reason="measured").candidates[0].speaker_id - 1

    return measure("Gallery.search", search, vectors, queries)


def measure_rebuild(database: Database, name: str, spent_s: Counter[str]) -> None:
    """Measure building the index from the rows."""
    with stopwatch(spent_s, name), database.read() as connection:
        VectorIndex(RECIPE, "cpu").refresh(connection)


def measure_enrolment(folder: Path, n_samples: int, name: str, spent_s: Counter[str]) -> None:
    """Measure enrolments, with all checks and one transaction per speaker."""
    people, consent = draw_vectors(n_samples // PER_SPEAKER), Consent(Basis.RESEARCH, "benchmark", 1, "1", "benchmark")
    generator = np.random.default_rng(SEED)
    spread = generator.standard_normal((len(people), PER_SPEAKER, DIM)).astype(np.float32) * 0.5 / DIM**0.5
    clips = people[:, None] + spread
    clips /= np.linalg.norm(clips, axis=2, keepdims=True)
    with Gallery.open(folder / "enrolled.db", "cpu") as gallery, stopwatch(spent_s, name):
        for number, own in enumerate(clips):
            samples = [NewSample(_name(number, i), "clip.mp4", "", embed(one)) for i, one in enumerate(own)]
            done = gallery.enrol(f"P{number}", samples, consent, allow_duplicate=True)
            assert len(done.sample_ids) == PER_SPEAKER, done.rejected


def embed(vector: np.ndarray) -> DynamicEmbedding:
    """Make the embedding of a clip."""
    return DynamicEmbedding(vector, 10.0, 0.1, RECIPE, 8, 2.0, True)


def print_seconds(name: str, spent_s: Counter[str], target: float) -> None:
    compare(f"{name}, s", spent_s[name], target)
    print(f"  of the processor {spent_s[f'cpu {name}']:.3f}", flush=True)


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


@app.command()
def search(
    sizes: Annotated[str, typer.Option(help="Numbers of vectors.")] = "1000,10000,100000,1000000",
    queries: Annotated[int, typer.Option(min=20, help="Queries at each size.")] = 1000,
    postgres: Annotated[bool, typer.Option(help="Also measure PostgreSQL.")] = True,
    enrolled: Annotated[int, typer.Option(help="Samples to enrol.")] = N_ENROLLED,
) -> None:
    """Measure searches, index builds and enrolments."""
    print(f"{os.cpu_count()} cores; load before the start {', '.join(f'{one:.1f}' for one in os.getloadavg())}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # stops the server on SIGTERM too
    titles = "".join(f"{title:>10}" for title in ("p50 ms", "p95 ms", "cpu ms", "queries/s"))
    print(f"{'vectors':>9} {'way':16}{titles}")
    spent_s: Counter[str] = Counter()
    with _start_server(postgres) as server, tempfile.TemporaryDirectory() as folder:
        for n in map(int, sizes.split(",")):
            vectors = draw_vectors(n)
            probes = draw_queries(vectors, queries)
            print_line(measure("index", prepare_index(vectors), vectors, probes))
            if server is not None:
                few = probes[: max(20, queries // (1 + n // 10_000))]
                print_line(measure("pgvector exact", prepare_postgres(server, vectors), vectors, few))
            database = open_database(Path(folder) / f"{n}.db")
            fill(database, vectors)
            measure_rebuild(database, f"index of {n:,}", spent_s)
            print_seconds(f"index of {n:,}", spent_s, TARGET_INDEX_S * n)
            line = search_gallery(database, vectors, probes)
            print_line(line)
            if n == 1_000_000:
                compare("p50 at 1 M, ms", line.p50_ms, TARGET_MS)
            database.close()
        measure_enrolment(Path(folder), enrolled, f"enrolling {enrolled:,} samples", spent_s)
        print_seconds(f"enrolling {enrolled:,} samples", spent_s, TARGET_ENROL_S)


@app.command()
def crowd(
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes.")] = 8,
    enrolments: Annotated[int, typer.Option(min=1, max=9999, help="Enrolments per process.")] = 1000,
) -> None:
    """Enrol from many processes at once, and count lost enrolments."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gallery" / "gallery.db"
        Gallery.open(path).close()
        begun = time.perf_counter()
        took = 1000 * np.array(enrol_crowd(path, processes, enrolments, timeout_s=3600))
        elapsed = time.perf_counter() - begun
        with Gallery.open(path) as gallery:
            lost = {f"Person {seed}" for seed in list_seeds(processes, enrolments)} - {
                one.name for one in gallery.speakers()
            }
            is_sound = gallery.check().is_sound and not gallery.check().mended
    p50, p99 = np.quantile(took, [0.5, 0.99])
    print(f"{processes} processes x {enrolments}: {len(took)} enrolled in {elapsed:.1f} s, {len(lost)} lost")
    print(f"one takes {p50:.0f} ms (median), {p99:.0f} ms (99 of 100), {took.max():.0f} ms at most; sound: {is_sound}")
    sys.exit(bool(lost) or not is_sound)


if __name__ == "__main__":
    app()
