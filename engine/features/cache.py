"""Cache clip features on disk by the SHA-256 of the file, one folder per recipe; fill it with several processes.

Mouths and aligned faces are stored in separate files next to the rows: an entry without them serves readers that need
none, and is a miss for readers that do.
"""

import json
import multiprocessing
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cache as memoize
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import TypeAdapter

from engine.errors import Code, EngineError
from engine.faces.face_crops import AlignedFaces
from engine.faces.landmark_features import N_MOTION
from engine.faces.mouth_crops import CROP
from engine.faces.tracking import FaceOptions
from engine.features.extractor import FACES_VERSION, MOUTHS_VERSION, FeatureExtractor
from engine.features.records import AudioFeatures, ClipFeatures, FaceFeatures
from engine.settings import Settings, share_cores
from engine.types import MediaReport, OnStep, Reason
from engine.weights.registry import hash_file

LAYOUT = 4  # version of the files; others are a miss
TRACK_ARRAYS = ("lips", "seen", "gap", "thumbnail", "motion", "covered", "frozen")
AUDIO_ARRAYS = ("rows", "voiced", "present", "muted")
MEDIA = TypeAdapter(MediaReport)
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)

Arrays = Mapping[str, np.ndarray]


class ExtractsFeatures(Protocol):
    """The methods of `FeatureExtractor` that `extract_cached` needs."""

    recipe: str

    def extract(self, path: Path, on_step: OnStep = ...) -> ClipFeatures:
        """Extract features from a file."""
        ...


@dataclass(frozen=True, slots=True)
class _Part:
    """Features that are stored in a separate file."""

    name: str  # `<sha256>.<name>.npz`
    version: int
    is_there: Callable[[ClipFeatures], bool]
    pack: Callable[[ClipFeatures], Arrays]
    unpack: Callable[[Arrays, ClipFeatures], ClipFeatures]  # adds it; ValueError if it belongs to other tracks

    def path(self, rows: Path) -> Path:
        """Return the path of the separate file."""
        return rows.with_suffix(f".{self.name}.npz")

    def pack_checked(self, features: ClipFeatures) -> dict[str, Any]:
        """Return the arrays to write; ValueError if the features lack it."""
        if not self.is_there(features):
            raise ValueError(f"the {self.name} of {features.name} were not cut, and this cache keeps them")
        return {**self.pack(features), "record": _write_record(self._describe(features))}

    def add(self, arrays: Arrays, features: ClipFeatures) -> ClipFeatures:
        """Add it to the features; ValueError if it is of another clip or version."""
        if json.loads(arrays["record"].tobytes()) != self._describe(features):
            raise ValueError(f"{self.name} of another version or of another clip")
        return self.unpack(arrays, features)

    def _describe(self, features: ClipFeatures) -> dict[str, Any]:
        return {"version": self.version, "sha256": features.sha256}


def _pack_mouths(features: ClipFeatures) -> Arrays:
    assert features.audio.filterbank is not None
    arrays = {"filterbank": features.audio.filterbank}
    arrays |= {
        f"mouths_{number}": track.mouths for number, track in enumerate(features.tracks) if track.mouths is not None
    }
    if features.first_mouths is not None:
        arrays["first"] = features.first_mouths
    return arrays


def _unpack_mouths(arrays: Arrays, features: ClipFeatures) -> ClipFeatures:
    mouths = [arrays[f"mouths_{number}"] for number in range(len(features.tracks))]
    if any(own.shape != (len(track.seen), CROP, CROP) for own, track in zip(mouths, features.tracks, strict=True)):
        raise ValueError("mouths that do not belong to their tracks")
    tracks = tuple(replace(track, mouths=own) for own, track in zip(mouths, features.tracks, strict=True))
    audio = replace(features.audio, filterbank=arrays["filterbank"])
    return replace(features, audio=audio, tracks=tracks, first_mouths=arrays["first"] if features.tracks else None)


def _pack_faces(features: ClipFeatures) -> Arrays:
    faces = [(number, track.faces) for number, track in enumerate(features.tracks) if track.faces is not None]
    pictures = {f"pictures_{number}": face.pictures for number, face in faces}
    return pictures | {f"points_{number}": face.points for number, face in faces}


