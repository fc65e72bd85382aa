"""Trials of spans: stretches of speech with the own or another voice, at the AV offset of their clip.

A stretch of a clip that the segmentation finds is the one that fits worst, so an own trial is the worst stretch of a
clip with that much speech. In the other trials a stretch of another person's voice replaces the own one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.calibration.qualities import QUALITIES
from engine.calibration.records import Task
from engine.calibration.trials import Origin, ScoredTrial, ScoredTrials, TrialOptions, build_trials
from engine.consistency.offsets import ConsistencyOptions, FramePairs, follow_offset
from engine.consistency.scorers import ConsistencyScorer
from engine.consistency.spans import measure_level, score_frames
from engine.evaluation.measurements import Measurements
from engine.evaluation.trials import Encode, TrialClip, measure_pair
from engine.span_reports import write_span_recipe
from engine.speech.filterbanks import MEL_BANDS, STEPS_PER_FRAME
from engine.types import FPS, Evidence

LENGTHS_S = (1.0, 1.5, 2.0, 3.0, 5.0)  # of speech in a stretch
MIN_REST_S = 2.0  # of speech outside it, which the offset and the level come from
MIN_VOICED = 0.6  # share of the frames of a stretch with speech, of either voice
TRIES = 20  # to draw a place with as much speech


@dataclass(frozen=True, slots=True, eq=False)
class FollowedClip:
    """Similarity and weight of the frames of a clip at its AV offset."""

    similarity: np.ndarray  # (T,)
    weight: np.ndarray  # (T,)
    spoken: np.ndarray  # (T,) bool: speech with a visible mouth

    @classmethod
    def of(cls, clip: TrialClip, options: ConsistencyOptions) -> "FollowedClip | None":
        """Find the offset of a clip and follow it; None where too few frames can be paired."""
        pairs = FramePairs.of(clip.encoded, clip.evidence, options)
        best = pairs.find_best(0, len(clip))
        if best is None:
            return None
        similarity, weight = follow_offset(pairs, np.full(len(clip), best.offset))
        return cls(similarity, weight, mark_speech(clip))

    def score(self, stretch: slice) -> float | None:
        """Score a stretch against the level of the rest; None where either has no evidence."""
        rest = self.weight.copy()
        rest[stretch] = 0
        if self.weight[stretch].sum() <= 0 or rest.sum() <= 0:
            return None
        level = measure_level(self.similarity, rest)
        return score_frames(self.similarity[stretch], self.weight[stretch], level)


def mark_speech(clip: TrialClip) -> np.ndarray:
    """Return (T,) bool: frames with speech that are evidence."""
    both: np.ndarray = clip.evidence.lips & clip.evidence.speech
    return both if clip.voiced is None else both & clip.voiced


def collect_span_trials(
    found: Measurements, scorer: ConsistencyScorer, corpora: Mapping[int, str], origin: Origin, options: TrialOptions
) -> ScoredTrials:
    """Score stretches of the real clips that the gates accept; `corpora` maps row numbers to corpora."""
    real = [one for one in found.measured if one.row.is_real]
    clips = [one.clip for one in real if not one.refused]
    source = {one.row.person: corpora[one.row.number] for one in real}
    rng = np.random.default_rng(options.seed)
    rows = [
        trial
        for seconds in LENGTHS_S
        for clip in clips
        for trial in (
            *_score_own(clip, seconds, scorer.options),
            *_score_others(clip, clips, seconds, scorer.encode, scorer.options, options.per_face // 2, rng),
        )
    ]
    origin = replace(origin, recipe=origin.recipe and write_span_recipe(origin.recipe))
    return build_trials(Task.SPANS, rows, origin, tuple(QUALITIES), source, len(clips), len(real) - len(clips))


def _score_own(clip: TrialClip, seconds: float, options: ConsistencyOptions) -> Iterator[ScoredTrial]:
    """Yield the worst stretch with so much speech."""
    followed = FollowedClip.of(clip, options)
    if followed is None or followed.spoken.sum() < (seconds + MIN_REST_S) * FPS:
        return
    scores = [(followed.score(stretch), stretch) for stretch in find_stretches(followed.spoken, seconds)]
    known = [(score, stretch) for score, stretch in scores if score is not None]
    if known:
        score, stretch = min(known, key=lambda one: one[0])
        yield ScoredTrial(score, True, (clip.group, clip.group), f"{seconds:g} s", _measure(clip, stretch))


def _measure(clip: TrialClip, stretch: slice) -> tuple[float, ...]:
    quality = measure_pair(clip, clip, stretch)
    return tuple(measure(quality) for measure in QUALITIES.values())


def find_stretches(spoken: np.ndarray, seconds: float) -> list[slice]:
    """Return every stretch that has exactly so many seconds of speech, and begins and ends with it."""
    places, wanted = np.flatnonzero(spoken), round(seconds * FPS)
    return [slice(int(first), int(last) + 1) for first, last in zip(places, places[wanted - 1 :], strict=False)]


def _score_others(
    clip: TrialClip,
    clips: Sequence[TrialClip],
    seconds: float,
    encode: Encode,
    options: ConsistencyOptions,
    count: int,
    rng: np.random.Generator,
) -> Iterator[ScoredTrial]:
    """Yield stretches in which voices of other people replace the own one."""
    others = [other for other in clips if other.speaker != clip.speaker]
    if mark_speech(clip).sum() < (seconds + MIN_REST_S) * FPS:
        return
    for which in rng.permutation(len(others))[:count]:
        places = draw_places(clip, others[which], seconds, rng)
        if places is None:
            continue
        edited = replace_sound(clip, others[which], *places, encode)
        followed = FollowedClip.of(edited, options)
        score = None if followed is None else followed.score(places[0])
        if score is not None:
            people = (clip.group, others[which].group)
            yield ScoredTrial(score, False, people, f"{seconds:g} s", _measure(edited, places[0]))


def draw_places(
    clip: TrialClip, other: TrialClip, seconds: float, rng: np.random.Generator
) -> tuple[slice, slice] | None:
    """Draw a stretch of another clip with so many seconds of speech, and a place for it in speech of the clip.

    None if none is found, or the stretch would be longer than its speech over MIN_VOICED.
    """
    longest = seconds * FPS / MIN_VOICED
    theirs = [one for one in find_stretches(mark_speech(other), seconds) if one.stop - one.start <= longest]
    spoken = mark_speech(clip)
    for _ in range(TRIES if theirs else 0):
        there = theirs[rng.integers(len(theirs))]
        length = there.stop - there.start
        if len(spoken) <= length:
            continue
        first = int(rng.integers(0, len(spoken) - length + 1))
        here = slice(first, first + length)
        if spoken[here].mean() >= MIN_VOICED:
            return here, there
    return None


def replace_sound(
    clip: TrialClip, other: TrialClip, here: slice, there: slice, encode: Encode, fade_steps: int = 0
) -> TrialClip:
    """Replace a stretch of the sound by one of another clip, with the level of log-mel rows matched.

    `fade_steps` of 10 ms at either end of the stretch cross-fade the powers.
    """
    patch = other.speech[there]
    is_mel = patch.shape[1] == STEPS_PER_FRAME * MEL_BANDS  # the rows of AV-HuBERT carry no level
    if is_mel:
        patch = patch + (_measure_loudness(clip) - _measure_loudness(other))
        patch = _fade(clip.speech[here], patch, fade_steps) if fade_steps else patch
    speech, heard = clip.speech.copy(), clip.evidence.speech.copy()
    speech[here], heard[here] = patch, other.evidence.speech[there]
    voiced = None if clip.voiced is None or other.voiced is None else clip.voiced.copy()
    if voiced is not None and other.voiced is not None:
        voiced[here] = other.voiced[there]
    evidence = Evidence(clip.evidence.lips, heard)
    encoded = encode(clip.lips, speech, evidence)
    return replace(clip, speech=speech, evidence=evidence, voiced=voiced, encoded=encoded)


def _measure_loudness(clip: TrialClip) -> float:
    voiced = clip.voiced if clip.voiced is not None and clip.voiced.any() else np.ones(len(clip), bool)
    return float(clip.speech[voiced].mean())


def _fade(own: np.ndarray, patch: np.ndarray, steps: int) -> np.ndarray:
    """Cross-fade log powers (T, 160) within `steps` of 10 ms at both ends."""
    one, other = (rows.reshape(-1, MEL_BANDS).astype(np.float64) for rows in (own, patch))
    times = np.arange(len(one)) + 0.5
    share = np.clip(np.minimum(times, len(one) - times) / steps, 1e-6, 1 - 1e-6)[:, None]
    faded = np.logaddexp(one + np.log1p(-share), other + np.log(share))
    result: np.ndarray = faded.astype(np.float32).reshape(own.shape)
    return result
