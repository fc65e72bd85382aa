"""People in one portable file: vectors, consents and all else that is kept about them, under one checksum.

A safetensors file: the vectors of each recipe are a tensor, thumbnails are one more, and everything else is JSON in the
header. The checksum covers every byte of the file but its own digits. Nothing in the file is run, and no part of it is
believed before the whole is checked.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from engine.errors import FolderUnwritable
from engine.types import DynamicEmbedding
from gallery_db.errors import GalleryCode
from gallery_db.records import Basis, Consent, Person, StoredSample

KIND = "wayspeak people"
FORMAT = 1
MAX_BYTES = 4 * 2**30
THUMBNAILS = "thumbnails"
UNSIGNED = "0" * 64
_DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')
_RESTORE = "Export again, or fetch the file again."

Json = dict[str, Any]


def write_people(path: Path, people: Sequence[Person]) -> None:
    """Write them to a file that this user alone can read, whole or not at all; FolderUnwritable where it cannot be."""
    tensors, told = _pack(people)
    header = {"kind": KIND, "format": str(FORMAT), "sha256": UNSIGNED, "people": json.dumps(told, ensure_ascii=True)}
    content = save(tensors, header)
    digest = hashlib.sha256(content).hexdigest()
    _write_whole(path, content.replace(_sign(UNSIGNED), _sign(digest)))


def read_people(path: Path, recipe: str | None = None) -> tuple[Person, ...]:
    """Read them; FILE_REFUSED says what is wrong with the file, EMBEDDER_MISMATCH that it is of other recipes."""
    content = _read_whole(path)
    header = _read_header(path, content)
    _check_format(path, header)
    _check_digest(path, content, header)
    try:
        people = tuple(_unpack(json.loads(header["people"]), load(content)))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, SafetensorError) as cause:
        raise GalleryCode.FILE_REFUSED(
            f"{path.name} does not hold what it should: {_tell(cause)}.", _RESTORE
        ) from cause
    recipes = {sample.embedding.recipe for person in people for sample in person.samples}
    if recipe is not None and recipes - {recipe}:
        raise GalleryCode.EMBEDDER_MISMATCH(
            f"{path.name} is of the recipe {', '.join(sorted(recipes - {recipe}))}, wanted {recipe}.",
            "Embeddings of two recipes are never compared: enrol the clips anew with these weights.",
        )
    return people


def _pack(people: Sequence[Person]) -> tuple[dict[str, np.ndarray], list[Json]]:
    """Give tensors, and everything else with the rows of the tensors in it."""
    vectors: dict[str, list[np.ndarray]] = {}
    thumbnails = bytearray()
    told = []
    for person in people:
        rows = []
        for sample in person.samples:
            own = vectors.setdefault(sample.embedding.recipe, [])
            rows.append(_describe(sample) | {"row": len(own), "thumbnail": _append(thumbnails, sample.thumbnail)})
            own.append(sample.embedding.vector)
        told.append({"name": person.name, "created_at": person.created_at.isoformat(), "samples": rows})
    tensors = {f"vectors {recipe}": np.stack(own) for recipe, own in vectors.items()}
    if thumbnails:
        tensors[THUMBNAILS] = np.frombuffer(bytes(thumbnails), np.uint8)
    return tensors, told


def _append(everything: bytearray, thumbnail: bytes | None) -> list[int] | None:
    """Add a picture, and say from where to where it stands."""
    if thumbnail is None:
        return None
    start = len(everything)
    everything += thumbnail
    return [start, len(everything)]


def _describe(sample: StoredSample) -> Json:
    """Everything about a sample that is no tensor."""
    embedding, consent = sample.embedding, sample.consent
    return {
        "id": sample.id,
        "speaker_id": sample.speaker_id,
        "source_hash": sample.source_hash,
        "source_name": sample.source_name,
        "session": sample.session,
        "created_at": sample.created_at.isoformat(),
        "face_px": sample.face_px,
        "recipe": embedding.recipe,
        "seconds": embedding.seconds,
        "spread": embedding.spread,
        "n_windows": embedding.n_windows,
        "evidence": embedding.evidence,
        "is_natural": embedding.is_natural,
        "consent": asdict(consent) | {"basis": str(consent.basis), "given_at": consent.given_at.isoformat()},
    }


def _unpack(told: list[Json], tensors: Mapping[str, np.ndarray]) -> Iterable[Person]:
    """Make the records again; whatever is missing or of a wrong kind raises one of the common errors."""
    pictures = tensors.get(THUMBNAILS, np.zeros(0, np.uint8)).tobytes()
    for person in told:
        samples = tuple(_unpack_sample(row, tensors, pictures) for row in person["samples"])
        yield Person(_text(person["name"]), datetime.fromisoformat(person["created_at"]), samples)


def _unpack_sample(row: Json, tensors: Mapping[str, np.ndarray], pictures: bytes) -> StoredSample:
    if not row.get("consent"):
        raise ValueError(f"the sample {row['source_name']} comes without a consent")
    told = row["consent"]
    consent = Consent(**(told | {"basis": Basis(told["basis"]), "given_at": datetime.fromisoformat(told["given_at"])}))
    vectors = tensors[f"vectors {row['recipe']}"]
    embedding = DynamicEmbedding(
        vector=np.ascontiguousarray(vectors[_index(row["row"], len(vectors))]),
        seconds=float(row["seconds"]),
        spread=float(row["spread"]),
        recipe=_text(row["recipe"]),
        n_windows=int(row["n_windows"]),
        evidence=float(row["evidence"]),
        is_natural=bool(row["is_natural"]),
    )
    sample = StoredSample(
        id=int(row["id"]),
        speaker_id=int(row["speaker_id"]),
        source_hash=_text(row["source_hash"]),
        source_name=_text(row["source_name"]),
        session=_text(row["session"]),
        embedding=embedding,
        consent=consent,
        created_at=datetime.fromisoformat(row["created_at"]),
        face_px=row["face_px"],
        thumbnail=None if row["thumbnail"] is None else pictures[slice(*row["thumbnail"])],
    )
    sample.to_new()  # which checks hash, names, face and thumbnail
    return sample


def _index(row: int, length: int) -> int:
    """A row that exists, counted from the front."""
    if not 0 <= row < length:
        raise IndexError(f"row {row} of {length}")
    return row


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.70} where text was wanted")
    return value


def _read_header(path: Path, content: bytes) -> dict[str, str]:
    """Read the header's own metadata; FILE_REFUSED where this is no such file."""
    try:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])["__metadata__"]
        if header["kind"] != KIND:
            raise ValueError(f"it is of the kind {header['kind']!r:.70}")
        return {name: str(value) for name, value in header.items()}
    except (ValueError, KeyError, TypeError, RecursionError) as cause:
        raise GalleryCode.FILE_REFUSED(
            f"{path.name} is no whole export of a gallery: {_tell(cause)}.", _RESTORE
        ) from cause


