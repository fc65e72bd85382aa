"""Labelled, scored trials: input of calibration, with their file format."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.calibration.lengths import DIGITS
from engine.calibration.qualities import SPEECH
from engine.calibration.records import Task
from engine.errors import Code, FolderUnwritable

FORMAT = "wayspeak scores 1"
COLUMNS = ("score", "same", "person", "other", "source", "other_source", "condition")
HINT = "Write new scores with --keep-scores, or with `wayspeak train consistency --validate --scores FILE`."


@dataclass(frozen=True, slots=True, eq=False)
class ScoredTrials:
    """N scored trials of two sides, such as a face and a voice; trials that share a side are not independent."""

    task: Task
    recipe: str  # of the scores; a calibration holds for this recipe only
    scored_by: str  # text: the weights of the recipe, or substitutes
    manifest_sha256: str
    scores: np.ndarray  # (N,) float64
    same: np.ndarray  # (N,) bool: the first hypothesis holds
    people: np.ndarray  # (N, 2) str: of each side
    sources: np.ndarray  # (N, 2) str: unit held out together, a corpus or a person
    conditions: np.ndarray  # (N,) str: such as the segment length
    quality_names: tuple[str, ...]
    qualities: np.ndarray  # (N, Q) float64
    n_clips: int
    n_abstained: int = 0  # clips or samples refused by the gates
    gallery_size: int = 0  # people in each search; 0: no search

    def __post_init__(self) -> None:
        n, q = len(self.scores), len(self.quality_names)
        shapes = {"same": (n,), "people": (n, 2), "sources": (n, 2), "conditions": (n,), "qualities": (n, q)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, expected {shape}")
        if not (np.isfinite(self.scores).all() and np.isfinite(self.qualities).all()):
            raise ValueError("a score or a quality is not a finite number")

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def speech_s(self) -> np.ndarray | None:
        """(N,) seconds of speech of trials of tracks and spans; None where they were not measured."""
        if self.task not in (Task.CONSISTENCY, Task.SPANS) or SPEECH not in self.quality_names:
            return None
        seconds: np.ndarray = np.round(np.exp(self.qualities[:, self.quality_names.index(SPEECH)]), DIGITS)
        return seconds

    def take(self, rows: np.ndarray) -> "ScoredTrials":
        """Select trials by index or mask."""
        names = ("scores", "same", "people", "sources", "conditions", "qualities")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})


def write_trials(trials: ScoredTrials, path: Path) -> None:
    """Write the trials as JSON, with people and sources as in the manifest."""
    rows = [
        [float(score), bool(same), *map(str, people), *map(str, sources), str(condition), *map(float, qualities)]
        for score, same, people, sources, condition, qualities in zip(
            trials.scores, trials.same, trials.people, trials.sources, trials.conditions, trials.qualities, strict=True
        )
    ]
    heads = ("task", "recipe", "scored_by", "manifest_sha256", "n_clips", "n_abstained", "gallery_size")
    head = {"format": FORMAT} | {name: getattr(trials, name) for name in heads}
    columns = [*COLUMNS, *trials.quality_names]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    text = json.dumps(head | {"columns": columns}, ensure_ascii=False, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{text[:-2]},\n "trials": [\n{lines}\n ]\n}}\n', encoding="utf-8")
    except OSError as cause:
        raise FolderUnwritable(f"{path} cannot be written: {cause.strerror}.", "Choose another folder.") from cause


def read_trials(path: Path) -> ScoredTrials:
    """Read the output of `write_trials`; BAD_SCORES describes the fault of any other file."""
    try:
        found = json.loads(path.read_text("utf-8"), parse_constant=_refuse_constant)
        return _build(found)
    except OSError as cause:
        raise Code.BAD_SCORES(f"The scores {path} cannot be read: {cause.strerror}.", "Check its name.") from cause
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise Code.BAD_SCORES(f"{path} is no file of scores: {cause}.", HINT) from cause


def join_trials(parts: Sequence[ScoredTrials]) -> ScoredTrials:
    """Concatenate trials of one task, recipe and set of qualities; ValueError for several.

    The gallery size is the smallest one, which is conservative.
    """
    first = parts[0]
    kinds = {(one.task, one.recipe, one.scored_by, one.quality_names) for one in parts}
    if len(kinds) != 1:
        raise ValueError(f"trials of {len(kinds)} kinds cannot be put together")
    names = ("scores", "same", "people", "sources", "conditions", "qualities")
    joined: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in parts]) for name in names}
    joined |= {name: sum(getattr(one, name) for one in parts) for name in ("n_clips", "n_abstained")}
    return replace(first, **joined, gallery_size=min(one.gallery_size for one in parts))


def _build(found: dict[str, Any]) -> ScoredTrials:
    if found["format"] != FORMAT or tuple(found["columns"][: len(COLUMNS)]) != COLUMNS:
        raise ValueError(f"it has the format {found['format']!r}, expected {FORMAT!r}")
    names, rows = tuple(map(str, found["columns"][len(COLUMNS) :])), found["trials"]
    if any(len(row) != len(COLUMNS) + len(names) for row in rows):
        raise ValueError("a row is not as long as the list of columns")
    if any(type(row[1]) is not bool for row in rows):
        raise ValueError("`same` is neither true nor false")
    texts = np.array([row[2:7] for row in rows], str).reshape(len(rows), 5)
    return ScoredTrials(
        task=Task(found["task"]),
        recipe=str(found["recipe"]),
        scored_by=str(found["scored_by"]),
        manifest_sha256=str(found["manifest_sha256"]),
        scores=np.array([row[0] for row in rows], np.float64),
        same=np.array([row[1] for row in rows], bool),
        people=texts[:, :2],
        sources=texts[:, 2:4],
        conditions=texts[:, 4],
        quality_names=names,
        qualities=np.array([row[7:] for row in rows], np.float64).reshape(len(rows), len(names)),
        n_clips=int(found["n_clips"]),
        n_abstained=int(found["n_abstained"]),
        gallery_size=int(found["gallery_size"]),
    )


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


THEMSELVES = "the weights that the recipe names"
LENGTHS_S = (1.5, 2.0, 3.0, 4.0, 6.0, 10.0)
POOLS_S = (5.0, 10.0, 20.0)


@dataclass(frozen=True, slots=True)
class Origin:
    """Provenance of all trials."""

    recipe: str
    manifest_sha256: str
    scored_by: str = THEMSELVES


@dataclass(frozen=True, slots=True)
class TrialOptions:
    """Options of the trial collection."""

    lengths_s: tuple[float, ...] = LENGTHS_S  # segments of speech, in addition to whole clips
    pools_s: tuple[float, ...] = POOLS_S  # pooled samples of people
    min_speech_s: float = 1.5  # the gates refuse less
    per_face: int = 10  # voices of other people
    same_session: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ScoredTrial:
    """One trial."""

    score: float
    same: bool
    people: tuple[str, str]
    condition: str
    qualities: tuple[float, ...]


def build_trials(
    task: Task,
    rows: Sequence[ScoredTrial],
    origin: Origin,
    names: tuple[str, ...],
    source_of: Mapping[str, str],
    n_clips: int,
    n_abstained: int,
) -> ScoredTrials:
    """Build columns from trials; `names` of the qualities, `source_of` maps a person to the unit held out with it."""
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
        qualities=np.array([one.qualities for one in rows], np.float64).reshape(len(rows), len(names)),
        n_clips=n_clips,
        n_abstained=n_abstained,
    )
