"""Training of DVP: what it draws, what each part costs, and that it learns planted ways of speaking."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.metrics import auc, eer
from engine.models.dvp import DVP, StyleMember
from engine.training.style import train
from engine.training.style.augmentation import AUGMENT, TRAINED, Augmentation
from engine.training.style.speakers import SpokenClip, fit_bases
from engine.training.style.train import (
    DynamicsOptions,
    StyleBatch,
    StyleWindows,
    measure_natural,
    train_dvp,
    train_member,
    vary,
)
from engine.training.style.validation import cut_windows
from tests.engine.training.style.planted_people import MINI, QUICK, forge, make_people, make_person_clip, make_windows

PLAIN = replace(QUICK, recasts=0)
N_MOVING = MINI.n_shapes + 6  # of the row, the numbers that are not of the picture


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The order of a sum changes its last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def people() -> list[SpokenClip]:
    """Four people on two days each."""
    return make_people(4, n_frames=45)


@pytest.fixture(scope="module")
def strangers() -> list[SpokenClip]:
    """Windows of people whom no training here has seen."""
    return make_windows(make_people(8, n_sessions=3, n_frames=62, first=100))


@pytest.fixture(scope="module")
def trained() -> DVP:
    """A minute's worth of sixteen people."""
    return train_dvp(make_people(16), replace(QUICK, steps=60, batch=32))


def make_source(clips: list[SpokenClip], options: DynamicsOptions) -> StyleWindows:
    return StyleWindows(clips, fit_bases(clips, options.model), options)


def draw(source: StyleWindows, seed: int = 0) -> StyleBatch:
    return source.draw(np.random.default_rng(seed))


