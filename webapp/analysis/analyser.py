"""A file examined once for both questions: do face and voice belong together, and whose way of speaking is it.

The first answer never waits for the second: without a gallery, without anybody in it or without the embedder's weights
it is given all the same, and the examination says why the second is absent. Importing this module imports no torch.

The engines behind the page: the default one always, and of the others the last that was asked for.

The speech sounds of a job's file, held against the faces that were seen in it; only where that was asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.calibration.apply import find_calibration
from engine.calibration.records import Task
from engine.consistency.lip_closures import ArticulationReport, check_faces
from engine.consistency.methods import Method, list_methods
from engine.errors import EngineError
from engine.settings import Settings
from engine.speech.phonemes import SoundRecogniser
from engine.style.records import FaceEmbedding
from engine.types import Analysis, OnStep
from gallery_db.records import Search, Verification
from webapp.analysis.gallery_queries import GalleryClient
from webapp.analysis.records import AnalysisRequest, JobError
from webapp.analysis.signals import Traces

if TYPE_CHECKING:  # it imports torch
    from engine.pipeline import Engine


class Engines:
    """Loads an engine when its method is first asked for; one caller at a time.

    The default one takes little and stays. AV-HuBERT takes 0.4 GB (BASE) or 1.3 GB (LARGE) in float32, so of the others
    one is held, and let go before another is loaded.
    """

    def __init__(self, default: "Engine", load: Callable[[Method], "Engine"]):
        self._default, self._load = default, load
        self._other: tuple[Method, Engine] | None = None

    def take(self, method: Method) -> "Engine":
        """Give the engine of a method; EngineError where its weights cannot be loaded."""
        if method == Method():
            return self._default
        if self._other is None or self._other[0] != method:
            self._other = None  # first, so that two never stand in memory together
            self._other = (method, self._load(method))
        return self._other[1]


def find_method(title: str | None, data_dir: Path) -> Method:
    """Give the method of this title; EngineError where it is not, or no longer, among those that are there."""
    for method in list_methods(data_dir):
        if method.title == title:
            return method
    raise EngineError(f"The method {title!r} is not there.", "Reload the page, which lists the methods anew.")


if TYPE_CHECKING:
    from engine.features.records import ClipFeatures


class LipWatch:
    """Holds the recogniser of each language that was asked for; one file at a time."""

    def __init__(self, load: Callable[[str], SoundRecogniser] = SoundRecogniser.load):
        self._load = load
        self._held: dict[str, SoundRecogniser] = {}

    def watch(
        self,
        seen: "ClipFeatures",
        language: str,
        on_step: OnStep = lambda name, completed, total: None,
    ) -> tuple[ArticulationReport, ...]:
        """Hold each face of an observation against the sound that it kept; ValueError where it kept none.

        LANGUAGE_UNKNOWN, RECOGNISER_MISSING.
        """
        if seen.audio.samples is None:
            raise ValueError("the sound of this observation was not kept: extract with `keep_audio`")
        if language not in self._held:
            self._held[language] = self._load(language)
        return check_faces(self._held[language], seen.audio.samples, seen.audio.voiced, seen.tracks, None, on_step)


if TYPE_CHECKING:  # the page reads examinations and makes none
    from engine.features.records import ClipFeatures
    from engine.pipeline import Engine
    from engine.style.embedder import Embedder


@dataclass(frozen=True, slots=True, eq=False)
class AnalysisResult:
    """Both answers.

    Searches and verifications are as many as `faces`, in their order; None: not asked for, or absent, and then
    `speakers_error` says why.
    """

    analysis: Analysis
    faces: tuple[FaceEmbedding, ...]  # seen for a second at least, and embedded
    searches: tuple[Search, ...] | None = None
    verifications: tuple[Verification, ...] | None = None
    speakers_error: JobError | None = None  # why nobody was embedded, or the second answer is absent
    traces: Traces | None = None  # for the eye, of the analysis's tracks in their order
    articulations: tuple[ArticulationReport, ...] | None = None  # of these tracks; None: not asked for, or absent
    articulations_error: JobError | None = None  # why they are absent

    @property
    def speaker_ids(self) -> tuple[int, ...]:
        """Everybody enrolled whom it names."""
        found = [one.speaker_id for search in self.searches or () for one in search.candidates]
        return tuple(sorted({*found, *(one.speaker.id for one in self.verifications or ())}))


class Analyser:
    """Holds the networks; one file at a time. An `on_step` that raises ends the examination."""

    def __init__(self, engines: Engines, embedder: "Embedder | EngineError", asker: GalleryClient, data_dir: Path):
        """In the place of an embedder, an EngineError says why there is none."""
        self._lip_watch = LipWatch()
        self._engines, self._embedder, self._asker, self._data_dir = engines, embedder, asker, data_dir

    @classmethod
    def load(cls, settings: Settings) -> "Analyser":
        """Load the default engine and the embedder; WeightsMissing and WeightsDamaged where the engine's are."""
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

    def examine(
        self,
        path: Path,
        name: str,
        question: AnalysisRequest,
        on_step: OnStep = lambda name, completed, total: None,
        sha256: str | None = None,
    ) -> AnalysisResult:
        """Observe once, and answer; EngineError where the file cannot be read, or the method is not there.

        `sha256` is the hash of the file where it is known.
        """
        engine = self._engines.take(find_method(question.method, self._data_dir))
        listens = question.language is not None
        seen = replace(engine.extractor.extract(path, on_step, sha256, keep_audio=listens), name=name)
        self._calibrate(engine)
        analysis = engine.judge(seen, on_step)
        faces: tuple[FaceEmbedding, ...] = ()
        searches = verifications = error = None
        try:
            faces = self._tell_faces(engine, seen, on_step)
            searches, verifications = self._asker.ask(faces, question, on_step)
        except EngineError as why:
            error = JobError.of(why)
        shown = replace(seen, tracks=engine.expert.choose_faces(seen))
        articulations, lack = self._watch_lips(shown, question, on_step)
        return AnalysisResult(analysis, faces, searches, verifications, error, Traces.of(shown), articulations, lack)

    def _watch_lips(
        self, seen: "ClipFeatures", question: AnalysisRequest, on_step: OnStep
    ) -> tuple[tuple[ArticulationReport, ...] | None, JobError | None]:
        if question.language is None:
            return None, None
        try:
            return self._lip_watch.watch(seen, question.language, on_step), None
        except EngineError as why:
            return None, JobError.of(why)

    def _calibrate(self, engine: "Engine") -> None:
        """Put in force what is: users may have approved or retired a record since the last file."""
        try:
            kept = self._asker.read_calibrations()
        except EngineError:  # what may have been retired is not known, so scores stay raw
            engine.calibration = None
        else:
            engine.calibration = find_calibration(Task.CONSISTENCY, engine.expert.recipe, kept)

    def _tell_faces(self, engine: "Engine", seen: "ClipFeatures", on_step: OnStep) -> tuple[FaceEmbedding, ...]:
        from engine.style.clip_embeddings import ClipEmbedder

        if isinstance(self._embedder, EngineError):
            raise self._embedder
        on_step("embed", 0, 1)
        faces = ClipEmbedder(engine.extractor, self._embedder, lambda: engine).tell_faces(seen)
        on_step("embed", 1, 1)
        return faces
