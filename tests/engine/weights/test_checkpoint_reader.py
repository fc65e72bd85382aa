import itertools
import os
import pickle
import platform
import random
import re
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict, defaultdict
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from engine.errors import Code, EngineError
from engine.media.sandbox import process
from engine.media.sandbox.ipc import Message
from engine.weights import checkpoint_reader
from engine.weights.checkpoint_reader import MAX_PICKLE, read_checkpoint
from tests.checkpoints import Attack, Place, Plan, load_here, make_state, pickle_plans, save_as_fairseq, zip_up
from tests.raising import raises

FORMS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
NUMBERS = torch.arange(12, dtype=torch.float32)
DATA = NUMBERS.numpy().tobytes()


def _assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


@pytest.mark.parametrize(("fine_tuned", "legacy"), [(False, True), (True, False)])
def test_model_of_a_fairseq_file_is_read_without_fairseq(tmp_path, fine_tuned, legacy):
    state = make_state(fine_tuned=fine_tuned)
    found = read_checkpoint(save_as_fairseq(tmp_path / "a.pt", state, legacy))

    _assert_same(found.tensors, state)
    assert found.container == ("torch legacy" if legacy else "torch zip")
    assert {"fairseq.data.dictionary.Dictionary", "omegaconf.dictconfig.DictConfig"} <= set(found.inert)
    assert found.norm_first == (True,)


@FORMS
def test_tensors_of_every_kind_are_read(tmp_path, legacy):
    state = {
        "whole": NUMBERS,
        "view": NUMBERS[2:8].view(2, 3).T,
        "step": NUMBERS[1::4],
        "scalar": torch.tensor(5),
        "none": torch.zeros(0, 3),
        "half": torch.ones(2, 3).half(),
        "brain": torch.ones(3, dtype=torch.bfloat16),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "yes": torch.tensor([True, False]),
        "bytes": torch.arange(5, dtype=torch.uint8),
    }
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)

    found = read_checkpoint(tmp_path / "a.pt").tensors
    _assert_same(found, state)
    assert all(tensor.is_contiguous() for tensor in found.values())


def test_tensors_of_one_storage_get_memory_of_their_own(tmp_path):
    torch.save({"one": NUMBERS, "other": NUMBERS}, tmp_path / "a.pt")
    found = read_checkpoint(tmp_path / "a.pt").tensors
    found["one"].zero_()

    assert torch.equal(found["other"], NUMBERS)


def test_safetensors_are_read(tmp_path):
    save_file({"weight": NUMBERS}, tmp_path / "a.safetensors")
    found = read_checkpoint(tmp_path / "a.safetensors")

    _assert_same(found.tensors, {"weight": NUMBERS})
    assert (found.container, found.inert) == ("safetensors", ())


