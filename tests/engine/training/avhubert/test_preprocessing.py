"""A preprocessed clip holds the main face and its audio, and cuts them in step."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from engine.faces.landmarker import FaceNets
from engine.faces.mouth_crops import CROP, crop_mouths
from engine.models.compact import CompactConsistency
from engine.speech.filterbanks import filterbank_rows, normalise_rows
from engine.training.avhubert import preprocessing
from engine.training.avhubert.preprocessing import (
    N_CEPSTRA,
    PreprocessedClip,
    Preprocessor,
    describe_cepstra,
    read_cepstra,
    read_header,
    read_window,
)
from engine.types import Clip
from tests.engine.training.planted import make_clip_file
from tests.fakes import FakeEncoder, FakeNets, make_clip, make_mouth, make_voice

N_FRAMES = 120
MOUTH = make_mouth(N_FRAMES)

Make = Callable[[Clip], tuple[int, int | None]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "reel.safetensors"


@pytest.fixture
def make(path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    maker = Preprocessor(cast(FaceNets, FakeNets()), cast(CompactConsistency, FakeEncoder()), "drawn")

    def run(clip: Clip) -> tuple[int, int | None]:
        monkeypatch.setattr(preprocessing, "open_clip", lambda video: clip)
        maker.make(Path("drawn.mp4"), path)
        assert [one.name for one in path.parent.iterdir()] == [path.name]  # nothing half written is left
        return read_header(path)

    return run


def open_reel(path: Path, n_frames: int, late: int = 0) -> PreprocessedClip:
    return PreprocessedClip(path, "drawn.mp4", "lab", "", "lab", n_frames, late)


@pytest.mark.parametrize("late", [0, 4, -3])
def test_av_offset_is_estimated_and_stored(make: Make, late: int) -> None:
    assert make(make_clip([MOUTH], make_voice(MOUTH, late))) == (N_FRAMES, late)


def test_mouths_and_sound_are_those_of_the_product(make: Make, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracks = []

    def note(frames: object, track: object) -> object:
        tracks.append(track)
        return crop_mouths(frames, track)  # type: ignore[arg-type]

    monkeypatch.setattr(preprocessing, "crop_mouths", note)
    clip = make_clip([MOUTH], make_voice(MOUTH))
    make(clip)
    cut = read_window(open_reel(path, N_FRAMES), 0, N_FRAMES)
    assert np.array_equal(cut.mouths, crop_mouths(clip.read_frames(), tracks[0]).frames)
    assert cut.mouths.shape == (N_FRAMES, CROP, CROP) and cut.mouths.std() > 0
    assert np.allclose(normalise_rows(cut.energies), filterbank_rows(clip.audio), atol=1e-5)
    assert np.array_equal(read_cepstra(open_reel(path, N_FRAMES)), describe_cepstra(clip.audio))
    assert cut.real.all()


def test_where_the_sound_is_missing_nothing_is_real(make: Make, path: Path) -> None:
    present = np.arange(N_FRAMES) < 80
    make(make_clip([MOUTH], make_voice(MOUTH), present=present))
    assert np.array_equal(read_window(open_reel(path, N_FRAMES), 0, N_FRAMES).real, present)


@pytest.mark.parametrize(
    "clip",
    [
        make_clip([], make_voice(MOUTH), n_frames=N_FRAMES),
        make_clip([MOUTH], None, present=np.zeros(N_FRAMES, bool)),
        make_clip([MOUTH[:20]], make_voice(MOUTH[:20])),
    ],
    ids=["no face", "no sound", "too short"],
)
def test_video_without_face_during_sound_gives_empty_clip(make: Make, clip: Clip) -> None:
    assert make(clip) == (0, None)


def test_the_main_face_is_taken(make: Make, path: Path) -> None:
    brief = np.where(np.arange(N_FRAMES) < 40, MOUTH, np.nan)  # leaves soon
    assert make(make_clip([brief, MOUTH], make_voice(MOUTH)))[0] == N_FRAMES


@pytest.mark.parametrize("late", [0, 5, -5])
def test_window_corrects_av_offset(tmp_path: Path, late: int) -> None:
    aligned, shifted = (
        make_clip_file(tmp_path, 1),
        replace(make_clip_file(tmp_path, 1, corpus="hall", late=late), late=late),
    )
    assert shifted.length == shifted.n_frames - abs(late) and shifted.seconds == shifted.length / 25
    cut = read_window(shifted, 10, 40)
    face = 10 + max(0, -late)  # of an early sound the first frames of the face are cut off
    assert np.array_equal(cut.mouths, read_window(aligned, face, face + 30).mouths)
    heard, wanted = cut.energies, read_window(aligned, face, face + 30).energies
    assert (
        np.abs(heard - wanted).mean() < 0.5 < np.abs(heard - read_window(aligned, face + 2, face + 32).energies).mean()
    )


def test_a_cut_beyond_the_end_is_refused(tmp_path: Path) -> None:
    reel = replace(make_clip_file(tmp_path, 1), late=3)
    with pytest.raises(ValueError, match="which has 97"):
        read_window(reel, 90, 98)


def test_cepstra_depend_on_vowel_not_gain() -> None:
    times = np.arange(16_000) / 16_000
    low, high = (
        np.sin(2 * np.pi * hz * times) * 0.1 + np.random.default_rng(0).normal(0, 1e-3, 16_000) for hz in (300, 3000)
    )
    described = [describe_cepstra(one.astype(np.float32)) for one in (low, low * 2, high)]
    assert all(one.shape == (25, N_CEPSTRA) for one in described)
    quiet, loud, other = (one[5:20].mean(0) for one in described)
    assert np.abs(quiet[1:13] - loud[1:13]).max() < 0.2 < 5 < np.abs(quiet[1:13] - other[1:13]).max()
    assert np.abs(described[0][8:17, 13:]).mean() < 1  # a steady sound does not change
