"""Table of consistency models: weights, loader, options and licence of each, without importing torch.

A new model is a network with `encode` and `embed_whole` (`scorers.FeatureEncoder`) in `engine/models`, a row here, its
name in `engine.types.Model` and its weight file in `engine/weights/registry.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from engine.consistency.gates import GateOptions
from engine.consistency.offsets import PLAIN_MEAN, ConsistencyOptions
from engine.types import Model
from engine.weights.registry import AVHUBERT, COMPACT, WeightFile

if TYPE_CHECKING:
    from engine.consistency.scorers import FeatureEncoder


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Weights, loader, inputs, options and licence of a consistency model."""

    title: str
    weight: WeightFile
    load: Callable[[Path, str], "FeatureEncoder"]  # (verified weights, device)
    options: ConsistencyOptions = PLAIN_MEAN  # strict mode; the defaults were fitted to compact
    # the score of an active speaker was measured for compact only: other models name no face as the speaker
    gates: GateOptions = field(default_factory=lambda: GateOptions(clear_score=inf))
    needs_mouths: bool = False  # inputs: mouth crops and filterbank; else lip landmarks and log-mel
    research_only: bool = False  # the licence restricts weights and scores to non-commercial research
    in_paper_mode: bool = False  # a SpeechForensics model: offered in paper mode
    names_sources: bool = False  # the sidecar lists the training sources

    @property
    def names_speaker(self) -> bool:
        """Whether the model can name one of several faces as the speaker."""
        return self.gates.clear_score < inf


def _load_compact(path: Path, device: str) -> "FeatureEncoder":
    from engine.models.compact import load_compact

    return load_compact(path, device)


def _load_avhubert(path: Path, device: str) -> "FeatureEncoder":
    from engine.models.avhubert import load_avhubert

    return load_avhubert(path, device)


def _avhubert(size: str) -> ModelSpec:
    return ModelSpec(
        title=f"AV-HuBERT {size.upper()}",
        weight=AVHUBERT[size],
        load=_load_avhubert,
        needs_mouths=True,
        research_only=True,
        in_paper_mode=True,
    )


SPECS: Mapping[Model, ModelSpec] = {
    Model.COMPACT: ModelSpec(
        title="Compact",
        weight=COMPACT,
        load=_load_compact,
        options=ConsistencyOptions(),
        gates=GateOptions(),
        names_sources=True,
    ),
    Model.AVHUBERT_LARGE: _avhubert("large"),
    Model.AVHUBERT_BASE: _avhubert("base"),
}
"""The default first, then by size, largest first."""
