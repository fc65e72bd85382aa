"""Forgery benchmark: marked manipulations and controls of the clips of a manifest, labelled by construction."""

import csv
import os
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.datasets.manifest import Row, Skipped, guard_cell
from engine.errors import EngineError, FolderUnwritable, NotForgeable
from engine.faces.landmarker import FaceNets
from engine.forging.edits import edit_by_same, edit_by_synthesis
from engine.forging.kinds import CONTROLS, LABELS, NEED_VOICE, Forgery, Kind
from engine.forging.manipulations import check_source, replace_voice, shift_audio, swap
from engine.forging.retiming import control
from engine.forging.source_clips import SourceClip, load_source_clip
from engine.forging.watermark import plan_mark, write_marked_clip
from engine.settings import MediaLimits

COLUMNS = (
    "path label method speaker face_owner motion_owner voice_owner sample session source donor_path driver_path "
    "offset_s edit_start_s edit_end_s has_audio donor_session detail"
).split()
KEPT_SOURCES = 12  # in memory
MAX_TRIES = 6  # donors per clip
OnClip = Callable[[int, int], None]
"""`on_clip(done, total)`."""


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """Options of a benchmark; equal options, seed and clips yield equal files."""

    kinds: tuple[Kind, ...]
    seed: int = 0
    n_donors: int = 2  # donor people per speaker: few, so that their clips can be pooled
    offsets_s: tuple[float, ...] = (-0.48, -0.32, -0.2, 0.2, 0.32, 0.48)  # one is drawn; positive: audio late


@dataclass(slots=True, eq=False)
class ForgingTools:
    """Face networks and a cache of recent source clips."""

    nets: FaceNets
    limits: MediaLimits = field(default_factory=MediaLimits)
    _sources: OrderedDict[Row, SourceClip | EngineError] = field(default_factory=OrderedDict)

    def load(self, row: Row) -> SourceClip:
        """Load a source clip once; raises the errors of `load_source_clip`."""
        found = self._sources.pop(row, None)
        if found is None:
            try:
                found = load_source_clip(row, self.nets, self.limits)
            except EngineError as error:
                found = error
        self._sources[row] = found
        while len(self._sources) > KEPT_SOURCES:
            self._sources.popitem(last=False)
        if isinstance(found, EngineError):
            raise found
        return found


def forge_clips(
    rows: Sequence[Row],
    pool: Sequence[Row],
    folder: Path,
    tools: ForgingTools,
    options: BenchOptions,
    on_clip: OnClip = lambda done, total: None,
) -> list[Skipped]:
    """Forge each row in each kind into `folder`, and list the results in its `forged.csv` and `manifest.csv`.

    Only rows labelled real are forged; `pool` provides faces and voices. `manifest.csv` has the real rows of the pool
    too, for comparison. Returns the clips that could not be forged, with reasons.
    """
    skipped = [Skipped(row.written, f"it is labelled {row.label}, not real") for row in rows if not row.is_real]
    wanted, real = [row for row in rows if row.is_real], [row for row in pool if row.is_real]
    wanted.sort(key=lambda row: (row.speaker, row.session or "", row.number))  # keeps donors in the cache
    with _name_disk_errors(folder), _open_lists(folder, real) as add_line:
        for done, row in enumerate(wanted):
            on_clip(done, len(wanted))
            for kind in options.kinds:
                try:
                    forgery = _plan(kind, row, real, tools, options)
                    path = folder / f"{row.number:05d}_{row.path.stem}_{kind}.mp4"
                    _write(forgery, path)
                    add_line(_describe_line(forgery, path.name, row, folder))
                except NotForgeable as reason:
                    skipped.append(Skipped(f"{row.written} ({kind})", f"{reason.message} {reason.hint}".strip()))
                except EngineError as error:
                    skipped.append(Skipped(f"{row.written} ({kind})", error.message))
    on_clip(len(wanted), len(wanted))
    return skipped


def order_partners(kind: Kind, row: Row, pool: Sequence[Row], options: BenchOptions) -> list[Row]:
    """Order the clips of other people as donors for a row.

    Each speaker has few donors, rotated by session or sample: the same people and clips for all kinds that need a
    face, and the same for all that need a voice.
    """
    if not row.speaker:
        return []
    people: dict[str, list[Row]] = {}
    for other in pool:
        if other.speaker and other.person != row.person and (kind not in NEED_VOICE or other.has_audio != "0"):
            people.setdefault(other.person, []).append(other)
    chance = _draw_chance(options.seed, "voice" if kind in NEED_VOICE else "face", row.person)
    names = list(chance.permutation(sorted(people)))
    chosen = [people[name][int(chance.integers(len(people[name])))] for name in names]
    place = zlib.crc32((row.session or row.sample or row.written).encode()) % max(1, options.n_donors)
    front = chosen[: options.n_donors]
    return front[place:] + front[:place] + chosen[options.n_donors :]


