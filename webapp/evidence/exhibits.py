"""What is handed on of one finished job, before it is written down."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.types import Analysis
from webapp.evidence.credentials import Credentials


@dataclass(frozen=True, slots=True, eq=False)
class Exhibit:
    """A file, what was said of it, and what that rests on."""

    name: str  # as the person who brought the file knows it
    size_bytes: int
    sha256: str  # taken while the file was copied, before any decoder saw it
    analysis: Analysis
    result: str  # the same as JSON: byte for byte what `wayspeak analyse --json` writes
    finished_at: datetime  # UTC; nothing later enters the bundle, so that it can be made again
    speakers: str | None = None  # JSON of the second answer; None: it was not asked for
    speaker_lines: tuple[str, ...] = ()  # the second answer in words
    thumbnails: dict[int, Path] = field(default_factory=dict)  # PNG by number of the face
    calibrations: dict[str, str] = field(default_factory=dict)  # JSON by id of every record that was in force
    origin: dict[str, Any] | None = None  # where a link led; None: a file was brought
    credentials: Credentials = field(default_factory=Credentials)
    cards: dict[str, str] = field(default_factory=dict)  # Markdown by file name
    environment: dict[str, Any] = field(default_factory=dict)
    phonemes: str | None = None  # JSON of speech sounds and lips; None: it was not asked for

    def describe(self) -> dict[str, Any]:
        """Say what is in the bundle and how it came to be, and what is not."""
        return {
            "schema_version": 1,
            "original": {
                "name": self.name,
                "size_bytes": self.size_bytes,
                "sha256": self.sha256,
                "sha256_taken": "while the file was copied, before any decoder saw it",
                "is_in_bundle": False,
            },
            "finished_at": self.finished_at.isoformat(),
            "recipe": self.analysis.recipe,
            "calibrations": sorted(self.calibrations)
            or "none was in force: scores are raw, no likelihood ratio is told",
            "asked_about_speakers": self.speakers is not None,
            "origin": self.origin if self.origin is not None else "a file was brought",
            "c2pa": self.credentials.describe(),
        }
