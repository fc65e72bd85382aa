"""Enrolment checks: reject clips that are not of this speaker, or that match another enrolled speaker.

Pure rules on vectors. A clip is consistent if at least half of the others are as similar to it as two clips of one
person usually are. If no clip is consistent (two that disagree, two groups of equal size), it cannot be decided which
are wrong, so all are rejected.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gallery_db.records import EnrolmentCheck, Neighbour, NewSample, Rejection, RejectionReason, StoredSample
from gallery_db.templates import join_vectors

MIN_SECONDS = 20.0  # net speech over all clips, as speaker recognition services require
MIN_CLIPS = 2
FULL_S = 6.0  # of a clip: shorter ones are less similar, even of one person

Sample = NewSample | StoredSample
Verdict = tuple[RejectionReason, str]


@dataclass(frozen=True, slots=True)
class EnrolmentCheckOptions:
    """Bounds on similarities; `of_scores` measures them for other weights.

    The defaults are for the shipped weights, measured with networks of the same training on 19 held-out speakers. 1 %
    of the pairs of samples of one person are below -0.18 for 1.2 s each, 0.03 for 2.7 s, 0.34 for 6 s; half of the
    pairs of two people of 6 s are above 0.45: outliers are detected with few false alarms, but few are detected. Half
    of one person's samples of 20 s reach 0.91 with the rest of their enrolment; of another person's, about 1 of 250.
    """

    outlier_below: float = 0.34  # of two clips of one person, each of `full_s` or more
    duplicate_above: float = 0.91  # of the mean of the new clips and another speaker's template
    copy_above: float = 0.999  # of two clips of the same footage: other sound, codec or file name
    full_s: float = FULL_S
    outlier_drop: float = 0.25  # of `outlier_below`, for each halving of the seconds below `full_s`

    def bound_outliers(self, seconds: np.ndarray) -> np.ndarray:
        """Return the least similarity (N,) of two clips of one person; `seconds` (N,) is the length of the shorter."""
        return self.outlier_below - self.outlier_drop * np.log2(np.maximum(self.full_s / seconds, 1.0))

    @classmethod
    def of_scores(cls, same: np.ndarray, different: np.ndarray, seconds: float = FULL_S) -> "EnrolmentCheckOptions":
        """Derive the bounds from similarities of pairs of clips, of one person (N,) and of two people (M,).

        Each clip is about `seconds` long; `outlier_drop` is not measured. 1 % of the pairs of one person are below
        `outlier_below`; half of them, and less than 0.1 % of the pairs of two people, reach `duplicate_above`. Raises
        ValueError for too few pairs.
        """
        if len(same) < 100 or len(different) < 1000:
            raise ValueError(f"{len(same)} and {len(different)} pairs are too few, wanted at least 100 and 1000")
        duplicate = max(float(np.median(same)), float(np.quantile(different, 0.999)))
        return cls(float(np.quantile(same, 0.01)), duplicate, full_s=seconds)


def check_enrolment(
    new: Sequence[NewSample],
    stored: Sequence[StoredSample],
    others: Sequence[Neighbour],
    *,
    allow_duplicate: bool = False,
    options: EnrolmentCheckOptions | None = None,
) -> EnrolmentCheck:
    """Check which new clips of a speaker may be enrolled.

    `stored` are the speaker's own samples, `others` the nearest other speakers, all of one recipe (else ValueError). A
    match with another speaker always warns, and rejects the clips unless `allow_duplicate`.
    """
    recipes = {sample.embedding.recipe for sample in new} | {sample.embedding.recipe for sample in stored}
    if len(recipes) != 1:
        raise ValueError(f"{len(new)} new and {len(stored)} stored clips of {len(recipes)} recipes, wanted 1 recipe")
    options = options or EnrolmentCheckOptions()
    verdicts = _check_each(new, stored, options)
    _check_together(new, verdicts, stored, options)
    warnings = _check_others(new, verdicts, others, options, allow_duplicate)
    kept = [sample for sample, verdict in zip(new, verdicts, strict=True) if verdict is None]
    enrolled: list[Sample] = [*kept, *stored]
    return EnrolmentCheck(
        accepted=np.array([verdict is None for verdict in verdicts]),
        rejections=tuple(
            Rejection(sample.source_name, sample.source_hash, *verdict)
            for sample, verdict in zip(new, verdicts, strict=True)
            if verdict is not None
        ),
        warnings=warnings,
        is_limited=is_limited(_count_seconds(enrolled), len({one.source_hash for one in enrolled})),
    )


def is_limited(seconds: float, n_clips: int) -> bool:
    """Return whether an enrolment is shorter than 20 s or has fewer than two clips."""
    return seconds < MIN_SECONDS or n_clips < MIN_CLIPS


def find_consistent(new: np.ndarray, stored: np.ndarray, bounds: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Find new unit rows (N, D) that are consistent with each other and with the stored ones (M, D).

    `bounds` (N,) or a scalar: the least support of a clip. Returns (N,) bool and the support (N,) float64: the
    similarity that at least half of the others reach, 1 without others. The worst row is removed first, then the rest
    is checked again; if all remaining rows fail there is no majority, and all fail. Stored rows were checked before
    and stay.
    """
    all_rows = np.concatenate([new, stored]).astype(np.float64)
    similarity = new.astype(np.float64) @ all_rows.T
    consistent, support = np.ones(len(new), bool), np.ones(len(new))
    remaining = np.ones(len(all_rows), bool)
    while True:
        for i in np.flatnonzero(consistent):
            others = remaining.copy()
            others[i] = False
            support[i] = _find_support(similarity[i][others])
        failed = np.flatnonzero(consistent & (support < bounds))
        if not len(failed) or len(failed) == consistent.sum():
            consistent[failed] = False
            return consistent, support
        worst = failed[(support - bounds)[failed].argmin()]
        consistent[worst] = remaining[worst] = False


