"""Who may be enrolled with what: clips that are not this speaker, or are somebody else's, are kept out with a reason.

Pure rules on vectors. A clip stands when at least half of the others agree with it, that is, are as similar to it as
two clips of one person usually are. Where no clip stands (two that disagree, two camps of one size) nobody can tell
which of them is wrong, so all are set aside rather than half of them believed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gallery_db.records import Admission, Neighbour, NewSample, Rejection, RejectionReason, StoredSample
from gallery_db.templates import join_vectors

MIN_SECONDS = 20.0  # net, in all clips together: what speaker recognition services ask for
MIN_CLIPS = 2
FULL_S = 6.0  # of a clip: the motion of shorter ones says less, so that even one person's are less alike

Sample = NewSample | StoredSample
Verdict = tuple[RejectionReason, str]


@dataclass(frozen=True, slots=True)
class AdmissionOptions:
    """Bounds on similarities; `of_scores` measures them anew for other weights.

    The defaults are those of the shipped weights, measured by networks of the same training on 19 people whom they
    never saw. 1 of 100 pairs of samples of one person lies below -0.18 for 1.2 s each, 0.03 for 2.7 s, 0.34 for 6 s;
    half of strangers' pairs of 6 s lie above 0.45: an outlier that is found is one, but few are found. Half of one
    person's samples of 20 s reach 0.91 with the rest of what is enrolled of them; of another's, hardly 1 of 250 does.
    """

    outlier_below: float = 0.34  # of two clips of one person with `full_s` of each at least
    duplicate_above: float = 0.91  # of the new clips together and another speaker's template
    copy_above: float = 0.999  # of two clips with the same pictures: other sound, another codec, another name
    min_seconds: float = MIN_SECONDS
    min_clips: int = MIN_CLIPS
    full_s: float = FULL_S
    outlier_drop: float = 0.25  # of the first bound, for each halving of the seconds below that

    def bound_outliers(self, seconds: np.ndarray) -> np.ndarray:
        """Give the least similarity (N,) of clips of one person of which the shorter has so many seconds (N,)."""
        return self.outlier_below - self.outlier_drop * np.log2(np.maximum(self.full_s / seconds, 1.0))

    @classmethod
    def of_scores(cls, same: np.ndarray, different: np.ndarray, seconds: float = FULL_S) -> "AdmissionOptions":
        """Take the bounds from measured similarities of two clips, of one person (N,) and of two people (M,).

        Each clip is of about so many `seconds`; how the first bound falls for shorter ones is not measured.

        1 of 100 pairs of one person falls below the first; the second is what half of these pairs reach, and not 1 of
        1000 pairs of two people. ValueError where there are too few pairs to tell.
        """
        if len(same) < 100 or len(different) < 1000:
            raise ValueError(f"{len(same)} and {len(different)} pairs tell no bounds, wanted 100 and 1000 at least")
        duplicate = max(float(np.median(same)), float(np.quantile(different, 0.999)))
        return cls(float(np.quantile(same, 0.01)), duplicate, full_s=seconds)


def judge(
    new: Sequence[NewSample],
    stored: Sequence[StoredSample],
    others: Sequence[Neighbour],
    *,
    allow_duplicate: bool = False,
    options: AdmissionOptions | None = None,
) -> Admission:
    """Say which of the new clips of a speaker may be enrolled, and why the others may not.

    `stored` are the speaker's own, `others` the other speakers nearest to the new clips, all of one recipe: ValueError
    where they are not. A similarity to another speaker is always warned of, and refused unless `allow_duplicate`.
    """
    recipes = {sample.embedding.recipe for sample in new} | {sample.embedding.recipe for sample in stored}
    if len(recipes) != 1:
        raise ValueError(f"{len(new)} new and {len(stored)} stored clips of {len(recipes)} recipes, wanted 1 recipe")
    options = options or AdmissionOptions()
    verdicts = _check_each(new, stored, options)
    _check_together(new, verdicts, stored, options)
    warnings = _check_others(new, verdicts, others, options, allow_duplicate)
    kept = [sample for sample, verdict in zip(new, verdicts, strict=True) if verdict is None]
    return Admission(
        accepted=np.array([verdict is None for verdict in verdicts]),
        rejections=tuple(
            Rejection(sample.source_name, sample.source_hash, *verdict)
            for sample, verdict in zip(new, verdicts, strict=True)
            if verdict is not None
        ),
        warnings=warnings,
        is_limited=is_limited([*kept, *stored], options),
    )


def is_limited(samples: Sequence[Sample], options: AdmissionOptions | None = None) -> bool:
    """Tell whether a speaker of these samples has less than is asked for."""
    options = options or AdmissionOptions()
    seconds = _count_seconds(samples)
    return seconds < options.min_seconds or len({sample.source_hash for sample in samples}) < options.min_clips


def find_standing(new: np.ndarray, stored: np.ndarray, bounds: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Tell which of the new unit rows (N, D) stand among each other and the stored (M, D), and what supports them.

    `bounds` (N,) or one for all: the least support that a clip needs.

    Gives (N,) bool and (N,) float64, the similarity that at least half of the others reached when the clip was last
    looked at; 1 where there are no others. The worst is taken out first and the rest judged anew without it; where all
    that are left fall, there is no majority among them and all go. What is stored has been judged before, and stays.
    """
    everyone = np.concatenate([new, stored]).astype(np.float64)
    similarity = new.astype(np.float64) @ everyone.T
    stands, support = np.ones(len(new), bool), np.ones(len(new))
    is_there = np.ones(len(everyone), bool)
    while True:
        for i in np.flatnonzero(stands):
            others = is_there.copy()
            others[i] = False
            support[i] = _find_support(similarity[i][others])
        fallen = np.flatnonzero(stands & (support < bounds))
        if not len(fallen) or len(fallen) == stands.sum():
            stands[fallen] = False
            return stands, support
        worst = fallen[(support - bounds)[fallen].argmin()]
        stands[worst] = is_there[worst] = False


