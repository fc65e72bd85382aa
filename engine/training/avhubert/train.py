"""Pre-train AV-HuBERT, the first stage of SpeechForensics, from preprocessed clips (`wayspeak train avhubert`).

Every iteration clusters MFCCs (the first) or features of the last network into units, and trains on them. Follows
AV-HuBERT (Shi et al. 2022); docs/avhubert-training.md lists the differences.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from engine.errors import EngineError
from engine.models.avhubert import CONFIGS, HEADS, AVHubert, AVHubertConfig
from engine.training.avhubert.batches import BatchOptions, BatchSource, MaskOptions
from engine.training.avhubert.clusters import ClusterOptions, Describe, describe_by, describe_cepstra, fit_clusters
from engine.training.avhubert.objective import LossOptions, Pretraining
from engine.training.avhubert.preprocessing import PreprocessedClip
from engine.training.avhubert.trainer import RunContext, StepOptions, Trend, train_steps
from engine.training.checkpoints import Record, read_tensors, write_tensors
from engine.training.consistency.losses import AlignmentWeights
from engine.weights.licences import MARK, Use, mark_uses
from engine.weights.registry import hash_file

LICENCE = "MIT: our code, trained on the clips named here; not Meta's weights and not under their licence"


@dataclass(frozen=True, slots=True)
class AVHubertTraining:
    """All options that determine the weights; stored in the sidecar."""

    config: AVHubertConfig
    seed: int = 1
    iterations: tuple[ClusterOptions, ...] = (ClusterOptions(),)
    anew: bool = True  # each iteration starts from random weights, as published; otherwise from the last ones
    steps: StepOptions = field(default_factory=StepOptions)
    batches: BatchOptions = field(default_factory=BatchOptions)
    losses: LossOptions = field(default_factory=LossOptions)


def _full_size(size: str, layers: tuple[int, ...], micro_batches: int) -> AVHubertTraining:
    units = (100, 100, 500, 1000, 2000)
    kinds = zip(units, (None, *layers), strict=True)
    return AVHubertTraining(
        CONFIGS[size],
        iterations=tuple(ClusterOptions(n_units, layer=layer) for n_units, layer in kinds),
        steps=StepOptions(micro_batches=micro_batches, precision="bfloat16", sparing=size == "large"),
        batches=BatchOptions(size=8, length=300, max_shift=100),
        losses=LossOptions(unmasked=1.0 if size == "large" else 0.0, inlet_gradient=0.1),
    )


TRAININGS = {
    "tiny": AVHubertTraining(  # about ten minutes on one CPU core for half an hour of clips
        CONFIGS["tiny"],
        iterations=(ClusterOptions(50), ClusterOptions(50, layer=3)),
        anew=False,
        steps=StepOptions(steps=150, micro_batches=1, learning_rate=2e-3, clip_norm=1.0),
        batches=BatchOptions(
            size=20,
            length=50,
            max_shift=25,
            turn_deg=8,
            zoom=0.15,
            light=0.3,
            tract=(0.85, 1.18),
            masks=MaskOptions(sound_share=0.3, sound_span=8, picture_share=0.15, modality_dropout=0.7),
        ),
        losses=LossOptions(masked=0.5, unmasked=0.5, alignment_parts=AlignmentWeights(within=1.0, windows=0.0)),
    ),
    "base": _full_size("base", (9, 12, 12, 12), 16),
    "large": _full_size("large", (18, 24, 24, 24), 32),
}


def plan_iterations(
    usual: tuple[ClusterOptions, ...], count: int | None, units: Sequence[int]
) -> tuple[ClusterOptions, ...]:
    """Return `count` iterations of the usual plan, repeating the last one, with the given numbers of units.

    A single number of units is used for all iterations. Raises EngineError if there are several but not `count`.
    """
    count = count or (len(units) if len(units) > 1 else len(usual))
    plan = [usual[min(i, len(usual) - 1)] for i in range(count)]
    if len(units) > 1 and len(units) != count:
        raise EngineError(f"{len(units)} numbers of units for {count} iterations.", "Pass one or one per iteration.")
    if units:
        plan = [replace(one, n_units=units[i % len(units)]) for i, one in enumerate(plan)]
    return tuple(plan)


def train_avhubert(
    clips: Sequence[PreprocessedClip], options: AVHubertTraining, context: RunContext
) -> tuple[AVHubert, list[Trend]]:
    """Train all iterations, resuming from the folder of the run; return the network and the losses per iteration."""
    model, trends = None, []
    for number, clusters in enumerate(options.iterations):
        recipe = _describe_run(clips, options, number)
        units = _find_units(clips, clusters, options.seed + number, context, recipe, model)
        model = _initialise(options, number, model)
        pretraining = Pretraining(model, options.losses)
        source = BatchSource(clips, units, options.batches, options.seed + number)
        name = f"iteration-{number}"
        trends.append(train_steps(pretraining, source, options.steps, options.seed + number, context, name, recipe))
    if model is None:
        raise ValueError("there are no iterations")
    return model.eval(), trends


def build_untrained(options: AVHubertTraining) -> AVHubert:
    """Return the untrained network, as a baseline."""
    return _initialise(options, 0, None).eval()


def save_avhubert(
    model: AVHubert, path: Path, options: AVHubertTraining, clips: Sequence[PreprocessedClip], trends: Sequence[Trend]
) -> None:
    """Write the weights and a sidecar with options and training data.

    Both are marked for consistency use only.
    """
    uses = mark_uses(frozenset({Use.CONSISTENCY}))
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: one.detach().cpu().contiguous() for name, one in model.state_dict().items()}
    save_file(tensors, path, {MARK: uses, "licence": LICENCE})
    digest = hash_file(path)
    record = {
        "sha256": digest,
        "recipe": f"{path.stem}-{digest[:12]}",
        "licence": LICENCE,
        MARK: uses,
        "options": asdict(options),
        "trained_on": {
            "clips": len(clips),
            "seconds": round(sum(clip.seconds for clip in clips)),
            "speakers": len({clip.speaker for clip in clips}),
            "sources": sorted({clip.source for clip in clips}),
        },
        "losses_first_and_last": [trend.summarise() for trend in trends],
    }
    path.with_suffix(".json").write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _initialise(options: AVHubertTraining, number: int, last: AVHubert | None) -> AVHubert:
    """Return the initial network of an iteration; its heads are always new, as its units are."""
    torch.manual_seed(options.seed + number)
    model = AVHubert(replace(options.config, n_clusters=options.iterations[number].n_units))
    if last is not None and not options.anew:
        kept = {name: one for name, one in last.state_dict().items() if name not in HEADS}
        model.load_state_dict(model.state_dict() | kept)
    return model


def _find_units(
    clips: Sequence[PreprocessedClip],
    options: ClusterOptions,
    seed: int,
    context: RunContext,
    recipe: Record,
    model: AVHubert | None,
) -> list[np.ndarray]:
    """Return (T,) int16 units per clip, from the file of this run if there is one."""
    path = context.folder / f"units-{recipe['iteration']}.safetensors"
    if path.is_file():
        tensors, _ = read_tensors(path, recipe)
        return [tensors[f"reel/{i}"].numpy() for i in range(len(clips))]
    describe = _choose_description(options, model)
    clusters = context.group.share(lambda: fit_clusters(clips, describe, options, seed))
    units = context.group.divide(clips, lambda clip: clusters.assign(describe(clip)))
    if context.group.leads:
        tensors = {f"reel/{i}": torch.from_numpy(one) for i, one in enumerate(units)}
        tensors |= {name: torch.from_numpy(one) for name, one in clusters.arrays().items()}
        write_tensors(path, tensors, recipe, {})
    context.group.wait()
    return units


def _choose_description(options: ClusterOptions, model: AVHubert | None) -> Describe:
    if options.layer is None:
        return describe_cepstra
    if model is None:
        raise ValueError("the first iteration has no network with features to cluster")
    return describe_by(model, options.layer)


def _describe_run(clips: Sequence[PreprocessedClip], options: AVHubertTraining, number: int) -> Record:
    """Return everything that determines the weights of an iteration."""
    digest = hashlib.sha256(repr([(clip.path.stem, clip.late, clip.corpus) for clip in clips]).encode()).hexdigest()
    return {"options": asdict(options), "clips": digest, "iteration": number}
