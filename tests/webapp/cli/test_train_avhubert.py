"""`wayspeak train avhubert` from a manifest to weights that load, and what it refuses."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from engine.errors import Code, EngineError
from engine.models.avhubert import load_avhubert
from engine.settings import Settings
from engine.training.avhubert import dataset, validation
from engine.training.avhubert.train import TRAININGS
from engine.training.avhubert.trainer import ProcessGroup
from engine.weights.registry import hash_file
from tests.engine.training.planted import make_clip_file, make_training
from webapp.cli import train
from webapp.cli.main import app, main

SET = ("--learning-rate", "0.001", "--micro-batches", "2", "--sparing", "--objective", "masking")
HEADER = "path,label,has_audio,audio_in_sync,speaker,source"


class NoMaker:
    """Knows its recipe; its clips are all there, but for files that cannot be read."""

    recipe = "drawn-0123"

    def make(self, video: Path, path: Path) -> None:
        raise EngineError(f"{video.name} is broken")


@dataclass
class Bench:
    folder: Path

    def add(self, seed: int, source: str, n_frames: int = 110) -> str:
        video = self.folder / f"{seed}.mp4"
        video.write_text(str(seed))
        clip = make_clip_file(self.folder / "drawn", seed, n_frames, told=0)
        place = self.folder / "reels" / NoMaker.recipe
        place.mkdir(parents=True, exist_ok=True)
        clip.path.replace(place / f"{hash_file(video)}.safetensors")
        return f"{video.name},real,1,yes,{source}_{seed},{source}"

    def add_all(self) -> list[str]:
        return [self.add(i, ("lab", "hall")[i % 2], 100 + 5 * i) for i in range(6)]

    def run(self, rows: list[str], *arguments: str) -> Result:
        (self.folder / "clips.csv").write_text("\n".join([HEADER, *rows]) + "\n")
        plain = [
            "train",
            "avhubert",
            str(self.folder / "clips.csv"),
            "--out",
            str(self.out),
            "--cache",
            str(self.folder / "reels"),
        ]
        return CliRunner().invoke(app, [*plain, "--workers", "1", *arguments])

    @property
    def out(self) -> Path:
        return self.folder / "out"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("WAYSPEAK_DEVICE", "cpu")
    monkeypatch.setattr(dataset.Preprocessor, "load", lambda settings: NoMaker())
    monkeypatch.setattr(train, "TRAININGS", TRAININGS | {"tiny": make_training(steps=2)})
    return Bench(tmp_path)


def test_from_a_manifest_to_weights_that_load(bench: Bench) -> None:
    (bench.folder / "broken.mp4").write_text("broken")
    result = bench.run([*bench.add_all(), "broken.mp4,real,1,yes,,lab"], "--seed", "4", *SET)
    assert result.exit_code == 0, result.output
    assert "left out: broken.mp4" in result.stderr
    path = bench.out / "avhubert_tiny.safetensors"
    encoded = load_avhubert(path).encode(np.zeros((30, 96, 96), np.uint8), np.zeros((30, 104), np.float32))
    assert np.allclose(np.linalg.norm(encoded.lips, axis=1), 1, atol=1e-3)
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["options"]["seed"] == 4 and sidecar["options"]["losses"]["alignment"] == 0.0
    assert sidecar["options"]["losses"]["masked"] == 1.0
    steps = sidecar["options"]["steps"]
    assert (steps["learning_rate"], steps["micro_batches"], steps["sparing"], steps["steps"]) == (0.001, 2, True, 2)
    assert sidecar["trained_on"]["clips"] == 6 and len(sidecar["losses_first_and_last"]) == 2
    first = load_file(path)
    again = bench.run([*bench.add_all(), "broken.mp4,real,1,yes,,lab"], "--seed", "4", *SET)
    assert again.exit_code == 0
    second = load_file(path)  # taken up where it ended, which is the end; the order of the file's header is chance
    assert set(second) == set(first) and all(torch.equal(second[name], first[name]) for name in first)


def test_validation_measures_and_writes_no_weights(bench: Bench) -> None:
    result = bench.run(bench.add_all(), "--validate", "--ablate", "--iterations", "1", "--units", "5", "--steps", "1")
    assert result.exit_code == 0, result.output
    figures = json.loads((bench.out / "validation.json").read_text())
    assert json.loads(result.stdout) == figures
    assert list(figures) == ["untrained", "both", "alignment", "masking"]
    for name, measured in figures.items():
        assert measured["pieces_of_4_s"]["n_own"] == 6 and 0 <= measured["whole"]["auc"] <= 1, name
    lost = {name: measured["losses_first_and_last"] for name, measured in figures.items() if name != "untrained"}
    assert all(len(folds) == 2 and all(len(its) == 1 for its in folds.values()) for folds in lost.values())
    assert "alignment" not in next(iter(lost["masking"].values()))[0]
    assert "masked" not in next(iter(lost["alignment"].values()))[0]
    assert not (bench.out / "avhubert_tiny.safetensors").exists()


def test_a_fold_can_be_chosen_and_is_not_trained_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[set[str]] = []
    trains = validation.train_avhubert

    def note(clips: list, *rest: object) -> object:
        trained.append({clip.corpus for clip in clips})
        return trains(clips, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(validation, "train_avhubert", note)
    result = bench.run(bench.add_all(), "--validate", "--fold", "1", "--iterations", "1", "--steps", "1")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert trained == [{"lab"}] or trained == [{"hall"}]
    assert figures["both"]["whole"]["n_own"] == 3


@pytest.mark.parametrize("rows", [["lab", "lab", "lab"], ["lab", "hall"]])
def test_where_nothing_can_be_judged_validation_is_refused(bench: Bench, rows: list[str]) -> None:
    made = [bench.add(i, source, 110 if len(rows) == 3 else 60) for i, source in enumerate(rows)]
    result = bench.run(made, "--validate")
    assert result.exception.code == Code.BAD_MANIFEST and "held out" in result.exception.message


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--units", "9", "--units", "8", "--units", "7", "--iterations", "2"], "3 numbers of units"),
    ],
)
def test_options_that_make_no_sense_are_refused(bench: Bench, arguments: list[str], told: str) -> None:
    result = bench.run(bench.add_all(), *arguments)
    assert isinstance(result.exception, EngineError) and told in result.exception.message
    assert not bench.out.exists()


@pytest.mark.parametrize(
    "option",
    [
        "--steps",
        "--iterations",
        "--workers",
        "--save-every",
        "--fold",
        "--learning-rate",
        "--micro-batches",
        "--objective",
    ],
)
def test_numbers_out_of_range_are_refused(bench: Bench, option: str) -> None:
    result = bench.run([bench.add(0, "lab")], option, "-1")
    assert result.exit_code == 2 and option in result.output


def test_command_is_registered_and_prints_errors_on_one_line(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["wayspeak", "train", "avhubert", str(bench.folder / "absent.csv")])
    with pytest.raises(SystemExit) as left:
        main()
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("wayspeak: ")]
    assert left.value.code == 2
    assert len(told) == 1 and "absent.csv" in told[0]


def test_processes_other_than_rank_0_preprocess_and_print_nothing(bench: Bench) -> None:
    rows, told = bench.add_all(), list[str]()
    (bench.folder / "broken.mp4").write_text("broken")
    (bench.folder / "clips.csv").write_text("\n".join([HEADER, *rows, "broken.mp4,real,1,yes,,lab"]) + "\n")
    context = dataset.PreprocessedDataset(bench.folder / "reels", Settings(bench.folder), on_skip=told.append)
    leading = context.gather_with(ProcessGroup(torch.device("cpu")), bench.folder / "clips.csv")
    assert len(told) == 1 and "broken.mp4" in told[0]
    following = ProcessGroup(torch.device("cpu"), rank=1, size=1)
    assert context.gather_with(following, bench.folder / "clips.csv") == leading
    assert len(told) == 1
