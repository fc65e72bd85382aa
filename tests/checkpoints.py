"""Checkpoints as fairseq writes them, of a network small enough for a test; and what an attacker makes of them."""

import argparse
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from engine.models.avhubert import FINE_TUNED, RENAMED, AVHubert, AVHubertConfig
from engine.weights.checkpoint_reader import Checkpoint, load_checkpoint

SMALL = {  # stand for the published sizes, and have all their names
    "base": AVHubertConfig(layers=1, width=64, ffn=32, heads=1, trunk=(2, 2, 2, 2)),
    "large": AVHubertConfig(layers=2, width=64, ffn=32, heads=1, trunk=(2, 2, 2, 2)),
}
FOREIGN = {  # modules that are not installed, and their classes
    "fairseq.data.dictionary": "Dictionary",
    "fairseq.data.encoders.sentencepiece_bpe": "SentencepieceBPE",
    "omegaconf.dictconfig": "DictConfig",
}


def make_state(size: str = "base", fine_tuned: bool = False) -> dict[str, torch.Tensor]:
    """A state dict under the published names; a fine-tuned one has no heads, and a decoder."""
    torch.manual_seed(5)
    config = SMALL[size] if not fine_tuned else replace(SMALL[size], n_clusters=0)
    state: OrderedDict[str, torch.Tensor] = OrderedDict()
    for name, tensor in AVHubert(config).state_dict().items():
        for official, ours in RENAMED.items():
            name = name.replace(ours, official)
        if name != "encoder.norm_first":  # our own
            state[(FINE_TUNED if fine_tuned else "") + name] = tensor.clone()
    if fine_tuned:
        state["decoder.embed_tokens.weight"] = torch.randn(7, 64)
        state["decoder.output_projection.weight"] = state["decoder.embed_tokens.weight"]  # one storage, two names
    return state


def save_as_fairseq(path: Path, state: dict[str, Any], legacy: bool = False, **more: object) -> Path:
    """Write a fairseq trainer checkpoint: model, configuration, dictionaries, tokenizer and optimiser."""
    with _pretend_fairseq() as classes:
        dictionary, tokenizer, config = (make() for make in classes)
        dictionary.symbols, tokenizer.sp = ["<s>", "a"], b"\x00\xff model"
        config._content = {"task": {"data": "/checkpoint"}}
        content = {
            "args": argparse.Namespace(arch="av_hubert"),
            "cfg": {"model": {"_name": "av_hubert", "layer_norm_first": True}, "w2v": config},
            "model": state,
            "optimizer_history": [{"num_updates": 5}],
            "task_state": {"dictionaries": [dictionary], "s2s_tokenizer": tokenizer},
            "last_optimizer_state": {"state": {0: {"exp_avg": torch.zeros(100_000)}}},
        }
        torch.save(content | more, path, _use_new_zipfile_serialization=not legacy)
    return path


def load_here(path: Path, container: str = "") -> Checkpoint:
    """Read a torch file in this process; a confined one takes 2 s to import torch."""
    with path.open("rb") as stream:
        return load_checkpoint(stream, path.name)


@contextmanager
def _pretend_fairseq() -> Iterator[list[Callable[[], Any]]]:
    """Modules of those names, for as long as something of them is pickled."""
    before, made = set(sys.modules), []
    for module, name in FOREIGN.items():
        kind = type(name, (), {"__module__": module})
        parts = module.split(".")
        for n_parts in range(1, len(parts) + 1):
            parent = ".".join(parts[:n_parts])
            sys.modules.setdefault(parent, types.ModuleType(parent))
        setattr(sys.modules[module], name, kind)
        made.append(kind)
    try:
        yield made
    finally:
        for name in set(sys.modules) - before:
            del sys.modules[name]


class Attack:
    """Pickled, it is a call of `os.system` that makes the file `marker`."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


@dataclass(frozen=True)
class Place:
    """Pickled, it is a storage outside the pickle."""

    key: str
    numel: int
    kind: Any = torch.FloatStorage


class Plan:
    """Pickled, it is a tensor with whatever offset, size and stride are claimed."""

    def __init__(
        self, place: Place, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, metadata: object = None
    ):
        self.arguments = (place, offset, size, stride, False, OrderedDict(), metadata)

    def __reduce__(self) -> tuple[Any, ...]:
        return torch._utils._rebuild_tensor_v2, self.arguments


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: object) -> tuple[object, ...] | None:
        return ("storage", value.kind, value.key, "cpu", value.numel) if isinstance(value, Place) else None


def pickle_plans(content: object, protocol: int = 2) -> bytes:
    """As torch does, but with claims of our own."""
    target = BytesIO()
    _Pickler(target, protocol).dump(content)
    return target.getvalue()


def zip_up(path: Path, pickled: bytes, **entries: bytes) -> Path:
    """An archive as torch writes it; the keywords are more entries, `data__0` for `archive/data/0`."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, data in ({"version": b"3"} | entries).items():
            archive.writestr(f"archive/{name.replace('__', '/')}", data)
    return path
