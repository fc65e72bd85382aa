from importlib import metadata

import pytest

from engine import doctor
from engine.settings import Settings
from engine.weights import registry


def _marks(findings):
    return {finding.topic: finding.mark for finding in findings}


def test_doctor_is_content_with_everything_in_its_place(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "WEIGHTS", (registry.FACE_LANDMARKER, registry.SILERO_VAD))
    findings = doctor.examine(Settings(tmp_path))

    assert doctor.is_healthy(findings)
    assert _marks(findings)["face_landmarker"] == _marks(findings)["torch"] == "ok"
    assert any("verified" in finding.text for finding in findings)


def _pretend(monkeypatch, **versions: str | None):
    real = metadata.version

    def version(name: str) -> str:
        told = versions.get(name.replace("-", "_"), "")
        if told is None:
            raise metadata.PackageNotFoundError(name)
        return told or real(name)

    monkeypatch.setattr(doctor.metadata, "version", version)


def test_doctor_warns_of_both_kinds_of_faiss(monkeypatch, tmp_path):
    _pretend(monkeypatch, faiss_cpu="1.15.1", faiss_gpu="1.15.1")
    assert _marks(doctor.examine(Settings(tmp_path)))["faiss"] == "warning"


def test_doctor_is_silent_about_one_kind_of_faiss(monkeypatch, tmp_path):
    _pretend(monkeypatch, faiss_cpu="1.15.1", faiss_gpu=None)
    assert "faiss" not in _marks(doctor.examine(Settings(tmp_path)))


def test_doctor_misses_needed_packages_and_only_warns_of_the_pages(monkeypatch, tmp_path):
    _pretend(monkeypatch, av=None, gradio=None, faiss_cpu=None, faiss_gpu=None)
    marks = _marks(doctor.examine(Settings(tmp_path)))

    assert (marks["av"], marks["gradio"], marks["faiss"]) == ("missing", "warning", "missing")


def test_doctor_misses_a_device_that_is_asked_for(monkeypatch, tmp_path):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert _marks(doctor.examine(Settings(tmp_path, device="cuda")))["device"] == "missing"
    assert _marks(doctor.examine(Settings(tmp_path, device="auto")))["device"] == "ok"
