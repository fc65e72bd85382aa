"""Matches: stretches with their ends, offsets and speeds, and the regions that follow."""

import numpy as np
import pytest

from engine.faces.landmark_features import N_MOTION
from engine.motion.alignment import SuspectSearch
from engine.motion.channels import MotionRegion
from engine.motion.matches import MotionMatch, find_match, find_matches
from engine.motion.signature import describe_signature
from tests.engine.motion.moving import make_face, make_motion, mirror, play, replace_region, spoil


def find(suspect: np.ndarray, candidate: np.ndarray, start: int = 0, began: int = 0) -> list[MotionMatch]:
    one, other = describe_signature(make_face(suspect, start)), describe_signature(make_face(candidate, began))
    return [match for match in find_matches(one, other) if match.score > 3]


def test_offsets_are_between_frames_of_the_clips() -> None:
    candidate = make_motion(1, 300)
    (found,) = find(spoil(candidate[80:280], 0.6), candidate, start=1000, began=50)
    assert (found.first, found.last) == (1000, 1200)
    assert found.line.offset == 130 - 1000 and found.line.speed == 1 and found.seconds == 8
    assert found.score > 8 and 0.5 < found.correlation < 0.9


@pytest.mark.parametrize("speed", [0.8, 25 / 30, 0.96, 1.0417, 1.1, 1.25])
@pytest.mark.parametrize("mirrored", [False, True])
def test_speed_and_offset_are_refined(speed: float, mirrored: bool) -> None:
    candidate = make_motion(2, 600)
    suspect = spoil(play(candidate[100:500], speed), 0.5)
    found = find(mirror(suspect) if mirrored else suspect, candidate)[0]
    assert found.line.speed == pytest.approx(speed, rel=0.01) and found.line.mirrored == mirrored
    middle = np.array((found.first + found.last) / 2)
    assert float(found.line.map(middle)) == pytest.approx(100 + speed * float(middle), abs=1.5)
    assert found.last - found.first > 0.8 * len(suspect)


def test_a_recording_cut_in_two_is_two_stretches() -> None:
    candidate = make_motion(3, 600)
    suspect = np.concatenate([candidate[300:450], candidate[50:180]])
    found = sorted(find(spoil(suspect, 0.4), candidate), key=lambda match: match.first)
    assert [round(match.line.offset) for match in found] == [300, -100]
    assert abs(found[0].last - 150) < 12 and abs(found[1].first - 150) < 12 and found[1].last > 270


def test_half_of_the_suspect_is_from_elsewhere() -> None:
    candidate = make_motion(4, 250)
    (found,) = find(np.concatenate([candidate[:125], make_motion(5, 125)]), candidate)
    assert found.first == 0 and abs(found.last - 125) < 12 and found.line.offset == 0


def test_six_seconds_within_an_hour() -> None:
    hour = make_motion(6, 90_000)
    (found,) = find(spoil(hour[61_234 : 61_234 + 150], 0.5), hour)
    assert round(found.line.offset) == 61_234 and found.last - found.first > 120


@pytest.mark.parametrize("region", list(MotionRegion))
def test_a_replaced_region_does_not_follow(region: MotionRegion) -> None:
    candidate = make_motion(7)
    (found, *_) = find(spoil(replace_region(candidate, make_motion(8), region), 0.3), candidate)
    assert {one.region for one in found.regions if not one.follows} == {region}
    assert all(one.moves for one in found.regions)


def test_a_still_region_is_not_judged() -> None:
    candidate = make_motion(9)
    still = replace_region(candidate, np.zeros((250, N_MOTION), np.float32), MotionRegion.MOUTH)
    (found, *_) = find(still, candidate)
    assert [(one.moves, one.follows) for one in found.regions] == [(True, True), (True, True), (False, False)]


def test_unrelated_motion_is_not_matched() -> None:
    faces = [describe_signature(make_face(make_motion(seed))) for seed in range(100, 112)]
    found = [find_match(SuspectSearch(one), other) for one in faces for other in faces if one is not other]
    assert all(match is None or match.score < 3 for match in found)


def test_still_faces_are_not_matched() -> None:
    still = np.zeros((250, N_MOTION), np.float32)
    assert find(still, still) == [] and find(still, make_motion(12)) == []


def test_faces_seen_rarely_are_matched_by_what_is_seen() -> None:
    candidate = make_motion(13)
    seen = np.ones(250, bool)
    seen[60:160] = False
    one = describe_signature(make_face(candidate, seen=seen))
    found = find_match(SuspectSearch(one), describe_signature(make_face(candidate)))
    assert found is not None and found.n_frames <= 150 and found.score > 5
