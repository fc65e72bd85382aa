"""Analyse genuine clips as the recordings that people have, and count the zones that change.

`python -m benchmarks.recordings [MANIFEST]`: the drawn example, or real clips in sync of a manifest. Each is written in
seeded combinations of clocks, audio tracks, channels and holes (`tests/recordings.py`), and compared with the plain
file in the same codecs. The target is no wrong zone.
"""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from engine.datasets.manifest import read_manifest
from engine.media.audio import torchaudio
from engine.media.clip import open_clip
from engine.pipeline import Engine
from engine.settings import Settings
from engine.types import FPS, SAMPLE_RATE, Analysis, ConsistencyReport, Status
from tests.recordings import RATE, Plan, Source, draw_plan, make_case
from webapp.analysis.examples import EXAMPLES, make_examples

MIN_SECONDS, MAX_SECONDS = 8, 20
SAME, REFUSED, UNDECIDED, WRONG = "same zone", "refused with reason", "inconclusive", "wrong"
KINDS = [field.name for field in fields(Plan) if field.name not in ("default_track", "steps_s")]
OUTCOMES = (SAME, REFUSED, UNDECIDED, WRONG)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case."""

    plan: Plan
    kind: str
    difference: float | None  # of the score of the best face
    reasons: str


def load_source(path: Path) -> Source:
    """Read a clip of any kind at 25 pictures a second, with its sound at 48 kHz."""
    clip = open_clip(path)
    width, height = (side // 2 * 2 for side in clip.size_px)
    images = islice(clip.read_frames(), MAX_SECONDS * FPS)
    pictures = np.stack([frame.image[:height, :width] for frame in images])
    audio = torch.from_numpy(clip.audio[: MAX_SECONDS * SAMPLE_RATE].copy())
    return Source(pictures, torchaudio.functional.resample(audio, SAMPLE_RATE, RATE).numpy())


def list_clips(manifest: Path | None, folder: Path) -> Iterator[Path]:
    """Yield the drawn example, or real clips in sync: one of each source before a second of one."""
    if manifest is None:
        yield from make_examples(folder, EXAMPLES[:1])
        return
    by_source: dict[str, list[Path]] = defaultdict(list)
    for row in read_manifest(manifest, ("path", "label", "source", "has_audio", "audio_in_sync")):
        if row.is_real and row.has_audio == "1" and row.audio_in_sync == "yes":
            by_source[row.source].append(row.path)
    for turn in range(max(map(len, by_source.values()), default=0)):
        yield from (paths[turn] for paths in by_source.values() if turn < len(paths))


def find_best(analysis: Analysis) -> ConsistencyReport | None:
    """Return the report of the face that fits best; None without a face."""
    best = max(analysis.tracks, key=lambda track: track.consistency.score or -1.0, default=None)
    return best.consistency if best else None


def compare(control: Analysis, case: Analysis, plan: Plan) -> Outcome:
    """Compare the best face of a case with that of the plain file; a face called against is wrong, whichever it is."""
    known, found = find_best(control), find_best(case)
    reasons = " ".join(case.reasons)
    against = any(track.consistency.zone == "against" for track in case.tracks)
    if against and known is not None and known.zone != "against":
        return Outcome(plan, WRONG, None, reasons)
    if found is None or found.score is None or case.status == Status.NOT_EVALUATED:
        return Outcome(plan, REFUSED if reasons else WRONG, None, reasons)
    difference = None if known is None or known.score is None else found.score - known.score
    if known is not None and found.zone == known.zone:
        return Outcome(plan, SAME, difference, reasons)
    return Outcome(plan, UNDECIDED if found.zone == "inconclusive" else WRONG, difference, reasons)


def run_clip(engine: Engine, path: Path, seeds: range, folder: Path) -> Iterator[Outcome]:
    """Yield the outcome of each seed for one clip that is supported as a plain file."""
    source = load_source(path)
    if source.seconds < MIN_SECONDS:
        return
    controls: dict[str, Analysis] = {}
    for seed in seeds:
        plan = draw_plan(seed, source.seconds)
        codec = ".mpg" if plan.suffix == ".mpg" else ".mp4"
        if codec not in controls:
            controls[codec] = engine.analyse(make_case(source, Plan(codec), folder, "control").path)
        if any(track.consistency.zone == "supported" for track in controls[codec].tracks):
            case = make_case(source, plan, folder)
            yield compare(controls[codec], engine.analyse(case.path), plan)
            case.path.unlink()


def print_table(outcomes: list[Outcome]) -> None:
    """Print the outcomes by what differs from a plain file; a case counts under each of its kinds."""
    plain, rows = Plan(), defaultdict[str, list[Outcome]](list)
    for outcome in outcomes:
        for name in KINDS:
            if getattr(outcome.plan, name) != getattr(plain, name):
                rows[name].append(outcome)
        rows["all"].append(outcome)
    print(f"{'kind':16}{'cases':>7}" + "".join(f"{name:>21}" for name in OUTCOMES) + f"{'largest difference':>21}")
    for name, own in rows.items():
        counts = Counter(outcome.kind for outcome in own)
        largest = max((abs(outcome.difference) for outcome in own if outcome.difference is not None), default=0.0)
        print(f"{name:16}{len(own):7}" + "".join(f"{counts[kind]:21}" for kind in OUTCOMES) + f"{largest:21.3f}")


def main(
    manifest: Annotated[Path | None, typer.Argument(help="CSV of clips; by default the drawn example.")] = None,
    n_seeds: Annotated[int, typer.Option("--seeds", help="Combinations of each clip.")] = 40,
    n_clips: Annotated[int, typer.Option("--clips", help="Clips of the manifest.")] = 10,
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engine, outcomes = Engine.load(Settings(folder)), list[Outcome]()
        n_done = 0
        for path in list_clips(manifest, folder):
            found = list(run_clip(engine, path, range(n_done * n_seeds, (n_done + 1) * n_seeds), folder))
            n_done += bool(found)
            outcomes += found
            for outcome in (one for one in found if one.kind != SAME):
                print(f"{path.name}: {outcome.kind}: {outcome.plan.describe()} {outcome.reasons}", flush=True)
            if n_done == n_clips:
                break
    print_table(outcomes)


if __name__ == "__main__":
    typer.run(main)
