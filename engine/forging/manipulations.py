"""Plan manipulations: face, mouth or voice of another person, or the own voice shifted in time.

The motion is that of `source`; `other` is the donor.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from engine.errors import NotForgeable
from engine.forging.audio import match_level, replace_segment, shift_sound, synthesise_speech
from engine.forging.edits import edit_by_other, need_sound
from engine.forging.face_swap import Donor, count_shared, match_colours, place_donor, swap_face, swap_mouth
from engine.forging.kinds import Forgery, Kind, check_other_person, describe
from engine.forging.reenactment import Reenactment, cut_mouths
from engine.forging.source_clips import MIN_S, SourceClip, check_donor
from engine.synthesis.portrait import OVAL
from engine.types import SAMPLE_RATE

EDIT_S = 1.0  # length of a partial edit
SYNTHETIC = "synthetic"


def swap(kind: Kind, source: SourceClip, other: SourceClip, chance: np.random.Generator) -> Forgery:
    """Plan a forgery with the donor `other`.

    Raises NotForgeable where both are, or could be, one person, and where a clip is unusable.
    """
    check_source(kind, source)
    check_other_person(source.row, other.row)
    if kind in _FACES:
        check_donor(other)
    return (_FACES | _VOICES)[kind](source, other, chance)


def check_source(kind: Kind, source: SourceClip) -> None:
    """Raise NotForgeable where a clip is unusable with any donor."""
    if kind in _FACES:
        source.check_frontal()
    if kind in (Kind.PARTIAL_AUDIO, Kind.EDIT_OTHER):
        need_sound(source)
    if kind in (Kind.PARTIAL_FACE, Kind.PARTIAL_AUDIO) and source.seconds < 2 * EDIT_S:
        raise NotForgeable(
            f"{source.row.written} lasts {source.seconds:.2f} s; an edit of {EDIT_S:g} s needs {2 * EDIT_S:g} s."
        )


def shift_audio(source: SourceClip, offset_s: float) -> Forgery:
    """Plan the clip with its audio `offset_s` late; NotForgeable without audio, or for too short a clip."""
    sound = shift_sound(need_sound(source), offset_s)
    if not sound.present.any():
        raise NotForgeable(f"{source.row.written} is too short for a shift of {offset_s:g} s.")
    return replace(describe(Kind.TIME_SHIFT, source), sound=sound, offset_s=offset_s)


def replace_voice(source: SourceClip, chance: np.random.Generator) -> Forgery:
    """Plan the clip with synthetic speech of another text; EngineError without the synthesiser."""
    sound, name = synthesise_speech(round(source.seconds * SAMPLE_RATE), chance)
    plain = describe(Kind.VOICE_OVER, source)
    return replace(plain, voice=SYNTHETIC, sound=match_level(sound, source.sound), detail=f"voice {name}")


def _swap_face(source: SourceClip, other: SourceClip, chance: np.random.Generator) -> Forgery:
    donor = Donor(other.still, other.shape)
    plain = describe(Kind.FACE_SWAP, source)
    return replace(
        plain,
        face=other.row,
        donor=other.row,
        outlines=plain.outlines + list(place_donor(source, donor)[:, OVAL, :2]),
        draw=lambda: swap_face(source, donor),
    )


def _swap_part_of_face(source: SourceClip, other: SourceClip, chance: np.random.Generator) -> Forgery:
    start, end = _draw_part(source, chance)
    donor, span = Donor(other.still, other.shape), range(round(start * source.rate), round(end * source.rate))
    plain = describe(Kind.PARTIAL_FACE, source)
    return replace(
        plain,
        donor=other.row,
        outlines=plain.outlines + list(place_donor(source, donor)[:, OVAL, :2]),
        draw=lambda: swap_face(source, donor, span),
        edit_s=(start, end),
        detail=f"face of {other.row.speaker} in the edit",
    )


def _reenact(source: SourceClip, other: SourceClip, chance: np.random.Generator) -> Forgery:
    mouths = cut_mouths(source, match_colours(source.still, other.still))
    performance = Reenactment(other.still, source.motion, mouths, np.arange(len(source)))
    return replace(
        describe(Kind.REENACTMENT, source),
        face=other.row,
        donor=other.row,
        size_px=other.size_px,
        outlines=performance.outline_face(),
        draw=performance.draw,
    )


def _swap_mouth(source: SourceClip, other: SourceClip, chance: np.random.Generator) -> Forgery:
    seconds = float(count_shared(other, source) / other.rate)
    _check_shared(source, other, seconds)
    return replace(
        describe(Kind.MOUTH_SWAP, other),
        driver=source.row,
        donor=other.row,
        draw=lambda: swap_mouth(other, source),
        sound=other.sound and other.sound.cut(0, round(seconds * SAMPLE_RATE)),
    )


def _swap_audio(source: SourceClip, other: SourceClip, chance: np.random.Generator) -> Forgery:
    foreign, count = need_sound(other), int(min(source.seconds, other.seconds) * source.rate)
    _check_shared(source, other, float(count / source.rate))
    return replace(
        describe(Kind.AUDIO_SWAP, source),
        voice=other.row.speaker,
        donor=other.row,
        draw=lambda: itertools.islice(source.read_images(), count),
        sound=match_level(foreign.cut(0, round(count / source.rate * SAMPLE_RATE)), source.sound),
    )


def _swap_part_of_audio(source: SourceClip, other: SourceClip, chance: np.random.Generator) -> Forgery:
    own, foreign = need_sound(source), need_sound(other)
    start, end = _draw_part(source, chance)
    if other.seconds < EDIT_S:
        raise NotForgeable(f"{other.row.written} is shorter than the edit of {EDIT_S:g} s.")
    first = round((chance.uniform(0, other.seconds - EDIT_S) - start) * SAMPLE_RATE)
    patch = match_level(foreign.cut(first, len(own.samples)), own)
    return replace(
        describe(Kind.PARTIAL_AUDIO, source),
        donor=other.row,
        sound=replace_segment(own, patch, start, end),
        edit_s=(start, end),
        detail=f"voice of {other.row.speaker} in the edit",
    )


def _draw_part(source: SourceClip, chance: np.random.Generator) -> tuple[float, float]:
    """Draw a segment of EDIT_S, in seconds."""
    start = float(round(chance.uniform(0, source.seconds - EDIT_S) * source.rate) / source.rate)
    return start, start + EDIT_S


def _check_shared(source: SourceClip, other: SourceClip, seconds: float) -> None:
    if seconds < MIN_S:
        raise NotForgeable(f"{source.row.written} and {other.row.written} have less than {MIN_S:g} s in common.")


_FACES: dict[Kind, Callable[[SourceClip, SourceClip, np.random.Generator], Forgery]] = {
    Kind.FACE_SWAP: _swap_face,
    Kind.PARTIAL_FACE: _swap_part_of_face,
    Kind.REENACTMENT: _reenact,
    Kind.MOUTH_SWAP: _swap_mouth,
}
_VOICES: dict[Kind, Callable[[SourceClip, SourceClip, np.random.Generator], Forgery]] = {
    Kind.AUDIO_SWAP: _swap_audio,
    Kind.PARTIAL_AUDIO: _swap_part_of_audio,
    Kind.EDIT_OTHER: edit_by_other,
}
