"""Import a published AV-HuBERT checkpoint as weights that Wayspeak loads.

All checks come before any write: the file holds no foreign code, its tensors are those of the network and finite, the
licence is accepted. The converted file is written to a temporary folder, loaded strictly once and only then moved into
place, with a record of its origin and of all dropped tensors.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from engine.errors import Code, FolderUnwritable, LicenceNotAccepted, WeightsDamaged, WeightsMissing
from engine.models.avhubert import CONFIGS, FINE_TUNED, RENAMED, AVHubert, config_of, load_avhubert, rename_checkpoint
from engine.weights.checkpoint_reader import DOWNLOAD, NORM_FIRST, Checkpoint, name_some, read_checkpoint
from engine.weights.licences import AV_HUBERT, MARK, Licence, accept_licence, find_acceptance, mark_uses
from engine.weights.registry import AVHUBERT, FOLDER, WeightFile, WeightState, hash_file, inspect_weight, read_sidecar

PUBLISHED_AT = "https://dl.fbaipublicfiles.com/avhubert/model"
PUBLISHED = {
    "lrs3/clean-pretrain": "base_lrs3_iter4 base_lrs3_iter5 large_lrs3_iter5",
    "lrs3_vox/clean-pretrain": "base_vox_iter4 base_vox_iter5 large_vox_iter5",
    "lrs3_vox/noise-pretrain": "base_vox_iter5 large_vox_iter5",
    "lrs3/vsr": "base_lrs3_30h base_lrs3_433h large_lrs3_30h large_lrs5_433h",
    "lrs3_vox/vsr": "base_vox_30h base_vox_433h large_vox_30h large_vox_433h self_large_vox_30h self_large_vox_433h",
    "lrs3_vox/avsr": "base_noise_pt_noise_ft_30h base_noise_pt_noise_ft_433h "
    "large_noise_pt_noise_ft_30h large_noise_pt_noise_ft_433h",
}
SPARE_BYTES = 16 * 1024 * 1024  # for the record and other writes on the same disk
ROOM = "Make room there, or set WAYSPEAK_DATA to a folder that can be written."
NORM_FIRST_KEPT = "encoder.norm_first"  # in converted files

Agree = Callable[[Licence], bool]
"""`agree(licence)`: show the terms and return whether the user accepts them."""


@dataclass(frozen=True, slots=True)
class Imported:
    """Result of an import."""

    weight: WeightFile
    path: Path
    dropped: tuple[str, ...]  # names of unused tensors of the checkpoint
    inert: tuple[str, ...]  # classes the checkpoint names; none was imported or called
    is_new: bool  # False: the same file was imported before


@dataclass(frozen=True, slots=True, eq=False)
class _Network:
    size: str
    state: dict[str, Tensor]
    dropped: tuple[str, ...]


def import_weights(path: Path, data_dir: Path, agree: Agree, replace_old: bool = False) -> Imported:
    """Convert a published file, pre-trained or fine-tuned, into the weights folder.

    Raises CHECKPOINT_REFUSED, LicenceNotAccepted, FolderUnwritable, and WEIGHTS_PRESENT if other weights exist and
    `replace_old` is False. On error, nothing is written except an acceptance of the licence.
    """
    if not path.is_file():
        raise Code.CHECKPOINT_REFUSED(f"{path} is not a file.", "Name the downloaded file.")
    original = {"name": path.name, "n_bytes": path.stat().st_size, "sha256": hash_file(path)}
    known = _find_same(original["sha256"], data_dir)
    if known is not None:
        _settle_licence(data_dir, agree)
        return known
    checkpoint = read_checkpoint(path)
    network = _convert(checkpoint, path.name)
    weight = AVHUBERT[network.size]
    target = data_dir / FOLDER / weight.file
    if target.exists() and not replace_old:
        raise Code.WEIGHTS_PRESENT(f"{target} exists already and differs.", "Add --replace to replace it.")
    terms_sha256 = _settle_licence(data_dir, agree)
    record = {
        "original": original,
        "source": _find_source(path.stem),
        "imported": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": asdict(config_of(network.state)),
        "dropped": network.dropped,
        "inert": checkpoint.inert,
        "container": checkpoint.container,
        "terms_sha256": terms_sha256,
    } | _describe_licence(weight)
    _write(network.state, record, weight, target)
    return Imported(weight, target, network.dropped, checkpoint.inert, True)


def _find_same(sha256: object, data_dir: Path) -> Imported | None:
    """Return the earlier import of the same file, if it is present and verified."""
    for weight in AVHUBERT.values():
        target = data_dir / FOLDER / weight.file
        try:
            record = read_sidecar(target)
        except (WeightsMissing, WeightsDamaged):
            continue
        original = record.get("original")
        if not isinstance(original, dict) or original.get("sha256") != sha256:
            continue
        if inspect_weight(weight, data_dir).state is WeightState.VERIFIED:
            return Imported(weight, target, tuple(record.get("dropped", ())), tuple(record.get("inert", ())), False)
    return None


def _settle_licence(data_dir: Path, agree: Agree) -> str:
    """Return the hash of the accepted terms; the user is asked once."""
    acceptance = find_acceptance(AV_HUBERT, data_dir)
    if acceptance is None:
        if not agree(AV_HUBERT):
            raise LicenceNotAccepted(f"The {AV_HUBERT.title} was not accepted.", "Nothing was imported.")
        acceptance = accept_licence(AV_HUBERT, data_dir)
    return acceptance.terms_sha256


def _convert(checkpoint: Checkpoint, file: str) -> _Network:
    """Convert to our names and float32; CHECKPOINT_REFUSED for another network or non-finite values."""
    try:
        state, dropped = rename_checkpoint(checkpoint.tensors, _find_norm_first(checkpoint))
        size = _find_size(state)
        _match(state)
    except (ValueError, RuntimeError, TypeError) as cause:
        raise Code.CHECKPOINT_REFUSED(f"{file} is not AV-HuBERT: {_compare(checkpoint, cause)}.", DOWNLOAD) from cause
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    broken = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise Code.CHECKPOINT_REFUSED(f"{file} holds NaN or infinity in {name_some(broken)}.", DOWNLOAD)
    return _Network(size, {name: tensor.contiguous() for name, tensor in state.items()}, dropped)


def _match(state: dict[str, Tensor]) -> None:
    """Raise ValueError unless every tensor of the network is present, with its shape and kind of number."""
    with torch.device("meta"):  # shapes only, no memory
        wanted = AVHubert(config_of(state)).state_dict()
    odd = [name for name in wanted if _describe(wanted[name]) != _describe(state.get(name))]
    if odd:
        raise ValueError(f"{name_some(odd)} are missing, or of another shape or kind of number")


def _describe(tensor: Tensor | None) -> tuple[object, ...]:
    return () if tensor is None else (tensor.shape, tensor.is_floating_point())


def _find_size(state: dict[str, Tensor]) -> str:
    """Return the name of the size; the number of cluster units and `norm_first` may vary."""
    found = config_of(state)
    for size in AVHUBERT:
        if found == replace(CONFIGS[size], n_clusters=found.n_clusters, norm_first=found.norm_first):
            return size
    raise ValueError(f"{found} is not a published size")


def _find_norm_first(checkpoint: Checkpoint) -> bool:
    """Return `norm_first` of the file's configuration; without one True, as in every published file."""
    kept = checkpoint.tensors.get(NORM_FIRST_KEPT)
    if kept is not None:
        return bool(kept)
    values = set(checkpoint.norm_first)
    if len(values) > 1:
        raise ValueError(f"its configuration has two values of {NORM_FIRST}")
    return values.pop() if values else True


