"""The committed goldens are what the script cuts, no more and no less."""

from pathlib import Path

import numpy as np
import pytest

from tests.make_goldens import GOLDENS, MAX_BYTES, PARTS, SHAPES, cut_goldens

FULL = Path(__file__).parents[1] / ".." / "shared" / "golden"


def test_every_part_is_there_and_small() -> None:
    assert {path.name for path in GOLDENS.glob("*.npz")} == set(PARTS)
    assert sum(path.stat().st_size for path in GOLDENS.iterdir()) <= MAX_BYTES
    for part, (_, names) in PARTS.items():
        with np.load(GOLDENS / part) as golden:
            assert set(golden) == set(names)


def test_parts_that_grow_too_large_are_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 3 * 1024 * 1024, dtype=np.uint8)
    (tmp_path / SHAPES).write_bytes(b"{}")
    for file, names in PARTS.values():
        np.savez(tmp_path / file, **{name: noise for name in names})
    with pytest.raises(ValueError, match="at most"):
        cut_goldens(tmp_path, tmp_path / "cut")


@pytest.mark.skipif(not FULL.is_dir(), reason="the full goldens are not beside this checkout")
def test_parts_equal_the_full_goldens(tmp_path: Path) -> None:
    for path in cut_goldens(FULL, tmp_path):
        with np.load(path) as full, np.load(GOLDENS / path.name) as part:
            for name in PARTS[path.name][1]:
                np.testing.assert_array_equal(part[name], full[name])
