"""The way from a file to a report: media -> speech and faces -> encoders -> scores -> gates -> analysis."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from engine.calibration.apply import apply_calibration, check_consistency, find_calibration
from engine.calibration.records import Calibration, Task
from engine.consistency.gates import (
    Gated,
    GateOptions,
    combine,
    gate_agreement,
    gate_clip,
    gate_offset,
    gate_speakers,
    gate_track,
    soften,
    summarise,
)
from engine.consistency.methods import Method
from engine.consistency.model_specs import SPECS
from engine.consistency.offsets import Consistency, ConsistencyOptions
from engine.consistency.scorers import ConsistencyScorer, OpinionOptions, compare_models, load_encoder, locate_model
from engine.faces.tracking import FaceOptions
from engine.features.extractor import MOUTHS_VERSION, ROWS_VERSION, FeatureExtractor, time_step
from engine.features.records import ClipFeatures, FaceFeatures, measure_clip, measure_track
from engine.settings import Settings
from engine.types import (
    FPS,
    Analysis,
    ConsistencyReport,
    Mode,
    Model,
    OnStep,
    Reason,
    SecondOpinion,
    Status,
    TrackReport,
)
from engine.weights.recipes import write_recipe

__all__ = [
    "Engine",
    "EngineOptions",
]

NO_EVIDENCE = {Reason.NO_AUDIO, Reason.NO_FACE}
"""What even paper mode cannot do without."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Every option that changes a result, stage by stage; all of it enters the recipe."""

    recipe_name: ClassVar = "EngineOptions"

    faces: FaceOptions = field(default_factory=FaceOptions)
    consistency: ConsistencyOptions = field(default_factory=ConsistencyOptions)
    gates: GateOptions = field(default_factory=GateOptions)
    opinions: OpinionOptions = field(default_factory=OpinionOptions)

    @classmethod
    def of(cls, model: Model) -> "EngineOptions":
        """The options for a model."""
        spec = SPECS[model]
        return cls(consistency=spec.options, gates=spec.gates)


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """A face after its own gates: what was measured, or why nothing was."""

    face: FaceFeatures
    gated: Gated
    speech_s: float
    measured: Consistency | None = None
    second: SecondOpinion | None = None


