"""What model files may be used for, told from the files themselves: a rename or a copy changes nothing.

The licence of AV-HuBERT forbids biometric processing, of what the model computes too, so nothing that tells speakers
apart may load its weights. Whatever loads weights for that goes through `load_for(Use.SPEAKER, path)`.
"""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import WeightsDamaged, WeightsForbidden, WeightsMissing

if TYPE_CHECKING:
    from torch import Tensor

MARK = "uses"  # in the header of a safetensors file and in the sidecar: the uses that are allowed
AV_HUBERT_NAMES = ("feature_extractor_video.", "feature_extractor_audio.", "w2v_model.", "label_embs_concat")


class Use(StrEnum):
    """What for."""

    CONSISTENCY = "consistency"  # do this face and this voice belong to the same speech
    SPEAKER = "speaker"  # whose way of speaking is it: biometric processing


def mark_uses(uses: frozenset[Use]) -> str:
    """The text of the mark."""
    return " ".join(sorted(uses))


def load_for(use: Use, path: Path) -> "dict[str, Tensor]":
    """Load a safetensors file for one use.

    Raises WeightsMissing, WeightsDamaged, and WeightsForbidden as `check_use` does.
    """
    from safetensors.torch import load_file  # here: asking for permission needs no torch

    check_use(path, use)
    tensors: dict[str, Tensor] = load_file(path)
    return tensors


def check_use(path: Path, use: Use) -> None:
    """Raise WeightsForbidden unless this file may be used so, by its mark, its sidecar and the names of its tensors."""
    if not path.is_file():
        raise WeightsMissing(f"{path} is not there.", "Restore it.")
    mark, names = _read_header(path)
    for allowed in (mark, _read_sidecar_mark(path)):
        if allowed is not None and use not in allowed.split():
            raise WeightsForbidden(
                f"{path.name} may be used for {allowed or 'nothing'} alone, not for {use}: its licence forbids it.",
                "Use weights whose licence allows it.",
            )
    if use is Use.SPEAKER and any(known in name for name in names for known in AV_HUBERT_NAMES):
        raise WeightsForbidden(
            f"{path.name} holds AV-HuBERT, whose licence forbids biometric processing.",
            "Use weights whose licence allows it.",
        )


def _read_header(path: Path) -> tuple[str | None, list[str]]:
    from safetensors import SafetensorError, safe_open  # here: the doctor works without it

    try:
        with safe_open(path, framework="np") as file:
            return (file.metadata() or {}).get(MARK), list(file.keys())
    except (SafetensorError, OSError) as cause:
        raise WeightsDamaged(f"{path.name} is no whole safetensors file: {cause}.", "Restore it.") from cause


def _read_sidecar_mark(path: Path) -> str | None:
    try:
        record = json.loads(path.with_suffix(".json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    mark = record.get(MARK) if isinstance(record, dict) else None
    return mark if isinstance(mark, str) else None
