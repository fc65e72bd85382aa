"""Synthesise speech with phoneme times by eSpeak NG, from the library and data of a wheel.

eSpeak NG (GPL-3.0-or-later) is a tool of set-up and training, imported on first use; our code contains none of it.
"""

import ctypes
import threading
from dataclasses import dataclass
from functools import cache

import numpy as np

from engine.errors import EngineError

_RETRIEVAL, _SYNCHRONOUS_CHUNK_MS = 1, 200
_PHONEME_EVENTS, _IPA, _NO_EXIT = 0x1, 0x2, 0x8000  # espeak_Initialize's options
_RATE, _PITCH, _PITCH_RANGE = 1, 3, 4  # espeak_SetParameter's names
_END_OF_LIST, _PHONEME = 0, 7  # espeak_EVENT_TYPE
_UTF8 = 1
_ONE_AT_A_TIME = threading.Lock()  # the library keeps one global state


@dataclass(frozen=True, slots=True)
class Voice:
    """An eSpeak NG voice, such as `en-us+f3`, with rate and pitch."""

    name: str = "en-us+f3"
    words_per_minute: int = 150
    pitch: int = 55  # 0 to 100, 50: default of the voice
    pitch_range: int = 60  # 0 monotone to 100


@dataclass(frozen=True, slots=True)
class Phoneme:
    """One phoneme in IPA; an empty name is a pause."""

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    """Audio and phonemes on one clock with zero at the first sample."""

    audio: np.ndarray  # (N,) float32 in [-1, 1]
    rate_hz: int
    phonemes: tuple[Phoneme, ...]  # in order, without gaps

    @property
    def duration_s(self) -> float:
        """Duration of the audio."""
        return len(self.audio) / self.rate_hz


def speak(text: str, voice: Voice | None = None) -> Speech:
    """Synthesise a text.

    The library keeps state between calls: equal calls in equal order return equal samples; in another order the phoneme
    times differ by some tenths of a millisecond.
    """
    voice = voice or Voice()
    library, rate_hz = _load_library()
    with _ONE_AT_A_TIME:
        _choose_voice(library, voice)
        sound, marks = _synthesise(library, text)
    audio = sound.astype(np.float32) / 32768.0
    return Speech(audio, rate_hz, _close_phonemes(marks, len(audio), rate_hz))


def pause(seconds: float, rate_hz: int) -> Speech:
    """Return silence as speech."""
    return Speech(np.zeros(round(seconds * rate_hz), np.float32), rate_hz, (Phoneme("", 0.0, seconds),))


def join(parts: list[Speech]) -> Speech:
    """Concatenate speech of one sampling rate."""
    rate_hz, sounds, phonemes, before = parts[0].rate_hz, [], [], 0
    for part in parts:
        if part.rate_hz != rate_hz:
            raise ValueError(f"a part has {part.rate_hz} Hz, expected {rate_hz} Hz")
        shift = before / rate_hz
        phonemes += [Phoneme(p.name, p.start_s + shift, p.end_s + shift) for p in part.phonemes]
        sounds.append(part.audio)
        before += len(part.audio)
    return Speech(np.concatenate(sounds), rate_hz, tuple(phonemes))


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """`espeak_EVENT` of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@cache
def _load_library() -> tuple[ctypes.CDLL, int]:
    """Initialise the library once per process; return it and its sampling rate in Hz."""
    try:
        import espeakng_loader
    except ImportError as cause:
        raise EngineError(
            "The speech synthesiser eSpeak NG is not installed.", "Run `pip install 'wayspeak[examples]'`."
        ) from cause
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = espeakng_loader.get_data_path().encode()
    options = _PHONEME_EVENTS | _IPA | _NO_EXIT
    rate_hz = library.espeak_Initialize(_RETRIEVAL, _SYNCHRONOUS_CHUNK_MS, data, options)
    if rate_hz <= 0:
        raise EngineError("eSpeak NG did not start from its wheel.", "Reinstall it: `pip install espeakng-loader`.")
    return library, rate_hz


def _choose_voice(library: ctypes.CDLL, voice: Voice) -> None:
    if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
        raise ValueError(f"eSpeak NG has no voice {voice.name!r}")
    library.espeak_SetParameter(_RATE, voice.words_per_minute, 0)
    library.espeak_SetParameter(_PITCH, voice.pitch, 0)
    library.espeak_SetParameter(_PITCH_RANGE, voice.pitch_range, 0)


def _synthesise(library: ctypes.CDLL, text: str) -> tuple[np.ndarray, list[tuple[str, int]]]:
    """Return (N,) int16 samples and each phoneme name with its first sample."""
    chunks: list[np.ndarray] = []
    marks: list[tuple[str, int]] = []

    def receive(wave: "ctypes._Pointer[ctypes.c_short]", length: int, events: "ctypes._Pointer[_Event]") -> int:
        if wave and length:
            chunks.append(np.ctypeslib.as_array(wave, (length,)).copy())
        index = 0
        while events[index].type != _END_OF_LIST:
            if events[index].type == _PHONEME:
                marks.append((events[index].id.string.decode("utf-8", "ignore"), events[index].sample))
            index += 1
        return 0

    callback = _Callback(receive)
    library.espeak_SetSynthCallback(callback)
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    encoded = text.encode()
    library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded) + 1), 0, 0, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    if not chunks:
        raise ValueError(f"nothing to say in {text!r}")
    return np.concatenate(chunks), marks


def _close_phonemes(marks: list[tuple[str, int]], n_samples: int, rate_hz: int) -> tuple[Phoneme, ...]:
    """Build phonemes from each mark to the next, without stress marks and empty ones."""
    edges = [min(sample, n_samples) for _, sample in marks] + [n_samples]
    named = [
        (name.strip("ˈˌ"), a / rate_hz, b / rate_hz) for (name, _), a, b in zip(marks, edges, edges[1:], strict=False)
    ]
    lead = [Phoneme("", 0.0, edges[0] / rate_hz)] if edges[0] > 0 else []
    return tuple(lead + [Phoneme(name, a, b) for name, a, b in named if b > a])
