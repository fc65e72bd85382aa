"""Collect scored trials for a calibration: from the clips of a manifest, or from a file of scores.

Consistency trials compare faces and voices as `wayspeak evaluate` does, whole and in segments with a set amount of
speech. The gates count seconds of speech, not of video, so a calibration for 2 s is fitted to segments with 2 s of
speech.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.calibration.qualities import QUALITIES
from engine.calibration.records import Task
from engine.calibration.trials import Origin, ScoredTrial, ScoredTrials, TrialOptions, build_trials, read_trials
from engine.consistency.methods import choose_method
from engine.consistency.scorers import ConsistencyScorer
from engine.datasets.manifest import Row, find_corpora, read_manifest
from engine.errors import Code
from engine.evaluation.measurements import Measurements, ReadOptions, embed_clips, read_trained_sources, score_clips
from engine.evaluation.motion_clips import describe_clips
from engine.evaluation.motion_trials import collect_source_trials
from engine.evaluation.span_trials import collect_span_trials
from engine.evaluation.speakers.calibration_trials import collect_speaker_trials
from engine.evaluation.speakers.identity import IdentityOptions, IdentityTask, check_manifest
from engine.evaluation.trials import (
    MIN_FRAMES,
    Compare,
    Encode,
    Trial,
    TrialClip,
    measure_pair,
    pair_evidence,
    score_other_voices,
    score_own_voices,
)
from engine.features.extractor import FeatureExtractor
from engine.motion.evidence import name_recipe
from engine.pipeline import Engine
from engine.settings import Settings
from engine.span_reports import write_span_recipe
from engine.style.embedder import load_embedder
from engine.types import FPS, Evidence, Mode, Model, OnStep
from engine.weights.registry import hash_file

WHOLE = "whole"
OF_FACE_AND_VOICE = (Task.CONSISTENCY, Task.SPANS)
TRAINED_ON = "{n} of the clips are of {what} that the model was trained on, which flatters the figures."


def collect_trials(
    manifest: Path,
    task: Task,
    model: Model | None,
    mode: Mode,
    options: TrialOptions,
    settings: Settings,
    reading: ReadOptions,
    on_row: OnStep = lambda step, completed, total: None,
) -> tuple[ScoredTrials, str]:
    """Score the real clips of a manifest; return the trials and a remark if the model was trained on some of them.

    For the task `source`, made clips are scored with the recordings that they follow too.
    `model` and `mode` choose the consistency scorer and are ignored for speakers.
    """
    origin = Origin("", hash_file(manifest))
    if task == Task.SOURCE:
        clips = describe_clips(read_manifest(manifest), settings, reading, on_row)
        return collect_source_trials(clips, replace(origin, recipe=clips.recipe), options), ""
    rows = [row for row in read_manifest(manifest) if row.is_real]
    if task in OF_FACE_AND_VOICE:
        rows = leave_out_unknown(rows)
    else:
        return _collect_speaker_trials(rows, task, origin, options, settings, reading, on_row)
    engine = Engine.load(settings, choose_method(model, mode, None, settings.data_dir))
    found = score_clips(rows, engine, settings, reading, on_row)
    corpora = {row.number: corpus for row, corpus in zip(rows, find_corpora(rows), strict=True)}
    known = read_trained_sources(settings, engine.scorer.model)
    origin = replace(origin, recipe=engine.scorer.recipe)
    collect = collect_span_trials if task == Task.SPANS else collect_consistency_trials
    trials = collect(found, engine.scorer, corpora, origin, options)
    return trials, _remark(sum(one.row.source in known for one in found.measured), "sources")


def leave_out_unknown(rows: Sequence[Row]) -> list[Row]:
    """Leave out clips with `unknown` sync: of some, another person speaks."""
    return [row for row in rows if row.audio_in_sync != "unknown"]


def read_scores(path: Path, task: Task, model: Model | None, mode: Mode, settings: Settings) -> ScoredTrials:
    """Read a file of scores; scores without a recipe, of held-out networks, take the recipe of the installed one.

    Raises BAD_SCORES if the scores are for another task.
    """
    trials = read_trials(path)
    if trials.task != task:
        raise Code.BAD_SCORES(
            f"The scores in {path} are for {trials.task}, not for {task}.", f"Use --task {trials.task}."
        )
    return trials if trials.recipe else replace(trials, recipe=_find_recipe(task, model, mode, settings))


def choose_trials(trials: ScoredTrials, word: str) -> ScoredTrials:
    """Keep the trials with the word in their condition; raise BAD_SCORES if there are none."""
    chosen = np.array([word in condition for condition in trials.conditions], bool)
    if not chosen.any():
        known = ", ".join(sorted(set(trials.conditions)))
        raise Code.BAD_SCORES(
            f"No trial has {word!r} in its condition; there are {known}.", "Give --only a word of these."
        )
    return trials.take(chosen)


def collect_consistency_trials(
    found: Measurements, scorer: ConsistencyScorer, corpora: Mapping[int, str], origin: Origin, options: TrialOptions
) -> ScoredTrials:
    """Score the faces of real clips with their own and other voices, whole and in segments of speech.

    Only real clips that the gates accept are used: what a forged clip is evidence for depends on how it was forged.
    `corpora` maps row numbers to corpora, which are held out together.
    """
    real = [one for one in found.measured if one.row.is_real]
    clips = [one.clip for one in real if not one.refused and count_speech_s(one.clip) >= options.min_speech_s]
    source = {one.row.person: corpora[one.row.number] for one in real}
    draw = (scorer.compare, options.per_face, options.seed)
    tried = [(WHOLE, score_own_voices(clips, scorer.compare), score_other_voices(clips, *draw))]
    for length in options.lengths_s:
        own = score_own_segments(clips, length, scorer.encode, scorer.compare)
        tried.append((f"{length:g} s", own, score_other_segments(clips, length, scorer.encode, *draw)))
    rows = [
        ScoredTrial(
            one.score,
            same,
            (one.group, one.voice_group),
            condition,
            tuple(measure(one.quality) for measure in QUALITIES.values()),
        )
        for condition, own, other in tried
        for same, trials in ((True, own), (False, other))
        for one in trials
        if one.quality.speech_s >= options.min_speech_s
    ]
    return build_trials(Task.CONSISTENCY, rows, origin, tuple(QUALITIES), source, len(clips), len(real) - len(clips))


def score_own_segments(clips: Sequence[TrialClip], seconds: float, encode: Encode, compare: Compare) -> list[Trial]:
    """Score every face with its own voice in consecutive segments with `seconds` of speech."""
    return [
        trial
        for clip in clips
        for segment in find_segments(_find_speech(clip, clip), seconds)
        if (trial := _score_segment(clip, clip, segment, encode, compare)) is not None
    ]


def score_other_segments(
    clips: Sequence[TrialClip], seconds: float, encode: Encode, compare: Compare, per_face: int = 10, seed: int = 0
) -> list[Trial]:
    """Score every face with up to `per_face` voices of other speakers, one segment each, all drawn at random."""
    rng, trials = np.random.default_rng(seed), []
    for face in clips:
        others = [clip for clip in clips if clip.speaker != face.speaker]
        pairs = [(voice, find_segments(_find_speech(face, voice), seconds)) for voice in others]
        long_enough = [(voice, segments) for voice, segments in pairs if segments]
        for which in rng.permutation(len(long_enough))[:per_face]:
            voice, segments = long_enough[which]
            trial = _score_segment(face, voice, segments[rng.integers(len(segments))], encode, compare)
            trials += [] if trial is None else [trial]
    return trials


def find_segments(spoken: np.ndarray, seconds: float) -> list[slice]:
    """Cut (T,) bool into consecutive segments with exactly `seconds` of True; the rest is dropped."""
    wanted = round(seconds * FPS)
    ends = np.flatnonzero(spoken)[wanted - 1 :: wanted] + 1
    starts = [0, *ends[:-1]]
    return [slice(int(start), int(end)) for start, end in zip(starts, ends, strict=False)]


def count_speech_s(clip: TrialClip) -> float:
    """Return the seconds of speech in the frames that are compared."""
    return int(_find_speech(clip, clip).sum()) / FPS


def _find_speech(face: TrialClip, voice: TrialClip) -> np.ndarray:
    """Return (T,) bool: frames with speech that are compared, over the shorter of both clips."""
    if voice.voiced is None:
        raise ValueError(f"{voice.name} has no voice activity")
    return pair_evidence(face, voice)[1]


def _score_segment(face: TrialClip, voice: TrialClip, segment: slice, encode: Encode, compare: Compare) -> Trial | None:
    """Encode the segment by itself, so that nothing outside it, such as the mean of the clip, leaks in."""
    evidence = Evidence(face.evidence.lips[segment], voice.evidence.speech[segment])
    if len(evidence.lips) < MIN_FRAMES:
        return None
    found = compare(encode(face.lips[segment], voice.speech[segment], evidence), evidence)
    if found is None:
        return None
    return Trial(face.name, voice.name, face.group, *found, voice.group, measure_pair(face, voice, segment))


def _collect_speaker_trials(
    rows: list[Row],
    task: Task,
    origin: Origin,
    options: TrialOptions,
    settings: Settings,
    reading: ReadOptions,
    on_row: OnStep,
) -> tuple[ScoredTrials, str]:
    speakers = IdentityOptions(IdentityTask(task), same_session=options.same_session, seed=options.seed)
    check_manifest(rows, speakers)
    embedded = embed_clips(rows, speakers, settings, reading, on_row)
    trials = collect_speaker_trials(embedded, rows, task, replace(origin, recipe=embedded.recipe), options)
    return trials, _remark(sum(one.row.speaker in embedded.trained_on for one in embedded.rows), "people")


def _find_recipe(task: Task, model: Model | None, mode: Mode, settings: Settings) -> str:
    """Return the recipe of the installed scorer: its weights and every option that changes a score."""
    if task in OF_FACE_AND_VOICE:
        recipe = Engine.load(settings, choose_method(model, mode, None, settings.data_dir)).scorer.recipe
        return write_span_recipe(recipe) if task == Task.SPANS else recipe
    if task == Task.SOURCE:
        return name_recipe(FeatureExtractor.load(settings).recipe)
    return load_embedder(IdentityOptions(IdentityTask(task)).embedder, settings).recipe


def _remark(n: int, what: str) -> str:
    return TRAINED_ON.format(n=n, what=what) if n else ""
