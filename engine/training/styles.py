"""Sampled ways of speaking: people who never were, as more speakers to learn from.

A manner is drawn for each of them, and what is said: syllables without a sense. `visemes.move_face` tells what mouth,
lids and head do then; how far the rest of a face goes along is learnt from real clips, and so is how that differs
between people. The motion is put on a still of one real clip after another, so that face and way of speaking vary
independently, and the fine unrest of real motion is laid over it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from engine.facenets import BLENDSHAPES
from engine.manifest import Row
from engine.motion import N_MOTION, N_SHAPES
from engine.training.recasts import recast
from engine.training.speakers import SpokenClip
from engine.training.visemes import Manner, Motion, draw_manner, move_face
from engine.training.voices import Phoneme
from engine.types import FPS

SOURCE = "puppet"
MAX_FRAMES = 40  # of a puppet's clip, and never more than the real clip has whose unrest it shows
SAMPLED = 50  # frames of each clip that are learnt from, as for the bases
MIN_KNOWN = 250  # frames of a person from which their habits are learnt
SHRINKAGE = 0.3  # of habits towards what all do, as a share of the handles' variance
RIDGE = 0.01  # of the map from rows to points, as a share of the rows' variance
MAX_VIGOUR = 1.0  # e times further, or less far, than others, at most
N_MATCHES = 4  # steps after which the reach changes by less than a hundredth
TINY = 1e-6

_ONSETS, _VOWELS, _CODAS = (
    "mbpfvtdnlszkɡwɹjʃθh",
    ("a", "æ", "ʌ", "ə", "ɛ", "ɪ", "i", "ɔ", "o", "u", "aɪ", "oʊ"),
    "mnltsdk",
)
_CODA_CHANCE, _PAUSE_CHANCE = 0.35, 0.06
_ONSET_SHARE, _CODA_SHARE = 0.35, 0.25  # of a syllable's time

# What of a real face's row tells the same as each channel of `Motion`, in the order of `list_channels`.
_HANDLES: tuple[tuple[str, ...], ...] = (
    ("jawOpen",),
    ("mouthPressLeft", "mouthPressRight"),
    ("mouthSmileLeft", "mouthSmileRight"),
    ("mouthPucker",),
    ("mouthRollLower",),
    ("eyeBlinkLeft", "eyeBlinkRight"),
)
_QUICK = np.array([1.0] * len(_HANDLES) + [4.0] * 5)  # frames: sigma below which a handle's motion is unrest
_N_TURNS = 5  # yaw, pitch, roll and place: the head's pose without its size
N_HANDLES = len(_HANDLES) + _N_TURNS
_SIDES = np.array(
    [name.startswith("mouth") * (name.endswith("Left") - float(name.endswith("Right"))) for name in BLENDSHAPES]
    + [0.0] * (N_MOTION - N_SHAPES)
)


@dataclass(frozen=True, slots=True, eq=False)
class Practice:
    """How faces move together, learnt from real clips; rows are those of `describe_motion` less a clip's mean."""

    reach: np.ndarray  # (K,) deviation of the handles within clips
    follow: np.ndarray  # (K, 58): how a row goes along with one unit of each handle
    habits: np.ndarray  # (S, K, 58): what each of S people does differently
    vigour: np.ndarray  # (S, K): how much further each moves the handles than most do, as a logarithm
    placing: np.ndarray  # (58, 216): how far the points of the upright face go with a row, in pixels

    def draw_habit(self, rng: np.random.Generator) -> np.ndarray:
        """(K, 58): `follow` of somebody who differs from all others as people do, and resembles nobody."""
        weights = rng.normal(size=len(self.habits)) / max(1, len(self.habits)) ** 0.5
        gains = np.exp((weights @ self.vigour).clip(-MAX_VIGOUR, MAX_VIGOUR))
        habit: np.ndarray = gains[:, None] * (self.follow + np.tensordot(weights, self.habits, axes=1))
        return habit


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

    The same clips, numbers and seed give the same puppets. ValueError where there is no clip to learn from.
    """
    if not clips:
        raise ValueError("no clip to learn from")
    rng = np.random.default_rng([seed, 77])
    practice = learn_practice(clips)
    scenes = [scene for number in range(n_people) for scene in _stage(number, n_clips_each, clips, practice, rng)]
    units = _match_reach(scenes, practice.reach)
    return [_play(scene, units, practice.placing, rng) for scene in scenes]


def learn_practice(clips: Sequence[SpokenClip]) -> Practice:
    """Fit by least squares, within clips, what goes along with what."""
    kept = [slice(None, None, max(1, len(clip.motion) // SAMPLED)) for clip in clips]
    rows = [_centre(clip.motion[own]) for clip, own in zip(clips, kept, strict=True)]
    points = [_centre(clip.points[own].reshape(len(one), -1)) for clip, own, one in zip(clips, kept, rows, strict=True)]
    moved = np.concatenate(rows)
    handles = read_handles(moved)
    reach = np.concatenate([_centre(read_handles(clip.motion[:MAX_FRAMES])) for clip in clips]).std(0)
    follow = _regress(handles, moved, reach**2, 0.0)
    habits, vigour = _learn_habits(_gather_known(clips, rows), follow, reach)
    return Practice(
        reach=reach,
        follow=follow,
        habits=habits,
        vigour=vigour,
        placing=_regress(moved, np.concatenate(points), moved.var(0), RIDGE),
    )


def read_handles(rows: np.ndarray) -> np.ndarray:
    """(T, K): what a row (T, 58) tells of each channel of a motion, sides taken together."""
    shapes = [rows[:, [BLENDSHAPES.index(name) for name in names]].mean(1) for names in _HANDLES]
    return np.column_stack([*shapes, rows[:, N_SHAPES : N_SHAPES + _N_TURNS]])


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
        unrest = _find_unrest(real.motion[:MAX_FRAMES], practice.follow)
        yield _Scene(f"{SOURCE} {number + 1}", habit, face, unrest, _act(manner, len(unrest), rng))


def _act(manner: Manner, n_frames: int, rng: np.random.Generator) -> Motion:
    said = babble(n_frames / FPS, manner.syllables_per_s, rng)
    return move_face(said, n_frames, replace(manner, seed=int(rng.integers(2**31))))


def _match_reach(scenes: Sequence[_Scene], reach: np.ndarray) -> np.ndarray:
    """(K,) handles per unit of each channel, so that puppets move as far as real faces do, all of them together.

    What handles do to each other and what unrest adds is not told beforehand: the units are found step by step.
    """
    if not scenes:
        return np.zeros(N_HANDLES)
    channels = [_centre(list_channels(scene.motion)) for scene in scenes]
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
    moved = _follow(scene, _centre(list_channels(scene.motion)), units)
    rest = scene.face.motion.mean(0).astype(np.float64)
    rest[:N_SHAPES] = np.maximum(rest, -moved.min(0))[:N_SHAPES]  # a shape is never below 0
    motion = rest + moved
    motion[:, :N_SHAPES] = np.minimum(motion[:, :N_SHAPES], 1)
    still = scene.face.still(int(rng.integers(len(scene.face.pictures))))
    points = still.points + ((motion - rest) @ placing).reshape(len(motion), *still.points.shape)
    row = Row(scene.face.row.number, scene.face.row.path, label=SOURCE, speaker=scene.speaker, source=SOURCE)
    return SpokenClip(
        row=row,
        sha256=scene.face.sha256,
        speaker=scene.speaker,
        motion=motion.astype(np.float32),
        pictures=recast(still, points, keep_shape=True),
        points=points.astype(np.float32),
    )


def _find_unrest(motion: np.ndarray, follow: np.ndarray) -> np.ndarray:
    """(T, 58): what is left of a real face's motion when all that goes along with its handles' slow part is gone."""
    rows = _centre(motion)
    handles = read_handles(rows)
    slow = [gaussian_filter1d(one, sigma) for one, sigma in zip(handles.T, _QUICK, strict=True)]
    return _centre(rows - np.column_stack(slow) @ follow)


def _gather_known(clips: Sequence[SpokenClip], rows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """(N, 58) of each person of whom enough is known."""
    own: dict[str, list[np.ndarray]] = {}
    for clip, one in zip(clips, rows, strict=True):
        own.setdefault(clip.speaker, []).append(one)
    return [np.concatenate(parts) for parts in own.values() if sum(map(len, parts)) >= MIN_KNOWN]


def _learn_habits(known: Sequence[np.ndarray], follow: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S, K, 58) and (S, K): by how much each one's `follow` differs, and how much further they move."""
    if not known:
        return np.zeros((0, *follow.shape)), np.zeros((0, len(follow)))
    handles = [read_handles(one) for one in known]
    habits = [_regress(own, one - own @ follow, reach**2, SHRINKAGE) for own, one in zip(handles, known, strict=True)]
    amplitudes = np.log(np.stack([own.std(0) for own in handles]) + TINY)
    return np.stack(habits), amplitudes - amplitudes.mean(0)


def _regress(given: np.ndarray, wanted: np.ndarray, variance: np.ndarray, ridge: float) -> np.ndarray:
    """(K, F): ridge regression of (N, F) on (N, K); `ridge` is a share of the variance (K,) of each given number."""
    weight = len(given) * (ridge * variance + TINY * variance.max() + TINY**2)
    fitted: np.ndarray = np.linalg.solve(given.T @ given + np.diag(weight), given.T @ wanted)
    return fitted


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Each by each, 0 where there is nothing to divide by."""
    found: np.ndarray = np.where(below > 0, above / np.where(below > 0, below, 1), 0)
    return found


def _centre(rows: np.ndarray) -> np.ndarray:
    """Less their mean over time, in double precision."""
    rows = rows.astype(np.float64)
    centred: np.ndarray = rows - rows.mean(0)
    return centred
