"""The speech sounds of a job's file, held against the faces that were seen in it; only where that was asked for."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.consistency.lip_closures import ArticulationReport, check_faces
from engine.speech.phonemes import SoundRecogniser
from engine.types import OnStep

if TYPE_CHECKING:
    from engine.features.records import Observation


class LipWatch:
    """Holds the recogniser of each language that was asked for; one file at a time."""

    def __init__(self, load: Callable[[str], SoundRecogniser] = SoundRecogniser.load):
        self._load = load
        self._held: dict[str, SoundRecogniser] = {}

    def watch(
        self,
        seen: "Observation",
        language: str,
        on_step: OnStep = lambda name, completed, total: None,
    ) -> tuple[ArticulationReport, ...]:
        """Hold each face of an observation against the sound that it kept; ValueError where it kept none.

        LANGUAGE_UNKNOWN, RECOGNISER_MISSING.
        """
        if seen.heard.audio is None:
            raise ValueError("the sound of this observation was not kept: observe with `keep_audio`")
        if language not in self._held:
            self._held[language] = self._load(language)
        return check_faces(self._held[language], seen.heard.audio, seen.heard.voiced, seen.tracks, None, on_step)
