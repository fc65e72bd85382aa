"""`wayspeak train consistency`: from real clips to the shipped weights by one command.

Observe the clips (kept on disk), hear each corpus by members trained on the others to learn how late its sound comes,
cut that away, train the members on everything, write the weights with their sidecar. With `--validate`, train on all
corpora but one fold instead, in turn, and measure on the fold left out.

Scores of clips by networks that never saw their corpora, for a calibration of the network that was trained on all.

The clips are scored as the product scores them: as they were published, with the lateness that training cuts away.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from safetensors.torch import save_file

from engine.calibration.trials import Origin, ScoredTrials, TrialOptions, join_trials
from engine.consistency.scorers import ConsistencyScorer
from engine.datasets.manifest import Row
from engine.errors import Code
from engine.evaluation.calibration_trials import gather_consistency
from engine.evaluation.measurements import measure_rows
from engine.evaluation.trials import Encode
from engine.features.cache import FeatureCache, extract_cached
from engine.features.extractor import FeatureExtractor
from engine.features.records import ClipFeatures
from engine.models.compact import CompactConsistency
from engine.pipeline import Engine
from engine.training.clips import (
    TrainingClip,
    build_clip,
    check_faces,
    find_corpora,
    read_usable_rows,
    shift_sound,
    split_folds,
)
from engine.training.consistency.av_offset import estimate_lateness
from engine.training.consistency.ensemble import MemberOptions, MemberState, MemberTraining, OnProgress, run_jobs
from engine.training.consistency.validation import MIN_WHOLE, encode_by_context, encode_by_members, sum_up, try_fold
from engine.types import Model
from engine.weights.registry import hash_file


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """How the compact model is made; stands in its sidecar."""

    seed: int = 1
    n_members: int = 2
    n_folds: int = 4
    n_rounds: int = 2  # of scouts, each on the clips as the last round aligned them
    scouts: MemberOptions = field(default_factory=lambda: MemberOptions(steps=200, masked=False))
    members: MemberOptions = field(default_factory=MemberOptions)


@dataclass(frozen=True, slots=True)
class TrainingContext:
    """Where the work is done."""

    folder: Path  # checkpoints
    device: str = "cpu"
    workers: int = 2
    on_progress: OnProgress = lambda name, step: None


def observe_clips(
    manifest: Path, extractor: FeatureExtractor, cache: FeatureCache, on_row: Callable[[int, int], None]
) -> list[TrainingClip]:
    """Build a training clip of every usable row; rows without a usable face are left out."""
    rows = read_usable_rows(manifest)
    built = [_build(row, corpus, extractor, cache) for row, corpus in _counted(rows, on_row)]
    clips = [clip for clip in built if clip is not None]
    check_faces(clips, rows, manifest)
    return clips


def align_clips(clips: Sequence[TrainingClip], options: TrainingOptions, shop: TrainingContext) -> list[TrainingClip]:
    """Cut away each clip's own lateness, as heard by scouts that never saw its corpus; one corpus alone stays."""
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
        trained = zip(folds, _run(jobs, shop), strict=True)
        scouts = {fold: CompactConsistency.of([trainee.member]) for fold, trainee in trained}
        late = estimate_lateness(clips, [scouts[fold_of[clip.corpus]] for clip in clips])
        aligned = [shift_sound(clip, frames) for clip, frames in zip(clips, late, strict=True)]
    return aligned


def train_members(
    name: str, clips: Sequence[TrainingClip], options: TrainingOptions, shop: TrainingContext
) -> list[MemberState]:
    """Train the members on all the clips given."""
    jobs = [
        MemberTraining(f"{name}-{i}", tuple(clips), options.members, options.seed + 100 + i)
        for i in range(options.n_members)
    ]
    return _run(jobs, shop)


def train_held_out(
    name: str, clips: Sequence[TrainingClip], options: TrainingOptions, shop: TrainingContext
) -> dict[int, list[MemberState]]:
    """For each fold with a clip long enough to be judged whole, train the members on all the others' clips."""
    fold_of = split_folds(clips, options.n_folds)
    if len(set(fold_of.values())) < 2:
        raise Code.BAD_MANIFEST("All clips are of one corpus, so none can be left out", "Add clips of another source.")
    folds = sorted({fold_of[clip.corpus] for clip in clips if len(clip.real) >= MIN_WHOLE})
    jobs = [
        MemberTraining(f"{name}-{fold}-{i}", _outside(clips, fold_of, fold), options.members, options.seed + 100 + i)
        for fold in folds
        for i in range(options.n_members)
    ]
    trained = _run(jobs, shop)
    return {fold: trained[k * options.n_members : (k + 1) * options.n_members] for k, fold in enumerate(folds)}


