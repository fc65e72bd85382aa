"""Reads what a pickle describes, and runs none of it: no class of the file is imported, no function of it is called.

A pickle is a program, and the usual way to read one is to run it: whoever wrote the file then has the machine. Here
the standard library's disassembler splits it into operations (`pickletools.genops`, which executes nothing), and a
small machine of our own carries out those that build numbers, texts, lists and dicts. A tensor becomes a `TensorPlan`,
numbers alone that say where its values lie. Every other class or function becomes an `Inert` of its name that swallows
whatever is done to it. Names that published fairseq checkpoints hold are only noted; any other is a reason for refusal.
Nothing here recurses, hashes anything but plain keys, or takes more memory than a fixed multiple of the bytes read.
"""

import pickletools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from engine.errors import CheckpointRefused

MAX_BYTES = 8 * 1024 * 1024  # of one pickle, its tensors lie elsewhere; at one operation a byte it takes 0.6 GB
MAX_NAMED = 5  # names in one message
DOWNLOAD = "Download the published file anew."
STORAGES = {
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
}
# What published files hold beside tensors: the configuration, dictionaries, a tokenizer, figures of the training.
INERT_PACKAGES = frozenset(
    "fairseq omegaconf hydra sentencepiece avhubert av_hubert "
    "hubert hubert_asr hubert_pretraining hubert_dataset hubert_criterion".split()
)
PLAIN = "object bool int long float complex str unicode bytes bytearray list tuple dict set frozenset".split()
INERT_NAMES = frozenset(
    [f"{module}.{name}" for module in ("builtins", "__builtin__") for name in PLAIN]
    + [f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")]
    + [f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")]
    + ["numpy.dtype", "numpy.ndarray", "argparse.Namespace", "typing.Any", "_codecs.encode", "enum.Enum"]
    + [
        "copyreg._reconstructor",
        "copy_reg._reconstructor",
        "torch.device",
        "torch.Size",
        "torch.serialization._get_layout",
    ]
    + [f"pathlib.{name}" for name in ("Path", "PosixPath", "PurePosixPath")]
    + [f"torch.{dtype}" for dtype in STORAGES.values()]
)
PLAIN_NAME = re.compile(r"[A-Za-z0-9_.]{1,200}")
KEYS = (str, int, bool, float, bytes, type(None))  # whose hash costs no more than their length


@dataclass(frozen=True, slots=True, eq=False)
class Inert:
    """Stands where the file names a class or function, and where it makes something of one."""

    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of numbers that lies outside the pickle."""

    key: str
    dtype: str  # a name of `STORAGES`
    numel: int


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """Which numbers of a storage form a tensor; all counts in elements, none is checked against the storage yet."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Pickled:
    """What a pickle describes: dicts, lists, tuples, texts, numbers, `TensorPlan` and `Inert`."""

    root: object
    inert: tuple[str, ...]  # the classes and functions of the file that were not made, sorted
    storages: dict[str, Storage]  # by key
    end: int  # bytes of the data up to the pickle's end


class _Malformed(ValueError):
    """The operations do not fit each other."""


def read_pickle(data: bytes, file: str) -> Pickled:
    """Read the pickle that `data` begins with; `file` is its name for messages.

    Raises CheckpointRefused where it names what no published checkpoint holds, and where it is no whole pickle.
    """
    machine = _Machine()
    try:
        root, end = machine.run(data[:MAX_BYTES])
    except (ValueError, IndexError, KeyError, TypeError) as cause:
        _refuse_strangers(machine.names, file)
        why = cause if isinstance(cause, _Malformed) else "its operations do not fit each other"
        raise CheckpointRefused(f"{file} is damaged, or no checkpoint: {why}.", DOWNLOAD) from cause
    _refuse_strangers(machine.names, file)
    return Pickled(root, tuple(sorted(machine.names)), machine.storages, end)


def name_some(names: Iterable[str]) -> str:
    """At most five of the names, quoted where they would not print as they are, and how many more there are."""
    names = list(names)
    shown = [name if name.isprintable() and len(name) <= 120 else f"{ascii(name)[:120]}..." for name in names]
    more = len(names) - MAX_NAMED
    return ", ".join(shown[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _refuse_strangers(names: set[str], file: str) -> None:
    strangers = sorted(name for name in names if not _is_known(name))
    if strangers:
        raise CheckpointRefused(
            f"{file} holds {name_some(strangers)}, which no published checkpoint does and which may be an attack.",
            "Nothing of it was run or written. Do not open the file with anything else; download the published one.",
        )


def _is_known(name: str) -> bool:
    """Names are shown and recorded, so nothing but plain letters is a known one."""
    return name in INERT_NAMES or (name.split(".")[0] in INERT_PACKAGES and bool(PLAIN_NAME.fullmatch(name)))


class _Machine:
    """A stack, the stacks below its marks, and a memo, as pickles expect."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.names: set[str] = set()
        self.storages: dict[str, Storage] = {}

    def run(self, data: bytes) -> tuple[object, int]:
        """Give what the pickle describes, and where it ends."""
        for opcode, argument, position in pickletools.genops(data):
            if opcode.name == "STOP":
                return self.stack.pop(), int(position or 0) + 1
            if opcode.name in PUSHES:
                self.push(argument)
            elif opcode.name in ACTIONS:
                ACTIONS[opcode.name](self, argument)
            else:  # the extension registry and buffers outside the file: whatever they hold is not ours to fetch
                raise _Malformed(f"the operation {opcode.name} is not one of a checkpoint")
        raise _Malformed("it has no end")

    def push(self, value: object) -> None:
        self.stack.append(value)

    def mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def pop_to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def forget_set(self, _: Any) -> None:
        self.pop_to_mark()
        self.push(Inert("builtins.frozenset"))

    def pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_to_mark()

    def store(self, index: Any) -> None:
        self.memo[len(self.memo) if index is None else int(index)] = self.stack[-1]

    def fetch(self, index: Any) -> None:
        self.push(self.memo[int(index)])

    def take_tuple(self, n_items: int) -> None:
        items = [self.stack.pop() for _ in range(n_items)]
        self.push(tuple(reversed(items)))

    def find(self, module: object, name: object) -> object:
        """What stands for a class or function; it is looked up in the tables above and nowhere else."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise _Malformed("a class is named by something that is no text")
        full = f"{module}.{name}"
        if full in STORAGES:
            return _StorageType(STORAGES[full])
        if full in MAKERS:
            return _Maker(MAKERS[full])
        self.names.add(full)
        return Inert(full)

    def find_named(self, argument: Any) -> None:
        self.push(self.find(*argument.split(" ", 1)))

    def find_on_stack(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.push(self.find(module, name))

    def call(self, made_of: object, arguments: object) -> None:
        if isinstance(made_of, Inert):
            self.push(Inert(made_of.name))
        elif isinstance(made_of, _Maker) and isinstance(arguments, tuple):
            self.push(made_of.make(*arguments))
        else:
            raise _Malformed("it calls what is no class")

    def reduce(self, _: Any) -> None:
        arguments, made_of = self.stack.pop(), self.stack.pop()
        self.call(made_of, arguments)

    def new_with_keywords(self, _: Any) -> None:
        self.stack.pop()
        self.reduce(None)

    def instantiate_named(self, argument: Any) -> None:
        arguments = tuple(self.pop_to_mark())
        self.call(self.find(*argument.split(" ", 1)), arguments)

    def instantiate(self, _: Any) -> None:
        made_of, *arguments = self.pop_to_mark()
        self.call(made_of, tuple(arguments))

    def build(self, _: Any) -> None:
        """Attributes are set on nothing: an OrderedDict's are torch's notes on versions."""
        self.stack.pop()
        if not isinstance(self.stack[-1], Inert | dict):
            raise _Malformed("it sets attributes of what has none")

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Inert):
            raise _Malformed("it appends to what is no list")

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, Inert | dict) or len(items) % 2:
            raise _Malformed("it sets items of what is no dict")
        if isinstance(target, dict):
            target.update(_pair(items))

    def find_storage(self, _: Any) -> None:
        described = self.stack.pop()
        if not isinstance(described, tuple) or len(described) not in (5, 6) or described[0] != "storage":
            raise _Malformed("it refers to something outside that is no storage")
        _, kind, key, _, numel = described[:5]
        if not isinstance(kind, _StorageType) or not isinstance(key, str) or not _is_count(numel):
            raise _Malformed("a storage has no type, key or length")
        if described[5:] not in ((), (None,)):
            raise _Malformed("a storage is a view of another, as before torch 0.4")
        storage = Storage(key, kind.dtype, numel)
        if self.storages.setdefault(key, storage) != storage:
            raise _Malformed(f"the storage {key} has two types or lengths")
        self.push(storage)


@dataclass(frozen=True, slots=True)
class _StorageType:
    dtype: str


@dataclass(frozen=True, slots=True)
class _Maker:
    make: Callable[..., object]


def _pair(items: list[Any]) -> dict[Any, Any]:
    """Keys that are no plain values are left out: nobody asks for them, and a nested tuple's hash may take for ever."""
    return {key: value for key, value in zip(items[::2], items[1::2], strict=True) if type(key) in KEYS}


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**40


def _make_dict(pairs: object = None) -> dict[Any, Any]:
    if pairs is None:
        return {}
    if not isinstance(pairs, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise _Malformed("an OrderedDict is made of no pairs")
    return _pair([item for pair in pairs for item in pair])


def _make_default_dict(*_: object) -> dict[Any, Any]:
    return {}


def _make_tensor(storage: object, offset: object, size: object, stride: object, *_: object) -> TensorPlan:
    """As `torch._utils._rebuild_tensor_v2`; gradients, hooks and metadata, which follow, are of no use here."""
    if not isinstance(storage, Storage) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise _Malformed("a tensor has no storage, size or stride")
    if len(size) != len(stride) or len(size) > 8 or not all(map(_is_count, (offset, *size, *stride))):
        raise _Malformed("a tensor's offset, size or stride are no counts")
    return TensorPlan(storage, offset, size, stride)  # type: ignore[arg-type]


def _make_parameter(tensor: object, *_: object) -> TensorPlan:
    if not isinstance(tensor, TensorPlan):
        raise _Malformed("a parameter is no tensor")
    return tensor


MAKERS: dict[str, Callable[..., object]] = {
    "collections.OrderedDict": _make_dict,
    "collections.defaultdict": _make_default_dict,
    "torch._utils._rebuild_tensor": _make_tensor,
    "torch._utils._rebuild_tensor_v2": _make_tensor,
    "torch._utils._rebuild_parameter": _make_parameter,
}
PUSHES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)
ACTIONS: dict[str, Callable[[_Machine, Any], object]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_SET": lambda machine, _: machine.push(Inert("builtins.set")),
    "LIST": lambda machine, _: machine.push(machine.pop_to_mark()),
    "DICT": lambda machine, _: machine.push(_pair(machine.pop_to_mark())),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.take_tuple(1),
    "TUPLE2": lambda machine, _: machine.take_tuple(2),
    "TUPLE3": lambda machine, _: machine.take_tuple(3),
    "FROZENSET": _Machine.forget_set,
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "ADDITEMS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": lambda machine, _: machine.pop_to_mark(),
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    "PUT": _Machine.store,
    "BINPUT": _Machine.store,
    "LONG_BINPUT": _Machine.store,
    "MEMOIZE": _Machine.store,
    "GET": _Machine.fetch,
    "BINGET": _Machine.fetch,
    "LONG_BINGET": _Machine.fetch,
    "GLOBAL": _Machine.find_named,
    "STACK_GLOBAL": _Machine.find_on_stack,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.reduce,
    "NEWOBJ_EX": _Machine.new_with_keywords,
    "INST": _Machine.instantiate_named,
    "OBJ": _Machine.instantiate,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.find_storage,
}
