"""Export speakers to one portable file and import them: vectors, consents and all other data, with a checksum.

The file is safetensors: one tensor of vectors per recipe, one tensor of thumbnails, and JSON in the header. The
checksum covers every byte except its own digits and is verified before any content is used. Nothing is executed.
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
_HINT = "Export again, or copy the file again."

Json = dict[str, Any]


def write_people(path: Path, people: Sequence[Person]) -> None:
    """Write speakers atomically to a file that only this user can read; raises FolderUnwritable."""
    tensors, records = _pack(people)
    header = {"kind": KIND, "format": str(FORMAT), "sha256": UNSIGNED, "people": json.dumps(records, ensure_ascii=True)}
    content = save(tensors, header)
    digest = hashlib.sha256(content).hexdigest()
    _write_whole(path, content.replace(_sign(UNSIGNED), _sign(digest)))


def read_people(path: Path, recipe: str | None = None) -> tuple[Person, ...]:
    """Read speakers; raises FILE_REFUSED for an invalid file, EMBEDDER_MISMATCH for other recipes than `recipe`."""
    content = _read_whole(path)
    header = _read_header(path, content)
    _check_format(path, header)
    _check_digest(path, content, header)
    try:
        people = tuple(_unpack(json.loads(header["people"]), load(content)))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, SafetensorError) as cause:
        raise GalleryCode.FILE_REFUSED(f"{path.name} has invalid content: {_describe_cause(cause)}.", _HINT) from cause
    recipes = {sample.embedding.recipe for person in people for sample in person.samples}
    if recipe is not None and recipes - {recipe}:
        raise GalleryCode.EMBEDDER_MISMATCH(
            f"{path.name} is of the recipe {', '.join(sorted(recipes - {recipe}))}, wanted {recipe}.",
            "Embeddings of two recipes are never compared: enrol the clips again with these weights.",
        )
    return people


def _pack(people: Sequence[Person]) -> tuple[dict[str, np.ndarray], list[Json]]:
    """Return the tensors, and the other data as JSON with row numbers of the tensors."""
    vectors: dict[str, list[np.ndarray]] = {}
    thumbnails = bytearray()
    records = []
    for person in people:
        rows = []
        for sample in person.samples:
            own = vectors.setdefault(sample.embedding.recipe, [])
            rows.append(_describe(sample) | {"row": len(own), "thumbnail": _append(thumbnails, sample.thumbnail)})
            own.append(sample.embedding.vector)
        records.append({"name": person.name, "created_at": person.created_at.isoformat(), "samples": rows})
    tensors = {f"vectors {recipe}": np.stack(own) for recipe, own in vectors.items()}
    if thumbnails:
        tensors[THUMBNAILS] = np.frombuffer(bytes(thumbnails), np.uint8)
    return tensors, records


def _append(pictures: bytearray, thumbnail: bytes | None) -> list[int] | None:
    """Append a picture and return its start and end."""
    if thumbnail is None:
        return None
    start = len(pictures)
    pictures += thumbnail
    return [start, len(pictures)]


def _describe(sample: StoredSample) -> Json:
    """Return the JSON of a sample, without its tensors."""
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


def _unpack(records: list[Json], tensors: Mapping[str, np.ndarray]) -> Iterable[Person]:
    """Build the records; missing or wrong data raise ValueError, KeyError, TypeError, IndexError or AttributeError."""
    pictures = tensors.get(THUMBNAILS, np.zeros(0, np.uint8)).tobytes()
    for person in records:
        samples = tuple(_unpack_sample(row, tensors, pictures) for row in person["samples"])
        yield Person(_text(person["name"]), datetime.fromisoformat(person["created_at"]), samples)


def _unpack_sample(row: Json, tensors: Mapping[str, np.ndarray], pictures: bytes) -> StoredSample:
    if not row.get("consent"):
        raise ValueError(f"the sample {row['source_name']} has no consent")
    given = row["consent"]
    consent = Consent(
        **(given | {"basis": Basis(given["basis"]), "given_at": datetime.fromisoformat(given["given_at"])})
    )
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
    sample.to_new()  # validates hash, names, face and thumbnail
    return sample


def _index(row: int, length: int) -> int:
    """Return a row number; raises IndexError, also for negative ones."""
    if not 0 <= row < length:
        raise IndexError(f"row {row} of {length}")
    return row


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.70} is not a text")
    return value


def _read_header(path: Path, content: bytes) -> dict[str, str]:
    """Read the metadata of the header; raises FILE_REFUSED for another kind of file."""
    try:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])["__metadata__"]
        if header["kind"] != KIND:
            raise ValueError(f"it is of the kind {header['kind']!r:.70}")
        return {name: str(value) for name, value in header.items()}
    except (ValueError, KeyError, TypeError, RecursionError) as cause:
        raise GalleryCode.FILE_REFUSED(
            f"{path.name} is not a complete export of a gallery: {_describe_cause(cause)}.", _HINT
        ) from cause


def _check_format(path: Path, header: dict[str, str]) -> None:
    found = header.get("format", "")
    if not found.isdecimal() or int(found) > FORMAT:
        raise GalleryCode.FILE_REFUSED(
            f"{path.name} has the format {found[:20]}, this version reads {FORMAT} at most.",
            "Update Wayspeak, or export with this version.",
        )


def _check_digest(path: Path, content: bytes, header: dict[str, str]) -> None:
    """Verify the checksum, which was computed before it was written into the file."""
    found = header.get("sha256", "")
    digests = _DIGEST.findall(content)
    unsigned = content.replace(_sign(found), _sign(UNSIGNED)) if digests == [found.encode()] else b""
    if hashlib.sha256(unsigned).hexdigest() != found:
        raise GalleryCode.FILE_REFUSED(f"{path.name} is damaged or was changed: its checksum does not fit.", _HINT)


def _sign(digest: str) -> bytes:
    return f'"sha256":"{digest}"'.encode()


def _describe_cause(cause: Exception) -> str:
    """Return one line of printable ASCII."""
    text = f"{cause}" if isinstance(cause, ValueError) else f"{type(cause).__name__} {cause}"
    return re.sub(r"[^\x20-\x7e]", "?", text)[:200]


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
    """Write to a temporary file, then rename: the old file stays until the new one is on disk."""
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
