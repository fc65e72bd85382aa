"""Sampled ways of speaking: people who never were, as more speakers to learn from.

A manner is drawn for each of them, and what is said: syllables without a sense. `visemes.move_face` tells what mouth,
lids and head do then; how far the rest of a face goes along is learnt from real clips, and so is how that differs
between people. The motion is put on a still of one real clip after another, so that face and way of speaking vary
independently, and the fine unrest of real motion is laid over it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.facenets import BLENDSHAPES
from engine.manifest import Row
from engine.motion import N_MOTION, N_SHAPES
from engine.training.practices import (
    MAX_FRAMES,
    Practice,
    centre,
    find_unrest,
    learn_practice,
    read_handles,
)
from engine.training.recasts import recast
from engine.training.speakers import SpokenClip
from engine.training.visemes import Manner, Motion, draw_manner, move_face
from engine.training.voices import Phoneme
from engine.types import FPS

SOURCE = "puppet"
N_MATCHES = 4  # steps after which the reach changes by less than a hundredth

_ONSETS, _VOWELS, _CODAS = (
    "mbpfvtdnlszkɡwɹjʃθh",
    ("a", "æ", "ʌ", "ə", "ɛ", "ɪ", "i", "ɔ", "o", "u", "aɪ", "oʊ"),
    "mnltsdk",
)
_CODA_CHANCE, _PAUSE_CHANCE = 0.35, 0.06
_ONSET_SHARE, _CODA_SHARE = 0.35, 0.25  # of a syllable's time

_SIDES = np.zeros(N_MOTION)
"""1 where a number of a row tells of the left of the mouth, -1 where of its right."""
for _number, _name in enumerate(BLENDSHAPES):
    if _name.startswith("mouth"):
        _SIDES[_number] = _name.endswith("Left") - float(_name.endswith("Right"))


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """What one puppet does in one clip."""

    speaker: str
    habit: np.ndarray  # (K, 58)
    face: SpokenClip
    unrest: np.ndarray  # (T, 58): of a real face, what its handles do not tell
    motion: Motion


def make_puppets(clips: Sequence[SpokenClip], n_people: int, n_clips_each: int, seed: int) -> list[SpokenClip]:
    """Make up people from what the clips show, so many clips of each, every one with a real clip's face.

    Their rows are labelled `puppet` and name the clip whose face is seen. A puppet's clip has as many frames as the
    stretch whose unrest it shows, 40 at most. The same clips, numbers and seed give the same puppets.
    ValueError where there is no clip to learn from.
    """
    if not clips:
        raise ValueError("no clip to learn from")
    if not n_people:
        return []
    rng = np.random.default_rng([seed, 77])
    practice = learn_practice(clips)
    scenes = [scene for number in range(n_people) for scene in _stage(number, n_clips_each, clips, practice, rng)]
    units = _match_reach(scenes, practice.reach)
    return [_play(scene, units, practice.placing, rng) for scene in scenes]


def list_channels(motion: Motion) -> np.ndarray:
    """(T, K): a motion in the order of the handles, in units of its own."""
    ways = [motion.open.clip(0), (-motion.open).clip(0), motion.spread.clip(0), (-motion.spread).clip(0)]
    turns = motion.turn_deg[:, [1, 0, 2]]  # pitch, yaw, roll: a turn about x, y, z
    return np.column_stack([*ways, motion.tuck, motion.blink, turns, motion.shift])


def babble(seconds: float, syllables_per_s: float, rng: np.random.Generator) -> tuple[Phoneme, ...]:
    """Draw syllables and pauses without a sense, from 0 to `seconds` at least."""
    said: list[Phoneme] = []
    at = 0.0
    while at < seconds:
        lasts = float(np.exp(rng.normal(0, 0.25))) / syllables_per_s
        coda = _CODA_SHARE * (rng.random() < _CODA_CHANCE)
        sounds = (
            (str(rng.choice(list(_ONSETS))), _ONSET_SHARE * lasts),
            (str(rng.choice(_VOWELS)), (1 - _ONSET_SHARE - coda) * lasts),
            (str(rng.choice(list(_CODAS))), coda * lasts),
            ("", rng.uniform(0.15, 0.6) * (rng.random() < _PAUSE_CHANCE)),
        )
        for name, length in sounds:
            if length:
                said.append(Phoneme(name, at, at + length))
                at += length
    return tuple(said)


def _stage(
    number: int, n_clips: int, clips: Sequence[SpokenClip], practice: Practice, rng: np.random.Generator
) -> Iterator[_Scene]:
    """Make up one person, and what they do in so many clips."""
    manner, habit = draw_manner(rng), practice.draw_habit(rng)
    for _ in range(n_clips):
        face, real = (clips[int(rng.integers(len(clips)))] for _ in range(2))
        unrest = find_unrest(real.motion[:MAX_FRAMES], practice.follow)
        yield _Scene(f"{SOURCE} {number + 1}", habit, face, unrest, _act(manner, len(unrest), rng))


def _act(manner: Manner, n_frames: int, rng: np.random.Generator) -> Motion:
    said = babble(n_frames / FPS, manner.syllables_per_s, rng)
    return move_face(said, n_frames, replace(manner, seed=int(rng.integers(2**31))))


def _match_reach(scenes: Sequence[_Scene], reach: np.ndarray) -> np.ndarray:
    """(K,) handles per unit of each channel, so that puppets move as far as real faces do, all of them together.

    What handles do to each other and what unrest adds is not told beforehand: the units are found step by step.
    """
    channels = [centre(list_channels(scene.motion)) for scene in scenes]
    units = _divide(reach, np.concatenate(channels).std(0))
    for _ in range(N_MATCHES):
        moved = [_follow(scene, own, units) for scene, own in zip(scenes, channels, strict=True)]
        units = units * _divide(reach, np.concatenate([read_handles(one) for one in moved]).std(0))
    return units


def _follow(scene: _Scene, channels: np.ndarray, units: np.ndarray) -> np.ndarray:
    """(T, 58): how far each number of a row is off its mean, in the manner and with the habits of the scene."""
    moved: np.ndarray = channels * units @ scene.habit * (1 + scene.motion.skew * _SIDES) + scene.unrest
    return moved


def _play(scene: _Scene, units: np.ndarray, placing: np.ndarray, rng: np.random.Generator) -> SpokenClip:
    """Move the face of a scene."""
    moved = _follow(scene, centre(list_channels(scene.motion)), units)
    rest = scene.face.motion.mean(0).astype(np.float64)
    # A shape is never below 0. A higher rest harms less than a cut-off motion: the model takes the mean out.
    rest[:N_SHAPES] = np.maximum(rest, -moved.min(0))[:N_SHAPES]
    motion = rest + moved
    motion[:, :N_SHAPES] = np.minimum(motion[:, :N_SHAPES], 1)
    still = scene.face.still(int(rng.integers(len(scene.face.faces))))
    points = still.points + ((motion - rest) @ placing).reshape(len(motion), *still.points.shape)
    row = Row(scene.face.row.number, scene.face.row.path, label=SOURCE, speaker=scene.speaker, source=SOURCE)
    return SpokenClip(
        row=row,
        sha256=scene.face.sha256,
        speaker=scene.speaker,
        motion=motion.astype(np.float32),
        faces=recast(still, points, keep_shape=True),
    )


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Each by each, 0 where there is nothing to divide by."""
    found: np.ndarray = np.where(below > 0, above / np.where(below > 0, below, 1), 0)
    return found
