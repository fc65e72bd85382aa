"""One analysis job: audio-visual consistency, speaker search and lip closures of a file.

The consistency result never waits for the speaker result: without a gallery, enrolled speakers or embedder weights it
is returned all the same, and `speakers_error` states why the speaker result is missing. Imports no torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from engine.consistency.lip_closures import ArticulationReport, check_faces, move_report
from engine.consistency.methods import Method, list_methods
from engine.errors import EngineError
from engine.long_recordings import join_analyses, read_parts
from engine.settings import Settings
from engine.speech.phonemes import SoundRecogniser
from engine.style.records import FaceEmbedding
from engine.types import Analysis, Mode, OnStep
from gallery_db.records import Search, Verification
from webapp.analysis.gallery_queries import GalleryClient
from webapp.analysis.records import AnalysisRequest, JobError
from webapp.analysis.signals import Traces

if TYPE_CHECKING:  # the page reads results and computes none
    from engine.features.records import ClipFeatures
    from engine.pipeline import Engine
    from engine.style.embedder import Embedder


Item = TypeVar("Item")


class Engines:
    """Load the engine of a method on first use; one caller at a time.

    The default engine is small and stays loaded. AV-HuBERT takes 0.4 GB (BASE) or 1.3 GB (LARGE) in float32, so only
    one other engine is kept, and it is freed before the next is loaded.
    """

    def __init__(self, default: "Engine", load: Callable[[Method], "Engine"]):
        self._default, self._load = default, load
        self._other: tuple[Method, Engine] | None = None

    def get(self, method: Method) -> "Engine":
        """Return the engine of a method; raise EngineError if its weights cannot be loaded."""
        if method == Method():
            return self._default
        if self._other is None or self._other[0] != method:
            self._other = None  # first, so that two are never in memory together
            self._other = (method, self._load(method))
        return self._other[1]


def find_method(title: str | None, data_dir: Path) -> Method:
    """Return the method with this title; raise EngineError if it is not, or no longer, available."""
    for method in list_methods(data_dir):
        if method.title == title:
            return method
    raise EngineError(f"The method {title!r} is not available.", "Reload the page to update the list of methods.")


class LipClosureChecker:
    """Keep the phoneme recogniser of each requested language; one file at a time."""

    def __init__(self, load: Callable[[str], SoundRecogniser] = SoundRecogniser.load):
        self._load = load
        self._held: dict[str, SoundRecogniser] = {}

    def check(
        self,
        features: "ClipFeatures",
        language: str,
        on_step: OnStep = lambda name, completed, total: None,
    ) -> tuple[ArticulationReport, ...]:
        """Compare lip closures of each track with the phonemes of the audio.

        Raise ValueError without stored audio, LANGUAGE_UNKNOWN or RECOGNISER_MISSING.
        """
        if features.audio.samples is None:
            raise ValueError("these features have no audio: extract them with `keep_audio`")
        if language not in self._held:
            self._held[language] = self._load(language)
        reports = check_faces(
            self._held[language], features.audio.samples, features.audio.voiced, features.tracks, None, on_step
        )
        return tuple(move_report(one, features.media.from_s) for one in reports)


@dataclass(frozen=True, slots=True, eq=False)
class AnalysisResult:
    """Result of an analysis job.

    The n-th search and verification belong to the n-th of `faces`; None if not requested, or missing because of
    `speakers_error`.
    """

    analysis: Analysis
    faces: tuple[FaceEmbedding, ...]  # visible for at least one second, and embedded
    searches: tuple[Search, ...] | None = None
    verifications: tuple[Verification, ...] | None = None
    speakers_error: JobError | None = None  # why no face was embedded, or the speaker result is missing
    traces: Traces | None = None  # audio and mouth signals for display, one per track, by its id
    articulations: tuple[ArticulationReport, ...] | None = (
        None  # by the id of the track; None: not requested, or missing
    )
    articulations_error: JobError | None = None  # why they are missing

    @property
    def speaker_ids(self) -> tuple[int, ...]:
        """Ids of all enrolled speakers that the result names."""
        found = [one.speaker_id for search in self.searches or () for one in search.candidates]
        return tuple(sorted({*found, *(one.speaker.id for one in self.verifications or ())}))


class Analyser:
    """Keep the networks loaded and analyse one file at a time; an `on_step` that raises ends the analysis."""

    def __init__(self, engines: Engines, embedder: "Embedder | EngineError", gallery: GalleryClient, data_dir: Path):
        """Take an EngineError in place of an embedder that is not available."""
        self._lips = LipClosureChecker()
        self._engines, self._embedder, self._gallery, self._data_dir = engines, embedder, gallery, data_dir

    @classmethod
    def load(cls, settings: Settings) -> "Analyser":
        """Load the default engine and the embedder; raise WeightsMissing or WeightsDamaged for the engine's weights."""
        from engine.pipeline import Engine
        from engine.style.embedder import load_dynamics

        embedder: Embedder | EngineError
        try:
            embedder = load_dynamics(settings)
        except EngineError as error:
            embedder = error
        cut_faces = not isinstance(embedder, EngineError)

        def load(method: Method) -> Engine:
            return Engine.load(settings, method, cut_faces=cut_faces)

        return cls(Engines(load(Method()), load), embedder, GalleryClient(settings), settings.data_dir)

    def analyse(
        self,
        path: Path,
        name: str,
        question: AnalysisRequest,
        on_step: OnStep = lambda name, completed, total: None,
        sha256: str | None = None,
    ) -> AnalysisResult:
        """Extract features once and compute all results; raise EngineError for a bad file or missing method.

        `sha256` is the hash of the file if it is known.
        """
        engine = self._engines.get(find_method(question.method, self._data_dir))
        self._calibrate(engine)
        parts = read_parts(
            engine.extractor,
            path,
            question.selection,
            on_step,
            sha256,
            keep_audio=question.language is not None,
            only_first=engine.scorer.mode == Mode.PAPER,
        )
        return join_results(
            [self._analyse_part(engine, replace(features, name=name), question, on_step) for features in parts]
        )

    def _analyse_part(
        self, engine: "Engine", features: "ClipFeatures", question: AnalysisRequest, on_step: OnStep
    ) -> AnalysisResult:
        """Compute all results of one part of a recording."""
        analysis = engine.judge(features, on_step)
        faces: tuple[FaceEmbedding, ...] = ()
        searches = verifications = error = None
        try:
            faces = self._embed_faces(engine, features, on_step)
            searches, verifications = self._gallery.query(faces, question, on_step)
        except EngineError as cause:
            error = JobError.of(cause)
        shown = replace(features, tracks=engine.scorer.choose_faces(features))
        articulations, lips_error = self._check_lips(shown, question, on_step)
        return AnalysisResult(
            analysis, faces, searches, verifications, error, Traces.of(shown), articulations, lips_error
        )

    def _check_lips(
        self, features: "ClipFeatures", question: AnalysisRequest, on_step: OnStep
    ) -> tuple[tuple[ArticulationReport, ...] | None, JobError | None]:
        if question.language is None:
            return None, None
        try:
            return self._lips.check(features, question.language, on_step), None
        except EngineError as cause:
            return None, JobError.of(cause)

    def _calibrate(self, engine: "Engine") -> None:
        """Reload the calibrations in force: a user may have approved or retired a record since the last file."""
        try:
            kept = self._gallery.read_calibrations()
        except EngineError:  # a retired record cannot be ruled out, so scores stay raw
            engine.calibrate(None)
        else:
            engine.calibrate(kept)

    def _embed_faces(self, engine: "Engine", features: "ClipFeatures", on_step: OnStep) -> tuple[FaceEmbedding, ...]:
        from engine.style.clip_embeddings import ClipEmbedder

        if isinstance(self._embedder, EngineError):
            raise self._embedder
        on_step("embed", 0, 1)
        faces = ClipEmbedder(engine.extractor, self._embedder, lambda: engine).embed_faces(features)
        on_step("embed", 1, 1)
        return faces


def join_results(parts: Sequence[AnalysisResult]) -> AnalysisResult:
    """Join the results of the parts of a recording, in order."""
    if len(parts) == 1:
        return parts[0]
    n_before = [sum(len(part.analysis.tracks) for part in parts[:number]) for number in range(len(parts))]
    return AnalysisResult(
        join_analyses([part.analysis for part in parts]),
        tuple(
            replace(face, face=face.face + before)
            for part, before in zip(parts, n_before, strict=True)
            for face in part.faces
        ),
        _chain([part.searches for part in parts]),
        _chain([part.verifications for part in parts]),
        next((part.speakers_error for part in parts if part.speakers_error), None),
        Traces.join([part.traces for part in parts if part.traces]),
        _chain([part.articulations for part in parts]),
        next((part.articulations_error for part in parts if part.articulations_error), None),
    )


def _chain(parts: Sequence[tuple[Item, ...] | None]) -> tuple[Item, ...] | None:
    """Return all items of the parts; None where those of a part are missing."""
    known = [part for part in parts if part is not None]
    return tuple(item for part in known for item in part) if len(known) == len(parts) else None
