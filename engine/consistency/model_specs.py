"""One row per consistency model: all that differs between them. Importing it imports no torch."""

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
    """A consistency model: its weights, how to load it, its options and what its licence allows."""

    title: str
    weight: WeightFile
    load: Callable[[Path, str], "FeatureEncoder"]  # of the verified weights and a device
    options: ConsistencyOptions = PLAIN_MEAN  # of strict mode; those of ConsistencyOptions were fitted to compact
    # how high a speaker's score is was measured for compact alone: with another, no face is named as the speaker
    gates: GateOptions = field(default_factory=lambda: GateOptions(clear_score=inf))
    needs_mouths: bool = False  # reads mouth crops and the filterbank, which an extractor cuts only when asked to
    research_only: bool = False  # the licence allows non-commercial research alone, of the scores too
    in_paper_mode: bool = False  # a model of SpeechForensics: offered in paper mode
    names_sources: bool = False  # the sidecar names the sources that it was trained on

    @property
    def names_speaker(self) -> bool:
        """Whether one of several faces can be named as the speaker."""
        return self.gates.clear_score < inf


def _load_compact(path: Path, device: str) -> "FeatureEncoder":
    from engine.consistency.scorers import CompactEncoder
    from engine.models.compact import load_compact

    return CompactEncoder(load_compact(path, device))


def _load_avhubert(path: Path, device: str) -> "FeatureEncoder":
    from engine.consistency.scorers import AVHubertEncoder
    from engine.models.avhubert import load_avhubert

    return AVHubertEncoder(load_avhubert(path, device))


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
"""The default first, then the larger ones before the smaller."""
