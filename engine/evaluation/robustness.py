"""What is left of telling own from other voices, and how often a real clip is wrongly doubted, when clips get worse.

Each clip is cut to its first seconds, perturbed, and seen and heard anew. What is done to a picture needs every face to
be found again; what is done to sound is heard alone, beside the faces that were found in the clip as it is.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from engine.calibration.apply import apply_calibration
from engine.calibration.verbal_scale import Zone
from engine.datasets.manifest import Row, Skipped
from engine.errors import EngineError
from engine.evaluation.consistency import pool_samples
from engine.evaluation.measurements import MeasuredRow, measure_observation
from engine.evaluation.perturbations import OF_SOUND, VERSION, Perturbation, cut_clip, perturb
from engine.evaluation.results import Discrimination, Share, part, share_with_interval
from engine.evaluation.trials import try_other_voices
from engine.features.cache import FeatureCache
from engine.features.extractor import FeatureExtractor
from engine.features.records import ClipFeatures, extract_audio
from engine.media.clip import open_clip
from engine.pipeline import Engine
from engine.types import FPS, Clip, OnStep
from engine.weights.registry import hash_file

ChooseEngine = Callable[[Row], Engine]
"""Who judges a clip: one engine for all, or one that never saw its corpus."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is done to the clips."""

    kind: Perturbation | None = None  # None: nothing
    level: int = 0  # 1 to 5

    @property
    def key(self) -> str:
        """Safe as a part of a folder's name."""
        return f"{self.kind.name.lower()}-{self.level}" if self.kind else "untouched"


UNTOUCHED = Step()


@dataclass(frozen=True, slots=True)
class RobustnessOptions:
    """What is tried."""

    steps: tuple[Step, ...]
    seconds: float = 4.0  # of each clip, from its beginning
    voices_per_face: int = 10
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PerturbationResult:
    """What is left under one step."""

    step: Step
    parting: Discrimination  # real clips against the others, or against swapped voices
    false_alarms: Share | None  # share of real clips whose zone is `against`; None: no calibration is in force
    n_silent_on: int  # real clips of which nothing was said: the gates refuse them, or no face is found any more
    skipped: tuple[Skipped, ...]
    doubted: Share | None = None  # the same of all real clips that have a score, as if no gate refused any


@dataclass(frozen=True, slots=True)
class RobustnessReport:
    """All that was tried."""

    recipe: str
    calibration: str | None  # its id; None: none is in force
    others: str  # `labelled` or `swapped voice`
    seconds: float
    n_clips: int
    outcomes: tuple[PerturbationResult, ...]  # untouched first


def measure_robustness(
    rows: Sequence[Row],
    choose: ChooseEngine,
    watch: "Watch",
    options: RobustnessOptions,
    on_step: OnStep = lambda step, completed, total: None,
) -> RobustnessReport:
    """Try every step on every clip; what was seen under a step once is kept, so a stopped run goes on where it was."""
    has_others = any(not row.is_real for row in rows)
    steps = (UNTOUCHED, *options.steps)
    outcomes = []
    for number, step in enumerate(steps):
        found = [(row, _try(row, step, watch)) for row in _count(rows, on_step, step, number, len(steps))]
        outcomes.append(_sum_up(step, found, choose, has_others, options))
    engine = choose(rows[0])
    record = engine.calibration
    others = "labelled" if has_others else "swapped voice"
    identity = record.id if record else None
    return RobustnessReport(engine.recipe, identity, others, options.seconds, len(rows), tuple(outcomes))


class Watch:
    """Sees and hears clips under a step, each once: what was seen is kept by file, step and length."""

    def __init__(self, extractor: FeatureExtractor, open_cache: Callable[[str], FeatureCache], seconds: float):
        self.extractor, self.open_cache, self.seconds = extractor, open_cache, seconds

    def see(self, row: Row, step: Step) -> ClipFeatures:
        """Observe one clip; raises EngineError for a file that cannot be read, OSError where nothing can be kept."""
        store = self.open_cache(f"{self.extractor.recipe}+first-{self.seconds:g}s+{step.key}-v{VERSION}")
        digest = hash_file(row.path) if row.path.is_file() else ""
        known = store.load(digest) if digest else None
        if known is not None:
            return known
        clip = cut_clip(open_clip(row.path, self.extractor.limits), self.seconds)
        seen = self._hear(row, clip, step) if step.kind in OF_SOUND else self._look(clip, step)
        store.save(seen)
        return seen

    def _look(self, clip: Clip, step: Step) -> ClipFeatures:
        return self.extractor.extract_clip(perturb(clip, step.kind, step.level) if step.kind else clip)

    def _hear(self, row: Row, clip: Clip, step: Step) -> ClipFeatures:
        assert step.kind is not None
        seen = self.see(row, UNTOUCHED)
        heard = extract_audio(
            perturb(clip, step.kind, step.level), self.extractor.voice, seen.audio.filterbank is not None
        )
        return replace(seen, audio=heard)


