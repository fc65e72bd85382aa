"""Licences that must be accepted before a model file is used: their terms in plain words, and that they were accepted.

An acceptance is kept in the data folder with the time and the hash of the words that were shown; of who accepted,
nothing is kept. Where the words change, they must be accepted again.

What model files may be used for, told from the files themselves: a rename or a copy changes nothing.

The licence of AV-HuBERT forbids biometric processing, of what the model computes too, so nothing that tells speakers
apart may load its weights. Whatever loads weights for that goes through `load_for(Use.SPEAKER, path)`.
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
    """Terms of somebody else, summed up; the text at `url` is what counts."""

    name: str  # what `wayspeak weights accept` is told
    title: str
    terms: tuple[str, ...]
    url: str
    notice: str  # goes along with every copy

    @property
    def summary(self) -> str:
        """What is shown before somebody accepts."""
        points = "\n".join(f"  - {term}" for term in self.terms)
        return (
            f"{self.title}, in short:\n{points}\nThis is a summary, not advice. What counts is the text at {self.url}"
        )

    @property
    def sha256(self) -> str:
        """Hash of what is shown."""
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
    """That the terms were accepted on this machine."""

    accepted: str  # time in UTC, ISO 8601
    licence: str
    url: str
    terms_sha256: str  # of the words that were shown


def accept_licence(licence: Licence, data_dir: Path) -> Acceptance:
    """Keep that the terms as they are now were accepted; FolderUnwritable where that cannot be kept."""
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
    """Give the acceptance of the terms as they are now; None where there is none that can be read."""
    try:
        acceptance = Acceptance(**_read_records(data_dir)[licence.name])
    except (KeyError, TypeError):
        return None
    return acceptance if acceptance.terms_sha256 == licence.sha256 else None


def require_acceptance(licence: Licence, data_dir: Path) -> Acceptance:
    """Give the acceptance, or raise LicenceNotAccepted."""
    acceptance = find_acceptance(licence, data_dir)
    if acceptance is None:
        raise LicenceNotAccepted(
            f"The {licence.title} has not been accepted.",
            f"Read {licence.url}, then run `wayspeak weights accept {licence.name}`.",
        )
    return acceptance


def _read_records(data_dir: Path) -> dict[str, Any]:
    """Acceptances by licence; none where the file is missing or damaged, so that one is asked again."""
    try:
        records = json.loads((data_dir / FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return records if isinstance(records, dict) else {}


def _replace(path: Path, text: str) -> None:
    """Write the file whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


if TYPE_CHECKING:
    from torch import Tensor

MARK = "uses"  # in the header of a safetensors file and in the sidecar: the uses that are allowed
AV_HUBERT_NAMES = ("feature_extractor_video.", "feature_extractor_audio.", "w2v_model.", "label_embs_concat")


class Use(StrEnum):
    """What for."""

    CONSISTENCY = "consistency"  # do this face and this voice belong to the same speech
    SPEAKER = "speaker"  # whose way of speaking is it: biometric processing


def mark_uses(uses: frozenset[Use]) -> str:
    """The text of the mark."""
    return " ".join(sorted(uses))


def load_for(use: Use, path: Path) -> "dict[str, Tensor]":
    """Load a safetensors file for one use.

    Raises WeightsMissing, WeightsDamaged, and WeightsForbidden as `check_use` does.
    """
    from safetensors.torch import load_file  # here: asking for permission needs no torch

    check_use(path, use)
    tensors: dict[str, Tensor] = load_file(path)
    return tensors


def check_use(path: Path, use: Use) -> None:
    """Raise WeightsForbidden unless this file may be used so, by its mark, its sidecar and the names of its tensors."""
    if not path.is_file():
        raise WeightsMissing(f"{path} is not there.", "Restore it.")
    mark, names = _read_header(path)
    for allowed in (mark, _read_sidecar_mark(path)):
        if allowed is not None and use not in allowed.split():
            raise WeightsForbidden(
                f"{path.name} may be used for {allowed or 'nothing'} alone, not for {use}: its licence forbids it.",
                "Use weights whose licence allows it.",
            )
    if use is Use.SPEAKER and any(known in name for name in names for known in AV_HUBERT_NAMES):
        raise WeightsForbidden(
            f"{path.name} holds AV-HuBERT, whose licence forbids biometric processing.",
            "Use weights whose licence allows it.",
        )


def _read_header(path: Path) -> tuple[str | None, list[str]]:
    from safetensors import SafetensorError, safe_open  # here: the doctor works without it

    try:
        with safe_open(path, framework="np") as file:
            return (file.metadata() or {}).get(MARK), list(file.keys())
    except (SafetensorError, OSError) as cause:
        raise WeightsDamaged(f"{path.name} is no whole safetensors file: {cause}.", "Restore it.") from cause


def _read_sidecar_mark(path: Path) -> str | None:
    try:
        record = json.loads(path.with_suffix(".json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    mark = record.get(MARK) if isinstance(record, dict) else None
    return mark if isinstance(mark, str) else None