@FORMS
@pytest.mark.parametrize("place", ["model", "args", "top", "inside a tensor", "beside"])
def test_hostile_file_is_refused_and_leaves_no_trace(tmp_path, legacy, place):
    attack = Attack(tmp_path / "marker")
    state = OrderedDict(make_state())
    if place == "model":
        state["encoder.weight"] = attack
    if place == "inside a tensor":
        state["weight"] = torch.nn.Parameter(NUMBERS)
        state["weight"].hook = attack  # kept as the parameter's state
    path = tmp_path / "a.pt"
    if place == "top":
        torch.save(attack, path, _use_new_zipfile_serialization=not legacy)
    else:
        save_as_fairseq(path, state, legacy, **({"args": attack} if place == "args" else {}))
    if place == "beside":
        state.attack = attack  # an attribute of the dict, set behind its items
        save_as_fairseq(path, state, legacy)

    with raises(Code.CHECKPOINT_REFUSED, match=rf"a\.pt holds .*{os.system.__module__}\.system"):
        load_here(path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


@FORMS
def test_attack_is_a_real_one(tmp_path, legacy):
    torch.save(Attack(tmp_path / "marker"), tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    torch.load(tmp_path / "a.pt", weights_only=False)

    assert (tmp_path / "marker").exists()


def test_second_pickle_behind_the_end_is_refused(tmp_path):
    marker = tmp_path / "marker"
    path = zip_up(tmp_path / "a.pt", pickle_plans({"w": Plan(Place("0", 12), (12,), (1,))}) + b"N.", data__0=DATA)
    with raises(Code.CHECKPOINT_REFUSED, match="after the end"):
        load_here(path)
    legacy = tmp_path / "b.pt"
    torch.save({"w": NUMBERS}, legacy, _use_new_zipfile_serialization=False)
    with legacy.open("ab") as file:
        file.write(pickle_plans(Attack(marker)))
    with raises(Code.CHECKPOINT_REFUSED, match="not complete"):
        load_here(legacy)
    assert not marker.exists()


@FORMS
def test_file_cut_off_anywhere_is_refused(tmp_path, legacy):
    whole = save_as_fairseq(tmp_path / "a.pt", {"weight": NUMBERS}, legacy).read_bytes()
    cut = tmp_path / "cut.pt"
    chance = random.Random(3)
    for n_bytes in [0, 1, 2, 9, 20, 100, len(whole) - 1, *chance.sample(range(len(whole)), 40)]:
        cut.write_bytes(whole[:n_bytes])
        with raises(Code.CHECKPOINT_REFUSED):
            load_here(cut)


@FORMS
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damage_anywhere_is_refused_or_leaves_tensors(tmp_path, legacy):
    torch.save({"model": {"weight": NUMBERS}}, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    whole = (tmp_path / "a.pt").read_bytes()
    chance, n_refused = random.Random(4), 0
    for _ in range(300):
        changed = bytearray(whole)
        changed[chance.randrange(len(whole))] = chance.randrange(256)
        (tmp_path / "b.pt").write_bytes(changed)
        try:
            found = load_here(tmp_path / "b.pt")
        except EngineError as error:
            assert error.code == Code.CHECKPOINT_REFUSED
            n_refused += 1
        else:
            assert all(isinstance(tensor, torch.Tensor) for tensor in found.tensors.values())
    assert n_refused > 20


def test_changed_weight_is_detected_by_its_checksum(tmp_path):
    path = zip_up(tmp_path / "a.pt", pickle_plans({"w": Plan(Place("0", 12), (12,), (1,))}), data__0=DATA)
    data = path.read_bytes()
    path.write_bytes(data.replace(DATA, DATA[:-1] + b"\x01"))

    with raises(Code.CHECKPOINT_REFUSED, match="CRC"):
        load_here(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"<html>Not found</html>", b"PK\x03\x04", b"\x00" * 100, b"\x80\x02N."]
)
def test_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "a.pt").write_bytes(content)

    with raises(Code.CHECKPOINT_REFUSED, match=r"a\.pt"):
        load_here(tmp_path / "a.pt")


def test_damaged_safetensors_are_refused(tmp_path):
    save_file({"weight": NUMBERS}, tmp_path / "a.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(data[:-4])

    with raises(Code.CHECKPOINT_REFUSED, match="not a complete safetensors"):
        read_checkpoint(tmp_path / "a.safetensors")


def test_path_that_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "pipe"):
        with raises(Code.CHECKPOINT_REFUSED, match="not a file"):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan(Place("0", 12), (12,), (1,), 1), "resize storage"),
        (Plan(Place("0", 12), (2, 6), (7, 1)), "resize storage"),
        (Plan(Place("0", 12), (2,), (2**39,)), "resize storage"),
        (Plan(Place("0", 12), (2**30, 2**9), (0, 0)), r"claims \d+ bytes of tensors"),
        (Plan(Place("0", 13), (12,), (1,)), "not match expected size .52 bytes"),
        (Plan(Place("0", 2**38), (12,), (1,)), "not match expected size"),
        (Plan(Place("0", 11), (11,), (1,)), "not match expected size .44 bytes"),
        (Plan(Place("1", 12), (12,), (1,)), "failed locating file data/1"),
        (Plan(Place("../../version", 12), (12,), (1,)), "failed locating file"),
        (Plan(Place("0", 12, torch.DoubleStorage), (12,), (1,)), "not match expected size .96 bytes"),
    ],
)
def test_tensor_that_claims_what_is_not_there_is_refused(tmp_path, plan, said):
    path = zip_up(tmp_path / "a.pt", pickle_plans({"w": plan}), data__0=DATA)

    with raises(Code.CHECKPOINT_REFUSED, match=said):
        load_here(path)


