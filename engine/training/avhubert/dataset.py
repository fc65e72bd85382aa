"""Preprocess the clips of a manifest in parallel; existing files are reused."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError

from engine.datasets.manifest import Row, find_corpora
from engine.errors import EngineError
from engine.settings import Settings
from engine.training.avhubert.preprocessing import PreprocessedClip, Preprocessor, read_header
from engine.training.avhubert.trainer import ProcessGroup
from engine.training.clips import MIN_FRAMES, check_faces, read_usable_rows
from engine.training.consistency.av_offset import fill_unclear_offsets
from engine.weights.registry import hash_file


@dataclass(frozen=True, slots=True)
class PreprocessedDataset:
    """Folder of preprocessed clips, and how missing ones are made."""

    folder: Path
    settings: Settings
    workers: int = 1
    on_row: Callable[[int, int], None] = lambda done, total: None
    on_skip: Callable[[str], None] = lambda reason: None  # clip and reason

    def gather(self, manifest: Path) -> list[PreprocessedClip]:
        """Return a preprocessed clip for every usable row with a face and audio, making missing files.

        A clip without a clear AV offset takes the median of its source. Raises BAD_MANIFEST if no clip is left.
        """
        rows = read_usable_rows(manifest)
        preprocessor = Preprocessor.load(self.settings)
        places = [self._locate(row.path, self.folder / preprocessor.recipe) for row in rows]
        absent = {
            path: row.path for row, path in zip(rows, places, strict=True) if path is not None and not _is_whole(path)
        }
        self.on_row(len(rows) - len(absent), len(rows))
        for done, reason in enumerate(self._make(absent, preprocessor), start=len(rows) - len(absent) + 1):
            self.on_row(done, len(rows))
            if reason:
                self.on_skip(reason)
        clips = self._list(rows, places)
        check_faces(clips, rows, manifest)
        return clips

    def gather_with(self, group: ProcessGroup, manifest: Path) -> list[PreprocessedClip]:
        """Make missing files in rank 0, as `gather` does; other processes read them without reporting skips."""
        if group.leads:
            clips = self.gather(manifest)
        group.wait()
        return clips if group.leads else replace(self, workers=1, on_skip=lambda reason: None).gather(manifest)

    def _locate(self, video: Path, folder: Path) -> Path | None:
        """Return the file of a clip, named by the hash of its video; None if the video cannot be read."""
        try:
            return folder / f"{hash_file(video)}.safetensors"
        except OSError as cause:
            self.on_skip(f"{video.name} cannot be read: {cause.strerror}.")
            return None

    def _make(self, absent: dict[Path, Path], preprocessor: Preprocessor) -> Iterator[str]:
        """Yield for each clip, in order of completion, why it could not be made, or an empty string."""
        if self.workers <= 1 or len(absent) <= 1:
            yield from (_try_to_make(preprocessor, video, path) for path, video in absent.items())
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            self.workers, context, initializer=_load_preprocessor, initargs=(self.settings,)
        ) as pool:
            futures = [pool.submit(_make_in_worker, video, path) for path, video in absent.items()]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _list(self, rows: Sequence[Row], places: Sequence[Path | None]) -> list[PreprocessedClip]:
        clips, offsets = [], []
        for row, corpus, path in zip(rows, find_corpora(rows), places, strict=True):
            if path is None or not path.is_file():
                continue
            n_frames, late = read_header(path)
            if n_frames == 0:
                self.on_skip(f"{row.path.name} shows no face with audio for {MIN_FRAMES} frames.")
                continue
            clips.append(PreprocessedClip(path, row.path.name, row.source, row.speaker, corpus, n_frames))
            offsets.append(late)
        settled = fill_unclear_offsets([clip.source for clip in clips], offsets)
        return [_align(clip, late) for clip, late in zip(clips, settled, strict=True)]


def _align(clip: PreprocessedClip, late: int) -> PreprocessedClip:
    """Remove the AV offset if enough frames are left."""
    return replace(clip, late=late) if clip.n_frames - abs(late) >= MIN_FRAMES else clip


def _is_whole(path: Path) -> bool:
    try:
        read_header(path)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return False
    return True


def _try_to_make(preprocessor: Preprocessor, video: Path, path: Path) -> str:
    try:
        preprocessor.make(video, path)
    except EngineError as error:
        return f"{video.name}: {error.message}"
    return ""


_preprocessors: list[Preprocessor] = []
"""Networks of a worker process; they cannot be pickled."""


def _load_preprocessor(settings: Settings) -> None:
    torch.set_num_threads(1)
    _preprocessors.append(Preprocessor.load(settings))


def _make_in_worker(video: Path, path: Path) -> str:
    return _try_to_make(_preprocessors[0], video, path)
