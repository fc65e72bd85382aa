import os
import random
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.checkpoints import read_checkpoint
from engine.errors import CheckpointRefused
from engine.pickles import MAX_BYTES
from tests.checkpoints import Attack, Place, Plan, make_state, pickle_plans, save_as_fairseq, zip_up

FORMS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
NUMBERS = torch.arange(12, dtype=torch.float32)
DATA = NUMBERS.numpy().tobytes()


def _assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


@FORMS
@pytest.mark.parametrize("fine_tuned", [False, True])
def test_model_of_a_fairseq_file_is_read_without_fairseq(tmp_path, legacy, fine_tuned):
    state = make_state(fine_tuned=fine_tuned)
    found = read_checkpoint(save_as_fairseq(tmp_path / "a.pt", state, legacy))

    _assert_same(found.tensors, state)
    assert found.container == ("torch legacy" if legacy else "torch zip")
    assert {"fairseq.data.dictionary.Dictionary", "omegaconf.dictconfig.DictConfig"} <= set(found.inert)
    assert found.content["cfg"]["model"] == {"_name": "av_hubert", "layer_norm_first": True}


@FORMS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_of_every_kind_are_read(tmp_path, legacy, protocol):
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
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)

    found = read_checkpoint(tmp_path / "a.pt").tensors
    _assert_same(found, state)
    assert all(tensor.is_contiguous() for tensor in found.values())


def test_tensors_of_one_storage_get_memory_of_their_own(tmp_path):
    torch.save({"one": NUMBERS, "other": NUMBERS}, tmp_path / "a.pt")
    found = read_checkpoint(tmp_path / "a.pt").tensors
    found["one"].zero_()

    assert torch.equal(found["other"], NUMBERS)


def test_optimiser_is_never_read(tmp_path, monkeypatch):
    read: list[str] = []
    real = zipfile.ZipFile.read
    monkeypatch.setattr(
        zipfile.ZipFile, "read", lambda self, entry, pwd=None: (read.append(entry.filename), real(self, entry))[1]
    )
    path = save_as_fairseq(tmp_path / "a.pt", {"weight": NUMBERS})
    read_checkpoint(path)

    with zipfile.ZipFile(path) as archive:
        assert sum("/data/" in name for name in archive.namelist()) == 2
    assert sum("/data/" in name for name in read) == 1


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

    with pytest.raises(CheckpointRefused, match=rf"a\.pt holds .*{os.system.__module__}\.system"):
        read_checkpoint(path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


@FORMS
def test_attack_is_a_real_one(tmp_path, legacy):
    torch.save(Attack(tmp_path / "marker"), tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    torch.load(tmp_path / "a.pt", weights_only=False)

    assert (tmp_path / "marker").exists()


def test_second_pickle_behind_the_end_is_refused(tmp_path):
    marker = tmp_path / "marker"
    path = zip_up(tmp_path / "a.pt", pickle_plans({"w": Plan(Place("0", 12), (12,), (1,))}) + b"N.", data__0=DATA)
    with pytest.raises(CheckpointRefused, match="behind the end"):
        read_checkpoint(path)
    legacy = tmp_path / "b.pt"
    torch.save({"w": NUMBERS}, legacy, _use_new_zipfile_serialization=False)
    with legacy.open("ab") as file:
        file.write(pickle_plans(Attack(marker)))
    with pytest.raises(CheckpointRefused, match="not whole"):
        read_checkpoint(legacy)
    assert not marker.exists()


@FORMS
def test_file_cut_off_anywhere_is_refused(tmp_path, legacy):
    whole = save_as_fairseq(tmp_path / "a.pt", {"weight": NUMBERS}, legacy).read_bytes()
    cut = tmp_path / "cut.pt"
    chance = random.Random(3)
    for n_bytes in [0, 1, 2, 9, 20, 100, len(whole) - 1, *chance.sample(range(len(whole)), 40)]:
        cut.write_bytes(whole[:n_bytes])
        with pytest.raises(CheckpointRefused):
            read_checkpoint(cut)


@FORMS
def test_damage_anywhere_is_refused_or_leaves_tensors(tmp_path, legacy):
    torch.save({"model": {"weight": NUMBERS}}, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    whole = (tmp_path / "a.pt").read_bytes()
    chance, n_refused = random.Random(4), 0
    for _ in range(300):
        changed = bytearray(whole)
        changed[chance.randrange(len(whole))] = chance.randrange(256)
        (tmp_path / "b.pt").write_bytes(changed)
        try:
            found = read_checkpoint(tmp_path / "b.pt")
        except CheckpointRefused:
            n_refused += 1
        else:
            assert all(isinstance(tensor, torch.Tensor) for tensor in found.tensors.values())
    assert n_refused > 20


def test_changed_weight_is_told_by_its_checksum(tmp_path):
    path = zip_up(tmp_path / "a.pt", pickle_plans({"w": Plan(Place("0", 12), (12,), (1,))}), data__0=DATA)
    data = path.read_bytes()
    path.write_bytes(data.replace(DATA, DATA[:-1] + b"\x01"))

    with pytest.raises(CheckpointRefused, match="CRC"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"<html>Not found</html>", b"PK\x03\x04", b"\x00" * 100, b"\x80\x02N."]
)
def test_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "a.pt").write_bytes(content)

    with pytest.raises(CheckpointRefused, match=r"a\.pt"):
        read_checkpoint(tmp_path / "a.pt")


def test_damaged_safetensors_are_refused(tmp_path):
    save_file({"weight": NUMBERS}, tmp_path / "a.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(data[:-4])

    with pytest.raises(CheckpointRefused, match="no whole safetensors"):
        read_checkpoint(tmp_path / "a.safetensors")


def test_path_that_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "pipe"):
        with pytest.raises(CheckpointRefused, match="no file"):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan(Place("0", 12), (12,), (1,), 1), "reaches outside"),
        (Plan(Place("0", 12), (2, 6), (7, 1)), "reaches outside"),
        (Plan(Place("0", 12), (2,), (2**39,)), "reaches outside"),
        (Plan(Place("0", 12), (2**30, 2**9), (0, 0)), "reaches outside"),
        (Plan(Place("0", 13), (12,), (1,)), "lacks the 52 bytes"),
        (Plan(Place("0", 2**38), (12,), (1,)), "lacks the"),
        (Plan(Place("0", 11), (11,), (1,)), "lacks the 44 bytes"),
        (Plan(Place("1", 12), (12,), (1,)), "lacks the 48 bytes of storage 1"),
        (Plan(Place("../../version", 12), (12,), (1,)), "lacks the"),
        (Plan(Place("0", 12, torch.DoubleStorage), (12,), (1,)), "lacks the 96 bytes"),
    ],
)
def test_tensor_that_claims_what_is_not_there_is_refused(tmp_path, plan, said):
    path = zip_up(tmp_path / "a.pt", pickle_plans({"w": plan}), data__0=DATA, version=b"3")

    with pytest.raises(CheckpointRefused, match=said):
        read_checkpoint(path)


