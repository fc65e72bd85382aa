"""The signing key is created once, stays private, and is never replaced silently."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.errors import FolderUnwritable
from tests.raising import raises
from webapp.bundle.signing_key import FILE, open_key
from webapp.errors import WebCode


def test_a_key_is_made_once_and_is_readable_by_its_user_alone(tmp_path: Path) -> None:
    first = open_key(tmp_path / "data")
    assert open_key(tmp_path / "data").fingerprint == first.fingerprint
    assert (tmp_path / "data" / FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == [FILE]


def test_a_key_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    open_key(tmp_path)
    (tmp_path / FILE).chmod(0o644)
    open_key(tmp_path)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_concurrent_key_creation_uses_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len({key.fingerprint for key in pool.map(lambda _: open_key(tmp_path), range(16))}) == 1


def test_a_damaged_key_is_named_and_kept(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"short")
    with raises(WebCode.KEY_DAMAGED, match="5 bytes, wanted 32"):
        open_key(tmp_path)
    assert (tmp_path / FILE).read_bytes() == b"short"


def test_a_data_folder_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FolderUnwritable, match="signing key"):
        open_key(tmp_path / "file")


def test_the_seed_shows_in_no_text(tmp_path: Path) -> None:
    key = open_key(tmp_path)
    assert (tmp_path / FILE).read_bytes().hex() not in repr(key) + str(vars(type(key)))