def _unpack_faces(arrays: Arrays, features: ClipFeatures) -> ClipFeatures:
    faces = [AlignedFaces(arrays[f"pictures_{i}"], arrays[f"points_{i}"]) for i in range(len(features.tracks))]
    if any(len(own.points) != len(track.seen) for own, track in zip(faces, features.tracks, strict=True)):
        raise ValueError("faces that do not belong to their tracks")
    tracks = tuple(replace(track, faces=own) for own, track in zip(faces, features.tracks, strict=True))
    return replace(features, tracks=tracks)


MOUTHS = _Part("mouths", MOUTHS_VERSION, lambda features: features.has_mouths, _pack_mouths, _unpack_mouths)
FACES = _Part("faces", FACES_VERSION, lambda features: features.has_faces, _pack_faces, _unpack_faces)


class FeatureCache:
    """One .npz per clip in `folder/<recipe>`, others for its mouths and faces; a damaged file is a miss.

    With `with_mouths` or `with_faces` it loads and saves only features that include these crops.
    """

    def __init__(self, folder: Path, recipe: str, with_mouths: bool = False, with_faces: bool = False):
        if not re.fullmatch(r"[\w+.-]*\w[\w+.-]*", recipe, re.ASCII):
            raise ValueError(f"the recipe {recipe!r} is not a valid folder name")
        self.recipe, self.folder = recipe, folder / recipe
        self.with_mouths, self.with_faces = with_mouths, with_faces

    def load(self, sha256: str) -> ClipFeatures | None:
        """Return the features of the file with this hash; None on a miss."""
        path = self._place(sha256)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                features = _unpack(arrays)
            for part in self._parts:
                with np.load(part.path(path), allow_pickle=False) as arrays:
                    features = part.add(arrays, features)
        except DAMAGED:
            return None
        return features if features.sha256 == sha256 else None

    def save(self, features: ClipFeatures) -> Path:
        """Write the features atomically (fsync) and return the path of the rows.

        Raises OSError, and ValueError if mouths or faces are required and missing.
        """
        path = self._place(features.sha256)
        self.folder.mkdir(parents=True, exist_ok=True)
        for part in self._parts:
            self._write(part.path(path), part.pack_checked(features))
        self._write(path, _pack(features))
        return path

    @property
    def _parts(self) -> tuple[_Part, ...]:
        """The separate files of this cache."""
        wanted = ((self.with_mouths, MOUTHS), (self.with_faces, FACES))
        return tuple(part for is_wanted, part in wanted if is_wanted)

    def _write(self, path: Path, arrays: dict[str, Any]) -> None:
        handle, unfinished = tempfile.mkstemp(suffix=".part", dir=self.folder)
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
                file.flush()
                os.fsync(file.fileno())
            Path(unfinished).replace(path)
        except BaseException:
            Path(unfinished).unlink(missing_ok=True)
            raise

    def _place(self, sha256: str) -> Path:
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise ValueError(f"{sha256!r} is not a hexadecimal SHA-256")
        return self.folder / f"{sha256}.npz"


def extract_cached(
    path: Path, extractor: ExtractsFeatures, cache: FeatureCache, on_step: OnStep = lambda name, completed, total: None
) -> ClipFeatures:
    """Return the features of a file from the cache, or extract and cache them; `name` is that of this path.

    Raises EngineError if the file cannot be read, OSError if the cache cannot be written, and ValueError if the recipes
    of extractor and cache differ.
    """
    if extractor.recipe != cache.recipe:
        raise ValueError(f"the cache is of recipe {cache.recipe}, the extractor of {extractor.recipe}")
    known = cache.load(_hash(path)) if path.is_file() else None
    if known is not None:
        return replace(known, name=path.name)
    features = extractor.extract(path, on_step)
    cache.save(features)
    return features


