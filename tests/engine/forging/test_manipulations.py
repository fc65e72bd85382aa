"""Swaps of face, mouth and voice: motion of the driver, face of the donor, the rest unchanged."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest

from engine.datasets.manifest import Row
from engine.errors import NotForgeable
from engine.faces.tracking import track_faces
from engine.forging.face_swap import Donor, outline_mask, swap_face
from engine.forging.kinds import Forgery, Kind
from engine.forging.manipulations import SYNTHETIC, replace_voice, shift_audio, swap
from engine.forging.source_clips import SourceClip, find_shape, load_source_clip
from engine.synthesis.portrait import N_MESH, OVAL, UPPER_LIDS
from engine.types import SAMPLE_RATE, FaceTrack, Frame
from tests.engine.faces.heads import align_heads
from tests.engine.forging.actors import Part, draw_astronaut, draw_stranger, film, load_nets

INNER = np.setdiff1d(np.arange(N_MESH), OVAL)


def chance(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def follow(images: list[np.ndarray]) -> FaceTrack:
    """Detect the face of drawn frames."""
    (track,) = track_faces([Frame(i, image, True) for i, image in enumerate(images)], load_nets()).tracks
    assert track.seen.all() and len(track.boxes) == len(images)
    return track


def gap(landmarks: np.ndarray) -> np.ndarray:
    """(T,) between the inner lips, in eye distances."""
    aligned = align_heads(landmarks)
    return np.linalg.norm(aligned[:, 13] - aligned[:, 14], axis=1)


def fill(outline: np.ndarray) -> np.ndarray:
    """(256, 256) uint8: 1 within an outline."""
    return cv2.fillPoly(np.zeros((256, 256), np.uint8), [np.round(outline).astype(np.int32)], 1)


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def mean_face(images: list[np.ndarray], landmarks: np.ndarray) -> np.ndarray:
    """(n,) detail of the upper face where the eyes are laid on one place."""
    places = np.array([(24, 30), (72, 30), (48, 64)], np.float32)
    crops = []
    for image, points in zip(images[::5], landmarks[::5], strict=True):
        to_place, _ = cv2.estimateAffinePartial2D(points[[33, 263, 2], :2].astype(np.float32), places)
        crops.append(cv2.cvtColor(cv2.warpAffine(image, to_place, (96, 96)), cv2.COLOR_RGB2GRAY)[15:70, 15:81])
    face = np.mean(crops, axis=0)
    return (face - cv2.GaussianBlur(face, (0, 0), 6)).ravel()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[SourceClip, SourceClip]:
    """The astronaut, the driver, and the other person, the donor."""
    folder = tmp_path_factory.mktemp("sources")
    own = film(folder / "own.mp4", draw_astronaut(), Part(seconds=2.2))
    other = film(folder / "other.mp4", draw_stranger(), Part(seconds=1.8, syllables_hz=4.1, phase=2.0, tone_hz=500))
    rows = (Row(1, own, "real", speaker="astronaut", written="own.mp4"), Row(2, other, "real", "stranger"))
    return load_source_clip(rows[0], load_nets()), load_source_clip(rows[1], load_nets())


@dataclass(frozen=True)
class Drawn:
    """A forgery, its frames, and the face that is found in them."""

    forgery: Forgery
    images: list[np.ndarray]
    track: FaceTrack


def draw(forgery: Forgery) -> Drawn:
    images = list(forgery.draw())
    return Drawn(forgery, images, follow(images))


@pytest.fixture(scope="module")
def swapped(sources: tuple[SourceClip, SourceClip]) -> Drawn:
    return draw(swap(Kind.FACE_SWAP, *sources, chance()))


@pytest.fixture(scope="module")
def reenacted(sources: tuple[SourceClip, SourceClip]) -> Drawn:
    return draw(swap(Kind.REENACTMENT, *sources, chance()))


def test_a_swapped_face_moves_as_its_driver_does(sources: tuple[SourceClip, SourceClip], swapped: Drawn) -> None:
    track = swapped.track
    assert likeness(gap(track.landmarks), gap(sources[0].track.landmarks)) > 0.9
    assert likeness(*(one.blendshapes[:, 9:11].mean(1) for one in (track, sources[0].track))) > 0.8


def test_a_swapped_face_looks_like_its_donor(sources: tuple[SourceClip, SourceClip], swapped: Drawn) -> None:
    seen = mean_face(swapped.images, swapped.track.landmarks)
    own, donor = (mean_face(list(source.read_images()), source.landmarks) for source in sources)
    assert likeness(seen, donor) > likeness(seen, own) + 0.1
    shapes = [find_shape(align_heads(swapped.track.landmarks)[sources[0].neutral[:15]]), *(t.shape for t in sources)]
    inner = [shape.points[INNER, :2] for shape in shapes]
    assert np.linalg.norm(inner[0] - inner[2]) < np.linalg.norm(inner[0] - inner[1])


def test_a_swap_changes_the_face_and_nothing_else(sources: tuple[SourceClip, SourceClip], swapped: Drawn) -> None:
    forgery, images = swapped.forgery, swapped.images
    assert (forgery.driver.speaker, forgery.face.speaker, forgery.voice) == ("astronaut", "stranger", "astronaut")
    for row, (image, frame) in enumerate(zip(images, sources[0].read_images(), strict=True)):
        own = sources[0].landmarks[row]
        oval, middle = own[OVAL, :2], own[OVAL, :2].mean(0)
        face, near = (fill(outline) > 0 for outline in (outline_mask(own), middle + 1.85 * (oval - middle)))
        assert np.array_equal(image[~near], frame[~near])
        assert np.abs(image.astype(int) - frame)[face].mean() > 4


def test_a_swap_does_not_tremble_more_than_its_source(sources: tuple[SourceClip, SourceClip], swapped: Drawn) -> None:
    drawn, own = (align_heads(points)[:, INNER, :2] for points in (swapped.track.landmarks, sources[0].track.landmarks))
    assert np.diff(drawn, 2, axis=0).std() < 1.3 * np.diff(own, 2, axis=0).std()


def test_a_partial_swap_changes_one_second_alone(sources: tuple[SourceClip, SourceClip]) -> None:
    forgery = swap(Kind.PARTIAL_FACE, *sources, chance(5))
    assert forgery.edit_s is not None
    start, end = forgery.edit_s
    changed = [
        not np.array_equal(image, frame) for image, frame in zip(forgery.draw(), sources[0].read_images(), strict=True)
    ]
    assert end - start == pytest.approx(1.0)
    assert np.flatnonzero(changed).tolist() == list(range(round(start * 25), round(end * 25)))
    assert forgery.face.speaker == "astronaut" and "stranger" in forgery.detail


def test_a_reenacted_face_moves_as_its_driver_does(sources: tuple[SourceClip, SourceClip], reenacted: Drawn) -> None:
    forgery, track = reenacted.forgery, reenacted.track
    assert (forgery.driver.speaker, forgery.face.speaker) == ("astronaut", "stranger")
    assert likeness(gap(track.landmarks), gap(sources[0].track.landmarks)) > 0.9
    for axis in (0, 1):
        assert likeness(track.landmarks[:, 1, axis], sources[0].landmarks[:, 1, axis]) > 0.8, "the head moves along"


def test_a_reenacted_face_is_the_stills_and_its_background_too(
    sources: tuple[SourceClip, SourceClip], reenacted: Drawn
) -> None:
    images = reenacted.images
    seen = mean_face(images, reenacted.track.landmarks)
    own, donor = (mean_face(list(source.read_images()), source.landmarks) for source in sources)
    assert likeness(seen, donor) > likeness(seen, own) + 0.3
    for image in images[::10]:
        assert np.array_equal(image[-8:, -8:], sources[1].still.image[-8:, -8:])


def test_a_reenacted_mouth_shows_what_is_between_the_drivers_lips(
    sources: tuple[SourceClip, SourceClip], reenacted: Drawn
) -> None:
    widest = int(np.argmax(gap(sources[0].track.landmarks)))
    image, points = reenacted.images[widest], reenacted.track.landmarks[widest]
    x, y = points[[13, 14], :2].mean(0).round().astype(int)
    lip_y = int(points[17, 1])
    inside, lip = (image[row - 1 : row + 2, x - 3 : x + 4].mean() for row in (y, lip_y))
    assert inside < lip - 20, "the mouth is open and dark"


def test_a_swapped_mouth_moves_as_its_driver_does_in_a_face_that_stays(sources: tuple[SourceClip, SourceClip]) -> None:
    driver, base = sources
    forgery = swap(Kind.MOUTH_SWAP, driver, base, chance())
    images = list(forgery.draw())
    assert (forgery.driver.speaker, forgery.face.speaker, forgery.voice) == ("astronaut", "stranger", "stranger")
    assert len(images) == len(base)  # the shorter of the two
    track = follow(images)
    assert likeness(gap(track.landmarks), gap(driver.track.landmarks)[: len(images)]) > 0.9
    for image, frame, points in zip(images, base.read_images(), base.landmarks, strict=True):
        nose = int(points[2, 1])
        assert np.array_equal(image[: nose - 8], frame[: nose - 8])


def test_a_swapped_voice_is_the_others_as_loud_as_the_own(sources: tuple[SourceClip, SourceClip]) -> None:
    forgery = swap(Kind.AUDIO_SWAP, *sources, chance())
    assert forgery.voice == "stranger" and forgery.face.speaker == "astronaut"
    assert forgery.sound is not None and sources[0].sound is not None
    assert loudest_hz(forgery.sound.samples) == pytest.approx(500, abs=5)
    assert forgery.sound.level == pytest.approx(sources[0].sound.level, rel=0.05)
    images = list(forgery.draw())
    assert len(images) == len(sources[1]) and len(forgery.sound.samples) == len(images) * SAMPLE_RATE // 25
    assert all(np.array_equal(image, frame) for image, frame in zip(images, sources[0].read_images(), strict=False))


def test_a_partial_swap_of_the_voice_changes_one_second_alone(sources: tuple[SourceClip, SourceClip]) -> None:
    forgery = swap(Kind.PARTIAL_AUDIO, *sources, chance(1))
    assert forgery.sound is not None and sources[0].sound is not None and forgery.edit_s is not None
    changed = np.flatnonzero(np.abs(forgery.sound.samples - sources[0].sound.samples) > 1e-6) / SAMPLE_RATE
    start, end = forgery.edit_s
    assert start - 0.01 <= changed.min() and changed.max() <= end + 0.01 and np.ptp(changed) > 0.6
    assert (forgery.voice, forgery.driver.speaker) == ("astronaut", "astronaut")


def loudest_hz(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * SAMPLE_RATE / len(samples))


@pytest.mark.parametrize("offset_s", [-0.2, 0.32])
def test_shifted_time_is_labelled(sources: tuple[SourceClip, SourceClip], offset_s: float) -> None:
    forgery = shift_audio(sources[0], offset_s)
    assert forgery.offset_s == offset_s and forgery.sound is not None and sources[0].sound is not None
    own, moved = sources[0].sound.samples, forgery.sound.samples
    lag = round(offset_s * SAMPLE_RATE)
    assert np.array_equal(moved[8000 + lag : 20000 + lag], own[8000:20000]) and own[8000:20000].any()


def test_synthetic_voice_has_no_speaker(sources: tuple[SourceClip, SourceClip]) -> None:
    forgery = replace_voice(sources[0], chance())
    assert forgery.voice == SYNTHETIC and forgery.face.speaker == forgery.driver.speaker == "astronaut"
    assert forgery.sound is not None and len(forgery.sound.samples) == round(sources[0].seconds * SAMPLE_RATE)


@pytest.mark.parametrize("kind", [Kind.FACE_SWAP, Kind.REENACTMENT, Kind.MOUTH_SWAP, Kind.AUDIO_SWAP])
def test_donor_is_never_the_same_speaker(sources: tuple[SourceClip, SourceClip], kind: Kind) -> None:
    same = replace(sources[1], row=replace(sources[1].row, speaker="astronaut"))
    with pytest.raises(NotForgeable, match="both of astronaut"):
        swap(kind, sources[0], same, chance())


@pytest.mark.parametrize("which", [0, 1])
def test_unnamed_speakers_are_neither_donor_nor_target(sources: tuple[SourceClip, SourceClip], which: int) -> None:
    pair = list(sources)
    pair[which] = replace(pair[which], row=replace(pair[which].row, speaker=""))
    with pytest.raises(NotForgeable, match="is unknown"):
        swap(Kind.FACE_SWAP, *pair, chance())


def test_silent_clips_and_short_ones_are_refused(sources: tuple[SourceClip, SourceClip]) -> None:
    silent, short = replace(sources[1], sound=None), sources[1]
    with pytest.raises(NotForgeable, match="no sound"):
        swap(Kind.AUDIO_SWAP, sources[0], silent, chance())
    with pytest.raises(NotForgeable, match="no sound"):
        shift_audio(silent, 0.2)
    with pytest.raises(NotForgeable, match=r"1\.80 s"):
        swap(Kind.PARTIAL_FACE, short, sources[0], chance())
    with pytest.raises(NotForgeable, match="too short for a shift"):
        shift_audio(short, 2.0)


def test_closed_eyelids_never_cross(sources: tuple[SourceClip, SourceClip]) -> None:
    donor = Donor(sources[1].still, sources[1].shape)
    shut = donor.shape.move(sources[0].motion.deform[13], np.zeros(14))
    assert np.isfinite(shut[UPPER_LIDS]).all()
    (first, *_) = swap_face(sources[0], donor, range(1))
    assert first.shape == (256, 256, 3) and first.dtype == np.uint8
