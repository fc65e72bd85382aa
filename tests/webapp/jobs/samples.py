"""Jobs for tests: submitted files, and results made without networks."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from engine.settings import QueueLimits, Settings
from engine.style.records import FaceEmbedding
from engine.types import DynamicEmbedding
from gallery_db.records import Candidate, SampleSimilarity, Search, SearchReason, Speaker, Verification
from tests.fakes import make_analysis, make_report, make_second
from webapp.analysis.analyser import AnalysisResult
from webapp.analysis.records import AnalysisRequest
from webapp.analysis.signals import FaceTrace, Traces
from webapp.jobs.records import Job, NewJob
from webapp.jobs.store import JobStore

ANY_DISK = QueueLimits(min_free_share=0.0)
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Clock:
    """Clock that stands still until turned."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def turn(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def make_settings(folder: Path, limits: QueueLimits = ANY_DISK) -> Settings:
    return Settings(folder / "data", queue=limits)


def write_file(folder: Path, name: str = "clip.mp4", content: bytes = b"not decoded") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def submit(store: JobStore, folder: Path, name: str = "clip.mp4", owner: str = "ada", **fields: object) -> Job:
    question = fields.pop("question", AnalysisRequest())
    path = write_file(folder, name, name.encode())
    return store.enqueue(NewJob(owner, name, question, path, **fields))  # type: ignore[arg-type]


def hash_bytes(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def make_sighting(face: int = 0, name: str = "drawn.mp4") -> FaceEmbedding:
    rng = np.random.default_rng(face)
    vector = rng.normal(size=16)
    embedding = DynamicEmbedding(
        (vector / np.linalg.norm(vector)).astype(np.float32), 9.123456789, 0.1, "fake-dynamics", 3, 2.5, True
    )
    picture = rng.integers(0, 255, (96, 96, 3)).astype(np.uint8)
    return FaceEmbedding(name, "ab" * 32, face, 0.04, 10.0, 8.7654321, 164.5, picture, embedding)


def make_search(*people: tuple[int, str]) -> Search:
    candidates = tuple(Candidate(one, name, 0.71, 0.71, None, 2, 25.5, False) for one, name in people)
    return Search(candidates, None, (SearchReason.UNCALIBRATED,), max(len(people), 2), "fake-dynamics", None, "exact")


def make_verification(speaker_id: int = 7, name: str = "Ada") -> Verification:
    speaker = Speaker(speaker_id, name, 2, 25.5, False, START, START + timedelta(days=30))
    samples = (SampleSimilarity(3, "ada1.mp4", 0.81), SampleSimilarity(4, "ada2.mp4", 0.7))
    reasons = (SearchReason.UNCALIBRATED,)
    return Verification(speaker, 0.76, 0.76, None, None, reasons, samples, "fake-dynamics", None)


def make_traces() -> Traces:
    rng = np.random.default_rng(0)
    bands = rng.normal(size=(1000, 40)).astype(np.float16)
    face = FaceTrace(0, rng.random(250).astype(np.float32), np.ones(250, bool))
    return Traces(bands, np.ones(250, bool), np.ones(250, bool), (face, face))


def make_result(name: str = "drawn.mp4") -> AnalysisResult:
    """Make a result with two faces, one scored by a second model, a search and a verification."""
    analysis = make_analysis(replace(make_report(0.4, 2), second=make_second()), make_report(None), name=name)
    pictures = [make_sighting(face).thumbnail for face in range(2)]
    tracks = tuple(replace(one, thumbnail=picture) for one, picture in zip(analysis.tracks, pictures, strict=True))
    faces = (make_sighting(0, name), make_sighting(1, name))
    searches = (make_search((7, "Ada"), (9, "Ben")), make_search((9, "Ben")))
    verifications = (make_verification(), make_verification())
    return AnalysisResult(replace(analysis, tracks=tracks), faces, searches, verifications, None, make_traces())