def _try(row: Row, step: Step, watch: Watch) -> ClipFeatures | str:
    try:
        return watch.see(row, step)
    except EngineError as error:
        return error.message


def _sum_up(
    step: Step,
    found: Sequence[tuple[Row, ClipFeatures | str]],
    choose: ChooseEngine,
    has_others: bool,
    options: RobustnessOptions,
) -> PerturbationResult:
    measured: list[tuple[MeasuredRow, Engine]] = []
    skipped: list[Skipped] = []
    zones: list[tuple[str, str | None]] = []  # group, zone of real clips that something is said of
    n_silent_on, calibrated = 0, False
    for row, seen in found:
        engine = choose(row)
        calibrated = calibrated or engine.calibration is not None
        told = seen if isinstance(seen, str) else measure_observation(row, seen, engine)
        if isinstance(told, str):
            skipped.append(Skipped(row.written, told))
        else:
            measured.append((told, engine))
        if row.is_real:
            said = [] if isinstance(seen, str) else _read_zones(seen, engine)
            n_silent_on += not said
            zones += [(row.person, str(Zone.AGAINST) if Zone.AGAINST in said else None)] if said else []
    alarms = share_with_interval([zone is not None for _, zone in zones], [group for group, _ in zones], options.seed)
    return PerturbationResult(
        step=step,
        parting=_part(measured, has_others, options),
        false_alarms=alarms if calibrated else None,
        n_silent_on=n_silent_on,
        skipped=tuple(skipped),
        doubted=_count_doubted(measured, options.seed),
    )


def _count_doubted(measured: Sequence[tuple[MeasuredRow, Engine]], seed: int) -> Share | None:
    """Judge scores by the calibration alone, which takes too little speech for the least that it knows."""
    judged = [
        (one.row.person, apply_calibration(engine.calibration, one.score, *_weigh_speech(one), reasons=())["zone"])
        for one, engine in measured
        if one.row.is_real and engine.calibration is not None
    ]
    return share_with_interval([zone == Zone.AGAINST for _, zone in judged], [person for person, _ in judged], seed)


def _weigh_speech(one: MeasuredRow) -> tuple[float, float]:
    """Seconds in which speech is heard and the face is seen, and the face's width in pixels."""
    clip = one.clip
    spoken = clip.mask if clip.voiced is None else clip.mask & clip.voiced
    return int(spoken.sum()) / FPS, clip.face_px


def _read_zones(seen: ClipFeatures, engine: Engine) -> list[str]:
    """Zones of the faces that the calibration says something of."""
    return [one.consistency.zone for one in engine.judge(seen).tracks if one.consistency.zone is not None]


def _part(
    measured: Sequence[tuple[MeasuredRow, Engine]], has_others: bool, options: RobustnessOptions
) -> Discrimination:
    """Part real clips from the others; from swapped voices, among the clips of one engine, where there are none."""
    pooled = pool_samples([one for one, _ in measured])
    real = [one for one in pooled if one.is_real]
    if has_others:
        return part(real, [one for one in pooled if not one.is_real], options.seed)
    swapped = []
    for engine in {id(engine): engine for _, engine in measured}.values():
        own = [one.clip for one, judge in measured if judge is engine]
        swapped += try_other_voices(own, engine.expert.compare, options.voices_per_face, options.seed)
    return part(real, swapped, options.seed)


def _count(rows: Sequence[Row], on_step: OnStep, step: Step, number: int, total: int) -> Iterator[Row]:
    for done, row in enumerate(rows):
        on_step("clips under all steps", number * len(rows) + done, total * len(rows))
        yield row
    on_step("clips under all steps", (number + 1) * len(rows), total * len(rows))
