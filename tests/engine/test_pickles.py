import ast
import itertools
import os
import pickle
import struct
import subprocess
import sys
from collections import OrderedDict, defaultdict
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from engine.errors import CheckpointRefused
from engine.pickles import MAX_BYTES, Inert, TensorPlan, read_pickle
from tests.checkpoints import Attack, Place, Plan, pickle_plans

ROOT = Path(__file__).parents[2]
CONTENT = {
    "texts": ["a", "é" * 300, b"bytes", b"b" * 300],
    "numbers": (0, -1, 255, 70_000, 2**40, -(2**300), 0.5, True, False, None),
    "nested": {"one": (1,), "two": (1, 2), "three": (1, 2, 3), "many": (1, 2, 3, 4), "none": ()},
    "ordered": OrderedDict(a=1, b=[2]),
    5: {None: 1, True: 2, 1.5: 3},
}


def _read(content: object, protocol: int = 2) -> object:
    return read_pickle(pickle_plans(content, protocol), "file").root


@pytest.mark.parametrize("protocol", range(6))
def test_plain_content_is_read_as_it_was_written(protocol):
    n_texts = 2 if protocol < 3 else 4  # before protocol 3, pickles call a function for bytes
    content = CONTENT | {"texts": CONTENT["texts"][:n_texts]}

    assert _read(content, protocol) == content


def test_one_list_in_two_places_stays_one():
    shared = [1]
    root = _read([shared, shared])

    assert root[0] is root[1]


def test_list_within_itself_ends():
    loop: list[object] = []
    loop.append(loop)

    root = _read(loop)
    assert root[0] is root


def test_end_is_that_of_the_pickle_not_of_the_data():
    data = pickle.dumps([1], 2)

    assert read_pickle(data + b"more", "file").end == len(data)


def test_tensor_is_a_plan():
    found = read_pickle(pickle_plans([Plan(Place("7", 12), (2, 3), (3, 1), 6)]), "file")

    (plan,) = found.root
    assert isinstance(plan, TensorPlan)
    assert (plan.storage.key, plan.storage.dtype, plan.storage.numel) == ("7", "float32", 12)
    assert (plan.offset, plan.size, plan.stride) == (6, (2, 3), (3, 1))
    assert list(found.storages) == ["7"] and found.inert == ()


def test_classes_of_published_files_are_named_and_not_made():
    content = {"array": np.arange(3), "scalar": np.float64(2), "default": defaultdict(int, {1: 2}), "set": {1, 2}}
    found = read_pickle(pickle.dumps(content, 2), "file")

    assert isinstance(found.root["array"], Inert) and isinstance(found.root["scalar"], Inert)
    assert isinstance(found.root["set"], Inert) and found.root["default"] == {1: 2}
    assert "numpy.ndarray" in found.inert and "numpy.dtype" in found.inert


def _assemble(name: str, opcode: str) -> bytes:
    """A pickle of the class or function `name`, brought in and called in one of the ways that pickles have."""
    module, function = name.rsplit(".", 1)
    found = f"c{module}\n{function}\n".encode()
    text = struct.pack("<BI", ord("X"), 1) + b"x"
    stacked = b"".join(struct.pack("<BI", ord("X"), len(part)) + part.encode() for part in (module, function))
    return {
        "REDUCE": found + text + b"\x85R.",
        "STACK_GLOBAL": b"\x80\x04" + stacked + b"\x93" + text + b"\x85R.",
        "NEWOBJ": found + text + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04" + found + text + b"\x85}\x92.",
        "OBJ": b"(" + found + text + b"o.",
        "INST": b"(" + text + f"i{module}\n{function}\n".encode() + b".",
        "BUILD": found + b")\x81}" + text + text + b"sb.",
        "APPEND": found + b")\x81" + text + b"a.",
        "APPENDS": found + b")\x81(" + text + text + b"e.",
        "SETITEM": found + b")\x81" + text + text + b"s.",
        "named alone": found + b".",
        "thrown away": found + text + b"\x85R0N.",
        "unfinished": found + text + b"\x85R",
        "before damage": found + text + b"\x85R\xff.",
    }[opcode]


OPCODES = "REDUCE STACK_GLOBAL NEWOBJ NEWOBJ_EX OBJ INST BUILD APPEND APPENDS SETITEM".split()
CIRCUMSTANCES = ["named alone", "thrown away", "unfinished", "before damage"]


