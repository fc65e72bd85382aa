"""Request and response models of the API: the records of jobs and gallery under the same field names."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from engine.consistency.methods import Method
from gallery_db import records
from gallery_db.records import MAX_TERM_DAYS, MAX_TEXT, Basis, Consent
from webapp.analysis.records import AnalysisRequest
from webapp.jobs.records import JobState

MAX_ID = 2**63 - 1
Id = Annotated[int, Field(ge=1, le=MAX_ID)]
JobId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"\S")]


class RequestModel(BaseModel):
    """A request; unknown fields are refused, so that a typing error does not go unnoticed."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)


class ApiModel(BaseModel):
    """A response; `model_validate` reads it from the attributes of the record with these fields."""

    model_config = ConfigDict(from_attributes=True)


class ErrorWords(ApiModel):
    """Code, message and hint of an error."""

    code: str
    message: str
    hint: str


class ErrorView(BaseModel):
    """An error."""

    error: ErrorWords


class QuestionView(RequestModel):
    """What to compute in addition to audio-visual consistency, and the method."""

    method: str = Field(default_factory=lambda: Method().title, max_length=MAX_TEXT)
    reason: Annotated[
        Text | None, Field(description="Why all speakers are searched, such as a case number. None: no search.")
    ] = None
    speaker: Annotated[
        Text | None, Field(description="Name of the speaker to verify each face against. None: no verification.")
    ] = None
    language: Annotated[
        Literal["en"] | None,
        Field(description="Language of the phonemes to compare lip closures with. None: not computed."),
    ] = None

    def to_request(self) -> AnalysisRequest:
        """Return the record."""
        return AnalysisRequest(self.method, self.reason, self.speaker, self.language)


class NewLink(RequestModel):
    """A job for a link."""

    url: str = Field(max_length=4000, pattern=r"^\s*[Hh][Tt][Tt][Pp][Ss]?://")
    name: Text | None = None
    question: QuestionView = QuestionView()


class JobView(ApiModel):
    """A job."""

    id: str
    state: JobState
    name: str
    url: str | None
    sha256: str | None
    size_bytes: int
    question: QuestionView
    batch: str | None
    owner: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    step: str
    share: float
    error: ErrorWords | None
    recipe: str | None


class JobList(BaseModel):
    """A page of jobs, newest first."""

    jobs: list[JobView]
    next: str | None = Field(description="`before` of the next page; None: there is none.")


class SpeakerView(ApiModel):
    """An enrolled speaker."""

    id: int
    name: str
    n_samples: int
    seconds: float
    is_limited: bool
    created_at: datetime
    expires_at: datetime | None


class SpeakerList(BaseModel):
    """All enrolled speakers by name."""

    speakers: list[SpeakerView]


class SampleView(BaseModel):
    """One clip of a speaker."""

    id: int
    source_name: str
    source_hash: str
    session: str
    seconds: float
    recipe: str
    basis: str
    purpose: str
    expires_at: datetime


class SampleList(BaseModel):
    """The clips of a speaker."""

    samples: list[SampleView]


class ConsentView(RequestModel):
    """Legal basis, purpose and term for which a speaker's biometric data may be kept."""

    basis: Basis
    purpose: Text
    term_days: int = Field(ge=1, le=MAX_TERM_DAYS)
    collector: Text = Field(description="Who asked for the consent.")
    notice_version: Text = records.VERSION
    release_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the signed release.")

    def sign(self) -> Consent:
        """Return the consent record, dated now; raise ValueError if it is invalid."""
        return Consent(
            self.basis,
            self.purpose,
            self.term_days,
            self.notice_version,
            self.collector,
            release_sha256=self.release_sha256,
        )


class FaceChoice(RequestModel):
    """A face of a finished job."""

    job: JobId
    face: int | None = Field(None, ge=0, le=10_000, description="Its number; None: the speaking one.")


class NewSpeaker(RequestModel):
    """An enrolment: a new speaker, or more clips of the speaker with that name."""

    name: str = Field(min_length=1, max_length=MAX_TEXT)
    consent: ConsentView
    clips: list[FaceChoice] = Field(min_length=1, max_length=100)
    session: str = Field("", max_length=MAX_TEXT)
    allow_duplicate: bool = False
    dry_run: bool = False


class NewName(RequestModel):
    """A corrected name."""

    name: str = Field(min_length=1, max_length=MAX_TEXT)


class Absorbed(RequestModel):
    """The speaker to merge into another."""

    absorbed: Id


class Owner(RequestModel):
    """The speaker to whom the clip belongs."""

    speaker: Id


class SearchAsked(FaceChoice):
    """A search among all enrolled speakers."""

    reason: Text


class VerificationAsked(FaceChoice):
    """A verification against one enrolled speaker."""

    speaker: Text


Plain = dict[str, Any]
"""JSON with the fields that the command line writes; they are described at the record."""
