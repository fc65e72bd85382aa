"""Records of an analysis job; imports no torch."""

from dataclasses import dataclass, field

from engine.consistency.methods import Method
from engine.errors import EngineError
from engine.media.selection import check_selection
from engine.speech.phonemes import check_language
from engine.types import MediaSelection
from gallery_db.records import MAX_TEXT


@dataclass(frozen=True, slots=True)
class AnalysisRequest:
    """The method of an analysis, and what to compute in addition to audio-visual consistency."""

    method: str = field(default_factory=lambda: Method().title)  # title of an `engine.consistency.methods.Method`
    reason: str | None = None  # why all enrolled speakers are searched; None: no search
    speaker: str | None = None  # name of the speaker to verify each face against; None: no verification
    language: str | None = None  # language of the phonemes to compare lip closures with; None: no lip closures
    selection: MediaSelection = field(default_factory=MediaSelection)  # part and audio of the recording

    def __post_init__(self) -> None:
        for what, text in (("reason", self.reason), ("speaker", self.speaker)):
            if text is not None and not 1 <= len(text.strip()) <= MAX_TEXT:
                raise EngineError(
                    f"The {what} has {len(text.strip())} characters.", f"Write 1 to {MAX_TEXT}, or leave it out."
                )

        if self.language is not None:
            check_language(self.language)
        check_selection(self.selection)

    @property
    def is_about_speakers(self) -> bool:
        """Return whether a search or verification was requested."""
        return self.reason is not None or self.speaker is not None


@dataclass(frozen=True, slots=True)
class JobError:
    """An `EngineError` as a record."""

    code: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: EngineError) -> "JobError":
        """Return the record of an error."""
        return cls(error.code, error.message, error.hint)
