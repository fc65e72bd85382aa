"""`wayspeak evaluate` on synthetic clips with known truth: from a manifest to the figures, twice, decoding once."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from engine.consistency.methods import Method
from engine.errors import Code, EngineError, WeightsMissing
from engine.faces.tracking import FaceOptions
from engine.features import cache as decoding
from engine.features.cache import FeatureCache, decode_ahead
from engine.features.records import ClipFeatures
from engine.pipeline import Engine
from engine.settings import Settings
from engine.types import Mode, Model, OnStep
from tests.engine.evaluation.films import RECIPE, DrawnExtractor, draw_film
from tests.fakes import FakeMouthReader, make_scorer
from webapp.cli import evaluate
from webapp.cli.main import app, main


@pytest.fixture
def extractor() -> DrawnExtractor:
    return DrawnExtractor()


@pytest.fixture
def run(tmp_path: Path, extractor: DrawnExtractor, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    engine = Engine(extractor, make_scorer(), "drawn")  # type: ignore[arg-type]
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(Engine, "load", lambda settings, method: engine)
    monkeypatch.setattr(evaluate, "read_trained_sources", lambda settings, model: frozenset({"known"}))

    def invoke(rows: list[str], *arguments: str, header: str = "path,label,speaker,source,method") -> Result:
        (tmp_path / "manifest.csv").write_text("\n".join([header, *rows]) + "\n")
        return CliRunner().invoke(app, ["evaluate", str(tmp_path / "manifest.csv"), *arguments])

    return invoke


def figures(result: Result) -> dict:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def real_rows(folder: Path, n: int = 8, **film: float) -> list[str]:
    return [f"{draw_film(folder, f'real{i}.mp4', i, **film)},real,person {i},lab," for i in range(n)]  # type: ignore[arg-type]


def test_real_clips_stand_above_dubbed_ones(run: Callable[..., Result], tmp_path: Path) -> None:
    dubbed = [f"{draw_film(tmp_path, f'd{i}.mp4', i, 50 + i)},desync,person {i},lab,dub" for i in range(6)]
    copies = [f"{draw_film(tmp_path, f'c{i}.mp4', i)},fake,,lab," for i in range(3)]  # in sync, so nothing to find
    found = figures(run([*real_rows(tmp_path), *dubbed, *copies], "--json", "-", "--seconds", "1,3"))
    assert found["others"] == "labelled"
    assert (found["n_real"], found["n_other"], found["skipped"]) == (8, 9, [])
    assert set(found["per_method"]) == {"dub", "fake"}
    assert found["per_method"]["dub"]["auc"] == 1.0 and found["per_method"]["dub"]["n"] == 6
    assert found["per_method"]["fake"]["auc"] < 0.9
    assert found["auc"] == pytest.approx((6 + 3 * found["per_method"]["fake"]["auc"]) / 9)
    assert found["ci"][0] <= found["auc"] <= found["ci"][1]
    assert set(found["by_seconds"]) == {"1", "3"}
    assert found["by_seconds"]["3"]["n_real"] == 16
    assert found["recipe"] == "drawn"


def test_without_other_labels_voices_are_swapped_and_the_output_says_so(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    rows = real_rows(tmp_path)
    found = figures(run(rows, "--json", "-"))
    assert found["others"] == "swapped voice"
    assert (found["auc"], found["eer"], found["n_real"], found["n_other"]) == (1.0, 0.0, 8, 56)
    assert found["per_method"]["swapped voice"]["n"] == 56
    assert set(found["by_seconds"]) == {"1", "2", "3", "5"}
    assert found["by_seconds"]["5"]["auc"] == 1.0
    low, high = found["control"]["ci"]
    assert low <= 0.5 <= high
    text = run(rows, "--seconds", "2").stdout
    assert "swapped voices" in " ".join(text.split())
    assert "control" in text


def test_swapped_voices_can_be_added_to_other_labels(run: Callable[..., Result], tmp_path: Path) -> None:
    rows = [*real_rows(tmp_path, 4), f"{draw_film(tmp_path, 'd.mp4', 1, 51)},fake,,,dub"]
    found = figures(run(rows, "--swap", "--json", "-", "--seconds", "2"))
    assert set(found["per_method"]) == {"dub", "swapped voice"}
    assert (found["others"], found["n_other"]) == ("labelled", 1)


def test_in_depth_option_describes_the_evaluation_data(run: Callable[..., Result], tmp_path: Path) -> None:
    rows = [f"{draw_film(tmp_path, f'late{i}.mp4', i, late=6)},real,person {i},lab," for i in range(4)]
    reported = tmp_path / "told.json"
    table = run(rows, "--in-depth", "--seconds", "2", "--json", str(reported)).stdout
    found = json.loads(reported.read_text())
    depth = found["depth"]
    assert len(depth["scores"]["real"]) == 4 and len(depth["scores"]["swapped voice"]) == 12
    assert found["by_seconds"]["2"]["auc"] > 0.95 > depth["at_no_offset"]["2"]["auc"]  # all of them are 6 frames late
    assert depth["by_first_s"]["4"]["auc"] > 0.95
    assert (depth["by_first_s"]["8"]["auc"], depth["by_first_s"]["8"]["n_real"]) == (None, 0)  # none is so long
    low, high = depth["ablations"]["faces' frames in random order"]["ci"]
    assert low <= 0.5 <= high
    assert "no offset tried" in " ".join(table.split())


def test_figures_are_drawn_where_they_are_wanted(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures: list[str] = []
    monkeypatch.setattr("engine.evaluation.plots.write_pictures", lambda drawn, folder: pictures.extend(drawn))
    rows = real_rows(tmp_path, 4)
    result = run(rows, "--figures", str(tmp_path / "drawn"), "--seconds", "2")
    assert result.exit_code == 0, result.output
    assert {path.stem for path in (tmp_path / "drawn").glob("*.html")} == set(pictures)
    assert {"scores", "methods", "lengths", "windows", "ablations"} == set(pictures)
    refused = run(rows, "--figures", str(tmp_path / "drawn"), "--task", "offset")
    assert refused.exit_code == 2 and "--task consistency" in " ".join(refused.output.split())


def test_figures_without_what_draws_them_say_what_to_install(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_nothing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(evaluate, "import_module", find_nothing)
    result = run(real_rows(tmp_path, 4), "--figures", str(tmp_path / "drawn"), "--seconds", "2")
    assert isinstance(result.exception, EngineError) and "wayspeak[figures]" in result.exception.hint


def test_the_second_run_decodes_nothing_and_says_the_same(
    run: Callable[..., Result], tmp_path: Path, extractor: DrawnExtractor
) -> None:
    arguments = ("--json", "-", "--cache", str(tmp_path / "kept"), "--seconds", "2")
    first = figures(run(real_rows(tmp_path), *arguments))
    assert len(extractor.extracted) == 8
    assert figures(run(real_rows(tmp_path), *arguments)) == first
    assert len(extractor.extracted) == 8
    assert len(list((tmp_path / "kept" / RECIPE).iterdir())) == 8


def test_bad_clips_are_skipped_and_named(run: Callable[..., Result], tmp_path: Path, extractor: DrawnExtractor) -> None:
    (tmp_path / "text.mp4").write_text("not a film")
    bad = [
        "gone.mp4,real,a,lab,",
        "text.mp4,real,b,lab,",
        f"{draw_film(tmp_path, 'mute.mp4', 1, -1)},real,c,lab,",
        f"{draw_film(tmp_path, 'faceless.mp4', -1, 3)},fake,d,lab,",
        f"{draw_film(tmp_path, 'short.mp4', 3, seconds=2)},real,e,lab,",
    ]
    header = "path,label,speaker,source,method,has_audio,audio_in_sync"
    reported = ["silent.mp4,real,f,lab,,0,", "late.mp4,real,g,lab,,1,no"]
    rows = [f"{row},1,yes" for row in real_rows(tmp_path, 4) + bad] + reported
    result = run(rows, "--json", str(tmp_path / "out.json"), "--min-seconds", "4", "--seconds", "2", header=header)
    assert result.exit_code == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["n_real"] == 4
    reasons = {one["path"]: one["reason"] for one in found["skipped"]}
    assert reasons == {
        "gone.mp4": "There is no file 'gone.mp4'.",
        "text.mp4": "The file is no video.",
        "mute.mp4": "it has no sound",
        "faceless.mp4": "no face is seen for a second",
        "short.mp4": "it is shorter than 4 s",
        "silent.mp4": "the manifest says that it has no sound",
        "late.mp4": "the manifest says that its sound is not in sync",
    }
    assert not {"silent.mp4", "late.mp4"} & set(extractor.extracted)
    for name, reason in reasons.items():
        assert f"  {reason} (1): {name}\n" in result.stdout
    assert (found["auc"], found["n_other"]) == (None, 0)  # the one fake had no face, so nothing is claimed


def test_nothing_to_measure_is_no_success(run: Callable[..., Result]) -> None:
    result = run(["gone.mp4,real,a,lab,", "away.mp4,fake,b,lab,"], "--json", "-")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["auc"] is None
    assert "no clip of the manifest could be measured" in result.stderr


def test_rows_of_a_sample_are_pooled(run: Callable[..., Result], tmp_path: Path) -> None:
    header = "path,label,speaker,source,method,sample"
    parts = [f"{draw_film(tmp_path, f'p{i}.mp4', i)},real,Ada,lab,,one" for i in range(3)]
    alone = [f"{draw_film(tmp_path, f'a{i}.mp4', 10 + i)},real,Ben,lab,," for i in range(2)]
    fakes = [f"{draw_film(tmp_path, f'f{i}.mp4', i, 50 + i)},fake,,,dub,one" for i in range(2)]
    found = figures(run([*parts, *alone, *fakes], "--json", "-", "--seconds", "2", header=header))
    assert (found["n_real"], found["n_other"], found["n_rows"]) == (3, 1, 7)


def test_what_the_gates_would_refuse_and_what_was_trained_on_is_counted(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    brief = [f"{draw_film(tmp_path, f's{i}.mp4', 20 + i, seconds=1.4)},real,s{i},known," for i in range(2)]
    found = figures(run([*real_rows(tmp_path, 3), *brief], "--json", "-", "--seconds", "2"))
    assert (found["n_rows"], found["n_refused_by_gates"], found["n_from_trained_sources"]) == (5, 2, 2)


def test_a_limit_is_spread_over_the_manifest(
    run: Callable[..., Result], tmp_path: Path, extractor: DrawnExtractor
) -> None:
    found = figures(run(real_rows(tmp_path, 9), "--limit", "3", "--json", "-", "--seconds", "2"))
    assert found["n_real"] == 3
    assert extractor.extracted == ["real0.mp4", "real4.mp4", "real8.mp4"]


def test_clips_of_one_person_give_an_interval_over_clips(run: Callable[..., Result], tmp_path: Path) -> None:
    rows = [f"{draw_film(tmp_path, f'r{i}.mp4', i)},real,Ada,lab," for i in range(4)]
    rows += [f"{draw_film(tmp_path, f'f{i}.mp4', i, late=3, voice=70 + i)},fake,Ada,lab,dub" for i in range(4)]
    found = figures(run(rows, "--json", "-", "--seconds", "2"))
    assert found["ci_over"] == "clips"
    assert found["ci"] is not None


def test_planted_offsets_are_found(run: Callable[..., Result], tmp_path: Path) -> None:
    rows = [*real_rows(tmp_path, 3), "never.mp4,fake,x,lab,dub"]
    rows.append(f"{draw_film(tmp_path, 'late.mp4', 9, late=2)},real,Late,lab,")
    found = figures(run(rows, "--task", "offset", "--json", "-"))
    assert (found["truth"], found["n"], found["n_clips"]) == ("planted", 100, 4)
    assert found["within_1_frame"] == pytest.approx(0.75)  # the fourth clip is two frames late by itself
    assert found["within_1_frame_own"] == 1.0
    assert found["median_error_frames"] == 0
    assert list(found["by_shift"]) == [str(shift) for shift in range(-12, 13)]
    assert found["by_shift"]["-12"]["n"] == 4
    assert found["skipped"] == [{"path": "never.mp4", "reason": "offsets are planted into real clips only"}]


def test_known_offsets_are_compared_with_those_found(run: Callable[..., Result], tmp_path: Path) -> None:
    header = "path,label,offset_s"
    rows = [
        f"{draw_film(tmp_path, 'a.mp4', 1, late=5)},real,0.2",
        f"{draw_film(tmp_path, 'b.mp4', 2, late=-4)},desync,-0.12",
        f"{draw_film(tmp_path, 'c.mp4', 3, late=0)},real,0.4",
        f"{draw_film(tmp_path, 'd.mp4', 4)},real,",
    ]
    found = figures(run(rows, "--task", "offset", "--json", "-", header=header))
    assert (found["truth"], found["n"]) == ("offset_s", 3)
    assert found["within_1_frame"] == pytest.approx(2 / 3)
    assert found["median_error_frames"] == pytest.approx(1.0)
    assert found["skipped"] == [{"path": "d.mp4", "reason": "it has no offset_s"}]
    assert "known of 3 clips" in run(rows, "--task", "offset", header=header).stdout


@pytest.mark.parametrize(
    ("rows", "header", "says"),
    [
        (["a.mp4,real"], "path,name", "lacks the column label"),
        (["a.mp4,fake"], "path,label", "no row with the label real, only fake"),
        (["a.mp4,real,Ada", "b.mp4,real,Ada"], "path,label,speaker", "real and of one speaker"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(
    run: Callable[..., Result], rows: list[str], header: str, says: str
) -> None:
    result = run(rows, header=header)
    assert result.exception.code == Code.BAD_MANIFEST
    assert says in result.exception.message


def test_the_command_line_gives_one_line_and_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "manifest.csv").write_text("path,name\na.mp4,b\n")
    monkeypatch.setattr("sys.argv", ["wayspeak", "evaluate", str(tmp_path / "manifest.csv")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "lacks the column label; the columns found are: path, name" in error


@pytest.mark.parametrize("seconds", ["0.5,2", "long", "1,nan"])
def test_windows_too_short_to_score_are_refused(run: Callable[..., Result], seconds: str) -> None:
    result = run(["a.mp4,real,a,lab,"], "--seconds", seconds)
    assert result.exit_code == 2
    assert "seconds" in result.stderr or "windows" in result.stderr or "list" in result.stderr


def test_a_cache_that_cannot_be_written_stops_the_run(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run(real_rows(tmp_path, 2), "--cache", str(tmp_path / "file"))
    assert isinstance(result.exception, EngineError)
    assert "cache cannot be written" in result.exception.message


def test_processes_decode_only_what_is_not_cached(
    tmp_path: Path, extractor: DrawnExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / draw_film(tmp_path, f"{i}.mp4", i) for i in range(3)] + [tmp_path / "gone.mp4"]
    (tmp_path / "text.mp4").write_text("not a film")
    cache, steps = FeatureCache(tmp_path / "cache", RECIPE), []
    cache.save(extractor.extract(paths[0]))
    extractor.extracted.clear()

    class InThisProcess:
        """Replace a process pool, since its processes do not know the drawn extractor."""

        def __init__(self, workers: int, context: object):
            assert workers == 2

        def __enter__(self) -> "InThisProcess":
            return self

        def __exit__(self, *error: object) -> None:
            return None

        def submit(self, work: Callable[..., None], *arguments: object) -> "InThisProcess":
            work(*arguments)
            return self

        def result(self) -> None:
            return None

    monkeypatch.setattr(decoding, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(decoding, "_load_extractor", lambda settings, options, cut_mouths, cut_faces: extractor)
    paths.append(tmp_path / "text.mp4")
    decode_ahead(paths, Settings(tmp_path), FaceOptions(), cache, 2, lambda *step: steps.append(step))
    assert extractor.extracted == ["1.mp4", "2.mp4", "text.mp4"]
    assert len(list(cache.folder.iterdir())) == 3
    assert steps[-1] == ("decode", 3, 3)
    decode_ahead(paths[:3], Settings(tmp_path), FaceOptions(), cache, 2)
    assert len(extractor.extracted) == 3


class Cutting(DrawnExtractor):
    """Cuts mouths as grey as they are open."""

    def extract(self, path: Path, on_step: OnStep = lambda name, completed, total: None) -> ClipFeatures:
        seen = super().extract(path, on_step)
        grey = [(255 * np.clip(track.gap, 0, 1)).astype(np.uint8) for track in seen.tracks]
        mouths = [np.repeat(own, 96 * 96).reshape(-1, 96, 96) for own in grey]
        tracks = tuple(replace(track, mouths=own) for track, own in zip(seen.tracks, mouths, strict=True))
        heard = replace(seen.audio, filterbank=np.zeros((seen.n_frames, 104), np.float32))
        return replace(seen, tracks=tracks, audio=heard, first_mouths=mouths[0] if mouths else None)


@pytest.mark.parametrize("mode", Mode)
def test_any_method_can_be_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode) -> None:
    extractor, asked = Cutting(), []
    engine = Engine(extractor, make_scorer(mode, Model.AVHUBERT_BASE, FakeMouthReader()), "read")  # type: ignore[arg-type]
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(Engine, "load", lambda settings, method: asked.append(method) or engine)
    (tmp_path / "m.csv").write_text("\n".join(["path,label,speaker,source,method", *real_rows(tmp_path, 4), ""]))
    arguments = ["--model", "avhubert-base", "--mode", mode, "--seconds", "2", "--json", "-"]
    found, again = (
        figures(CliRunner().invoke(app, ["evaluate", str(tmp_path / "m.csv"), *arguments])) for _ in range(2)
    )

    assert asked == [Method(Model.AVHUBERT_BASE, mode)] * 2
    assert (found["auc"], found["n_real"], found["recipe"]) == (1.0, 4, "read")
    assert found["by_seconds"]["2"]["auc"] == 1.0 and found["n_from_trained_sources"] == 0
    assert found == again and len(extractor.extracted) == 4, "mouths are kept with the rest"


def test_offsets_are_found_in_paper_mode_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(DrawnExtractor(), make_scorer(Mode.PAPER), "paper")  # type: ignore[arg-type]
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(Engine, "load", lambda settings, method: engine)
    monkeypatch.setattr(evaluate, "read_trained_sources", lambda settings, model: frozenset())
    (tmp_path / "m.csv").write_text("\n".join(["path,label,speaker,source,method", *real_rows(tmp_path, 2), ""]))
    arguments = ["--model", "compact", "--mode", "paper", "--task", "offset", "--json", "-"]
    found = figures(CliRunner().invoke(app, ["evaluate", str(tmp_path / "m.csv"), *arguments]))

    assert found["within_1_frame"] == 1.0


def test_paper_mode_without_avhubert_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "data"))
    (tmp_path / "m.csv").write_text("\n".join(["path,label,speaker,source,method", *real_rows(tmp_path, 2), ""]))
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "m.csv"), "--mode", "paper"])
    assert isinstance(result.exception, WeightsMissing)


def test_results_are_grouped_by_language(run: Callable[..., Result], tmp_path: Path) -> None:
    rows = [f"{draw_film(tmp_path, f'r{i}.mp4', i)},real,p{i},lab,,{'de' if i % 2 else 'ko'}" for i in range(6)]
    rows += [f"{draw_film(tmp_path, f'd{i}.mp4', i, 50 + i)},desync,q{i},lab,dub,ko" for i in range(3)]
    found = figures(run(rows, "--json", "-", header="path,label,speaker,source,method,language"))
    assert set(found["per_language"]) == {"de", "ko"}
    assert (found["per_language"]["ko"]["auc"], found["per_language"]["ko"]["n_other"]) == (1.0, 3)
    assert (found["per_language"]["de"]["auc"], found["per_language"]["de"]["n_real"]) == (None, 3)
    assert found["per_method"]["dub"]["eer"] == 0.0 and found["per_method"]["dub"]["average_precision"] == 1.0


def test_trimmed_result_is_reported_with_the_plain_one(run: Callable[..., Result], tmp_path: Path) -> None:
    dubbed = [f"{draw_film(tmp_path, f'd{i}.mp4', i, 50 + i)},desync,person {i},lab,dub" for i in range(6)]
    found = figures(run([*real_rows(tmp_path), *dubbed], "--json", "-", "--trim-silence"))
    assert found["auc"] == found["trimmed"]["parting"]["auc"] == 1.0
    assert found["trimmed"]["silence_s"] == {"real": 0.0, "dub": 0.0}
    assert (found["trimmed"]["by_silence_alone"], found["trimmed"]["n_too_short"]) == (0.5, 0)
    text = run([*real_rows(tmp_path), *dubbed], "--trim-silence").stdout
    assert "Without silence: AUC 1.000" in " ".join(text.split())


def test_a_folder_is_read_as_the_collection_it_is(run: Callable[..., Result], tmp_path: Path) -> None:
    for place, mouth, voice in (("original_videos/{0}", 0, 0), ("synthesized_videos/fo/1/{0}", 0, 50)):
        for i in range(3):
            folder = tmp_path / "kodf" / place.format(i)
            folder.mkdir(parents=True)
            draw_film(folder, f"{i}.mp4", mouth + i, voice + i)
    listed = tmp_path / "list.txt"
    listed.write_text("original_videos/0/0.mp4 1\noriginal_videos/1/1.mp4 1\nfo/1/0/0.mp4 0\n")
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "kodf"), "--json", "-"])
    found = figures(result)
    assert (found["n_real"], found["n_other"], set(found["per_method"])) == (3, 3, {"fo"})
    assert set(found["per_language"]) == {"ko"}
    again = figures(CliRunner().invoke(app, ["evaluate", str(tmp_path / "kodf"), "--json", "-", "--list", str(listed)]))
    assert [one["path"] for one in again["skipped"]] == ["fo/1/0/0.mp4"]
    assert CliRunner().invoke(app, ["evaluate", str(listed), "--split", "test"]).exit_code == 2
