"""Invariance of the score to holes: silence, room tone, held pictures and cards put into the drawn example.

Most holes are made in the features, where that is exact; the voice detector runs on the changed sound.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from engine.features.records import ClipFeatures, FaceFeatures, extract_audio
from engine.media.clip import open_clip
from engine.pipeline import Engine
from engine.types import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, Clip, ConsistencyReport, Reason, Status
from tests.examples import draw_examples

Case = tuple[Clip, ClipFeatures, ConsistencyReport]
SHARED = Path(__file__).parents[2] / ".." / "shared"
FIXTURES, CLIPS = SHARED / "design" / "fixtures", SHARED / "data" / "clips"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_examples(tmp_path_factory.mktemp("examples"))[0]


@pytest.fixture(scope="module")
def case(engine: Engine, drawn: Path) -> Case:
    clip = open_clip(drawn)
    features = engine.extractor.extract_clip(clip)
    return clip, features, only(engine, features)


def only(engine: Engine, features: ClipFeatures) -> ConsistencyReport:
    (track,) = engine.judge(features).tracks
    return track.consistency


def draw_tone(n_frames: int) -> np.ndarray:
    """Room tone at -60 dBFS."""
    noise = np.random.default_rng(4).normal(size=n_frames * SAMPLES_PER_FRAME)
    return (noise / 1000).astype(np.float32)


def draw_silence(n_frames: int) -> np.ndarray:
    return np.zeros(n_frames * SAMPLES_PER_FRAME, np.float32)


def hear(engine: Engine, features: ClipFeatures, audio: np.ndarray, present: np.ndarray, clip: Clip) -> ClipFeatures:
    """Replace the sound of features, and their length by that of the sound."""
    changed = replace(clip, audio=audio, audio_present=present, n_frames=len(present), duration_s=len(present) / FPS)
    return replace(features, n_frames=len(present), audio=extract_audio(changed, engine.extractor.voice))


def insert_rows(rows: np.ndarray, at: int, n_frames: int) -> np.ndarray:
    return np.concatenate([rows[:at], np.repeat(rows[min(at, len(rows) - 1)][None], n_frames, axis=0), rows[at:]])


def hold_face(face: FaceFeatures, at: int, n_frames: int) -> FaceFeatures:
    """Hold the picture of a face for `n_frames`."""
    frozen = np.zeros(len(face.seen) + n_frames, bool)
    frozen[at : at + n_frames] = True
    names = ("lips", "seen", "gap", "motion", "covered")
    held = {name: insert_rows(getattr(face, name), at, n_frames) for name in names}
    return replace(face, **held, frozen=frozen)


def put_in(engine: Engine, case: Case, at: int, sound: np.ndarray) -> ClipFeatures:
    """Insert a held picture with other sound."""
    clip, features, _ = case
    audio = np.concatenate([clip.audio[: at * SAMPLES_PER_FRAME], sound, clip.audio[at * SAMPLES_PER_FRAME :]])
    n_frames = len(sound) // SAMPLES_PER_FRAME
    longer = replace(features, tracks=tuple(hold_face(face, at, n_frames) for face in features.tracks))
    return hear(engine, longer, audio, np.ones(len(audio) // SAMPLES_PER_FRAME, bool), clip)


def assert_unchanged(found: ConsistencyReport, case: Case, within: float = 0.05) -> None:
    wanted = case[2]
    assert found.score == pytest.approx(wanted.score, abs=within)
    assert (found.zone, found.offset_s) == (wanted.zone, wanted.offset_s) == ("supported", 0.0)


@pytest.mark.parametrize("draw", [draw_silence, draw_tone], ids=["silence", "room tone"])
@pytest.mark.parametrize("place", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("seconds", [5, 60])
def test_hole_on_both_sides_changes_nothing(engine: Engine, case: Case, draw, place: float, seconds: int) -> None:
    at, n_frames = round(place * case[1].n_frames), seconds * FPS
    found = only(engine, put_in(engine, case, at, draw(n_frames)))
    assert_unchanged(found, case)
    assert found.reasons == case[2].reasons and found.speech_s == pytest.approx(case[2].speech_s, abs=0.3)
    hole = (at / FPS, (at + n_frames) / FPS)
    inside = [one for one in found.windows if one.start_s >= hole[0] + 0.5 and one.end_s <= hole[1] - 0.5]
    assert inside == [] and len(found.windows) >= len(case[2].windows) - 3  # the timeline has a hole there


@pytest.mark.parametrize("first", [0, 85, 169])
@pytest.mark.parametrize("kind", ["muted", "absent", "room tone", "held picture"])
def test_five_seconds_without_one_side_leave_the_score(engine: Engine, case: Case, kind: str, first: int) -> None:
    clip, features, _ = case
    hole, audio, present = slice(first, first + 5 * FPS), clip.audio.copy(), clip.audio_present.copy()
    samples = slice(hole.start * SAMPLES_PER_FRAME, hole.stop * SAMPLES_PER_FRAME)
    if kind == "held picture":
        (face,) = features.tracks
        frozen, lips = np.zeros(len(face.seen), bool), face.lips.copy()
        frozen[hole], lips[hole] = True, lips[first]
        features = replace(features, tracks=(replace(face, frozen=frozen, lips=lips),))
    else:
        audio[samples] = draw_tone(5 * FPS) if kind == "room tone" else 0
        present[hole] = kind != "absent"
    found = only(engine, hear(engine, features, audio, present, clip))
    assert_unchanged(found, case, within=0.1)  # less than half as much speech is left to measure it
    assert found.reasons == (Reason.NOT_ENOUGH_SPEECH, *case[2].reasons)
    assert 5.5 < found.speech_s < 7.5


def test_noise_gate_that_closes_often_changes_nothing(engine: Engine, case: Case) -> None:
    clip, features, _ = case
    frames = clip.audio.reshape(-1, SAMPLES_PER_FRAME).copy()
    level = np.square(frames).mean(1)
    frames[level < 0.02 * np.percentile(level, 90)] = 0
    assert (frames == 0).all(1).mean() > 0.1
    assert_unchanged(only(engine, hear(engine, features, frames.reshape(-1), clip.audio_present, clip)), case)


def test_dropped_packets_leave_the_zone(engine: Engine, case: Case) -> None:
    clip, features, _ = case
    frames = clip.audio.reshape(-1, SAMPLES_PER_FRAME).copy()
    frames[np.arange(len(frames)) % 25 >= 20] = 0  # 0.2 s of every second
    assert_unchanged(only(engine, hear(engine, features, frames.reshape(-1), clip.audio_present, clip)), case, 0.15)


@pytest.mark.parametrize("dbfs", [-50, -60, -70])
def test_quiet_speech_is_judged_as_loud_speech_with_a_limit(engine: Engine, case: Case, dbfs: int) -> None:
    clip, features, wanted = case
    quiet = np.rint(clip.audio * 10 ** ((dbfs - features.audio.level_dbfs) / 20) * 32768) / 32768
    found = only(engine, hear(engine, features, quiet.astype(np.float32), clip.audio_present, clip))
    assert_unchanged(found, case)
    assert found.reasons == (Reason.QUIET, *wanted.reasons)


@pytest.mark.parametrize(("dbfs", "reason"), [(-70, Reason.SILENT), (-30, Reason.NOT_ENOUGH_SPEECH)])
def test_noise_without_speech_is_refused(engine: Engine, case: Case, dbfs: int, reason: Reason) -> None:
    clip, features, _ = case
    noise = 10 ** (dbfs / 20) * 1000 * draw_tone(clip.n_frames)
    found = only(engine, hear(engine, features, noise.astype(np.float32), clip.audio_present, clip))
    assert found.status == Status.NOT_EVALUATED and reason in found.reasons


def write_file(path: Path, clip: Clip, pictures: Iterator[np.ndarray], sound: np.ndarray) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", FPS, options={"crf": "20", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = *clip.size_px, "yuv420p"
        audio = container.add_stream("aac", SAMPLE_RATE, layout="mono")
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        container.mux([*audio.encode(frame), *audio.encode(None)])
    return path


@pytest.mark.parametrize("kind", ["hung call", "black with room tone first", "muted"])
def test_files_with_a_hole_are_judged_as_without(engine: Engine, case: Case, tmp_path: Path, kind: str) -> None:
    clip, at, n_frames = case[0], 130, 4 * FPS
    images = [frame.image for frame in clip.read_frames()]
    sound = clip.audio
    if kind == "muted":
        sound = sound.copy()
        sound[at * SAMPLES_PER_FRAME : (at + n_frames) * SAMPLES_PER_FRAME] = 0
    elif kind == "hung call":
        images[at:at] = [images[at]] * n_frames
        sound = np.insert(sound, at * SAMPLES_PER_FRAME, draw_silence(n_frames))
    elif kind == "black with room tone first":
        images[:0] = [np.zeros_like(images[0])] * n_frames
        sound = np.concatenate([draw_tone(n_frames), sound])
    analysis = engine.analyse(write_file(tmp_path / "hole.mp4", clip, iter(images), sound))
    (track,) = analysis.tracks
    assert_unchanged(track.consistency, case, within=0.1 if kind == "muted" else 0.05)
    lost = n_frames / FPS if kind == "muted" else 0
    assert track.consistency.speech_s == pytest.approx(case[2].speech_s - lost, abs=0.8)


def test_still_photo_ends_in_still_face(engine: Engine, case: Case) -> None:
    _, features, _ = case
    (face,) = features.tracks
    lips = np.repeat(face.lips[:1], len(face.seen), axis=0)
    photo = replace(face, lips=lips, gap=np.zeros_like(face.gap), frozen=np.ones(len(face.seen), bool))
    found = only(engine, replace(features, tracks=(photo,)))
    assert (found.status, found.reasons, found.speech_s) == (Status.NOT_EVALUATED, (Reason.STILL_FACE,), 0.0)


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the recordings are not here")
def test_muted_microphone_of_the_reported_case_leaves_the_zone(engine: Engine) -> None:
    found, whole = (
        engine.analyse(FIXTURES / f"{name}.mp4").tracks[0].consistency for name in ("X01_muted_5s", "R00_control")
    )
    assert found.zone == whole.zone == "supported"
    assert found.score == pytest.approx(whole.score, abs=0.05)
    assert whole.score == pytest.approx(0.5425, abs=0.01) and found.speech_s == pytest.approx(6.3, abs=0.3)


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the recordings are not here")
@pytest.mark.parametrize("name", ["EDTalk_05764529.mp4", "advr_avss_96782948.mp4"])
def test_filmed_talk_with_holes_is_judged_as_without(engine: Engine, name: str) -> None:
    clip = open_clip(CLIPS / name)
    features = engine.extractor.extract_clip(clip)
    case = clip, features, only(engine, features)
    for place in (0.0, 0.5, 1.0):
        found = only(engine, put_in(engine, case, round(place * clip.n_frames), draw_tone(20 * FPS)))
        assert found.score == pytest.approx(case[2].score, abs=0.05) and found.zone == case[2].zone == "supported"
    audio = clip.audio.copy()
    audio[200 * SAMPLES_PER_FRAME : 325 * SAMPLES_PER_FRAME] = 0
    found = only(engine, hear(engine, features, audio, clip.audio_present, clip))
    assert found.score == pytest.approx(case[2].score, abs=0.05) and found.zone == "supported"
