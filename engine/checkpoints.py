"""Foreign checkpoints: their tensors, and nothing else of what they hold.

torch writes a checkpoint as a zip archive of one pickle and its storages, before version 1.6 as five pickles and the
storages one behind another. Both are read here without `pickle` and without `torch.load`: `engine.pickles` tells what
the file describes, and only the storages of its model are then read, an optimiser's never. safetensors files hold no
code and are read by their own library. Whatever a file claims is held against its size before memory is given to it.
"""

import math
import struct
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import CheckpointRefused
from engine.pickles import DOWNLOAD, MAX_BYTES, PLAIN_NAME, Storage, TensorPlan, name_some, read_pickle

MAX_TENSORS = 4096
MAX_SHARING = 2  # bytes of tensors a byte of the file: tensors may share a storage, but not multiply it
MAX_ENTRIES = 65_536
ZIP, PICKLE = b"PK", b"\x80"  # how the files begin
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # torch.serialization

ReadStorage = Callable[[Storage, int], bytearray]
"""`read(storage, n_bytes)`: exactly that many bytes, the whole storage."""


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The model's tensors of a file, each with memory of its own."""

    tensors: dict[str, Tensor]
    content: object  # the whole file as `pickles` describes it, None for safetensors
    inert: tuple[str, ...]  # classes and functions the file names; none was imported or called
    container: str  # torch zip, torch legacy or safetensors


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the state dict of a torch or safetensors file: under `model`, or the file itself.

    Raises CheckpointRefused where the file is damaged, of another kind, or holds what no published checkpoint does.
    """
    if not path.is_file():  # a pipe would wait for ever
        raise CheckpointRefused(f"{path} is no file.", "Name the published file.")
    try:
        with path.open("rb") as stream:
            begin = stream.read(9)
            if begin.startswith(ZIP):
                return _read_zip(stream, path.name)
            if begin[8:] == b"{":
                return _read_safetensors(path)
            return _read_legacy(stream, path.name)
    except OSError as cause:
        raise CheckpointRefused(f"{path} cannot be read: {cause.strerror or cause}.", DOWNLOAD) from cause


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError, RuntimeError) as cause:
        raise CheckpointRefused(f"{path.name} is no whole safetensors file: {cause}.", DOWNLOAD) from cause
    _check_names(tensors, path.name)
    return Checkpoint(tensors, None, (), "safetensors")


def _read_zip(stream: BinaryIO, file: str) -> Checkpoint:
    try:
        with zipfile.ZipFile(stream) as archive:
            entries = _list_entries(archive, file)
            roots = [name for name in entries if PurePosixPath(name).name == "data.pkl"]
            if len(roots) != 1:
                raise CheckpointRefused(f"{file} is a zip archive with {len(roots)} data.pkl, wanted 1.", DOWNLOAD)
            prefix = roots[0].removesuffix("data.pkl")
            byte_order = entries.get(f"{prefix}byteorder")
            if byte_order is not None and (byte_order.file_size > 16 or archive.read(byte_order) != b"little"):
                raise CheckpointRefused(f"{file} is not written in little-endian order.", DOWNLOAD)
            return _read_entries(archive, entries, prefix, file)
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, OverflowError, struct.error) as cause:
        raise CheckpointRefused(f"{file} is not whole: {cause}.", DOWNLOAD) from cause


def _list_entries(archive: zipfile.ZipFile, file: str) -> dict[str, zipfile.ZipInfo]:
    """Entries by name; torch neither compresses, nor encrypts, nor names twice, so a bomb has nothing to hide in."""
    infos = archive.infolist()
    assert archive.fp is not None  # open
    n_bytes = archive.fp.seek(0, 2)
    twice = [name for name, count in Counter(info.filename for info in infos).items() if count > 1]
    outside = [info.filename for info in infos if {"..", "/"} & set(PurePosixPath(info.filename).parts)]
    packed = [info.filename for info in infos if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1]
    for what, names in (("names twice", twice), ("names outside itself", outside), ("packs or encrypts", packed)):
        if names:
            raise CheckpointRefused(f"{file} {what}: {name_some(names)}.", DOWNLOAD)
    if len(infos) > MAX_ENTRIES or sum(info.file_size for info in infos) > n_bytes:
        raise CheckpointRefused(f"{file} claims more than its {n_bytes} bytes hold.", DOWNLOAD)
    return {info.filename: info for info in infos}


def _read_entries(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], prefix: str, file: str) -> Checkpoint:
    info = entries[f"{prefix}data.pkl"]
    if info.file_size > MAX_BYTES:
        raise CheckpointRefused(
            f"{file} has a pickle of {info.file_size} bytes, wanted {MAX_BYTES} or fewer.", DOWNLOAD
        )
    data = archive.read(info)
    pickled = read_pickle(data, file)
    if pickled.end != len(data):
        raise CheckpointRefused(f"{file} goes on behind the end of its pickle.", DOWNLOAD)

    def read(storage: Storage, n_bytes: int) -> bytearray:
        entry = entries.get(f"{prefix}data/{storage.key}")
        if entry is None or entry.file_size != n_bytes:
            raise CheckpointRefused(f"{file} lacks the {n_bytes} bytes of storage {storage.key}.", DOWNLOAD)
        return bytearray(archive.read(entry))  # zipfile holds them against their checksum

    n_bytes = sum(entry.file_size for entry in entries.values())
    tensors = _load_tensors(_find_state(pickled.root, file), read, n_bytes, file)
    return Checkpoint(tensors, pickled.root, pickled.inert, "torch zip")


def _read_legacy(stream: BinaryIO, file: str) -> Checkpoint:
    """Magic number, protocol, the machine's sizes, the content, the storages' keys; then the storages in that order."""
    stream.seek(0)
    first = read_pickle(stream.read(MAX_BYTES), file)
    if first.root != LEGACY_MAGIC:
        raise CheckpointRefused(f"{file} is neither a torch checkpoint nor a safetensors file.", DOWNLOAD)
    position, parts = first.end, []
    for _ in range(4):
        stream.seek(position)
        parts.append(read_pickle(stream.read(MAX_BYTES), file))
        position += parts[-1].end
    protocol, machine, content, keys = (part.root for part in parts)
    if protocol != LEGACY_PROTOCOL or not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise CheckpointRefused(f"{file} is not written in little-endian order, or by an unknown torch.", DOWNLOAD)
    places, n_bytes = _place_storages(stream, position, keys, parts[2].storages, file)

    def read(storage: Storage, n_bytes: int) -> bytearray:
        if storage.key not in places:
            raise CheckpointRefused(f"{file} lacks the {n_bytes} bytes of storage {storage.key}.", DOWNLOAD)
        stream.seek(places[storage.key])
        return bytearray(stream.read(n_bytes))

    tensors = _load_tensors(_find_state(content, file), read, n_bytes, file)
    return Checkpoint(tensors, content, parts[2].inert, "torch legacy")


def _place_storages(
    stream: BinaryIO, position: int, keys: object, storages: dict[str, Storage], file: str
) -> tuple[dict[str, int], int]:
    """Where each storage begins, behind its own length, and the bytes of the file, with which the last one ends."""
    places: dict[str, int] = {}
    n_bytes = stream.seek(0, 2)
    for key in keys if isinstance(keys, list) else ():
        stream.seek(position)
        length = stream.read(8)
        storage = storages.get(key) if isinstance(key, str) else None
        if storage is None or key in places or length != struct.pack("<q", storage.numel):
            break
        places[key] = position + 8
        position += 8 + _count_bytes(storage)
    if not isinstance(keys, list) or len(places) != len(keys) or position != n_bytes:
        raise CheckpointRefused(f"{file} is not whole: its storages do not fill its {n_bytes} bytes.", DOWNLOAD)
    return places, n_bytes


def _find_state(root: object, file: str) -> dict[str, TensorPlan]:
    state = root["model"] if isinstance(root, dict) and "model" in root else root
    if not isinstance(state, dict) or not any(isinstance(plan, TensorPlan) for plan in state.values()):
        raise CheckpointRefused(f"{file} holds no tensors under `model`.", DOWNLOAD)
    _check_names(state, file)
    others = [name for name, plan in state.items() if not isinstance(plan, TensorPlan)]
    if others:
        raise CheckpointRefused(f"{file} holds under `model` what is no tensor: {name_some(others)}.", DOWNLOAD)
    return state


def _check_names(tensors: dict[str, Tensor] | dict[str, TensorPlan], file: str) -> None:
    odd = [str(name)[:200] for name in tensors if not isinstance(name, str) or not PLAIN_NAME.fullmatch(name)]
    if odd or len(tensors) > MAX_TENSORS:
        raise CheckpointRefused(f"{file} has {len(tensors)} tensors with names such as {name_some(odd)}.", DOWNLOAD)


def _load_tensors(plans: dict[str, TensorPlan], read: ReadStorage, n_bytes: int, file: str) -> dict[str, Tensor]:
    """Check every claim against the `n_bytes` that are there first, then read storage by storage."""
    for name, plan in plans.items():
        _check_reach(name, plan, file)
    total = sum(math.prod(plan.size) * _dtype(plan.storage).itemsize for plan in plans.values())
    if total > MAX_SHARING * n_bytes:
        raise CheckpointRefused(f"{file} claims {total} bytes of tensors out of {n_bytes}.", DOWNLOAD)
    by_storage: dict[str, list[str]] = {}
    for name, plan in plans.items():
        by_storage.setdefault(plan.storage.key, []).append(name)
    tensors = {}
    for names in by_storage.values():
        storage = plans[names[0]].storage
        values = _load_storage(storage, read, file)
        for name in names:
            plan = plans[name]
            tensor = values.as_strided(plan.size, plan.stride, plan.offset)
            whole = len(names) == 1 and tensor.is_contiguous() and tensor.numel() == storage.numel
            tensors[name] = tensor if whole else tensor.clone(memory_format=torch.contiguous_format)
    return {name: tensors[name] for name in plans}


def _check_reach(name: str, plan: TensorPlan, file: str) -> None:
    last = plan.offset + sum((n - 1) * step for n, step in zip(plan.size, plan.stride, strict=True))
    numel = math.prod(plan.size)
    if numel > plan.storage.numel or (numel and last >= plan.storage.numel):
        raise CheckpointRefused(
            f"{file}: {name} reaches outside its storage of {plan.storage.numel} numbers.", DOWNLOAD
        )


def _load_storage(storage: Storage, read: ReadStorage, file: str) -> Tensor:
    n_bytes = _count_bytes(storage)
    data = read(storage, n_bytes)
    if len(data) != n_bytes:  # cut off while it is read
        raise CheckpointRefused(f"{file} ends before storage {storage.key} does.", DOWNLOAD)
    return torch.frombuffer(data, dtype=_dtype(storage)) if data else torch.empty(0, dtype=_dtype(storage))


def _count_bytes(storage: Storage) -> int:
    return storage.numel * _dtype(storage).itemsize


def _dtype(storage: Storage) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, storage.dtype)  # a name of our own table, never of the file
    return dtype