def measure_held_out(
    clips: list[TrainingClip], options: TrainingOptions, shop: TrainingContext, ablate: bool
) -> dict[str, dict[str, object]]:
    """Train without each fold in turn and measure on it; with `ablate`, one member of each kind besides."""
    held_out = train_held_out("held-out", clips, options, shop)
    figures = {"model": _measure_folds(clips, options, held_out, encode_by_members, False)}
    if not ablate:
        return figures
    firsts = {fold: trainees[:1] for fold, trainees in held_out.items()}
    figures["both"] = _measure_folds(clips, options, firsts, encode_by_members, True)
    for name, aligned, masked in (("alignment", True, False), ("masking", False, True)):
        kind = replace(options, n_members=1, members=replace(options.members, aligned=aligned, masked=masked))
        encode = encode_by_members if aligned else encode_by_context
        figures[name] = _measure_folds(
            clips, options, train_held_out(f"held-out-{name}", clips, kind, shop), encode, True
        )
    return figures


def list_held_out(clips: list[TrainingClip], options: TrainingOptions) -> dict[str, list[str]]:
    """Name the corpora that the networks of each fold never saw, for a later use of their checkpoints."""
    held: dict[str, list[str]] = {}
    for corpus, fold in sorted(split_folds(clips, options.n_folds).items()):
        held.setdefault(str(fold), []).append(corpus)
    return dict(sorted(held.items()))


def save_compact(
    model: CompactConsistency, path: Path, options: TrainingOptions, clips: Sequence[TrainingClip]
) -> None:
    """Write the weights in half precision and the sidecar that names their hash and how they were made."""
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
    fast: bool,
) -> dict[str, object]:
    fold_of = split_folds(clips, options.n_folds)
    tried = [
        try_fold([clip for clip in clips if fold_of[clip.corpus] == fold], encode(trainees), fast)
        for fold, trainees in held_out.items()
    ]
    return sum_up(tried)


def _run(jobs: Sequence[MemberTraining], shop: TrainingContext) -> list[MemberState]:
    return run_jobs(jobs, shop.folder, shop.device, shop.workers, shop.on_progress)


def _outside(clips: Sequence[TrainingClip], fold_of: dict[str, int], fold: int) -> tuple[TrainingClip, ...]:
    return tuple(clip for clip in clips if fold_of[clip.corpus] != fold)


def _counted(rows: Sequence[Row], on_row: Callable[[int, int], None]) -> Iterable[tuple[Row, str]]:
    for done, pair in enumerate(zip(rows, find_corpora(rows), strict=True)):
        on_row(done, len(rows))
        yield pair
    on_row(len(rows), len(rows))


def _build(row: Row, corpus: str, extractor: FeatureExtractor, cache: FeatureCache) -> TrainingClip | None:
    observation: ClipFeatures = extract_cached(row.path, extractor, cache)
    return build_clip(observation, row, corpus)


STAND_INS = "networks of the same training, each of which never saw the corpora of the clips that it scored"


def score_held_out(
    manifest: Path,
    clips: Sequence[TrainingClip],
    options: TrainingOptions,
    shop: TrainingContext,
    extractor: FeatureExtractor,
    cache: FeatureCache,
    gather: TrialOptions | None = None,
) -> ScoredTrials:
    """Make the trials of each fold of aligned `clips` by the networks trained without it, which are taken up again.

    They have no recipe: a calibration from them is for the network that they stand for, whichever that is.
    """
    rows = read_usable_rows(manifest)
    corpora = {row.number: corpus for row, corpus in zip(rows, find_corpora(rows), strict=True)}
    fold_of, parts = split_folds(clips, options.n_folds), []
    origin = Origin("", hash_file(manifest), STAND_INS)
    for fold, trainees in train_held_out("held-out", clips, options, shop).items():
        net = CompactConsistency.of([trainee.member for trainee in trainees])
        engine = Engine(extractor, ConsistencyScorer(Model.COMPACT, net, f"held-out-{fold}"), f"held-out-{fold}")
        own = [row for row in rows if fold_of.get(corpora[row.number]) == fold]
        found = measure_rows(own, engine, cache)
        parts.append(gather_consistency(found, engine.expert, corpora, origin, gather or TrialOptions()))
    return join_trials(parts)
