"""Gallery of enrolled speakers: enrolment, search, verification and erasure, one transaction per change."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from engine.calibration.records import Calibration as CalibrationRecord
from engine.settings import Settings
from engine.types import DynamicEmbedding
from gallery_db import audit, calibrations, enrolment, erasure, export, integrity, search, speakers
from gallery_db.audit import Action
from gallery_db.backup import OWN_TOOLS, restore_backup, write_backup
from gallery_db.database import FILE, FOLDER, Database, open_database
from gallery_db.errors import GalleryCode, GalleryError
from gallery_db.records import (
    MAX_TEXT,
    Calibration,
    Check,
    Consent,
    Enrolment,
    EnrolmentCheck,
    NameConflict,
    NewSample,
    Person,
    Receipt,
    Search,
    Speaker,
    Stats,
    StoredSample,
    Verification,
)
from gallery_db.schema import VERSION
from gallery_db.scoring import CandidateScorer
from gallery_db.search import NeighbourIndex
from gallery_db.speakers import expect_speaker, find_speaker, read_samples, read_speakers
from gallery_db.templates import read_generation

FORGET_S = 60.0  # how long an erasure waits for readers to close


class Gallery:
    """Open gallery; threads may share it, and other processes may open the same database."""

    def __init__(self, database: Database, device: str = "auto"):
        self.database = database
        self._index = NeighbourIndex(device)
        self._cleaners: dict[str, erasure.Cleaner] = {}

    @classmethod
    def open(cls, where: Settings | Path | str, device: str = "auto") -> Self:
        """Open the gallery of the settings, of a file, or of a database URL; create it where it does not exist.

        `device` selects the device that searches a SQLite gallery; the settings override it. Raises GalleryError or
        FolderUnwritable.
        """
        if isinstance(where, Settings):
            device = where.device
        return cls(open_database(_locate(where)), device)

    @staticmethod
    def restore(where: Settings | Path, backup: Path) -> int:
        """Replace a gallery by a backup; return how many speakers erased since the backup were erased again.

        Raises FILE_REFUSED for a damaged backup. Processes that have the gallery open continue with the restored data.
        """
        place = _locate(where)
        if isinstance(place, str):
            raise GalleryError("A gallery on a database server cannot be restored from a file.", OWN_TOOLS)
        return restore_backup(backup, place)

    def close(self) -> None:
        """Close the database connections."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def register_cleaner(self, name: str, clean: erasure.Cleaner) -> None:
        """Register a function that removes erased speakers from a cache."""
        self._cleaners[name] = clean

    def admit(
        self, speaker: str | int, samples: Sequence[NewSample], *, allow_duplicate: bool = False
    ) -> EnrolmentCheck:
        """Check which samples an enrolment would accept; write nothing."""
        with self.database.read() as connection:
            found = find_speaker(connection, speaker)
            return enrolment.check_samples(connection, self._index, found, samples, allow_duplicate)

    def enrol(
        self,
        speaker: str | int,
        samples: Sequence[NewSample],
        consent: Consent,
        *,
        allow_duplicate: bool = False,
        dry_run: bool = False,
    ) -> Enrolment:
        """Add samples to the speaker of this name or id; a new name creates a speaker.

        Raises EnrolmentRefused if no sample is accepted (nothing is written), UNKNOWN_SPEAKER for an unknown id. A dry
        run returns the result of the enrolment and rolls it back.
        """
        recipe = enrolment.expect_one_recipe(samples)
        with self.database.read() as connection:  # builds the index before the write lock is taken
            self._index.count(connection, recipe)
        with self.database.write(keep=not dry_run) as connection:
            return enrolment.enrol(connection, self._index, speaker, samples, consent, allow_duplicate)

    def speakers(self) -> list[Speaker]:
        """Return all speakers, sorted by name."""
        with self.database.read() as connection:
            return read_speakers(connection)

    def speaker(self, speaker: str | int) -> Speaker:
        """Return one speaker by name or id; raises UNKNOWN_SPEAKER."""
        with self.database.read() as connection:
            (found,) = read_speakers(connection, [expect_speaker(connection, speaker)])
        return found

    def samples(self, speaker: str | int, recipe: str | None = None) -> list[StoredSample]:
        """Return the samples of a speaker in enrolment order, of one recipe or of all."""
        with self.database.read() as connection:
            return read_samples(connection, [expect_speaker(connection, speaker)], recipe)

    def search(
        self,
        embedding: DynamicEmbedding,
        k: int = 5,
        *,
        reason: str | None = None,
        calibration: Calibration | None = None,
    ) -> Search:
        """Identify a speaker among all enrolled (1:N, open set: the result may be that none is supported).

        `reason` is kept in the audit log and must contain no name: a case number. Raises SEARCH_WITHOUT_REASON for an
        empty reason, EMBEDDER_MISMATCH if speakers are enrolled, but none in this recipe.
        """
        if not (reason or "").strip():
            raise GalleryCode.SEARCH_WITHOUT_REASON(
                "A search among all speakers needs a reason.", "Give one, such as a case number."
            )
        if k < 1:
            raise ValueError(f"k is {k}, wanted 1 or more")
        scorer = CandidateScorer(embedding.recipe, calibration)
        with self.database.read() as connection:
            found = search.search(connection, self._index, embedding, k, scorer)
        detail = {
            "reason": str(reason).strip()[:MAX_TEXT],
            "recipe": found.recipe,
            "calibration": found.calibration_id,
            "speakers": found.n_speakers,
            "supported": found.is_supported,
        }
        with self.database.write() as connection:
            ids = [find_speaker(connection, one.speaker_id) for one in found.supported]
            subject = audit.find_subject(connection, ids[0]) if ids and ids[0] is not None else None
            audit.append(connection, Action.SEARCH, subject, detail)
        return found

    def verify(
        self,
        speaker: str | int,
        embedding: DynamicEmbedding,
        *,
        calibration: Calibration | None = None,
    ) -> Verification:
        """Compare an embedding with one speaker (1:1): with the template, which decides, and with each sample."""
        scorer = CandidateScorer(embedding.recipe, calibration)
        with self.database.write() as connection:
            speaker_id = expect_speaker(connection, speaker)
            (stored,) = read_speakers(connection, [speaker_id])
            found = search.verify(connection, stored, embedding, scorer)
            detail = {"recipe": found.recipe, "calibration": found.calibration_id, "supported": found.is_supported}
            audit.append(connection, Action.VERIFY, audit.find_subject(connection, speaker_id), detail)
        return found

    def keep_calibration(self, record: CalibrationRecord) -> None:
        """Store a calibration; raises BAD_CALIBRATION if it is stored already or its predecessor is not."""
        with self.database.write() as connection:
            calibrations.add_calibration(connection, record)
            detail = {"id": record.id, "status": str(record.status)}
            audit.append(connection, Action.CALIBRATION, None, detail)

    def calibrations(self) -> list[CalibrationRecord]:
        """Return the stored calibrations, oldest first."""
        with self.database.read() as connection:
            return calibrations.read_calibrations(connection)

    def forget(self, speaker: str | int, *, timeout_s: float = FORGET_S) -> Receipt:
        """Erase a speaker from the database and its files; waits up to `timeout_s` for readers to close."""
        with self.database.write() as connection:
            removed = erasure.forget_speaker(connection, expect_speaker(connection, speaker))
        return self._finish(removed, timeout_s)

    def forget_overdue(self, now: datetime | None = None, *, timeout_s: float = FORGET_S) -> list[Receipt]:
        """Erase the samples of expired consents, and speakers without any other sample."""
        with self.database.write() as connection:
            removed = erasure.forget_lapsed(connection, now or datetime.now(UTC))
        return [self._finish(one, timeout_s) for one in removed]

    def merge(self, kept: str | int, absorbed: str | int) -> Speaker:
        """Move all samples of one speaker to another (the same person); `unmerge` reverts it."""
        with self.database.write() as connection:
            return speakers.merge(connection, kept, absorbed)

    def unmerge(self, absorbed: str | int) -> Speaker:
        """Split a merged speaker off again, with the samples of that merge."""
        with self.database.write() as connection:
            return speakers.unmerge(connection, absorbed)

    def reassign(self, sample_id: int, to: str | int) -> Speaker:
        """Move a sample to another speaker."""
        with self.database.write() as connection:
            return speakers.reassign(connection, sample_id, to)

    def rename(self, speaker: str | int, name: str) -> Speaker:
        """Change a name; raises NAME_TAKEN if another speaker has it."""
        with self.database.write() as connection:
            return speakers.rename(connection, speaker, name)

    def export(self, path: Path, only: Sequence[str | int] | None = None) -> int:
        """Write speakers, by default all, into one portable file; return their number."""
        with self.database.read() as connection:
            ids = None if only is None else {expect_speaker(connection, one) for one in only}
            exported = read_speakers(connection, ids)
            people = [Person(one.name, one.created_at, tuple(read_samples(connection, [one.id]))) for one in exported]
        export.write_people(path, people)
        with self.database.write() as connection:
            for one in exported:
                if find_speaker(connection, one.id) is not None:
                    audit.append(connection, Action.EXPORT, audit.find_subject(connection, one.id))
        return len(people)

    def import_(
        self, path: Path, on_conflict: NameConflict = NameConflict.REFUSE, *, recipe: str | None = None
    ) -> list[Enrolment]:
        """Enrol the speakers of a portable file, all or none.

        Raises FILE_REFUSED for a damaged file, EMBEDDER_MISMATCH if the file is of another recipe than `recipe` (by
        default: than all enrolled ones), NAME_TAKEN for a name that exists if conflicts are refused.
        """
        people = export.read_people(path, recipe)
        with self.database.write() as connection:
            return enrolment.import_people(connection, people, recipe, on_conflict)

    def backup(self, path: Path) -> None:
        """Write a consistent copy of a SQLite gallery while it is in use; raises GalleryError for a database server."""
        write_backup(self.database, path)

    def stats(self) -> Stats:
        """Count speakers, samples and vectors."""
        with self.database.read() as connection:
            enrolled, now = read_speakers(connection), datetime.now(UTC)
            return Stats(
                n_speakers=len(enrolled),
                n_samples=sum(one.n_samples for one in enrolled),
                seconds=sum(one.seconds for one in enrolled),
                n_overdue=sum(one.expires_at is not None and one.expires_at <= now for one in enrolled),
                recipes=self._index.read_stats(connection),
                database=self.database.name,
                bytes_on_disk=self.database.measure_bytes(connection),
                version=VERSION,
                generation=read_generation(connection).value,
            )

    def check(self) -> Check:
        """Check files, audit chain and vectors; repair derived data: templates, the index, unused consents."""
        self._index.clear()
        return integrity.check(self.database)

    def _finish(self, removed: erasure.Removed, timeout_s: float) -> Receipt:
        self._index.clear()  # at once, not with the next search
        return erasure.finish_erasure(self.database, removed, self._cleaners, timeout_s)


def _locate(where: Settings | Path | str) -> Path | str:
    if isinstance(where, Settings):
        return where.database or where.data_dir / FOLDER / FILE
    return where
