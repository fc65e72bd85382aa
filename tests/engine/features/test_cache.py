"""Feature cache: exact round trip, damaged files are a miss, recipes never mix."""

import hashlib
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from engine.errors import Code
from engine.faces.face_crops import N_POINTS, AlignedFaces
from engine.faces.landmark_features import N_MOTION
from engine.features import cache as caching
from engine.features.cache import FeatureCache, extract_cached
from engine.features.records import AudioFeatures, ClipFeatures, FaceFeatures
from engine.types import MediaReport, OnStep, Reason
from tests.raising import raises

RECIPE = "faces-0123+voice-4567+options-89ab"


def make_features(content: bytes = b"film", name: str = "film.mp4") -> ClipFeatures:
    rng = np.random.default_rng(len(content))
    present = rng.random(30) > 0.2
    tracks = tuple(
        FaceFeatures(
            start=start,
            lips=rng.normal(size=(length, 130)).astype(np.float32),
            seen=seen,
            gap=rng.random(length).astype(np.float32),
            face_px=float(rng.uniform(50, 90)),
            thumbnail=rng.integers(0, 256, (96, 96, 3), np.uint8),
            motion=rng.normal(size=(length, N_MOTION)).astype(np.float32),
            covered=rng.random(length) > 0.5,
            frozen=rng.random(length) > 0.5,
        )
        for start, length in ((0, 12), (15, 15))
        for seen in [rng.random(length) > 0.1]
    )
    heard = AudioFeatures(
        rng.normal(size=(30, 160)).astype(np.float32),
        present & (rng.random(30) > 0.5),
        present,
        -31.25,
        muted=present & (rng.random(30) > 0.5),
    )
    return ClipFeatures(
        name=name,
        sha256=hashlib.sha256(content).hexdigest(),
        n_frames=30,
        size_px=(640, 480),
        source_fps=29.97,
        reasons=(Reason.FPS_VFR,),
        audio=heard,
        tracks=tracks,
        cuts=(15,),
        timings_s={"read": 0.5},
        media=MediaReport(rotation_deg=90, faces_left_out=3),
    )


def assert_same(one: object, other: object) -> None:
    for field in fields(one):  # type: ignore[arg-type]
        left, right = getattr(one, field.name), getattr(other, field.name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)
        elif isinstance(left, tuple) and left and isinstance(left[0], FaceFeatures):
            assert len(left) == len(right)
            for a, b in zip(left, right, strict=True):
                assert_same(a, b)
        elif isinstance(left, AudioFeatures | AlignedFaces):
            assert_same(left, right)
        else:
            assert left == right and type(left) is type(right), field.name


class CountingExtractor:
    """Extract features from any file, and record each extraction."""

    recipe = RECIPE

    def __init__(self) -> None:
        self.extracted: list[str] = []

    def extract(self, path: Path, on_step: OnStep = lambda name, completed, total: None) -> ClipFeatures:
        self.extracted.append(path.name)
        return make_features(path.read_bytes(), path.name)


def test_cache_round_trip_restores_features(tmp_path: Path) -> None:
    seen, cache = make_features(), FeatureCache(tmp_path, RECIPE)
    assert cache.load(seen.sha256) is None
    cache.save(seen)
    found = cache.load(seen.sha256)
    assert found is not None
    assert_same(seen, found)


def test_cache_round_trip_keeps_silence_and_no_face(tmp_path: Path) -> None:
    seen, cache = make_features(), FeatureCache(tmp_path, RECIPE)
    empty = replace(seen, tracks=(), cuts=(), reasons=(), audio=replace(seen.audio, level_dbfs=float("-inf")))
    cache.save(empty)
    found = cache.load(seen.sha256)
    assert found is not None
    assert_same(empty, found)


def test_numbers_of_numpy_keep_their_kind(tmp_path: Path) -> None:
    seen, cache = make_features(), FeatureCache(tmp_path, RECIPE)
    cache.save(replace(seen, cuts=(np.int64(15),), source_fps=np.float64(29.97)))  # type: ignore[arg-type]
    found = cache.load(seen.sha256)
    assert found is not None
    assert_same(seen, found)


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "another file's"])
def test_a_damaged_file_counts_as_absent_and_is_written_anew(tmp_path: Path, damage: str) -> None:
    seen, cache = make_features(), FeatureCache(tmp_path, RECIPE)
    path = cache.save(seen)
    good = path.read_bytes()
    middle = len(good) // 2
    bad = {
        "cut": good[:middle],
        "flipped": good[:middle] + bytes([good[middle] ^ 255]) + good[middle + 1 :],
        "emptied": b"",
        "another file's": cache.save(make_features(b"another film")).read_bytes(),
    }[damage]
    path.write_bytes(bad)
    assert cache.load(seen.sha256) is None
    cache.save(seen)
    assert path.read_bytes() == good
    assert cache.load(seen.sha256) is not None