def _check_format(path: Path, header: dict[str, str]) -> None:
    found = header.get("format", "")
    if not found.isdecimal() or int(found) > FORMAT:
        raise GalleryCode.FILE_REFUSED(
            f"{path.name} has the format {found[:20]}, this version reads {FORMAT} at most.",
            "Update Wayspeak, or export with this version.",
        )


def _check_digest(path: Path, content: bytes, header: dict[str, str]) -> None:
    """Hash the file as it was before its digest was written into it."""
    found = header.get("sha256", "")
    digests = _DIGEST.findall(content)
    unsigned = content.replace(_sign(found), _sign(UNSIGNED)) if digests == [found.encode()] else b""
    if hashlib.sha256(unsigned).hexdigest() != found:
        raise GalleryCode.FILE_REFUSED(f"{path.name} is damaged or was changed: its checksum does not fit.", _RESTORE)


def _sign(digest: str) -> bytes:
    return f'"sha256":"{digest}"'.encode()


def _tell(cause: Exception) -> str:
    """Say it in one printable line."""
    words = f"{cause}" if isinstance(cause, ValueError) else f"{type(cause).__name__} {cause}"
    return re.sub(r"[^\x20-\x7e]", "?", words)[:200]


def _read_whole(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise GalleryCode.FILE_REFUSED(
                f"{path.name} is larger than {MAX_BYTES // 2**30} GB.", "Export fewer people at a time."
            )
        return path.read_bytes()
    except OSError as cause:
        raise GalleryCode.FILE_REFUSED(f"{path} cannot be read: {cause.strerror}.", "Check the path.") from cause


def _write_whole(path: Path, content: bytes) -> None:
    """Write beside the place, then move: what stood there before stays until all of the new is on the disk."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as cause:
        raise FolderUnwritable(f"{path} cannot be written: {cause.strerror}.", "Choose another place.") from cause
