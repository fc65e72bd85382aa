"""The speech sounds of a job's file, held against the faces that were seen in it; only where that was asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.articulation import ArticulationReport, check_faces
from engine.settings import MediaLimits
from engine.speechsounds import SoundRecogniser
from engine.types import OnStep

if TYPE_CHECKING:
    from engine.observation import Observation


class LipWatch:
    """Holds the recogniser of each language that was asked for; one file at a time."""

    def __init__(self, load: Callable[[str], SoundRecogniser] = SoundRecogniser.load):
        self._load = load
        self._held: dict[str, SoundRecogniser] = {}

    def watch(
        self,
        path: Path,
        seen: "Observation",
        language: str,
        limits: MediaLimits,
        on_step: OnStep = lambda name, completed, total: None,
    ) -> tuple[ArticulationReport, ...]:
        """Hold each face of an observation against the sound of its file, which is read again: it keeps none.

        LANGUAGE_UNKNOWN, RECOGNISER_MISSING; other EngineErrors where the file cannot be read any more.
        """
        from engine.media import open_clip  # here: it imports torch

        if language not in self._held:
            self._held[language] = self._load(language)
        audio = open_clip(path, limits).audio
        return check_faces(self._held[language], audio, seen.heard.voiced, seen.tracks, None, on_step)
