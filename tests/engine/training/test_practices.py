"""Practices: what goes along with what, and how people differ, is learnt from clips where both are planted."""

import numpy as np
import pytest

from engine.facenets import BLENDSHAPES
from engine.motion import N_MOTION
from engine.training.practices import Practice, centre, find_unrest, learn_practice, read_handles
from engine.training.speakers import SpokenClip
from tests.engine.training.planted_people import LEFT, NOD, RIGHT, draw_style, make_people

JAW, SMILE = 0, 2  # rows of the handles


@pytest.fixture(scope="module")
def clips() -> list[SpokenClip]:
    return make_people(8, n_sessions=3, per_session=2)


@pytest.fixture(scope="module")
def practice(clips: list[SpokenClip]) -> Practice:
    return learn_practice(clips)


def test_a_handle_follows_itself_alone_and_takes_both_sides_along(practice: Practice) -> None:
    np.testing.assert_allclose(read_handles(practice.follow), np.eye(len(practice.follow)), atol=0.01)
    assert practice.follow[SMILE, [LEFT, RIGHT]].sum() == pytest.approx(2, abs=0.01)


def test_points_go_where_the_row_says(clips: list[SpokenClip], practice: Practice) -> None:
    moved = np.concatenate([centre(clip.faces.points).reshape(len(clip.faces), -1) for clip in clips])
    placed = np.concatenate([centre(clip.motion) for clip in clips]) @ practice.placing
    assert ((placed - moved) ** 2).sum() < 0.15 * (moved**2).sum()


def test_each_persons_lopsided_smile_is_among_the_habits(practice: Practice) -> None:
    planted = np.array([draw_style(person).side for person in range(8)])
    smiles = practice.habits[:, [JAW, SMILE]].sum(1)  # the smile goes along with the jaw: both tell it
    learnt = smiles[:, LEFT] - smiles[:, RIGHT]
    assert np.corrcoef(learnt, planted)[0, 1] > 0.9


def test_who_nods_further_has_more_vigour_there(practice: Practice) -> None:
    planted = np.array([abs(draw_style(person).nod) for person in range(8)])
    assert np.corrcoef(practice.vigour[:, 6], np.log(planted + 0.05))[0, 1] > 0.9
    np.testing.assert_allclose(practice.vigour.mean(0), 0, atol=1e-9)


def test_drawn_habits_differ_as_much_as_the_learnt_ones(practice: Practice) -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([practice.draw_habit(rng) for _ in range(400)])
    drawn = (
        drawn / np.diagonal(read_handles(drawn.reshape(-1, N_MOTION)).reshape(400, 11, 11), axis1=1, axis2=2)[..., None]
    )
    side = drawn[:, SMILE, LEFT] - drawn[:, SMILE, RIGHT]
    learnt = practice.habits[:, SMILE, LEFT] - practice.habits[:, SMILE, RIGHT]
    assert side.std() == pytest.approx(float((learnt**2).mean() ** 0.5), rel=0.15)


def test_unrest_is_what_is_quick_or_no_handle_tells(practice: Practice) -> None:
    brow = BLENDSHAPES.index("browInnerUp")
    motion = np.zeros((40, N_MOTION))
    motion[:, NOD] = 0.1 * np.sin(2 * np.pi * np.arange(40) / 40)
    motion[:, brow] = np.tile([0.0, 0.2], 20)
    unrest = find_unrest(motion, practice.follow)
    assert unrest[:, brow].std() == pytest.approx(0.1, rel=0.05)
    assert unrest[:, NOD].std() < 0.35 * motion[:, NOD].std()
    motion[:, NOD] = np.tile([0.0, 0.05], 20)
    assert find_unrest(motion, practice.follow)[:, NOD].std() > 0.95 * motion[:, NOD].std()


def test_of_people_who_are_hardly_known_no_habits_are_learnt() -> None:
    practice = learn_practice(make_people(3, n_sessions=1, per_session=1))
    assert len(practice.habits) == len(practice.vigour) == 0
    np.testing.assert_array_equal(practice.draw_habit(np.random.default_rng(0)), practice.follow)
