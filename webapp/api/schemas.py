"""Request and response models of the API: the records of jobs and gallery under the same field names."""

import dataclasses
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from engine.consistency.methods import Method
from engine.media.selection import MAX_TRACK, parse_channel
from engine.types import MediaSelection
from gallery_db import records
from gallery_db.records import MAX_TERM_DAYS, MAX_TEXT, Basis, Consent
from webapp.analysis.records import AnalysisRequest
from webapp.jobs.records import JobState

MAX_ID = 2**63 - 1
MAX_TIME_S = 1_000_000
MAX_ITEM = 10_000
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
    from_s: Annotated[
        float, Field(ge=0, le=MAX_TIME_S, description="Start of the part to analyse, seconds of media time.")
    ] = 0.0
    to_s: Annotated[
        float | None, Field(gt=0, le=MAX_TIME_S, description="End of the part. None: end of the recording.")
    ] = None
    audio_track: Annotated[
        int | None,
        Field(ge=1, le=MAX_TRACK, description="Number of the audio track, 1 for the first. None: chosen by rule."),
    ] = None
    channel: Annotated[
        str | None,
        Field(
            pattern=r"^(mix|left|right|[A-Z]{2,4}[0-9]{0,2})$",
            description="Audio channel: mix, left, right, or a name of FFmpeg such as FL, FR, FC. None: by rule.",
        ),
    ] = None

    @field_validator("channel")
    @classmethod
    def _read_channel(cls, channel: str | None) -> str | None:
        return None if channel is None else parse_channel(channel)

    @model_validator(mode="after")
    def _check_part(self) -> Self:
        if self.to_s is not None and self.to_s <= self.from_s:
            raise ValueError(f"to_s {self.to_s:g} is not after from_s {self.from_s:g}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _read_record(cls, given: Any) -> Any:
        """Read the fields of a record's selection as fields of this model."""
        if not isinstance(given, AnalysisRequest):
            return given
        fields = {one.name: getattr(given, one.name) for one in dataclasses.fields(given)}
        return dataclasses.asdict(fields.pop("selection")) | fields

    def to_request(self) -> AnalysisRequest:
        """Return the record."""
        selection = MediaSelection(self.from_s, self.to_s, self.audio_track, self.channel)
        return AnalysisRequest(self.method, self.reason, self.speaker, self.language, selection)


class NewLink(RequestModel):
    """A job for a link."""

    url: str = Field(max_length=4000, pattern=r"^\s*[Hh][Tt][Tt][Pp][Ss]?://")
    name: Text | None = None
    item: Annotated[
        int, Field(ge=0, le=MAX_ITEM, description="Number of the video at a link with several, from 1; 0: it has one.")
    ] = 0
    question: QuestionView = QuestionView()


class JobView(ApiModel):
    """A job."""

    id: str
    state: JobState
    name: str
    url: str | None
    item: int
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
    left_s: float | None = Field(description="Estimated seconds until the end; None: not known yet.")
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
