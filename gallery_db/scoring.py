"""Turn similarities into log10 likelihood ratios and decide which candidate is supported, if any.

Without a calibration of these scores nothing is decided: a similarity alone is no evidence.
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

LEAST = 0.04  # seconds: one frame, so that the logarithm is finite
AMBIGUOUS_LLR = 0.5  # log10: the first is less than about three times as likely as the second


@dataclass(frozen=True, slots=True)
class EvidenceOptions:
    """Limits for ambiguous candidates and short probes."""

    ambiguous_llr: float = AMBIGUOUS_LLR
    ambiguous_similarity: float = 0.02  # without a calibration
    least_probe_s: float = 4.0  # calibrations use samples of 5 s and more; shorter ones are less similar


@dataclass(frozen=True, slots=True)
class EnrolledSpeaker:
    """Enrolment of a speaker in one recipe."""

    speaker_id: int
    name: str
    n_samples: int
    seconds: float  # of the recipe
    is_limited: bool


QUALITIES: Mapping[str, Callable[[DynamicEmbedding, EnrolledSpeaker], float]] = {
    "log probe seconds": lambda probe, enrolled: np.log(max(probe.seconds, LEAST)),
    "log enrolled seconds": lambda probe, enrolled: np.log(max(enrolled.seconds, LEAST)),
}
"""Covariates of a calibration in addition to the score; natural logarithms, as `wayspeak calibrate` fits them."""


@dataclass(frozen=True, slots=True, eq=False)
class CandidateScorer:
    """Score candidates by a calibration; raises EMBEDDER_MISMATCH for a calibration of another recipe."""

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
                f"The calibration needs {', '.join(sorted(unknown))}, which a gallery does not provide.",
                f"Make one that only needs: {', '.join(QUALITIES)}.",
            )

    @property
    def calibration_id(self) -> str | None:
        """Id of the calibration, or None."""
        return self.calibration.id if self.calibration is not None else None

    def score(
        self,
        probe: DynamicEmbedding,
        speakers: Sequence[EnrolledSpeaker],
        similarities: np.ndarray,
        n_speakers: int,
    ) -> list[Candidate]:
        """Return candidates, best first, for similarities (N,) to the templates of N speakers."""
        if not speakers:
            return []
        similarities = similarities.astype(np.float64).clip(-1, 1)
        llrs = self._calibrate(probe, speakers, similarities, n_speakers)
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
            for one, similarity, llr in zip(speakers, similarities, llrs, strict=True)
        ]
        return sorted(candidates, key=_rank)

    def conclude(self, candidates: Sequence[Candidate], k: int, n_speakers: int, backend: str) -> Search:
        """Decide whether the first of the candidates, best first, is supported; keep k of them."""
        reasons = self._find_limits(candidates[:1])
        if len(candidates) > 1 and self._are_close(*candidates[:2]):
            reasons.append(SearchReason.AMBIGUOUS_TOP2)
        if candidates and candidates[0].is_limited:
            reasons.append(SearchReason.ENROL_TOO_SHORT)
        supported = self.supports(candidates[0].llr) if candidates else None
        if supported and SearchReason.AMBIGUOUS_TOP2 in reasons:
            supported = None  # undecided between the two
        kept = tuple(candidates[:k])
        return Search(kept, supported, tuple(reasons), n_speakers, self.recipe, self.calibration_id, backend)

    def conclude_one(
        self, speaker: Speaker, candidate: Candidate | None, samples: tuple[SampleSimilarity, ...]
    ) -> Verification:
        """Decide whether a speaker is supported; without a candidate the motion is not natural: undecided."""
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
        """Return whether a log10 LR reaches the threshold; None without evidence."""
        return None if llr is None or self.calibration is None else llr >= self.calibration.threshold_llr

    def _calibrate(
        self, probe: DynamicEmbedding, speakers: Sequence[EnrolledSpeaker], scores: np.ndarray, n_speakers: int
    ) -> Sequence[float | None]:
        if self.calibration is None or probe.seconds < self.options.least_probe_s:
            return [None] * len(speakers)
        names = self.calibration.qualities
        table = np.array([[QUALITIES[name](probe, one) for name in names] for one in speakers], np.float64)
        qualities = table if names else None
        return [float(llr) for llr in self.calibration.llrs(scores, qualities, gallery_size=n_speakers)]

    def _find_limits(self, firsts: Sequence[Candidate]) -> list[SearchReason]:
        """Return the reason for missing evidence, if it is missing."""
        if self.calibration is None:
            return [SearchReason.UNCALIBRATED]
        return [SearchReason.PROBE_TOO_SHORT for one in firsts if one.llr is None]

    def _are_close(self, first: Candidate, second: Candidate) -> bool:
        if first.llr is not None and second.llr is not None:
            # LR bounds may make both equal; a second candidate is only ambiguous with evidence for it.
            return second.llr > 0 and first.llr - second.llr < self.options.ambiguous_llr
        return first.similarity - second.similarity < self.options.ambiguous_similarity


def conclude_nothing(reason: SearchReason, scorer: CandidateScorer, n_speakers: int, backend: str) -> Search:
    """Return a search result without candidates."""
    return Search((), None, (reason,), n_speakers, scorer.recipe, scorer.calibration_id, backend)


def _rank(candidate: Candidate) -> tuple[float, float, int]:
    llr = candidate.llr if candidate.llr is not None else 0.0
    return -llr, -candidate.score, candidate.speaker_id
