"""Faces and crops do not depend on the number of workers, nor on the order in which segments finish."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest

from engine.faces import segments
from engine.faces.face_crops import CropPlan, cut_crops, plan_faces
from engine.faces.landmarker import FaceNets, Mesh, Region
from engine.faces.orientation import FrameSample, turn_image
from engine.faces.segments import LEAD
from engine.faces.tracking import FaceOptions, Faces, track_faces
from engine.features import passes
from engine.features.extractor import FeatureExtractor
from engine.features.passes import FaceTracker, cut_clip, limit_workers, turn_clip
from engine.media.clip import open_clip
from engine.media.frames import FrameSource
from engine.types import FPS, Clip, FaceTrack, Frame, MediaReport, Reason
from tests.fakes import FakeNets, FakeVoice, make_clip, make_mouth

N_FRAMES, PX = 10 * FPS, 80
FIRST, SPLICE = 100, 100 + LEAD  # of the second segment
WORKERS = (1, 2, 3, 8)
FILMS = {  # frames without the first face, shot cuts, frames that the file lacks
    "steady": ((), (), ()),
    "cut at the splice": ((), (SPLICE,), ()),
    "cut before the splice": ((), (SPLICE - 1,), ()),
    "cut behind the splice": ((), (SPLICE + 1,), ()),
    "cut where a segment is read first": ((), (FIRST, 2 * FIRST), ()),
    "face missing over the splice": (range(SPLICE - 7, SPLICE + 5), (), ()),
    "face missing for long": (range(SPLICE - 15, SPLICE + 15), (), ()),
    "repeated frames": (
        (),
        (),
        (*range(FIRST - 2, FIRST + 3), *range(SPLICE - 2, SPLICE + 3), 2 * FIRST, 2 * FIRST + LEAD),
    ),
}

pytestmark = pytest.mark.timeout(300)


class SettlingNets(FakeNets):
    """Landmarks that follow those of the frame before, by half of what they are off."""

    def place_landmarks(self, image: np.ndarray, region: Region) -> Mesh:
        mesh = super().place_landmarks(image, region)
        middle = (mesh.landmarks[:, :2].min(0) + mesh.landmarks[:, :2].max(0)) / 2
        shift = np.append((region.centre - middle) / 2 + 0.02 * image[0, 0, 1], 0)
        return Mesh(mesh.presence, (mesh.landmarks + shift).astype(np.float32))


class GreenCover:
    """Takes a mouth for covered where the lower face is green."""

    def detect(self, patches: np.ndarray) -> np.ndarray:
        return (patches[..., 1].mean((1, 2)) - 20) / 10  # type: ignore[no-any-return]


@pytest.fixture
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of 4 s, so that short films have three."""
    monkeypatch.setattr(segments, "SEGMENT", FIRST)
    monkeypatch.setattr(segments, "MIN_TAIL", 40)


def write_film(
    path: Path, hidden: Iterable[int], cuts: tuple[int, ...], missing: Iterable[int], n_frames: int = N_FRAMES
) -> Path:
    """Two drawn faces, with a key frame every 2 s."""
    mouths = [make_mouth(n_frames), make_mouth(n_frames, seed=1)]
    mouths[0][list(hidden)] = np.nan
    drawn, missing = make_clip(mouths, None, cuts=cuts, frame_px=PX), set(missing)
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "crf": "12", "g": "50", "bf": "2"}
        video = container.add_stream("libx264", FPS, options=options)
        video.width, video.height, video.pix_fmt = 2 * PX, PX, "yuv420p"
        for shown in drawn.read_frames():
            if shown.index not in missing:
                frame = av.VideoFrame.from_ndarray(shown.image, "rgb24")
                frame.pts = shown.index
                container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Clip]:
    folder = tmp_path_factory.mktemp("segments")
    made: dict[str, Clip] = {}

    def open_film(name: str) -> Clip:
        if name not in made:
            made[name] = open_clip(write_film(folder / f"{len(made)}.mp4", *FILMS[name]))
        return made[name]

    return open_film


