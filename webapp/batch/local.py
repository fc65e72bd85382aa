"""A batch in this process: reuse earlier results and analyse the remaining items one after the other."""

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from engine.consistency.methods import Method
from engine.errors import EngineError, FolderUnwritable
from engine.fetch.fetch import FetchedMedia, fetch
from engine.media.limits import check_file
from engine.reports.media import describe_selection
from engine.settings import Settings
from engine.types import MediaSelection, OnStep
from engine.weights.registry import hash_file
from webapp.analysis.gallery_queries import GalleryClient
from webapp.analysis.records import JobError
from webapp.batch.rows import BatchRow, make_error_row, make_row, read_jsonl, write_jsonl, write_results
from webapp.batch.sources import Source
from webapp.errors import WebCode

if TYPE_CHECKING:
    from engine.features.records import ClipFeatures
    from engine.pipeline import Engine

RESULTS, PART = "results.jsonl", ".results.part"
OnRow = Callable[[BatchRow, int], None]
"""`on_row(row, total)`: called once for each item."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Version:
    """Recipe and calibration of a result; an older row with the same version is reused."""

    recipe: str
    calibration: str | None  # id of the record in force

    def made(self, row: BatchRow) -> bool:
        """Return whether a row has this version; a row without a score names no calibration."""
        return row.recipe == self.recipe and (row.score is None or row.calibration == self.calibration)


class BatchRunner(Protocol):
    """Analyse items, in any order and on any machine."""

    version: Version

    def run(self, sources: Sequence[Source]) -> Iterator[BatchRow]:
        """Yield one row per item as they finish."""
        ...


class LocalRunner:
    """Analyse one item after the other in this process."""

    def __init__(self, engine: "Engine", settings: Settings, on_step: OnStep = lambda name, completed, total: None):
        self._engine, self._settings, self._on_step = engine, settings, on_step
        self.version = read_version(engine)

    def run(self, sources: Sequence[Source]) -> Iterator[BatchRow]:
        """Yield the rows in order."""
        for source in sources:
            features = extract_item(source, self._extract, self._settings)
            yield score_item(source, features, self._engine)

    def _extract(self, path: Path, selection: MediaSelection) -> "ClipFeatures":
        return self._engine.extract(path, self._on_step, selection)


def load_engine(settings: Settings, method: Method) -> "Engine":
    """Load the engine with the calibration in force."""
    from engine.pipeline import Engine

    gallery = GalleryClient(settings)
    try:
        return Engine.load(settings, method, calibrations=gallery.read_calibrations())
    finally:
        gallery.close()


def read_version(engine: "Engine") -> Version:
    """Return the recipe and the calibration of an engine."""
    return Version(engine.recipe, engine.calibration.id if engine.calibration else None)


def run_batch(
    sources: Sequence[Source],
    runner: BatchRunner,
    folder: Path,
    resume: bool = False,
    on_row: OnRow = lambda row, n: None,
) -> list[BatchRow]:
    """Analyse every item and write results.csv and results.jsonl into the folder; may raise FolderUnwritable.

    With `resume`, items with an earlier result in the folder, from the same bytes, weights and options, are not
    analysed again.
    """
    with _translate(folder):
        folder.mkdir(parents=True, exist_ok=True)
        old = _read_old(folder) if resume else []
        taken = {one.number: row for one in sources if (row := _find_reusable(one, old, runner.version)) is not None}
        (folder / PART).write_text(write_jsonl(old + list(taken.values())), "utf-8")
    rows = dict(taken)
    for row in taken.values():
        on_row(row, len(sources))
    for row in runner.run([one for one in sources if one.number not in taken]):
        rows[row.number] = row
        with _translate(folder), (folder / PART).open("a", encoding="utf-8") as part:  # finished rows survive a crash
            part.write(write_jsonl([row]))
        on_row(row, len(sources))
    ordered = [rows[number] for number in sorted(rows)]
    with _translate(folder):
        write_results(folder, ordered)
        (folder / PART).unlink(missing_ok=True)
    return ordered


def extract_item(
    source: Source,
    extract: Callable[[Path, MediaSelection], "ClipFeatures"],
    settings: Settings,
    fetch_media: Callable[..., FetchedMedia] = fetch,
) -> "ClipFeatures | BatchRow":
    """Extract the features of an item, fetched first if it is a link; return an error row on failure."""
    name, sha256 = source.name, None
    folder = Path(tempfile.mkdtemp(prefix="wayspeak-"))
    try:
        path = source.path
        if source.url is not None:
            media = fetch_media(source.url, folder, settings.fetch_limits)
            path, name = media.path, media.title.strip() or name
        assert path is not None
        check_file(path, settings.limits)
        sha256 = hash_file(path)  # before any decoder reads the file
        return replace(extract(path, source.selection), name=name)
    except EngineError as error:
        return make_error_row(source, name, sha256, JobError.of(error))
    except Exception as error:
        return make_error_row(source, name, sha256, _describe_failure(source, error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def score_item(source: Source, features: "ClipFeatures | BatchRow", engine: "Engine") -> BatchRow:
    """Score an item's features; an error row is returned unchanged."""
    if isinstance(features, BatchRow):
        return features
    try:
        return make_row(source, engine.judge(features))
    except Exception as error:
        return make_error_row(source, features.name, features.sha256, _describe_failure(source, error))


def _describe_failure(source: Source, error: Exception) -> JobError:
    _log.error("%s could not be examined", source.written, exc_info=error)
    return JobError.of(
        WebCode.INTERNAL_ERROR("Something went wrong inside Wayspeak.", "Try again; the log shows the cause.")
    )


def _read_old(folder: Path) -> list[BatchRow]:
    """Return the earlier rows with results, also of an interrupted run."""
    files = [path for path in (folder / RESULTS, folder / PART) if path.exists()]
    return [row for path in files for row in read_jsonl(path.read_text("utf-8")) if row.has_result]


def _find_reusable(source: Source, old: Sequence[BatchRow], version: Version) -> BatchRow | None:
    """Find the earlier row of the same part of the same bytes; of a link, the row of the file it led to then."""
    made = [row for row in old if version.made(row) and row.asked == describe_selection(source.selection)]
    if source.url is not None:
        known = {row.source: row for row in made}.get(source.written)
    else:
        assert source.path is not None
        digest = hash_file(source.path) if made and source.path.is_file() else None
        known = {row.sha256: row for row in made}.get(digest)
        known = known and replace(known, name=source.name)
    return known and replace(known, number=source.number, source=source.written)


@contextmanager
def _translate(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise FolderUnwritable(f"{folder} cannot be written: {cause.strerror}.", "Choose another folder.") from cause
