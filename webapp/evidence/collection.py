"""From a finished job to what is handed on of it."""

import json
from collections.abc import Iterable, Iterator

from engine.calibration.files import list_shipped
from engine.calibration.records import Calibration, to_json
from engine.errors import EngineError
from gallery_db.gallery import Gallery
from gallery_db.text import clean, describe_search, describe_verification
from webapp.evidence.credentials import examine_credentials
from webapp.evidence.exhibits import Exhibit
from webapp.evidence.surroundings import describe_environment, read_cards
from webapp.examination import Examination
from webapp.jobs import folders
from webapp.jobs.store import JobStore


def collect_exhibit(store: JobStore, job_id: str) -> Exhibit:
    """Gather all that is known of a job; UNKNOWN_JOB, JOB_NOT_DONE, REPORT_DAMAGED."""
    found, job = store.read_result(job_id), store.get(job_id)
    folder = store.folder(job_id)
    origin, phonemes = folder / folders.ORIGIN, folder / folders.PHONEMES
    pictures = {int(path.stem): path for path in sorted((folder / folders.FACES).glob("*.png"))}
    return Exhibit(
        name=clean(job.name),
        size_bytes=job.size_bytes,
        sha256=job.sha256 or found.analysis.sha256,
        analysis=found.analysis,
        result=(folder / folders.RESULT).read_text("utf-8"),
        finished_at=job.finished_at or job.created_at,
        speakers=store.read_speakers(job_id),
        speaker_lines=tuple(_tell_speakers(found)),
        thumbnails=pictures,
        calibrations={one.id: to_json(one) for one in _find_calibrations(_list_used(found), store)},
        origin=json.loads(origin.read_text("utf-8")) if origin.exists() else None,
        credentials=examine_credentials(store.input(job_id), store.settings.limits),
        cards=read_cards(),
        environment=describe_environment(store.settings.data_dir),
        phonemes=phonemes.read_text("utf-8") if phonemes.exists() else None,
    )


def _tell_speakers(found: Examination) -> Iterator[str]:
    if found.speakers_error is not None:
        yield f"{found.speakers_error.message} {found.speakers_error.hint}"
        return
    for number, face in enumerate(found.faces):
        asked = found.searches is not None or found.verifications is not None
        if asked:
            yield f"Face {face.face + 1}, {face.start_s:.1f} to {face.end_s:.1f} s, {face.speech_s:.1f} s of speech"
        if found.searches is not None:
            yield from describe_search(found.searches[number])
        if found.verifications is not None:
            yield from describe_verification(found.verifications[number])


def _list_used(found: Examination) -> set[str]:
    """The ids of all calibrations that something was told by."""
    notes = [track.consistency.calibration for track in found.analysis.tracks]
    told = [one.calibration_id for one in found.searches or ()]
    told += [one.calibration_id for one in found.verifications or ()]
    return {note.id for note in notes if note is not None} | {one for one in told if one is not None}


def _find_calibrations(used: Iterable[str], store: JobStore) -> Iterator[Calibration]:
    """The records themselves; one that is nowhere any more is known by its id in the result alone."""
    wanted = set(used)
    if not wanted:
        return
    known = {one.id: one for one in list_shipped()}
    if not wanted <= set(known):
        try:
            with Gallery.open(store.settings) as gallery:
                known |= {one.id: one for one in gallery.calibrations()}
        except EngineError:
            pass
    yield from (known[one] for one in sorted(wanted & set(known)))
