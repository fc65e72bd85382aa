"""From a manifest to its reels: those that are there are used, the others made side by side."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError

from engine.datasets.manifest import Row
from engine.errors import EngineError
from engine.settings import Settings
from engine.training.avhubert.preprocessing import PreprocessedClip, Preprocessor, measure_reel
from engine.training.avhubert.trainer import ProcessGroup
from engine.training.clips import MIN_FRAMES, check_faces, find_corpora, read_usable_rows
from engine.training.consistency.av_offset import settle_lateness
from engine.weights.registry import hash_file


@dataclass(frozen=True, slots=True)
class PreprocessedDataset:
    """Where reels are kept, and how they are made."""

    folder: Path
    settings: Settings
    workers: int = 1
    on_row: Callable[[int, int], None] = lambda done, total: None
    on_skip: Callable[[str], None] = lambda told: None  # a clip that is left out, and why

    def gather(self, manifest: Path) -> list[PreprocessedClip]:
        """Give a reel for every usable row that shows a face beside its sound, making those that are not there.

        The lateness of a reel whose own is not clear is the median of its source's. BAD_MANIFEST where nothing is left.
        """
        rows = read_usable_rows(manifest)
        maker = Preprocessor.load(self.settings)
        places = [self._place(row.path, self.folder / maker.recipe) for row in rows]
        absent = {
            path: row.path for row, path in zip(rows, places, strict=True) if path is not None and not _is_whole(path)
        }
        self.on_row(len(rows) - len(absent), len(rows))
        for done, told in enumerate(self._make(absent, maker), start=len(rows) - len(absent) + 1):
            self.on_row(done, len(rows))
            if told:
                self.on_skip(told)
        reels = self._list(rows, places)
        check_faces(reels, rows, manifest)
        return reels

    def gather_with(self, crew: ProcessGroup, manifest: Path) -> list[PreprocessedClip]:
        """Let the first process make what is missing, as `gather` does; the others find it done and stay quiet."""
        if crew.leads:
            reels = self.gather(manifest)
        crew.wait()
        return reels if crew.leads else replace(self, workers=1, on_skip=lambda told: None).gather(manifest)

    def _place(self, video: Path, folder: Path) -> Path | None:
        """Name the reel by the hash of its video; None where that cannot be read."""
        try:
            return folder / f"{hash_file(video)}.safetensors"
        except OSError as cause:
            self.on_skip(f"{video.name} cannot be read: {cause.strerror}.")
            return None

    def _make(self, absent: dict[Path, Path], maker: Preprocessor) -> Iterator[str]:
        """Yield for each reel, in the order they are done, why it could not be made; empty where it was."""
        if self.workers <= 1 or len(absent) <= 1:
            yield from (_try_to_make(maker, video, path) for path, video in absent.items())
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.workers, context, initializer=_open_shop, initargs=(self.settings,)) as pool:
            futures = [pool.submit(_make_apart, video, path) for path, video in absent.items()]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _list(self, rows: Sequence[Row], places: Sequence[Path | None]) -> list[PreprocessedClip]:
        reels, heard = [], []
        for row, corpus, path in zip(rows, find_corpora(rows), places, strict=True):
            if path is None or not path.is_file():
                continue
            n_frames, late = measure_reel(path)
            if n_frames == 0:
                self.on_skip(f"{row.path.name} shows no face beside its sound for {MIN_FRAMES} frames.")
                continue
            reels.append(PreprocessedClip(path, row.path.name, row.source, row.speaker, corpus, n_frames))
            heard.append(late)
        settled = settle_lateness([reel.source for reel in reels], heard)
        return [_align(reel, late) for reel, late in zip(reels, settled, strict=True)]


def _align(reel: PreprocessedClip, late: int) -> PreprocessedClip:
    """Cut the lateness away, where enough is left."""
    return replace(reel, late=late) if reel.n_frames - abs(late) >= MIN_FRAMES else reel


def _is_whole(path: Path) -> bool:
    try:
        measure_reel(path)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return False
    return True


def _try_to_make(maker: Preprocessor, video: Path, path: Path) -> str:
    try:
        maker.make(video, path)
    except EngineError as error:
        return f"{video.name}: {error.message}"
    return ""


_shop: list[Preprocessor] = []
"""A worker's own networks: they cannot be sent from process to process."""


def _open_shop(settings: Settings) -> None:
    torch.set_num_threads(1)
    _shop.append(Preprocessor.load(settings))


def _make_apart(video: Path, path: Path) -> str:
    return _try_to_make(_shop[0], video, path)
