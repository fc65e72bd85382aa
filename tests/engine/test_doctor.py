"""The doctor reports missing packages, old FFmpeg and yt-dlp versions, faiss and the device."""

import re
from importlib import metadata
from pathlib import Path

import pytest

from engine import doctor
from engine.doctor import Finding
from engine.settings import Settings
from engine.weights import registry


def _marks(findings):
    return {finding.topic: finding.mark for finding in findings}


def test_doctor_passes_with_complete_installation(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "WEIGHTS", (registry.FACE_LANDMARKER, registry.SILERO_VAD))
    findings = doctor.examine(Settings(tmp_path))

    assert doctor.is_healthy(findings)
    assert _marks(findings)["face_landmarker"] == _marks(findings)["torch"] == "ok"
    assert any("verified" in finding.text for finding in findings)


def _pretend(monkeypatch, **versions: str | None):
    real = metadata.version

    def version(name: str) -> str:
        result = versions.get(name.replace("-", "_"), "")
        if result is None:
            raise metadata.PackageNotFoundError(name)
        return result or real(name)

    monkeypatch.setattr(doctor.metadata, "version", version)


def test_doctor_warns_of_both_faiss_packages(monkeypatch, tmp_path):
    _pretend(monkeypatch, faiss_cpu="1.15.1", faiss_gpu="1.15.1")
    assert _marks(doctor.examine(Settings(tmp_path)))["faiss"] == "warning"


def test_doctor_accepts_one_faiss_package(monkeypatch, tmp_path):
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


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "text", ["7.1.5", "7.1.9", "8.0.3", "8.1.2", "n8.1.2", "8.1.2-10-gabc", "8.2", "8.2.0", "9.0.1"]
)
def test_ffmpeg_versions_without_vulnerability(text: str) -> None:
    assert doctor.is_safe(doctor.read_version(text))


@pytest.mark.parametrize(
    "text", ["4.2.2", "7.0.9", "7.1.4", "8.0", "8.0.2", "8.1", "8.1.1", "N-123-gabc", "", "unknown"]
)
def test_ffmpeg_versions_with_vulnerability_or_unknown(text: str) -> None:
    assert not doctor.is_safe(doctor.read_version(text))


def test_installed_decoders_are_safe_and_state_versions() -> None:
    assert doctor.is_safe(doctor.read_version(doctor.find_pyav()))
    assert doctor.read_version(doctor.find_opencv())
    assert doctor.find_opencv("numpy") == ""


def examine(topic: str, tmp_path: Path) -> Finding:
    (found,) = [finding for finding in doctor.examine(Settings(tmp_path)) if finding.topic == topic]
    return found


def test_doctor_warns_of_an_old_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "find_pyav", lambda: "8.0.2")
    monkeypatch.setattr(doctor, "find_opencv", lambda: "8.1.1")
    found = examine("FFmpeg in PyAV", tmp_path)

    assert found.mark == "warning" and found.text.startswith("8.0.2, wanted 8.1.2 or newer (or 7.1.5, 8.0.3)")
    assert examine("FFmpeg in OpenCV", tmp_path).mark == "warning"


def test_doctor_accepts_new_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "find_opencv", lambda: "8.1.2")
    assert examine("FFmpeg in OpenCV", tmp_path) == Finding("FFmpeg in OpenCV", "ok", "8.1.2")


@pytest.mark.parametrize(("version", "mark"), [("2026.07.03", "warning"), ("2026.07.04", "ok"), (None, "warning")])
def test_doctor_requires_ytdlp_after_last_vulnerability(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str | None, mark: str
) -> None:
    real = metadata.version

    def version_of(name: str) -> str:
        if name == "yt-dlp" and version is None:
            raise metadata.PackageNotFoundError(name)
        return version if name == "yt-dlp" and version else real(name)

    monkeypatch.setattr(metadata, "version", version_of)
    found = examine("yt-dlp", tmp_path)
    assert found.mark == mark and (mark == "ok" or "2026" in found.text or "install" in found.text.lower())


def test_no_video_is_opened_with_opencv() -> None:
    files = [path for room in ("engine", "gallery_db", "webapp") for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 80
    assert not [path for path in files if re.search(r"\bVideoCapture\b|\bcv2\.videoio", path.read_text("utf-8"))]
