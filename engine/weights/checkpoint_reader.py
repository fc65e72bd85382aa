"""Read the model tensors of an untrusted checkpoint, and nothing else of the file.

A torch checkpoint is a pickle, and a pickle is a program. It is read by `torch.load(weights_only=True)` in a confined
process of `engine.media.sandbox`: classes of published fairseq checkpoints are replaced by `Inert`, any other name in
the file is refused before anything is loaded. The tensors come back in safetensors format, which holds no code.
"""

import io
import json
import pickletools
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor
from torch.serialization import safe_globals

from engine.errors import Code, EngineError
from engine.media.sandbox.process import WorkerProcess, invalid_message
from engine.settings import MediaLimits

WORKER_MODULE = "engine.weights.checkpoint_worker"  # with the job of the confined process
MAX_PICKLE = 8 * 1024 * 1024  # bytes, without the storages of the tensors
MAX_ENTRIES = 65_536
MAX_TENSORS = 4096
MAX_DIMS = 8
MAX_SHARING = 2  # bytes of tensors for each byte of the file: tensors may share a storage, but not multiply it
MAX_CPU_S, MAX_STALL_S = 600, 600.0
SPARE_BYTES = 2**30  # of memory, for the content of the pickle and one copied tensor
MAX_NAMED = 5  # names in one message
DOWNLOAD = "Download the published file again."
ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # first bytes of the file
NORM_FIRST = "layer_norm_first"  # in the configuration of published files
PLAIN_NAME = re.compile(r"[A-Za-z0-9_.]{1,200}")

