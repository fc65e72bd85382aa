"""Of several faces, whose lips fit the sound when: a help for the eye, which no result depends on. Pure."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from engine.consistency.gates import GateOptions
from engine.consistency.model_specs import SPECS
from engine.types import Model, TrackReport

STEP_S = 0.2
AROUND_S = 2.0  # windows with their middle so near count: six seconds, for which the gate's bounds were measured
NOBODY = -1
Turn = tuple[float, float]
"""Start and end in seconds."""


def find_turns(
    tracks: Sequence[TrackReport], model: Model, options: GateOptions | None = None
) -> list[list[Turn]] | None:
    """Give each face's runs in which it alone fits the sound clearly, by the bounds of the gate MULTI_FACE.

    None where there is nothing to choose between, or where the model has no such bounds.
    """
    if len(tracks) < 2 or not SPECS[model].names_speaker:
        return None
    options = options or GateOptions()
    n_steps = int(np.ceil(max(track.end_s for track in tracks) / STEP_S))
    times = (np.arange(n_steps) + 0.5) * STEP_S
    scores = np.array([_follow(track, times) for track in tracks])  # (faces, steps), -inf where nothing is known
    ranked = np.sort(scores, axis=0)
    best, second = ranked[-1], ranked[-2]
    clear = (best >= options.clear_score) & (best - np.where(np.isfinite(second), second, -1.0) >= options.clear_margin)
    speaker = np.where(clear, scores.argmax(0), NOBODY)
    return [_find_runs(speaker == face) for face in range(len(tracks))]


def _follow(track: TrackReport, times: np.ndarray) -> np.ndarray:
    """(T,) mean score of the windows around each time at which the face is seen."""
    windows = track.consistency.windows
    middles = np.array([(one.start_s + one.end_s) / 2 for one in windows])
    scores = np.array([one.score for one in windows])
    near = np.abs(times[:, None] - middles[None]) <= AROUND_S
    near &= ((times >= track.start_s) & (times <= track.end_s))[:, None]
    counts = near.sum(1)
    means = (near * scores).sum(1) / np.maximum(counts, 1)
    return np.where(counts > 0, means, -np.inf)


def _find_runs(chosen: np.ndarray) -> list[Turn]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(int)))
    return [(float(a * STEP_S), float(b * STEP_S)) for a, b in list(pairwise(edges.tolist()))[::2]]
