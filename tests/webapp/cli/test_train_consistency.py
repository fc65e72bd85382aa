"""`wayspeak train consistency` from a manifest of cached clips to weights that load, and what it refuses."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from engine.errors import Code, EngineError
from engine.faces.landmark_features import N_MOTION
from engine.features.cache import FeatureCache
from engine.features.extractor import FeatureExtractor
from engine.features.records import AudioFeatures, ClipFeatures, FaceFeatures
from engine.models.compact import N_SPEECH, load_compact
from engine.training.clips import TrainingClip, split_folds
from engine.training.consistency.ensemble import MemberOptions
from engine.training.consistency.train import TrainingContext, TrainingOptions, align_clips, train_held_out
from engine.training.consistency.windows import WindowOptions
from engine.weights.registry import COMPACT, verify
from tests.engine.training.planted import make_clip, make_clips, shrink_members
from webapp.cli import train
from webapp.cli.main import app, main

HEADER = "path,label,has_audio,audio_in_sync,speaker,source"
QUICK = MemberOptions(steps=12, batch=8, learning_rate=1e-2, masked=False)
OPTIONS = partial(TrainingOptions, n_folds=2, n_rounds=1, scouts=QUICK, members=MemberOptions(batch=8))


class NoExtractor:
    """Knows its recipe and must not be asked to look: everything is in the cache."""

    recipe = "drawn-0123"

    def extract(self, path: Path, on_step: object = None) -> ClipFeatures:
        raise AssertionError(f"{path.name} is in the cache")


def make_features(clip: TrainingClip, path: Path) -> ClipFeatures:
    """Build the features that a file with this clip would have."""
    n_frames, seen = len(clip.real), clip.real
    thumbnail, still = np.zeros((96, 96, 3), np.uint8), np.zeros(n_frames, np.float32)
    motion = np.zeros((n_frames, N_MOTION), np.float32)
    tracks = (FaceFeatures(0, clip.lips, seen, still, 120.0, thumbnail, motion),) if seen.any() else ()
    heard = AudioFeatures(clip.mel.reshape(-1, N_SPEECH), np.ones(n_frames, bool), np.ones(n_frames, bool), -20.0)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return ClipFeatures(path.name, digest, n_frames, (640, 480), 25.0, (), heard, tracks, (), {})


@dataclass
class Bench:
    """A folder with clips, their observations and the command."""

    folder: Path

    def add(self, clip: TrainingClip, label: str = "real", in_sync: str = "yes") -> str:
        path = self.folder / clip.name
        path.write_text(clip.name)
        FeatureCache(self.folder / "cache", NoExtractor.recipe).save(make_features(clip, path))
        return f"{clip.name},{label},1,{in_sync},{clip.speaker},{clip.source}"

    def run(self, rows: list[str], *arguments: str) -> Result:
        (self.folder / "clips.csv").write_text("\n".join([HEADER, *rows]) + "\n")
        plain = [
            "train",
            "consistency",
            str(self.folder / "clips.csv"),
            "--out",
            str(self.out),
            "--cache",
            str(self.folder / "cache"),
        ]
        return CliRunner().invoke(app, [*plain, "--workers", "1", "--steps", "3", *arguments])

    @property
    def out(self) -> Path:
        return self.folder / "out"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    shrink_members(monkeypatch)
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("WAYSPEAK_DEVICE", "cpu")
    monkeypatch.setattr(FeatureExtractor, "load", lambda settings: NoExtractor())
    monkeypatch.setattr(train, "TrainingOptions", OPTIONS)
    return Bench(tmp_path)


def test_from_a_manifest_to_weights_that_load(bench: Bench) -> None:
    rows = [bench.add(clip) for clip in make_clips(6)]
    rows.append(bench.add(make_clip(50), label="fake"))
    rows.append(bench.add(make_clip(51), in_sync="no"))
    result = bench.run(rows, "--seed", "4")
    assert result.exit_code == 0, result.output
    path = bench.out / "compact.safetensors"
    assert verify(path, COMPACT) == path
    model = load_compact(path)
    assert len(model.members) == 2
    clip = make_clip(7, 60)
    encoded = model.encode(clip.lips, clip.mel.reshape(-1, N_SPEECH))
    assert np.allclose(np.linalg.norm(encoded.lips, axis=1), 1, atol=1e-3)
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["recipe"] == f"compact-{sidecar['sha256'][:12]}"
    assert sidecar["options"]["seed"] == 4 and sidecar["options"]["members"]["steps"] == 3
    assert sidecar["options"]["members"]["windows"]["length"] == WindowOptions().length
    assert sidecar["trained_on"]["clips"] == 6  # neither the fake nor the one out of sync
    assert sidecar["trained_on"]["speakers"] == 6
    assert sidecar["trained_on"]["sources"] == ["hall", "lab"]


def test_same_seed_gives_same_file_and_second_run_resumes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [bench.add(clip) for clip in make_clips(4)]
    path = bench.out / "compact.safetensors"
    bench.run(rows)
    first, checkpoints = path.read_bytes(), sorted((bench.out / "checkpoints").iterdir())
    times = [one.stat().st_mtime_ns for one in checkpoints]
    bench.run(rows)
    assert path.read_bytes() == first
    assert [one.stat().st_mtime_ns for one in checkpoints] == times  # nothing was trained again
    monkeypatch.setattr(Bench, "out", property(lambda self: self.folder / "elsewhere"))
    bench.run(rows)
    assert (bench.out / "compact.safetensors").read_bytes() == first
    bench.run(rows, "--seed", "2")
    assert (bench.out / "compact.safetensors").read_bytes() != first


def test_validation_measures_and_ships_nothing(bench: Bench) -> None:
    result = bench.run(
        [bench.add(clip) for clip in make_clips(6)], "--validate", "--ablate", "--curve", "--members", "1"
    )
    assert result.exit_code == 0, result.output
    figures = json.loads((bench.out / "validation.json").read_text())
    curve = {name: figures.pop(name) for name in list(figures) if name.startswith("curve-")}
    assert list(figures) == ["model", "both", "alignment", "masking"]
    assert [one["people"] for one in curve.values()] == [1, 2, 3, 3]  # of a quarter, a half, halved clips, all
    assert curve["curve-seconds-0.5"]["seconds"] < curve["curve-all"]["seconds"]
    assert curve["curve-all"]["whole"] == figures["model"]["whole"]
    assert (bench.out / "checkpoints" / "held-out-people-0.25-0-0.checkpoint").is_file()
    for name, measured in figures.items():
        assert measured["whole"]["n_own"] == 6 and 0 <= measured["whole"]["auc"] <= 1, name
    assert figures["model"]["whole"] == figures["both"]["whole"]  # of one member the first is the model
    assert figures["model"]["whole"] != figures["masking"]["whole"]
    assert set(figures["model"]) == {"whole", "shuffled", "by_seconds", "offsets"}
    assert not (bench.out / "compact.safetensors").exists()
    held = json.loads((bench.out / "held-out.json").read_text())  # the weights state their use
    assert sorted(corpus for corpora in held.values() for corpus in corpora) == ["hall", "lab"] and len(held) == 2
    assert all((bench.out / "checkpoints" / f"held-out-{fold}-0.checkpoint").is_file() for fold in held)


def refuse_labels(bench: Bench) -> list[str]:
    return [bench.add(make_clip(0), label="fake"), bench.add(make_clip(1), in_sync="no")]


def refuse_faces(bench: Bench) -> list[str]:
    clip = make_clip(0)
    clip.real[:] = False
    return [bench.add(clip)]


@pytest.mark.parametrize(
    ("make_rows", "reported"),
    [(refuse_labels, "no row that is real and in sync"), (refuse_faces, "none of the 1 clips")],
)
def test_a_manifest_with_nothing_to_train_on_is_refused(
    bench: Bench, make_rows: Callable[[Bench], list[str]], reported: str
) -> None:
    result = bench.run(make_rows(bench))
    assert result.exception.code == Code.BAD_MANIFEST and reported in result.exception.message
    assert not bench.out.exists()


@pytest.mark.parametrize("option", ["--steps", "--members", "--workers"])
def test_less_than_one_of_anything_is_refused(bench: Bench, option: str) -> None:
    result = bench.run([bench.add(make_clip(0))], option, "0")
    assert result.exit_code == 2 and option in result.output


def test_command_is_registered_and_prints_errors_on_one_line(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "consistency", str(bench.folder / "absent.csv"), "--out", str(bench.out)]
    monkeypatch.setattr("sys.argv", ["wayspeak", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    reported = [line for line in capsys.readouterr().err.splitlines() if line.startswith("wayspeak: ")]
    assert left.value.code == 2
    assert len(reported) == 1 and "absent.csv" in reported[0]


def test_one_corpus_alone_trains_unaligned_and_cannot_be_validated(bench: Bench) -> None:
    rows = [bench.add(clip) for clip in make_clips(3, corpora=["lab"])]
    assert bench.run(rows).exit_code == 0
    assert [path.name for path in (bench.out / "checkpoints").iterdir() if "scout" in path.name] == []
    result = bench.run(rows, "--validate")
    assert isinstance(result.exception, EngineError) and result.exception.code == Code.BAD_MANIFEST
    assert "one corpus" in result.exception.message


def make_shop(folder: Path) -> TrainingContext:
    return TrainingContext(folder, workers=1)


def test_alignment_models_correct_planted_offset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_members(monkeypatch)
    corpora = {"lab": 0, "hall": 0, "street": 4}  # frames that the sound of each is late
    clips = [make_clip(10 * late + i, 150, name, late) for name, late in corpora.items() for i in range(6)]
    scouts = MemberOptions(steps=30, batch=12, learning_rate=1e-2, masked=False)
    options = TrainingOptions(n_folds=3, n_rounds=1, scouts=scouts)
    aligned = align_clips(clips, options, make_shop(tmp_path))
    lost = {name: [150 - len(clip.real) for clip in aligned if clip.corpus == name] for name in corpora}
    assert np.median(lost["street"]) >= np.median(lost["lab"]) + 2
    assert np.median(lost["lab"]) <= 2
    for clip, cut in zip(clips[-6:], aligned[-6:], strict=True):  # of a late sound the end of the face goes
        assert np.array_equal(cut.lips, clip.lips[: len(cut.lips)]) and np.array_equal(cut.mel[-1], clip.mel[-1])


def test_a_fold_is_judged_by_members_that_never_saw_its_corpora(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[str]] = {}

    def note(jobs: list, *rest: object) -> list:
        seen.update({job.name: {clip.corpus for clip in job.clips} for job in jobs})
        return [job.name for job in jobs]

    monkeypatch.setattr("engine.training.consistency.train.train_all", note)
    clips = [*make_clips(9, corpora=["a", "b", "c"]), make_clip(90, 40, "short")]
    options = TrainingOptions(n_folds=4, n_members=2)
    trained = train_held_out("held-out", clips, options, make_shop(tmp_path))
    fold_of = split_folds(clips, 4)
    assert set(trained) == {fold_of[corpus] for corpus in "abc"}  # the short clip's fold has nothing to judge
    for fold, names in trained.items():
        assert len(names) == 2
        for name in names:
            assert seen[name] == {corpus for corpus, its in fold_of.items() if its != fold}  # type: ignore[index]


def test_empty_folds_need_no_alignment_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_members(monkeypatch)
    clips = make_clips(4)
    aligned = align_clips(clips, TrainingOptions(n_folds=4, n_rounds=1, scouts=QUICK), make_shop(tmp_path))
    assert len(aligned) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scout-0-0.checkpoint", "scout-0-1.checkpoint"]