def _plan(kind: Kind, row: Row, pool: Sequence[Row], tools: ForgingTools, options: BenchOptions) -> Forgery:
    source = tools.load(row)
    chance = _draw_chance(options.seed, kind, row.written)
    if kind in CONTROLS:
        return control(kind, source, chance)
    if kind == Kind.TIME_SHIFT:
        return shift_audio(source, float(chance.choice(options.offsets_s)))
    if kind == Kind.EDIT_SAME:
        return edit_by_same(source, chance)
    if kind == Kind.EDIT_SYNTHETIC:
        return edit_by_synthesis(source, chance)
    if kind == Kind.VOICE_OVER:
        return replace_voice(source, chance)
    return _swap_with_first(kind, source, order_partners(kind, row, pool, options)[:MAX_TRIES], tools, chance)


def _swap_with_first(
    kind: Kind, source: SourceClip, partners: Sequence[Row], tools: ForgingTools, chance: np.random.Generator
) -> Forgery:
    """Forge with the first usable donor; NotForgeable with all reasons where none is usable."""
    check_source(kind, source)
    reasons: dict[str, None] = {}
    for partner in partners:
        try:
            return swap(kind, source, tools.load(partner), chance)
        except EngineError as reason:
            reasons[reason.message] = None
    needed = "voice" if kind in NEED_VOICE else "face"
    raise NotForgeable(
        f"There is no donor of a {needed} for {source.row.written}. {' '.join(reasons)}".strip(),
        "" if reasons else "Fill the column speaker, and add clips of other people.",
    )


def _write(forgery: Forgery, path: Path) -> None:
    mark = plan_mark(forgery.size_px, forgery.outlines)
    frames = (mark.stamp(image) for image in forgery.draw())
    write_marked_clip(path, frames, mark, forgery.rate, forgery.sound, str(forgery.kind))


def _describe_line(forgery: Forgery, name: str, row: Row, folder: Path) -> dict[str, str]:
    """Build a manifest line; speaker, session and source are those of the motion."""
    start, end = forgery.edit_s or ("", "")
    donor = forgery.donor
    return {
        "path": name,
        "label": LABELS[forgery.kind],
        "method": str(forgery.kind),
        "speaker": forgery.driver.speaker,
        "face_owner": forgery.face.speaker,
        "motion_owner": forgery.driver.speaker,
        "voice_owner": forgery.voice,
        "sample": f"{row.sample} {forgery.kind} {forgery.face.speaker}" if row.sample else "",
        "session": row.session or "",
        "source": row.source,
        "donor_path": _find_relative(donor.path, folder) if donor else "",
        "driver_path": _find_relative(forgery.driver.path, folder),
        "offset_s": "" if forgery.offset_s is None else f"{forgery.offset_s:g}",
        "edit_start_s": str(start),
        "edit_end_s": str(end),
        "has_audio": str(int(forgery.sound is not None)),
        "donor_session": (donor.session or "") if donor else "",
        "detail": forgery.detail,
    }


def _describe_original(row: Row, folder: Path) -> dict[str, str]:
    line = dict.fromkeys(COLUMNS, "")
    cells = {"label": row.label, "method": row.method, "speaker": row.speaker, "source": row.source}
    cells |= {"sample": row.sample or "", "session": row.session or "", "has_audio": row.has_audio or ""}
    return line | cells | {"path": _find_relative(row.path, folder)}


def _guard(line: dict[str, str]) -> dict[str, str]:
    return {name: guard_cell(text) for name, text in line.items()}


def _find_relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


@contextmanager
def _open_lists(folder: Path, originals: Sequence[Row]) -> Iterator[Callable[[dict[str, str]], None]]:
    """Open both lists; each line is flushed with its clip."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        (folder / "forged.csv").open("w", encoding="utf-8", newline="") as forged,
        (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as whole,
    ):
        lists = [csv.DictWriter(file, COLUMNS, lineterminator="\n") for file in (forged, whole)]
        for one in lists:
            one.writeheader()
        lists[1].writerows(_guard(_describe_original(row, folder)) for row in originals)

        def add_line(line: dict[str, str]) -> None:
            for one, file in zip(lists, (forged, whole), strict=True):
                one.writerow(_guard(line))
                file.flush()

        yield add_line


@contextmanager
def _name_disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise FolderUnwritable(
            f"{folder} cannot be written: {cause.strerror or cause}.", "Choose another folder with --out."
        ) from cause


def _draw_chance(seed: int, *names: str) -> np.random.Generator:
    """Random generator seeded by the names only, independent of the other clips."""
    return np.random.default_rng([seed, *(zlib.crc32(str(name).encode()) for name in names)])