def _compare(checkpoint: Checkpoint, cause: Exception) -> str:
    """Describe the difference to the nearest size: missing tensors or other shapes, else the error."""
    found = {
        _name_officially(name.removeprefix(FINE_TUNED)): tensor.shape for name, tensor in checkpoint.tensors.items()
    }
    differences = []
    for size in AVHUBERT:
        with torch.device("meta"):
            network = AVHubert(replace(CONFIGS[size], n_clusters=0)).state_dict()
        wanted = {_name_officially(name): tensor.shape for name, tensor in network.items() if name != NORM_FIRST_KEPT}
        lacking = [name for name in wanted if name not in found]
        shaped = [name for name in wanted if name in found and found[name] != wanted[name]]
        differences.append((len(lacking) + len(shaped), size, lacking, shaped))
    _, size, lacking, shaped = min(differences)
    if lacking:
        return f"it lacks {len(lacking)} of {size.upper()}'s tensors: {name_some(lacking)}"
    if shaped:
        return f"{len(shaped)} of {size.upper()}'s tensors have another shape: {name_some(shaped)}"
    return str(cause).rstrip(".")


def _name_officially(name: str) -> str:
    for official, ours in RENAMED.items():
        name = name.replace(ours, official)
    return name


def _find_source(stem: str) -> str:
    """Return where a file of this name is published; names prove nothing, so the record also holds the hash."""
    places = [f"{PUBLISHED_AT}/{folder}/{stem}.pt" for folder, stems in PUBLISHED.items() if stem in stems.split()]
    return f"supplied by the user; by its name {' or '.join(places)}" if places else "supplied by the user"


def _describe_licence(weight: WeightFile) -> dict[str, str]:
    return {
        "licence": AV_HUBERT.title,
        "licence_url": AV_HUBERT.url,
        "notice": AV_HUBERT.notice,
        MARK: mark_uses(weight.uses),
    }


def _write(state: dict[str, Tensor], record: dict[str, Any], weight: WeightFile, target: Path) -> None:
    """Write weights and record atomically, or leave everything unchanged."""
    n_bytes = sum(tensor.nbytes for tensor in state.values())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if free < n_bytes + SPARE_BYTES:
            raise FolderUnwritable(f"{target.parent} has {free} bytes left, wanted {n_bytes + SPARE_BYTES}.", ROOM)
        with tempfile.TemporaryDirectory(prefix=".import-", dir=target.parent) as unfinished:
            weights = Path(unfinished) / target.name
            save_file(state, weights, {"format": "pt"} | _describe_licence(weight))
            load_avhubert(weights)
            sidecar = weights.with_suffix(".json")
            sidecar.write_text(json.dumps({"sha256": hash_file(weights)} | record, indent=2) + "\n", encoding="utf-8")
            weights.chmod(sidecar.stat().st_mode)  # safetensors makes files private, whatever the umask
            _put_both(weights, sidecar, target)
    except (OSError, SafetensorError) as cause:
        raise FolderUnwritable(f"{target.parent} cannot be written: {cause}.", ROOM) from cause


def _put_both(weights: Path, sidecar: Path, target: Path) -> None:
    weights.replace(target)
    try:
        sidecar.replace(target.with_suffix(".json"))
    except OSError:
        target.unlink()  # weights without a record of their origin are worse than none
        raise
