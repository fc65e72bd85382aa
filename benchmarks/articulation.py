"""What `wayspeak phonemes` is worth: own against foreign speech, by how many lip gestures are missed.

`python -m benchmarks.articulation MANIFEST.csv [--also FORGED.csv]` makes the tables of docs/phonemes.md. Clips are
seen once and kept in the cache; the sounds are recognised at every run, at 0.07 s a second.
"""

import json as jsonlib
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from engine.datasets.manifest import Row
from engine.errors import EngineError
from engine.evaluation.lip_closures import (
    ClosureClip,
    ClosureResult,
    LipClosureOptions,
    LipClosureResults,
    evaluate_lip_closures,
)
from engine.evaluation.measurements import MIN_TRACK, choose_rows, read_rows
from engine.features.cache import FeatureCache, extract_cached
from engine.features.extractor import FeatureExtractor
from engine.media.clip import open_clip
from engine.settings import Settings
from engine.speech.phonemes import SoundRecogniser
from engine.types import SAMPLE_RATE
from webapp.progress import show_counts


class Listener:
    """Sees and hears clips, and counts what the hearing costs."""

    def __init__(self, extractor: FeatureExtractor, cache: FeatureCache, recogniser: SoundRecogniser):
        self.extractor, self.cache, self.recogniser = extractor, cache, recogniser
        self.heard_s = self.took_s = 0.0

    def listen(self, row: Row) -> ClosureClip | str:
        """Give the face that is measured longest with the sounds of its clip, or why there is none."""
        try:
            seen = extract_cached(row.path, self.extractor, self.cache)
            audio = open_clip(row.path, self.extractor.limits).audio
        except EngineError as error:
            return error.message
        faces = [track for track in seen.tracks if track.seen.sum() >= MIN_TRACK]
        if not faces:
            return "no face is seen for a second"
        began = time.process_time()
        sounds = self.recogniser.recognise(audio, seen.audio.voiced)
        self.took_s += time.process_time() - began
        self.heard_s += len(audio) / SAMPLE_RATE
        return ClosureClip(row, max(faces, key=lambda track: int(track.seen.sum())), seen.audio.voiced, sounds)


def print_figures(figures: Sequence[LipClosureResults], console: Console) -> None:
    """Print a table for each length and kind."""
    for one in figures:
        title = f"{one.kind}, {one.seconds:g} s of speech; {one.n_too_few} samples had too few sounds"
        table = Table("sound", "trials", "people's sounds", "missed", "by chance", "AUC", "95 %", title=title)
        table.add_row("own", *_lay(one.own, one.own.parting.n_real), end_section=True)
        told = {"foreign": one.foreign} | {f"own, {name} s late": shift for name, shift in one.shifted.items()}
        for name, other in (told | one.methods).items():
            table.add_row(name, *_lay(other, other.parting.n_other))
        console.print(table)
    console.print("AUC by how far fewer are missed than by chance; in the first row, by the share missed alone.")


def _lay(told: ClosureResult, n_trials: int) -> tuple[str, ...]:
    ci = "-" if told.parting.ci is None else f"{told.parting.ci[0]:.3f} to {told.parting.ci[1]:.3f}"
    shares = ["-" if value is None else f"{value:.1%}" for value in (told.share, told.by_chance)]
    sounds = "-" if told.n_sounds is None else f"{told.n_sounds:.1f}"
    return str(n_trials), sounds, *shares, "-" if told.parting.auc is None else f"{told.parting.auc:.3f}", ci


def main(
    manifest: Annotated[Path, typer.Argument(help="CSV as of `wayspeak evaluate`.")],
    also: Annotated[list[Path] | None, typer.Option(help="Another, such as one of forged clips.")] = None,
    language: Annotated[
        str, typer.Option(help="Of the first manifest, only rows of this language; empty: all.")
    ] = "en",
    seconds: Annotated[str, typer.Option(help="Of speech in a sample.")] = "4,10",
    cache: Annotated[Path | None, typer.Option(help="Folder for what was seen.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
    seed: Annotated[int, typer.Option(help="Of the foreign voices.")] = 0,
) -> None:
    settings, console = Settings.from_env(), Console()
    rows = [row for row in read_rows([manifest])[0] if not language or row.language == language]
    usable, useless = choose_rows([*rows, *(read_rows(also)[0] if also else ())])
    extractor = FeatureExtractor.load(settings)
    store = FeatureCache(cache or settings.data_dir / "cache", extractor.recipe)
    listener = Listener(extractor, store, SoundRecogniser.load())
    talks, unheard = [], []
    with show_counts() as on_row:
        for done, row in enumerate(usable):
            on_row("listen", done, len(usable))
            found = listener.listen(row)
            if isinstance(found, str):
                unheard.append((row.written, found))
            else:
                talks.append(found)
    figures = evaluate_lip_closures(talks, LipClosureOptions(tuple(map(float, seconds.split(","))), seed=seed))
    print_figures(figures, console)
    people = len({talk.row.person for talk in talks if talk.row.is_real})
    console.print(f"{len(talks)} clips, of {people} people with real ones; {len(useless)} rows of no use for it.")
    console.print(f"Recognition took {listener.took_s / max(listener.heard_s, 1e-9):.3f} s a second of sound.")
    for name, reason in unheard:
        console.print(f"left out: {name}: {reason}", markup=False)
    if json is not None:
        json.write_text(jsonlib.dumps([asdict(one) for one in figures], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
