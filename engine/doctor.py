"""Check the installation for `wayspeak doctor`: packages, device, weights, FFmpeg.

PyAV and OpenCV each bundle FFmpeg, so both are checked for CVE-2026-8461 (out-of-bounds write while decoding MagicYUV),
fixed in 7.1.5, 8.0.3 and 8.1.2.
"""

import ctypes
import importlib.util
import os
import platform
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from engine.errors import EngineError
from engine.fetch.fetch import check_system
from engine.settings import Settings
from engine.weights.licences import find_acceptance
from engine.weights.registry import WEIGHTS, WeightCheck, WeightState, inspect_weight

NEEDED = ("numpy", "torch", "torchaudio", "av", "opencv-python-headless", "ai-edge-litert", "silero-vad", "safetensors")
ONE_OF = ("faiss-cpu", "faiss-gpu")
OPTIONAL = ("gradio", "plotly")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    topic: str
    mark: str  # ok, optional, warning or missing
    text: str


def examine(settings: Settings) -> tuple[Finding, ...]:
    """Check everything an analysis needs; downloads and changes nothing."""
    return (
        *_examine_host(settings),
        *(_examine_package(name, "missing") for name in NEEDED),
        *_examine_faiss(),
        *(_examine_package(name, "warning") for name in OPTIONAL),
        _examine_fetching(),
        *_examine_ffmpeg(),
        _examine_device(settings.device),
        *_examine_weights(settings.data_dir),
    )


def is_healthy(findings: tuple[Finding, ...]) -> bool:
    """Return whether nothing required is missing; warnings do not count."""
    return all(finding.mark != "missing" for finding in findings)


def _examine_host(settings: Settings) -> Iterator[Finding]:
    yield Finding("wayspeak", "ok", _version("wayspeak") or "not installed as a package")
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.platform(terse=True)}")
    yield Finding("processors", "ok", str(os.cpu_count()))
    yield _examine_folder(settings.data_dir)


def _examine_folder(folder: Path) -> Finding:
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    if os.access(nearest, os.W_OK) and nearest.is_dir():
        return Finding("data folder", "ok", str(folder))
    return Finding("data folder", "warning", f"{folder} cannot be written; set WAYSPEAK_DATA to a folder that can")


def _examine_package(name: str, otherwise: str) -> Finding:
    version = _version(name)
    if version:
        return Finding(name, "ok", version)
    need = "needed" if otherwise == "missing" else "needed for the page alone"
    return Finding(name, otherwise, f"not installed; {need}: run `make run`, or `pip install -e '.[cpu,app]'`")


def _examine_faiss() -> Iterator[Finding]:
    found = {name: version for name in ONE_OF if (version := _version(name))}
    if not found:
        yield Finding("faiss", "missing", "not installed: `pip install -e '.[cpu]'`, or `.[gpu]` where there is a GPU")
    for name, version in found.items():
        yield Finding(name, "ok", version)
    if len(found) == len(ONE_OF):
        hint = "`pip uninstall faiss-cpu faiss-gpu`, then install the one that is wanted"
        yield Finding("faiss", "warning", f"both packages are installed and overwrite each other: {hint}")


def _examine_fetching() -> Finding:
    """Check yt-dlp; versions with known vulnerabilities are refused."""
    try:
        check_system()
    except EngineError as error:
        return Finding("yt-dlp", "warning", f"nothing can be fetched from the web: {error.message} {error.hint}")
    return Finding("yt-dlp", "ok", _version("yt-dlp") or "")


def _examine_ffmpeg() -> Iterator[Finding]:
    """Check each bundled FFmpeg; missing packages are reported elsewhere."""
    bundled = (
        ("FFmpeg in PyAV", find_pyav, "update it: `pip install -U av`"),
        ("FFmpeg in OpenCV", find_opencv, "Wayspeak opens no video with it; update it when a newer one is out"),
    )
    for topic, find, hint in bundled:
        with suppress(ImportError):  # includes PackageNotFoundError
            found = find()
            if is_safe(read_version(found)):
                yield Finding(topic, "ok", found)
            elif found or topic.endswith("PyAV"):
                *older, wanted = (".".join(map(str, closed)) for closed in CLOSED_IN)
                text = f"{found or 'unknown'}, wanted {wanted} or newer (or {', '.join(older)}): {hint}"
                yield Finding(topic, "warning", text)


def _examine_device(wanted: str) -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("device", "missing", "unknown without torch")
    import torch  # here: the other checks work without it

    has_cuda = torch.cuda.is_available()
    if wanted == "cpu" or (wanted == "auto" and not has_cuda):
        return Finding("device", "ok", f"CPU, {torch.get_num_threads()} threads")
    if has_cuda:
        return Finding("device", "ok", f"CUDA {torch.version.cuda}, {torch.cuda.get_device_name()}")
    return Finding("device", "missing", f"{wanted} is asked for and there is none; set WAYSPEAK_DEVICE=auto")


def _examine_weights(data_dir: Path) -> Iterator[Finding]:
    for weight in WEIGHTS:
        check = inspect_weight(weight, data_dir)
        text = f"{check.state}: {check.detail}"
        if check.state is WeightState.VERIFIED and weight.licence and not find_acceptance(weight.licence, data_dir):
            yield Finding(
                weight.name, "warning", f"{text}; not used before `wayspeak weights accept {weight.licence.name}`"
            )
        else:
            yield Finding(weight.name, _mark_weight(check), text)


def _mark_weight(check: WeightCheck) -> str:
    if check.state is WeightState.VERIFIED:
        return "ok"
    if not check.weight.is_optional:
        return "missing"
    return "optional" if check.state is WeightState.MISSING else "warning"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


CLOSED_IN = ((7, 1, 5), (8, 0, 3), (8, 1, 2))  # by branch; later branches have the fix

Version = tuple[int, ...]


def read_version(text: str) -> Version:
    """Parse an FFmpeg version such as `8.1.2` or `n8.1.2-10-gabc`; empty if there is none."""
    found = re.match(r"n?(\d+(?:\.\d+)+)", text)
    return tuple(int(part) for part in found.group(1).split(".")) if found else ()


def is_safe(version: Version) -> bool:
    """Return whether this version has the fix; an unknown version is unsafe."""
    branch = version[:2]
    fixed = [closed for closed in CLOSED_IN if closed[:2] <= branch]
    return bool(fixed) and (branch > fixed[-1][:2] or version >= fixed[-1])


def find_pyav() -> str:
    """Return the FFmpeg version of PyAV; raises ImportError."""
    import av

    return str(getattr(av, "ffmpeg_version_info", ""))


def find_opencv(package: str = "opencv-python-headless") -> str:
    """Return the FFmpeg version of the OpenCV package, empty if it has none; raises PackageNotFoundError."""
    for file in metadata.files(package) or ():
        if file.name.startswith("libavutil"):
            try:
                version_info = ctypes.CDLL(str(file.locate())).av_version_info
            except (OSError, AttributeError):
                return ""
            version_info.restype = ctypes.c_char_p
            return (version_info() or b"").decode("ascii", "replace")
    return ""
