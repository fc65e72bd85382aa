"""Synthetic talking heads: phonemes in order, lips that follow, independent inputs."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.signal import resample_poly

from engine.errors import EngineError
from engine.faces.landmarker import FaceNets
from engine.faces.tracking import track_faces
from engine.media.clip import open_clip
from engine.synthesis.animation import animate, write_clip
from engine.synthesis.portrait import LOWER, UPPER, Portrait, find_portrait
from engine.synthesis.tts import Phoneme, Speech, Voice, join, pause, speak
from engine.synthesis.visemes import Manner, Motion, move_face
from engine.types import FPS, Frame
from engine.weights import registry
from webapp.analysis.examples import load_astronaut

SENTENCE = "My mother bought a big wooden boat."


@pytest.fixture(scope="module")
def nets() -> FaceNets:
    return FaceNets.load(registry.face_landmarker())


@pytest.fixture(scope="module")
def portrait(nets: FaceNets) -> Portrait:
    return load_astronaut(nets)


@pytest.fixture(scope="module")
def speech() -> Speech:
    return speak(SENTENCE)


def still(n_frames: int, **changed: float) -> Motion:
    """Return the motion of a still face except for the given values."""
    rows = {name: np.full(n_frames, changed.get(name, 0.0)) for name in ("open", "spread", "tuck", "blink")}
    return Motion(**rows, turn_deg=np.zeros((n_frames, 3)), shift=np.zeros((n_frames, 2)))


def lip_gap(landmarks: np.ndarray) -> np.ndarray:
    """(T,) height of the opening over the eye distance."""
    eyes = np.linalg.norm(landmarks[:, 263, :2] - landmarks[:, 33, :2], axis=1)
    return (landmarks[:, LOWER[3, 5], 1] - landmarks[:, UPPER[3, 5], 1]) / eyes


def test_phonemes_follow_each_other_without_gaps_to_the_end(speech: Speech) -> None:
    assert [p.name for p in speech.phonemes if p.name][:4] == ["m", "aɪ", "m", "ʌ"]
    assert speech.phonemes[0].start_s == 0.0
    for one, following in zip(speech.phonemes, speech.phonemes[1:], strict=False):
        assert one.start_s < one.end_s == following.start_s
    assert speech.phonemes[-1].end_s == pytest.approx(speech.duration_s)


def test_vowels_are_louder_than_closures(speech: Speech) -> None:
    def loudness(names: str) -> float:
        cut = [
            speech.audio[int(p.start_s * speech.rate_hz) : int(p.end_s * speech.rate_hz)]
            for p in speech.phonemes
            if p.name and p.name[0] in names
        ]
        assert cut
        return float(np.sqrt(np.mean(np.concatenate(cut) ** 2)))

    assert loudness("aʌɔo") > 2 * loudness("bt")


def test_another_voice_says_the_same_phonemes(speech: Speech) -> None:
    other = speak(SENTENCE, Voice("en-us+m3", words_per_minute=130, pitch=30))
    assert [p.name for p in other.phonemes if p.name] == [p.name for p in speech.phonemes if p.name]
    assert other.duration_s > speech.duration_s


def test_an_unknown_voice_is_refused() -> None:
    with pytest.raises(ValueError, match="no voice"):
        speak("Hello", Voice("xx-nowhere"))


def test_joined_speech_keeps_one_clock(speech: Speech) -> None:
    both = join([speech, pause(0.5, speech.rate_hz), speech])
    assert both.duration_s == pytest.approx(2 * speech.duration_s + 0.5, abs=1e-3)
    first = [p.start_s for p in speech.phonemes]
    later = [p.start_s for p in both.phonemes[-len(first) :]]
    assert np.allclose(np.array(later) - first, speech.duration_s + 0.5, atol=1e-3)


def test_closures_close_and_vowels_open() -> None:
    sounds = tuple(Phoneme(name, 0.2 * i, 0.2 * (i + 1)) for i, name in enumerate(["a", "m", "a", "b", "a", ""]))
    motion = move_face(sounds, 30, Manner(lead_s=0.0))
    middles = {i: motion.open[int((0.2 * i + 0.1) * FPS)] for i in range(5)}
    assert max(middles[1], middles[3]) < 0.0
    assert min(middles[0], middles[2], middles[4]) > 0.6


def test_rounded_sounds_round_and_lips_lead_by_the_manner() -> None:
    sounds = (Phoneme("iː", 0.0, 0.4), Phoneme("uː", 0.4, 0.8))
    motion = move_face(sounds, 20, Manner(lead_s=0.0))
    assert motion.spread[5] > 0.5 and motion.spread[15] < -0.7
    early = move_face(sounds, 20, Manner(lead_s=2 / FPS))
    assert np.allclose(early.spread[:18], motion.spread[2:20])


def test_manner_changes_motion_and_its_seed_the_head_alone(speech: Speech) -> None:
    plain, wide = move_face(speech.phonemes, 40), move_face(speech.phonemes, 40, Manner(openness=1.3))
    assert wide.open.max() > 1.2 * min(plain.open.max(), 1.0) * 0.99
    other = move_face(speech.phonemes, 40, Manner(seed=1))
    assert np.array_equal(other.open, plain.open)
    assert np.abs(other.turn_deg - plain.turn_deg).max() > 0.3
    assert np.abs(plain.turn_deg).max() <= 1.6 * Manner().head_deg


def test_the_lips_close_at_rest_whatever_the_picture_shows(portrait: Portrait) -> None:
    gap = np.abs((portrait.rest[LOWER[3]] - portrait.rest[UPPER[3]]) @ portrait.axes[1])
    assert (portrait.landmarks[LOWER[3, 5], 1] - portrait.landmarks[UPPER[3, 5], 1]) > 8  # it smiles
    assert gap.max() < 0.1


def test_the_face_landmarker_sees_the_mouth_that_was_asked_for(portrait: Portrait, nets: FaceNets) -> None:
    speech = speak("My mother bought a big wooden boat.")
    motion = move_face(speech.phonemes, int(speech.duration_s * FPS))
    frames = [Frame(i, image, True) for i, image in enumerate(animate(portrait, motion))]
    (track,) = track_faces(frames, nets).tracks
    assert track.seen.all() and len(track.boxes) == len(frames)
    seen = lip_gap(track.landmarks)
    assert np.corrcoef(seen, np.maximum(motion.open, 0))[0, 1] > 0.9


@pytest.mark.parametrize(("field", "inside"), [("open", True), ("spread", True), ("blink", False)])
def test_each_amount_moves_its_own_part(portrait: Portrait, field: str, inside: bool) -> None:
    (rest,) = animate(portrait, still(1))
    (moved,) = animate(portrait, still(1, **{field: 1.0}))
    changed = np.abs(moved.astype(int) - rest).sum(2) > 60
    nose_y = int(portrait.landmarks[4, 1])
    below, above = changed[nose_y:].sum(), changed[:nose_y].sum()
    assert (below > 10 * above) if inside else (above > 10 * below)
    assert changed.sum() > 100


def test_a_skewed_mouth_goes_further_on_its_side(portrait: Portrait, nets: FaceNets) -> None:
    def find_corners(spread: float, skew: float) -> np.ndarray:
        """(2,) how far out the right and the left corner of the mouth are seen, in eye distances."""
        (frame,) = animate(portrait, replace(still(1, spread=spread), skew=skew))
        (face,) = nets.find_faces(frame)
        seen = nets.place_landmarks(frame, face.region()).landmarks[[61, 291], :2]
        return (seen - portrait.rest[[61, 291]].mean(0)) @ portrait.axes[0] / portrait.eye_px * [-1, 1]

    rest = find_corners(0.0, 0.0)
    even, left, right = (find_corners(1.0, skew) - rest for skew in (0.0, 0.6, -0.6))
    assert left[1] > even[1] > right[1] and right[0] > even[0] > left[0]


def test_background_is_static_while_head_turns(portrait: Portrait) -> None:
    turned = replace(still(1), turn_deg=np.array([[4.0, 2.0, 2.0]]))
    (frame,) = animate(portrait, turned)
    assert np.array_equal(frame[:20, :20], portrait.image[:20, :20])
    nose = portrait.landmarks[4, :2].astype(int)
    patch = (slice(nose[1] - 20, nose[1] + 20), slice(nose[0] - 20, nose[0] + 20))
    assert np.abs(frame[patch].astype(int) - portrait.image[patch]).mean() > 3


def test_a_picture_without_a_face_is_refused(nets: FaceNets) -> None:
    with pytest.raises(EngineError, match="No face"):
        find_portrait(np.full((256, 256, 3), 90, np.uint8), nets)


def test_the_clip_is_h264_and_aac_of_one_length(portrait: Portrait, speech: Speech, tmp_path: Path) -> None:
    path = tmp_path / "head.mp4"
    write_clip(path, animate(portrait, still(25)), replace(speech, audio=speech.audio[: speech.rate_hz]))
    with av.open(str(path)) as clip:
        video, audio = clip.streams.video[0], clip.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert video.average_rate == FPS and video.frames == 25
        assert float(audio.duration * audio.time_base) == pytest.approx(1.0, abs=0.1)
    assert list(tmp_path.iterdir()) == [path]


def test_the_engine_reads_the_clip_with_sound_and_picture_in_step(
    portrait: Portrait, speech: Speech, tmp_path: Path
) -> None:
    path = tmp_path / "head.mp4"
    n_frames = int(speech.duration_s * FPS)
    write_clip(path, animate(portrait, still(n_frames)), speech)
    clip = open_clip(path)
    assert clip.n_frames == n_frames and clip.has_audio and clip.reasons == ()
    wanted = resample_poly(speech.audio, 320, 441)[: len(clip.audio)]
    heard = clip.audio[: len(wanted)]
    lags = np.arange(-480, 481, 8)  # 30 ms either way
    likeness = [float(np.dot(np.roll(heard, -lag), wanted)) for lag in lags]
    assert abs(lags[int(np.argmax(likeness))]) <= 160, "the sound is more than 10 ms off"


def test_a_failed_clip_leaves_no_file_under_its_name(speech: Speech, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no frame"):
        write_clip(tmp_path / "head.mp4", iter(()), speech)
    assert not (tmp_path / "head.mp4").exists()