def test_one_storage_is_not_multiplied(tmp_path):
    numel = 100_000
    plans = {f"w{n}": Plan(Place("0", numel), (numel,), (1,)) for n in range(50)}
    path = zip_up(tmp_path / "a.pt", pickle_plans(plans), data__0=bytes(4 * numel))

    with raises(Code.CHECKPOINT_REFUSED, match="claims 20000000 bytes of tensors"):
        load_here(path)


def test_empty_tensor_may_stand_anywhere(tmp_path):
    path = zip_up(tmp_path / "a.pt", pickle_plans({"w": Plan(Place("0", 12), (0, 5), (5, 1), 12)}), data__0=DATA)

    assert load_here(path).tensors["w"].shape == (0, 5)


def _good_pickle() -> bytes:
    return pickle_plans({"w": Plan(Place("0", 12), (12,), (1,))})


def test_archive_that_packs_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", _good_pickle())
        archive.writestr("archive/data/0", bytes(50_000_000))  # 50 kB of file

    with raises(Code.CHECKPOINT_REFUSED, match="packs or encrypts"):
        load_here(tmp_path / "a.pt")


def test_archive_that_names_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data.pkl", _good_pickle())
        archive.writestr("archive/data/0", DATA)
        archive.writestr("archive/data.pkl", _good_pickle())

    with raises(Code.CHECKPOINT_REFUSED, match="names twice"):
        load_here(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "archive/../../x"])
def test_archive_that_names_outside_itself_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("archive/data.pkl", _good_pickle())
        archive.writestr(name, b"x")

    with raises(Code.CHECKPOINT_REFUSED, match="names outside itself"):
        load_here(tmp_path / "a.pt")


def test_entries_that_share_their_bytes_are_refused(tmp_path):
    """A directory that names the same bytes under many names claims more than the file holds."""
    numel = 1000
    path = zip_up(tmp_path / "a.pt", _good_pickle(), data__0=bytes(4 * numel))
    with zipfile.ZipFile(path, "a") as archive:
        first = archive.getinfo("archive/data/0")
        for n in range(1, 9):
            copy = zipfile.ZipInfo(f"archive/data/{n}")
            copy.header_offset, copy.CRC = first.header_offset, first.CRC
            copy.file_size = copy.compress_size = first.file_size
            archive.filelist.append(copy)
        archive._didModify = True

    with raises(Code.CHECKPOINT_REFUSED, match="claims more than"):
        load_here(path)


@pytest.mark.parametrize("n_roots", [0, 2])
def test_archive_without_one_content_is_refused(tmp_path, n_roots):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("readme.txt", "no checkpoint")
        for n in range(n_roots):
            archive.writestr(f"archive{n}/data.pkl", _good_pickle())

    with raises(Code.CHECKPOINT_REFUSED, match=f"with {n_roots} data.pkl"):
        load_here(tmp_path / "a.pt")


def test_pickle_too_long_is_refused_unread(tmp_path):
    path = zip_up(tmp_path / "a.pt", bytes(MAX_PICKLE + 1))

    with raises(Code.CHECKPOINT_REFUSED, match="a pickle of 8388609 bytes"):
        load_here(path)