def _find_support(similarities: np.ndarray) -> float:
    """Return the similarity that at least half of these reach; 1 for none."""
    return float(np.sort(similarities)[len(similarities) // 2]) if len(similarities) else 1.0


def _check_each(
    new: Sequence[NewSample], stored: Sequence[StoredSample], options: EnrolmentCheckOptions
) -> list[Verdict | None]:
    """Reject tampered clips, and files or footage that are enrolled already or given twice."""
    verdicts: list[Verdict | None] = []
    seen: list[Sample] = list(stored)
    for sample in new:
        copy = _find_copy(sample, seen, options.copy_above)
        verdict: Verdict | None = None
        if copy is not None:
            kind = "file" if copy.source_hash == sample.source_hash else "footage"
            verdict = RejectionReason.SAME_SOURCE, f"it is the same {kind} as {copy.source_name}"
        elif not sample.embedding.is_natural:
            verdict = RejectionReason.NOT_NATURAL, "its motion is not natural: the clip may have been tampered with"
        else:
            seen.append(sample)
        verdicts.append(verdict)
    return verdicts


def _find_copy(sample: Sample, others: Sequence[Sample], copy_above: float) -> Sample | None:
    """Return a sample of the same file, or of motion so similar that it must be the same footage; else None."""
    for other in others:
        if other.source_hash == sample.source_hash:
            return other
    if not others:
        return None
    similarities = _stack(others) @ sample.embedding.vector
    nearest = int(similarities.argmax())
    return others[nearest] if similarities[nearest] > copy_above else None


def _check_together(
    new: Sequence[NewSample],
    verdicts: list[Verdict | None],
    stored: Sequence[StoredSample],
    options: EnrolmentCheckOptions,
) -> None:
    """Reject, in place, clips that are not consistent with the others."""
    left = [i for i, verdict in enumerate(verdicts) if verdict is None]
    if not left:
        return
    vectors, enrolled = _stack([new[i] for i in left]), _stack(stored, len(new[0].embedding.vector))
    bounds = _find_bounds([new[i] for i in left], stored, options)
    consistent, support = find_consistent(vectors, enrolled, bounds)
    for i, keeps, value, bound in zip(left, consistent, support, bounds, strict=True):
        if not keeps:
            verdicts[i] = _reject_outlier(value, float(bound), no_majority=not consistent.any() and len(enrolled) < 2)
    kept = [i for i in left if verdicts[i] is None]
    if not kept or not stored:
        return
    similarity = float(_average([new[i] for i in kept]) @ _average(stored))
    together = min(_count_seconds([new[i] for i in kept]), _count_seconds(stored))
    if similarity < float(options.bound_outliers(np.array(together))):
        text = f"the new clips agree with one another, not with those enrolled (similarity {similarity:.2f})"
        for i in kept:
            verdicts[i] = RejectionReason.DISAGREEMENT, text


def _find_bounds(
    new: Sequence[NewSample], stored: Sequence[StoredSample], options: EnrolmentCheckOptions
) -> np.ndarray:
    """Return the bounds (N,) of the new clips: half of the others last about the median, and the shorter counts."""
    samples: list[Sample] = [*new, *stored]
    seconds = np.array([one.embedding.seconds for one in samples])
    return options.bound_outliers(np.minimum(seconds[: len(new)], np.median(seconds)))


def _reject_outlier(value: float, bound: float, no_majority: bool) -> Verdict:
    found = f"similarity {value:.2f}, wanted {bound:.2f} with half of the others"
    if no_majority:
        return RejectionReason.DISAGREEMENT, f"the clips disagree, and which is wrong cannot be decided ({found})"
    return RejectionReason.OUTLIER, f"it is not like the speaker's other clips ({found})"


def _check_others(
    new: Sequence[NewSample],
    verdicts: list[Verdict | None],
    others: Sequence[Neighbour],
    options: EnrolmentCheckOptions,
    allow_duplicate: bool,
) -> tuple[str, ...]:
    """Warn if the remaining clips match another speaker; reject them unless duplicates are allowed."""
    kept = [i for i, verdict in enumerate(verdicts) if verdict is None]
    if not kept or not others:
        return ()
    similarities = np.stack([other.vector for other in others]) @ _average([new[i] for i in kept])
    near = [i for i in np.argsort(-similarities) if similarities[i] >= options.duplicate_above]
    warnings = [
        f"the clips move like {others[i].name}, enrolled already (similarity {similarities[i]:.2f})" for i in near
    ]
    if near and not allow_duplicate:
        for i in kept:
            verdicts[i] = RejectionReason.DUPLICATE_OF_ANOTHER, warnings[0]
    return tuple(warnings)


def _count_seconds(samples: Sequence[Sample]) -> float:
    return sum(sample.embedding.seconds for sample in samples)


def _stack(samples: Sequence[Sample], width: int = 0) -> np.ndarray:
    """Return the vectors (N, D) float32."""
    return np.array([sample.embedding.vector for sample in samples], np.float32).reshape(
        len(samples), -1 if samples else width
    )


def _average(samples: Sequence[Sample]) -> np.ndarray:
    """Return the unit vector (D,) float32 of a template of these samples."""
    return join_vectors(_stack(samples), np.array([sample.embedding.seconds for sample in samples]))
