import json
import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from engine.errors import Code, EngineError, FolderUnwritable, LicenceNotAccepted, WeightsDamaged, WeightsForbidden
from engine.models import avhubert_import
from engine.models.avhubert import FINE_TUNED, AVHubert, load_avhubert
from engine.models.avhubert_import import import_weights
from engine.weights import checkpoint_reader, licences, registry
from engine.weights.licences import AV_HUBERT, Licence, Use, load_for
from engine.weights.registry import AVHUBERT, FOLDER
from tests.checkpoints import SMALL, Attack, load_here, make_state, save_as_fairseq
from tests.raising import raises


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch):
    monkeypatch.setattr(avhubert_import, "CONFIGS", SMALL)
    monkeypatch.setattr(checkpoint_reader, "_read_confined", load_here)


def accept(licence: Licence) -> bool:
    return True


def never(licence: Licence) -> bool:
    raise AssertionError("asked, and need not be")


def _tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("size", "fine_tuned", "legacy"),
    [("base", False, False), ("large", False, False), ("base", True, False), ("large", True, True)],
)
def test_published_file_becomes_weights_that_load(tmp_path, size, fine_tuned, legacy):
    state = make_state(size, fine_tuned)
    path = save_as_fairseq(tmp_path / "any.pt", state, legacy)
    imported = import_weights(path, tmp_path / "data", accept)

    assert imported.path == tmp_path / "data" / FOLDER / f"avhubert_{size}.safetensors" and imported.is_new
    assert registry.locate_accepted(registry.AVHUBERT[size], tmp_path / "data") == imported.path
    model = load_avhubert(imported.path)
    prefix = FINE_TUNED if fine_tuned else ""
    assert torch.equal(model.post_extract_proj.weight, state[f"{prefix}post_extract_proj.weight"])
    assert model(torch.zeros(1, 1, 3, 88, 88), None).isfinite().all()
    assert list(imported.dropped) == [name for name in state if name.startswith("decoder.")]
    assert "fairseq.data.dictionary.Dictionary" in imported.inert


def test_record_says_where_from_under_which_licence_and_what_is_left_out(tmp_path):
    path = save_as_fairseq(tmp_path / "large_vox_iter5.pt", make_state(fine_tuned=True))
    imported = import_weights(path, tmp_path / "data", accept)
    record = registry.read_sidecar(imported.path)

    assert record["sha256"] == registry.hash_file(imported.path)
    assert record["original"] == {
        "name": "large_vox_iter5.pt",
        "n_bytes": path.stat().st_size,
        "sha256": registry.hash_file(path),
    }
    assert record["source"].startswith(
        "supplied by the user; by its name https://dl.fbaipublicfiles.com/avhubert/model/"
    )
    assert "lrs3_vox/clean-pretrain/large_vox_iter5.pt or " in record["source"]
    assert record["dropped"] == ["decoder.embed_tokens.weight", "decoder.output_projection.weight"]
    assert record["config"]["layers"] == 1 and record["config"]["n_clusters"] == 0
    assert (record["licence"], record["licence_url"]) == (AV_HUBERT.title, AV_HUBERT.url)
    assert record["uses"] == "consistency" and record["terms_sha256"] == AV_HUBERT.sha256
    assert str(tmp_path) not in json.dumps(record)
    with safe_open(imported.path, "np") as file:
        assert file.metadata()["uses"] == "consistency" and file.metadata()["notice"] == AV_HUBERT.notice


def test_file_of_another_name_is_the_users(tmp_path):
    path = save_as_fairseq(tmp_path / "my own.pt", make_state())

    assert registry.read_sidecar(import_weights(path, tmp_path, accept).path)["source"] == "supplied by the user"


def test_speaker_branch_is_refused_what_was_imported(tmp_path):
    imported = import_weights(save_as_fairseq(tmp_path / "a.pt", make_state()), tmp_path, accept)
    renamed = imported.path.rename(tmp_path / "dynamics.safetensors")

    with pytest.raises(WeightsForbidden, match=r"dynamics\.safetensors may be used for consistency only"):
        load_for(Use.SPEAKER, renamed)


