"""Identity evaluations on speakers with known faces and motions, and their refusals."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from engine.datasets.manifest import Row
from engine.errors import Code, EngineError
from engine.evaluation import measurements
from engine.evaluation.speakers.embeddings import EmbeddedRow
from engine.evaluation.speakers.identity import (
    IdentityOptions,
    IdentityTask,
    check_manifest,
    evaluate_identity,
    name_unusable,
)
from engine.evaluation.speakers.results import IdentityReport
from engine.faces.face_crops import N_POINTS, SIZE, AlignedFaces
from engine.features.extractor import FeatureExtractor
from engine.features.records import ClipFeatures, FaceFeatures
from engine.types import DynamicEmbedding
from tests.engine.evaluation.films import DrawnExtractor, draw_film
from tests.engine.evaluation.speakers.people import NATURE, draw_people, embed, gather, make_row
from tests.raising import raises
from webapp.cli import evaluate as command
from webapp.cli.main import app

TASKS = tuple(IdentityTask)
UNNATURAL = "9"  # the last figure of such a clip


def evaluate(
    embedded: Sequence[EmbeddedRow], task: IdentityTask = IdentityTask.VERIFICATION, **options: object
) -> IdentityReport:
    chosen = IdentityOptions(task, **{"resamples": 50, **options})  # type: ignore[arg-type]
    return evaluate_identity(gather(*embedded), [one.row for one in embedded], chosen)


def make_controls(real: Sequence[EmbeddedRow], method: str, vectors: Sequence[np.ndarray]) -> list[EmbeddedRow]:
    return [
        embed(
            replace(one.row, number=1000 + one.row.number, path=Path(f"{method}{one.row.number}.mp4"), label="control",
                    method=method, driver_path=one.row.path),
            vector,
            sha256=f"{method}{one.row.number}",
        )
        for one, vector in zip(real, vectors, strict=True)
    ]  # fmt: skip


def forge(real: Sequence[EmbeddedRow], follow: Callable[[EmbeddedRow, EmbeddedRow], np.ndarray]) -> list[EmbeddedRow]:
    """Everybody's clips with the face of the next clip that is another's."""
    made = []
    for place, driver in enumerate(real):
        others = [one for one in (*real[place:], *real[:place]) if one.row.speaker != driver.row.speaker]
        donor = others[0]
        row = Row(
            number=2000 + place, path=Path(f"forged{place}.mp4"), label="fake", method="swap",
            speaker=driver.row.speaker, session=driver.row.session, face_owner=donor.row.speaker,
            motion_owner=driver.row.speaker, donor_path=donor.row.path, driver_path=driver.row.path,
            written=f"forged{place}.mp4",
        )  # fmt: skip
        made.append(embed(row, follow(driver, donor), sha256=f"forged{place}"))
    return made


def vector_of(one: EmbeddedRow) -> np.ndarray:
    return one.embedding.vector


def test_controls_are_reported_by_method_without_changing_real_results() -> None:
    real = draw_people(8, 3, per_session=2)
    rng = np.random.default_rng(1)
    frozen = make_controls(real, "frozen", [np.ones(16)] * len(real))
    noise = make_controls(real, "noise", list(rng.normal(size=(len(real), 16))))
    copied = make_controls(real, "copied", [vector_of(one) for one in real])
    plain, found = evaluate(real), evaluate([*real, *frozen, *noise, *copied])
    assert found.figures.whole == plain.figures.whole
    assert (found.n_samples, found.n_made_samples, found.n_speakers, found.across_sessions) == (48, 144, 8, True)
    reported = {name: one.recognition for name, one in found.figures.per_method.items()}
    assert set(reported) == {"frozen", "noise", "copied"}
    assert reported["copied"].eer == pytest.approx(plain.figures.whole.recognition.eer, abs=0.02)
    assert reported["copied"].rank1 == plain.figures.whole.recognition.rank1
    assert reported["copied"].n_genuine == 2 * plain.figures.whole.recognition.n_genuine  # looked up from both ends
    for name in ("frozen", "noise"):
        assert reported[name].eer == pytest.approx(0.5, abs=0.08)
        assert reported[name].rank1 == pytest.approx(1 / 8, abs=0.1)
    assert found.remarks == ("The intervals are over 8 people alone: more people would change them.",)


def test_control_is_not_compared_with_its_source_clip() -> None:
    """A copy never finds a speaker with one session; memorised clips score at chance across sessions."""
    rng = np.random.default_rng(5)
    memory = [embed(one.row, rng.normal(size=64)) for one in draw_people(12, 2)]
    copied = make_controls(memory, "copied", [vector_of(one) for one in memory])
    for task in (IdentityTask.VERIFICATION, IdentityTask.IDENTIFICATION):
        found = evaluate([*memory, *copied], task).figures.per_method["copied"].recognition
        assert found.eer == pytest.approx(0.5, abs=0.12) and found.rank1 <= 0.3  # type: ignore[operator]
    same = evaluate([*memory, *copied], same_session=True)
    assert same.figures.per_method["copied"].recognition.n_genuine == 24  # the file itself still is left out
    assert not same.across_sessions and "as was asked for" in same.remarks[0]


def test_session_cues_count_only_in_same_session_comparisons() -> None:
    rng = np.random.default_rng(2)
    looks = {(f"p{person}", f"s{session}"): rng.normal(size=32) for person in range(10) for session in range(3)}
    clips = [
        embed(make_row(number, speaker, session), look + 0.1 * rng.normal(size=32))
        for number, ((speaker, session), look) in enumerate((item for item in looks.items() for _ in range(3)), 1)
    ]
    apart, together = (evaluate(clips, same_session=flag).figures.whole.recognition for flag in (False, True))
    assert apart.eer == pytest.approx(0.5, abs=0.08)
    assert together.rank1 > 0.6 > 0.3 > apart.rank1  # type: ignore[operator]
    untold = evaluate([replace(one, row=replace(one.row, session=None)) for one in clips])
    assert untold.figures.whole.recognition == together
    assert not untold.across_sessions and untold.remarks[0].startswith("NOT ACROSS SESSIONS: no row")


def test_ios_follows_the_motion_or_the_face_as_the_embedder_does() -> None:
    real = draw_people(6, 3, per_session=2, noise=0.2)
    by_motion = evaluate([*real, *forge(real, lambda driver, donor: vector_of(driver))], IdentityTask.IOS)
    whole, reported = by_motion.figures.whole.recognition, by_motion.figures.whole.following
    assert reported is not None
    assert (whole.rank1, reported.rank1_face, reported.decided, reported.follows_motion, reported.kept) == (
        1,
        0,
        1,
        1,
        1,
    )
    assert (reported.n_owners, reported.ci["follows_motion"], reported.rank1_untouched) == (6, (1, 1), 1)
    assert by_motion.figures.per_method["swap"] == by_motion.figures.whole
    assert "The intervals are over 6 people alone: more people would change them." in by_motion.remarks
    by_face = evaluate([*real, *forge(real, lambda driver, donor: vector_of(donor))], IdentityTask.IOS)
    reported = by_face.figures.whole.following
    assert reported is not None
    assert (by_face.figures.whole.recognition.rank1, reported.rank1_face, reported.follows_motion, reported.kept) == (
        0,
        1,
        0,
        0,
    )
    assert by_face.figures.whole.recognition.eer > 0.5  # type: ignore[operator]


def test_ios_excludes_source_clips() -> None:
    """An embedder that knows clips and no people finds neither owner."""
    rng = np.random.default_rng(3)
    memory = [embed(one.row, rng.normal(size=64)) for one in draw_people(10, 2)]
    both = forge(memory, lambda driver, donor: vector_of(driver) + vector_of(donor))
    reported = evaluate([*memory, *both], IdentityTask.IOS).figures.whole
    assert reported.recognition.rank1 <= 0.3 and reported.following is not None  # type: ignore[operator]
    assert reported.following.rank1_face <= 0.3  # type: ignore[operator]
    lost = [replace(one, row=replace(one.row, donor_path=None)) for one in both]
    found = evaluate([*memory, *lost], IdentityTask.IOS)
    assert found.figures.whole.following.rank1_face > 0.5  # type: ignore[union-attr, operator]
    assert any("Of 20 samples the manifest does not tell the session that the face is from" in one
               for one in found.remarks)  # fmt: skip


def test_open_set_identification_reports_supported_rates() -> None:
    real = draw_people(12, 3, noise=0.2)
    frozen = make_controls(real, "frozen", [np.ones(16)] * len(real))
    found = evaluate([*real, *frozen], IdentityTask.IDENTIFICATION)
    reported, control = found.figures.whole.open_set, found.figures.per_method["frozen"].open_set
    assert reported is not None and control is not None
    assert found.figures.whole.recognition.rank1 == 1.0
    assert reported.dir["0.1"] >= 0.95 > 0.2 > control.dir["0.1"]  # type: ignore[operator]
    assert (reported.n_mated, reported.n_nonmated, reported.n_nonmated_speakers) == (36, 36, 12)
    assert reported.smallest_fpir == pytest.approx(3 / 36)
    assert [one for one in found.remarks if "cannot support a share of 1%" in one and "less than 8.3%" in one]
    assert found.figures.whole.recognition.n_pairs == 36 * 12


def test_an_enrolled_gallery_is_the_whole_gallery() -> None:
    rows = [replace(one, row=replace(one.row, enrol=one.row.session == "s0")) for one in draw_people(5, 3)]
    stranger = embed(make_row(99, "Eve", "s1", enrol=False), np.arange(16.0))
    found = evaluate([*rows, stranger], IdentityTask.IDENTIFICATION)
    whole, reported = found.figures.whole.recognition, found.figures.whole.open_set
    assert reported is not None
    assert (whole.n_probes, whole.chance_rank1) == (10, pytest.approx(1 / 5))  # Eve is no candidate
    assert (reported.n_mated, reported.n_nonmated, reported.n_nonmated_speakers) == (10, 11, 6)
    pairs = evaluate([*rows, stranger]).figures.whole.recognition
    assert (pairs.n_genuine, pairs.n_impostor) == (10, 10 * 4 + 5)


def test_samples_longer_than_sessions_span_sessions() -> None:
    real = draw_people(6, 12, noise=2.0)
    single, pooled = (evaluate(real, pool_s=length) for length in (None, 3.0))
    assert (single.seconds, pooled.seconds, pooled.n_samples) == (1.0, 3.0, 24)
    assert pooled.across_sessions
    assert pooled.figures.whole.recognition.eer < single.figures.whole.recognition.eer  # type: ignore[operator]
    nobody = evaluate(real, pool_s=12.0)
    assert (nobody.n_samples, nobody.figures.whole.recognition.n_genuine) == (6, 0)
    assert nobody.figures.whole.recognition.eer is None
    assert "No sample could be held against another one of its speaker." in nobody.remarks
    too_much = evaluate(real, pool_s=13.0)
    assert (too_much.n_samples, len(too_much.skipped), too_much.n_rows) == (0, 72, 0)


def test_samples_without_session_among_others_are_reported_unused() -> None:
    real = draw_people(12, 2)
    found = evaluate([*real, embed(make_row(99, "p0"), np.ones(16))])
    assert "1 samples tell no session and were held against nobody's own." in found.remarks


@pytest.mark.parametrize("task", TASKS)
def test_no_embeddings_still_give_a_report(task: IdentityTask) -> None:
    rows = [make_row(1, "Ada", "1"), make_row(2, "Ada", "2"), make_row(3, "Ben", "1")]
    found = evaluate_identity(gather(), rows, IdentityOptions(task))
    assert (found.n_rows, found.seconds, found.figures.whole.recognition.eer) == (0, None, None)


@pytest.mark.parametrize(
    ("rows", "task", "says"),
    [
        ([make_row(1, "Ada", "1", "fake")], "verification", "no row with the label real"),
        ([make_row(1, "Ada", "1"), make_row(2, "Ada", "2"), make_row(3, "")], "verification", "name 1 speakers"),
        ([make_row(1, ""), make_row(2, "")], "identification", "name 0 speakers"),
        ([make_row(1, "Ada", "1"), make_row(2, "Ben", "1")], "verification", "clips of two sessions"),
        ([make_row(1, "Ada", "1"), make_row(2, "Ada"), make_row(3, "Ben", "1")], "verification", "of two sessions"),
        ([make_row(1, "Ada"), make_row(2, "Ben")], "verification", "has two clips"),
        (
            [make_row(1, "Ada", "1"), make_row(2, "Ada", "2"), make_row(3, "Ben", "1"), make_row(4, "Ben", "1", "f")],
            "ios",
            "no forged row that names two people, one as face_owner and another as motion_owner",
        ),
        (
            [make_row(1, "Ada", "1"), make_row(2, "Ben", "1"),
             make_row(3, "", "1", "fake", face_owner="Ada", motion_owner="Eve")],
            "ios",
            r"None of the people who moved the forged faces \(Eve\) has an untouched clip",
        ),
    ],
)  # fmt: skip
def test_manifest_without_comparisons_is_refused(rows: list[Row], task: str, says: str) -> None:
    with raises(Code.BAD_MANIFEST, match=says):
        check_manifest(rows, IdentityOptions(IdentityTask(task)))


def test_manifest_with_comparisons_is_accepted() -> None:
    ada, ben = make_row(1, "Ada", "1"), make_row(2, "Ben", "1")
    verification = IdentityOptions(IdentityTask.VERIFICATION)
    check_manifest([ada, make_row(3, "Ada", "2"), ben], verification)
    check_manifest([ada, make_row(3, "Ada", "2", "control"), ben], verification)
    check_manifest([ada, make_row(3, "Ada", "1"), ben], replace(verification, same_session=True))
    check_manifest([make_row(1, "Ada"), make_row(3, "Ada"), ben], replace(verification, same_session=True))
    forged = make_row(3, "", "2", "fake", face_owner="Ada", motion_owner="Ben")
    check_manifest([ada, ben, forged], IdentityOptions(IdentityTask.IOS))
    driven = replace(forged, session=None, driver_path=Path("of another day.mp4"))
    check_manifest([ada, ben, driven], IdentityOptions(IdentityTask.IOS))


def test_rows_of_no_use_say_why() -> None:
    forged = make_row(1, "", None, "fake", face_owner="Ada", motion_owner="Ben")
    half, own = replace(forged, motion_owner=None, speaker="Ben"), replace(forged, face_owner="Ben")
    assert [name_unusable(row, IdentityTask.IOS) for row in (forged, half, own, make_row(1, "Ada"))] == [
        None,
        "it does not name the owners of its face and of its motion",
        "its face and its motion are of one person",
        None,
    ]
    assert name_unusable(make_row(1, ""), IdentityTask.VERIFICATION) == "it names no speaker"
    assert name_unusable(half, IdentityTask.VERIFICATION) is None


def spoil(one: EmbeddedRow) -> EmbeddedRow:
    """The same motion, with evidence that it was tampered with."""
    return embed(one.row, vector_of(one), one.embedding.seconds, one.sha256, evidence=-9.0)


@pytest.mark.parametrize("task", [IdentityTask.VERIFICATION, IdentityTask.IDENTIFICATION])
def test_refused_controls_identify_no_speaker(task: IdentityTask) -> None:
    real = draw_people(8, 3, noise=0.2)
    copied = [spoil(one) for one in make_controls(real, "reversed", [vector_of(one) for one in real])]
    gated, alone = (evaluate([*real, *copied], task, gate=gate) for gate in (True, False))
    reported, plain = gated.figures.per_method["reversed"], alone.figures.per_method["reversed"]
    assert (reported.n_refused, reported.n_tried, gated.gated) == (24, 24, True)
    assert (reported.recognition.rank1, reported.recognition.rank5, reported.recognition.n_probes) == (0.0, 0.0, 24)
    assert reported.recognition.eer == pytest.approx(0.5) and reported.recognition.n_pairs == plain.recognition.n_pairs
    assert (plain.n_refused, alone.gated, plain.recognition.rank1) == (0, False, 1.0)
    assert plain.recognition.eer < 0.1 and alone.remarks[0].startswith("NOT GATED")  # type: ignore[operator]
    assert gated.figures.whole == alone.figures.whole and gated.figures.whole.n_refused == 0
    if reported.open_set is not None:
        assert reported.open_set.dir == {"0.01": 0.0, "0.1": 0.0}


@pytest.mark.parametrize("task", [IdentityTask.VERIFICATION, IdentityTask.IDENTIFICATION])
def test_refused_real_clip_counts_as_error_and_is_not_enrolled(task: IdentityTask) -> None:
    real = draw_people(8, 3, noise=0.2)
    found, plain = evaluate([*real[:-1], spoil(real[-1])], task), evaluate(real, task)
    whole = found.figures.whole
    assert (whole.n_refused, whole.n_tried, whole.recognition.n_probes) == (1, 24, 24)
    assert found.not_enrolled == (real[-1].row.written,) and not plain.not_enrolled
    assert whole.recognition.rank1 == pytest.approx(plain.figures.whole.recognition.rank1 - 1 / 24)  # type: ignore[operator]
    assert whole.recognition.eer > plain.figures.whole.recognition.eer  # type: ignore[operator]
    if task == IdentityTask.VERIFICATION:
        assert whole.recognition.n_pairs == plain.figures.whole.recognition.n_pairs  # each still is a pair, once
    assert found.n_samples == 24 and found.n_rows == 24


def test_refused_manipulated_clip_is_undecided() -> None:
    real = draw_people(6, 3, noise=0.2)
    forged = forge(real, lambda driver, donor: vector_of(driver))
    reported = evaluate([*real, *(spoil(one) for one in forged[:9]), *forged[9:]], IdentityTask.IOS)
    assert reported.figures.whole.following is not None
    assert (reported.figures.whole.n_refused, reported.figures.whole.recognition.rank1) == (9, 0.5)
    assert (reported.figures.whole.following.decided, reported.figures.whole.following.follows_motion) == (0.5, 1.0)


def test_all_samples_refused_still_give_a_report() -> None:
    found = evaluate([spoil(one) for one in draw_people(3, 2)])
    assert (found.figures.whole.recognition.n_pairs, found.figures.whole.n_tried) == (0, 0)
    assert len(found.not_enrolled) == found.n_samples == 6


class MouthEmbedder:
    """Points where the drawn mouth's number says: the person is its hundreds, the session its tens."""

    recipe = "mouth"
    nature = NATURE
    trained_on = frozenset({"p1"})

    def embed(self, observation: ClipFeatures, track: FaceFeatures) -> DynamicEmbedding:
        film = int(observation.name.split(".")[0])
        rng = np.random.default_rng(film // 100)
        vector = rng.normal(size=8) + 0.1 * np.random.default_rng(film).normal(size=8)
        unit = (vector / np.linalg.norm(vector)).astype(np.float32)
        assert track.faces is not None
        evidence = float(track.faces.pictures.mean())
        return DynamicEmbedding(unit, len(track.seen) / 25, 0.1, self.recipe, 1, -evidence, NATURE.admits(-evidence, 1))


class FacedExtractor(DrawnExtractor):
    """Cuts faces that are black, and white where the film's clip is called unnatural by a number of its own."""

    def extract(self, path: Path, *arguments: object) -> ClipFeatures:
        seen = super().extract(path)
        grey = 255 if path.stem.endswith(UNNATURAL) else 0
        tracks = tuple(
            replace(
                track,
                faces=AlignedFaces(
                    np.full((len(track.seen), SIZE, SIZE), grey, np.uint8),
                    np.zeros((len(track.seen), N_POINTS, 2), np.float32),
                ),
            )
            for track in seen.tracks
        )
        return replace(seen, tracks=tracks)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(
        FeatureExtractor, "load", lambda settings, cut_faces: FacedExtractor() if cut_faces else DrawnExtractor()
    )
    monkeypatch.setattr(measurements, "load_embedder", lambda name, settings: MouthEmbedder())
    monkeypatch.setattr(command, "IdentityOptions", partial(IdentityOptions, resamples=50))

    def invoke(rows: list[str], *arguments: str) -> Result:
        header = "path,label,speaker,session,method,face_owner,motion_owner,donor_path,driver_path"
        (tmp_path / "manifest.csv").write_text("\n".join([header, *rows]) + "\n")
        return CliRunner().invoke(app, ["evaluate", str(tmp_path / "manifest.csv"), *arguments])

    return invoke


def write_people(folder: Path, n_people: int = 4) -> list[str]:
    """Two sessions of two silent clips each: `<person><session><clip>.mp4`."""
    return [
        f"{draw_film(folder, f'{person}{session}{clip}.mp4', 1, -1, seconds=2)},real,p{person},d{session},,,,,"
        for person in range(1, n_people + 1)
        for session in (1, 2)
        for clip in (1, 2)
    ]


@pytest.mark.parametrize("task", TASKS)
def test_the_command_writes_what_it_found(run: Callable[..., Result], tmp_path: Path, task: str) -> None:
    swapped = [
        f"{draw_film(tmp_path, f'{1 + person}13.mp4', 1, -1, seconds=2)},fake,,d1,swap,p{2 - person},p{1 + person},"
        f"{2 - person}11.mp4,{1 + person}11.mp4"
        for person in (0, 1)
    ]
    rows = [*write_people(tmp_path), *swapped, "gone.mp4,real,p1,d1,,,,,", "x.mp4,real,,d1,,,,,"]
    result = run(rows, "--task", task, "--json", str(tmp_path / "out.json"))
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out.json").read_text())
    assert {"task", "embedder", "recipe", "eer", "min_dcf", "rank1", "rank5", "n_pairs", "ci", "n_samples",
            "n_speakers", "seconds", "across_sessions", "per_method", "skipped"} <= set(found)  # fmt: skip
    assert (found["task"], found["embedder"], found["recipe"]) == (task, "dynamics", "mouth")
    assert (found["n_samples"], found["n_speakers"], found["n_trained_speakers"]) == (16, 4, 1)
    assert (found["seconds"], found["across_sessions"]) == (2.0, True)
    assert (found["eer"], found["rank1"], found["min_dcf"], found["ci"]["eer"]) == (0, 1, 0, [0, 0])
    assert found["skipped"] == [
        {"path": "x.mp4", "reason": "it names no speaker"},
        {"path": "gone.mp4", "reason": "There is no file 'gone.mp4'."},
    ]
    swap = found["per_method"]["swap"]
    assert (swap["rank1"], swap["n_probes"]) == (1.0, 2)
    if task == IdentityTask.VERIFICATION:
        # 16 samples: 4 genuine pairs of each person across sessions, 16 of each two people
        assert (found["n_pairs"], found["n_genuine"], found["n_impostor"]) == (16 + 96, 16, 96)
    elif task == IdentityTask.IDENTIFICATION:
        assert (found["dir"]["0.1"], found["n_nonmated"], found["supported"]["0.01"]) == (1.0, 16, False)
        assert found["ci"]["dir_0.1"] == [1.0, 1.0]
    else:
        assert (found["follows_motion"], found["kept"], found["n_owners"], found["decided"]) == (1.0, 1.0, 2, 1.0)
    words = " ".join(result.stdout.split())
    for word in ("swap", "gone.mp4", "recipe mouth", "Rank-1 by chance: 0.250", "1 of the speakers were in"):
        assert word in words
    assert ("non-mated" in words) == (task == IdentityTask.IDENTIFICATION)
    assert ("forged face is taken for" in words) == (task == IdentityTask.IOS)


def test_forged_clips_may_stand_in_a_manifest_of_their_own(run: Callable[..., Result], tmp_path: Path) -> None:
    bench = tmp_path / "bench"
    bench.mkdir()
    name = draw_film(bench, "113.mp4", 1, -1, seconds=2)
    (bench / "manifest.csv").write_text(
        "path,label,session,method,face_owner,motion_owner,donor_path,driver_path\n"
        f"{name},fake,d1,swap,p2,p1,../211.mp4,../111.mp4\n"
    )
    arguments = ("--task", "ios", "--json", "-")
    found = json.loads(run(write_people(tmp_path), *arguments, "--also", str(bench / "manifest.csv")).stdout)
    assert (found["n_samples"], found["n_made_samples"], found["rank1"], found["rank1_face"]) == (16, 1, 1.0, 0.0)
    assert not any("donor_path" in remark for remark in found["remarks"])  # found by its place, from the other folder
    # 16 clips of four people in two sessions: without both owners' first sessions all four still are candidates
    assert (found["n_pairs"], found["chance_rank1"]) == (4, 0.25)
    alone = run(write_people(tmp_path), *arguments)
    assert alone.exception.code == Code.BAD_MANIFEST and "no forged row" in alone.exception.message


def test_command_pools_and_warns_of_missing_sessions(run: Callable[..., Result], tmp_path: Path) -> None:
    rows = [row.replace(",d1,", ",,").replace(",d2,", ",,") for row in write_people(tmp_path)]
    result = run(rows, "--task", "verification", "--json", "-", "--pool", "4", "--embedder", "static")
    found = json.loads(result.stdout)
    assert (found["n_samples"], found["seconds"], found["pool_s"], found["embedder"]) == (8, 4.0, 4.0, "static")
    assert not found["across_sessions"] and found["remarks"][0].startswith("NOT ACROSS SESSIONS")
    assert "NOT ACROSS SESSIONS" in result.stderr  # the tables, since the JSON has the other


def test_command_reports_refusals_and_failures(run: Callable[..., Result], tmp_path: Path) -> None:
    one_day = run(["a.mp4,real,Ada,d1,,,,,", "b.mp4,real,Ben,d1,,,,,"], "--task", "verification")
    assert one_day.exception.code == Code.BAD_MANIFEST and "two sessions" in one_day.exception.message
    rows = ["a.mp4,real,Ada,d1,,,,,", "b.mp4,real,Ada,d2,,,,,", "c.mp4,real,Ben,d1,,,,,"]
    gone = run(rows, "--task", "identification", "--json", "-")
    assert gone.exit_code == 1 and "no clip of the manifest could be measured" in gone.stderr
    assert json.loads(gone.stdout)["eer"] is None and len(json.loads(gone.stdout)["skipped"]) == 3
    (tmp_path / "file").touch()
    stopped = run(write_people(tmp_path, 2), "--task", "verification", "--cache", str(tmp_path / "file"))
    assert isinstance(stopped.exception, EngineError) and "cache cannot be written" in stopped.exception.message
    assert run(rows, "--task", "verification", "--pool", "0.5").exit_code == 2


def test_same_seed_gives_same_output(run: Callable[..., Result], tmp_path: Path) -> None:
    rows = write_people(tmp_path)
    arguments = ("--task", "verification", "--json", "-", "--pool", "3")
    first, again = (run(rows, *arguments, "--seed", "7").stdout for _ in range(2))
    assert first == again


@pytest.mark.parametrize("task", TASKS)
def test_command_lists_refused_clips(run: Callable[..., Result], tmp_path: Path, task: str) -> None:
    frozen = [f"{draw_film(tmp_path, f'{p}19.mp4', 1, -1, seconds=2)},control,p{p},d1,frozen,,,,{p}11.mp4"
              for p in (1, 2)]  # fmt: skip
    swapped = [
        f"{draw_film(tmp_path, f'1{n}.mp4', 1, -1, seconds=2)},fake,,d1,swap,p2,p1,211.mp4,111.mp4" for n in (18, 29)
    ]
    rows = [*write_people(tmp_path), f"{draw_film(tmp_path, '119.mp4', 1, -1, seconds=2)},real,p1,d1,,,,,"]
    rows += swapped if task == "ios" else frozen
    figures = {}
    for name in ("--gate", "--no-gate"):
        out = tmp_path / "out.json"
        result = run(rows, "--task", task, "--json", str(out), name)
        assert result.exit_code == 0, result.output
        figures[name] = json.loads(out.read_text())
        said = "Refused, since their motion is not natural:" in result.output
        assert said == (name == "--gate")
        assert ("Not enrolled for that (1): 119.mp4" in result.output) == said
    gated, alone = figures["--gate"], figures["--no-gate"]
    method = "swap" if task == "ios" else "frozen"
    assert (gated["gated"], gated["not_enrolled"], alone["gated"], alone["not_enrolled"]) == (
        True, ["119.mp4"], False, []
    )  # fmt: skip
    assert gated["per_method"][method]["refused"] == (1 if task == "ios" else 2)
    assert (gated["per_method"][method]["n_tried"], alone["per_method"][method]["refused"]) == (2, 0)
    assert gated["refused"] == 1 and alone["refused"] == 0
