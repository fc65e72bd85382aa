"""Evaluate spans on clips that no network has seen: edits found, and false spans in genuine speech.

`python -m benchmarks.edits MANIFEST RUN [--cache DIR]` prints the tables of docs/spans.md. RUN is the output of
`wayspeak train consistency MANIFEST --validate --out RUN --scores RUN/scores.json`. Each fold of the corpora has its
network, and calibrations fitted to trials without clips of the fold. Edits are made in the log-mel rows.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.results import LONG_S, in_sync, open_context
from benchmarks.standins import StandIns
from engine.calibration.builder import DraftOptions, draft
from engine.calibration.records import Calibration
from engine.calibration.trials import ScoredTrials, read_trials
from engine.errors import EngineError
from engine.evaluation.edits import (
    LENGTHS_S,
    EditKind,
    EditResult,
    GenuineResult,
    Ratios,
    draw_edits,
    judge_clip,
    judge_edit,
    judge_genuine,
    share_found,
)
from engine.evaluation.results import Share
from engine.evaluation.trials import TrialClip
from engine.features.evidence import find_heard
from engine.forging.audio import synthesise_speech
from engine.metrics import bootstrap_rows
from engine.span_reports import write_span_recipe
from engine.speech.filterbanks import log_mel
from engine.speech.vad import VoiceDetector
from engine.types import FPS, SAMPLES_PER_FRAME, Encoded, Evidence
from webapp.progress import show_counts

RESTS_S = (2.0, 5.0, 10.0)  # ranges of seconds outside the edit


class Synthesiser:
    """Synthetic speech as clips without a face."""

    def __init__(self, seed: int):
        self.voice, self.chance = VoiceDetector.load(), np.random.default_rng(seed)

    def make(self, n_frames: int) -> TrialClip:
        """Synthesise random sentences of a random voice."""
        audio, name = synthesise_speech(n_frames * SAMPLES_PER_FRAME, self.chance)
        rows, voiced = log_mel(audio.samples), self.voice.find_speech(audio.samples)
        every = np.ones(n_frames, bool)
        nothing, ones = np.zeros((n_frames, 1), np.float32), np.ones(n_frames, np.float32)
        encoded = Encoded(0, nothing, nothing, ones, ones)
        return TrialClip(
            name, name, name, name, nothing, rows, Evidence(every, find_heard(every, voiced)), encoded, voiced
        )


def main(
    manifest: Annotated[Path, typer.Argument(help="CSV of clips; the real and synchronised ones are used.")],
    run: Annotated[Path, typer.Argument(help="The folder that `wayspeak train consistency --validate` wrote.")],
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the feature cache.  [default: in the data folder]")
    ] = None,
    false_against: Annotated[float | None, typer.Option(help="Target rate of false `against` of spans.")] = None,
    repeats: Annotated[int, typer.Option(help="Edits of each kind and length per clip.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of the edits.")] = 0,
) -> None:
    torch.set_num_threads(1)
    context = open_context(manifest, run, cache)
    found = [one for one in context.measure(in_sync(context.rows), LONG_S) if not one.refused]
    ratios = fit_ratios(context.stand_ins, run, false_against)
    synthesise, rng = Synthesiser(seed).make, np.random.default_rng(seed)
    genuine: list[GenuineResult] = []
    edits: list[EditResult] = []
    with show_counts() as on_row:
        for done, one in enumerate(found, start=1):
            fold = context.stand_ins.find_fold(one.row)
            scorer, own = context.stand_ins.engines[fold].scorer, ratios[fold]
            others = [other.clip for other in found if other.row.person != one.row.person]
            genuine.append(judge_genuine(one.clip, scorer, own))
            for _ in range(repeats):
                for edited, here, kind in draw_edits(one.clip, others, synthesise, scorer, rng):
                    edits.append(judge_edit(edited, here, kind, judge_clip(edited, scorer, own)))
            on_row("judge", done, len(found))
    for text in (describe(genuine, edits, list(ratios.values())), *tabulate(edits)):
        typer.echo(text)


def fit_ratios(stand_ins: StandIns, run: Path, false_against: float | None) -> dict[int, Ratios]:
    """Fit the calibrations of each fold to trials without its corpora."""
    recipe, found = stand_ins.shipped.scorer.recipe, {}
    of_tracks = replace(read_trials(run / "scores.json"), recipe=recipe)
    of_spans = replace(read_trials(run / "scores-spans.json"), recipe=write_span_recipe(recipe))
    for fold in stand_ins.engines:
        held = {source for source, own in stand_ins.fold_of.items() if own == fold}
        found[fold] = Ratios(_fit(of_tracks, held, None), _fit(of_spans, held, false_against))
    return found


def _fit(trials: ScoredTrials, held: set[str], false_against: float | None) -> Calibration:
    kept = ~np.isin(trials.sources, sorted(held)).any(axis=1)
    return draft(trials.take(kept), DraftOptions("benchmark", false_against=false_against, resamples=20)).record


def describe(genuine: Sequence[GenuineResult], edits: Sequence[EditResult], ratios: Sequence[Ratios]) -> str:
    """Describe the false spans of genuine clips, the borders and the thresholds."""
    counts = np.array([len(one.false_spans) for one in genuine])
    minutes = np.array([one.seconds for one in genuine]) / 60
    people = [one.person for one in genuine]
    low, high = bootstrap_rows(lambda rows: (10 * float(counts[rows].sum() / minutes[rows].sum()),), people)[0]
    within = [inside for one in edits for inside in one.borders_within]
    lines = [
        f"{len(genuine)} genuine clips of {len(set(people))} people, {minutes.sum():.1f} minutes: "
        f"{counts.sum()} false spans, {10 * counts.sum() / minutes.sum():.2f} ({low:.2f} to {high:.2f}) in 10 minutes.",
        f"Borders of edits found within the range of the span: {np.mean(within):.2f} of {len(within)}.",
        "Thresholds of the folds, log10 LR: " + ", ".join(f"{one.of_spans.policy.against_llr:.2f}" for one in ratios),
    ]
    lines += [
        f"- {one.name}: {first:.1f} to {last:.1f} s of {one.seconds:.1f} s"
        for one in genuine
        for first, last in one.false_spans
    ]
    return "\n".join(lines)


def tabulate(edits: Sequence[EditResult]) -> list[str]:
    """Write the tables of edits found, by kind and by seconds outside the edit."""
    kinds = [(kind.value, [one for one in edits if one.kind == kind]) for kind in EditKind]
    ends = [*RESTS_S[1:], np.inf]
    rests = [
        (
            f"{low:g} to {high:g} s" if np.isfinite(high) else f"{low:g} s and more",
            [one for one in edits if low <= one.rest_s < high],
        )
        for low, high in zip(RESTS_S, ends, strict=True)
    ]
    return [_tabulate("replaced by", [*kinds, ("all", list(edits))]), _tabulate("rest of the clip", rests)]


def _tabulate(title: str, groups: Sequence[tuple[str, list[EditResult]]]) -> str:
    lines = ["", f"| {title} | " + " | ".join(f"{length:g} s" for length in LENGTHS_S) + " |"]
    lines.append("| --- |" + " --- |" * len(LENGTHS_S))
    for name, own in groups:
        shares = [
            share_found([one for one in own if round(one.length_s * FPS) == length * FPS]) for length in LENGTHS_S
        ]
        lines.append(f"| {name} | " + " | ".join(map(_write, shares)) + " |")
    return "\n".join(lines)


def _write(found: Share | None) -> str:
    if found is None:
        return "none"
    return (
        f"{found.share:.2f} ({found.ci[0]:.2f} to {found.ci[1]:.2f}) of {found.n}" if found.ci else f"{found.share:.2f}"
    )


if __name__ == "__main__":
    try:
        typer.run(main)
    except EngineError as error:
        sys.exit(f"{error.message} {error.hint}")
