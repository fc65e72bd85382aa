"""Evaluate `wayspeak phonemes`: share of missed lip gestures with own and with swapped speech.

`python -m benchmarks.articulation MANIFEST.csv [--also FORGED.csv]` makes the tables of docs/phonemes.md. Features are
cached; phonemes are recognised in every run, at 0.07 s per second.
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


class PhonemeReader:
    """Extract features and phonemes of clips, and measure the cost of the recognition."""

    def __init__(self, extractor: FeatureExtractor, cache: FeatureCache, recogniser: SoundRecogniser):
        self.extractor, self.cache, self.recogniser = extractor, cache, recogniser
        self.audio_s = self.took_s = 0.0

    def read(self, row: Row) -> ClosureClip | str:
        """Return the face that is visible longest with the phonemes of its clip, or the reason for none."""
        try:
            seen = extract_cached(row.path, self.extractor, self.cache)
            audio = open_clip(row.path, self.extractor.limits).audio
        except EngineError as error:
            return error.message
        faces = [track for track in seen.tracks if track.seen.sum() >= MIN_TRACK]
        if not faces:
            return "no face is visible for a second"
        began = time.process_time()
        sounds = self.recogniser.recognise(audio, seen.audio.voiced)
        self.took_s += time.process_time() - began
        self.audio_s += len(audio) / SAMPLE_RATE
        return ClosureClip(row, max(faces, key=lambda track: int(track.seen.sum())), seen.audio.voiced, sounds)


def print_figures(figures: Sequence[LipClosureResults], console: Console) -> None:
    """Print one table per length and kind."""
    for one in figures:
        title = f"{one.kind}, {one.seconds:g} s of speech; {one.n_too_few} samples had too few sounds"
        table = Table("sound", "trials", "people's sounds", "missed", "by chance", "AUC", "95 %", title=title)
        table.add_row("own", *_format(one.own, one.own.parting.n_real), end_section=True)
        others = {"foreign": one.foreign} | {f"own, {name} s late": shift for name, shift in one.shifted.items()}
        for name, other in (others | one.methods).items():
            table.add_row(name, *_format(other, other.parting.n_other))
        console.print(table)
    console.print("AUC by how far fewer are missed than by chance; in the first row, by the share missed alone.")


def _format(answer: ClosureResult, n_trials: int) -> tuple[str, ...]:
    ci = "-" if answer.parting.ci is None else f"{answer.parting.ci[0]:.3f} to {answer.parting.ci[1]:.3f}"
    shares = ["-" if value is None else f"{value:.1%}" for value in (answer.share, answer.by_chance)]
    sounds = "-" if answer.n_sounds is None else f"{answer.n_sounds:.1f}"
    return str(n_trials), sounds, *shares, "-" if answer.parting.auc is None else f"{answer.parting.auc:.3f}", ci


def main(
    manifest: Annotated[Path, typer.Argument(help="CSV as for `wayspeak evaluate`; real rows need `audio_in_sync`.")],
    also: Annotated[list[Path] | None, typer.Option(help="Another manifest, such as one of forged clips.")] = None,
    language: Annotated[str, typer.Option(help="Only rows of this language of the first manifest; empty: all.")] = "en",
    seconds: Annotated[str, typer.Option(help="Seconds of speech per sample.")] = "4,10",
    cache: Annotated[Path | None, typer.Option(help="Folder of the feature cache.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the results as JSON to this file.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the swapped voices.")] = 0,
) -> None:
    settings, console = Settings.from_env(), Console()
    rows = [row for row in read_rows([manifest])[0] if not language or row.language == language]
    usable, useless = choose_rows(
        [row for row in [*rows, *(read_rows(also)[0] if also else ())] if not row.is_real or row.is_synchronised]
    )
    extractor = FeatureExtractor.load(settings)
    store = FeatureCache(cache or settings.data_dir / "cache", extractor.recipe)
    reader = PhonemeReader(extractor, store, SoundRecogniser.load())
    talks, skipped = [], []
    with show_counts() as on_row:
        for done, row in enumerate(usable):
            on_row("recognise", done, len(usable))
            found = reader.read(row)
            if isinstance(found, str):
                skipped.append((row.written, found))
            else:
                talks.append(found)
    figures = evaluate_lip_closures(talks, LipClosureOptions(tuple(map(float, seconds.split(","))), seed=seed))
    print_figures(figures, console)
    people = len({talk.row.person for talk in talks if talk.row.is_real})
    console.print(f"{len(talks)} clips, of {people} people with real ones; {len(useless)} rows of no use for it.")
    console.print(f"Recognition took {reader.took_s / max(reader.audio_s, 1e-9):.3f} s a second of sound.")
    for name, reason in skipped:
        console.print(f"left out: {name}: {reason}", markup=False)
    if json is not None:
        json.write_text(jsonlib.dumps([asdict(one) for one in figures], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