def test_same_file_again_changes_nothing(tmp_path):
    path = save_as_fairseq(tmp_path / "a.pt", make_state(fine_tuned=True))
    first = import_weights(path, tmp_path / "data", accept)
    before = first.path.stat().st_mtime_ns
    again = import_weights(path, tmp_path / "data", never)

    assert again == replace(first, is_new=False)
    assert first.path.stat().st_mtime_ns == before


def test_other_weights_are_replaced_only_when_asked(tmp_path):
    import_weights(save_as_fairseq(tmp_path / "a.pt", make_state()), tmp_path / "data", accept)
    state = make_state()
    state["mask_emb"] += 1
    other = save_as_fairseq(tmp_path / "b.pt", state)
    with raises(Code.WEIGHTS_PRESENT, match="exists already") as caught:
        import_weights(other, tmp_path / "data", never)
    assert "--replace" in caught.value.hint

    imported = import_weights(other, tmp_path / "data", never, replace_old=True)
    assert torch.equal(load_file(imported.path)["mask_emb"], state["mask_emb"])
    assert registry.locate_accepted(registry.AVHUBERT["base"], tmp_path / "data") == imported.path


def test_damaged_weights_are_brought_in_anew(tmp_path):
    path = save_as_fairseq(tmp_path / "a.pt", make_state())
    target = import_weights(path, tmp_path / "data", accept).path
    target.write_bytes(target.read_bytes()[:-1])
    with pytest.raises(WeightsDamaged) as caught:
        registry.locate_accepted(registry.AVHUBERT["base"], tmp_path / "data")
    assert "--replace" in caught.value.hint

    assert import_weights(path, tmp_path / "data", never, replace_old=True).is_new
    assert registry.locate_accepted(registry.AVHUBERT["base"], tmp_path / "data") == target


def test_licence_is_asked_for_once(tmp_path):
    asked: list[Licence] = []

    def agree(licence: Licence) -> bool:
        asked.append(licence)
        return True

    import_weights(save_as_fairseq(tmp_path / "a.pt", make_state()), tmp_path / "data", agree)
    import_weights(save_as_fairseq(tmp_path / "b.pt", make_state("large")), tmp_path / "data", agree)
    assert asked == [AV_HUBERT]
    assert all(registry.is_accepted(weight, tmp_path / "data") for weight in AVHUBERT.values())


def test_without_the_licence_nothing_is_written(tmp_path):
    with pytest.raises(LicenceNotAccepted, match="was not accepted"):
        import_weights(save_as_fairseq(tmp_path / "a.pt", make_state()), tmp_path / "data", lambda licence: False)

    assert not (tmp_path / "data").exists()


def test_withdrawn_licence_is_asked_for_again_also_of_the_same_file(tmp_path):
    path = save_as_fairseq(tmp_path / "a.pt", make_state())
    import_weights(path, tmp_path / "data", accept)
    (tmp_path / "data" / licences.FILE).unlink()

    with pytest.raises(LicenceNotAccepted):
        import_weights(path, tmp_path / "data", lambda licence: False)


@pytest.mark.parametrize("place", ["args", "model"])
def test_hostile_file_leaves_no_trace(tmp_path, place):
    attack = Attack(tmp_path / "marker")
    state = make_state()
    more = {"args": attack} if place == "args" else {}
    path = save_as_fairseq(tmp_path / "a.pt", state | ({"x": attack} if place == "model" else {}), **more)

    with raises(Code.CHECKPOINT_REFUSED, match=rf"{os.system.__module__}\.system"):
        import_weights(path, tmp_path / "data", never)
    assert _tree(tmp_path) == ["a.pt"]


def test_safetensors_of_published_names_are_taken(tmp_path):
    save_file(make_state(), tmp_path / "a.safetensors")
    imported = import_weights(tmp_path / "a.safetensors", tmp_path / "data", accept)

    assert imported.weight == AVHUBERT["base"] and registry.read_sidecar(imported.path)["container"] == "safetensors"


