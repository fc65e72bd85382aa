"""How the parts of a face move together, learnt from real clips: what goes along with the jaw, and how people differ.

A row of `motion.describe_motion` has 58 numbers, of which few are moved at will. Those are the handles; the others
follow them by least squares, more or less so in each person, and the points of the upright face follow the row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from engine.facenets import BLENDSHAPES
from engine.motion import N_SHAPES
from engine.training.speakers import SpokenClip

SHAPE_HANDLES: tuple[tuple[str, ...], ...] = (
    ("jawOpen",),
    ("mouthPressLeft", "mouthPressRight"),
    ("mouthSmileLeft", "mouthSmileRight"),
    ("mouthPucker",),
    ("mouthRollLower",),
    ("eyeBlinkLeft", "eyeBlinkRight"),
)
"""Blendshapes whose means are handles."""
N_TURNS = 5  # numbers of the head's pose that are handles too: its turn and its place
UNREST_SIGMA = np.array([1.0] * len(SHAPE_HANDLES) + [4.0] * N_TURNS)  # frames: what is quicker is unrest

MAX_FRAMES = 40  # of a stretch whose mean is its rest
SAMPLED = 50  # frames of each clip that are learnt from, as for the bases
MIN_KNOWN = 250  # frames of a person from which their habits are learnt
SHRINKAGE = 0.3  # of habits towards what all do, as a share of the handles' variance
RIDGE = 0.01  # of the map from rows to points, as a share of the rows' variance
MAX_VIGOUR = 1.0  # e times further, or less far, than others, at most
TINY = 1e-6


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


def learn_practice(clips: Sequence[SpokenClip]) -> Practice:
    """Fit by least squares, within clips, what goes along with what."""
    kept = [slice(None, None, max(1, len(clip.motion) // SAMPLED)) for clip in clips]
    rows = [centre(clip.motion[own]) for clip, own in zip(clips, kept, strict=True)]
    points = [
        centre(clip.faces.points[own].reshape(len(one), -1)) for clip, own, one in zip(clips, kept, rows, strict=True)
    ]
    moved = np.concatenate(rows)
    handles = read_handles(moved)
    reach = np.concatenate([centre(read_handles(clip.motion[:MAX_FRAMES])) for clip in clips]).std(0)
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
    shapes = [rows[:, [BLENDSHAPES.index(name) for name in names]].mean(1) for names in SHAPE_HANDLES]
    return np.column_stack([*shapes, rows[:, N_SHAPES : N_SHAPES + N_TURNS]])


def find_unrest(motion: np.ndarray, follow: np.ndarray) -> np.ndarray:
    """(T, 58): what is left of a real face's motion when all that goes along with its handles' slow part is gone."""
    rows = centre(motion)
    handles = read_handles(rows)
    slow = [gaussian_filter1d(one, sigma) for one, sigma in zip(handles.T, UNREST_SIGMA, strict=True)]
    return centre(rows - np.column_stack(slow) @ follow)


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


def centre(rows: np.ndarray) -> np.ndarray:
    """Less their mean over time, in double precision."""
    rows = rows.astype(np.float64)
    centred: np.ndarray = rows - rows.mean(0)
    return centred
