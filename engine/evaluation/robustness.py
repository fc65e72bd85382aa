"""Measure discrimination and false alarms under perturbations of increasing strength.

Each clip is cut to its first seconds and perturbed, and its features are extracted again. Image perturbations need new
face tracks; audio perturbations reuse the face features of the unperturbed clip.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from engine.calibration.verbal_scale import Zone
from engine.datasets.manifest import Row, Skipped
from engine.errors import EngineError
from engine.evaluation.consistency import pool_samples
from engine.evaluation.groups import JudgedRow, count_false_alarms
from engine.evaluation.measurements import MeasuredRow, measure_features
from engine.evaluation.perturbations import OF_SOUND, VERSION, Perturbation, cut_clip, perturb
from engine.evaluation.results import Discrimination, Share, measure_discrimination, share_with_interval
from engine.evaluation.trials import score_other_voices
from engine.features.audio_choice import choose_audio
from engine.features.cache import FeatureCache
from engine.features.extractor import FeatureExtractor
from engine.features.records import ClipFeatures, extract_audio
from engine.media.clip import open_clip
from engine.pipeline import Engine
from engine.types import OnStep
from engine.weights.registry import hash_file

ChooseEngine = Callable[[Row], Engine]
"""Return the engine that scores a clip: the same for all, or a held-out one that never saw its corpus."""


@dataclass(frozen=True, slots=True)
class Step:
    """A perturbation at one level."""

    kind: Perturbation | None = None  # None: unperturbed
    level: int = 0  # 1 to 5

    @property
    def key(self) -> str:
        """Name that is safe in a folder name."""
        return f"{self.kind.name.lower()}-{self.level}" if self.kind else "untouched"


UNTOUCHED = Step()


@dataclass(frozen=True, slots=True)
class RobustnessOptions:
    """Perturbations to evaluate, and how."""

    steps: tuple[Step, ...]
    seconds: float = 4.0  # the first seconds of each clip
    voices_per_face: int = 10
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PerturbationResult:
    """Results for one perturbation step."""

    step: Step
    parting: Discrimination  # real clips against the others or swapped voices
    false_alarms: Share | None  # share of real clips in the zone `against`; None: no approved calibration
    n_silent_on: int  # real clips without a zone: refused by the gates, or no face was found
    skipped: tuple[Skipped, ...]
    doubted: Share | None = None  # like `false_alarms`, over all scored real clips, without gates


@dataclass(frozen=True, slots=True)
class RobustnessReport:
    """Results of all steps."""

    recipe: str
    calibration: str | None  # its id; None: no approved calibration
    others: str  # `labelled` or `swapped voice`
    seconds: float
    n_clips: int
    outcomes: tuple[PerturbationResult, ...]  # unperturbed first


def measure_robustness(
    rows: Sequence[Row],
    choose: ChooseEngine,
    extractor: "PerturbedExtractor",
    options: RobustnessOptions,
    on_step: OnStep = lambda step, completed, total: None,
) -> RobustnessReport:
    """Evaluate every step on every clip; cached features let a stopped run resume where it was."""
    has_others = any(not row.is_real for row in rows)
    steps = (UNTOUCHED, *options.steps)
    outcomes = []
    for number, step in enumerate(steps):
        found = [(row, _extract(row, step, extractor)) for row in _count(rows, on_step, step, number, len(steps))]
        outcomes.append(_summarise(step, found, choose, has_others, options))
    engine = choose(rows[0])
    record = engine.calibration
    others = "labelled" if has_others else "swapped voice"
    identity = record.id if record else None
    return RobustnessReport(engine.recipe, identity, others, options.seconds, len(rows), tuple(outcomes))


class PerturbedExtractor:
    """Extracts features of perturbed clips, cached by file, step and length."""

    def __init__(self, extractor: FeatureExtractor, open_cache: Callable[[str], FeatureCache], seconds: float):
        self.extractor, self.open_cache, self.seconds = extractor, open_cache, seconds

    def extract(self, row: Row, step: Step) -> ClipFeatures:
        """Extract the features of one clip; raise EngineError if it cannot be read, OSError if it cannot be cached."""
        cache = self.open_cache(f"{self.extractor.recipe}+first-{self.seconds:g}s+{step.key}-v{VERSION}")
        digest = hash_file(row.path) if row.path.is_file() else ""
        cached = cache.load(digest) if digest else None
        if cached is not None:
            return cached
        whole = choose_audio(open_clip(row.path, self.extractor.limits), self.extractor.voice).clip
        clip = cut_clip(whole, self.seconds)
        perturbed = perturb(clip, step.kind, step.level) if step.kind else clip
        if step.kind in OF_SOUND:
            features = self.extract(row, UNTOUCHED)
            with_filterbank = features.audio.filterbank is not None
            features = replace(features, audio=extract_audio(perturbed, self.extractor.voice, with_filterbank))
        else:
            features = self.extractor.extract_clip(perturbed)
        cache.save(features)
        return features


def _extract(row: Row, step: Step, extractor: PerturbedExtractor) -> ClipFeatures | str:
    try:
        return extractor.extract(row, step)
    except EngineError as error:
        return error.message


def _summarise(
    step: Step,
    found: Sequence[tuple[Row, ClipFeatures | str]],
    choose: ChooseEngine,
    has_others: bool,
    options: RobustnessOptions,
) -> PerturbationResult:
    measured: list[tuple[MeasuredRow, Engine]] = []
    skipped: list[Skipped] = []
    zones: list[tuple[str, str | None]] = []  # person, and `against` or None, of real clips with a zone
    n_silent_on, calibrated = 0, False
    for row, features in found:
        engine = choose(row)
        calibrated = calibrated or engine.calibration is not None
        result = features if isinstance(features, str) else measure_features(row, features, engine)
        if isinstance(result, str):
            skipped.append(Skipped(row.written, result))
        else:
            measured.append((result, engine))
        if row.is_real:
            zones_of_row = [] if isinstance(features, str) else _read_zones(features, engine)
            n_silent_on += not zones_of_row
            zones += [(row.person, str(Zone.AGAINST) if Zone.AGAINST in zones_of_row else None)] if zones_of_row else []
    alarms = share_with_interval([zone is not None for _, zone in zones], [group for group, _ in zones], options.seed)
    return PerturbationResult(
        step=step,
        parting=_measure_discrimination(measured, has_others, options),
        false_alarms=alarms if calibrated else None,
        n_silent_on=n_silent_on,
        skipped=tuple(skipped),
        doubted=_count_doubted(measured, options.seed),
    )


def _count_doubted(measured: Sequence[tuple[MeasuredRow, Engine]], seed: int) -> Share | None:
    """Classify scores by the calibration alone; less speech than it knows counts as its minimum."""
    accepted = [JudgedRow(replace(one, refused=False), engine.calibration) for one, engine in measured]
    return count_false_alarms([one for one in accepted if one.measured.row.is_real], seed)


def _read_zones(seen: ClipFeatures, engine: Engine) -> list[str]:
    """Return the zones of the faces that have one."""
    return [one.consistency.zone for one in engine.judge(seen).tracks if one.consistency.zone is not None]


def _measure_discrimination(
    measured: Sequence[tuple[MeasuredRow, Engine]], has_others: bool, options: RobustnessOptions
) -> Discrimination:
    """Compare real clips with the others or, without any, with swapped voices among the clips of one engine."""
    pooled = pool_samples([one for one, _ in measured])
    real = [one for one in pooled if one.is_real]
    if has_others:
        return measure_discrimination(real, [one for one in pooled if not one.is_real], options.seed)
    swapped = []
    for engine in {id(engine): engine for _, engine in measured}.values():
        own = [one.clip for one, judge in measured if judge is engine]
        swapped += score_other_voices(own, engine.scorer.compare, options.voices_per_face, options.seed)
    return measure_discrimination(real, swapped, options.seed)


def _count(rows: Sequence[Row], on_step: OnStep, step: Step, number: int, total: int) -> Iterator[Row]:
    for done, row in enumerate(rows):
        on_step("clips under all steps", number * len(rows) + done, total * len(rows))
        yield row
    on_step("clips under all steps", (number + 1) * len(rows), total * len(rows))
