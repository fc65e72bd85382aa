"""Licences of model files: terms, acceptance and permitted uses.

An acceptance is stored in the data folder with the time and the hash of the summary shown, without the person. If the
summary changes, it must be accepted again.

Permitted uses are read from the files themselves, so that renaming or copying does not change them. The licence of
AV-HuBERT forbids biometric processing, including of its output, so speaker recognition must not load its weights: all
code of speaker recognition loads weights through `load_for(Use.SPEAKER, path)`.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import FolderUnwritable, LicenceNotAccepted, WeightsDamaged, WeightsForbidden, WeightsMissing

FILE = "licences.json"  # in the data folder


@dataclass(frozen=True, slots=True)
class Licence:
    """Summary of a third-party licence; the text at `url` is binding."""

    name: str  # argument of `wayspeak weights accept`
    title: str
    terms: tuple[str, ...]
    url: str
    notice: str  # required with every copy

    @property
    def summary(self) -> str:
        """Text shown before acceptance."""
        points = "\n".join(f"  - {term}" for term in self.terms)
        return (
            f"{self.title}, in short:\n{points}\nThis is a summary, not advice. What counts is the text at {self.url}"
        )

    @property
    def sha256(self) -> str:
        """SHA-256 of the summary."""
        return hashlib.sha256(self.summary.encode()).hexdigest()


AV_HUBERT = Licence(
    name="av_hubert",
    title="AV-HuBERT License Agreement of Meta Platforms, Inc.",
    terms=(
        "For your own non-commercial research alone. The permission is yours only, and Meta can withdraw it.",
        "No commercial use and no production use.",
        "No surveillance, nor research or development for it; nothing military or nuclear.",
        "No biometric processing. Wayspeak keeps these weights out of everything that tells speakers apart.",
        "Nothing that infringes rights of others or breaks the law, data protection law included.",
        "All this holds for converted copies and for data the model produces, scores of videos included.",
        "Whoever passes a copy on passes on the licence and its notice too. There is no warranty.",
    ),
    url="https://github.com/facebookresearch/av_hubert/blob/main/LICENSE",
    notice="AV-HuBERT is licensed under the AV-HuBERT license, Copyright (c) Meta Platforms, Inc. All Rights Reserved.",
)
LICENCES = {licence.name: licence for licence in (AV_HUBERT,)}


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Record of an acceptance on this machine."""

    accepted: str  # time in UTC, ISO 8601
    licence: str
    url: str
    terms_sha256: str  # of the summary shown


def accept_licence(licence: Licence, data_dir: Path) -> Acceptance:
    """Store the acceptance of the current terms; raises FolderUnwritable."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    acceptance = Acceptance(now, licence.title, licence.url, licence.sha256)
    records = _read_records(data_dir) | {licence.name: asdict(acceptance)}
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        _replace(data_dir / FILE, json.dumps(records, indent=2, sort_keys=True) + "\n")
    except OSError as cause:
        raise FolderUnwritable(
            f"{data_dir / FILE} cannot be written: {cause.strerror or cause}.",
            "Make room there, or set WAYSPEAK_DATA to a folder that can be written.",
        ) from cause
    return acceptance


def find_acceptance(licence: Licence, data_dir: Path) -> Acceptance | None:
    """Return the acceptance of the current terms; None if there is none or it is unreadable."""
    try:
        acceptance = Acceptance(**_read_records(data_dir)[licence.name])
    except (KeyError, TypeError):
        return None
    return acceptance if acceptance.terms_sha256 == licence.sha256 else None


def require_acceptance(licence: Licence, data_dir: Path) -> Acceptance:
    """Return the acceptance, or raise LicenceNotAccepted."""
    acceptance = find_acceptance(licence, data_dir)
    if acceptance is None:
        raise LicenceNotAccepted(
            f"The {licence.title} has not been accepted.",
            f"Read {licence.url}, then run `wayspeak weights accept {licence.name}`.",
        )
    return acceptance


def _read_records(data_dir: Path) -> dict[str, Any]:
    """Read acceptances by licence; empty if the file is missing or damaged, so that the user is asked again."""
    try:
        records = json.loads((data_dir / FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return records if isinstance(records, dict) else {}


def _replace(path: Path, text: str) -> None:
    """Write the file atomically."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


if TYPE_CHECKING:
    from torch import Tensor

MARK = "uses"  # metadata key of safetensors file and sidecar: permitted uses
AV_HUBERT_NAMES = ("feature_extractor_video.", "feature_extractor_audio.", "w2v_model.", "label_embs_concat")


class Use(StrEnum):
    """Use of model weights."""

    CONSISTENCY = "consistency"  # audio-visual speech consistency
    SPEAKER = "speaker"  # speaker recognition, biometric processing


def mark_uses(uses: frozenset[Use]) -> str:
    """Return the metadata value for permitted uses."""
    return " ".join(sorted(uses))


def load_for(use: Use, path: Path) -> "dict[str, Tensor]":
    """Load a safetensors file for one use; raises WeightsMissing, WeightsDamaged or WeightsForbidden."""
    from safetensors.torch import load_file  # here: permission checks need no torch

    check_use(path, use)
    tensors: dict[str, Tensor] = load_file(path)
    return tensors


def check_use(path: Path, use: Use) -> None:
    """Raise WeightsForbidden unless metadata, sidecar and tensor names of the file permit this use."""
    if not path.is_file():
        raise WeightsMissing(f"{path} does not exist.", "Restore it.")
    mark, names = _read_header(path)
    for allowed in (mark, _read_sidecar_mark(path)):
        if allowed is not None and use not in allowed.split():
            raise WeightsForbidden(
                f"{path.name} may be used for {allowed or 'nothing'} only, not for {use}: its licence forbids it.",
                "Use weights with a licence that allows it.",
            )
    if use is Use.SPEAKER and any(known in name for name in names for known in AV_HUBERT_NAMES):
        raise WeightsForbidden(
            f"{path.name} holds AV-HuBERT; its licence forbids biometric processing.",
            "Use weights with a licence that allows it.",
        )


def _read_header(path: Path) -> tuple[str | None, list[str]]:
    from safetensors import SafetensorError, safe_open  # here: the doctor works without it

    try:
        with safe_open(path, framework="np") as file:
            return (file.metadata() or {}).get(MARK), list(file.keys())
    except (SafetensorError, OSError) as cause:
        raise WeightsDamaged(f"{path.name} is not a complete safetensors file: {cause}.", "Restore it.") from cause


def _read_sidecar_mark(path: Path) -> str | None:
    try:
        record = json.loads(path.with_suffix(".json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    mark = record.get(MARK) if isinstance(record, dict) else None
    return mark if isinstance(mark, str) else None
