"""The way from a file to a report: media -> speech and faces -> encoders -> scores -> gates -> analysis."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from engine import weights
from engine.consistency import Consistency, ConsistencyOptions, measure_consistency
from engine.faces import FaceOptions
from engine.gates import Gated, GateOptions, combine, gate_clip, gate_offset, gate_rivals, gate_track, sum_up
from engine.models.compact import CompactConsistency, load_compact
from engine.observation import Observation, ObservedTrack, measure_clip, measure_track
from engine.observer import Observer, time_step, write_recipe
from engine.settings import Settings
from engine.types import FPS, Analysis, ConsistencyReport, OnStep, Reason, Status, TrackReport

__all__ = ["Engine", "EngineOptions", "Observation"]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Every option that changes a result, stage by stage; all of it enters the recipe."""

    faces: FaceOptions = field(default_factory=FaceOptions)
    consistency: ConsistencyOptions = field(default_factory=ConsistencyOptions)
    gates: GateOptions = field(default_factory=GateOptions)


@dataclass(frozen=True, slots=True)
class _Scored:
    """A track after its own gates: what was measured, or why nothing was."""

    gated: Gated
    speech_s: float
    measured: Consistency | None


class Engine:
    """Holds the networks; one `analyse` at a time.

    `recipe` names the weights and the options: results of two recipes are never compared.
    """

    def __init__(
        self, observer: Observer, model: CompactConsistency, recipe: str, options: EngineOptions | None = None
    ):
        self.observer, self.model = observer, model
        self.recipe, self.options = recipe, options or EngineOptions()

    @classmethod
    def load(cls, settings: Settings, options: EngineOptions | None = None) -> "Engine":
        """Load every network once; WeightsMissing and WeightsDamaged say which file and what to do."""
        options = options or EngineOptions()
        model = weights.compact(settings.data_dir)
        observer = Observer.load(settings, options.faces)
        recipe = write_recipe([*observer.files, model], (options, observer.voice.options))
        return cls(observer, load_compact(model, _pick_device(settings.device)), recipe, options)

    def analyse(self, path: Path, on_step: OnStep = lambda name, completed, total: None) -> Analysis:
        """Tell for every face in the file whether it belongs to the speech that is heard.

        Raises EngineError for a file that cannot be read; a file that can be read always gives an Analysis.
        """
        return self.judge(self.observe(path, on_step), on_step)

    def observe(self, path: Path, on_step: OnStep = lambda name, completed, total: None) -> Observation:
        """See and hear the whole file, judging nothing."""
        return self.observer.observe(path, on_step)

    def judge(self, seen: Observation, on_step: OnStep = lambda name, completed, total: None) -> Analysis:
        """Score every track that its gates let through, and say of the others why not."""
        timings, options = dict(seen.timings_s), self.options.gates
        clip = gate_clip(measure_clip(seen), options)
        with time_step("score", timings, on_step, len(seen.tracks)):
            scored = [self._score(seen, track, clip) for track in seen.tracks]
        reports = _report(seen, _settle_rivals(seen.tracks, scored, options))
        status, reasons = sum_up(clip, [(one.consistency.status, one.consistency.reasons) for one in reports])
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
        )

    def measure(self, seen: Observation, track: ObservedTrack) -> Consistency | None:
        """Compare one face with the sound of its time, through no gate; None where too few frames can be paired."""
        encoded = self.model.encode(track.lips, seen.heard.rows[track.start : track.end])
        mask = track.seen & seen.heard.present[track.start : track.end]
        return measure_consistency(replace(encoded, start=track.start), mask, self.options.consistency)

    def _score(self, seen: Observation, track: ObservedTrack, clip: Gated) -> _Scored:
        plain = measure_track(seen, track)
        # what refuses the whole clip is the whole reason: without sound, too little speech says nothing of the face
        refused = clip[0] == Status.NOT_EVALUATED
        gated = clip if refused else combine(clip, gate_track(plain, self.options.gates))
        if gated[0] == Status.NOT_EVALUATED:
            return _Scored(gated, plain.speech_s, None)
        found = self.measure(seen, track)
        if found is None:
            return _Scored((Status.NOT_EVALUATED, (Reason.NOT_ENOUGH_SPEECH,)), plain.speech_s, None)
        search, gates = self.options.consistency.max_offset, self.options.gates
        beyond = found.beyond_s is not None
        offset = gate_offset(round(found.offset_s * FPS), search, round(found.drift_s * FPS), beyond, gates)
        return _Scored(combine(gated, offset), plain.speech_s, found)


def _pick_device(wanted: str) -> str:
    """`auto` is CUDA where there is one; a device that is asked for by name is taken at its word."""
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


def _settle_rivals(tracks: Sequence[ObservedTrack], scored: list[_Scored], options: GateOptions) -> list[_Scored]:
    """Add what the other faces in the picture mean for each."""
    scores = [one.measured.score if one.measured else None for one in scored]
    rivals = gate_rivals([(track.start, track.end) for track in tracks], scores, options)
    return [replace(one, gated=combine(one.gated, rival)) for one, rival in zip(scored, rivals, strict=True)]


def _report(seen: Observation, scored: list[_Scored]) -> tuple[TrackReport, ...]:
    return tuple(
        TrackReport(
            id=number,
            start_s=track.start / FPS,
            end_s=track.end / FPS,
            face_px=track.face_px,
            thumbnail=track.thumbnail,
            consistency=_report_consistency(one),
        )
        for number, (track, one) in enumerate(zip(seen.tracks, scored, strict=True))
    )


def _report_consistency(scored: _Scored) -> ConsistencyReport:
    (status, reasons), found = scored.gated, scored.measured
    return ConsistencyReport(
        status=status,
        reasons=reasons,
        score=found.score if found else None,
        offset_s=found.offset_s if found else None,
        dynamic_score=found.dynamic_score if found else None,
        drift_s=found.drift_s if found else None,
        llr=None,
        speech_s=scored.speech_s,
        windows=found.windows if found else (),
        curve=found.curve if found else None,
    )
