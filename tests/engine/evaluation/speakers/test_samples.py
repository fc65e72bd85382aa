"""Clips become samples, and samples that share a file or a session never meet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from engine.evaluation.speakers.embeddings import EmbeddedRow
from engine.evaluation.speakers.samples import PooledSamples, Sample, find_comparable, pool_rows
from tests.engine.evaluation.speakers.people import NATURE, draw_people, embed, make_row

X, Y = (1.0, 0.0), (0.0, 1.0)


def pool(embedded: Sequence[EmbeddedRow], pool_s: float | None = None, seed: int = 0) -> PooledSamples:
    return pool_rows(embedded, [one.row for one in embedded], NATURE, pool_s, seed)


def meet(samples: Sequence[Sample], **how: bool) -> list[list[int]]:
    return find_comparable(samples, samples, **{"has_sessions": True, **how}).astype(int).tolist()


def test_without_a_sample_every_row_is_one() -> None:
    found = pool([embed(make_row(1, "Ada", "a"), X, 2.0), embed(make_row(2, "Ada", "a"), Y, 3.0)])
    assert [(one.speaker, one.seconds, one.is_real) for one in found.samples] == [("Ada", 2, True), ("Ada", 3, True)]
    assert found.samples[0].sessions == {("Ada", "a")}


def test_rows_of_a_sample_are_averaged_by_their_windows() -> None:
    rows = [make_row(1, "Ada", "a", sample="1"), make_row(2, "Ada", "b", sample="1"), make_row(3, "Ben", sample="1")]
    ada, ben = pool([embed(rows[0], X, 3.0), embed(rows[1], Y, 1.0), embed(rows[2], Y, 1.0)]).samples
    assert ada.vector == pytest.approx(np.array([3, 1]) / np.sqrt(10))
    assert (ada.weight, ada.names) == (pytest.approx(10**0.5), ("1.mp4", "2.mp4"))
    assert (ada.seconds, ada.sessions, ada.motion_placed) == (4.0, {("Ada", "a"), ("Ada", "b")}, True)
    assert (ben.speaker, ben.seconds, ben.motion_placed) == ("Ben", 1.0, False)


def test_a_sample_is_natural_by_the_evidence_of_all_its_clips() -> None:
    rows = [make_row(number, "Ada", "a", sample=sample) for number, sample in ((1, "1"), (2, "1"), (3, ""), (4, ""))]
    evidence = {1: -4.0, 2: 3.0, 3: -2.5, 4: -2.7}
    assert NATURE.admits(-0.5, 2) and not NATURE.admits(-4.0, 1)
    found = pool([embed(row, X, evidence=evidence[row.number]) for row in rows]).samples
    assert [one.is_natural for one in found] == [True, True, False]
    long = pool([embed(rows[2], X, 30.0, evidence=-2.5)]).samples
    assert not long[0].is_natural  # so low through 30 windows is no accident


def test_untouched_and_other_clips_and_those_to_enrol_are_not_pooled_together() -> None:
    rows = [
        make_row(1, "Ada", "a", sample="1"),
        make_row(2, "Ada", "a", "control", sample="1", method="frozen"),
        make_row(3, "Ada", "a", "fake", sample="1"),
        make_row(4, "Ada", "a", sample="1", enrol=True),
        make_row(5, "Ada", "a", sample="1", enrol=False, method="camera"),
    ]
    found = pool([embed(row, X) for row in rows]).samples
    assert [(one.method, one.enrol) for one in found] == [
        ("", None),
        ("frozen", None),
        ("fake", None),
        ("", True),
        ("", False),
    ]


def test_embeddings_that_cancel_out_give_no_sample_and_say_so() -> None:
    rows = [make_row(number, "Ada", sample="1") for number in (1, 2)]
    found = pool([embed(rows[0], X), embed(rows[1], (-1.0, 0.0))])
    assert not found.samples
    assert {(one.path, one.reason) for one in found.skipped} == {
        ("1.mp4", "the embeddings of its sample cancel out"),
        ("2.mp4", "the embeddings of its sample cancel out"),
    }


def test_a_long_session_gives_samples_of_its_own_and_short_ones_are_joined_whole() -> None:
    lengths = {"long": 7, "b": 2, "c": 2, "d": 1, "e": 1}
    rows = [make_row(0, "Ada", name) for name, n in lengths.items() for _ in range(n)]
    embedded = [embed(make_row(number, "Ada", row.session), X) for number, row in enumerate(rows, 1)]
    found = pool(embedded, 3.0)
    assert not found.skipped
    own = [one for one in found.samples if one.sessions == {("Ada", "long")}]
    joined = [one for one in found.samples if one not in own]
    assert sorted(one.seconds for one in own) == [3, 4]  # the seventh second went to the last
    assert sum(one.seconds for one in joined) == 6
    assert all(one.seconds >= 3 for one in joined)
    for place, one in enumerate(joined):
        assert not any(one.sessions & other.sessions for other in [*own, *joined[place + 1 :]])


def test_pools_hold_every_clip_once_whatever_is_drawn() -> None:
    rng = np.random.default_rng(3)
    for seed in range(30):
        n = int(rng.integers(1, 40))
        sessions = rng.integers(0, rng.integers(1, 12), n)
        embedded = [
            embed(make_row(number, "Ada", f"s{session}"), X, float(rng.uniform(0.5, 3)))
            for number, session in enumerate(sessions, 1)
        ]
        found = pool(embedded, 5.0, seed)
        files = [file for one in found.samples for file in one.files if file.endswith(".mp4")]
        skipped = [one.path for one in found.skipped]
        assert len(files) == len(set(files)) and len(files) + len(skipped) == n
        assert all(one.seconds >= 5 - 1e-6 for one in found.samples)
        if skipped:  # only what no sample could take
            assert sum(one.embedding.seconds for one in embedded if one.row.written in skipped) < 5
        allowed = find_comparable(found.samples, found.samples, has_sessions=True)
        within = [[bool(one.sessions & other.sessions) for other in found.samples] for one in found.samples]
        assert np.array_equal(allowed, ~np.array(within, bool).reshape(allowed.shape))


def test_manifest_sample_is_joined_and_never_split() -> None:
    rows = [make_row(number, "Ada", "a", sample=f"{number // 3}") for number in range(3, 12)]
    found = pool([embed(row, X) for row in rows], 2.0).samples
    assert sorted(one.seconds for one in found) == [3, 3, 3]
    found = pool([embed(row, X) for row in rows], 4.0).samples
    assert [one.seconds for one in found] == [9]
    across = [make_row(number, "Ada", f"{number}", sample="1") for number in (1, 2)]
    alone = [make_row(3, "Ada", "1"), make_row(4, "Ada", "2"), make_row(5, "Ada", "3")]
    found = pool([embed(row, X, 2.0) for row in (*across, *alone)], 4.0).samples
    assert sum(one.seconds for one in found) == 10
    assert all(len({"1.mp4", "2.mp4"} & {Path(file).name for file in one.files}) != 1 for one in found)


def test_too_little_of_a_person_is_skipped_with_its_reason() -> None:
    found = pool([embed(make_row(1, "Ada", "a"), X), embed(make_row(2, "Ada", "b"), X)], 3.0)
    assert not found.samples
    assert {one.reason for one in found.skipped} == {"of its kind there is less than a sample of 3 s"}


def test_the_seed_draws_the_pools_and_the_order_of_rows_does_not() -> None:
    embedded = draw_people(1, 12)
    pools = [{one.sessions for one in pool(rows, 3.0, seed).samples} for rows, seed in
             ((embedded, 0), (embedded[::-1], 0), (embedded, 1))]  # fmt: skip
    assert pools[0] == pools[1] != pools[2]


def test_clips_made_from_others_are_pooled_as_those_are() -> None:
    embedded = draw_people(2, 3, per_session=8)
    made = [
        embed(
            make_row(100 + one.row.number, one.row.speaker, one.row.session, "control", method="frozen",
                     driver_path=one.row.path),
            X,
        )
        for one in embedded
    ]  # fmt: skip
    samples = pool([*embedded, *made], 3.0, seed=4).samples
    real = {frozenset(file for file in one.files if len(file) < 64) for one in samples if one.is_real}
    origins = [{file for file in one.files if len(file) < 64} for one in samples if not one.is_real]
    assert len(origins) == len(real) > 4
    assert all(any(own <= files for own in real) for files in origins)


def test_manipulated_clip_belongs_to_sessions_of_motion_and_face() -> None:
    ada, ben = make_row(1, "Ada", "a1"), make_row(2, "Ben", "b1")
    forged = make_row(
        3, "Ben", None, "fake", method="swap", face_owner="Ada", motion_owner="Ben",
        donor_path=Path("x/../1.mp4"), driver_path=Path("2.mp4"),
    )  # fmt: skip
    lost = make_row(4, "", "b1", "fake", face_owner="Ada", motion_owner="Ben", donor_path=Path("gone.mp4"))
    one, two = pool_rows([embed(forged, X), embed(lost, X)], [ada, ben, forged, lost], NATURE).samples
    assert (one.speaker, one.face_owner, one.method) == ("Ben", "Ada", "swap")
    assert one.sessions == {("Ada", "a1"), ("Ben", "b1")}
    assert (one.motion_placed, one.face_placed) == (True, True)
    assert (two.speaker, two.method, two.sessions) == ("Ben", "fake", {("Ben", "b1")})
    assert (two.motion_placed, two.face_placed) == (True, False)
    real = pool([embed(ada, X), embed(make_row(5, "Ada", "a2"), X), embed(ben, Y)]).samples
    assert find_comparable([one, two], real, has_sessions=True).tolist() == [[False, True, False], [True, True, False]]


def test_session_names_are_scoped_to_their_speaker() -> None:
    rows = [make_row(1, "Ada", "1"), make_row(2, "Ada", "1"), make_row(3, "Ada", "2"), make_row(4, "Ben", "1")]
    samples = pool([embed(row, X) for row in rows]).samples
    assert meet(samples) == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]]
    assert meet(samples, same_session=True) == [[0, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]]


def test_sample_without_session_skips_its_speaker_unless_none_has_one() -> None:
    rows = [make_row(1, "Ada", "1"), make_row(2, "Ada"), make_row(3, "Ada", "2"), make_row(4, "Ben")]
    samples = pool([embed(row, X) for row in rows]).samples
    assert meet(samples) == [[0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 0]]
    none = pool([embed(make_row(number, "Ada"), X) for number in (1, 2)]).samples
    assert meet(none, has_sessions=False) == [[0, 1], [1, 0]]


def test_two_paths_of_one_file_count_once() -> None:
    rows = [make_row(1, "Ada", "1"), make_row(2, "Ada", "2"), make_row(3, "Ben", "3")]
    samples = pool([embed(row, X, sha256="ab" * 32) for row in rows]).samples
    assert not any(map(any, meet(samples, same_session=True)))


def test_enrolled_samples_are_not_probes() -> None:
    rows = [make_row(1, "Ada", "1", enrol=True), make_row(2, "Ada", "2", enrol=False), make_row(3, "Ben", "3")]
    samples = pool([embed(row, X) for row in rows]).samples
    # rows look up, columns are enrolled
    assert meet(samples) == [[0, 0, 0], [1, 0, 1], [1, 0, 0]]


def test_unknown_speakers_are_not_compared() -> None:
    samples = pool([embed(make_row(1, "Ada", "1"), X)]).samples
    assert find_comparable([], samples, True).shape == (0, 1)
    assert find_comparable(samples, [], True).shape == (1, 0)
    assert find_comparable([], [], True).shape == (0, 0)