def test_order_of_bytes_is_that_of_the_file(tmp_path):
    for order, data in (("little", DATA), ("big", NUMBERS.numpy().byteswap().tobytes())):
        path = zip_up(tmp_path / f"{order}.pt", _good_pickle(), data__0=data, byteorder=order.encode())
        assert torch.equal(load_here(path).tensors["w"], NUMBERS)
    torch.save({"w": NUMBERS}, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    written = (tmp_path / "legacy.pt").read_bytes()
    (tmp_path / "legacy.pt").write_bytes(re.sub(rb"(little_endianq.)\x88", lambda found: found[1] + b"\x89", written))

    with raises(Code.CHECKPOINT_REFUSED, match="little-endian"):
        load_here(tmp_path / "legacy.pt")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "no tensors under `model`"),
        ({"model": {}}, "no tensors under `model`"),
        ({"model": [NUMBERS]}, "no tensors under `model`"),
        ({"model": {"w": NUMBERS, "x": 5, "y": "text"}}, "no tensors: x, y"),
        ({"model": {"w": NUMBERS, 5: NUMBERS}}, "names such as 5"),
        ({"model": {"w\x1b[2J": NUMBERS}}, "names such as"),
        ({"model": {f"w{n}": NUMBERS for n in range(5000)}}, "has 5000 tensors"),
    ],
)
def test_content_that_is_no_state_dict_is_refused(tmp_path, content, said):
    torch.save(content, tmp_path / "a.pt")

    with raises(Code.CHECKPOINT_REFUSED, match=said) as caught:
        load_here(tmp_path / "a.pt")
    assert "\x1b" not in caught.value.message


def test_file_itself_stays_as_it_was(tmp_path):
    path = save_as_fairseq(tmp_path / "a.pt", make_state())
    before = path.read_bytes()
    read_checkpoint(path).tensors["mask_emb"].zero_()

    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [Path(path)]


def _load_pickled(tmp_path: Path, pickled: bytes) -> checkpoint_reader.Checkpoint:
    return load_here(zip_up(tmp_path / "file.pt", pickled, data__0=DATA))


def _add(pickled: bytes) -> bytes:
    """A good state dict under `model`, and next to it what `pickled` makes."""
    content = pickle_plans({"model": {"w": Plan(Place("0", 12), (12,), (1,))}})
    return content[:-1] + b"X\x01\x00\x00\x00x" + pickled[:-1] + b"s."


def test_classes_of_published_files_are_named_and_not_made(tmp_path):
    content = {"array": np.arange(3), "scalar": np.float64(2), "default": defaultdict(int, {1: 2}), "set": {1, 2}}
    found = _load_pickled(tmp_path, _add(pickle.dumps(content, 2)))

    assert list(found.tensors) == ["w"]
    assert {"numpy.ndarray", "numpy.dtype", "__builtin__.set"} <= set(found.inert)


def test_configuration_within_itself_is_searched_once(tmp_path):
    loop: list[object] = [{"layer_norm_first": False}]
    loop.append(loop)

    assert _load_pickled(tmp_path, _add(pickle.dumps(loop, 2))).norm_first == (False,)


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


SWALLOWED = ["REDUCE", "NEWOBJ", "BUILD", "named alone"]
REFUSED = [*"NEWOBJ_EX OBJ INST APPEND APPENDS SETITEM".split(), "thrown away"]


@pytest.mark.parametrize("opcode", [*SWALLOWED, *REFUSED, "unfinished", "before damage"])
@pytest.mark.parametrize(
    "name",
    ["posix.system", "builtins.eval", "builtins.getattr", "subprocess.Popen", "torch.hub.load", "runpy.run_path"],
)
def test_hostile_name_is_refused_by_name_however_it_is_used(tmp_path, opcode, name):
    with raises(Code.CHECKPOINT_REFUSED, match=name.replace(".", r"\.")) as caught:
        _load_pickled(tmp_path, _assemble(name, opcode))
    assert "file.pt" in caught.value.message and "Nothing of it was run" in caught.value.hint


