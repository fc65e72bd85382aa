"""Speakers: enrolment with consent, correction, erasure, search and verification."""

from typing import Annotated

from fastapi import APIRouter, Path

from engine.style.records import FaceEmbedding, choose_speaker
from gallery_db.records import StoredSample
from gallery_db.text import SCHEMA_VERSION, to_json
from webapp.accounts.records import User
from webapp.analysis.gallery_queries import query_gallery, to_sample
from webapp.analysis.records import AnalysisRequest
from webapp.api.dependencies import Analyst, AnyUser, Enroller
from webapp.api.schemas import (
    MAX_ID,
    Absorbed,
    FaceChoice,
    NewName,
    NewSpeaker,
    Owner,
    Plain,
    SampleList,
    SampleView,
    SearchAsked,
    SpeakerList,
    SpeakerView,
    VerificationAsked,
)
from webapp.context import AppContext
from webapp.errors import WebCode

SpeakerId = Annotated[int, Path(ge=1, le=MAX_ID)]


def make_router(context: AppContext) -> APIRouter:
    """Return the routes under /speakers, /samples, /search and /verify."""
    router = APIRouter(tags=["speakers"])
    _add_list(router, context)
    _add_enrolment(router, context)
    _add_corrections(router, context)
    _add_questions(router, context)
    return router


def _add_list(router: APIRouter, context: AppContext) -> None:
    @router.get("/speakers")
    def list_speakers(user: AnyUser) -> SpeakerList:
        """List all enrolled speakers."""
        return SpeakerList(speakers=[SpeakerView.model_validate(one) for one in context.gallery.speakers()])

    @router.get("/speakers/{speaker_id}")
    def get_speaker(speaker_id: SpeakerId, user: AnyUser) -> SpeakerView:
        """Return one speaker."""
        return SpeakerView.model_validate(context.gallery.speaker(speaker_id))

    @router.get("/speakers/{speaker_id}/samples")
    def list_samples(speaker_id: SpeakerId, user: AnyUser) -> SampleList:
        """List the clips of one speaker, without embeddings."""
        return SampleList(samples=[_describe(one) for one in context.gallery.samples(speaker_id)])


def _add_enrolment(router: APIRouter, context: AppContext) -> None:
    @router.post("/speakers", status_code=201)
    def enrol(asked: NewSpeaker, user: Enroller) -> Plain:
        """Enrol from finished jobs with consent; rejected clips are listed, and nothing of them is kept."""
        try:
            consent = asked.consent.sign()
        except ValueError as cause:
            raise WebCode.BAD_CONSENT(f"The consent is not valid: {cause}.", "Correct it; nothing was kept.") from cause
        faces = [_find_face(context, user, clip) for clip in asked.clips]
        samples = [to_sample(face, asked.session) for face in faces]
        done = context.gallery.enrol(
            asked.name, samples, consent, allow_duplicate=asked.allow_duplicate, dry_run=asked.dry_run
        )
        return _found(done)

    @router.delete("/speakers/{speaker_id}")
    def forget(speaker_id: SpeakerId, user: Enroller) -> Plain:
        """Erase all data of a speaker and return a receipt. It cannot be undone."""
        return _found(context.gallery.forget(speaker_id))


def _add_corrections(router: APIRouter, context: AppContext) -> None:
    @router.patch("/speakers/{speaker_id}")
    def rename(speaker_id: SpeakerId, new: NewName, user: Enroller) -> SpeakerView:
        """Correct a name."""
        return SpeakerView.model_validate(context.gallery.rename(speaker_id, new.name))

    @router.post("/speakers/{speaker_id}/merge")
    def merge(speaker_id: SpeakerId, other: Absorbed, user: Enroller) -> SpeakerView:
        """Merge another speaker into this one, with all clips."""
        return SpeakerView.model_validate(context.gallery.merge(speaker_id, other.absorbed))

    @router.post("/speakers/{speaker_id}/unmerge")
    def unmerge(speaker_id: SpeakerId, user: Enroller) -> SpeakerView:
        """Undo a merge; the id is that of the merged speaker."""
        return SpeakerView.model_validate(context.gallery.unmerge(speaker_id))

    @router.post("/samples/{sample_id}/reassign")
    def reassign(sample_id: SpeakerId, owner: Owner, user: Enroller) -> SpeakerView:
        """Move a clip to another speaker."""
        return SpeakerView.model_validate(context.gallery.reassign(sample_id, owner.speaker))


def _add_questions(router: APIRouter, context: AppContext) -> None:
    @router.post("/search")
    def search(asked: SearchAsked, user: Analyst) -> Plain:
        """Search all enrolled speakers for a face; the reason is recorded and must not contain a name."""
        face = _find_face(context, user, asked)
        searches, _ = query_gallery(context.gallery, (face,), AnalysisRequest(reason=asked.reason))
        return _found(searches[0] if searches else None)

    @router.post("/verify")
    def verify(asked: VerificationAsked, user: Analyst) -> Plain:
        """Verify a face against one enrolled speaker."""
        face = _find_face(context, user, asked)
        _, verifications = query_gallery(context.gallery, (face,), AnalysisRequest(speaker=asked.speaker))
        return _found(verifications[0] if verifications else None)


def _find_face(context: AppContext, user: User, choice: FaceChoice) -> FaceEmbedding:
    """Return that face of a finished job, by default the speaking one; raise MANY_FACES if unclear."""
    found = context.jobs.read_result(context.find_job(user, choice.job).id)
    if found.speakers_error is not None and not found.faces:
        raise WebCode.NO_SUCH_FACE(found.speakers_error.message, found.speakers_error.hint)
    if not found.faces:
        raise WebCode.NO_SUCH_FACE(
            "No face is visible for a second in this clip.", "Choose a clip that shows it from the front."
        )
    if choice.face is None:
        return choose_speaker(found.faces, lambda: found.analysis)
    for one in found.faces:
        if one.face == choice.face:
            return one
    numbers = ", ".join(str(one.face) for one in found.faces)
    raise WebCode.NO_SUCH_FACE(f"The job has no face {choice.face} with an embedding.", f"There are: {numbers}.")


def _describe(sample: StoredSample) -> SampleView:
    return SampleView(
        id=sample.id,
        source_name=sample.source_name,
        source_hash=sample.source_hash,
        session=sample.session,
        seconds=sample.embedding.seconds,
        recipe=sample.embedding.recipe,
        basis=str(sample.consent.basis),
        purpose=sample.consent.purpose,
        expires_at=sample.consent.expires_at,
    )


def _found(record: object) -> Plain:
    """Return the record as the command line writes it."""
    return {"schema_version": SCHEMA_VERSION, "found": to_json(record)}