def _find_support(similarities: np.ndarray) -> float:
    """The similarity that at least half of these reach; 1 of none."""
    return float(np.sort(similarities)[len(similarities) // 2]) if len(similarities) else 1.0


def _check_each(
    new: Sequence[NewSample], stored: Sequence[StoredSample], options: AdmissionOptions
) -> list[Verdict | None]:
    """Refuse what was tampered with, and what is enrolled already or comes twice, as a file or as a copy of one."""
    verdicts: list[Verdict | None] = []
    seen: list[Sample] = list(stored)
    for sample in new:
        twin = _find_twin(sample, seen, options.copy_above)
        verdict: Verdict | None = None
        if twin is not None:
            what = "file" if twin.source_hash == sample.source_hash else "footage"
            verdict = RejectionReason.SAME_SOURCE, f"it is the same {what} as {twin.source_name}"
        elif not sample.embedding.is_natural:
            verdict = RejectionReason.NOT_NATURAL, "its motion is not natural: the clip may have been tampered with"
        else:
            seen.append(sample)
        verdicts.append(verdict)
    return verdicts


def _find_twin(sample: Sample, others: Sequence[Sample], copy_above: float) -> Sample | None:
    """Give another with the same file, or with a motion so alike that it must be the same footage written anew."""
    for other in others:
        if other.source_hash == sample.source_hash:
            return other
    if not others:
        return None
    similarities = _stack(others) @ sample.embedding.vector
    nearest = int(similarities.argmax())
    return others[nearest] if similarities[nearest] > copy_above else None


def _check_together(
    new: Sequence[NewSample], verdicts: list[Verdict | None], stored: Sequence[StoredSample], options: AdmissionOptions
) -> None:
    """Refuse, in place, clips that are not of the person of the others."""
    left = [i for i, verdict in enumerate(verdicts) if verdict is None]
    if not left:
        return
    vectors, known = _stack([new[i] for i in left]), _stack(stored, len(new[0].embedding.vector))
    bounds = _find_bounds([new[i] for i in left], stored, options)
    stands, support = find_standing(vectors, known, bounds)
    for i, keeps, value, bound in zip(left, stands, support, bounds, strict=True):
        if not keeps:
            verdicts[i] = _tell_outlier(value, float(bound), is_alone=not stands.any() and len(known) < 2)
    kept = [i for i in left if verdicts[i] is None]
    if not kept or not stored:
        return
    similarity = float(_average([new[i] for i in kept]) @ _average(stored))
    together = min(_count_seconds([new[i] for i in kept]), _count_seconds(stored))
    if similarity < float(options.bound_outliers(np.array(together))):
        text = f"the new clips agree with one another, not with those enrolled (similarity {similarity:.2f})"
        for i in kept:
            verdicts[i] = RejectionReason.DISAGREEMENT, text


def _find_bounds(new: Sequence[NewSample], stored: Sequence[StoredSample], options: AdmissionOptions) -> np.ndarray:
    """(N,) of the new clips: half of the others are about as long as their median, and the shorter side counts."""
    everyone: list[Sample] = [*new, *stored]
    seconds = np.array([one.embedding.seconds for one in everyone])
    return options.bound_outliers(np.minimum(seconds[: len(new)], np.median(seconds)))


def _tell_outlier(value: float, bound: float, is_alone: bool) -> Verdict:
    found = f"similarity {value:.2f}, wanted {bound:.2f} with half of the others"
    if is_alone:
        return RejectionReason.DISAGREEMENT, f"the clips disagree, and which is wrong cannot be told ({found})"
    return RejectionReason.OUTLIER, f"it is not like the speaker's other clips ({found})"


def _check_others(
    new: Sequence[NewSample],
    verdicts: list[Verdict | None],
    others: Sequence[Neighbour],
    options: AdmissionOptions,
    allow_duplicate: bool,
) -> tuple[str, ...]:
    """Warn where what is left is as like another speaker as their own clips are; refuse it, unless that is allowed."""
    kept = [i for i, verdict in enumerate(verdicts) if verdict is None]
    if not kept or not others:
        return ()
    similarities = np.stack([other.vector for other in others]) @ _average([new[i] for i in kept])
    near = [i for i in np.argsort(-similarities) if similarities[i] >= options.duplicate_above]
    told = [f"the clips move like {others[i].name}, enrolled already (similarity {similarities[i]:.2f})" for i in near]
    if near and not allow_duplicate:
        for i in kept:
            verdicts[i] = RejectionReason.DUPLICATE_OF_ANOTHER, told[0]
    return tuple(told)


def _count_seconds(samples: Sequence[Sample]) -> float:
    return sum(sample.embedding.seconds for sample in samples)


def _stack(samples: Sequence[Sample], width: int = 0) -> np.ndarray:
    """(N, D) float32."""
    return np.array([sample.embedding.vector for sample in samples], np.float32).reshape(
        len(samples), -1 if samples else width
    )


def _average(samples: Sequence[Sample]) -> np.ndarray:
    """(D,) float32 of length 1, as the template of these alone would be."""
    return join_vectors(_stack(samples), np.array([sample.embedding.seconds for sample in samples]))
