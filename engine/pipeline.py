"""Analyse a file: features -> gates -> scores -> reports -> Analysis."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from engine.calibration.apply import check_consistency, find_calibration
from engine.calibration.qualities import SpeechQuality, measure_quality
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
    gate_voices,
    soften,
    summarise,
)
from engine.consistency.methods import Method
from engine.consistency.model_specs import SPECS
from engine.consistency.offsets import Consistency, ConsistencyOptions
from engine.consistency.pooling import link_tracks, pool_quality
from engine.consistency.same_person import match_faces
from engine.consistency.scorers import ConsistencyScorer, OpinionOptions, compare_models, load_encoder, locate_model
from engine.faces.tracking import FaceOptions
from engine.features.extractor import MOUTHS_VERSION, ROWS_VERSION, FeatureExtractor, time_step
from engine.features.records import ClipFeatures, FaceFeatures, measure_clip, measure_track
from engine.long_recordings import join_analyses, read_parts
from engine.settings import Settings
from engine.span_reports import check_spans, write_span_recipe
from engine.track_reports import ScoredTrack, choose_answers, report_consistency, report_tracks
from engine.types import (
    FPS,
    WHOLE,
    Analysis,
    ConsistencyReport,
    MediaSelection,
    Mode,
    Model,
    OnStep,
    Reason,
    SecondOpinion,
    SpanKind,
    SpeakerReport,
    Status,
    TrackReport,
)
from engine.weights.recipes import write_recipe

__all__ = [
    "Engine",
    "EngineOptions",
]

NO_EVIDENCE = {Reason.NO_AUDIO, Reason.NO_FACE}
"""Reasons that refuse a clip in paper mode too."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """All options that change a result, by stage; all are part of the recipe."""

    recipe_name: ClassVar = "EngineOptions"

    faces: FaceOptions = field(default_factory=FaceOptions)
    consistency: ConsistencyOptions = field(default_factory=ConsistencyOptions)
    gates: GateOptions = field(default_factory=GateOptions)
    opinions: OpinionOptions = field(default_factory=OpinionOptions)

    @classmethod
    def of(cls, model: Model) -> "EngineOptions":
        """Return the options of a model."""
        spec = SPECS[model]
        return cls(consistency=spec.options, gates=spec.gates)


class Engine:
    """All networks of an analysis; run one `analyse` at a time.

    `recipe` names the weights, the mode and the options: results of two recipes are not comparable.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        scorer: ConsistencyScorer,
        recipe: str,
        options: EngineOptions | None = None,
        second: ConsistencyScorer | None = None,
        calibration: Calibration | None = None,
        span_calibration: Calibration | None = None,
    ):
        self.extractor, self.scorer, self.second = extractor, scorer, second
        self.recipe, self.options = recipe, options or EngineOptions.of(scorer.model)
        self.calibration: Calibration | None = None  # of the scores of the first model; None: raw scores
        self.span_calibration: Calibration | None = None  # None: no spans
        for record in filter(None, (calibration, span_calibration)):
            self.apply(record)

    @classmethod
    def load(
        cls,
        settings: Settings,
        method: Method | None = None,
        options: EngineOptions | None = None,
        cut_faces: bool = False,
        calibrations: Iterable[Calibration] = (),
    ) -> "Engine":
        """Load every network once; with `cut_faces` also extract the face crops of the style embedder.

        `calibrations` are those of the user, see `calibration.apply.find_calibration`. Raises WeightsMissing,
        WeightsDamaged and LicenceNotAccepted.
        """
        method = method or Method()
        options = options or EngineOptions.of(method.model)
        files = [locate_model(model, settings.data_dir) for model in method.models]
        encoders = [load_encoder(model, file, settings) for model, file in zip(method.models, files, strict=True)]
        extractor = FeatureExtractor.load(
            settings, options.faces, any(SPECS[model].needs_mouths for model in method.models), cut_faces
        )
        seconds = [SPECS[model].options for model in method.models[1:]]
        scorers = [
            ConsistencyScorer(model, encoder, _write_recipe(extractor, [file], method.mode, own), method.mode, own)
            for model, encoder, file, own in zip(
                method.models, encoders, files, [options.consistency, *seconds], strict=True
            )
        ]
        recipe = _write_recipe(extractor, files, method.mode, (options, seconds))
        engine = cls(extractor, scorers[0], recipe, options, next(iter(scorers[1:]), None))
        engine.calibrate(calibrations)
        return engine

    def calibrate(self, kept: Iterable[Calibration] | None) -> None:
        """Set the calibrations in force, see `calibration.apply.find_calibration`; None: leave all scores raw."""
        self.calibration = self.span_calibration = None
        if kept is not None:
            kept = tuple(kept)
            self.calibration = find_calibration(Task.CONSISTENCY, self.scorer.recipe, kept)
            self.span_calibration = find_calibration(Task.SPANS, write_span_recipe(self.scorer.recipe), kept)

    def apply(self, calibration: Calibration | None) -> None:
        """Set the calibration of tracks or of spans, or none of both; raises RECIPE_MISMATCH or BAD_CALIBRATION."""
        if calibration is None:
            self.calibrate(None)
        elif calibration.task == Task.SPANS:
            check_spans(calibration, write_span_recipe(self.scorer.recipe))
            self.span_calibration = calibration
        else:
            check_consistency(calibration, self.scorer.recipe)
            self.calibration = calibration

    def analyse(
        self,
        path: Path,
        on_step: OnStep = lambda name, completed, total: None,
        selection: MediaSelection = WHOLE,
    ) -> Analysis:
        """Score for every face (in paper mode for one) whether it belongs to the speech.

        Raises EngineError if the file cannot be read; a readable file always yields an Analysis.
        """
        parts = read_parts(self.extractor, path, selection, on_step, only_first=self._is_paper)
        return join_analyses([self.judge(features, on_step) for features in parts])

    def extract(
        self,
        path: Path,
        on_step: OnStep = lambda name, completed, total: None,
        selection: MediaSelection = WHOLE,
    ) -> ClipFeatures:
        """Extract features without scoring."""
        return self.extractor.extract(path, on_step, selection=selection)

    def judge(self, features: ClipFeatures, on_step: OnStep = lambda name, completed, total: None) -> Analysis:
        """Score every face that passes its gates, with reasons for the others."""
        timings, options = dict(features.timings_s), self.options.gates
        clip = self._gate_clip(features)
        faces = self.scorer.choose_faces(features)
        with time_step("score", timings, on_step, len(faces)):
            scored = [self._score_channels(features, face, clip) for face in faces]
        scored = [replace(one, same_as=first) for one, first in zip(scored, match_faces(faces), strict=True)]
        scored, in_force = _gate_speakers(scored, options), (self.calibration, self.span_calibration)
        reports = report_tracks(scored, in_force, features.media.from_s)
        speakers = self._pool(features, scored, clip, reports)
        status, reasons = summarise(clip, choose_answers(reports, speakers))
        timings["total"] = sum(timings.values())
        return Analysis(
            name=features.name,
            sha256=features.sha256,
            duration_s=features.duration_s,
            size_px=features.size_px,
            source_fps=features.source_fps,
            status=status,
            reasons=reasons,
            recipe=self.recipe,
            timings_s=timings,
            tracks=reports,
            model=self.scorer.model,
            mode=self.scorer.mode,
            media=features.media,
            speakers=speakers,
        )

    def refuses(self, features: ClipFeatures) -> bool:
        """Return whether the gates refuse every face, without scoring."""
        clip, options = self._gate_clip(features), self.options.gates
        faces = self.scorer.choose_faces(features)
        gated = [self._gate_face(clip, gate_track(measure_track(features, face), options)) for face in faces]
        return all(status == Status.NOT_EVALUATED for status, _ in gated)

    @property
    def _is_paper(self) -> bool:
        return self.scorer.mode == Mode.PAPER

    def _gate_clip(self, features: ClipFeatures) -> Gated:
        """Apply the gates of the clip; in paper mode a refusal is only a limit, unless there is nothing to compare."""
        clip = gate_clip(measure_clip(features), self.options.gates)
        if not self._is_paper or NO_EVIDENCE & set(clip[1]):
            return clip
        return soften(clip, *_gate_other_faces(features, self.options.gates))

    def _score_channels(self, features: ClipFeatures, face: FaceFeatures, clip: Gated) -> ScoredTrack:
        """Score a face with each channel of audio; return the better fit."""
        if not features.channels:
            return self._score(features, face, clip)
        channels = [(features.media.channel, features.audio), *features.channels]
        heard = [(name, replace(features, audio=audio)) for name, audio in channels]
        scored = [replace(self._score(own, face, self._gate_clip(own)), channel=name) for name, own in heard]
        return max(scored, key=lambda one: one.rank)

    def _score(self, features: ClipFeatures, face: FaceFeatures, clip: Gated) -> ScoredTrack:
        quality = _measure_speech(features, face)
        gated = self._gate_face(clip, gate_track(measure_track(features, face), self.options.gates))
        if gated[0] == Status.NOT_EVALUATED:
            return ScoredTrack(face, gated, quality)
        found = self.scorer.measure(features, face)
        if found is None:
            return ScoredTrack(face, (Status.NOT_EVALUATED, (Reason.NOT_ENOUGH_SPEECH,)), quality)
        second = self._score_second(features, face, found)
        limits = combine(gated, self._gate_offset(found), gate_agreement(second is None or second.agrees))
        spoken = face.clear & features.audio.voiced[face.start : face.end]
        return ScoredTrack(face, limits, quality, found, second, spoken=spoken)

    def _pool(
        self, features: ClipFeatures, scored: Sequence[ScoredTrack], clip: Gated, reports: Sequence[TrackReport]
    ) -> tuple[SpeakerReport, ...]:
        """Score the tracks of each face that cuts split as one; not in paper mode, nor where channels are judged."""
        if self._is_paper or features.channels or clip[0] == Status.NOT_EVALUATED:
            return ()
        usable = [one for one in scored if one.measured or one.gated[1] == (Reason.NOT_ENOUGH_SPEECH,)]
        linked = link_tracks([one.face for one in usable], [one.same_as for one in usable])
        groups = [tuple(scored.index(usable[number]) for number in group) for group in linked]
        changing = {one.id for one in reports for span in one.consistency.spans if span.kind == SpanKind.INCONSISTENT}
        return tuple(
            SpeakerReport(
                group,
                self._score_pooled(
                    features, [scored[number] for number in group], clip, not changing.isdisjoint(group)
                ),
            )
            for group in groups
        )

    def _score_pooled(
        self, features: ClipFeatures, tracks: Sequence[ScoredTrack], clip: Gated, changes: bool
    ) -> ConsistencyReport:
        """Score tracks as one; `changes`: another voice takes over in one of them."""
        faces = [one.face for one in tracks]
        quality = pool_quality(features, faces)
        gated = combine(clip, gate_track(quality, self.options.gates), _keep_rivals(tracks))
        found = None if gated[0] == Status.NOT_EVALUATED else self.scorer.measure_pooled(features, faces)
        if found is not None:
            gated = combine(gated, self._gate_offset(found))
        elif gated[0] != Status.NOT_EVALUATED:
            gated = Status.NOT_EVALUATED, (Reason.NOT_ENOUGH_SPEECH,)
        in_force, from_s = (self.calibration, self.span_calibration), features.media.from_s
        gated = combine(gated, gate_voices(changes))
        heard = SpeechQuality(quality.speech_s, quality.face_px, quality.mouth_motion)
        return report_consistency(ScoredTrack(faces[0], gated, heard, found), in_force, from_s)

    def _gate_face(self, clip: Gated, own: Gated) -> Gated:
        """Combine the gates of a face with those of its clip.

        If the clip is refused, only its reasons count: without audio, "too little speech" is no fact about the face.
        """
        if clip[0] == Status.NOT_EVALUATED:
            return clip
        return soften(clip, own) if self._is_paper else combine(clip, own)

    def _gate_offset(self, found: Consistency) -> Gated:
        reach = (len(found.curve.offsets_s) - 1) // 2
        drift = round((found.drift_s or 0.0) * FPS)
        return gate_offset(round(found.offset_s * FPS), reach, drift, found.beyond_s is not None, self.options.gates)

    def _score_second(self, features: ClipFeatures, face: FaceFeatures, first: Consistency) -> SecondOpinion | None:
        """Score a face with the second model; None without one, or with too little speech for it."""
        other = self.second
        found = other.measure(features, face) if other else None
        if other is None or found is None:
            return None
        compared = compare_models(first, found, (self.scorer.model, other.model), self.options.opinions)
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


