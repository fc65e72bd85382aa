"""Edits with known borders: another voice, another sentence of the same person or synthetic speech for some seconds."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from engine.errors import NotForgeable
from engine.forging.audio import FADE_S, SpeechClip, match_level, replace_segment, synthesise_speech
from engine.forging.kinds import Forgery, Kind, describe
from engine.forging.source_clips import SourceClip
from engine.types import SAMPLE_RATE

EDITS_S = (1.0, 2.0, 3.0, 5.0)  # lengths; one that fits is drawn
FADES_S = (FADE_S, 0.2)  # at both borders, centred on them; one is drawn
REST_S = 2.0  # of the own voice that an edit leaves

Patch = tuple[SpeechClip, str]
"""Audio on the clock of the clip, and what it is."""


def edit_by_other(source: SourceClip, other: SourceClip, chance: np.random.Generator) -> Forgery:
    """Plan an edit with the voice of another person; NotForgeable where either clip is too short."""

    def draw(own: SpeechClip, start_s: float, length_s: float) -> Patch:
        foreign = need_sound(other)
        if other.seconds < length_s:
            raise NotForgeable(f"{other.row.written} is shorter than the edit of {length_s:g} s.")
        return _move(foreign, chance.uniform(0, other.seconds - length_s), start_s), f"voice of {other.row.speaker}"

    return replace(_edit(Kind.EDIT_OTHER, source, draw, chance), donor=other.row)


def edit_by_same(source: SourceClip, chance: np.random.Generator) -> Forgery:
    """Plan an edit with another part of the same recording; NotForgeable where it is too short for that."""

    def draw(own: SpeechClip, start_s: float, length_s: float) -> Patch:
        parts = [(0.0, start_s - length_s), (start_s + length_s, source.seconds - length_s)]  # where it may begin
        fitting = [part for part in parts if part[1] >= part[0]]
        from_s = float(chance.uniform(*fitting[int(chance.integers(len(fitting)))]))
        return _move(own, from_s, start_s), f"own voice from {from_s:.2f} s on"

    return _edit(Kind.EDIT_SAME, source, draw, chance, times=3.0)


def edit_by_synthesis(source: SourceClip, chance: np.random.Generator) -> Forgery:
    """Plan an edit with synthetic speech; EngineError without the synthesiser."""

    def draw(own: SpeechClip, start_s: float, length_s: float) -> Patch:
        sound, name = synthesise_speech(round(length_s * SAMPLE_RATE) + SAMPLE_RATE, chance)
        return _move(sound, 0.5, start_s), f"voice {name}"

    return _edit(Kind.EDIT_SYNTHETIC, source, draw, chance)


def need_sound(source: SourceClip) -> SpeechClip:
    """Return the audio; NotForgeable without any."""
    if source.sound is None or not source.sound.present.any():
        raise NotForgeable(f"{source.row.written} has no sound while the face is seen.")
    return source.sound


def _edit(
    kind: Kind,
    source: SourceClip,
    draw: Callable[[SpeechClip, float, float], Patch],
    chance: np.random.Generator,
    times: float = 1.0,
) -> Forgery:
    """Draw length, place and fade, match the level, and replace the audio; a clip has to last `times` its edit."""
    own = need_sound(source)
    lengths = [length for length in EDITS_S if source.seconds >= max(length + REST_S, times * length)]
    if not lengths:
        raise NotForgeable(
            f"{source.row.written} lasts {source.seconds:.2f} s; an edit of {EDITS_S[0]:g} s needs "
            f"{EDITS_S[0] + REST_S:g} s."
        )
    length_s, fade_s = float(chance.choice(lengths)), float(chance.choice(FADES_S))
    start_s = float(round(chance.uniform(0, source.seconds - length_s) * source.rate) / source.rate)
    patch, what = draw(own, start_s, length_s)
    sound = replace_segment(own, match_level(patch, own), start_s, start_s + length_s, fade_s)
    detail = f"{what} in the edit, fades of {fade_s:g} s"
    return replace(describe(kind, source), sound=sound, edit_s=(start_s, start_s + length_s), detail=detail)


def _move(sound: SpeechClip, from_s: float, to_s: float) -> SpeechClip:
    """Shift audio so that its time `from_s` comes at `to_s`; its length ends with the audio."""
    first = round((from_s - to_s) * SAMPLE_RATE)
    return sound.cut(first, max(0, len(sound.samples) - first))
