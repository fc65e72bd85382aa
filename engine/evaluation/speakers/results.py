"""Results of speaker verification, identification and identification by motion (IOS), with 95 % intervals."""

from dataclasses import dataclass

from engine.datasets.manifest import Skipped


@dataclass(frozen=True, slots=True)
class Recognition:
    """Verification (EER, minDCF, AUC) over pairs, and closed-set identification (rank-1, rank-5) of all probes."""

    eer: float | None
    min_dcf: float | None  # P_target 0.05; 1: no better than a constant decision
    min_dcf_p01: float | None  # P_target 0.01
    auc: float | None
    rank1: float | None
    rank5: float | None
    chance_rank1: float | None  # by guessing
    n_pairs: int
    n_genuine: int
    n_impostor: int
    n_probes: int  # with an enrolled speaker
    n_probe_speakers: int
    ci: dict[str, tuple[float, float] | None]  # 95 %, over speakers


@dataclass(frozen=True, slots=True)
class OpenSet:
    """Open-set identification: detection and identification rate (DIR) by false positive identification rate (FPIR)."""

    dir: dict[str, float | None]  # by FPIR: share of enrolled probes identified correctly
    supported: dict[str, bool]  # by FPIR: enough non-mated probes for so small a rate
    smallest_fpir: float | None  # that is supported: 3 / n_nonmated, the 95 % bound after no error
    n_mated: int  # probes with an enrolled speaker
    n_nonmated: int  # probes without one
    n_nonmated_speakers: int
    ci: dict[str, tuple[float, float] | None]  # 95 %, over speakers


@dataclass(frozen=True, slots=True)
class Following:
    """Identification of forged clips (IOS): as the person of the motion or of the face."""

    rank1_face: float | None  # the face's owner ranks first
    decided: float | None  # share in which either of the two ranks first
    follows_motion: float | None  # of these, the motion's owner
    rank1_untouched: float | None  # of real samples of the motion owners, weighted as among the forged
    kept: float | None  # rank-1 of the forged divided by `rank1_untouched`
    n_owners: int  # of motions
    ci: dict[str, tuple[float, float] | None]  # 95 %, over the motion's owners


@dataclass(frozen=True, slots=True)
class ProbeResults:
    """Results of one set of probes; results of other tasks are None."""

    recognition: Recognition
    n_refused: int  # of these: motion is not natural, so no speaker is returned
    n_tried: int  # probes with at least one candidate
    open_set: OpenSet | None = None
    following: Following | None = None


@dataclass(frozen=True, slots=True)
class IdentityResults:
    """Results of `--task verification`, `identification` and `ios`."""

    whole: ProbeResults  # real probes; for `ios` all forged ones
    per_method: dict[str, ProbeResults]  # probes of each method against real enrolment


@dataclass(frozen=True, slots=True)
class IdentityReport:
    """Report of a speaker evaluation."""

    task: str
    embedder: str
    recipe: str  # of the embedder
    observer_recipe: str  # of the feature extractor
    figures: IdentityResults
    pool_s: float | None
    across_sessions: bool  # every genuine pair is of two sessions
    n_rows: int  # in samples
    n_samples: int  # of real clips
    n_speakers: int  # of these
    n_trained_speakers: int  # of these: in the training data of the embedder, which biases the results upwards
    n_made_samples: int  # of other clips
    gated: bool  # False: samples with unnatural motion were kept
    not_enrolled: tuple[str, ...]  # real clips with unnatural motion, as written in the manifest
    seconds: float | None  # median of a sample
    remarks: tuple[str, ...]  # limitations of the results
    skipped: tuple[Skipped, ...]