@pytest.mark.parametrize("opcode", SWALLOWED)
def test_class_that_does_not_exist_is_swallowed_with_all_that_is_done_to_it(tmp_path, opcode):
    found = _load_pickled(tmp_path, _add(_assemble("fairseq.no.such.Thing", opcode)))

    assert found.inert == ("fairseq.no.such.Thing",)


@pytest.mark.parametrize("opcode", REFUSED)
def test_use_of_a_class_that_no_published_file_makes_is_refused(tmp_path, opcode):
    with raises(Code.CHECKPOINT_REFUSED, match=r"file\.pt"):
        _load_pickled(tmp_path, _add(_assemble("fairseq.no.such.Thing", opcode)))


@pytest.mark.parametrize("dotted", ["system", "path.os.system", "OrderedDict.fromkeys"])
def test_path_of_attributes_leads_nowhere(tmp_path, dotted):
    """Python walks from a harmless module to a dangerous function; here the whole name is looked up."""
    with raises(Code.CHECKPOINT_REFUSED, match=rf"holds collections\.{dotted}"):
        _load_pickled(tmp_path, f"ccollections\n{dotted}\n".encode() + b"]\x85R.")


def test_global_name_from_the_stack_is_refused_unread(tmp_path):
    with raises(Code.CHECKPOINT_REFUSED, match="STACK_GLOBAL is not one of a checkpoint"):
        _load_pickled(tmp_path, _assemble("collections.path.os.system", "STACK_GLOBAL"))


@pytest.mark.parametrize("protocol", range(6))
def test_call_of_the_system_leaves_no_trace(tmp_path, protocol):
    marker = tmp_path / "marker"
    data = pickle.dumps({"deep": [{"model": (Attack(marker),)}]}, protocol)

    said = rf"{os.system.__module__}\.system" if protocol < 4 else "is not one of a checkpoint"
    with raises(Code.CHECKPOINT_REFUSED, match=said):
        _load_pickled(tmp_path, data)
    assert not marker.exists()
    pickle.loads(data)
    assert marker.exists()  # the attack is a real one


