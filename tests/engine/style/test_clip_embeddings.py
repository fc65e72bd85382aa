"""Embeddings of the faces of a clip, and the choice of the speaker for an enrolment."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.errors import Code
from engine.features.records import AudioFeatures, ClipFeatures, FaceFeatures
from engine.style.clip_embeddings import ClipEmbedder
from engine.style.embedder import Nature
from engine.types import Analysis, DynamicEmbedding, OnStep, Reason
from tests.fakes import make_analysis, make_report
from tests.raising import raises
from webapp.analysis.gallery_queries import to_sample
from webapp.errors import WebCode

CLIP = Path("talk.mp4")


def draw_track(start: int = 0, n_frames: int = 100, seed: int = 0) -> FaceFeatures:
    """A face with its seed as motion."""
    rows = np.zeros((n_frames, 1), np.float32)
    picture = np.full((96, 96, 3), (200, 40, 10 * seed), np.uint8)
    motion = np.full((n_frames, 1), seed, np.float32)
    return FaceFeatures(start, rows, np.ones(n_frames, bool), rows[:, 0], 120.0, picture, motion)


def make_features(*tracks: FaceFeatures, voiced: slice = slice(None)) -> ClipFeatures:
    heard = np.zeros(1000, bool)
    heard[voiced] = True
    sound = AudioFeatures(np.zeros((1000, 160), np.float32), heard, np.ones(1000, bool), -20.0)
    return ClipFeatures(CLIP.name, "ab" * 32, 1000, (640, 480), 25.0, (), sound, tracks, (), {})


class FakeExtractor:
    """Returns given features."""

    recipe = "fake"

    def __init__(self, seen: ClipFeatures):
        self.seen = seen

    def extract(self, path: Path, on_step: OnStep = lambda name, completed, total: None) -> ClipFeatures:
        on_step("read", 1, 1)
        return replace(self.seen, name=path.name)


class FakeEmbedder:
    """Returns a distinct direction for each face; None for less than a second."""

    recipe, nature = "fake-dynamics", Nature(0.0, 1.0, 1.0)

    def embed(self, observation: ClipFeatures, track: FaceFeatures) -> DynamicEmbedding | None:
        if len(track.seen) < 25:
            return None
        vector = np.eye(8, dtype=np.float32)[int(track.motion[0, 0])]
        return DynamicEmbedding(vector, len(track.seen) / 25, 0.1, self.recipe, 3, 2.0, True)


class FakeJudge:
    """Returns given scores for the faces of a clip."""

    def __init__(self, scores: Sequence[float | None], reasons: Sequence[Reason | None] = ()):
        reports = [
            make_report(score, 1, *([reason] if reason else []))
            for score, reason in zip(scores, [*reasons, *[None] * (len(scores) - len(reasons))], strict=True)
        ]
        self.analysis = make_analysis(*reports)

    def judge(self, seen: ClipFeatures) -> Analysis:
        assert len(seen.tracks) == len(self.analysis.tracks)
        return self.analysis


def never() -> FakeJudge:
    raise AssertionError("no judge was needed")


def make_embedder(seen: ClipFeatures, load_judge: Callable[[], FakeJudge] = never) -> ClipEmbedder:
    return ClipEmbedder(FakeExtractor(seen), FakeEmbedder(), load_judge)


def test_every_face_has_its_time_and_number() -> None:
    embedder = make_embedder(make_features(draw_track(0, 10, 1), draw_track(50, 100, 2), draw_track(500, 30, 3)))
    found = embedder.embed_clip(CLIP)
    assert [(one.face, one.start_s, one.end_s) for one in found] == [(1, 2.0, 6.0), (2, 20.0, 21.2)]
    assert [int(one.embedding.vector.argmax()) for one in found] == [2, 3]
    assert {(one.name, one.sha256, one.face_px) for one in found} == {("talk.mp4", "ab" * 32, 120.0)}
    assert embedder.recipe == "fake-dynamics"


@pytest.mark.parametrize("tracks", [(), (draw_track(0, 24),)])
def test_a_clip_without_a_face_for_a_second_is_refused(tracks: tuple[FaceFeatures, ...]) -> None:
    embedder = make_embedder(make_features(*tracks))
    for embed in (embedder.embed_clip, embedder.find_speaker):
        with raises(Code.NOBODY_SEEN, match=r"talk\.mp4"):
            embed(CLIP)


def test_one_face_is_the_speaker_and_a_bystander_does_not_count() -> None:
    embedder = make_embedder(make_features(draw_track(0, 300, 1), draw_track(10, 29, 2)))
    assert embedder.find_speaker(CLIP).face == 0


@pytest.mark.parametrize(
    ("scores", "reasons", "speaker"),
    [
        ([0.6, 0.1], [], 0),
        ([0.1, 0.6], [Reason.MULTI_FACE], 1),
        ([0.36, None], [], 0),
        ([0.6, 0.6], [], None),
        ([0.6, 0.6], [Reason.MULTI_FACE], 1),
        ([0.6, 0.55], [Reason.MULTI_FACE, Reason.MULTI_FACE], None),
        ([0.3, 0.1], [], None),
        ([None, None], [], None),
    ],
)
def test_of_several_faces_the_one_whose_mouth_clearly_fits_the_voice_is_taken(
    scores: list[float | None], reasons: list[Reason], speaker: int | None
) -> None:
    seen = make_features(draw_track(0, 100, 1), draw_track(0, 90, 2))
    embedder = make_embedder(seen, lambda: FakeJudge(scores, reasons))
    if speaker is None:
        with raises(Code.MANY_FACES, match="2 faces are seen"):
            embedder.find_speaker(CLIP)
    else:
        assert embedder.find_speaker(CLIP).face == speaker


def test_scorer_is_loaded_once_when_needed() -> None:
    loaded = []

    def load() -> FakeJudge:
        loaded.append(1)
        return FakeJudge([0.6, 0.1])

    embedder = make_embedder(make_features(draw_track(0, 100, 1), draw_track(0, 90, 2)), load)
    embedder.embed_clip(CLIP)
    assert loaded == []
    assert [embedder.find_speaker(CLIP).face for _ in range(2)] == [0, 0] and loaded == [1]


def test_without_sound_all_the_time_that_the_face_is_seen_counts() -> None:
    seen = make_features(draw_track(100, 400, 1), voiced=slice(0, 0))
    silent = replace(seen, audio=replace(seen.audio, present=np.zeros_like(seen.audio.present)))
    (mute,) = make_embedder(silent).embed_clip(CLIP)
    assert not mute.has_sound and to_sample(mute).embedding.seconds == mute.speech_s == 16.0
    (unspoken,) = make_embedder(seen).embed_clip(CLIP)
    assert unspoken.has_sound and unspoken.speech_s == 0


def test_a_sample_counts_the_seconds_with_speech() -> None:
    seen = make_features(draw_track(100, 400, 1), voiced=slice(0, 300))
    (face,) = make_embedder(seen).embed_clip(CLIP)
    sample = to_sample(face, "monday")
    assert (face.embedding.seconds, face.speech_s, sample.embedding.seconds) == (16.0, 8.0, 8.0)
    assert (sample.source_name, sample.source_hash, sample.session) == ("talk.mp4", "ab" * 32, "monday")
    assert sample.thumbnail is not None and sample.face_px == 120.0
    picture = cv2.imdecode(np.frombuffer(sample.thumbnail, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and np.abs(picture[40, 40].astype(int) - (10, 40, 200)).max() < 8  # OpenCV: BGR


@pytest.mark.parametrize(("n_voiced", "is_enough"), [(24, False), (25, True), (0, False)])
def test_each_clip_requires_a_second_of_speech(n_voiced: int, is_enough: bool) -> None:
    (face,) = make_embedder(make_features(draw_track(0, 400, 1), voiced=slice(0, n_voiced))).embed_clip(CLIP)
    if is_enough:
        assert to_sample(face).embedding.seconds == 1.0
    else:
        with raises(WebCode.NOT_ENOUGH_SPEECH, match=r"talk\.mp4 has"):
            to_sample(face)


def test_steps_are_reported() -> None:
    found: list[str] = []
    make_embedder(make_features(draw_track())).embed_clip(CLIP, lambda name, completed, total: found.append(name))
    assert found == ["read"]