def test_a_save_that_fails_leaves_the_old_file_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, cache = make_features(), FeatureCache(tmp_path, RECIPE)
    good = cache.save(seen).read_bytes()

    def fail(handle: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space"):
        cache.save(seen)
    assert [path.read_bytes() for path in cache.folder.iterdir()] == [good]


def test_recipes_never_mix(tmp_path: Path) -> None:
    seen = make_features()
    FeatureCache(tmp_path, RECIPE).save(seen)
    assert FeatureCache(tmp_path, "another").load(seen.sha256) is None
    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    with pytest.raises(ValueError, match="the cache is of recipe another"):
        extract_cached(film, CountingExtractor(), FeatureCache(tmp_path, "another"))


@pytest.mark.parametrize("recipe", ["", "..", "a/b", "a b", "\u00e9"])
def test_a_recipe_that_names_no_folder_is_refused(tmp_path: Path, recipe: str) -> None:
    with pytest.raises(ValueError, match="recipe"):
        FeatureCache(tmp_path, recipe)


def test_a_name_that_is_no_hash_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        FeatureCache(tmp_path, RECIPE).load("../../secret")


def test_second_extraction_decodes_nothing_under_any_name(tmp_path: Path) -> None:
    first, second = tmp_path / "first.mp4", tmp_path / "second.mov"
    first.write_bytes(b"film")
    second.write_bytes(b"film")
    extractor = CountingExtractor()
    seen = extract_cached(first, extractor, FeatureCache(tmp_path / "cache", RECIPE))
    again = extract_cached(second, extractor, FeatureCache(tmp_path / "cache", RECIPE))
    assert extractor.extracted == ["first.mp4"]
    assert (seen.name, again.name) == ("first.mp4", "second.mov")
    assert_same(replace(seen, name=again.name), again)


def test_changed_file_is_extracted_again(tmp_path: Path) -> None:
    film, extractor = tmp_path / "film.mp4", CountingExtractor()
    for content in (b"film", b"another film"):
        film.write_bytes(content)
        extract_cached(film, extractor, FeatureCache(tmp_path / "cache", RECIPE))
    assert len(extractor.extracted) == 2


def test_missing_file_is_left_to_the_extractor(tmp_path: Path) -> None:
    class Strict(CountingExtractor):
        def extract(self, path: Path, on_step: OnStep = lambda name, completed, total: None) -> ClipFeatures:
            raise Code.UNREADABLE_VIDEO(f"There is no file {path.name!r}.")

    with raises(Code.UNREADABLE_VIDEO, match=r"gone\.mp4"):
        extract_cached(tmp_path / "gone.mp4", Strict(), FeatureCache(tmp_path, RECIPE))
    assert not (tmp_path / RECIPE).exists()


def with_mouths(seen: ClipFeatures) -> ClipFeatures:
    """The same, as an extractor that was asked to cut mouths would have seen it."""
    rng = np.random.default_rng(5)
    tracks = tuple(
        replace(track, mouths=rng.integers(0, 256, (len(track.seen), 96, 96), np.uint8)) for track in seen.tracks
    )
    filterbank = rng.normal(size=(seen.n_frames, 104)).astype(np.float32)
    first = rng.integers(0, 256, (seen.n_frames, 96, 96), np.uint8) if tracks else None
    return replace(seen, tracks=tracks, audio=replace(seen.audio, filterbank=filterbank), first_mouths=first)


@pytest.mark.parametrize("faces", ["two faces", "no face"])
def test_cache_round_trip_restores_mouth_crops(tmp_path: Path, faces: str) -> None:
    plain = make_features() if faces == "two faces" else replace(make_features(), tracks=())
    seen, cache = with_mouths(plain), FeatureCache(tmp_path, RECIPE, with_mouths=True)
    cache.save(seen)
    found = cache.load(seen.sha256)
    assert found is not None and found.has_mouths
    assert_same(seen, found)


def test_cache_without_mouth_crops_misses_when_they_are_required(tmp_path: Path) -> None:
    seen, plain = make_features(), FeatureCache(tmp_path, RECIPE)
    wanting = FeatureCache(tmp_path, RECIPE, with_mouths=True)
    plain.save(seen)
    assert plain.load(seen.sha256) is not None and wanting.load(seen.sha256) is None
    with pytest.raises(ValueError, match="were not cut"):
        wanting.save(seen)
    wanting.save(with_mouths(seen))
    assert wanting.load(seen.sha256) is not None


def test_cache_with_mouth_crops_hits_when_they_are_not_required(tmp_path: Path) -> None:
    seen = with_mouths(make_features())
    FeatureCache(tmp_path, RECIPE, with_mouths=True).save(seen)
    found = FeatureCache(tmp_path, RECIPE).load(seen.sha256)
    assert found is not None and not found.has_mouths
    assert_same(make_features(), found)


def test_mouth_crops_are_extracted_again_once(tmp_path: Path) -> None:
    class Cutting(CountingExtractor):
        def extract(self, path: Path, on_step: OnStep = lambda name, completed, total: None) -> ClipFeatures:
            return with_mouths(super().extract(path, on_step))

    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    extract_cached(film, CountingExtractor(), FeatureCache(tmp_path, RECIPE))
    extractor, cache = Cutting(), FeatureCache(tmp_path, RECIPE, with_mouths=True)
    first, second = (extract_cached(film, extractor, cache) for _ in range(2))
    assert extractor.extracted == ["film.mp4"]
    assert_same(first, second)


def with_faces(seen: ClipFeatures) -> ClipFeatures:
    """The same, as an extractor that was asked to cut faces would have seen it."""
    rng = np.random.default_rng(6)
    tracks = tuple(
        replace(
            track,
            faces=AlignedFaces(
                rng.integers(0, 256, (len(track.seen), 64, 64), np.uint8),
                rng.normal(size=(len(track.seen), N_POINTS, 2)).astype(np.float32),
            ),
        )
        for track in seen.tracks
    )
    return replace(seen, tracks=tracks)


@pytest.mark.parametrize("faces", ["two faces", "no face"])
@pytest.mark.parametrize("mouths", [False, True])
def test_cache_round_trip_restores_face_crops(tmp_path: Path, faces: str, mouths: bool) -> None:
    plain = make_features() if faces == "two faces" else replace(make_features(), tracks=())
    seen = with_faces(with_mouths(plain) if mouths else plain)
    cache = FeatureCache(tmp_path, RECIPE, with_mouths=mouths, with_faces=True)
    cache.save(seen)
    found = cache.load(seen.sha256)
    assert found is not None and found.has_faces and found.has_mouths == mouths
    assert_same(seen, found)


def test_mouths_and_faces_are_wanted_apart(tmp_path: Path) -> None:
    seen = make_features()
    for_mouths = FeatureCache(tmp_path, RECIPE, with_mouths=True)
    for_faces = FeatureCache(tmp_path, RECIPE, with_faces=True)
    for_mouths.save(with_mouths(seen))
    assert for_faces.load(seen.sha256) is None
    with pytest.raises(ValueError, match=r"the faces of film\.mp4 were not cut"):
        for_faces.save(with_mouths(seen))
    for_faces.save(with_faces(seen))
    found = for_mouths.load(seen.sha256)
    assert found is not None and found.has_mouths and not found.has_faces
    assert FeatureCache(tmp_path, RECIPE, with_mouths=True, with_faces=True).load(seen.sha256) is not None


@pytest.mark.parametrize("part", ["mouths", "faces"])
@pytest.mark.parametrize("damage", ["cut", "gone", "another clip's", "other tracks", "older"])
def test_damaged_crops_count_as_absent_and_their_rows_do_not(
    tmp_path: Path, damage: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = {"mouths": with_mouths, "faces": with_faces}[part]
    seen = add(make_features())
    cache = FeatureCache(tmp_path, RECIPE, with_mouths=part == "mouths", with_faces=part == "faces")
    path = cache.save(seen)
    crops = path.with_suffix(f".{part}.npz")
    if damage == "cut":
        crops.write_bytes(crops.read_bytes()[:-100])
    elif damage == "gone":
        crops.unlink()
    elif damage == "another clip's":
        other = cache.save(add(make_features(b"another film"))).with_suffix(f".{part}.npz")
        crops.write_bytes(other.read_bytes())
    elif damage == "other tracks":
        cache.save(replace(seen, tracks=seen.tracks[::-1]))
        FeatureCache(tmp_path, RECIPE).save(seen)
    else:
        monkeypatch.setattr(caching, part.upper(), replace(getattr(caching, part.upper()), version=99))
    assert cache.load(seen.sha256) is None
    assert FeatureCache(tmp_path, RECIPE).load(seen.sha256) is not None


@pytest.mark.parametrize("change", ["layout", "columns"])
def test_rows_of_an_older_layout_count_as_absent(tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, cache = make_features(), FeatureCache(tmp_path, RECIPE)
    if change == "layout":
        monkeypatch.setattr(caching, "LAYOUT", 1)
        cache.save(seen)
        monkeypatch.undo()
    else:
        tracks = tuple(replace(track, motion=track.motion[:, :-1]) for track in seen.tracks)
        cache.save(replace(seen, tracks=tracks))
    assert cache.load(seen.sha256) is None
    cache.save(seen)
    assert cache.load(seen.sha256) is not None
