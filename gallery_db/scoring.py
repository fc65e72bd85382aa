"""From similarities to evidence: which candidates are supported, if any, and why that cannot be told.

Without a calibration of the very scores nobody is supported, and nobody is not: a similarity alone means nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.types import DynamicEmbedding
from gallery_db.errors import GalleryCode, GalleryError
from gallery_db.records import (
    Calibration,
    Candidate,
    SampleSimilarity,
    Search,
    SearchReason,
    Speaker,
    Verification,
)

LEAST = 0.04  # seconds of a quality: a frame, so that its logarithm is there
AMBIGUOUS_LLR = 0.5  # log10: the first two are about three times as likely as each other, and no more apart


@dataclass(frozen=True, slots=True)
class EvidenceOptions:
    """When the first two candidates count as one."""

    ambiguous_llr: float = AMBIGUOUS_LLR
    ambiguous_similarity: float = 0.02  # without a calibration
    least_probe_s: float = 4.0  # calibrations are made of samples of 5 s and more, and shorter ones are less alike


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a speaker who is compared with."""

    speaker_id: int
    name: str
    n_samples: int
    seconds: float  # of the recipe
    is_limited: bool


QUALITIES: Mapping[str, Callable[[DynamicEmbedding, Known], float]] = {
    "log probe seconds": lambda probe, known: np.log(max(probe.seconds, LEAST)),
    "log enrolled seconds": lambda probe, known: np.log(max(known.seconds, LEAST)),
}
"""What a calibration may ask beside the score; natural logarithms, as `wayspeak calibrate` fits them."""


@dataclass(frozen=True, slots=True, eq=False)
class CandidateScorer:
    """How similarities are turned into evidence. GalleryError where the calibration is of another recipe."""

    recipe: str  # of the embeddings
    calibration: Calibration | None = None
    options: EvidenceOptions = EvidenceOptions()

    def __post_init__(self) -> None:
        if self.calibration is not None and self.calibration.recipe != self.recipe:
            raise GalleryCode.EMBEDDER_MISMATCH(
                f"The calibration is of the recipe {self.calibration.recipe}, the scores are of {self.recipe}.",
                "Use a calibration of the same recipe.",
            )
        unknown = set(self.calibration.qualities if self.calibration else ()) - set(QUALITIES)
        if unknown:
            raise GalleryError(
                f"The calibration asks for {', '.join(sorted(unknown))}, which a gallery cannot tell.",
                f"Make one that asks for these at most: {', '.join(QUALITIES)}.",
            )

    @property
    def calibration_id(self) -> str | None:
        """What a search or verification names."""
        return self.calibration.id if self.calibration is not None else None

    def weigh(
        self,
        probe: DynamicEmbedding,
        known: Sequence[Known],
        similarities: np.ndarray,
        n_speakers: int,
    ) -> list[Candidate]:
        """Return the candidates, best first, of similarities (N,) to their templates."""
        if not known:
            return []
        similarities = similarities.astype(np.float64).clip(-1, 1)
        llrs = self._calibrate(probe, known, similarities, n_speakers)
        candidates = [
            Candidate(
                speaker_id=one.speaker_id,
                name=one.name,
                similarity=float(similarity),
                score=float(similarity),
                llr=llr,
                n_samples=one.n_samples,
                seconds=one.seconds,
                is_limited=one.is_limited,
            )
            for one, similarity, llr in zip(known, similarities, llrs, strict=True)
        ]
        return sorted(candidates, key=_rank)

    def conclude(self, candidates: Sequence[Candidate], k: int, n_speakers: int, backend: str) -> Search:
        """Say of candidates, best first, whether the first is supported, and keep k of them."""
        reasons = self._find_limits(candidates[:1])
        if len(candidates) > 1 and self._are_close(*candidates[:2]):
            reasons.append(SearchReason.AMBIGUOUS_TOP2)
        if candidates and candidates[0].is_limited:
            reasons.append(SearchReason.ENROL_TOO_SHORT)
        supported = self.supports(candidates[0].llr) if candidates else None
        if supported and SearchReason.AMBIGUOUS_TOP2 in reasons:
            supported = None  # one of the two, and none is to be named wrongly
        kept = tuple(candidates[:k])
        return Search(kept, supported, tuple(reasons), n_speakers, self.recipe, self.calibration_id, backend)

    def conclude_one(
        self, speaker: Speaker, candidate: Candidate | None, samples: tuple[SampleSimilarity, ...]
    ) -> Verification:
        """Say whether a speaker is supported; no candidate: the motion is not natural, and nothing is said."""
        if candidate is None:
            reasons = (SearchReason.NOT_NATURAL,)
            return Verification(speaker, None, None, None, None, reasons, (), self.recipe, self.calibration_id)
        found = self._find_limits([candidate])
        if candidate.is_limited:
            found.append(SearchReason.ENROL_TOO_SHORT)
        return Verification(
            speaker=speaker,
            similarity=candidate.similarity,
            score=candidate.score,
            llr=candidate.llr,
            is_supported=self.supports(candidate.llr),
            reasons=tuple(found),
            samples=samples,
            recipe=self.recipe,
            calibration_id=self.calibration_id,
        )

    def supports(self, llr: float | None) -> bool | None:
        """Whether evidence is enough; None where there is none."""
        return None if llr is None or self.calibration is None else llr >= self.calibration.threshold_llr

    def _calibrate(
        self, probe: DynamicEmbedding, known: Sequence[Known], scores: np.ndarray, n_speakers: int
    ) -> Sequence[float | None]:
        if self.calibration is None or probe.seconds < self.options.least_probe_s:
            return [None] * len(known)
        names = self.calibration.qualities
        table = np.array([[QUALITIES[name](probe, one) for name in names] for one in known], np.float64)
        qualities = table if names else None
        return [float(llr) for llr in self.calibration.llrs(scores, qualities, gallery_size=n_speakers)]

    def _find_limits(self, firsts: Sequence[Candidate]) -> list[SearchReason]:
        """Say why there is no evidence, where there is none."""
        if self.calibration is None:
            return [SearchReason.UNCALIBRATED]
        return [SearchReason.PROBE_TOO_SHORT for one in firsts if one.llr is None]

    def _are_close(self, first: Candidate, second: Candidate) -> bool:
        if first.llr is not None and second.llr is not None:
            # Where bounds have cut both, their evidence is equal; only a second that has evidence rivals the first.
            return second.llr > 0 and first.llr - second.llr < self.options.ambiguous_llr
        return first.similarity - second.similarity < self.options.ambiguous_similarity


def conclude_nothing(reason: SearchReason, judge: CandidateScorer, n_speakers: int, backend: str) -> Search:
    """Give a search that names nobody."""
    return Search((), None, (reason,), n_speakers, judge.recipe, judge.calibration_id, backend)


def _rank(candidate: Candidate) -> tuple[float, float, int]:
    llr = candidate.llr if candidate.llr is not None else 0.0
    return -llr, -candidate.score, candidate.speaker_id
