"""Job of the confined process that reads torch checkpoints."""

import codecs
import io
import json
import platform
import resource
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save

from engine.media.sandbox.ipc import MAX_DATA, Link, Message
from engine.media.sandbox.job import Worker
from engine.settings import MediaLimits
from engine.weights.checkpoint_reader import load_checkpoint


def load_libraries() -> None:
    """Load a checkpoint of each kind, to import what torch imports at first use."""
    codecs.lookup("cp437")  # of names in zip archives
    for is_zip in (True, False):
        written = io.BytesIO()
        torch.save({"model": {"w": torch.zeros(1)}, "bytes": b"\x80"}, written, _use_new_zipfile_serialization=is_zip)
        save(load_checkpoint(written, "warm-up").tensors)


def _prepare(kind: str, limits: MediaLimits, extra: int | None) -> tuple[MediaLimits, None]:
    """Add the address space of torch to the memory limit."""
    if platform.system() != "Linux":
        return limits, None
    n_pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    return replace(limits, max_memory_bytes=limits.max_memory_bytes + n_pages * resource.getpagesize()), None


def _read_checkpoint(link: Link, file: io.FileIO, job: Message, limits: MediaLimits, extra: object) -> None:
    """Send the tensors of a torch file one by one, each in safetensors format and in pieces of `MAX_DATA` bytes."""
    found = load_checkpoint(io.BufferedReader(file), job.note["file"])
    link.send("checkpoint", {"norm_first": found.norm_first}, json.dumps(found.inert).encode())
    for name, tensor in found.tensors.items():
        written = save({name: tensor.contiguous()})
        pieces = [written[start : start + MAX_DATA] for start in range(0, len(written), MAX_DATA)]
        for piece in pieces[:-1]:
            link.send("piece", data=piece)
        link.send("tensor", data=pieces[-1])
    link.send("end")


WORKER = Worker({"checkpoint": _read_checkpoint}, load_libraries, _prepare)