@pytest.fixture
def film(films: Callable[[str], Clip], short_segments: None) -> Callable[[str], Clip]:
    return films


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No thread and no open file of a decoder stays."""
    before = set(threading.enumerate()), count_files()
    yield
    assert not set(threading.enumerate()) - before[0]
    assert count_files() <= before[1] + 1  # the first test starts the server of decoders


def count_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


def track(
    clip: Clip,
    workers: int,
    nets: object = None,
    on_frames: Callable[[int], None] = lambda count: None,
) -> tuple[Faces, tuple[Reason, ...], FrameSample]:
    sample = FrameSample(clip.n_frames)
    tracker = FaceTracker(cast(FaceNets, nets or SettlingNets()), FaceOptions(), GreenCover(), workers)
    return *tracker.track(clip, sample, on_frames), sample


def to_bytes(faces: Faces, but: tuple[str, ...] = ()) -> list[Any]:
    names = [field.name for field in fields(FaceTrack) if field.name not in but]
    tracks = [[getattr(one, name) for name in names] for one in faces.tracks]
    values = [[value.tobytes() if isinstance(value, np.ndarray) else value for value in one] for one in tracks]
    return [values, faces.cuts, faces.left_out]


def change(clip: Clip, call: Callable[[Frame], Frame]) -> Clip:
    assert isinstance(clip.read_frames, FrameSource)
    return replace(clip, read_frames=replace(clip.read_frames, change=call))


@pytest.mark.parametrize("name", ["steady", "cut at the splice", "repeated frames"])
def test_faces_are_the_same_for_any_number_of_workers(film: Callable[[str], Clip], name: str) -> None:
    clip = film(name)
    first, reasons, sample = track(clip, WORKERS[0])
    assert sum(len(one.boxes) for one in first.tracks) == 2 * N_FRAMES
    assert any(one.covered.any() for one in first.tracks)
    for workers in WORKERS[1:]:
        faces, others, other = track(clip, workers)
        assert to_bytes(faces) == to_bytes(first) and others == reasons
        np.testing.assert_array_equal(other.images, sample.images)


@pytest.mark.parametrize("name", sorted(FILMS))
def test_joined_faces_are_those_of_the_whole_where_no_frame_depends_on_the_one_before(
    film: Callable[[str], Clip], name: str
) -> None:
    clip = film(name)
    whole = track_faces(clip.read_frames(), cast(FaceNets, FakeNets()), cover=GreenCover())
    faces, reasons, sample = track(clip, 2, FakeNets())
    # patches of the mouth are cut every fifth row of a track, from its first in this segment on
    is_shifted = name in ("cut before the splice", "cut behind the splice", "repeated frames")
    but = ("covered", "cover_log_odds") if is_shifted else ()
    assert to_bytes(faces, but) == to_bytes(whole, but)
    assert faces.cuts == FILMS[name][1] and reasons == ()
    assert len(faces.tracks) == {"steady": 2, "cut where a segment is read first": 6, "repeated frames": 2}.get(
        name, 2 if "over" in name else 3 if "long" in name else 4
    )
    images = [frame.image for frame in clip.read_frames() if frame.index % 20 == 0]
    np.testing.assert_array_equal(sample.images, images)


def test_49_s_are_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    clip = open_clip(write_film(tmp_path / "long.mp4", range(510, 520), (1015,), (), 49 * FPS))
    assert [one.start for one in passes._plan(clip)] == [0, 515, 1015]
    first = to_bytes(track(clip, 1)[0])
    assert len(first[0]) == 4
    assert all(to_bytes(track(clip, workers)[0]) == first for workers in (2, 3, 8))


def test_a_short_clip_is_one_segment_and_as_tracked_before(films: Callable[[str], Clip]) -> None:
    clip = films("steady")
    whole = track_faces(clip.read_frames(), cast(FaceNets, SettlingNets()), cover=GreenCover())
    assert len(passes._plan(clip)) == 1
    assert to_bytes(track(clip, 2)[0]) == to_bytes(whole)


def test_a_first_segment_that_ends_last_changes_nothing(film: Callable[[str], Clip]) -> None:
    last_read = threading.Event()

    def wait(frame: Frame) -> Frame:
        if frame.index == N_FRAMES - 1:
            last_read.set()
        if frame.index == 10:
            assert last_read.wait(120)
        return frame

    clip = film("steady")
    assert to_bytes(track(change(clip, wait), 3)[0]) == to_bytes(track(clip, 1)[0])


@pytest.mark.parametrize("workers", [1, 3])
def test_every_frame_of_the_clip_is_reported_once(film: Callable[[str], Clip], workers: int) -> None:
    counts: list[int] = []
    track(film("steady"), workers, FakeNets(), counts.append)
    assert counts == list(range(1, N_FRAMES + 1))


@pytest.mark.parametrize("workers", [1, 3])
def test_a_cancelled_run_leaves_nothing(film: Callable[[str], Clip], workers: int) -> None:
    def cancel(count: int) -> None:
        if count == 40:
            raise KeyboardInterrupt

    clip = film("steady")
    before = count_files()
    with pytest.raises(KeyboardInterrupt):
        track(clip, workers, FakeNets(), cancel)
    assert count_files() == before


def test_the_error_of_the_first_segment_that_fails_is_raised(film: Callable[[str], Clip]) -> None:
    late_failed = threading.Event()

    def fail(frame: Frame) -> Frame:
        if frame.index == 230:
            late_failed.set()
            raise ValueError("the third segment")
        if frame.index == 180:
            assert late_failed.wait(120)
            raise ValueError("the second segment")
        return frame

    with pytest.raises(ValueError, match="the second segment"):
        track(change(film("steady"), fail), 3, FakeNets())


def make_plans(faces: Faces) -> list[CropPlan]:
    return [plan_faces(one) for one in faces.tracks]


@pytest.mark.parametrize("name", ["steady", "face missing for long"])
def test_crops_are_the_same_for_any_number_of_workers(film: Callable[[str], Clip], name: str) -> None:
    clip = film(name)
    plans = make_plans(track(clip, 2, FakeNets())[0])
    whole = cut_crops(clip.read_frames(), plans)
    for workers in (1, 3):
        counts: list[int] = []
        crops = cut_clip(clip, plans, workers, counts.append)
        assert [one.tobytes() for one in crops] == [one.tobytes() for one in whole]
        assert counts == list(range(1, N_FRAMES + 1))


def test_frames_behind_the_last_crop_are_not_read(film: Callable[[str], Clip]) -> None:
    read: list[int] = []

    def note(frame: Frame) -> Frame:
        read.append(frame.index)
        return frame

    clip = film("steady")
    plan = make_plans(track(clip, 2, FakeNets())[0])[0]
    short = replace(plan, transforms=plan.transforms[:130])
    counts: list[int] = []
    (crops,) = cut_clip(change(clip, note), [short], 2, counts.append)
    assert sorted(read) == list(range(130)) and counts == list(range(1, 131))
    np.testing.assert_array_equal(crops, cut_crops(clip.read_frames(), [short])[0])
    assert cut_clip(clip, [], 2, counts.append) == []


def test_frames_that_come_from_no_file_are_read_once_from_the_first_on() -> None:
    mouths = [make_mouth(1000)]
    drawn, opened = make_clip(mouths, None, frame_px=PX, late_reasons=(Reason.TRUNCATED,)), []

    def read() -> Iterator[Frame]:
        opened.append(1)
        return drawn.read_frames()

    faces, reasons, _ = track(replace(drawn, read_frames=read), 3, FakeNets())
    assert opened == [1] and reasons == (Reason.TRUNCATED,)
    assert [(one.start, one.end) for one in faces.tracks] == [(0, 1000)]


def test_a_turned_clip_is_read_by_segments_too(film: Callable[[str], Clip]) -> None:
    clip = film("steady")
    turned = turn_clip(clip, 90)
    assert turned.size_px == clip.size_px[::-1] and turned.media.rotation_deg == 90
    assert len(passes._plan(turned)) == 3
    for frame, other in zip(passes._read(turned, 98, 103), passes._read(clip, 98, 103), strict=True):
        assert (frame.index, frame.is_new) == (other.index, other.is_new)
        np.testing.assert_array_equal(frame.image, turn_image(other.image, 90))
    drawn = turn_clip(make_clip([make_mouth(3)], None), 180)
    assert [frame.index for frame in drawn.read_frames()] == [0, 1, 2]


def test_a_recording_stored_turned_is_turned_alike_by_any_number_of_workers(film: Callable[[str], Clip]) -> None:
    """Where `FakeNets` finds no face the frames are turned, from a sample of all segments, and tracked again."""
    stored = turn_clip(film("face missing for long"), 90)
    found = []
    for workers in (1, 3):
        extractor = FeatureExtractor(cast(FaceNets, FakeNets()), FakeVoice(), "seen", workers=workers, cut_faces=True)
        found.append(extractor.extract_clip(replace(stored, media=MediaReport())))
    one, other = found
    assert Reason.ROTATED in one.reasons and one.media.rotation_deg == 90
    assert len(one.tracks) == len(other.tracks) == 3
    for track_of_one, track_of_other in zip(one.tracks, other.tracks, strict=True):
        assert track_of_one.lips.tobytes() == track_of_other.lips.tobytes()
        assert track_of_one.faces is not None and track_of_other.faces is not None
        assert track_of_one.faces.pictures.tobytes() == track_of_other.faces.pictures.tobytes()


def test_large_frames_are_read_by_fewer_workers(film: Callable[[str], Clip]) -> None:
    clip = film("steady")
    assert limit_workers(64, clip) == 64
    assert limit_workers(64, replace(clip, size_px=(1280, 720))) == 48
    assert limit_workers(64, replace(clip, size_px=(3840, 2160))) == 5
    assert limit_workers(64, replace(clip, size_px=(30_000, 30_000))) == 1