@pytest.mark.parametrize("opcode", [b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00", b"P0\n", b"\x97", b"N\x98"])
def test_what_lies_outside_the_file_is_not_fetched(tmp_path, opcode):
    with raises(Code.CHECKPOINT_REFUSED, match=r"is not one of a checkpoint|Unsupported operand"):
        _load_pickled(tmp_path, b"\x80\x02" + opcode + b".")


SHORT = "|.|N|hello world|(.|Na.|NNs.|}Na.|N)R.|Nb.|h\x05.|NNQ.|co\n\u00e9\n.|ccollections\nOrderedDict\nNb.".split("|")
CLAIMS = [  # of more bytes than there are
    b"X\xff\xff\xff\x7fab.",
    b"\x8e" + struct.pack("<Q", 2**62) + b"x.",
    b"\x96" + struct.pack("<Q", 2**62) + b"x.",
    b"\x8b\xff\xff\xff\x7f1.",
    b"I" + b"9" * 10_000 + b"\n.",
]


@pytest.mark.parametrize("data", [text.encode("latin-1") for text in SHORT] + CLAIMS)
def test_invalid_opcodes_are_damage(tmp_path, data):
    with raises(Code.CHECKPOINT_REFUSED, match=r"file\.pt is (not complete|damaged, or not a checkpoint): ."):
        _load_pickled(tmp_path, data)


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
def test_storage_that_is_none_is_damage(tmp_path, described):
    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            return described if isinstance(value, complex) else None

    target = BytesIO()
    Pickler(target, 2).dump([1j])
    with raises(Code.CHECKPOINT_REFUSED):
        _load_pickled(tmp_path, target.getvalue())


@pytest.mark.parametrize(
    "plan",
    [
        Plan(Place("0", 12), (2,), (1, 1)),
        Plan(Place("0", 12), (-2,), (1,)),
        Plan(Place("0", 12), (2,), (-1,)),
        Plan(Place("0", 12), (2,), (1,), -1),
        Plan(Place("0", 12), (2.0,), (1,)),
        Plan(Place("0", 12), (2**70,), (1,)),
        Plan(Place("0", 12), (1,) * 100, (1,) * 100),
        Plan(Place("0", -4), (2,), (1,)),
        Plan("no storage", (2,), (1,)),
    ],
)
def test_tensor_of_impossible_claims_is_damage(tmp_path, plan):
    with raises(Code.CHECKPOINT_REFUSED, match=r"damaged|no tensors: w"):
        _load_pickled(tmp_path, pickle_plans({"w": plan, "x": Plan(Place("0", 12), (2,), (1,))}))


def test_storage_has_the_bytes_that_are_there_whatever_else_is_claimed(tmp_path):
    claims = {"w": Plan(Place("0", 12), (2,), (1,)), "x": Plan(Place("0", 2**30), (12,), (1,))}
    assert torch.equal(_load_pickled(tmp_path, pickle_plans(claims)).tensors["x"], NUMBERS)
    claims["x"] = Plan(Place("0", 2**30), (13,), (1,))

    with raises(Code.CHECKPOINT_REFUSED, match="damaged"):
        _load_pickled(tmp_path, pickle_plans(claims))


def test_attack_in_a_tensors_metadata_is_refused(tmp_path):
    data = pickle_plans([Plan(Place("0", 4), (2,), (1,), metadata={"hook": Attack(tmp_path / "marker")})])

    with raises(Code.CHECKPOINT_REFUSED, match="system"):
        _load_pickled(tmp_path, data)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("data", [b")" + b"\x85" * 200_000, b"]" * 100_000 + b"a" * 99_999], ids=["tuples", "lists"])
def test_deep_nesting_neither_crashes_nor_recurses(tmp_path, data):
    assert list(_load_pickled(tmp_path, _add(data + b".")).tensors) == ["w"]


def test_marks_without_end_are_damage(tmp_path):
    with raises(Code.CHECKPOINT_REFUSED, match="damaged"):
        _load_pickled(tmp_path, b"(" * 200_000 + b".")


def test_legacy_pickle_longer_than_the_limit_is_refused(tmp_path):
    torch.save({"w": NUMBERS, "x": "x" * MAX_PICKLE}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)

    with raises(Code.CHECKPOINT_REFUSED, match="not complete"):
        load_here(tmp_path / "a.pt")


@pytest.mark.parametrize("package", [b"evil", b"fairseq."])
def test_names_that_would_play_with_a_terminal_are_quoted(tmp_path, package):
    with raises(Code.CHECKPOINT_REFUSED) as caught:
        _load_pickled(tmp_path, b"c" + package + b"\x1b[2J\n" + b"x" * 500 + b"\n.")
    assert "\x1b" not in caught.value.message and len(caught.value.message) < 400


def test_many_names_are_five_and_a_count(tmp_path):
    data = b"".join(f"cevil\nf{n}\n0".encode() for n in range(10, 30)) + b"N."
    with raises(Code.CHECKPOINT_REFUSED, match=r"evil\.f14 and 15 more"):
        _load_pickled(tmp_path, data)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_pickle_is_refused_or_harmless(tmp_path):
    """Every byte of a pickle changed in turn: nothing but CHECKPOINT_REFUSED is ever raised."""
    data = pickle_plans({"model": OrderedDict(w=Plan(Place("0", 12), (2,), (1,))), "x": [1, "a"]})
    n_refused = 0
    for position, value in itertools.product(range(len(data)), (0, 0x28, 0x52, 0x62, 0x71, 0x81, 0x93, 0xFF)):
        try:
            _load_pickled(tmp_path, data[:position] + bytes([value]) + data[position + 1 :])
        except EngineError as error:
            assert error.code == Code.CHECKPOINT_REFUSED
            n_refused += 1
    assert n_refused > len(data)


@FORMS
def test_hostile_file_is_refused_by_the_confined_process_too(tmp_path, legacy):
    path = save_as_fairseq(tmp_path / "a.pt", make_state(), legacy, args=Attack(tmp_path / "marker"))

    with raises(Code.CHECKPOINT_REFUSED, match=rf"a\.pt holds {os.system.__module__}\.system") as caught:
        read_checkpoint(path)
    assert "Nothing of it was run" in caught.value.hint and not (tmp_path / "marker").exists()


@pytest.mark.parametrize("n_bytes", [2**31 - 1, 2**60], ids=["2 GiB", "more than there is"])
def test_memory_is_limited(tmp_path, n_bytes, monkeypatch):
    monkeypatch.setattr(checkpoint_reader, "SPARE_BYTES", 2**28)
    number = b"\x8a\x08" + struct.pack("<q", n_bytes)
    path = zip_up(tmp_path / "a.pt", _add(b"c__builtin__\nbytearray\n" + number + b"\x85R."), data__0=DATA)

    with raises(Code.CHECKPOINT_REFUSED, match=r"a\.pt cannot be read\. .* MB of memory"):
        read_checkpoint(path)


@pytest.mark.parametrize("depth", [60, 200_000], ids=["for ever", "crash"])
def test_key_whose_hash_never_ends_is_refused(tmp_path, depth, monkeypatch):
    monkeypatch.setattr(checkpoint_reader, "MAX_CPU_S", 2)
    doubled = b"}" + b")" + b"q\x00h\x00\x86" * depth + b"Ns."
    path = zip_up(tmp_path / "a.pt", _add(doubled), data__0=DATA)

    with raises(Code.CHECKPOINT_REFUSED, match=r"a\.pt cannot be read\. .*(processor time|crashed)"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "messages",
    [
        [Message("checkpoint", {}, b"[]")],
        [Message("checkpoint", {"norm_first": 5}, b"[]")],
        [Message("checkpoint", {"norm_first": []}, b"[")],
        [Message("checkpoint", {"norm_first": []}, b"[5]")],
        [Message("checkpoint", {"norm_first": []}, b'["\x1b"]')],
        [Message("checkpoint", {"norm_first": []}, b"[]"), Message("tensor", {}, b"no tensor")],
        [Message("checkpoint", {"norm_first": []}, b"[]"), Message("tensor", {}, save({"w\x1b": NUMBERS}))],
        [Message("checkpoint", {"norm_first": []}, b"[]"), *[Message("piece", {}, bytes(2**20))] * 50],
    ],
)
def test_process_that_was_taken_over_is_not_believed(tmp_path, monkeypatch, messages):
    class Process:
        def __init__(self, *_: object):
            self.receive = iter([*messages, Message("end", {})]).__next__

        def __enter__(self) -> "Process":
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(checkpoint_reader, "WorkerProcess", Process)
    monkeypatch.setattr(checkpoint_reader, "SPARE_BYTES", 2**24)
    path = zip_up(tmp_path / "a.pt", _good_pickle(), data__0=DATA)

    with raises(Code.CHECKPOINT_REFUSED, match=r"a\.pt (cannot be read|has 1 tensors)") as caught:
        read_checkpoint(path)
    assert "\x1b" not in caught.value.message


@pytest.mark.skipif(platform.system() != "Linux", reason="elsewhere there is no filter of system calls")
def test_torch_starts_no_thread_before_the_confinement():
    """A filter of system calls holds the thread that installs it, and those that it starts later."""
    code = (
        "import os, engine.media.sandbox.fork_server; from engine.weights.checkpoint_worker import load_libraries\n"
        "load_libraries()\n"
    )
    code += "print(len(os.listdir('/proc/self/task')))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=process._make_environment(), capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "1"
