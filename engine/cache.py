"""Observations kept on disk by the hash of the file they were made from, so that no clip is decoded twice.

One folder per recipe: what other weights or options have seen is never taken for what these would see. Mouths stand in
a file of their own beside the rows: an observation that was kept without them serves whoever needs none, and counts as
absent for whoever does.
"""

import json
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from engine.errors import UnreadableVideo
from engine.mouths import CROP
from engine.observation import Heard, Observation, ObservedTrack
from engine.observer import MOUTHS_VERSION
from engine.types import OnStep, Reason
from engine.weights import hash_file

LAYOUT = 1  # of the files; others count as absent
TRACK_ARRAYS = ("lips", "seen", "gap", "thumbnail")
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)


class Observes(Protocol):
    """What `observe_cached` needs of an `Observer`."""

    recipe: str

    def observe(self, path: Path, on_step: OnStep = ...) -> Observation:
        """See and hear the whole file."""
        ...


class ObservationCache:
    """One .npz a clip in `folder/<recipe>`, a second for its mouths; a damaged one is absent and is written anew.

    `with_mouths`: gives and takes observations whose mouths were cut, and no others.
    """

    def __init__(self, folder: Path, recipe: str, with_mouths: bool = False):
        if not re.fullmatch(r"[\w+.-]*\w[\w+.-]*", recipe, re.ASCII):
            raise ValueError(f"a recipe names a folder of the cache, and {recipe!r} cannot")
        self.recipe, self.folder, self.with_mouths = recipe, folder / recipe, with_mouths

    def load(self, sha256: str) -> Observation | None:
        """Give what was seen and heard in the file of this hash; None where that, or its mouths if wanted, is new."""
        path = self._place(sha256)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                seen = _unpack(arrays)
            if self.with_mouths:
                with np.load(_beside(path), allow_pickle=False) as arrays:
                    seen = _unpack_mouths(arrays, seen)
        except DAMAGED:
            return None
        return seen if seen.sha256 == sha256 else None

    def save(self, observation: Observation) -> Path:
        """Write it whole or not at all, also when the machine stops meanwhile; raises OSError where it cannot.

        Gives the path of the rows. ValueError where mouths are wanted and the observation has none.
        """
        path = self._place(observation.sha256)
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.with_mouths:
            self._write(_beside(path), _pack_mouths(observation))
        self._write(path, _pack(observation))
        return path

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


def observe_cached(
    path: Path, observer: Observes, cache: ObservationCache, on_step: OnStep = lambda name, completed, total: None
) -> Observation:
    """Observe a file, decoding it only where the cache does not know its content; the name is always this path's.

    Raises EngineError for a file that cannot be read, OSError where the cache cannot be written, and ValueError where
    observer and cache are of two recipes.
    """
    if observer.recipe != cache.recipe:
        raise ValueError(f"the cache is of recipe {cache.recipe}, the observer of {observer.recipe}")
    known = cache.load(_hash(path)) if path.is_file() else None
    if known is not None:
        return replace(known, name=path.name)
    seen = observer.observe(path, on_step)
    cache.save(seen)
    return seen


def _hash(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as cause:
        raise UnreadableVideo(f"{path.name} cannot be read: {cause.strerror}.", "Check the file's rights.") from cause


def _beside(path: Path) -> Path:
    """Where the mouths of an observation stand."""
    return path.with_suffix(".mouths.npz")


def _pack_mouths(seen: Observation) -> dict[str, Any]:
    if not seen.has_mouths:
        raise ValueError(f"the mouths of {seen.name} were not cut, and this cache keeps them")
    record = {"version": MOUTHS_VERSION, "sha256": seen.sha256}
    arrays = {"filterbank": seen.heard.filterbank}
    arrays |= {f"mouths_{number}": track.mouths for number, track in enumerate(seen.tracks)}
    if seen.first_mouths is not None:
        arrays["first"] = seen.first_mouths
    return arrays | {"record": _write_record(record)}


def _unpack_mouths(arrays: Mapping[str, np.ndarray], seen: Observation) -> Observation:
    """Add the mouths to their observation; ValueError where they are of another."""
    if json.loads(arrays["record"].tobytes()) != {"version": MOUTHS_VERSION, "sha256": seen.sha256}:
        raise ValueError("mouths of another version or of another clip")
    mouths = [arrays[f"mouths_{number}"] for number in range(len(seen.tracks))]
    if any(own.shape != (len(track.seen), CROP, CROP) for own, track in zip(mouths, seen.tracks, strict=True)):
        raise ValueError("mouths that do not belong to their tracks")
    tracks = tuple(replace(track, mouths=own) for own, track in zip(mouths, seen.tracks, strict=True))
    heard = replace(seen.heard, filterbank=arrays["filterbank"])
    return replace(seen, heard=heard, tracks=tracks, first_mouths=arrays["first"] if seen.tracks else None)


def _write_record(record: dict[str, Any]) -> np.ndarray:
    """JSON as an array, so that nothing is pickled."""
    return np.frombuffer(json.dumps(record, default=np.generic.item).encode(), np.uint8)


def _pack(seen: Observation) -> dict[str, Any]:
    """Arrays by name; everything else in the array `record`."""
    record = {
        "layout": LAYOUT,
        "name": seen.name,
        "sha256": seen.sha256,
        "n_frames": seen.n_frames,
        "size_px": seen.size_px,
        "source_fps": seen.source_fps,
        "reasons": seen.reasons,
        "level_dbfs": seen.heard.level_dbfs,
        "cuts": seen.cuts,
        "timings_s": seen.timings_s,
        "tracks": [{"start": track.start, "face_px": track.face_px} for track in seen.tracks],
    }
    arrays = {"rows": seen.heard.rows, "voiced": seen.heard.voiced, "present": seen.heard.present}
    for number, track in enumerate(seen.tracks):
        arrays |= {f"{name}_{number}": getattr(track, name) for name in TRACK_ARRAYS}
    return arrays | {"record": _write_record(record)}


def _unpack(arrays: Mapping[str, np.ndarray]) -> Observation:
    record = json.loads(arrays["record"].tobytes())
    if record["layout"] != LAYOUT:
        raise ValueError(f"layout {record['layout']}, wanted {LAYOUT}")
    heard = Heard(arrays["rows"], arrays["voiced"], arrays["present"], record["level_dbfs"])
    tracks = tuple(
        ObservedTrack(
            start=plain["start"],
            lips=arrays[f"lips_{number}"],
            seen=arrays[f"seen_{number}"],
            gap=arrays[f"gap_{number}"],
            face_px=plain["face_px"],
            thumbnail=arrays[f"thumbnail_{number}"],
        )
        for number, plain in enumerate(record["tracks"])
    )
    return Observation(
        name=record["name"],
        sha256=record["sha256"],
        n_frames=record["n_frames"],
        size_px=(record["size_px"][0], record["size_px"][1]),
        source_fps=record["source_fps"],
        reasons=tuple(Reason(reason) for reason in record["reasons"]),
        heard=heard,
        tracks=tracks,
        cuts=tuple(record["cuts"]),
        timings_s=record["timings_s"],
    )
