"""Sampled ways of speaking: puppets move as real people do, each in a way of their own, with anybody's face."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.alignedfaces import LIPS, POINTS
from engine.facenets import BLENDSHAPES
from engine.models.dvp import DVP
from engine.training import dynamics, styles
from engine.training.dynamics import DynamicsOptions, train_dvp
from engine.training.practices import MAX_FRAMES, read_handles
from engine.training.speakers import SpokenClip
from engine.training.styles import babble, list_channels, make_puppets
from engine.training.visemes import Manner, move_face
from tests.engine.training.planted_people import NOD, OPEN, QUICK, make_people

LEFT, RIGHT = (BLENDSHAPES.index(name) for name in ("mouthSmileLeft", "mouthSmileRight"))


@pytest.fixture(scope="module")
def clips() -> list[SpokenClip]:
    return make_people(8, n_sessions=3, per_session=2)


@pytest.fixture(scope="module")
def puppets(clips: list[SpokenClip]) -> list[SpokenClip]:
    return make_puppets(clips, n_people=12, n_clips_each=6, seed=3)


def deviations(clip: SpokenClip) -> np.ndarray:
    return clip.motion - clip.motion.mean(0)


def lean(clip: SpokenClip) -> float:
    """How much further the left smiles than the right as the jaw opens by one."""
    moved = deviations(clip)
    return float((moved[:, LEFT] - moved[:, RIGHT]) @ moved[:, OPEN] / (moved[:, OPEN] @ moved[:, OPEN]))


def by_person(puppets: list[SpokenClip], values: list[float]) -> np.ndarray:
    """(people, clips)."""
    names = sorted({clip.speaker for clip in puppets})
    return np.array([[v for c, v in zip(puppets, values, strict=True) if c.speaker == name] for name in names])


def test_as_many_people_and_clips_as_asked_none_of_them_real(
    clips: list[SpokenClip], puppets: list[SpokenClip]
) -> None:
    counts = by_person(puppets, [1.0] * len(puppets))
    assert counts.shape == (12, 6)
    assert not {clip.speaker for clip in puppets} & {clip.speaker for clip in clips}
    assert not any(clip.row.is_real or clip.row.session for clip in puppets)
    for clip in puppets:
        assert 25 <= len(clip.motion) == len(clip.faces) <= MAX_FRAMES
        assert clip.motion.dtype == np.float32
        assert np.isfinite(clip.motion).all() and np.isfinite(clip.faces.points).all()
        assert clip.motion[:, : len(BLENDSHAPES)].min() >= 0 and clip.motion[:, : len(BLENDSHAPES)].max() <= 1


def test_the_same_seed_gives_the_same_people_and_another_one_others(clips: list[SpokenClip]) -> None:
    first, again, other = (make_puppets(clips, 2, 2, seed) for seed in (1, 1, 2))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.motion, two.motion)
        np.testing.assert_array_equal(one.faces.pictures, two.faces.pictures)
    assert not any(np.array_equal(one.motion, two.motion) for one, two in zip(first, other, strict=True))


def test_nobody_is_made_of_nobody_and_no_clip_is_told(clips: list[SpokenClip]) -> None:
    assert make_puppets(clips, 0, 5, seed=1) == []
    with pytest.raises(ValueError, match="no clip"):
        make_puppets([], 2, 2, seed=1)


def test_all_together_they_move_as_far_as_real_people(clips: list[SpokenClip], puppets: list[SpokenClip]) -> None:
    real, made = (np.concatenate([read_handles(deviations(clip)) for clip in own]).std(0) for own in (clips, puppets))
    moving = real > 0.02  # what is planted: the jaw, the smile, the nod
    assert moving.sum() == 3
    np.testing.assert_allclose(made[moving], real[moving], rtol=0.15)


def test_each_has_habits_of_their_own_and_keeps_them(puppets: list[SpokenClip]) -> None:
    leans = by_person(puppets, [lean(clip) for clip in puppets])
    assert np.median(leans.std(1)) < 0.6 * np.median(leans, axis=1).std()


def test_each_is_seen_with_several_faces_and_a_face_on_several_people(puppets: list[SpokenClip]) -> None:
    faces = {name: {c.sha256 for c in puppets if c.speaker == name} for name in {c.speaker for c in puppets}}
    assert min(len(own) for own in faces.values()) >= 3
    assert sum(len(own) for own in faces.values()) > len(set.union(*faces.values()))


def test_the_picture_goes_along_with_the_motion(puppets: list[SpokenClip]) -> None:
    chin = LIPS.index(17)
    assert POINTS[chin] == 17  # middle of the lower lip
    together = [np.corrcoef(clip.motion[:, OPEN], clip.faces.points[:, chin, 1])[0, 1] for clip in puppets]
    assert np.median(together) > 0.8
    for clip in puppets[:6]:
        at = clip.faces.points[:, chin].mean(0).round().astype(int)
        seen = clip.faces.pictures[:, at[1] - 4 : at[1] + 5, at[0] - 4 : at[0] + 5].astype(float)
        low, high = np.argmin(clip.faces.points[:, chin, 1]), np.argmax(clip.faces.points[:, chin, 1])
        assert np.abs(seen[high] - seen[low]).mean() > 1


def test_skewed_people_smile_on_one_side(clips: list[SpokenClip], monkeypatch: pytest.MonkeyPatch) -> None:
    sides = []
    for skew in (-0.5, 0.5):
        monkeypatch.setattr(styles, "draw_manner", lambda rng, skew=skew: Manner(skew=skew))
        made = np.concatenate([deviations(clip) for clip in make_puppets(clips, 4, 4, seed=1)])
        sides.append(made[:, LEFT].std() / made[:, RIGHT].std())
    assert sides[1] > 2 * sides[0]


def test_the_quick_and_the_slow_are_heard_apart() -> None:
    def count(rate: float) -> float:
        said = babble(200.0, rate, np.random.default_rng(0))
        return sum(sound.name[:1] in set("aæʌəɛɪiɔou") for sound in said if sound.name) / 200

    assert 2.3 < count(3.0) < 3.0 and 4.4 < count(6.0) < 6.0


def test_what_is_said_has_no_gaps_and_lasts_long_enough() -> None:
    said = babble(3.0, 4.0, np.random.default_rng(1))
    assert said[0].start_s == 0 and said[-1].end_s >= 3.0
    assert all(one.end_s == two.start_s and one.end_s > one.start_s for one, two in itertools.pairwise(said))


def test_a_handle_and_a_channel_stand_in_the_same_place() -> None:
    said = babble(4.0, 4.0, np.random.default_rng(2))
    channels = list_channels(move_face(said, 100, Manner(blinks_per_min=40)))
    row = np.zeros((1, 58))
    row[0, BLENDSHAPES.index("jawOpen")] = 0.3
    row[0, NOD] = 0.2
    handles = read_handles(row)
    assert channels.shape == (100, handles.shape[1])
    assert handles[0, 0] == 0.3 and handles[0, 6] == 0.2 and np.count_nonzero(handles) == 2
    still = list_channels(move_face(said, 100, Manner(blinks_per_min=0, head_deg=0, nod_deg=3)))
    assert not still[:, 5].any() and still[:, 6].any() and not still[:, 7:].any()  # no blink, and pitch alone


def test_people_who_are_hardly_known_have_no_habits_to_learn(clips: list[SpokenClip]) -> None:
    few = make_people(3, n_sessions=1, per_session=1)
    assert len(make_puppets(few, 2, 2, seed=1)) == 4


def test_training_takes_them_for_more_people_and_its_bases_from_real_ones(
    clips: list[SpokenClip], monkeypatch: pytest.MonkeyPatch
) -> None:
    speakers: list[int] = []

    class Counted(dynamics.WindowSource):
        def __init__(self, clips: Sequence[SpokenClip], bases: DVP, options: DynamicsOptions):
            super().__init__(clips, bases, options)
            speakers.append(self.n_speakers)

    monkeypatch.setattr(dynamics, "WindowSource", Counted)
    options = replace(QUICK, steps=2, recasts=4)
    plain, again, more = (train_dvp(clips, replace(options, puppets=n)) for n in (0, 3, 3))
    assert speakers == [8, 11, 11]
    assert torch.equal(plain.shape_basis, more.shape_basis) and torch.equal(plain.band_basis, more.band_basis)
    weights = [model.members[0].outlet.weight for model in (plain, again, more)]
    assert torch.equal(weights[1], weights[2]) and not torch.equal(weights[0], weights[1])