def score_pairs(model: DVP, clips: list[SpokenClip]) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of two windows of different days: of one person, and of two."""
    vectors = model.embed_windows(cut_windows(model, clips))[0]
    one, other = np.triu_indices(len(clips), 1)
    same = np.array([clips[i].speaker == clips[j].speaker for i, j in zip(one, other, strict=True)])
    day = np.array([clips[i].row.session == clips[j].row.session for i, j in zip(one, other, strict=True)])
    scores = (vectors[one] * vectors[other]).sum(1)
    return scores[same & ~day], scores[~same]


def weigh(member: StyleMember, part: str) -> list[float]:
    return [
        float(number)
        for name, own in member.named_parameters()
        if name.startswith(part)
        for number in own.detach().ravel()
    ]


def test_a_batch_is_of_the_generator_alone(people: list[SpokenClip]) -> None:
    source = make_source(people, QUICK)
    one, same, other = draw(source), draw(source), draw(make_source(people, QUICK), 1)
    assert one.rows.shape == (QUICK.batch, MINI.window, MINI.n_rows) and one.rows.dtype == np.float32
    assert one.appearance.shape == (QUICK.batch, MINI.n_appearance) and one.appearance.dtype == np.float32
    for name in ("rows", "speakers", "appearance"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
        assert not np.array_equal(getattr(one, name), getattr(other, name))


def test_windows_are_pieces_of_the_speakers_own_clips(people: list[SpokenClip]) -> None:
    bases = fit_bases(people, MINI)
    batch = draw(StyleWindows(people, bases, PLAIN))
    for rows, speaker in zip(batch.rows, batch.speakers, strict=True):
        own = [bases.describe(clip.motion, clip.faces) for clip in people if clip.speaker == f"p{speaker}"]
        cut = [piece for one in own for piece in np.lib.stride_tricks.sliding_window_view(one, len(rows), axis=0)]
        assert min(float(np.abs(piece.T - rows).max()) for piece in cut) < 1e-6
    source = make_source(make_people(2, n_frames=25), PLAIN)
    assert draw(source).rows.shape[1] == MINI.window


def test_speakers_are_drawn_evenly_except_short_ones() -> None:
    clips = [make_person_clip(i, n_frames=n) for i, n in enumerate((25, 125, 250, 500))]
    source = make_source(clips, replace(PLAIN, batch=8000))
    counts = Counter(draw(source).speakers.tolist())
    shares = np.array([counts[i] for i in range(4)]) / 8000
    np.testing.assert_allclose(shares, np.array([1, 5, 10, 10]) / 26, atol=0.02)


def test_identity_swap_has_other_face_and_own_motion() -> None:
    clips = make_people(4, n_sessions=1, per_session=1, n_frames=MINI.window)
    plain, bases = draw(make_source(clips, PLAIN)), fit_bases(clips, MINI)
    codes = {int(who): look for who, look in zip(plain.speakers, plain.appearance, strict=True)}
    assert len(codes) == 4
    pairs = StyleWindows(clips, bases, replace(QUICK, recasts=40)).pairs
    assert len(pairs) == 40
    faces = np.array([min(codes, key=lambda who: float(np.abs(codes[who] - pair.appearance).max())) for pair in pairs])
    assert all(np.abs(codes[face] - pair.appearance).max() < 1e-6 for face, pair in zip(faces, pairs, strict=True))
    swapped = [pair for face, pair in zip(faces, pairs, strict=True) if face != pair.speaker]
    assert 0.4 < len(swapped) / 40 < 1  # any clip's face, of four
    for pair in pairs:
        own = bases.describe(clips[pair.speaker].motion, clips[pair.speaker].faces)
        np.testing.assert_allclose(pair.own, own, atol=1e-5)
        np.testing.assert_allclose(pair.made[:, :N_MOVING], own[:, :N_MOVING], atol=1e-5)
        assert np.abs(pair.made[:, -MINI.n_bands :] - own[:, -MINI.n_bands :]).max() > 0.1
    # the first number of the motion is how open the mouth is, and that of the picture shows it
    together = [abs(np.corrcoef(pair.made[:, 0], pair.made[:, -MINI.n_bands])[0, 1]) for pair in swapped]
    assert np.median(together) > 0.9


def test_manipulated_clip_is_paired_with_its_driver() -> None:
    clips = make_people(4, n_sessions=1, per_session=1, n_frames=2 * MINI.window)
    forged = forge(clips[1], clips[3])
    strange = replace(forged, row=replace(forged.row, driver_path=Path("nowhere.mp4")))
    shorter = replace(forged, motion=forged.motion[:-1], faces=forged.faces[:-1])
    bases = fit_bases(clips, MINI)
    source = StyleWindows([*clips, forged, strange, shorter], bases, PLAIN)
    assert source.n_speakers == 4 and len(source.pairs) == 2  # of two windows
    rows = [bases.describe(clip.motion, clip.faces) for clip in (forged, clips[1])]
    for pair, start in zip(source.pairs, (0, MINI.window), strict=True):
        assert pair.speaker == 1
        for cut, whole in zip((pair.made, pair.own), rows, strict=True):
            np.testing.assert_array_equal(cut, whole[start : start + MINI.window])
    made, own = source.draw_pairs(np.random.default_rng(0))
    assert made.rows.shape == own.shape == (PLAIN.pairs, MINI.window, MINI.n_rows)
    assert draw(source).speakers.max() == 3


def test_manipulated_clips_are_excluded_from_bases_and_train_motion_identity() -> None:
    people = make_people(6, n_frames=62)
    forged = [
        forge(clip, face, f"{number}-{face.row.path.name}")
        for number, clip in enumerate(people)
        for face in people[::5]
        if face.speaker != clip.speaker
    ]
    options = replace(PLAIN, steps=25)
    plain, taught = train_dvp(people, options), train_dvp([*people, *forged], options)
    torch.testing.assert_close(plain.point_basis, taught.point_basis)

    def follow(model: DVP) -> float:
        """Cosine of a manipulated clip with its driving clip, minus that with the source of its face."""
        made, own = (model.embed_windows(cut_windows(model, clips))[0] for clips in (forged, people))
        places = {clip.row.path: number for number, clip in enumerate(people)}
        drivers, donors = (
            own[[places[getattr(clip.row, name)] for clip in forged]] for name in ("driver_path", "donor_path")
        )
        return float((made * (drivers - donors)).sum(1).mean())

    assert follow(taught) > follow(plain) + 0.1


def test_codes_of_appearance_are_alike_for_one_look_and_of_unit_spread() -> None:
    clips = make_people(12, n_sessions=1, per_session=2, n_frames=31)
    clips = [replace(clip, speaker=f"{number:02}") for number, clip in enumerate(clips)]
    batch = draw(make_source(clips, replace(PLAIN, batch=600)))
    codes = np.stack([batch.appearance[batch.speakers == number][0] for number in range(24)])
    np.testing.assert_allclose(codes.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(codes.std(0), 1, atol=1e-4)
    apart = np.linalg.norm(codes[:, None, :3] - codes[None, :, :3], axis=2)  # the widest directions
    np.fill_diagonal(apart, np.inf)
    assert np.mean(apart.argmin(1) == np.arange(24) ^ 1) > 0.8  # the other clip of that day


def test_varied_windows_keep_their_middle_and_most_of_their_motion() -> None:
    rows = np.random.default_rng(0).normal(3, 1, (200, 31, 4)).astype(np.float32)
    varied = vary(rows, np.random.default_rng(1))
    assert varied.dtype == np.float32 and not np.array_equal(varied, rows)
    np.testing.assert_allclose(varied.mean((1, 2)), rows.mean((1, 2)), atol=0.1)
    reach = varied.std(1).mean(1) / rows.std(1).mean(1)
    assert reach.std() == pytest.approx(0.1, abs=0.03) and np.median(reach) == pytest.approx(1, abs=0.05)
    np.testing.assert_array_equal(varied, vary(rows, np.random.default_rng(1)))


def test_adversary_weight_ramps_from_zero(people: list[SpokenClip], monkeypatch: pytest.MonkeyPatch) -> None:
    strengths: list[float] = []

    class Watched(StyleMember):
        def forward(self, rows: torch.Tensor, strength: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            strengths.append(strength)
            return super().forward(rows, strength)

    monkeypatch.setattr(train, "StyleMember", Watched)
    options = replace(PLAIN, steps=10, adversary=0.4)
    train_member(make_source(people, options), options, 0, "cpu", lambda step: None)
    wanted = [0.4 * (2 / (1 + np.exp(-10 * step / 10)) - 1) for step in range(10)]
    assert strengths[0] == 0
    np.testing.assert_allclose(strengths, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "idle"),
    [({"negatives": ()}, "natural"), ({"adversary": 0.0}, "appearance"), ({}, "")],
)
def test_disabled_loss_is_not_trained(
    people: list[SpokenClip], change: dict[str, object], idle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    first = StyleMember(MINI)

    class Watched(StyleMember):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            first.load_state_dict(self.state_dict())

        def forward(self, rows: torch.Tensor, strength: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            sizes.append(len(rows))
            return super().forward(rows, strength)

    monkeypatch.setattr(train, "StyleMember", Watched)
    options = replace(PLAIN, steps=3, **change)  # type: ignore[arg-type]
    member = train_member(make_source(people, options), options, 0, "cpu", lambda step: None)
    for part in ("natural", "appearance", "outlet"):
        assert (weigh(member, part) == weigh(first, part)) == (part == idle)
    assert set(sizes) == {options.batch if idle == "natural" else 2 * options.batch}


def test_without_identity_swaps_no_face_is_generated(people: list[SpokenClip], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a face was made")

    monkeypatch.setattr(train, "swap_identity", refuse)
    draw(make_source(people, PLAIN))
    with pytest.raises(AssertionError, match="a face was made"):
        make_source(people, replace(PLAIN, recasts=1))


@pytest.mark.parametrize("steps", [1, 2, 10, 11])
def test_any_number_of_steps_will_do_and_all_are_reported(people: list[SpokenClip], steps: int) -> None:
    result: list[tuple[int, int]] = []
    options = replace(PLAIN, n_members=2, steps=steps)
    model = train_dvp(people, options, on_step=lambda member, step: result.append((member, step)))
    assert result == [(member, step + 1) for member in (0, 1) for step in range(steps)]
    assert not model.training and len(model.members) == 2
    assert all(torch.isfinite(weight).all() for weight in model.state_dict().values())


def test_the_same_seed_gives_the_same_weights(people: list[SpokenClip]) -> None:
    options = replace(QUICK, steps=3, recasts=4, n_members=2)
    one, same, other = (train_dvp(people, replace(options, seed=seed)) for seed in (1, 1, 2))
    assert all(torch.equal(weight, same.state_dict()[name]) for name, weight in one.state_dict().items())
    assert weigh(one.members[0], "outlet") != weigh(other.members[0], "outlet")  # type: ignore[arg-type]
    assert weigh(one.members[0], "outlet") != weigh(one.members[1], "outlet")  # type: ignore[arg-type]


def test_held_out_speakers_are_separated_by_motion(trained: DVP, strangers: list[SpokenClip]) -> None:
    torch.manual_seed(0)
    untrained = DVP.of([StyleMember(MINI)], trained)
    learnt, luck = (eer(*score_pairs(model, strangers)) for model in (trained, untrained))
    assert learnt < 0.25 and learnt < luck - 0.1


@pytest.mark.parametrize(
    "kind",
    [
        *(kind for kind in TRAINED if kind != Augmentation.SWAPPED),  # two cuts in a second leave most of it as it was
        Augmentation.WANDERING,  # this and the next are new to the network
        Augmentation.SMOOTH_SHUFFLED,
    ],
)
def test_augmented_motion_is_less_natural(trained: DVP, strangers: list[SpokenClip], kind: Augmentation) -> None:
    windows = cut_windows(trained, strangers)
    untouched = trained.embed_windows(windows)[1]
    distorted = trained.embed_windows(AUGMENT[kind](windows, np.random.default_rng(0)))[1]
    assert auc(untouched, distorted) > 0.75
    assert untouched.mean() > 0 > distorted.mean()


def test_augmented_motion_matches_no_speaker(trained: DVP) -> None:
    known = make_windows(make_people(16))
    windows = cut_windows(trained, known)
    untouched = trained.embed_windows(windows)[0]
    distorted = trained.embed_windows(AUGMENT[Augmentation.REVERSED](windows, np.random.default_rng(0)))[0]
    among = [float((own @ own.T)[~np.eye(len(own), dtype=bool)].mean()) for own in (untouched, distorted)]
    assert among[1] > among[0] + 0.2  # all of them lie about one direction, for every speaker
    speakers = np.array([clip.speaker for clip in known])
    own = {name: float((untouched[speakers == name] @ distorted.T).mean()) for name in set(speakers)}
    assert max(own.values()) < 0.55 * among[1]  # and no training speaker lies there


def test_natural_motion_is_measured_between_sessions_and_within_them() -> None:
    rng = np.random.default_rng(0)
    evidence = [1.5 + 0.6 * rng.normal() + 0.8 * rng.normal(size=rng.integers(3, 9)) for _ in range(500)]
    np.testing.assert_allclose(measure_natural(evidence), [1.5, 0.6, 0.8], atol=0.06)


def test_sessions_that_are_all_alike_do_not_differ() -> None:
    spread = np.array([-1.0, 1.0, -1.0, 1.0])
    assert measure_natural([spread] * 5).tolist() == pytest.approx([0, 0, (20 / 15) ** 0.5])