@pytest.mark.parametrize("norm_first", [True, False])
def test_safetensors_of_our_own_names_are_taken_as_they_are(tmp_path, norm_first):
    state = AVHubert(replace(SMALL["base"], norm_first=norm_first)).state_dict()
    save_file(state, tmp_path / "a.safetensors")
    imported = import_weights(tmp_path / "a.safetensors", tmp_path / "data", accept)

    found = load_file(imported.path)
    assert set(found) == set(state) and all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"model": {"layer_norm_first": False}}, False),
        ({"model": {"w2v_args": [{"model": {"layer_norm_first": False}}]}}, False),
        ({"model": {"layer_norm_first": True}}, True),
        ({"model": {"layer_norm_first": "perhaps"}}, True),
        ({}, True),
    ],
)
def test_place_of_the_norms_is_that_of_the_files_configuration(tmp_path, config, wanted):
    path = save_as_fairseq(tmp_path / "a.pt", make_state(), cfg=config)

    imported = import_weights(path, tmp_path / "data", accept)
    assert registry.read_sidecar(imported.path)["config"]["norm_first"] is wanted


def test_configuration_that_contradicts_itself_is_refused(tmp_path):
    config = {"a": {"layer_norm_first": False}, "b": {"layer_norm_first": True}}
    path = save_as_fairseq(tmp_path / "a.pt", make_state(), cfg=config)

    with raises(Code.CHECKPOINT_REFUSED, match="two values of layer_norm_first"):
        import_weights(path, tmp_path / "data", never)


def test_half_precision_becomes_float32(tmp_path):
    state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in make_state().items()}
    imported = import_weights(save_as_fairseq(tmp_path / "a.pt", state), tmp_path / "data", accept)

    kinds = {tensor.dtype for tensor in load_file(imported.path).values()}
    assert kinds == {torch.float32, torch.int64, torch.bool}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weight_that_is_no_number_is_refused_by_name(tmp_path, value):
    state = make_state()
    state["encoder.layers.0.fc1.weight"][3, 4] = value

    with raises(Code.CHECKPOINT_REFUSED, match=r"NaN or infinity in encoder\.layers\.0\.fc1\.weight"):
        import_weights(save_as_fairseq(tmp_path / "a.pt", state), tmp_path / "data", never)


def _without(*names: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in make_state().items() if name not in names}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"conv1.weight": torch.ones(3)}, r"it lacks \d\d+ of BASE's tensors: .*, .*, .*, .*, [\w.]+ and \d+ more\."),
        (_without("layer_norm.bias"), r"it lacks 1 of BASE's tensors: layer_norm\.bias\."),
        (_without("encoder.pos_conv.0.weight_v"), r"it lacks 1 of BASE's tensors: encoder\.pos_conv\.0\.weight_v\."),
        (
            make_state() | {"layer_norm.bias": torch.ones(3)},
            r"1 of BASE's tensors have another shape: layer_norm\.bias\.",
        ),
        (make_state() | {"post_extract_proj.weight": torch.tensor(3.0)}, "another shape"),
        (make_state() | {"encoder.layers.0.fc1.weight": torch.tensor(3.0)}, "another shape"),
        (make_state() | {"encoder.surplus": torch.ones(3)}, r"encoder\.surplus"),
        (
            make_state() | {"layer_norm.bias": torch.ones(128, dtype=torch.int64)},
            "layer_norm.bias are missing, or of another shape or kind",
        ),
        (make_state() | {"label_embs_concat": torch.ones(7, 3)}, "label_embs_concat"),
    ],
)
def test_checkpoint_of_another_model_is_refused_with_what_is_wrong(tmp_path, state, said):
    with raises(Code.CHECKPOINT_REFUSED, match="a.pt is not AV-HuBERT: .*" + said):
        import_weights(save_as_fairseq(tmp_path / "a.pt", state), tmp_path / "data", never)
    assert _tree(tmp_path) == ["a.pt"]


