"""Files of a run: tensors in safetensors with a record as JSON in the header, written whole or not at all.

Nothing is pickled. A record names the recipe it was made by, and a file of another recipe is refused.
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

from engine.errors import Code, FolderUnwritable

Record = dict[str, Any]


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], recipe: Record, record: Record) -> None:
    """Replace the file at once, or leave the old one, also when the machine stops meanwhile."""
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
    """Give the tensors and the record; CHECKPOINT_REFUSED for a file of another recipe, naming what differs."""
    hint = f"Delete {path.parent} to start anew, or choose another folder."
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
    """Say what differs, field by field."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        names = sorted(wanted.keys() | found.keys())
        return [text for key in names for text in _compare(wanted.get(key), found.get(key), f"{name}.{key}".strip("."))]
    return [] if wanted == found else [f"{name} was {json.dumps(found)} and is {json.dumps(wanted)}"]
