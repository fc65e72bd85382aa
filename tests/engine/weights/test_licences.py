import ast
import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import FolderUnwritable, LicenceNotAccepted, WeightsDamaged, WeightsForbidden, WeightsMissing
from engine.models.avhubert import AVHubert
from engine.weights import licences, registry
from engine.weights.licences import (
    AV_HUBERT,
    MARK,
    Use,
    accept_licence,
    check_use,
    find_acceptance,
    load_for,
    mark_uses,
    require_acceptance,
)
from tests.checkpoints import SMALL, make_state

ROOT = Path(__file__).parents[3]


def test_nothing_is_accepted_by_default(tmp_path):
    assert find_acceptance(AV_HUBERT, tmp_path) is None
    with pytest.raises(LicenceNotAccepted, match="AV-HuBERT") as caught:
        require_acceptance(AV_HUBERT, tmp_path)
    assert AV_HUBERT.url in caught.value.hint and "wayspeak weights accept av_hubert" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_acceptance_is_kept_once_for_all(tmp_path):
    given = accept_licence(AV_HUBERT, tmp_path / "new" / "folder")

    assert require_acceptance(AV_HUBERT, tmp_path / "new" / "folder") == given
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == [licences.FILE]


def test_acceptance_records_time_and_terms_but_no_person(tmp_path):
    accept_licence(AV_HUBERT, tmp_path)
    record = json.loads((tmp_path / licences.FILE).read_text())

    assert set(record) == {"av_hubert"}
    assert set(record["av_hubert"]) == {"accepted", "licence", "url", "terms_sha256"}
    assert record["av_hubert"]["accepted"].endswith("+00:00")


def test_a_changed_summary_must_be_accepted_again(tmp_path):
    accept_licence(AV_HUBERT, tmp_path)
    changed = replace(AV_HUBERT, terms=(*AV_HUBERT.terms, "One thing more."))

    assert find_acceptance(changed, tmp_path) is None
    accept_licence(changed, tmp_path)
    assert find_acceptance(changed, tmp_path) is not None


def test_one_licence_says_nothing_of_another(tmp_path):
    other = replace(AV_HUBERT, name="other", title="Other")
    accept_licence(AV_HUBERT, tmp_path)
    assert find_acceptance(other, tmp_path) is None

    accept_licence(other, tmp_path)
    assert find_acceptance(AV_HUBERT, tmp_path) and find_acceptance(other, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"av_hubert": true}', '{"av_hubert": {"accepted": "2026"}}', "\xff"])
def test_damaged_record_accepts_nothing_and_can_be_renewed(tmp_path, text):
    (tmp_path / licences.FILE).write_bytes(text.encode("latin-1"))
    assert find_acceptance(AV_HUBERT, tmp_path) is None

    accept_licence(AV_HUBERT, tmp_path)
    assert find_acceptance(AV_HUBERT, tmp_path)


def test_unwritable_folder_is_reported(tmp_path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(FolderUnwritable, match=r"licences\.json cannot be written"):
        accept_licence(AV_HUBERT, tmp_path / "file")


def test_summary_says_what_is_forbidden_and_where_the_text_is():
    for word in ("non-commercial research", "production", "surveillance", "biometric", "data the model produces"):
        assert word in AV_HUBERT.summary.lower() or word in AV_HUBERT.summary
    assert AV_HUBERT.url == "https://github.com/facebookresearch/av_hubert/blob/main/LICENSE"
    assert AV_HUBERT.url in AV_HUBERT.summary


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
    with pytest.raises(WeightsForbidden, match=r"speaker_model\.safetensors may be used for consistency only"):
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

    with pytest.raises(WeightsDamaged, match="not a complete safetensors"):
        load_for(Use.SPEAKER, tmp_path / "a.safetensors")
    with pytest.raises(WeightsMissing):
        load_for(Use.SPEAKER, tmp_path / "b.safetensors")


@pytest.mark.parametrize("size", registry.AVHUBERT)
def test_table_gives_avhubert_to_no_speaker_branch(tmp_path, size):
    with pytest.raises(WeightsForbidden, match=rf"avhubert_{size} may not be used for speaker: .*non-commercial"):
        registry.locate_weight(registry.AVHUBERT[size], tmp_path, Use.SPEAKER)


def test_avhubert_in_place_of_other_weights_is_detected(tmp_path):
    folder = tmp_path / registry.FOLDER
    folder.mkdir()
    target = folder / registry.COMPACT.file
    save_file(make_state(), target)
    target.with_suffix(".json").write_text(json.dumps({"sha256": registry.hash_file(target)}))

    assert registry.locate_weight(registry.COMPACT, tmp_path) == target
    with pytest.raises(WeightsForbidden, match=r"compact\.safetensors holds AV-HuBERT"):
        registry.locate_weight(registry.COMPACT, tmp_path, Use.SPEAKER)


# All code of speaker recognition, including new files. Without `engine/style/clip_embeddings.py`: it uses the
# consistency model to choose the speaking face, before speaker recognition.
SPEAKER_BRANCH = (
    "engine/models/dvp.py",
    "engine/style/embedder.py",
    "engine/style/records.py",
    "engine/training/style/*.py",
    "engine/evaluation/speakers/*.py",
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
    for room in ("models", "style"):
        (tmp_path / "engine" / room).mkdir(parents=True)
    (tmp_path / "engine/style/embedder.py").write_text("def f():\n    from engine import middle\n")
    (tmp_path / "engine/middle.py").write_text("import engine.models.avhubert as a\n")
    (tmp_path / "engine/models/avhubert.py").write_text("")

    assert "engine.models.avhubert" in _reach(_find_branch(tmp_path), tmp_path)
    assert (ROOT / "engine/models/avhubert.py").is_file()  # the target module exists


def test_forbidden_uses_are_of_the_table_itself():
    for weight in registry.WEIGHTS:
        assert (Use.SPEAKER in weight.uses) == (weight.licence is None)