@pytest.mark.parametrize("opcode", OPCODES + CIRCUMSTANCES)
@pytest.mark.parametrize(
    "name",
    ["posix.system", "builtins.eval", "builtins.getattr", "subprocess.Popen", "torch.hub.load", "runpy.run_path"],
)
def test_hostile_name_is_refused_by_name_however_it_is_used(opcode, name):
    with pytest.raises(CheckpointRefused, match=name.replace(".", r"\.")) as caught:
        read_pickle(_assemble(name, opcode), "file.pt")
    assert "file.pt" in caught.value.message and "Nothing of it was run" in caught.value.hint


@pytest.mark.parametrize("opcode", OPCODES + CIRCUMSTANCES[:2])
def test_class_that_does_not_exist_is_swallowed_with_all_that_is_done_to_it(opcode):
    found = read_pickle(_assemble("fairseq.no.such.Thing", opcode), "file")

    assert found.inert == ("fairseq.no.such.Thing",)


@pytest.mark.parametrize("dotted", ["system", "path.os.system", "__class__.__base__.__subclasses__"])
def test_path_of_attributes_leads_nowhere(dotted):
    """Protocol 4 lets a pickle walk from a harmless module to a dangerous function: names are not walked here."""
    stacked = b"".join(struct.pack("<BI", ord("X"), len(part)) + part.encode() for part in ("collections", dotted))
    with pytest.raises(CheckpointRefused, match="collections"):
        read_pickle(b"\x80\x04" + stacked + b"\x93)R.", "file")


def test_name_that_the_allowed_makers_have_is_theirs_alone():
    with pytest.raises(CheckpointRefused, match=r"collections\.OrderedDict\.fromkeys"):
        read_pickle(b"ccollections\nOrderedDict.fromkeys\n]\x85R.", "file")


@pytest.mark.parametrize("protocol", range(6))
def test_call_of_the_system_leaves_no_trace(tmp_path, protocol):
    marker = tmp_path / "marker"
    data = pickle.dumps({"deep": [{"model": (Attack(marker),)}]}, protocol)

    with pytest.raises(CheckpointRefused, match=rf"{os.system.__module__}\.system"):
        read_pickle(data, "file")
    assert not marker.exists()
    pickle.loads(data)
    assert marker.exists()  # the attack is a real one


