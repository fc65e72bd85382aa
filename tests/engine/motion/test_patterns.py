"""Patterns of the regions that follow."""

import pytest

from engine.motion.channels import MotionRegion
from engine.motion.matches import RegionMatch
from engine.motion.patterns import SENTENCES, Pattern, find_pattern


def judge(follows: str, still: str = "") -> tuple[RegionMatch, ...]:
    """Return matches in which the regions with these initials follow."""
    return tuple(
        RegionMatch(region, 0.8 if region[0] in follows else 0.0, 9.0, 0.5 if region[0] in still else 9.0)
        for region in MotionRegion
    )


@pytest.mark.parametrize(
    ("follows", "still", "is_other_face", "pattern"),
    [
        ("hem", "", False, Pattern.SAME_MOTION),
        ("hem", "", True, Pattern.OTHER_FACE),
        ("em", "h", True, Pattern.OTHER_FACE),
        ("he", "", False, Pattern.OTHER_MOUTH),
        ("h", "", True, Pattern.OTHER_MOUTH),
        ("m", "", False, Pattern.MOUTH_ONLY),
        ("em", "", False, Pattern.PARTLY),
        ("he", "m", False, Pattern.PARTLY),
        ("m", "he", True, Pattern.PARTLY),
        ("", "", True, Pattern.PARTLY),
    ],
)
def test_pattern(follows: str, still: str, is_other_face: bool, pattern: Pattern) -> None:
    assert find_pattern(judge(follows, still), is_other_face) == pattern


def test_a_region_follows_by_correlation_and_deviations() -> None:
    assert RegionMatch(MotionRegion.HEAD, 0.2, 4.0, 3.0).follows
    assert not RegionMatch(MotionRegion.HEAD, 0.1, 9.0, 3.0).follows
    assert not RegionMatch(MotionRegion.HEAD, 0.9, 2.0, 3.0).follows
    assert not RegionMatch(MotionRegion.HEAD, 0.9, 9.0, 0.5).follows


def test_every_pattern_has_a_sentence_that_judges_no_one() -> None:
    assert set(SENTENCES) == set(Pattern)
    assert not any(word in text.lower() for text in SENTENCES.values() for word in ("fake", "forg", "manipulat"))
