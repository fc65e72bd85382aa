"""Train the compact consistency model from real clips to shipped weights (`wayspeak train consistency`).

Extract features of the clips (cached), estimate the AV offset of each corpus by members trained on the others, remove
it, train the members on all clips, and write the weights with their sidecar. With `--validate`, train without each fold
of corpora in turn and measure on it.

Held-out networks also score clips for a calibration of the final network. They score clips as inference does: as
published, with the AV offset that training removes.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from engine.calibration.records import Task
from engine.calibration.trials import Origin, ScoredTrials, TrialOptions, join_trials
from engine.consistency.scorers import ConsistencyScorer
from engine.datasets.manifest import find_corpora
from engine.errors import Code
from engine.evaluation.calibration_trials import collect_consistency_trials
from engine.evaluation.measurements import measure_rows
from engine.evaluation.span_trials import collect_span_trials
from engine.evaluation.trials import Encode
from engine.features.cache import FeatureCache, extract_cached
from engine.features.extractor import FeatureExtractor
from engine.models.compact import CompactConsistency
from engine.pipeline import Engine
from engine.training.clips import (
    MIN_FRAMES,
    TrainingClip,
    build_clip,
    check_faces,
    read_usable_rows,
    shift_sound,
    split_folds,
)
from engine.training.consistency.av_offset import estimate_av_offsets
from engine.training.consistency.ensemble import MemberOptions, MemberState, MemberTraining, OnProgress, train_all
from engine.training.consistency.validation import (
    MIN_WHOLE,
    Extent,
    encode_by_context,
    encode_by_members,
    score_fold,
    summarise_folds,
)
from engine.types import Model
from engine.weights.registry import hash_file

CURVE = (0.25, 0.5)  # shares of the people
Choose = Callable[[Sequence[TrainingClip]], Sequence[TrainingClip]]
SCORED_BY = "networks of the same training, each of which never saw the corpora of the clips that it scored"


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """Options for training the compact model; stored in its sidecar."""

    seed: int = 1
    n_members: int = 2
    n_folds: int = 4
    n_rounds: int = 2  # of scouts, each on the clips aligned by the last round
    scouts: MemberOptions = field(default_factory=lambda: MemberOptions(steps=200, masked=False))
    members: MemberOptions = field(default_factory=MemberOptions)


@dataclass(frozen=True, slots=True)
class TrainingContext:
    """Checkpoint folder, device, workers and progress callback of a run."""

    folder: Path  # checkpoints
    device: str = "cpu"
    workers: int = 2
    on_progress: OnProgress = lambda name, step: None


def build_training_clips(
    manifest: Path, extractor: FeatureExtractor, cache: FeatureCache, on_row: Callable[[int, int], None]
) -> list[TrainingClip]:
    """Build a training clip from every usable row; rows without a usable face are left out."""
    rows = read_usable_rows(manifest)
    built = []
    for done, (row, corpus) in enumerate(zip(rows, find_corpora(rows), strict=True)):
        on_row(done, len(rows))
        built.append(build_clip(extract_cached(row.path, extractor, cache), row, corpus))
    on_row(len(rows), len(rows))
    clips = [clip for clip in built if clip is not None]
    check_faces(clips, rows, manifest)
    return clips


def align_clips(
    clips: Sequence[TrainingClip], options: TrainingOptions, context: TrainingContext
) -> list[TrainingClip]:
    """Remove the AV offset of each clip, estimated by scouts that never saw its corpus; a single corpus stays."""
    fold_of = split_folds(clips, options.n_folds)
    folds = sorted(set(fold_of.values()))
    if len(folds) < 2:
        return list(clips)
    aligned = list(clips)
    for turn in range(options.n_rounds):
        jobs = [
            MemberTraining(
                f"scout-{turn}-{fold}", _outside(aligned, fold_of, fold), options.scouts, options.seed + fold
            )
            for fold in folds
        ]
        trained = zip(folds, _run(jobs, context), strict=True)
        scouts = {fold: CompactConsistency.of([state.member]) for fold, state in trained}
        offsets = estimate_av_offsets(clips, [scouts[fold_of[clip.corpus]] for clip in clips])
        aligned = [shift_sound(clip, frames) for clip, frames in zip(clips, offsets, strict=True)]
    return aligned


def train_members(
    name: str, clips: Sequence[TrainingClip], options: TrainingOptions, context: TrainingContext
) -> list[MemberState]:
    """Train the members on all clips."""
    jobs = [
        MemberTraining(f"{name}-{i}", tuple(clips), options.members, options.seed + 100 + i)
        for i in range(options.n_members)
    ]
    return _run(jobs, context)


def train_held_out(
    name: str,
    clips: Sequence[TrainingClip],
    options: TrainingOptions,
    context: TrainingContext,
    choose: Choose = tuple,
) -> dict[int, list[MemberState]]:
    """For each fold with a clip of MIN_WHOLE frames, train the members on clips chosen from the other folds."""
    fold_of = split_folds(clips, options.n_folds)
    if len(set(fold_of.values())) < 2:
        raise Code.BAD_MANIFEST("All clips are of one corpus, so none can be left out", "Add clips of another source.")
    folds = sorted({fold_of[clip.corpus] for clip in clips if len(clip.real) >= MIN_WHOLE})
    jobs = [
        MemberTraining(
            f"{name}-{fold}-{i}",
            tuple(choose(_outside(clips, fold_of, fold))),
            options.members,
            options.seed + 100 + i,
        )
        for fold in folds
        for i in range(options.n_members)
    ]
    trained = _run(jobs, context)
    return {fold: trained[k * options.n_members : (k + 1) * options.n_members] for k, fold in enumerate(folds)}


def measure_held_out(
    clips: list[TrainingClip], options: TrainingOptions, context: TrainingContext, ablate: bool
) -> dict[str, dict[str, object]]:
    """Train without each fold in turn and measure on it; `ablate` also trains one member per loss."""
    held_out = train_held_out("held-out", clips, options, context)
    figures = {"model": _measure_folds(clips, options, held_out, encode_by_members, Extent.ALL)}
    if not ablate:
        return figures
    firsts = {fold: states[:1] for fold, states in held_out.items()}
    figures["both"] = _measure_folds(clips, options, firsts, encode_by_members, Extent.WHOLE)
    for name, aligned, masked in (("alignment", True, False), ("masking", False, True)):
        kind = replace(options, n_members=1, members=replace(options.members, aligned=aligned, masked=masked))
        encode = encode_by_members if aligned else encode_by_context
        figures[name] = _measure_folds(
            clips, options, train_held_out(f"held-out-{name}", clips, kind, context), encode, Extent.WHOLE
        )
    return figures


def measure_curve(
    clips: list[TrainingClip], options: TrainingOptions, context: TrainingContext
) -> dict[str, dict[str, object]]:
    """Measure one member per fold, trained on shares of the people and on half of the seconds of each clip."""
    one = replace(options, n_members=1)
    chosen: dict[str, Choose] = {f"people-{share:g}": partial(keep_people, share=share) for share in CURVE}
    chosen["seconds-0.5"] = halve_clips
    fold_of, figures = split_folds(clips, options.n_folds), {}
    for name, choose in (*chosen.items(), ("all", tuple)):
        job = "held-out" if name == "all" else f"held-out-{name}"
        states = train_held_out(job, clips, one, context, choose)
        kept = [choose(_outside(clips, fold_of, fold)) for fold in states]
        figures[f"curve-{name}"] = {
            "people": round(float(np.mean([len({clip.speaker for clip in own}) for own in kept]))),
            "seconds": round(float(np.mean([sum(clip.seconds for clip in own) for own in kept]))),
            **_measure_folds(clips, options, states, encode_by_members, Extent.WINDOWS),
        }
    return figures


def keep_people(clips: Sequence[TrainingClip], share: float, seed: int = 0) -> tuple[TrainingClip, ...]:
    """Draw a share of the people and keep all of their clips."""
    people = sorted({clip.speaker for clip in clips})
    kept = {
        people[which]
        for which in np.random.default_rng(seed).permutation(len(people))[: math.ceil(share * len(people))]
    }
    return tuple(clip for clip in clips if clip.speaker in kept)


def halve_clips(clips: Sequence[TrainingClip]) -> tuple[TrainingClip, ...]:
    """Keep the first half of each clip, but at least MIN_FRAMES frames."""
    lengths = [max(len(clip.real) // 2, min(len(clip.real), MIN_FRAMES)) for clip in clips]
    return tuple(
        replace(clip, lips=clip.lips[:length], mel=clip.mel[: 4 * length], real=clip.real[:length])
        for clip, length in zip(clips, lengths, strict=True)
    )


def score_held_out(
    manifest: Path,
    clips: Sequence[TrainingClip],
    options: TrainingOptions,
    context: TrainingContext,
    extractor: FeatureExtractor,
    cache: FeatureCache,
    gather: TrialOptions | None = None,
) -> dict[Task, ScoredTrials]:
    """Score the trials of each fold of aligned `clips` by the networks trained without it, loaded from checkpoints.

    Trials of whole tracks and of spans. They have no recipe: a calibration from them is for the network trained on all
    folds.
    """
    rows = read_usable_rows(manifest)
    corpora = {row.number: corpus for row, corpus in zip(rows, find_corpora(rows), strict=True)}
    fold_of = split_folds(clips, options.n_folds)
    scored: dict[Task, list[ScoredTrials]] = {Task.CONSISTENCY: [], Task.SPANS: []}
    origin = Origin("", hash_file(manifest), SCORED_BY)
    for fold, states in train_held_out("held-out", clips, options, context).items():
        net = CompactConsistency.of([state.member for state in states])
        engine = Engine(extractor, ConsistencyScorer(Model.COMPACT, net, f"held-out-{fold}"), f"held-out-{fold}")
        own = [row for row in rows if fold_of.get(corpora[row.number]) == fold]
        found = measure_rows(own, engine, cache)
        for task, collect in ((Task.CONSISTENCY, collect_consistency_trials), (Task.SPANS, collect_span_trials)):
            scored[task].append(collect(found, engine.scorer, corpora, origin, gather or TrialOptions()))
    return {task: join_trials(parts) for task, parts in scored.items()}


def list_held_out(clips: list[TrainingClip], options: TrainingOptions) -> dict[str, list[str]]:
    """Return the corpora that the networks of each fold never saw, for later use of their checkpoints."""
    held: dict[str, list[str]] = {}
    for corpus, fold in sorted(split_folds(clips, options.n_folds).items()):
        held.setdefault(str(fold), []).append(corpus)
    return dict(sorted(held.items()))


def save_compact(
    model: CompactConsistency, path: Path, options: TrainingOptions, clips: Sequence[TrainingClip]
) -> None:
    """Write the weights in half precision, and a sidecar with their hash, options and training data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.half().contiguous() for name, tensor in model.cpu().state_dict().items()}, path)
    digest = hash_file(path)
    sources = sorted({clip.source for clip in clips})
    sidecar = {
        "sha256": digest,
        "recipe": f"compact-{digest[:12]}",
        "options": asdict(options),
        "trained_on": {
            "clips": len(clips),
            "seconds": round(sum(clip.seconds for clip in clips)),
            "speakers": len({clip.speaker for clip in clips}),
            "sources": sources,
        },
    }
    path.with_suffix(".json").write_text(json.dumps(sidecar, indent=2, sort_keys=True) + "\n")


def _measure_folds(
    clips: list[TrainingClip],
    options: TrainingOptions,
    held_out: dict[int, list[MemberState]],
    encode: Callable[[list[MemberState]], Encode],
    depth: Extent,
) -> dict[str, object]:
    fold_of = split_folds(clips, options.n_folds)
    tried = [
        score_fold([clip for clip in clips if fold_of[clip.corpus] == fold], encode(states), depth)
        for fold, states in held_out.items()
    ]
    return summarise_folds(tried)


def _run(jobs: Sequence[MemberTraining], context: TrainingContext) -> list[MemberState]:
    return train_all(jobs, context.folder, context.device, context.workers, context.on_progress)


def _outside(clips: Sequence[TrainingClip], fold_of: dict[str, int], fold: int) -> tuple[TrainingClip, ...]:
    return tuple(clip for clip in clips if fold_of[clip.corpus] != fold)
