"""Recognise phonemes and their times in the audio with CMU PocketSphinx and its English model.

The recogniser uses a phone language model and no lexicon (`allphone` mode, without probabilities): it is fast and often
wrong. A lexicon takes two and a half times as long and discriminates own from other speech no better, see
docs/phonemes.md. The model is of US English; other languages are refused rather than recognised as English.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import numpy as np

from engine.errors import Code
from engine.types import FPS, SAMPLES_PER_FRAME, OnStep

if TYPE_CHECKING:
    from pocketsphinx import Decoder

LANGUAGES = {"en": "English"}
SPHINX_FPS = 100  # frame rate of the recogniser
MAX_PAUSE_S = 1.0  # a longer pause separates utterances
MAX_UTTERANCE_S = 20.0  # recognised at once; memory grows with it
PAD_S = 0.2  # of audio before and after speech, in which the recogniser settles
MAX_SOUND_S = 0.6  # no phoneme lasts longer: a recognition error
NOISES = ("SIL", "+")  # prefixes of non-speech names


@dataclass(frozen=True, slots=True)
class Sound:
    """One recognised phoneme."""

    name: str  # ARPAbet: M, B, P, W, UW ...
    start_s: float
    end_s: float


class SoundRecogniser:
    """Phoneme recogniser of one language; run one `recognise` at a time."""

    def __init__(self, decoder: "Decoder", language: str):
        self._decoder, self.language = decoder, language

    @classmethod
    def load(cls, language: str = "en") -> Self:
        """Load the model of an ISO 639-1 language; raises LANGUAGE_UNKNOWN or RECOGNISER_MISSING."""
        check_language(language)
        try:
            from pocketsphinx import Decoder, get_model_path
        except ImportError as cause:
            raise Code.RECOGNISER_MISSING(
                "Speech sounds need pocketsphinx, which is not installed.", "Run: pip install pocketsphinx"
            ) from cause
        model = get_model_path("en-us")
        decoder = Decoder(
            hmm=f"{model}/en-us",
            allphone=f"{model}/en-us-phone.lm.bin",
            lw=2.0,  # weight of the phone language model and beams: as in the tutorial of PocketSphinx
            beam=1e-20,
            pbeam=1e-20,
            loglevel="FATAL",
        )
        return cls(decoder, language)

    def recognise(
        self, audio: np.ndarray, voiced: np.ndarray, on_step: OnStep = lambda name, completed, total: None
    ) -> tuple[Sound, ...]:
        """Return the phonemes in order, without noises, on the clock of `audio` (640 T,) float32 at 16 kHz.

        `voiced` (T,) bool marks the frames with speech; only these are recognised.
        """
        found: list[Sound] = []
        utterances = split_utterances(voiced)
        for done, (start, end) in enumerate(utterances):
            on_step("sounds", done, len(utterances))
            found += self._recognise_utterance(audio[start * SAMPLES_PER_FRAME : end * SAMPLES_PER_FRAME], start / FPS)
        on_step("sounds", len(utterances), len(utterances))
        return tuple(found)

    def _recognise_utterance(self, audio: np.ndarray, start_s: float) -> list[Sound]:
        pcm = np.round(np.clip(audio, -1, 1) * np.iinfo(np.int16).max).astype(np.int16)
        self._decoder.reinit_feat()  # resets the noise estimate, so that results do not depend on earlier utterances
        self._decoder.start_utt()
        self._decoder.process_raw(pcm.tobytes(), full_utt=True)
        self._decoder.end_utt()
        return [
            Sound(part.word, start_s + part.start_frame / SPHINX_FPS, start_s + (part.end_frame + 1) / SPHINX_FPS)
            for part in self._decoder.seg() or ()
            if not part.word.startswith(NOISES) and part.end_frame - part.start_frame < MAX_SOUND_S * SPHINX_FPS
        ]


def check_language(language: str) -> None:
    """Raise LANGUAGE_UNKNOWN for a language without a model."""
    if language not in LANGUAGES:
        known = ", ".join(f"{code} ({name})" for code, name in LANGUAGES.items())
        raise Code.LANGUAGE_UNKNOWN(
            f"The sounds of the language {language!r} are not known, only those of {known}.",
            "Leave the speech sounds out: those of another language would be recognised as English.",
        )


def split_utterances(voiced: np.ndarray) -> list[tuple[int, int]]:
    """Split a clip into utterances of at most 20 s: (first frame, frame after the last), in order.

    Utterances end in pauses, and within speech only if it lasts longer than that.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], voiced, [False]]).astype(np.int8)))
    joined: list[list[int]] = []
    for start, end in edges.reshape(-1, 2).tolist():
        pause = start - joined[-1][1] if joined else 0
        if joined and pause <= MAX_PAUSE_S * FPS and end - joined[-1][0] <= _longest():
            joined[-1][1] = end
        else:
            joined.append([start, end])
    pad, pieces = round(PAD_S * FPS), [piece for start, end in joined for piece in _cut(start, end)]
    bounds = [0, *((one[1] + other[0]) // 2 for one, other in pairwise(pieces)), len(voiced)]
    return (
        [
            (max(start - pad, first), min(end + pad, last))
            for (start, end), (first, last) in zip(pieces, pairwise(bounds), strict=True)
        ]
        if pieces
        else []
    )


def _longest() -> int:
    return round((MAX_UTTERANCE_S - 2 * PAD_S) * FPS)


def _cut(start: int, end: int) -> list[tuple[int, int]]:
    """Split a segment evenly into pieces below the limit."""
    marks = np.linspace(start, end, -(-(end - start) // _longest()) + 1).round().astype(int).tolist()
    return list(pairwise(marks))
