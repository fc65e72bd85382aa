"""Main face of a source clip, or the reason of its refusal."""

from pathlib import Path

import numpy as np
import pytest

from engine.datasets.manifest import Row
from engine.errors import Code, NotForgeable
from engine.forging.source_clips import SourceClip, load_source_clip, smooth
from engine.types import FPS, SAMPLE_RATE
from tests.clips import Film, write_clip
from tests.engine.forging.actors import Part, draw_astronaut, film, load_nets
from tests.raising import raises


@pytest.fixture(scope="module")
def take(tmp_path_factory: pytest.TempPathFactory) -> SourceClip:
    path = film(tmp_path_factory.mktemp("takes") / "one.mp4", draw_astronaut())
    return load_source_clip(Row(1, path, "real", speaker="astronaut", written="one.mp4"), load_nets())


def test_a_take_spans_the_face_at_the_clips_rate(take: SourceClip) -> None:
    assert take.rate == FPS and len(take) == 35 and take.size_px == (256, 256)
    assert take.sound is not None and len(take.sound.samples) == round(35 / 25 * SAMPLE_RATE)
    assert len(list(take.read_images())) == 35
    assert len(take.outline_faces()) == 35


def test_the_still_is_the_most_neutral_frame_with_its_landmarks(take: SourceClip) -> None:
    best = int(take.neutral[0])
    images = list(take.read_images())
    assert np.array_equal(take.still.image, images[best])
    assert np.allclose(take.still.landmarks, take.landmarks[best], atol=1e-3)
    assert take.motion.lids[best].mean() > 0.8, "the eyes are open"
    assert not 12 <= best <= 14, "it blinks there"


def test_smoothing_takes_the_tremor_and_leaves_the_closure() -> None:
    chance, times = np.random.default_rng(0), np.arange(60)
    closing = np.clip(np.abs(times - 30) / 4, 0, 1)[:, None, None] * np.ones((1, 478, 3))
    trembling = closing + 0.1 * chance.normal(size=closing.shape)
    still = smooth(trembling)
    assert (still - closing)[:25].std() < 0.085
    assert np.abs(smooth(closing) - closing).max() < 0.06
    assert smooth(trembling[:3]).shape == (3, 478, 3)


def test_a_clip_without_a_face_is_refused_by_name(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "bar.mp4", Film())
    with pytest.raises(NotForgeable, match=r"No face is seen in bar\.mp4"):
        load_source_clip(Row(1, path, "real", written="bar.mp4"), load_nets())


def test_a_face_that_is_seen_too_briefly_is_refused(tmp_path: Path) -> None:
    path = film(tmp_path / "brief.mp4", draw_astronaut(), Part(seconds=0.8))
    with pytest.raises(NotForgeable, match=r"0\.80 s"):
        load_source_clip(Row(1, path, "real", written="brief.mp4"), load_nets())


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with raises(Code.UNREADABLE_VIDEO):
        load_source_clip(Row(1, tmp_path / "text.mp4", "real"), load_nets())


def test_a_face_from_the_side_is_not_drawn(take: SourceClip, monkeypatch: pytest.MonkeyPatch) -> None:
    take.check_frontal()
    monkeypatch.setattr("engine.forging.source_clips.MAX_TURN_DEG", 0.5)
    with pytest.raises(NotForgeable, match="turned away"):
        take.check_frontal()