class Engine:
    """Holds the networks; one `analyse` at a time.

    `recipe` names the weights, the mode and the options: results of two recipes are never compared.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        expert: ConsistencyScorer,
        recipe: str,
        options: EngineOptions | None = None,
        second: ConsistencyScorer | None = None,
        calibration: Calibration | None = None,
    ):
        self.extractor, self.expert, self.second = extractor, expert, second
        self.recipe, self.options = recipe, options or EngineOptions.of(expert.model)
        self.calibration: Calibration | None = None  # of the first model's scores; None: they stay raw
        self.apply(calibration)

    @classmethod
    def load(
        cls,
        settings: Settings,
        method: Method | None = None,
        options: EngineOptions | None = None,
        cut_faces: bool = False,
        calibrations: Iterable[Calibration] = (),
    ) -> "Engine":
        """Load every network once; with `cut_faces` it observes what an embedder needs, too.

        `calibrations` are those that the user keeps, if any: see `calibration.judging.find_calibration`.
        WeightsMissing, WeightsDamaged and LicenceNotAccepted say which file and what to do.
        """
        method = method or Method()
        options = options or EngineOptions.of(method.model)
        files = [locate_model(model, settings.data_dir) for model in method.models]
        encoders = [load_encoder(model, file, settings) for model, file in zip(method.models, files, strict=True)]
        extractor = FeatureExtractor.load(
            settings, options.faces, any(SPECS[model].needs_mouths for model in method.models), cut_faces
        )
        seconds = [SPECS[model].options for model in method.models[1:]]
        experts = [
            ConsistencyScorer(model, encoder, _write_recipe(extractor, [file], method.mode, own), method.mode, own)
            for model, encoder, file, own in zip(
                method.models, encoders, files, [options.consistency, *seconds], strict=True
            )
        ]
        recipe = _write_recipe(extractor, files, method.mode, (options, seconds))
        in_force = find_calibration(Task.CONSISTENCY, experts[0].recipe, calibrations)
        return cls(extractor, experts[0], recipe, options, next(iter(experts[1:]), None), in_force)

    def apply(self, calibration: Calibration | None) -> None:
        """Put a record in force, or none; RECIPE_MISMATCH for another recipe, BAD_CALIBRATION for what cannot judge."""
        if calibration is not None:
            check_consistency(calibration, self.expert.recipe)
        self.calibration = calibration

    def analyse(self, path: Path, on_step: OnStep = lambda name, completed, total: None) -> Analysis:
        """Tell for every face in the file whether it belongs to the speech that is heard; in paper mode for one.

        Raises EngineError for a file that cannot be read; a file that can be read always gives an Analysis.
        """
        return self.judge(self.extract(path, on_step), on_step)

    def extract(self, path: Path, on_step: OnStep = lambda name, completed, total: None) -> ClipFeatures:
        """See and hear the whole file, judging nothing."""
        return self.extractor.extract(path, on_step)

    def judge(self, seen: ClipFeatures, on_step: OnStep = lambda name, completed, total: None) -> Analysis:
        """Score every face that its gates let through, and say of the others why not."""
        timings, options = dict(seen.timings_s), self.options.gates
        clip = self._gate_clip(seen)
        faces = self.expert.choose_faces(seen)
        with time_step("score", timings, on_step, len(faces)):
            scored = [self._score(seen, face, clip) for face in faces]
        reports = _report(_settle_rivals(scored, options), self.calibration)
        status, reasons = summarise(clip, [(one.consistency.status, one.consistency.reasons) for one in reports])
        timings["total"] = sum(timings.values())
        return Analysis(
            name=seen.name,
            sha256=seen.sha256,
            duration_s=seen.duration_s,
            size_px=seen.size_px,
            source_fps=seen.source_fps,
            status=status,
            reasons=reasons,
            recipe=self.recipe,
            timings_s=timings,
            tracks=reports,
            model=self.expert.model,
            mode=self.expert.mode,
        )

    def refuses(self, seen: ClipFeatures) -> bool:
        """Tell whether the gates would let no face be scored; nothing is scored to tell it."""
        clip, options = self._gate_clip(seen), self.options.gates
        faces = self.expert.choose_faces(seen)
        gated = [self._gate_face(clip, gate_track(measure_track(seen, face), options)) for face in faces]
        return all(status == Status.NOT_EVALUATED for status, _ in gated)

    @property
    def _is_paper(self) -> bool:
        return self.expert.mode == Mode.PAPER

    def _gate_clip(self, seen: ClipFeatures) -> Gated:
        """Judge the clip as a whole; in paper mode a refusal is a limit, unless there is nothing to compare."""
        clip = gate_clip(measure_clip(seen), self.options.gates)
        if not self._is_paper or NO_EVIDENCE & set(clip[1]):
            return clip
        return soften(clip, *_gate_unheard_faces(seen, self.options.gates))

    def _score(self, seen: ClipFeatures, face: FaceFeatures, clip: Gated) -> _Scored:
        plain = measure_track(seen, face)
        gated = self._gate_face(clip, gate_track(plain, self.options.gates))
        if gated[0] == Status.NOT_EVALUATED:
            return _Scored(face, gated, plain.speech_s)
        found = self.expert.measure(seen, face)
        if found is None:
            return _Scored(face, (Status.NOT_EVALUATED, (Reason.NOT_ENOUGH_SPEECH,)), plain.speech_s)
        second = self._ask_second(seen, face, found)
        limits = combine(gated, self._gate_offset(found), gate_agreement(second is None or second.agrees))
        return _Scored(face, limits, plain.speech_s, found, second)

    def _gate_face(self, clip: Gated, own: Gated) -> Gated:
        """Put a face's own gates to those of its clip.

        What refuses the whole clip is the whole reason: without sound, too little speech says nothing of the face.
        """
        if clip[0] == Status.NOT_EVALUATED:
            return clip
        return soften(clip, own) if self._is_paper else combine(clip, own)

    def _gate_offset(self, found: Consistency) -> Gated:
        reach = (len(found.curve.offsets_s) - 1) // 2
        drift = round((found.drift_s or 0.0) * FPS)
        return gate_offset(round(found.offset_s * FPS), reach, drift, found.beyond_s is not None, self.options.gates)

    def _ask_second(self, seen: ClipFeatures, face: FaceFeatures, first: Consistency) -> SecondOpinion | None:
        """Hear the second model on a face that the first has scored; None where there is none, or too little for it."""
        other = self.second
        found = other.measure(seen, face) if other else None
        if other is None or found is None:
            return None
        compared = compare_models(first, found, (self.expert.model, other.model), self.options.opinions)
        return SecondOpinion(
            model=other.model,
            recipe=other.recipe,
            score=found.score,
            offset_s=found.offset_s,
            clarity=found.prominence,
            first_clarity=first.prominence,
            agrees=compared.agrees,
            text=compared.text,
            curve=found.curve,
        )


def _write_recipe(extractor: FeatureExtractor, files: Sequence[Path], mode: Mode, options: object) -> str:
    """Name what saw and heard, the models, the mode and the options."""
    versions = (ROWS_VERSION, MOUTHS_VERSION)
    return write_recipe([*extractor.files, *files], (options, extractor.voice.options, *versions), [mode])


def _gate_unheard_faces(seen: ClipFeatures, options: GateOptions) -> tuple[Gated, ...]:
    """Say in paper mode, which compares one face, that another is seen with it."""
    spans = [(track.start, track.end) for track in seen.tracks]
    return gate_speakers(spans, [None] * len(spans), options)


def _settle_rivals(scored: list[_Scored], options: GateOptions) -> list[_Scored]:
    """Add what the other faces in the picture mean for each."""
    scores = [one.measured.score if one.measured else None for one in scored]
    rivals = gate_speakers([(one.face.start, one.face.end) for one in scored], scores, options)
    return [replace(one, gated=combine(one.gated, rival)) for one, rival in zip(scored, rivals, strict=True)]


def _report(scored: list[_Scored], calibration: Calibration | None) -> tuple[TrackReport, ...]:
    return tuple(
        TrackReport(
            id=number,
            start_s=one.face.start / FPS,
            end_s=one.face.end / FPS,
            face_px=one.face.face_px,
            thumbnail=one.face.thumbnail,
            consistency=_report_consistency(one, calibration),
        )
        for number, one in enumerate(scored)
    )


def _report_consistency(scored: _Scored, calibration: Calibration | None) -> ConsistencyReport:
    (status, reasons), found = scored.gated, scored.measured
    told: dict[str, Any] = {"llr": None}
    if calibration is not None and found is not None:
        told |= apply_calibration(calibration, found.score, scored.speech_s, scored.face.face_px, reasons)
    return ConsistencyReport(
        status=status,
        reasons=reasons,
        score=found.score if found else None,
        offset_s=found.offset_s if found else None,
        dynamic_score=found.dynamic_score if found else None,
        drift_s=found.drift_s if found else None,
        speech_s=scored.speech_s,
        windows=found.windows if found else (),
        curve=found.curve if found else None,
        second=scored.second,
        **told,
    )
