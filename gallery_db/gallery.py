"""The gallery: who is enrolled, who is found, who is forgotten. Each change is one transaction, or nothing at all."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from engine.calibration.records import Calibration as CalibrationRecord
from engine.settings import Settings
from engine.types import DynamicEmbedding
from gallery_db import audit, calibrations, enrolment, erasure, integrity
from gallery_db import export as portable
from gallery_db import search as searching
from gallery_db import speakers as merging
from gallery_db.audit import Action
from gallery_db.backup import OWN_TOOLS, restore_backup, write_backup
from gallery_db.database import FILE, FOLDER, Database, open_database
from gallery_db.errors import GalleryCode, GalleryError
from gallery_db.records import (
    MAX_TEXT,
    Admission,
    Calibration,
    Check,
    Clash,
    Consent,
    Enrolment,
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

FORGET_S = 60.0  # how long a forgetting waits for readers to leave


class Gallery:
    """An open gallery. Threads may share one; other processes may have the same database open."""

    def __init__(self, database: Database, device: str = "auto"):
        self.database = database
        self._finder = NeighbourIndex(device)
        self._cleaners: dict[str, erasure.Cleaner] = {}

    @classmethod
    def open(cls, where: Settings | Path | str, device: str = "auto") -> Self:
        """Open the gallery of the settings, of a file, or of a database's URL; a new one where there is none.

        `device` is where a file is searched; the settings name their own. A GalleryError or FolderUnwritable says why
        the gallery cannot be opened.
        """
        if isinstance(where, Settings):
            device = where.device
        return cls(open_database(_locate(where)), device)

    @staticmethod
    def restore(where: Settings | Path, backup: Path) -> int:
        """Put a backup in the place of a gallery, and give how many people were forgotten anew since it was made.

        FILE_REFUSED where it is no whole backup. Where others have the gallery open they go on with what was restored.
        """
        place = _locate(where)
        if isinstance(place, str):
            raise GalleryError("A database server was asked to take a backup from a file.", OWN_TOOLS)
        return restore_backup(backup, place)

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def register_cleaner(self, name: str, clean: erasure.Cleaner) -> None:
        """Let a cache know when somebody is forgotten."""
        self._cleaners[name] = clean

    def admit(self, who: str | int, samples: Sequence[NewSample], *, allow_duplicate: bool = False) -> Admission:
        """Say which samples an enrolment would accept."""
        with self.database.read() as connection:
            found = find_speaker(connection, who)
            return enrolment.judge_samples(connection, self._finder, found, samples, allow_duplicate)

    def enrol(
        self,
        who: str | int,
        samples: Sequence[NewSample],
        consent: Consent,
        *,
        allow_duplicate: bool = False,
        dry_run: bool = False,
    ) -> Enrolment:
        """Add samples to the speaker of that name or id, who is made where nobody bears the name.

        EnrolmentRefused where not one sample is accepted: nothing is written then, and nothing in a dry run, which
        gives what would be. UNKNOWN_SPEAKER for an id of nobody.
        """
        recipe = enrolment.expect_one_recipe(samples)
        with self.database.read() as connection:  # builds the index before others have to wait
            self._finder.count(connection, recipe)
        with self.database.write(keep=not dry_run) as connection:
            return enrolment.enrol(connection, self._finder, who, samples, consent, allow_duplicate)

    def speakers(self) -> list[Speaker]:
        """Everybody, by name."""
        with self.database.read() as connection:
            return read_speakers(connection)

    def speaker(self, who: str | int) -> Speaker:
        """One speaker, by name or id; UNKNOWN_SPEAKER where nobody is."""
        with self.database.read() as connection:
            (found,) = read_speakers(connection, [expect_speaker(connection, who)])
        return found

    def samples(self, who: str | int, recipe: str | None = None) -> list[StoredSample]:
        """The samples of a speaker, in the order they were enrolled; of one recipe, or of all."""
        with self.database.read() as connection:
            return read_samples(connection, [expect_speaker(connection, who)], recipe)

    def search(
        self,
        embedding: DynamicEmbedding,
        k: int = 5,
        *,
        reason: str | None = None,
        calibration: Calibration | None = None,
    ) -> Search:
        """Look for a speaker among everyone, open-set: that none is supported is an answer.

        `reason` goes on record for good and must not name anybody: a case number. SEARCH_WITHOUT_REASON without;
        EMBEDDER_MISMATCH where others are enrolled, but none in this recipe.
        """
        if not (reason or "").strip():
            raise GalleryCode.SEARCH_WITHOUT_REASON(
                "A search among everyone was asked for without a reason.", "Give a case number or the like."
            )
        if k < 1:
            raise ValueError(f"{k} candidates wanted, 1 at least can be had")
        judge = CandidateScorer(embedding.recipe, calibration)
        with self.database.read() as connection:
            found = searching.search(connection, self._finder, embedding, k, judge)
        detail = {
            "reason": str(reason).strip()[:MAX_TEXT],
            "recipe": found.recipe,
            "calibration": found.calibration_id,
            "speakers": found.n_speakers,
            "supported": found.is_supported,
        }
        with self.database.write() as connection:
            there = [find_speaker(connection, one.speaker_id) for one in found.supported]
            subject = audit.find_subject(connection, there[0]) if there and there[0] is not None else None
            audit.append(connection, Action.SEARCH, subject, detail)
        return found

    def verify(
        self,
        who: str | int,
        embedding: DynamicEmbedding,
        *,
        calibration: Calibration | None = None,
    ) -> Verification:
        """Hold an embedding against one speaker: the template, which decides, and each of their samples."""
        judge = CandidateScorer(embedding.recipe, calibration)
        with self.database.write() as connection:
            speaker_id = expect_speaker(connection, who)
            (speaker,) = read_speakers(connection, [speaker_id])
            found = searching.verify(connection, speaker, embedding, judge)
            detail = {"recipe": found.recipe, "calibration": found.calibration_id, "supported": found.is_supported}
            audit.append(connection, Action.VERIFY, audit.find_subject(connection, speaker_id), detail)
        return found

    def keep_calibration(self, record: CalibrationRecord) -> None:
        """Keep a calibration; BAD_CALIBRATION where it is there, or what it follows is not."""
        with self.database.write() as connection:
            calibrations.add_calibration(connection, record)
            detail = {"id": record.id, "status": str(record.status)}
            audit.append(connection, Action.CALIBRATION, None, detail)

    def calibrations(self) -> list[CalibrationRecord]:
        """All that were kept, oldest first; `engine.calibration.records.choose_current` finds the one to use."""
        with self.database.read() as connection:
            return calibrations.read_calibrations(connection)

    def forget(self, who: str | int, *, timeout_s: float = FORGET_S) -> Receipt:
        """Delete all that is kept about a speaker, from the files too; waits so long for readers to let go."""
        with self.database.write() as connection:
            removed = erasure.forget_speaker(connection, expect_speaker(connection, who))
        return self._finish(removed, timeout_s)

    def forget_overdue(self, now: datetime | None = None, *, timeout_s: float = FORGET_S) -> list[Receipt]:
        """Delete what is kept on consents that have lapsed; a speaker of whom nothing else is left goes whole."""
        with self.database.write() as connection:
            removed = erasure.forget_lapsed(connection, now or datetime.now(UTC))
        return [self._finish(one, timeout_s) for one in removed]

    def merge(self, kept: str | int, absorbed: str | int) -> Speaker:
        """Give all samples of one speaker to another: they are one person. `unmerge` undoes it."""
        with self.database.write() as connection:
            return merging.merge(connection, kept, absorbed)

    def unmerge(self, absorbed: str | int) -> Speaker:
        """Take a speaker out of the one they were merged into, with the samples they brought."""
        with self.database.write() as connection:
            return merging.unmerge(connection, absorbed)

    def reassign(self, sample_id: int, to: str | int) -> Speaker:
        """Give a sample to another speaker, whose it is."""
        with self.database.write() as connection:
            return merging.reassign(connection, sample_id, to)

    def rename(self, who: str | int, name: str) -> Speaker:
        """Change a name; NAME_TAKEN where it is somebody else's."""
        with self.database.write() as connection:
            return merging.rename(connection, who, name)

    def export(self, path: Path, who: Sequence[str | int] | None = None) -> int:
        """Write speakers, by default all, into one portable file; gives how many."""
        with self.database.read() as connection:
            ids = None if who is None else {expect_speaker(connection, one) for one in who}
            speakers = read_speakers(connection, ids)
            people = [Person(one.name, one.created_at, tuple(read_samples(connection, [one.id]))) for one in speakers]
        portable.write_people(path, people)
        with self.database.write() as connection:
            for one in speakers:
                if find_speaker(connection, one.id) is not None:
                    audit.append(connection, Action.EXPORT, audit.find_subject(connection, one.id))
        return len(people)

    def import_(self, path: Path, on_clash: Clash = Clash.REFUSE, *, recipe: str | None = None) -> list[Enrolment]:
        """Enrol the speakers of a portable file, all or none.

        FILE_REFUSED where the file is damaged; EMBEDDER_MISMATCH where it is not of `recipe`, or without that of one
        that somebody here is enrolled in; NAME_TAKEN where a name is there already and clashes are refused.
        """
        people = portable.read_people(path, recipe)
        with self.database.write() as connection:
            return enrolment.import_people(connection, people, recipe, on_clash)

    def backup(self, path: Path) -> None:
        """Write the whole gallery into a file while others use it; GalleryError with a database server."""
        write_backup(self.database, path)

    def stats(self) -> Stats:
        """Count what is there."""
        with self.database.read() as connection:
            speakers, now = read_speakers(connection), datetime.now(UTC)
            return Stats(
                n_speakers=len(speakers),
                n_samples=sum(one.n_samples for one in speakers),
                seconds=sum(one.seconds for one in speakers),
                n_overdue=sum(one.expires_at is not None and one.expires_at <= now for one in speakers),
                recipes=self._finder.read_stats(connection),
                database=self.database.name,
                bytes_on_disk=self.database.measure_bytes(connection),
                version=VERSION,
                generation=read_generation(connection).value,
            )

    def check(self) -> Check:
        """Look for damage everywhere, and mend what is derived: templates, the index, consents of nothing."""
        self._finder.forget()
        return integrity.check(self.database)

    def _finish(self, removed: erasure.Removed, timeout_s: float) -> Receipt:
        self._finder.forget()  # at once, rather than with the next search
        return erasure.finish_forgetting(self.database, removed, self._cleaners, timeout_s)


def _locate(where: Settings | Path | str) -> Path | str:
    if isinstance(where, Settings):
        return where.database or where.data_dir / FOLDER / FILE
    return where
