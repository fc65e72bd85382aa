"""Checkpoints of training runs: safetensors files with recipe and record as JSON in the header, written atomically.

A checkpoint holds network, optimiser, gradient scaler and step, so that a run resumes bit for bit. It holds no state of
a random generator: every random number of a step is a function of the seed and the micro-batch number, as is the order
of the data. Nothing is pickled. A file of another recipe is refused.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from engine.errors import Code, FolderUnwritable

Record = dict[str, Any]


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], recipe: Record, record: Record) -> None:
    """Replace the file atomically; the old one stays if writing fails or the machine stops. Raises FolderUnwritable."""
    header = {"recipe": json.dumps(recipe, sort_keys=True), "record": json.dumps(record, sort_keys=True)}
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: one.detach().cpu().contiguous() for name, one in tensors.items()}, partial, header)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, SafetensorError) as cause:
        with suppress(OSError):
            partial.unlink()
        raise FolderUnwritable(f"{path} cannot be written: {cause}", "Make room, or choose another folder.") from cause


def read_tensors(path: Path, recipe: Record) -> tuple[dict[str, torch.Tensor], Record]:
    """Return tensors and record; raise CHECKPOINT_REFUSED, with differences, for a damaged file or another recipe."""
    hint = f"Delete {path.parent} to start again, or choose another folder."
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            found, record = json.loads(header["recipe"]), json.loads(header["record"])
            different = _compare(json.loads(json.dumps(recipe)), found)
            if different:
                raise Code.CHECKPOINT_REFUSED(f"{path} is of another run: {'; '.join(different)}.", hint)
            return {name: file.get_tensor(name) for name in file.keys()}, record  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError, KeyError, ValueError) as cause:
        raise Code.CHECKPOINT_REFUSED(f"{path} cannot be read: {cause}", hint) from cause


def _compare(wanted: Any, found: Any, name: str = "") -> list[str]:
    """List the differences, field by field."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        names = sorted(wanted.keys() | found.keys())
        return [text for key in names for text in _compare(wanted.get(key), found.get(key), f"{name}.{key}".strip("."))]
    return [] if wanted == found else [f"{name} was {json.dumps(found)} and is {json.dumps(wanted)}"]


MODEL, OPTIMISER = "model/", "optimiser/"


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer | None,
    scaler: torch.amp.GradScaler,
    recipe: Record,
    step: int,
    trend: Record,
) -> None:
    """Write the state of the run after `step` steps; a finished run has no optimiser state."""
    tensors = {MODEL + name: one for name, one in model.state_dict().items()}
    if optimiser is not None:
        for name, parameter in model.named_parameters():
            tensors |= {f"{OPTIMISER}{name}/{key}": one for key, one in optimiser.state.get(parameter, {}).items()}
    write_tensors(path, tensors, recipe, {"step": step, "scaler": scaler.state_dict(), "trend": trend})


def load_checkpoint(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler, recipe: Record
) -> tuple[int, Record]:
    """Restore a run; return the finished steps and the trend so far, or (0, {}) without a file.

    Raises CHECKPOINT_REFUSED if the file is damaged or of another recipe.
    """
    if not path.is_file():
        return 0, {}
    tensors, record = read_tensors(path, recipe)
    model.load_state_dict({name.removeprefix(MODEL): one for name, one in tensors.items() if name.startswith(MODEL)})
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        if name.startswith(OPTIMISER):
            owner, key = name.removeprefix(OPTIMISER).rsplit("/", 1)
            place = "cpu" if key == "step" else parameters[owner].device  # as AdamW keeps it
            optimiser.state[parameters[owner]][key] = tensor.clone().to(place)
    scaler.load_state_dict(record["scaler"])
    return int(record["step"]), record["trend"]
