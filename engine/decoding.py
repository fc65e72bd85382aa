"""Clips observed ahead into the cache, by several processes side by side."""

import multiprocessing
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import cache as remember
from pathlib import Path

from engine.cache import ObservationCache, observe_cached
from engine.errors import EngineError
from engine.faces.tracking import FaceOptions
from engine.observer import Observer
from engine.settings import Settings
from engine.types import OnStep
from engine.weights.registry import hash_file


def decode_ahead(
    paths: Iterable[Path],
    settings: Settings,
    face_options: FaceOptions,
    cache: ObservationCache,
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
        futures = [pool.submit(_observe_aside, path, alone, face_options, cache) for path in missing]
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
def _load_observer(settings: Settings, face_options: FaceOptions, cut_mouths: bool, cut_faces: bool) -> Observer:
    """Load the networks once in each process."""
    return Observer.load(settings, face_options, cut_mouths, cut_faces)


def _observe_aside(path: Path, settings: Settings, face_options: FaceOptions, cache: ObservationCache) -> None:
    """Observe one file into the cache, in a process of its own."""
    try:
        observer = _load_observer(settings, face_options, cache.with_mouths, cache.with_faces)
        observe_cached(path, observer, cache)
    except EngineError:
        return
