"""People leave in one file and come back the same; a file that was changed, or is of another kind, is refused whole."""

import hashlib
import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from engine.errors import FolderUnwritable
from gallery_db.errors import GalleryCode
from gallery_db.export import UNSIGNED, read_people, write_people
from gallery_db.records import Basis, Consent, Person
from tests.gallery_db.drawn import CONSENT, GIVEN, RECIPE, draw_clips, draw_person, make_sample, store
from tests.raising import raises

PICTURE = b"\xff\xd8" + bytes(range(256))
Told = list[dict[str, Any]]


def make_people(n: int = 2, size: int = 8) -> tuple[Person, ...]:
    """People with a clip each in two recipes of two sizes, one of them with a thumbnail."""
    rng = np.random.default_rng(0)
    people = []
    for number in range(n):
        own = [make_sample(vector, f"é{number}\n\x1b.mp4") for vector in draw_clips(draw_person(rng, size), 2, rng)]
        other = make_sample(draw_person(rng, 5), "b.mp4", recipe="older")
        consent = Consent(Basis.JOURNALISM, 'why "not"', 30, "2", "Ben", GIVEN, "cd" * 32)
        samples = [store(sample, i, number, CONSENT if i else consent) for i, sample in enumerate([*own, other])]
        samples[0] = replace(samples[0], thumbnail=PICTURE + bytes([number]), session="monday")
        samples[1] = replace(samples[1], face_px=None)
        people.append(Person(f"Ádám {number}", GIVEN, tuple(samples)))
    return tuple(people)


def describe(people: tuple[Person, ...]) -> list[Any]:
    """All that is in the records, to be compared."""

    def tell(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value.dtype.str, value.tolist()
        if hasattr(value, "__dataclass_fields__"):
            return [(name, tell(getattr(value, name))) for name in value.__dataclass_fields__]
        return [tell(one) for one in value] if isinstance(value, tuple) else value

    return [tell(person) for person in people]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An export."""
    write_people(tmp_path / "people.wayspeak", make_people())
    return tmp_path / "people.wayspeak"


def rewrite(path: Path, change: Callable[[dict[str, str], Told, dict[str, np.ndarray]], None]) -> None:
    """Change the file as one who knows how to sign it again could."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    result, tensors = json.loads(header["people"]), dict(load(content))
    change(header, result, tensors)
    header |= {"people": json.dumps(result), "sha256": UNSIGNED}
    unsigned = save(tensors, header)
    path.write_bytes(unsigned.replace(UNSIGNED.encode(), hashlib.sha256(unsigned).hexdigest().encode()))


def test_export_round_trip_restores_speakers(path: Path) -> None:
    assert describe(read_people(path)) == describe(make_people())


def test_export_round_trip_restores_empty_gallery_and_speaker_without_samples(tmp_path: Path) -> None:
    for people in ((), (Person("Ada", GIVEN, ()),)):
        write_people(tmp_path / "few", people)
        assert describe(read_people(tmp_path / "few")) == describe(people)


def test_only_this_user_can_read_the_file(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_flip_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one"
    write_people(path, make_people(1))
    content = bytearray(path.read_bytes())
    assert len(content) > 1000
    for place in [*range(300), *range(300, len(content), 13)]:
        flipped = content.copy()
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        with raises(GalleryCode.FILE_REFUSED):
            read_people(path)


@pytest.mark.parametrize(
    "change", [lambda whole: whole[:-1], lambda whole: whole + b"\0", lambda whole: b"", lambda whole: whole[:9]]
)
def test_a_file_that_is_cut_or_longer_is_refused(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))
    with raises(GalleryCode.FILE_REFUSED):
        read_people(path)


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04" + bytes(64), b"\x80\x04\x95" + bytes(64), b"SQLite format 3\0" + bytes(64)]
)
def test_files_of_another_kind_are_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with raises(GalleryCode.FILE_REFUSED, match="not a complete export"):
        read_people(path)
    path.write_bytes(save({"a": np.zeros(1)}, {"kind": "else"}))
    with raises(GalleryCode.FILE_REFUSED, match="of the kind 'else'"):
        read_people(path)


def test_a_newer_format_is_named_even_where_it_is_not_understood(path: Path) -> None:
    rewrite(path, lambda header, result, tensors: header.update(format="2"))
    with raises(GalleryCode.FILE_REFUSED, match="has the format 2, this version reads 1") as refused:
        read_people(path)
    assert "Update" in refused.value.hint


def test_other_recipes_are_refused_where_one_is_wanted(path: Path, tmp_path: Path) -> None:
    with raises(GalleryCode.EMBEDDER_MISMATCH, match=f"of the recipe older, wanted {RECIPE}"):
        read_people(path, RECIPE)
    whole = make_people()[0]
    write_people(path, [replace(whole, samples=whole.samples[:2])])
    assert len(read_people(path, RECIPE)) == 1


@pytest.mark.parametrize(
    ("key", "value", "told_why"),
    [
        ("consent", None, "has no consent"),
        ("consent", {"basis": "whim"}, "whim"),
        ("consent", {"term_days": 1096}, "1096 days"),
        ("consent", {"purpose": ""}, "purpose"),
        ("source_hash", "../x", "SHA-256"),
        ("source_name", "", "source_name"),
        ("row", 99, "99"),
        ("row", -1, "-1"),
        ("recipe", "unheard", "unheard"),
        ("seconds", -1.0, "seconds"),
        ("face_px", -1.0, "pixels"),
        ("thumbnail", [1, 30], "JPEG"),
        ("session", None, "NoneType"),
        ("source_name", 7, "is not a text"),
    ],
)
def test_well_signed_nonsense_is_refused_with_what_is_wrong(path: Path, key: str, value: Any, told_why: str) -> None:
    def spoil(header: dict[str, str], result: Told, tensors: dict[str, np.ndarray]) -> None:
        sample = result[1]["samples"][0]
        sample[key] = sample[key] | value if isinstance(value, dict) else value

    rewrite(path, lambda header, result, tensors: None)
    assert len(read_people(path)) == 2  # unchanged it is taken, so what follows is refused for what was changed
    rewrite(path, spoil)
    with raises(GalleryCode.FILE_REFUSED, match="has invalid content") as refused:
        read_people(path)
    assert told_why in refused.value.message or key == "session"


def test_a_vector_that_is_not_of_length_1_is_refused(path: Path) -> None:
    rewrite(path, lambda header, result, tensors: tensors.update({f"vectors {RECIPE}": np.ones((4, 8), np.float32)}))
    with raises(GalleryCode.FILE_REFUSED, match="wanted 1"):
        read_people(path)


def test_missing_or_unwritable_file_is_reported(tmp_path: Path) -> None:
    with raises(GalleryCode.FILE_REFUSED, match="cannot be read"):
        read_people(tmp_path / "no")
    with pytest.raises(FolderUnwritable, match="cannot be written"):
        write_people(tmp_path / "no" / "people", ())


def test_a_failed_write_leaves_what_was_there_and_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gallery_db.export.os.fsync", fail)
    with pytest.raises(FolderUnwritable, match="No space left"):
        write_people(path, make_people(1))
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]
