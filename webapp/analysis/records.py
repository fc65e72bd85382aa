"""The records of an analysis job. Importing them imports no torch."""

from dataclasses import dataclass, field

from engine.consistency.methods import Method
from engine.errors import EngineError
from engine.speech.phonemes import check_language
from gallery_db.records import MAX_TEXT


@dataclass(frozen=True, slots=True)
class AnalysisRequest:
    """What is asked of a clip besides whether face and voice belong together, and by which method that is told."""

    method: str = field(default_factory=lambda: Method().title)  # title of an `engine.consistency.methods.Method`
    reason: str | None = None  # why everybody enrolled is searched; None: nobody is
    speaker: str | None = None  # name of the one whom each face is held against; None: nobody
    language: str | None = None  # whose speech sounds are held against the lips; None: they are not

    def __post_init__(self) -> None:
        for what, text in (("reason", self.reason), ("speaker", self.speaker)):
            if text is not None and not 1 <= len(text.strip()) <= MAX_TEXT:
                raise EngineError(
                    f"The {what} has {len(text.strip())} characters.", f"Write 1 to {MAX_TEXT}, or leave it out."
                )

        if self.language is not None:
            check_language(self.language)

    @property
    def is_about_speakers(self) -> bool:
        """Somebody enrolled is asked about."""
        return self.reason is not None or self.speaker is not None


@dataclass(frozen=True, slots=True)
class JobError:
    """An `EngineError` on record."""

    code: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: EngineError) -> "JobError":
        """Put it on record."""
        return cls(error.code, error.message, error.hint)
