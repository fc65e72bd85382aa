import ast
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import WeightsDamaged, WeightsForbidden, WeightsMissing
from engine.models.avhubert import AVHubert
from engine.weights import registry
from engine.weights.licences import MARK, Use, check_use, load_for, mark_uses
from tests.checkpoints import SMALL, make_state

ROOT = Path(__file__).parents[3]
OURS = {"encoder.weight": torch.ones(2, 2)}
CONSISTENCY_ALONE = mark_uses(frozenset({Use.CONSISTENCY}))


def test_weights_that_say_nothing_serve_every_use(tmp_path):
    save_file(OURS, tmp_path / "own.safetensors")

    for use in Use:
        assert torch.equal(load_for(use, tmp_path / "own.safetensors")["encoder.weight"], torch.ones(2, 2))


def test_mark_in_the_file_forbids_what_it_does_not_name(tmp_path):
    save_file(OURS, tmp_path / "a.safetensors", {MARK: CONSISTENCY_ALONE})
    shutil.copy(tmp_path / "a.safetensors", tmp_path / "speaker_model.safetensors")

    assert load_for(Use.CONSISTENCY, tmp_path / "a.safetensors")
    with pytest.raises(WeightsForbidden, match=r"speaker_model\.safetensors may be used for consistency alone"):
        load_for(Use.SPEAKER, tmp_path / "speaker_model.safetensors")


def test_mark_in_the_sidecar_forbids_too(tmp_path):
    save_file(OURS, tmp_path / "a.safetensors")
    (tmp_path / "a.json").write_text(json.dumps({MARK: CONSISTENCY_ALONE}))

    assert load_for(Use.CONSISTENCY, tmp_path / "a.safetensors")
    with pytest.raises(WeightsForbidden):
        load_for(Use.SPEAKER, tmp_path / "a.safetensors")


@pytest.mark.parametrize("sidecar", ["{", "[]", '{"uses": 5}', "{}"])
def test_sidecar_without_a_mark_allows(tmp_path, sidecar):
    save_file(OURS, tmp_path / "a.safetensors")
    (tmp_path / "a.json").write_text(sidecar)

    check_use(tmp_path / "a.safetensors", Use.SPEAKER)


@pytest.mark.parametrize("form", ["published", "fine-tuned", "ours", "without heads"])
def test_avhubert_is_known_by_its_tensors_whatever_the_file_is_called(tmp_path, form):
    state = {
        "published": make_state(),
        "fine-tuned": {name: tensor for name, tensor in make_state(fine_tuned=True).items() if "decoder" not in name},
        "ours": AVHubert(SMALL["base"]).state_dict(),
        "without heads": {name: tensor for name, tensor in make_state().items() if "feature_extractor_audio" in name},
    }[form]
    save_file(state, tmp_path / "innocent.safetensors")

    with pytest.raises(WeightsForbidden, match="holds AV-HuBERT"):
        load_for(Use.SPEAKER, tmp_path / "innocent.safetensors")
    assert load_for(Use.CONSISTENCY, tmp_path / "innocent.safetensors")


def test_only_whole_safetensors_are_loaded(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"PK\x03\x04 a checkpoint under another name")

    with pytest.raises(WeightsDamaged, match="no whole safetensors"):
        load_for(Use.SPEAKER, tmp_path / "a.safetensors")
    with pytest.raises(WeightsMissing):
        load_for(Use.SPEAKER, tmp_path / "b.safetensors")


@pytest.mark.parametrize("size", registry.AVHUBERT)
def test_table_gives_avhubert_to_no_speaker_branch(tmp_path, size):
    with pytest.raises(WeightsForbidden, match=rf"avhubert_{size} may not be used for speaker: .*non-commercial"):
        registry.locate_weight(registry.AVHUBERT[size], tmp_path, Use.SPEAKER)


def test_avhubert_in_the_place_of_other_weights_is_found_out(tmp_path):
    folder = tmp_path / registry.FOLDER
    folder.mkdir()
    target = folder / registry.COMPACT.file
    save_file(make_state(), target)
    target.with_suffix(".json").write_text(json.dumps({"sha256": registry.hash_file(target)}))

    assert registry.locate_weight(registry.COMPACT, tmp_path) == target
    with pytest.raises(WeightsForbidden, match=r"compact\.safetensors holds AV-HuBERT"):
        registry.locate_weight(registry.COMPACT, tmp_path, Use.SPEAKER)


# Everything that may tell speakers apart, by name: what is added to the branch is found by these patterns.
SPEAKER_BRANCH = (
    "engine/dynamics*.py",
    "engine/speakers*.py",
    "engine/models/dvp*.py",
    "engine/models/dynamics*.py",
    "engine/training/dynamics*.py",
    "engine/training/dvp*.py",
    "engine/training/style/speakers.py",
    "engine/training/style/augmentation.py",
    "engine/training/style/augmentation.py",
    "engine/evaluation/dynamics*.py",
    "gallery_db/**/*.py",
)
FORBIDDEN = (
    "engine.models.avhubert",
    "engine.consistency.scorers",
    "engine.models.avhubert_import",
    "engine.weights.checkpoint_reader",
)


def _find_branch(root: Path = ROOT) -> list[Path]:
    return sorted({path for pattern in SPEAKER_BRANCH for path in root.glob(pattern)})


def _imports_of(path: Path) -> set[str]:
    """Modules a file imports, inside functions too; `from a import b` may import the module a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _reach(paths: Iterable[Path], root: Path = ROOT) -> set[str]:
    """All modules of ours that files import, by way of others too."""
    waiting, reached = list(paths), set[str]()
    while waiting:
        for name in _imports_of(waiting.pop()) - reached:
            place = root / name.replace(".", "/")
            files = [file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()]
            if files:
                reached.add(name)
                waiting += files
    return reached


def test_speaker_branch_reaches_nothing_of_avhubert():
    branch = _find_branch()
    assert any(path.parent.name == "gallery_db" for path in branch)
    named = [
        path for path in (ROOT / "engine").rglob("*.py") if {"dynamics", "dvp", "speakers"} & set(path.stem.split("_"))
    ]
    assert set(named) <= set(branch)

    assert _reach(branch) & set(FORBIDDEN) == set()


def test_the_check_sees_roundabout_imports(tmp_path):
    (tmp_path / "engine/models").mkdir(parents=True)
    (tmp_path / "engine/style/embedder.py").write_text("def f():\n    from engine import middle\n")
    (tmp_path / "engine/middle.py").write_text("import engine.models.avhubert as a\n")
    (tmp_path / "engine/models/avhubert.py").write_text("")

    assert "engine.models.avhubert" in _reach(_find_branch(tmp_path), tmp_path)
    assert (ROOT / "engine/models/avhubert.py").is_file()  # what is looked for is there to be found


def test_forbidden_uses_are_of_the_table_itself():
    for weight in registry.WEIGHTS:
        assert (Use.SPEAKER in weight.uses) == (weight.licence is None)
