"""Second pass: mouths of every face and of the first face, aligned faces; other features unchanged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.faces.face_crops import cut_face, place_faces, place_points
from engine.faces.landmark_features import describe_motion
from engine.faces.landmarker import FaceNets
from engine.faces.mouth_crops import crop_mouths
from engine.features import crop_plan, extractor
from engine.features.extractor import FeatureExtractor
from engine.features.passes import FaceTracker
from engine.features.records import ClipFeatures
from engine.settings import Settings
from engine.speech.filterbanks import filterbank_rows
from engine.types import Clip, FaceTrack
from tests.fakes import FakeNets, FakeVoice, make_clip, make_mouth, make_voice

MOUTH, OTHER = make_mouth(60), make_mouth(60, seed=1)
GAPPED = MOUTH.copy()
GAPPED[:10] = np.nan
FILE = Path("drawn.mp4")


@pytest.fixture
def extract_clip(monkeypatch: pytest.MonkeyPatch):
    def run(clip: Clip, cut_mouths: bool = True, cut_faces: bool = False, **steps) -> ClipFeatures:
        monkeypatch.setattr(extractor, "open_clip", lambda path, limits, sha256=None, selection=None: clip)
        made = FeatureExtractor(FakeNets(), FakeVoice(), "seen", cut_mouths=cut_mouths, cut_faces=cut_faces)  # type: ignore[arg-type]
        return made.extract(FILE, **steps)

    return run


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[FaceTrack]:
    """The face tracks behind an observation."""
    tracks: list[FaceTrack] = []
    track = FaceTracker.track

    def keep(*arguments):
        faces, reasons = track(*arguments)
        tracks[:] = faces.tracks
        return faces, reasons

    monkeypatch.setattr(FaceTracker, "track", keep)
    return tracks


def test_mouths_of_all_faces_are_those_of_each_alone(extract_clip, found) -> None:
    clip = make_clip([GAPPED, OTHER], make_voice(MOUTH))
    seen = extract_clip(clip)
    assert len(seen.tracks) == 2 and seen.has_mouths
    for track, own in zip(seen.tracks, found, strict=True):
        assert track.mouths.shape == (len(track.seen), 96, 96)
        np.testing.assert_array_equal(track.mouths, crop_mouths(clip.read_frames(), own).frames)


def test_first_face_of_one_face_throughout_is_that_face(extract_clip) -> None:
    seen = extract_clip(make_clip([MOUTH], make_voice(MOUTH)))
    np.testing.assert_array_equal(seen.first_mouths, seen.tracks[0].mouths)


def test_first_face_stands_still_before_it_comes(extract_clip) -> None:
    seen = extract_clip(make_clip([GAPPED], make_voice(MOUTH)))
    (track,) = seen.tracks
    assert track.start == 10 and len(seen.first_mouths) == 60
    np.testing.assert_array_equal(seen.first_mouths[10:], track.mouths)
    assert (seen.first_mouths[0] != seen.first_mouths[10]).any(), "the picture before the face shows no face"


def test_first_face_is_cut_for_50_seconds_alone(extract_clip, monkeypatch) -> None:
    monkeypatch.setattr(crop_plan, "MAX_FRAMES", 40)
    seen = extract_clip(make_clip([MOUTH], make_voice(MOUTH)))
    assert len(seen.first_mouths) == 40 and len(seen.tracks[0].mouths) == 60


def test_mouths_change_nothing_else(extract_clip) -> None:
    clip = make_clip([MOUTH], make_voice(MOUTH))
    plain, cut = extract_clip(clip, cut_mouths=False), extract_clip(clip)
    assert not plain.has_mouths and plain.tracks[0].mouths is None
    assert plain.first_mouths is None and plain.audio.filterbank is None
    np.testing.assert_array_equal(plain.tracks[0].lips, cut.tracks[0].lips)
    np.testing.assert_array_equal(plain.audio.rows, cut.audio.rows)
    np.testing.assert_array_equal(cut.audio.filterbank, filterbank_rows(clip.audio))


def test_a_clip_without_a_face_has_no_mouths_and_lacks_none(extract_clip) -> None:
    seen = extract_clip(make_clip([], make_voice(MOUTH), n_frames=60))
    assert seen.tracks == () and seen.first_mouths is None and seen.has_mouths


def test_the_second_pass_is_a_step_and_is_timed(extract_clip) -> None:
    result: list[tuple[str, int, int]] = []
    seen = extract_clip(make_clip([MOUTH], make_voice(MOUTH)), on_step=lambda *step: result.append(step))
    assert list(dict.fromkeys(name for name, _, _ in result)) == ["read", "speech", "faces", "lips", "mouths"]
    assert [done for name, done, _ in result if name == "mouths"] == [*range(61), 60]
    assert "mouths" in seen.timings_s


def test_the_pictures_are_streamed_twice_and_closed(extract_clip) -> None:
    clip, opened, closed = make_clip([MOUTH], make_voice(MOUTH)), [], []

    def read_frames():
        opened.append(1)
        try:
            yield from clip.read_frames()
        finally:
            closed.append(1)

    extract_clip(replace(clip, read_frames=read_frames))
    assert (len(opened), len(closed)) == (2, 2)


def test_faces_are_those_of_each_track_with_their_points(extract_clip, found) -> None:
    clip = make_clip([GAPPED, OTHER], make_voice(MOUTH))
    seen = extract_clip(clip, cut_mouths=False, cut_faces=True)
    assert len(seen.tracks) == 2 and seen.has_faces and not seen.has_mouths
    pictures = {frame.index: frame.image for frame in clip.read_frames()}
    for track, own in zip(seen.tracks, found, strict=True):
        transforms = place_faces(own.landmarks)
        wanted = [cut_face(pictures[own.start + row], transform) for row, transform in enumerate(transforms)]
        np.testing.assert_array_equal(track.faces.pictures, wanted)
        np.testing.assert_array_equal(track.faces.points, place_points(own.landmarks, transforms))
        assert track.faces.pictures.std() > 0


def test_mouths_and_faces_are_cut_in_one_pass_and_are_the_same(extract_clip) -> None:
    clip, opened = make_clip([GAPPED, OTHER], make_voice(MOUTH)), []

    def read_frames():
        opened.append(1)
        yield from clip.read_frames()

    both = extract_clip(replace(clip, read_frames=read_frames), cut_faces=True)
    assert len(opened) == 2
    mouths, faces = extract_clip(clip), extract_clip(clip, cut_mouths=False, cut_faces=True)
    np.testing.assert_array_equal(both.first_mouths, mouths.first_mouths)
    for track, one, other in zip(both.tracks, mouths.tracks, faces.tracks, strict=True):
        np.testing.assert_array_equal(track.mouths, one.mouths)
        np.testing.assert_array_equal(track.faces.pictures, other.faces.pictures)
        np.testing.assert_array_equal(track.motion, one.motion)
        assert one.faces is None and other.mouths is None


def test_motion_is_reported_with_any_crops(extract_clip, found) -> None:
    seen = extract_clip(make_clip([MOUTH], make_voice(MOUTH)), cut_mouths=False)
    [track] = seen.tracks
    np.testing.assert_array_equal(track.motion, describe_motion(found[0]))
    assert track.faces is None and not seen.has_faces


def test_a_clip_without_a_face_has_no_faces_and_lacks_none(extract_clip) -> None:
    seen = extract_clip(make_clip([], make_voice(MOUTH), n_frames=60), cut_faces=True)
    assert seen.tracks == () and seen.has_faces and seen.has_mouths


@pytest.mark.parametrize(("device", "expected"), [("auto", "cuda"), ("cpu", "cpu")])
def test_the_face_networks_are_loaded_onto_the_device_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, expected: str
) -> None:
    asked: list[dict[str, object]] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(FaceNets, "load", lambda path, **options: asked.append(options) or FakeNets())
    settings = Settings(tmp_path, device, compile_nets=True)
    on_device = FeatureExtractor.load(settings)
    assert asked == [{"device": expected, "compiles": True}]
    assert on_device.recipe == FeatureExtractor.load(Settings(tmp_path, "cpu")).recipe  # results are comparable
