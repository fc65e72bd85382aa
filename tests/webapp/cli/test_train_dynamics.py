"""`wayspeak train dynamics` from planted people to weights that load and to figures, and what it refuses."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from engine.calibration.records import Task
from engine.calibration.trials import read_trials
from engine.errors import Code
from engine.evaluation.speakers.metrics import measure_following, measure_recognition
from engine.faces.face_crops import AlignedFaces
from engine.faces.tracking import FaceOptions
from engine.features.cache import FeatureCache
from engine.features.extractor import FeatureExtractor
from engine.features.records import ClipFeatures
from engine.models.dvp import DVP, StyleMember, load_dvp
from engine.settings import Settings
from engine.style.embedder import Nature, load_dynamics
from engine.training.style import speakers, validation
from engine.training.style.augmentation import Augmentation, StillFace
from engine.training.style.speakers import SpokenClip, fit_bases, read_spoken_rows
from engine.training.style.train import DynamicsOptions, save_dvp, train_dvp
from engine.training.style.validation import (
    EMBEDDED_BY,
    UNTOUCHED,
    EmbeddingsByMethod,
    _call_all,
    embed_first_windows,
    list_ablations,
)
from engine.weights.licences import MARK
from engine.weights.registry import DYNAMICS, FOLDER, hash_file, verify
from tests.engine.training.style.planted_people import (
    MINI,
    QUICK,
    forge,
    make_face_features,
    make_features,
    make_people,
    make_person_clip,
)
from webapp.cli import train
from webapp.cli.main import app, main

N_PEOPLE, N_CLIPS, N_DAYS = 8, 20, 4  # two in each of four folds
TINY = replace(QUICK, recasts=6)


@pytest.fixture(scope="module")
def people() -> list[SpokenClip]:
    """People enough to leave some out, and one who is always trained on."""
    return [
        *make_people(N_PEOPLE, N_DAYS, N_CLIPS // N_DAYS, n_frames=31),
        *make_people(1, n_frames=31, first=N_PEOPLE),
    ]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Restore the thread count that validation changes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass
class Bench:
    """The command, given these clips for whatever its manifest says."""

    folder: Path
    clips: list[SpokenClip] = field(default_factory=list)

    def run(self, *arguments: str) -> Result:
        plain = [
            "train",
            "dynamics",
            str(self.folder / "clips.csv"),
            "--out",
            str(self.out),
            "--workers",
            "1",
            "--steps",
            "3",
        ]
        return CliRunner().invoke(app, [*plain, "--members", "1", *arguments])

    @property
    def out(self) -> Path:
        return self.folder / "data" / FOLDER

    @property
    def path(self) -> Path:
        return self.out / DYNAMICS.file


@pytest.fixture
def bench(tmp_path: Path, people: list[SpokenClip], monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path, people)
    monkeypatch.setattr(train, "read_spoken_rows", lambda *arguments: [])
    monkeypatch.setattr(train, "gather_spoken_clips", lambda *arguments: made.clips)
    options = partial(DynamicsOptions, model=MINI, recasts=6, batch=16, learning_rate=8e-3)
    monkeypatch.setattr(train, "DynamicsOptions", options)
    for tell in (measure_recognition, measure_following):
        monkeypatch.setattr(validation, tell.__name__, partial(tell, n=5))
    monkeypatch.setattr(validation, "swap_identity", hold_still)  # what faces look like is no matter here
    return made


def hold_still(still: StillFace, motion: np.ndarray, keep_shape: bool) -> AlignedFaces:
    return AlignedFaces(np.repeat(still.picture[None], len(motion), axis=0), motion)


def test_weights_are_written_and_loaded_as_they_are_used(tmp_path: Path, people: list[SpokenClip]) -> None:
    torch.manual_seed(0)
    model = DVP.of([StyleMember(MINI), StyleMember(MINI)], fit_bases(people, MINI))
    model.natural = torch.tensor([1.5, 0.5, 0.75])
    path = tmp_path / FOLDER / DYNAMICS.file
    path.parent.mkdir()
    unnamed = replace(people[0], row=replace(people[0].row, speaker=""), speaker="clip 7")
    save_dvp(model, path, TINY, [*people[:25], unnamed])
    assert verify(path, DYNAMICS) == path
    loaded = load_dvp(path)
    assert loaded.options == MINI and len(loaded.members) == 2
    one, other = (embed_first_windows(own, people[:4]) for own in (loaded, model))
    np.testing.assert_allclose([a.vector for a in one], [b.vector for b in other], atol=0.01)  # half precision
    used = load_dynamics(Settings(tmp_path))
    assert used.nature == Nature(1.5, 0.5, 0.75) and used.trained_on == {"p0", "p1"}
    track = make_face_features(people[0], np.ones(31, bool))
    embedded = used.embed(make_features(track), track)
    assert embedded is not None
    np.testing.assert_allclose(embedded.vector, other[0].vector, atol=0.01)


def test_the_sidecar_says_what_the_weights_are(tmp_path: Path, people: list[SpokenClip]) -> None:
    path = tmp_path / DYNAMICS.file
    save_dvp(DVP(MINI, 1), path, TINY, people[:25])
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["sha256"] == hash_file(path) and sidecar["recipe"] == f"dynamics-{sidecar['sha256'][:12]}"
    assert sidecar["speakers"] == ["p0", "p1"] and sidecar[MARK] == "speaker"
    assert sidecar["trained_on"] == {"clips": 25, "seconds": 31, "sources": ["planted"]}
    assert sidecar["options"]["negatives"] == list(map(str, TINY.negatives))
    assert sidecar["options"]["model"]["width"] == MINI.width and sidecar["options"]["recasts"] == 6


def test_from_clips_to_weights_that_load(bench: Bench) -> None:
    result = bench.run("--seed", "4")
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == [str(bench.path), "written."]
    used = load_dynamics(Settings(bench.folder / "data"))
    assert used.trained_on == {
        f"p{number}" for number in range(N_PEOPLE + 1)
    }  # including the speakers that fitted naturalness
    assert used.model.options == MINI
    assert used.nature.between >= 0 and used.nature.within > 0 and used.nature.mean != 0
    sidecar = json.loads(bench.path.with_suffix(".json").read_text())
    assert sidecar["options"]["seed"] == 4 and sidecar["options"]["steps"] == 3
    assert sidecar["trained_on"]["clips"] == len(bench.clips)


def test_the_same_seed_gives_the_same_weights(bench: Bench) -> None:
    files = []
    for seed in ("1", "1", "2"):
        assert bench.run("--seed", seed).exit_code == 0
        files.append(load_file(bench.path))
    one, same, other = files
    assert one.keys() == same.keys() and all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["members.0.outlet.weight"], other["members.0.outlet.weight"])
    assert torch.equal(one["band_basis"], other["band_basis"])  # of the clips alone


def test_naturalness_is_fitted_on_held_out_speakers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[set[str]] = []
    judged: list[tuple[int, set[str]]] = []

    def watch_training(clips: list[SpokenClip], options: DynamicsOptions, **rest: object) -> DVP:
        trained.append({clip.speaker for clip in clips})
        model = train_dvp(clips, options)
        model.number = len(trained)  # type: ignore[assignment]
        return model

    def watch_looking(model: DVP, clips: list[SpokenClip]) -> list[object]:
        judged.append((int(model.number), {clip.speaker for clip in clips}))  # type: ignore[arg-type]
        return embed_first_windows(model, clips)  # type: ignore[return-value]

    monkeypatch.setattr(validation, "train_dvp", watch_training)
    monkeypatch.setattr(validation, "embed_first_windows", watch_looking)
    assert bench.run().exit_code == 0
    (number, held_out), everybody = judged[0], {clip.speaker for clip in bench.clips}
    assert len(judged) == 1 and number == 1 and len(held_out) == 2
    assert trained == [everybody - held_out, everybody]


def test_fewer_folds_are_measured_where_that_is_asked_for(bench: Bench) -> None:
    figures = json.loads(bench.run("--validate", "--folds", "2").stdout)
    assert figures["model"]["speakers"] == N_PEOPLE // 2


def test_validation_measures_and_ships_nothing(bench: Bench) -> None:
    result = bench.run("--validate")
    assert result.exit_code == 0, result.output
    figures = json.loads((bench.out / "validation.json").read_text())
    assert json.loads(result.stdout) == figures
    assert "NaN" not in result.stdout and "Infinity" not in result.stdout
    assert list(figures) == ["model"]
    assert figures["model"]["speakers"] == N_PEOPLE
    gated = figures["model"]["gated"]
    assert set(gated) == {"untouched", *map(str, Augmentation), "face swap", "reenactment"}
    for reported in gated.values():  # of 20 clips on 4 days there are two samples of two days each
        assert reported["n_probes"] == 2 * N_PEOPLE and reported["n_probe_speakers"] == N_PEOPLE
    assert gated["untouched"]["n_genuine"] == N_PEOPLE and gated["untouched"]["n_impostor"] == 4 * 4
    assert gated["face swap"]["following"]["n_owners"] == N_PEOPLE
    assert not bench.path.exists()


def test_the_weights_of_each_fold_are_kept_with_what_is_natural_to_the_others(bench: Bench) -> None:
    assert bench.run("--validate", "--keep").exit_code == 0
    folds = speakers.split_speakers(bench.clips, 4, seed=0)
    natures = []
    for number, left_out in enumerate(folds):
        kept = load_dynamics(Settings(bench.out / f"fold-{number}"))
        assert kept.trained_on == {clip.speaker for clip in bench.clips} - left_out
        natures.append(kept.nature)
    assert len(set(natures)) == 4 and Nature(0.0, 1.0, 1.0) not in natures


def test_the_scores_of_people_left_out_are_written_for_either_task(bench: Bench) -> None:
    folder = bench.folder / "scores"
    (bench.folder / "clips.csv").write_text("path,label\n")
    assert bench.run("--validate", "--scores", str(folder)).exit_code == 0
    found = {task: read_trials(folder / f"{task}.json") for task in (Task.VERIFICATION, Task.IDENTIFICATION)}
    fold_of = {name: number for number, fold in enumerate(speakers.split_speakers(bench.clips, 4, 0)) for name in fold}
    for task, trials in found.items():
        assert (trials.task, trials.recipe, trials.scored_by) == (task, "", EMBEDDED_BY)
        assert trials.manifest_sha256 == hash_file(bench.folder / "clips.csv")
        assert trials.n_clips == N_PEOPLE * N_CLIPS
        assert set(trials.people.ravel()) == set(fold_of)
        assert all(fold_of[one] == fold_of[other] for one, other in trials.people)
    assert found[Task.IDENTIFICATION].gallery_size == 1


@pytest.mark.parametrize("option", [("--ablate",), ("--curve",), ("--keep",), ("--scores", "folder")])
def test_what_belongs_to_validation_is_refused_without_it(bench: Bench, option: tuple[str, ...]) -> None:
    result = bench.run(*option)
    assert result.exit_code == 2 and "--validate" in result.output


def test_what_is_left_out_is_never_trained_on_and_the_curve_has_as_many_as_it_says(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[DynamicsOptions, set[str], set[str]]] = []

    def note_training(clips: list[SpokenClip], options: DynamicsOptions) -> DynamicsOptions:
        seen.append((options, {clip.speaker for clip in clips}, set()))
        return options

    def note_looking(model: DynamicsOptions, clips: list[SpokenClip], seed: int) -> EmbeddingsByMethod:
        seen[-1][2].update(clip.speaker for clip in clips)
        return {UNTOUCHED: []}

    monkeypatch.setattr(validation, "train_dvp", note_training)
    monkeypatch.setattr(validation, "embed_all_methods", note_looking)
    monkeypatch.setattr(train, "measure_folds", lambda looks, seed: {"folds": len(looks)})
    monkeypatch.setattr(validation, "FEWER", (3, 5))
    result = bench.run("--validate", "--ablate", "--curve")
    assert result.exit_code == 0, result.output
    variants = ["model", *list_ablations(DynamicsOptions())]
    assert json.loads(result.stdout) == {name: {"folds": 4} for name in [*variants, "3 speakers", "5 speakers"]}
    everybody = {clip.speaker for clip in bench.clips}
    for number, (options, trained, measured) in enumerate(seen):
        assert len(measured) == 2 and not trained & measured
        name = [*variants, "3 speakers", "5 speakers"][number // 4]
        if name in variants:
            assert trained == everybody - measured
        else:
            assert len(trained) == int(name.split()[0]) and "p8" not in trained
        assert (options.negatives == ()) == (name in ("no negatives", "all off"))
    for first in range(0, len(seen), 4):  # of each variant, everybody with clips enough is measured once
        assert sorted(name for *_, measured in seen[first : first + 4] for name in measured) == [
            f"p{number}" for number in range(N_PEOPLE)
        ]


def test_two_workers_do_what_one_does_and_in_its_order() -> None:
    calls: list[Callable[[], Any]] = [partial(dict, number=[number]) for number in range(4)]
    one, two = (list(_call_all(calls, workers)) for workers in (1, 2))
    assert one == two == [{"number": [number]} for number in range(4)]
    with pytest.raises(TypeError):
        list(_call_all([partial(int, "a", "b")], 2))  # type: ignore[list-item]


def test_each_ablation_changes_what_it_says() -> None:
    plain = DynamicsOptions()
    found = list_ablations(plain)
    assert found["no negatives"] == replace(plain, negatives=())
    assert found["no adversary"] == replace(plain, adversary=0.0)
    assert found["no pairs"] == replace(plain, pairs=0)
    assert found["temporal spectrum"] == replace(plain, model=replace(plain.model, spectrum=True))
    assert found["no frequency"].model == replace(plain.model, frequency=False, centred=False)
    everything = found["all off"]
    assert (everything.negatives, everything.adversary, everything.pairs) == ((), 0.0, 0)
    assert everything.model == found["no frequency"].model


@pytest.mark.parametrize("arguments", [(), ("--validate",)])
def test_too_few_speakers_are_refused(bench: Bench, arguments: tuple[str, ...]) -> None:
    bench.clips = [clip for clip in bench.clips if clip.speaker != "p0"]
    result = bench.run(*arguments)
    assert result.exception.code == Code.BAD_MANIFEST
    assert "clips.csv has too few speakers" in result.exception.message
    assert f"At least {N_PEOPLE} speakers with {speakers.MIN_CLIPS} clips" in (result.exception.hint or "")
    assert not bench.out.exists()


@pytest.mark.parametrize("option", ["--steps", "--members", "--workers"])
def test_less_than_one_of_anything_is_refused(bench: Bench, option: str) -> None:
    result = bench.run(option, "0")
    assert result.exit_code == 2 and option in result.output


def test_command_is_registered_and_prints_errors_on_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["wayspeak", "train", "dynamics", str(tmp_path / "absent.csv")])
    with pytest.raises(SystemExit) as left:
        main()
    reported = [line for line in capsys.readouterr().err.splitlines() if line.startswith("wayspeak: ")]
    assert left.value.code == 2
    assert len(reported) == 1 and "absent.csv" in reported[0]


class NoExtractor:
    """Has a recipe but cannot extract: only cached features can be read."""

    recipe, face_options = "drawn-0123", FaceOptions()

    def extract(self, path: Path, on_step: object = None) -> ClipFeatures:
        raise Code.UNREADABLE_VIDEO(f"{path.name} is no video", "")


def test_real_rows_become_clips_and_those_that_cannot_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FeatureExtractor, "load", lambda settings, cut_faces: NoExtractor() if cut_faces else None)
    monkeypatch.setattr(speakers, "decode_ahead", lambda *arguments: None)
    cache = FeatureCache(tmp_path / "cache", NoExtractor.recipe, with_faces=True)
    lines = ["path,label,speaker,session"]
    for number, label in enumerate(("real", "real", "fake", "Real")):
        name = f"{number}.mp4"
        (tmp_path / name).write_text(name)
        clip = make_person_clip(number, n_frames=20 if number == 1 else 40)
        seen = make_features(make_face_features(clip, np.ones(len(clip.motion), bool)))
        cache.save(replace(seen, sha256=hashlib.sha256(name.encode()).hexdigest()))
        lines.append(f"{name},{label},p{number},day {number}")
    lines.append("4.mp4,real,p4,day 4")
    (tmp_path / "clips.csv").write_text("\n".join(lines) + "\n")
    result = CliRunner().invoke(
        app, ["train", "dynamics", str(tmp_path / "clips.csv"), "--cache", str(tmp_path / "cache")]
    )
    reported = " ".join(result.stderr.split())
    assert "1.mp4 is left out: no face is seen for a second" in reported
    assert "4.mp4 is left out: 4.mp4 is no video" in reported
    assert reported.count("is left out") == 2
    assert result.exception.code == Code.BAD_MANIFEST  # two clips are not enough


def test_of_forged_clips_those_are_read_where_one_moves_the_face_of_another(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("path,label,speaker,session\na.mp4,real,p0,s\nb.mp4,fake,p0,s\n")
    lines = ["path,label,method,face_owner,motion_owner", "c.mp4,fake,face-swap,p1,p0", "d.mp4,control,frozen,p0,p0"]
    (tmp_path / "forged.csv").write_text("\n".join([*lines, "e.mp4,fake,face-swap,p1,", "a.mp4,real,,,"]))
    rows = read_spoken_rows(tmp_path / "real.csv", [tmp_path / "forged.csv"])
    assert [row.written for row in rows] == ["a.mp4", "c.mp4"]


def test_manipulated_clips_of_held_out_speakers_are_never_trained_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = bench.clips
    first = {name: next(clip for clip in plain if clip.speaker == name) for name in {clip.speaker for clip in plain}}
    bench.clips = plain + [
        forge(one, other, f"{name} as {face}.mp4")
        for name, one in first.items()
        for face, other in first.items()
        if face != name
    ]
    seen: list[tuple[set[str], set[str], int]] = []

    def note_training(clips: list[SpokenClip], options: DynamicsOptions) -> list[SpokenClip]:
        return clips

    def note_looking(model: list[SpokenClip], clips: list[SpokenClip], seed: int) -> EmbeddingsByMethod:
        trained, measured = (set().union(*(clip.people for clip in some)) for some in (model, clips))
        seen.append((trained, measured, sum(not clip.is_own_face for clip in clips)))
        return {UNTOUCHED: []}

    monkeypatch.setattr(validation, "train_dvp", note_training)
    monkeypatch.setattr(validation, "embed_all_methods", note_looking)
    monkeypatch.setattr(train, "measure_folds", lambda looks, seed: {})
    assert bench.run("--validate").exit_code == 0
    assert len(seen) == 4
    for trained, measured, n_forged in seen:
        assert not trained & measured and len(measured) == 2 and n_forged == 2


def test_a_manifest_without_sessions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text("path,label,speaker\na.mp4,real,p0\n")
    result = CliRunner().invoke(app, ["train", "dynamics", str(tmp_path / "clips.csv")])
    assert result.exception.code == Code.BAD_MANIFEST and "session" in result.exception.message