def _hash(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as cause:
        raise Code.UNREADABLE_VIDEO(
            f"{path.name} cannot be read: {cause.strerror}.", "Check the file's rights."
        ) from cause


def _write_record(record: dict[str, Any]) -> np.ndarray:
    """Encode JSON as a uint8 array, so that nothing is pickled."""
    return np.frombuffer(json.dumps(record, default=np.generic.item).encode(), np.uint8)


def _pack(features: ClipFeatures) -> dict[str, Any]:
    """Return the arrays by name; all other fields are JSON in the array `record`."""
    record = {
        "layout": LAYOUT,
        "name": features.name,
        "sha256": features.sha256,
        "n_frames": features.n_frames,
        "size_px": features.size_px,
        "source_fps": features.source_fps,
        "reasons": features.reasons,
        "level_dbfs": features.audio.level_dbfs,
        "cuts": features.cuts,
        "timings_s": features.timings_s,
        "media": MEDIA.dump_python(features.media, mode="json"),
        "channels": [{"name": name, "level_dbfs": audio.level_dbfs} for name, audio in features.channels],
        "tracks": [{"start": track.start, "face_px": track.face_px} for track in features.tracks],
    }
    arrays = {name: getattr(features.audio, name) for name in AUDIO_ARRAYS}
    for number, track in enumerate(features.tracks):
        arrays |= {f"{name}_{number}": getattr(track, name) for name in TRACK_ARRAYS}
    for number, (_, audio) in enumerate(features.channels):
        arrays |= {f"{name}_of_channel_{number}": getattr(audio, name) for name in AUDIO_ARRAYS}
    return arrays | {"record": _write_record(record)}


def _unpack(arrays: Arrays) -> ClipFeatures:
    record = json.loads(arrays["record"].tobytes())
    if record["layout"] != LAYOUT:
        raise ValueError(f"layout {record['layout']}, wanted {LAYOUT}")
    if any(arrays[f"motion_{number}"].shape[1] != N_MOTION for number in range(len(record["tracks"]))):
        raise ValueError("motion has other columns")
    audio = AudioFeatures(**{name: arrays[name] for name in AUDIO_ARRAYS}, level_dbfs=record["level_dbfs"])
    tracks = tuple(
        FaceFeatures(
            start=plain["start"],
            lips=arrays[f"lips_{number}"],
            seen=arrays[f"seen_{number}"],
            gap=arrays[f"gap_{number}"],
            face_px=plain["face_px"],
            thumbnail=arrays[f"thumbnail_{number}"],
            motion=arrays[f"motion_{number}"],
            covered=arrays[f"covered_{number}"],
            frozen=arrays[f"frozen_{number}"],
        )
        for number, plain in enumerate(record["tracks"])
    )
    return ClipFeatures(
        name=record["name"],
        sha256=record["sha256"],
        n_frames=record["n_frames"],
        size_px=(record["size_px"][0], record["size_px"][1]),
        source_fps=record["source_fps"],
        reasons=tuple(Reason(reason) for reason in record["reasons"]),
        audio=audio,
        tracks=tracks,
        cuts=tuple(record["cuts"]),
        timings_s=record["timings_s"],
        media=MEDIA.validate_python(record["media"]),
        channels=tuple(
            (
                plain["name"],
                AudioFeatures(
                    **{name: arrays[f"{name}_of_channel_{number}"] for name in AUDIO_ARRAYS},
                    level_dbfs=plain["level_dbfs"],
                ),
            )
            for number, plain in enumerate(record["channels"])
        ),
    )


def decode_ahead(
    paths: Iterable[Path],
    settings: Settings,
    face_options: FaceOptions,
    cache: FeatureCache,
    workers: int,
    on_row: OnStep = lambda step, completed, total: None,
) -> None:
    """Extract the features of uncached files into the cache, with `workers` processes of one thread each.

    Files that fail are skipped; the next extraction raises their error.
    """
    missing = [path for path in paths if path.is_file() and cache.load(hash_file(path)) is None]
    if not missing:
        return
    alone = replace(settings, threads=1, workers=share_cores(workers))
    # spawned: a fork copies the locks of the networks' threads in their current state
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_extract_in_worker, path, alone, face_options, cache) for path in missing]
        for done, future in enumerate(futures):
            on_row("decode", done, len(missing))
            try:
                future.result()
            except BrokenProcessPool as cause:
                raise EngineError(
                    "A process that decoded clips ended without an error message; it may have run out of memory.",
                    "Use fewer --workers.",
                ) from cause
    on_row("decode", len(missing), len(missing))


@memoize
def _load_extractor(
    settings: Settings, face_options: FaceOptions, cut_mouths: bool, cut_faces: bool
) -> FeatureExtractor:
    """Load the networks once per process."""
    return FeatureExtractor.load(settings, face_options, cut_mouths, cut_faces)


def _extract_in_worker(path: Path, settings: Settings, face_options: FaceOptions, cache: FeatureCache) -> None:
    """Extract one file into the cache, in a worker process."""
    try:
        extractor = _load_extractor(settings, face_options, cache.with_mouths, cache.with_faces)
        extract_cached(path, extractor, cache)
    except EngineError:
        return