@pytest.mark.parametrize("opcode", [b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00", b"P0\n", b"\x97", b"N\x98"])
def test_what_lies_outside_the_file_is_not_fetched(opcode):
    with pytest.raises(CheckpointRefused, match="not one of a checkpoint"):
        read_pickle(b"\x80\x02" + opcode + b".", "file")


SHORT = "|.|N|hello world|(.|Na.|NNs.|}Na.|N)R.|Nb.|h\x05.|NNQ.|co\n\u00e9\n.|ccollections\nOrderedDict\nNb.".split("|")
CLAIMS = [  # of more bytes than there are
    b"X\xff\xff\xff\x7fab.",
    b"\x8e" + struct.pack("<Q", 2**62) + b"x.",
    b"\x96" + struct.pack("<Q", 2**62) + b"x.",
    b"\x8b\xff\xff\xff\x7f1.",
    b"I" + b"9" * 10_000 + b"\n.",
]


@pytest.mark.parametrize("data", [text.encode("latin-1") for text in SHORT] + CLAIMS)
def test_nonsense_is_damage(data):
    with pytest.raises(CheckpointRefused, match="file is damaged, or no checkpoint"):
        read_pickle(data, "file")


@pytest.mark.parametrize(
    "described",
    [
        ("storage", "no type", "0", "cpu", 4),
        ("storage", Place, "0", "cpu", 4),
        ("module", None, "0", "cpu", 4),
        ("storage",),
        "text",
    ],
)
def test_storage_that_is_none_is_damage(described):
    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            return described if isinstance(value, complex) else None

    target = BytesIO()
    Pickler(target, 2).dump([1j])
    with pytest.raises(CheckpointRefused):
        read_pickle(target.getvalue(), "file")


@pytest.mark.parametrize(
    "plan",
    [
        Plan(Place("0", 4), (2,), (1, 1)),
        Plan(Place("0", 4), (-2,), (1,)),
        Plan(Place("0", 4), (2,), (-1,)),
        Plan(Place("0", 4), (2,), (1,), -1),
        Plan(Place("0", 4), (2.0,), (1,)),
        Plan(Place("0", 4), (2**70,), (1,)),
        Plan(Place("0", 4), (1,) * 100, (1,) * 100),
        Plan(Place("0", -4), (2,), (1,)),
        Plan(Place(0, 4), (2,), (1,)),
        Plan("no storage", (2,), (1,)),
        [Plan(Place("0", 4), (2,), (1,)), Plan(Place("0", 5), (2,), (1,))],
    ],
)
def test_tensor_of_impossible_claims_is_damage(plan):
    with pytest.raises(CheckpointRefused, match="damaged"):
        _read([plan])


def test_attack_in_a_tensors_metadata_is_refused(tmp_path):
    data = pickle_plans([Plan(Place("0", 4), (2,), (1,), metadata={"hook": Attack(tmp_path / "marker")})])

    with pytest.raises(CheckpointRefused, match="system"):
        read_pickle(data, "file")
    assert not (tmp_path / "marker").exists()


def test_key_whose_hash_takes_for_ever_is_left_out():
    doubled = b")" + b"2\x86" * 200_000  # a pair of the pair below, each the same twice: 2^200000 leaves
    root = read_pickle(b"\x80\x02}" + doubled + b"NsX\x01\x00\x00\x00aK\x05s.", "file").root

    assert root == {"a": 5}


@pytest.mark.parametrize("data", [b")" + b"\x85" * 200_000, b"]" * 100_000 + b"a" * 99_999], ids=["tuples", "lists"])
def test_deep_nesting_neither_crashes_nor_recurses(data):
    assert len(read_pickle(data + b".", "file").root) == 1


def test_marks_without_end_are_damage():
    with pytest.raises(CheckpointRefused, match="damaged"):
        read_pickle(b"(" * 200_000 + b".", "file")


def test_memo_is_as_large_as_what_is_in_it():
    assert read_pickle(b"Nr\xff\xff\xff\xffj\xff\xff\xff\xff.", "file").root is None


def test_pickle_longer_than_the_limit_is_refused():
    with pytest.raises(CheckpointRefused, match="do not fit"):
        read_pickle(b"B" + struct.pack("<I", MAX_BYTES) + b"x" * MAX_BYTES + b".", "file")


@pytest.mark.parametrize("package", [b"evil", b"fairseq."])
def test_names_that_would_play_with_a_terminal_are_quoted(package):
    with pytest.raises(CheckpointRefused) as caught:
        read_pickle(b"c" + package + b"\x1b[2J\n" + b"x" * 500 + b"\n.", "file")
    assert "\x1b" not in caught.value.message and len(caught.value.message) < 400


def test_many_names_are_five_and_a_count():
    data = b"".join(f"cevil\nf{n}\n0".encode() for n in range(10, 30)) + b"N."
    with pytest.raises(CheckpointRefused, match=r"evil\.f14 and 15 more"):
        read_pickle(data, "file")


def test_damage_anywhere_is_refused_or_harmless():
    """Every byte of a pickle changed in turn: nothing but CheckpointRefused ever comes out."""
    data = bytearray(pickle_plans({"model": OrderedDict(w=Plan(Place("0", 4), (2,), (1,))), "x": [1, "a"]}))
    n_refused = 0
    for position, value in itertools.product(range(len(data)), (0, 0x28, 0x52, 0x62, 0x71, 0x81, 0x93, 0xFF)):
        changed = bytes(data[:position]) + bytes([value]) + bytes(data[position + 1 :])
        try:
            read_pickle(changed, "file")
        except CheckpointRefused:
            n_refused += 1
    assert n_refused > len(data)


UNPICKLING = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def _unsafe_lines(source: str) -> list[int]:
    """Lines that import what unpickles, or that call torch.load or np.load without forbidding it."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if UNPICKLING & {name.split(".")[0] for name in names}:
            lines.append(node.lineno)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
            called = ast.unparse(node.func)
            said = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if called == "torch.load" and said.get("weights_only") != "True":
                lines.append(node.lineno)
            if called in ("np.load", "numpy.load") and said.get("allow_pickle", "False") != "False":
                lines.append(node.lineno)
    return lines


def test_no_product_code_unpickles():
    files = [path for room in ("engine", "gallery_db", "webapp") for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(files) > 40

    assert {
        str(path.relative_to(ROOT)): lines for path in files if (lines := _unsafe_lines(path.read_text("utf-8")))
    } == {}


def test_the_check_sees_what_unpickles():
    source = "import pickle\nfrom joblib import load\ntorch.load(p)\ntorch.load(p, weights_only=False)\n"
    source += "np.load(p, allow_pickle=True)\ntorch.load(p, weights_only=True)\nnp.load(p)\nimport pickletools\n"

    assert _unsafe_lines(source) == [1, 2, 3, 4, 5]


def test_reading_a_pickle_imports_no_torch():
    code = "import sys, engine.pickles; print(sorted({'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout.strip() == "[]"