def test_one_storage_is_not_multiplied(tmp_path):
    numel = 100_000
    plans = {f"w{n}": Plan(Place("0", numel), (numel,), (1,)) for n in range(50)}
    path = zip_up(tmp_path / "a.pt", pickle_plans(plans), data__0=bytes(4 * numel))

    with pytest.raises(CheckpointRefused, match="claims 20000000 bytes of tensors"):
        read_checkpoint(path)


def test_empty_tensor_may_stand_anywhere(tmp_path):
    path = zip_up(tmp_path / "a.pt", pickle_plans({"w": Plan(Place("0", 12), (0, 5), (5, 1), 12)}), data__0=DATA)

    assert read_checkpoint(path).tensors["w"].shape == (0, 5)


def _good_pickle() -> bytes:
    return pickle_plans({"w": Plan(Place("0", 12), (12,), (1,))})


def test_archive_that_packs_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", _good_pickle())
        archive.writestr("archive/data/0", bytes(50_000_000))  # 50 kB of file

    with pytest.raises(CheckpointRefused, match="packs or encrypts"):
        read_checkpoint(tmp_path / "a.pt")


def test_archive_that_names_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data.pkl", _good_pickle())
        archive.writestr("archive/data/0", DATA)
        archive.writestr("archive/data.pkl", _good_pickle())

    with pytest.raises(CheckpointRefused, match="names twice"):
        read_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "archive/../../x"])
def test_archive_that_names_outside_itself_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("archive/data.pkl", _good_pickle())
        archive.writestr(name, b"x")

    with pytest.raises(CheckpointRefused, match="names outside itself"):
        read_checkpoint(tmp_path / "a.pt")


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

    with pytest.raises(CheckpointRefused, match="claims more than"):
        read_checkpoint(path)


@pytest.mark.parametrize("n_roots", [0, 2])
def test_archive_without_one_content_is_refused(tmp_path, n_roots):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("readme.txt", "no checkpoint")
        for n in range(n_roots):
            archive.writestr(f"archive{n}/data.pkl", _good_pickle())

    with pytest.raises(CheckpointRefused, match=f"with {n_roots} data.pkl"):
        read_checkpoint(tmp_path / "a.pt")


def test_pickle_too_long_is_refused_unread(tmp_path):
    path = zip_up(tmp_path / "a.pt", bytes(MAX_BYTES + 1))

    with pytest.raises(CheckpointRefused, match="a pickle of 8388609 bytes"):
        read_checkpoint(path)


def test_order_of_bytes_must_be_ours(tmp_path):
    assert read_checkpoint(zip_up(tmp_path / "a.pt", _good_pickle(), data__0=DATA, byteorder=b"little")).tensors
    path = zip_up(tmp_path / "b.pt", _good_pickle(), data__0=DATA, byteorder=b"big")

    with pytest.raises(CheckpointRefused, match="little-endian"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "no tensors under `model`"),
        ({"model": {}}, "no tensors under `model`"),
        ({"model": [NUMBERS]}, "no tensors under `model`"),
        ({"model": {"w": NUMBERS, "x": 5, "y": "text"}}, "no tensor: x, y"),
        ({"model": {"w": NUMBERS, 5: NUMBERS}}, "names such as 5"),
        ({"model": {"w\x1b[2J": NUMBERS}}, "names such as"),
        ({"model": {f"w{n}": NUMBERS for n in range(5000)}}, "has 5000 tensors"),
    ],
)
def test_content_that_is_no_state_dict_is_refused(tmp_path, content, said):
    torch.save(content, tmp_path / "a.pt")

    with pytest.raises(CheckpointRefused, match=said) as caught:
        read_checkpoint(tmp_path / "a.pt")
    assert "\x1b" not in caught.value.message


def test_file_itself_stays_as_it_was(tmp_path):
    path = save_as_fairseq(tmp_path / "a.pt", make_state())
    before = path.read_bytes()
    read_checkpoint(path).tensors["mask_emb"].zero_()

    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [Path(path)]
