"""What scored trials are gathered into, whatever is scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.calibration.records import Task
from engine.calibration.trials import ScoredTrials

LEAST = 0.04  # of a quality: a frame, so that its logarithm is there
THEMSELVES = "the weights that the recipe names"
LENGTHS_S = (4.0, 6.0, 10.0)
POOLS_S = (5.0, 10.0, 20.0)


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of all trials."""

    recipe: str
    manifest_sha256: str
    scored_by: str = THEMSELVES


@dataclass(frozen=True, slots=True)
class GatherOptions:
    """Which trials are made."""

    lengths_s: tuple[float, ...] = LENGTHS_S  # of speech, beside the whole clips
    pools_s: tuple[float, ...] = POOLS_S  # of samples of people
    min_speech_s: float = 4.0  # the gates refuse what has less
    per_face: int = 10  # voices of others
    same_session: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Scored:
    """One trial."""

    score: float
    same: bool
    people: tuple[str, str]
    condition: str
    raw: tuple[float, ...]  # qualities before their logarithm


def lay_trials(
    task: Task,
    rows: Sequence[Scored],
    origin: Origin,
    names: tuple[str, ...],
    source_of: Mapping[str, str],
    n_clips: int,
    n_abstained: int,
) -> ScoredTrials:
    """Lay trials into columns; `names` of the qualities, `source_of` each person what is held out together."""
    people = np.array([one.people for one in rows], str).reshape(len(rows), 2)
    return ScoredTrials(
        task=task,
        recipe=origin.recipe,
        scored_by=origin.scored_by,
        manifest_sha256=origin.manifest_sha256,
        scores=np.array([one.score for one in rows], np.float64),
        same=np.array([one.same for one in rows], bool),
        people=people,
        sources=np.array([[source_of[name] for name in pair] for pair in people], str).reshape(len(rows), 2),
        conditions=np.array([one.condition for one in rows], str),
        quality_names=names,
        qualities=np.log(
            np.maximum(np.array([one.raw for one in rows], np.float64).reshape(len(rows), len(names)), LEAST)
        ),
        n_clips=n_clips,
        n_abstained=n_abstained,
    )