MADE = frozenset(  # the only names in the file that are not replaced by `Inert`
    ["collections.OrderedDict", "collections.defaultdict"]
    + [f"torch._utils._rebuild_{kind}" for kind in ("tensor", "tensor_v2", "parameter")]
    + [f"torch.{kind}Storage" for kind in "Double Float Half BFloat16 Long Int Short Char Byte Bool".split()]
)
# Published files also hold the configuration, dictionaries, a tokenizer and training statistics.
INERT_PACKAGES = frozenset(
    "fairseq omegaconf hydra sentencepiece avhubert av_hubert "
    "hubert hubert_asr hubert_pretraining hubert_dataset hubert_criterion".split()
)
PLAIN = "object bool int long float complex str unicode bytes bytearray list tuple dict set frozenset".split()
DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()
INERT_NAMES = frozenset(  # torch builds a few of them itself, such as a set
    [f"{module}.{name}" for module in ("builtins", "__builtin__") for name in PLAIN]
    + [f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")]
    + [f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")]
    + ["numpy.dtype", "numpy.ndarray", "argparse.Namespace", "typing.Any", "_codecs.encode", "enum.Enum"]
    + ["copyreg._reconstructor", "copy_reg._reconstructor"]
    + ["torch.device", "torch.Size", "torch.serialization._get_layout"]
    + [f"pathlib.{name}" for name in ("Path", "PosixPath", "PurePosixPath")]
    + [f"torch.{dtype}" for dtype in DTYPES]
)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Model tensors of a file."""

    tensors: dict[str, Tensor]
    norm_first: tuple[bool, ...]  # values of `layer_norm_first` anywhere in the configuration
    inert: tuple[str, ...]  # classes and functions the file names; none was imported or called
    container: str  # torch zip, torch legacy or safetensors


class Inert:
    """Substitute for a class or function of the file: accepts any arguments and state, and ignores them."""

    def __new__(cls, *_: object, **__: object) -> "Inert":
        return super().__new__(cls)

    def __setstate__(self, _: object) -> None:
        pass


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the state dict of a torch or safetensors file: under `model`, or the file itself.

    Raises CHECKPOINT_REFUSED if the file is damaged, of another format, or holds what no published checkpoint does.
    """
    if not path.is_file():  # a pipe would block forever
        raise Code.CHECKPOINT_REFUSED(f"{path} is not a file.", "Name the published file.")
    try:
        with path.open("rb") as stream:
            begin = stream.read(9)
        if begin[8:] == b"{" and not begin.startswith(ZIP):
            return _read_safetensors(path)
        return _read_confined(path, "torch zip" if begin.startswith(ZIP) else "torch legacy")
    except OSError as cause:
        raise Code.CHECKPOINT_REFUSED(f"{path} cannot be read: {cause.strerror or cause}.", DOWNLOAD) from cause


def name_some(names: Iterable[str]) -> str:
    """List at most five names, escaped if not printable, and the number of the others."""
    names = list(names)
    shown = [name if name.isprintable() and len(name) <= 120 else f"{ascii(name)[:120]}..." for name in names]
    more = len(names) - MAX_NAMED
    return ", ".join(shown[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError, RuntimeError) as cause:
        raise Code.CHECKPOINT_REFUSED(f"{path.name} is not a complete safetensors file: {cause}.", DOWNLOAD) from cause
    _check_names(tensors, path.name)
    return Checkpoint(tensors, (), (), "safetensors")


def _read_confined(path: Path, container: str) -> Checkpoint:
    n_bytes = path.stat().st_size
    limits = MediaLimits(
        max_memory_bytes=MAX_SHARING * n_bytes + SPARE_BYTES, max_cpu_s=MAX_CPU_S, max_stall_s=MAX_STALL_S
    )
    try:
        with WorkerProcess(WORKER_MODULE, path, "checkpoint", {"file": path.name}, b"", limits) as process:
            head = process.receive()
            norm_first, inert = map(bool, head.note["norm_first"]), json.loads(head.data)
            tensors = _receive_tensors(process, MAX_SHARING * n_bytes)
        if not all(PLAIN_NAME.fullmatch(name) for name in inert):
            raise invalid_message("a class of no plain name")
        _check_names(tensors, path.name)
        return Checkpoint(tensors, tuple(norm_first), tuple(inert), container)
    except EngineError as cause:
        if cause.code not in (Code.DECODER_FAILED, Code.DECODING_TOO_LARGE):
            raise
        raise Code.CHECKPOINT_REFUSED(f"{path.name} cannot be read. {cause.message}", DOWNLOAD) from cause
    except (KeyError, TypeError, ValueError, SafetensorError) as cause:  # the process was taken over
        raise Code.CHECKPOINT_REFUSED(
            f"{path.name} cannot be read. {invalid_message(str(cause)).message}", DOWNLOAD
        ) from cause


def _receive_tensors(process: WorkerProcess, max_bytes: int) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    written, n_bytes = bytearray(), 0
    while (message := process.receive()).kind != "end":
        written += message.data
        n_bytes += len(message.data)
        if n_bytes > max_bytes + SPARE_BYTES:
            raise invalid_message(f"more than {max_bytes} bytes of tensors")
        if message.kind == "tensor":  # the last piece
            tensors |= load(bytes(written))
            written.clear()
    return tensors


def load_checkpoint(stream: BinaryIO, file: str) -> Checkpoint:
    """Load a torch file of any origin; it may take all memory and crash the process, so call it in a confined one.

    `file` is its name for messages. Raises CHECKPOINT_REFUSED.
    """
    n_bytes = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    begin = stream.read(len(ZIP))
    names: set[str] = set()
    try:
        if begin == ZIP:
            _scan_zip(stream, n_bytes, names, file)
        else:
            _scan_legacy(stream, names, file)
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, OverflowError) as cause:
        _refuse_unknown(names, file)
        raise Code.CHECKPOINT_REFUSED(f"{file} is not complete: {name_some([str(cause)])}.", DOWNLOAD) from cause
    _refuse_unknown(names, file)
    content = _unpickle(stream, names, file)
    if begin != ZIP and stream.tell() != n_bytes:
        raise Code.CHECKPOINT_REFUSED(
            f"{file} is not complete: its storages do not fill its {n_bytes} bytes.", DOWNLOAD
        )
    tensors = _find_state(content, n_bytes, file)
    norm_first = tuple(_find_settings(content, NORM_FIRST))
    container = "torch zip" if begin == ZIP else "torch legacy"
    return Checkpoint(tensors, norm_first, tuple(sorted(names - MADE)), container)


def _scan_zip(stream: BinaryIO, n_bytes: int, names: set[str], file: str) -> None:
    """Check what torch does not: compressed, repeated or shared entries, checksums, bytes behind the pickle."""
    with zipfile.ZipFile(stream) as archive:
        infos = archive.infolist()
        twice = [name for name, count in Counter(info.filename for info in infos).items() if count > 1]
        outside = [info.filename for info in infos if {"..", "/"} & set(PurePosixPath(info.filename).parts)]
        packed = [info.filename for info in infos if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1]
        for problem, found in (
            ("names twice", twice),
            ("names outside itself", outside),
            ("packs or encrypts", packed),
        ):
            if found:
                raise Code.CHECKPOINT_REFUSED(f"{file} {problem}: {name_some(found)}.", DOWNLOAD)
        if len(infos) > MAX_ENTRIES or sum(info.file_size for info in infos) > n_bytes:
            raise Code.CHECKPOINT_REFUSED(f"{file} claims more than its {n_bytes} bytes hold.", DOWNLOAD)
        roots = [info for info in infos if PurePosixPath(info.filename).name == "data.pkl"]
        if len(roots) != 1:
            raise Code.CHECKPOINT_REFUSED(f"{file} is a zip archive with {len(roots)} data.pkl, wanted 1.", DOWNLOAD)
        if roots[0].file_size > MAX_PICKLE:
            raise Code.CHECKPOINT_REFUSED(
                f"{file} has a pickle of {roots[0].file_size} bytes, wanted {MAX_PICKLE} or fewer.", DOWNLOAD
            )
        pickled = io.BytesIO(archive.read(roots[0]))
        _scan_pickle(pickled, names)
        if pickled.read(1):
            raise ValueError("it continues after the end of its pickle")
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"bad CRC-32 of {damaged}")


def _scan_legacy(stream: BinaryIO, names: set[str], file: str) -> None:
    """Scan magic number, protocol, sizes of the machine, content and keys of the storages: five pickles."""
    stream.seek(0)
    pickles = io.BytesIO(stream.read(MAX_PICKLE))
    if not pickles.getvalue().startswith(PICKLE):
        raise Code.CHECKPOINT_REFUSED(f"{file} is neither a torch checkpoint nor a safetensors file.", DOWNLOAD)
    operations = [_scan_pickle(pickles, names) for _ in range(5)]
    if "NEWFALSE" in operations[2]:  # `little_endian`, which torch does not check
        raise Code.CHECKPOINT_REFUSED(f"{file} is not written in little-endian order.", DOWNLOAD)


def _scan_pickle(pickled: BinaryIO, names: set[str]) -> set[str]:
    """Add the classes and functions that the next pickle names, and return its operations; none is executed.

    Raises ValueError where it is damaged, or of another protocol than torch reads.
    """
    operations: set[str] = set()
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name in ("GLOBAL", "INST"):
            names.add(str(argument).replace(" ", ".", 1))
        if operation.proto > 2:
            raise ValueError(f"the operation {operation.name} is not one of a checkpoint")
        operations.add(operation.name)
    return operations


def _refuse_unknown(names: set[str], file: str) -> None:
    unknown = sorted(name for name in names if not _is_known(name))
    if unknown:
        raise Code.CHECKPOINT_REFUSED(
            f"{file} holds {name_some(unknown)}, which no published checkpoint does and which may be an attack.",
            "Nothing of it was run or written. Do not open the file with anything else; download the published one.",
        )


def _is_known(name: str) -> bool:
    """Admit plain letters alone: names are shown and recorded."""
    return name in INERT_NAMES | MADE or (name.split(".")[0] in INERT_PACKAGES and bool(PLAIN_NAME.fullmatch(name)))


def _unpickle(stream: BinaryIO, names: set[str], file: str) -> object:
    substitutes = [(Inert, name) for name in INERT_NAMES | (names - MADE)]
    stream.seek(0)
    try:
        with safe_globals([(_make_dict, "collections.defaultdict"), *substitutes]):
            return torch.load(stream, "cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as cause:  # torch validates little, so any exception may occur
        reason = str(cause).rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
        raise Code.CHECKPOINT_REFUSED(
            f"{file} is damaged, or not a checkpoint: {name_some([reason])}.", DOWNLOAD
        ) from cause


def _make_dict(*_: object) -> dict[object, object]:
    return {}


def _find_state(content: object, n_bytes: int, file: str) -> dict[str, Tensor]:
    state = content["model"] if isinstance(content, dict) and "model" in content else content
    if not isinstance(state, dict) or not any(isinstance(value, Tensor) for value in state.values()):
        raise Code.CHECKPOINT_REFUSED(f"{file} holds no tensors under `model`.", DOWNLOAD)
    _check_names(state, file)
    others = [name for name, value in state.items() if not isinstance(value, Tensor) or value.dim() > MAX_DIMS]
    if others:
        raise Code.CHECKPOINT_REFUSED(
            f"{file} holds values under `model` that are no tensors: {name_some(others)}.", DOWNLOAD
        )
    total = sum(tensor.nbytes for tensor in state.values())
    if total > MAX_SHARING * n_bytes:
        raise Code.CHECKPOINT_REFUSED(f"{file} claims {total} bytes of tensors out of {n_bytes}.", DOWNLOAD)
    return {name: tensor.detach() for name, tensor in state.items()}


def _check_names(tensors: dict[str, Tensor], file: str) -> None:
    odd = [str(name)[:200] for name in tensors if not isinstance(name, str) or not PLAIN_NAME.fullmatch(name)]
    if odd or len(tensors) > MAX_TENSORS:
        raise Code.CHECKPOINT_REFUSED(
            f"{file} has {len(tensors)} tensors with names such as {name_some(odd)}.", DOWNLOAD
        )


def _find_settings(content: object, name: str) -> Iterator[bool]:
    """Find every bool of that name in dicts, lists and tuples, which may hold each other and themselves."""
    waiting, seen = [content], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen or not isinstance(part, dict | list | tuple):
            continue
        seen.add(id(part))
        if isinstance(part, dict) and isinstance(part.get(name), bool):
            yield part[name]
        waiting.extend(part.values() if isinstance(part, dict) else part)
