"""Observations kept on disk by the hash of the file they were made from, so that no clip is decoded twice.

One folder per recipe: what other weights or options have seen is never taken for what these would see. Mouths and
upright faces stand in files of their own beside the rows: an observation that was kept without them serves whoever
needs none, and counts as absent for whoever does.

Clips observed ahead into the cache, by several processes side by side.
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
from functools import cache as remember
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from engine.errors import Code, EngineError
from engine.faces.face_crops import AlignedFaces
from engine.faces.landmark_features import N_MOTION
from engine.faces.mouth_crops import CROP
from engine.faces.tracking import FaceOptions
from engine.features.extractor import FACES_VERSION, MOUTHS_VERSION, FeatureExtractor
from engine.features.records import AudioFeatures, ClipFeatures, FaceFeatures
from engine.settings import Settings
from engine.types import OnStep, Reason
from engine.weights.registry import hash_file

LAYOUT = 2  # of the files; others count as absent
TRACK_ARRAYS = ("lips", "seen", "gap", "thumbnail", "motion")
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)

Arrays = Mapping[str, np.ndarray]


class ExtractsFeatures(Protocol):
    """What `extract_cached` needs of an `FeatureExtractor`."""

    recipe: str

    def extract(self, path: Path, on_step: OnStep = ...) -> ClipFeatures:
        """See and hear the whole file."""
        ...


@dataclass(frozen=True, slots=True)
class _Part:
    """What of an observation stands in a file of its own."""

    name: str  # `<sha256>.<name>.npz`
    version: int
    is_there: Callable[[ClipFeatures], bool]
    pack: Callable[[ClipFeatures], Arrays]
    unpack: Callable[[Arrays, ClipFeatures], ClipFeatures]  # adds it; ValueError where it is of other tracks

    def beside(self, rows: Path) -> Path:
        """Where it stands."""
        return rows.with_suffix(f".{self.name}.npz")

    def take(self, seen: ClipFeatures) -> dict[str, Any]:
        """Arrays to write; ValueError where the observation lacks it."""
        if not self.is_there(seen):
            raise ValueError(f"the {self.name} of {seen.name} were not cut, and this cache keeps them")
        return {**self.pack(seen), "record": _write_record(self._describe(seen))}

    def add(self, arrays: Arrays, seen: ClipFeatures) -> ClipFeatures:
        """Add it to its observation; ValueError where it is of another one, or of another version."""
        if json.loads(arrays["record"].tobytes()) != self._describe(seen):
            raise ValueError(f"{self.name} of another version or of another clip")
        return self.unpack(arrays, seen)

    def _describe(self, seen: ClipFeatures) -> dict[str, Any]:
        return {"version": self.version, "sha256": seen.sha256}


def _pack_mouths(seen: ClipFeatures) -> Arrays:
    assert seen.audio.filterbank is not None
    arrays = {"filterbank": seen.audio.filterbank}
    arrays |= {f"mouths_{number}": track.mouths for number, track in enumerate(seen.tracks) if track.mouths is not None}
    if seen.first_mouths is not None:
        arrays["first"] = seen.first_mouths
    return arrays


def _unpack_mouths(arrays: Arrays, seen: ClipFeatures) -> ClipFeatures:
    mouths = [arrays[f"mouths_{number}"] for number in range(len(seen.tracks))]
    if any(own.shape != (len(track.seen), CROP, CROP) for own, track in zip(mouths, seen.tracks, strict=True)):
        raise ValueError("mouths that do not belong to their tracks")
    tracks = tuple(replace(track, mouths=own) for own, track in zip(mouths, seen.tracks, strict=True))
    heard = replace(seen.audio, filterbank=arrays["filterbank"])
    return replace(seen, audio=heard, tracks=tracks, first_mouths=arrays["first"] if seen.tracks else None)


def _pack_faces(seen: ClipFeatures) -> Arrays:
    faces = [(number, track.faces) for number, track in enumerate(seen.tracks) if track.faces is not None]
    pictures = {f"pictures_{number}": face.pictures for number, face in faces}
    return pictures | {f"points_{number}": face.points for number, face in faces}


def _unpack_faces(arrays: Arrays, seen: ClipFeatures) -> ClipFeatures:
    faces = [AlignedFaces(arrays[f"pictures_{i}"], arrays[f"points_{i}"]) for i in range(len(seen.tracks))]
    if any(len(own.points) != len(track.seen) for own, track in zip(faces, seen.tracks, strict=True)):
        raise ValueError("faces that do not belong to their tracks")
    tracks = tuple(replace(track, faces=own) for own, track in zip(faces, seen.tracks, strict=True))
    return replace(seen, tracks=tracks)


MOUTHS = _Part("mouths", MOUTHS_VERSION, lambda seen: seen.has_mouths, _pack_mouths, _unpack_mouths)
FACES = _Part("faces", FACES_VERSION, lambda seen: seen.has_faces, _pack_faces, _unpack_faces)


class FeatureCache:
    """One .npz a clip in `folder/<recipe>`, others for its mouths and faces; a damaged one is absent and written anew.

    `with_mouths`, `with_faces`: gives and takes observations for which these were cut, and no others.
    """

    def __init__(self, folder: Path, recipe: str, with_mouths: bool = False, with_faces: bool = False):
        if not re.fullmatch(r"[\w+.-]*\w[\w+.-]*", recipe, re.ASCII):
            raise ValueError(f"a recipe names a folder of the cache, and {recipe!r} cannot")
        self.recipe, self.folder = recipe, folder / recipe
        self.with_mouths, self.with_faces = with_mouths, with_faces

    def load(self, sha256: str) -> ClipFeatures | None:
        """Give what was seen and heard in the file of this hash; None where that, or what is wanted with it, is new."""
        path = self._place(sha256)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                seen = _unpack(arrays)
            for part in self._parts:
                with np.load(part.beside(path), allow_pickle=False) as arrays:
                    seen = part.add(arrays, seen)
        except DAMAGED:
            return None
        return seen if seen.sha256 == sha256 else None

    def save(self, observation: ClipFeatures) -> Path:
        """Write it whole or not at all, also when the machine stops meanwhile; raises OSError where it cannot.

        Gives the path of the rows. ValueError where mouths or faces are wanted and the observation has none.
        """
        path = self._place(observation.sha256)
        self.folder.mkdir(parents=True, exist_ok=True)
        for part in self._parts:
            self._write(part.beside(path), part.take(observation))
        self._write(path, _pack(observation))
        return path

    @property
    def _parts(self) -> tuple[_Part, ...]:
        """What stands beside the rows."""
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
            raise ValueError(f"{sha256!r} is no SHA-256 in hexadecimal")
        return self.folder / f"{sha256}.npz"


def extract_cached(
    path: Path, extractor: ExtractsFeatures, cache: FeatureCache, on_step: OnStep = lambda name, completed, total: None
) -> ClipFeatures:
    """Observe a file, decoding it only where the cache does not know its content; the name is always this path's.

    Raises EngineError for a file that cannot be read, OSError where the cache cannot be written, and ValueError where
    extractor and cache are of two recipes.
    """
    if extractor.recipe != cache.recipe:
        raise ValueError(f"the cache is of recipe {cache.recipe}, the extractor of {extractor.recipe}")
    known = cache.load(_hash(path)) if path.is_file() else None
    if known is not None:
        return replace(known, name=path.name)
    seen = extractor.extract(path, on_step)
    cache.save(seen)
    return seen


def _hash(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as cause:
        raise Code.UNREADABLE_VIDEO(
            f"{path.name} cannot be read: {cause.strerror}.", "Check the file's rights."
        ) from cause


def _write_record(record: dict[str, Any]) -> np.ndarray:
    """JSON as an array, so that nothing is pickled."""
    return np.frombuffer(json.dumps(record, default=np.generic.item).encode(), np.uint8)


def _pack(seen: ClipFeatures) -> dict[str, Any]:
    """Arrays by name; everything else in the array `record`."""
    record = {
        "layout": LAYOUT,
        "name": seen.name,
        "sha256": seen.sha256,
        "n_frames": seen.n_frames,
        "size_px": seen.size_px,
        "source_fps": seen.source_fps,
        "reasons": seen.reasons,
        "level_dbfs": seen.audio.level_dbfs,
        "cuts": seen.cuts,
        "timings_s": seen.timings_s,
        "tracks": [{"start": track.start, "face_px": track.face_px} for track in seen.tracks],
    }
    arrays = {"rows": seen.audio.rows, "voiced": seen.audio.voiced, "present": seen.audio.present}
    for number, track in enumerate(seen.tracks):
        arrays |= {f"{name}_{number}": getattr(track, name) for name in TRACK_ARRAYS}
    return arrays | {"record": _write_record(record)}


def _unpack(arrays: Arrays) -> ClipFeatures:
    record = json.loads(arrays["record"].tobytes())
    if record["layout"] != LAYOUT:
        raise ValueError(f"layout {record['layout']}, wanted {LAYOUT}")
    if any(arrays[f"motion_{number}"].shape[1] != N_MOTION for number in range(len(record["tracks"]))):
        raise ValueError("motion told in other columns")
    heard = AudioFeatures(arrays["rows"], arrays["voiced"], arrays["present"], record["level_dbfs"])
    tracks = tuple(
        FaceFeatures(
            start=plain["start"],
            lips=arrays[f"lips_{number}"],
            seen=arrays[f"seen_{number}"],
            gap=arrays[f"gap_{number}"],
            face_px=plain["face_px"],
            thumbnail=arrays[f"thumbnail_{number}"],
            motion=arrays[f"motion_{number}"],
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
        audio=heard,
        tracks=tracks,
        cuts=tuple(record["cuts"]),
        timings_s=record["timings_s"],
    )


def decode_ahead(
    paths: Iterable[Path],
    settings: Settings,
    face_options: FaceOptions,
    cache: FeatureCache,
    workers: int,
    on_row: OnStep = lambda step, completed, total: None,
) -> None:
    """Fill the cache with what is not in it, by several processes of one thread each.

    Files that fail are left for whoever observes them next to name.
    """
    missing = [path for path in paths if path.is_file() and cache.load(hash_file(path)) is None]
    if not missing:
        return
    alone = replace(settings, threads=1)
    # spawned, since a fork would take over the locks of the networks' threads as they happen to be
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_extract_in_worker, path, alone, face_options, cache) for path in missing]
        for done, future in enumerate(futures):
            on_row("decode", done, len(missing))
            try:
                future.result()
            except BrokenProcessPool as cause:
                raise EngineError(
                    "A process that decoded clips ended without a word; it may have run out of memory.",
                    "Use fewer --workers.",
                ) from cause
    on_row("decode", len(missing), len(missing))


@remember
def _load_extractor(
    settings: Settings, face_options: FaceOptions, cut_mouths: bool, cut_faces: bool
) -> FeatureExtractor:
    """Load the networks once in each process."""
    return FeatureExtractor.load(settings, face_options, cut_mouths, cut_faces)


def _extract_in_worker(path: Path, settings: Settings, face_options: FaceOptions, cache: FeatureCache) -> None:
    """Observe one file into the cache, in a process of its own."""
    try:
        extractor = _load_extractor(settings, face_options, cache.with_mouths, cache.with_faces)
        extract_cached(path, extractor, cache)
    except EngineError:
        return
