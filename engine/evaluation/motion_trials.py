"""Collect scored trials for a calibration of the task `source`: true sources and other recordings."""

from collections.abc import Iterator, Mapping

import numpy as np

from engine.calibration.records import Task
from engine.calibration.trials import Origin, ScoredTrial, ScoredTrials, TrialOptions, build_trials
from engine.datasets.manifest import find_corpora
from engine.evaluation.motion_clips import MotionClip, MotionClips, cut_face, find_true_sources, find_wrong
from engine.motion.alignment import SuspectSearch
from engine.motion.evidence import MIN_CHANNELS, NAMES, read_evidence
from engine.motion.matches import MotionMatch, find_match

LENGTHS_S = (None, 5.0, 2.0)  # None: whole clips
MORE = 3


def collect_source_trials(found: MotionClips, origin: Origin, options: TrialOptions) -> ScoredTrials:
    """Score clips with their true sources, and all clips with other recordings drawn at random.

    A clip with a true source meets `MORE` times as many other recordings as one without. A clip of a pair with several
    recordings, of which only one can be the source, is not scored with any of them.
    """
    clips = found.clips
    truth = {
        number: sources
        for number, sources in find_true_sources(clips).items()
        if sum(clips[one].is_recording for one in sources) <= 1
    }
    corpora = find_corpora([clip.row for clip in clips])
    source_of = {clip.owner: corpus for clip, corpus in zip(clips, corpora, strict=True)}
    rng, rows = np.random.default_rng(options.seed), list[ScoredTrial]()
    n_abstained = 0
    for number, clip in enumerate(clips):
        if number not in truth and not clip.is_recording:
            continue  # made from a recording that the manifest does not name: it may be one of the others
        wrong = find_wrong(clips, number)
        n_wrong = MORE * options.per_face if number in truth else options.per_face
        chosen = rng.permutation(wrong)[:n_wrong]
        for condition, suspect in _cut_lengths(clip, number in truth):
            trials, refused = _score(suspect, clips, condition, truth.get(number, []), chosen)
            rows += trials
            n_abstained += refused
    return build_trials(Task.SOURCE, rows, origin, NAMES, source_of, len(clips), n_abstained)


def find_best(suspect: MotionClip, candidates: Mapping[int, MotionClip]) -> dict[int, MotionMatch | None]:
    """Return the best stretch of a suspect in each candidate."""
    prepared = SuspectSearch(suspect.signature)
    return {number: find_match(prepared, one.signature) for number, one in candidates.items()}


def _cut_lengths(clip: MotionClip, has_source: bool) -> Iterator[tuple[str, MotionClip]]:
    """Yield the clip at every length that it has; a clip without a source at one of them, in turn."""
    lengths = [(name_length(one), cut) for one in LENGTHS_S if (cut := cut_face(clip, one)) is not None]
    yield from lengths if has_source else [lengths[clip.row.number % len(lengths)]]


def name_length(seconds: float | None) -> str:
    """Name the condition of a length."""
    return "whole" if seconds is None else f"{seconds:g} s"


def _score(
    suspect: MotionClip, clips: tuple[MotionClip, ...], condition: str, sources: list[int], wrong: np.ndarray
) -> tuple[list[ScoredTrial], int]:
    """Score one suspect; return the trials and the number of those that are not judged."""
    matches = find_best(suspect, {int(number): clips[number] for number in [*sources, *wrong.tolist()]})
    judged = {number: match for number, match in matches.items() if match is None or match.channels >= MIN_CHANNELS}
    rows = []
    for number, match in judged.items():
        score, qualities = read_evidence(match)
        people = (suspect.owner, clips[number].owner)
        rows.append(ScoredTrial(score, number in sources, people, condition, qualities))
    return rows, len(matches) - len(judged)