def test_size_that_was_never_published_is_refused(tmp_path):
    state = AVHubert(replace(SMALL["base"], ffn=48)).state_dict()
    save_file(state, tmp_path / "a.safetensors")

    with raises(Code.CHECKPOINT_REFUSED, match=r"BASE's tensors have another shape: encoder\.layers\.0\.fc1"):
        import_weights(tmp_path / "a.safetensors", tmp_path / "data", never)


def test_another_number_of_units_is_no_hindrance(tmp_path):
    state = make_state() | {"label_embs_concat": torch.ones(504, 256)}

    assert import_weights(save_as_fairseq(tmp_path / "a.pt", state), tmp_path / "data", accept).is_new


def test_path_that_is_not_a_file_is_reported(tmp_path):
    with raises(Code.CHECKPOINT_REFUSED, match="not a file"):
        import_weights(tmp_path / "nothing.pt", tmp_path, never)


def test_folder_at_target_path_is_reported(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / FOLDER).write_text("no folder")

    with pytest.raises(FolderUnwritable, match="cannot be written"):
        import_weights(save_as_fairseq(tmp_path / "a.pt", make_state()), tmp_path / "data", accept)


def test_full_disk_leaves_what_was_there(tmp_path):
    """The limit on the length of a file stands for the end of the disk: writing fails in the midst."""
    first = import_weights(save_as_fairseq(tmp_path / "a.pt", make_state()), tmp_path / "data", accept)
    state = make_state()
    state["mask_emb"] += 1
    path = save_as_fairseq(tmp_path / "b.pt", state)
    before, content = _tree(tmp_path), first.path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (first.path.stat().st_size // 2, hard))
    try:
        with pytest.raises(FolderUnwritable, match="cannot be written"):
            import_weights(path, tmp_path / "data", never, replace_old=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert _tree(tmp_path) == before and first.path.read_bytes() == content
    assert registry.locate_accepted(registry.AVHUBERT["base"], tmp_path / "data") == first.path


def test_insufficient_space_is_reported_before_writing(tmp_path, monkeypatch):
    monkeypatch.setattr(avhubert_import, "SPARE_BYTES", 2**62)
    with pytest.raises(FolderUnwritable, match=r"has \d+ bytes left, wanted \d+"):
        import_weights(save_as_fairseq(tmp_path / "a.pt", make_state()), tmp_path / "data", accept)

    assert _tree(tmp_path / "data") == [licences.FILE, FOLDER]


def test_weights_that_do_not_load_never_count(tmp_path, monkeypatch):
    def fail(path: Path) -> None:
        raise WeightsDamaged("not this time")

    monkeypatch.setattr(avhubert_import, "load_avhubert", fail)
    with pytest.raises(WeightsDamaged):
        import_weights(save_as_fairseq(tmp_path / "a.pt", make_state()), tmp_path / "data", accept)
    assert _tree(tmp_path / "data") == [licences.FILE, FOLDER]


def test_failed_sidecar_write_removes_the_weights(tmp_path):
    (tmp_path / "data" / FOLDER / "avhubert_base.json" / "in the way").mkdir(parents=True)
    with pytest.raises(FolderUnwritable):
        import_weights(save_as_fairseq(tmp_path / "a.pt", make_state()), tmp_path / "data", accept)

    assert not list((tmp_path / "data" / FOLDER).glob("*.safetensors"))


def test_weights_are_as_readable_as_their_record(tmp_path):
    path = import_weights(save_as_fairseq(tmp_path / "a.pt", make_state()), tmp_path / "data", accept).path

    assert path.stat().st_mode == path.with_suffix(".json").stat().st_mode


def test_published_names_are_each_a_file_of_a_known_size():
    stems = [stem for group in avhubert_import.PUBLISHED.values() for stem in group.split()]
    assert len(stems) == 22
    assert all(("base" in stem) != ("large" in stem) for stem in stems)


def test_every_error_has_a_code_and_says_what_to_do(tmp_path):
    with pytest.raises(EngineError) as caught:
        import_weights(tmp_path, tmp_path, never)
    assert caught.value.code == "CHECKPOINT_REFUSED" and caught.value.hint
