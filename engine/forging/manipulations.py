"""Plan manipulations: face, mouth or voice of another person, or the own voice shifted in time.

The motion is that of `take`; `other` is the donor.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from engine.errors import NotForgeable
from engine.forging.audio import SpeechClip, match_level, replace_segment, shift_sound, synthesise_speech
from engine.forging.face_swap import Donor, count_shared, match_colours, place_donor, swap_face, swap_mouth
from engine.forging.kinds import Forgery, Kind, check_other_person, describe
from engine.forging.reenactment import Reenactment, cut_mouths
from engine.forging.source_clips import MIN_S, SourceClip, check_donor
from engine.synthesis.portrait import OVAL
from engine.types import SAMPLE_RATE

EDIT_S = 1.0  # length of a partial edit
SYNTHETIC = "synthetic"


def swap(kind: Kind, take: SourceClip, other: SourceClip, chance: np.random.Generator) -> Forgery:
    """Plan a forgery with the donor `other`.

    Raises NotForgeable where both are, or could be, one person, and where a clip is unusable.
    """
    check_source(kind, take)
    check_other_person(take.row, other.row)
    if kind in _FACES:
        check_donor(other)
    return (_FACES | _VOICES)[kind](take, other, chance)


def check_source(kind: Kind, take: SourceClip) -> None:
    """Raise NotForgeable where a clip is unusable with any donor."""
    if kind in _FACES:
        take.check_frontal()
    if kind == Kind.PARTIAL_AUDIO:
        _need_sound(take)
    if kind in (Kind.PARTIAL_FACE, Kind.PARTIAL_AUDIO) and take.seconds < 2 * EDIT_S:
        raise NotForgeable(
            f"{take.row.written} lasts {take.seconds:.2f} s; an edit of {EDIT_S:g} s needs {2 * EDIT_S:g} s."
        )


def shift_audio(take: SourceClip, offset_s: float) -> Forgery:
    """Plan the clip with its audio `offset_s` late; NotForgeable without audio, or for too short a clip."""
    sound = shift_sound(_need_sound(take), offset_s)
    if not sound.present.any():
        raise NotForgeable(f"{take.row.written} is too short for a shift of {offset_s:g} s.")
    return replace(describe(Kind.TIME_SHIFT, take), sound=sound, offset_s=offset_s)


def replace_voice(take: SourceClip, chance: np.random.Generator) -> Forgery:
    """Plan the clip with synthetic speech of another text; EngineError without the synthesiser."""
    sound, name = synthesise_speech(round(take.seconds * SAMPLE_RATE), chance)
    plain = describe(Kind.VOICE_OVER, take)
    return replace(plain, voice=SYNTHETIC, sound=match_level(sound, take.sound), detail=f"voice {name}")


def _swap_face(take: SourceClip, other: SourceClip, chance: np.random.Generator) -> Forgery:
    donor = Donor(other.still, other.shape)
    plain = describe(Kind.FACE_SWAP, take)
    return replace(
        plain,
        face=other.row,
        donor=other.row,
        outlines=plain.outlines + list(place_donor(take, donor)[:, OVAL, :2]),
        draw=lambda: swap_face(take, donor),
    )


def _swap_part_of_face(take: SourceClip, other: SourceClip, chance: np.random.Generator) -> Forgery:
    start, end = _draw_part(take, chance)
    donor, span = Donor(other.still, other.shape), range(round(start * take.rate), round(end * take.rate))
    plain = describe(Kind.PARTIAL_FACE, take)
    return replace(
        plain,
        donor=other.row,
        outlines=plain.outlines + list(place_donor(take, donor)[:, OVAL, :2]),
        draw=lambda: swap_face(take, donor, span),
        edit_s=(start, end),
        detail=f"face of {other.row.speaker} in the edit",
    )


def _reenact(take: SourceClip, other: SourceClip, chance: np.random.Generator) -> Forgery:
    mouths = cut_mouths(take, match_colours(take.still, other.still))
    performance = Reenactment(other.still, take.motion, mouths, np.arange(len(take)))
    return replace(
        describe(Kind.REENACTMENT, take),
        face=other.row,
        donor=other.row,
        size_px=other.size_px,
        outlines=performance.outline_face(),
        draw=performance.draw,
    )


def _swap_mouth(take: SourceClip, other: SourceClip, chance: np.random.Generator) -> Forgery:
    seconds = float(count_shared(other, take) / other.rate)
    _check_shared(take, other, seconds)
    return replace(
        describe(Kind.MOUTH_SWAP, other),
        driver=take.row,
        donor=other.row,
        draw=lambda: swap_mouth(other, take),
        sound=other.sound and other.sound.cut(0, round(seconds * SAMPLE_RATE)),
    )


def _swap_audio(take: SourceClip, other: SourceClip, chance: np.random.Generator) -> Forgery:
    foreign, count = _need_sound(other), int(min(take.seconds, other.seconds) * take.rate)
    _check_shared(take, other, float(count / take.rate))
    return replace(
        describe(Kind.AUDIO_SWAP, take),
        voice=other.row.speaker,
        donor=other.row,
        draw=lambda: itertools.islice(take.read_images(), count),
        sound=match_level(foreign.cut(0, round(count / take.rate * SAMPLE_RATE)), take.sound),
    )


def _swap_part_of_audio(take: SourceClip, other: SourceClip, chance: np.random.Generator) -> Forgery:
    own, foreign = _need_sound(take), _need_sound(other)
    start, end = _draw_part(take, chance)
    if other.seconds < EDIT_S:
        raise NotForgeable(f"{other.row.written} is shorter than the edit of {EDIT_S:g} s.")
    first = round((chance.uniform(0, other.seconds - EDIT_S) - start) * SAMPLE_RATE)
    patch = match_level(foreign.cut(first, len(own.samples)), own)
    return replace(
        describe(Kind.PARTIAL_AUDIO, take),
        donor=other.row,
        sound=replace_segment(own, patch, start, end),
        edit_s=(start, end),
        detail=f"voice of {other.row.speaker} in the edit",
    )


def _draw_part(take: SourceClip, chance: np.random.Generator) -> tuple[float, float]:
    """Draw a segment of EDIT_S, in seconds."""
    start = float(round(chance.uniform(0, take.seconds - EDIT_S) * take.rate) / take.rate)
    return start, start + EDIT_S


def _need_sound(take: SourceClip) -> SpeechClip:
    if take.sound is None or not take.sound.present.any():
        raise NotForgeable(f"{take.row.written} has no sound while the face is seen.")
    return take.sound


def _check_shared(take: SourceClip, other: SourceClip, seconds: float) -> None:
    if seconds < MIN_S:
        raise NotForgeable(f"{take.row.written} and {other.row.written} have less than {MIN_S:g} s in common.")


_FACES: dict[Kind, Callable[[SourceClip, SourceClip, np.random.Generator], Forgery]] = {
    Kind.FACE_SWAP: _swap_face,
    Kind.PARTIAL_FACE: _swap_part_of_face,
    Kind.REENACTMENT: _reenact,
    Kind.MOUTH_SWAP: _swap_mouth,
}
_VOICES: dict[Kind, Callable[[SourceClip, SourceClip, np.random.Generator], Forgery]] = {
    Kind.AUDIO_SWAP: _swap_audio,
    Kind.PARTIAL_AUDIO: _swap_part_of_audio,
}