def _keep_rivals(tracks: Sequence[ScoredTrack]) -> Gated:
    """Return the limits about other faces that a track has: they hold for all of its face."""
    found = (reason for one in tracks for reason in one.gated[1] if reason in (Reason.MULTI_FACE, Reason.LISTENER))
    return soften((Status.LIMITED, tuple(found)))


def _measure_speech(features: ClipFeatures, face: FaceFeatures) -> SpeechQuality:
    """Measure the frames with speech and a visible mouth, as in calibration trials."""
    spoken = face.clear & features.audio.voiced[face.start : face.end]
    return measure_quality(spoken, face.gap, face.face_px)


def _write_recipe(extractor: FeatureExtractor, files: Sequence[Path], mode: Mode, options: object) -> str:
    """Build the recipe of extractor, models, mode and options."""
    versions = (ROWS_VERSION, MOUTHS_VERSION)
    return write_recipe([*extractor.files, *files], (options, extractor.voice.options, *versions), [mode])


def _gate_other_faces(features: ClipFeatures, options: GateOptions) -> tuple[Gated, ...]:
    """Gate simultaneous faces in paper mode, which scores only one face."""
    spans = [(track.start, track.end) for track in features.tracks]
    return gate_speakers(spans, [None] * len(spans), options)


def _gate_speakers(scored: list[ScoredTrack], options: GateOptions) -> list[ScoredTrack]:
    """Add to each face the gates about simultaneous faces; short speech names no speaker."""
    scores = [
        one.measured.score if one.measured and one.quality.speech_s >= options.clear_speech_s else None
        for one in scored
    ]
    spans, same_as = [(one.face.start, one.face.end) for one in scored], [one.same_as for one in scored]
    rivals = gate_speakers(spans, scores, options, same_as)
    return [replace(one, gated=combine(one.gated, rival)) for one, rival in zip(scored, rivals, strict=True)]
