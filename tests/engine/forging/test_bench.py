"""Forgery benchmark from manifest to folder: marks, labels, quoted lists, and reasons of skipped clips."""

import csv
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from engine.datasets.manifest import Row, read_manifest
from engine.errors import EngineError, FolderUnwritable
from engine.forging.bench import COLUMNS, BenchOptions, ForgingTools, _open_lists, forge_clips, order_partners
from engine.forging.kinds import CONTROLS, FORGERIES, Kind
from engine.forging.source_clips import SourceClip
from engine.forging.watermark import WORDS, find_watermark
from engine.media.clip import open_clip
from tests.clips import Film, write_clip
from tests.engine.forging.actors import Part, draw_astronaut, draw_stranger, film, load_nets
from tests.payloads import PAYLOADS, check_csv
from webapp.cli.forge import read_kinds, read_offsets, spread_rows
from webapp.cli.main import app

KINDS = (Kind.FACE_SWAP, Kind.AUDIO_SWAP, Kind.TIME_SHIFT, Kind.PARTIAL_FACE, Kind.FROZEN)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest of two people, a bar without a face and a forged clip."""
    folder = tmp_path_factory.mktemp("source")
    film(folder / "one.mp4", draw_astronaut(), Part(seconds=1.2))
    film(folder / "two.mp4", draw_stranger(), Part(seconds=1.2, syllables_hz=3.7))
    write_clip(folder / "bar.mp4", Film())
    lines = [
        "path,label,speaker,source,session,sample",
        "one.mp4,real,astronaut,studio,s1,a",
        "two.mp4,real,stranger,studio,s2,",
        "bar.mp4,real,nobody,studio,s3,",
        "old.mp4,fake,astronaut,studio,s1,",
        "two.mp4,real,,studio,,",
    ]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folder in which all was forged, and why some was not, by name."""
    rows, folder = read_manifest(source / "manifest.csv"), tmp_path_factory.mktemp("made") / "new"
    skipped = forge_clips(rows, rows, folder, ForgingTools(load_nets()), BenchOptions(KINDS))
    return folder, {one.path: one.reason for one in skipped}


def read_lines(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {
            f"{Path(line['driver_path']).stem} {line['method']} {line['speaker']}": line
            for line in csv.DictReader(file)
        }


def test_owners_are_labelled(made: tuple[Path, dict[str, str]]) -> None:
    lines = read_lines(made[0] / "forged.csv")
    swap = lines["one face-swap astronaut"]
    assert list(swap) == COLUMNS
    assert (swap["face_owner"], swap["motion_owner"], swap["voice_owner"]) == ("stranger", "astronaut", "astronaut")
    assert (swap["label"], swap["session"], swap["donor_session"], swap["source"]) == ("fake", "s1", "s2", "studio")
    assert swap["sample"] == "a face-swap stranger" and lines["two face-swap stranger"]["sample"] == ""
    dub = lines["two audio-swap stranger"]
    assert (dub["label"], dub["face_owner"], dub["voice_owner"]) == ("fake-audio", "stranger", "astronaut")
    shift = lines["one time-shift astronaut"]
    assert shift["label"] == "desync" and float(shift["offset_s"]) in BenchOptions(()).offsets_s
    assert lines["one frozen astronaut"]["label"] == "control" and lines["one frozen astronaut"]["donor_path"] == ""


def test_paths_lead_to_the_clips_from_the_new_folder(made: tuple[Path, dict[str, str]], source: Path) -> None:
    rows = {row.written: row for row in read_manifest(made[0] / "forged.csv", check_files=True)}
    swap = next(row for name, row in rows.items() if "one_face-swap" in name)
    assert swap.driver_path is not None and swap.driver_path.resolve() == (source / "one.mp4").resolve()
    assert swap.donor_path is not None and swap.donor_path.resolve() == (source / "two.mp4").resolve()
    assert swap.face_owner == "stranger" and not swap.is_real


def test_the_whole_manifest_has_the_originals_too(made: tuple[Path, dict[str, str]]) -> None:
    forged, whole = (read_manifest(made[0] / name) for name in ("forged.csv", "manifest.csv"))
    real = [row for row in whole if row.is_real]
    assert len(whole) == len(forged) + 4 and {row.speaker for row in real} == {"astronaut", "stranger", "nobody", ""}
    assert all(row.path.is_file() for row in real) and real[0].session == "s1" and real[0].sample == "a"
    assert not any(row.is_real for row in forged)


def test_every_frame_of_every_clip_is_marked(made: tuple[Path, dict[str, str]]) -> None:
    clips = sorted(made[0].glob("*.mp4"))
    assert len(clips) == len(read_manifest(made[0] / "forged.csv")) == 8 + 2
    for path in clips:
        with av.open(str(path)) as clip:
            assert clip.metadata["title"] == WORDS
            found = [find_watermark(frame.to_ndarray(format="rgb24")) for frame in clip.decode(video=0)]
        assert len(found) == 30 and all(found), path.name


def test_the_audio_of_a_shifted_clip_is_late_by_the_label(made: tuple[Path, dict[str, str]], source: Path) -> None:
    line = read_lines(made[0] / "forged.csv")["one time-shift astronaut"]
    own, moved = open_clip(source / "one.mp4"), open_clip(made[0] / line["path"])
    loudness = [np.sqrt(np.square(clip.audio).reshape(-1, 160).mean(1)) for clip in (own, moved)]
    lag = round(float(line["offset_s"]) * 100)
    span = slice(max(lag, 0) + 2, min(lag, 0) + 118)
    rolled = np.roll(loudness[0], lag)
    assert np.corrcoef(loudness[1][span], rolled[span])[0, 1] > 0.97


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bar.mp4 (face-swap)", "No face is seen in bar.mp4"),
        ("bar.mp4 (frozen)", "No face is seen in bar.mp4"),
        ("old.mp4", "labelled fake, not real"),
        ("one.mp4 (partial-face)", "lasts 1.20 s"),
        ("two.mp4 (face-swap)", "There is no donor of a face for two.mp4"),
    ],
)
def test_what_was_left_out_is_named_with_its_reason(made: tuple[Path, dict[str, str]], name: str, reason: str) -> None:
    assert reason in made[1][name]


def test_the_same_seed_gives_the_same_bytes_whatever_else_is_made(
    made: tuple[Path, dict[str, str]], source: Path, tmp_path: Path
) -> None:
    rows = read_manifest(source / "manifest.csv")
    forge_clips(rows[:1], rows, tmp_path, ForgingTools(load_nets()), BenchOptions((Kind.TIME_SHIFT, Kind.FACE_SWAP)))
    again = sorted(tmp_path.glob("*.mp4"))
    assert len(again) == 2
    for path in again:
        assert path.read_bytes() == (made[0] / path.name).read_bytes()


def people(n: int = 5, clips: int = 4) -> list[Row]:
    return [
        Row(10 * p + c, Path(f"{p}-{c}.mp4"), "real", speaker=f"p{p}", session=f"s{c}", written=f"{p}-{c}.mp4")
        for p in range(n)
        for c in range(clips)
    ]


@pytest.mark.parametrize("kind", [Kind.FACE_SWAP, Kind.AUDIO_SWAP])
def test_partners_are_others_and_few(kind: Kind) -> None:
    rows = people()
    for speaker in range(5):
        own = [row for row in rows if row.speaker == f"p{speaker}"]
        orders = [order_partners(kind, row, rows, BenchOptions((), n_donors=2)) for row in own]
        assert all(len({other.speaker for other in order}) == 4 for order in orders), "one clip of each other person"
        assert not any(other.speaker == f"p{speaker}" for order in orders for other in order)
        assert len({order[0].written for order in orders}) <= 2
        assert all({o.written for o in order[:2]} == {o.written for o in orders[0][:2]} for order in orders)


def test_partners_depend_on_the_seed_and_not_on_the_order_of_the_pool() -> None:
    rows = people(12)
    orders = [
        [other.speaker for other in order_partners(Kind.FACE_SWAP, rows[0], pool, BenchOptions((), seed=seed))]
        for pool, seed in ((rows, 0), (rows[::-1], 0), (rows, 1))
    ]
    assert orders[0] == orders[1] != orders[2]


def test_unnamed_people_and_silent_clips_are_no_partners() -> None:
    rows = people(3)
    assert order_partners(Kind.FACE_SWAP, replace(rows[0], speaker=""), rows, BenchOptions(())) == []
    unnamed = [replace(row, speaker="") for row in rows[4:]]
    assert order_partners(Kind.FACE_SWAP, rows[0], unnamed, BenchOptions(())) == []
    silent = [replace(row, has_audio="0") for row in rows]
    assert order_partners(Kind.AUDIO_SWAP, rows[0], silent, BenchOptions(())) == []
    assert len(order_partners(Kind.FACE_SWAP, rows[0], silent, BenchOptions(()))) == 2


def test_a_clip_is_loaded_once_even_where_it_is_unusable(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def refuse(row: Row, nets: object, limits: object) -> SourceClip:
        loaded.append(row.written)
        raise EngineError("no use")

    monkeypatch.setattr("engine.forging.bench.load_source_clip", refuse)
    tools, rows = ForgingTools(load_nets()), people()
    for row in (rows[0], rows[1], rows[0]):
        with pytest.raises(EngineError, match="no use"):
            tools.load(row)
    assert loaded == ["0-0.mp4", "0-1.mp4"]


def test_a_folder_that_cannot_be_written_is_named(source: Path, tmp_path: Path) -> None:
    rows = read_manifest(source / "manifest.csv")
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(FolderUnwritable, match="taken"):
        forge_clips(rows[:1], rows, tmp_path / "taken", ForgingTools(load_nets()), BenchOptions((Kind.FROZEN,)))


def test_kinds_are_read_by_name_and_by_group() -> None:
    assert read_kinds("frozen, face-swap,frozen") == (Kind.FROZEN, Kind.FACE_SWAP)
    assert read_kinds("forgeries") == FORGERIES and read_kinds("controls,forgeries") == CONTROLS + FORGERIES
    assert set(read_kinds("all")) == set(Kind)


@pytest.mark.parametrize("text", ["deepfake", "", "face-swap,,x", "none"])
def test_an_unknown_kind_is_refused(source: Path, tmp_path: Path, text: str) -> None:
    done = CliRunner().invoke(
        app, ["forge", str(source / "manifest.csv"), "--out", str(tmp_path / "out"), "--kinds", text]
    )
    assert done.exit_code == 2 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["0", "x", "3", ""])
def test_a_shift_of_nothing_or_of_too_much_is_refused(source: Path, tmp_path: Path, text: str) -> None:
    done = CliRunner().invoke(
        app, ["forge", str(source / "manifest.csv"), "--out", str(tmp_path / "out"), "--offset", text]
    )
    assert done.exit_code == 2 and not (tmp_path / "out").exists()
    assert read_offsets("-0.2, 0.4") == (-0.2, 0.4)


def test_a_limit_spreads_over_the_real_rows() -> None:
    rows = [replace(row, label="fake") if n % 2 else row for n, row in enumerate(people(10))]
    assert spread_rows(rows, 0) == rows
    chosen = spread_rows(rows, 5)
    assert len(chosen) == 5 and all(row.is_real for row in chosen)
    assert chosen[0] == rows[0] and chosen[-1] == rows[38]


def test_the_command_makes_clips_and_names_what_it_left_out(source: Path, tmp_path: Path) -> None:
    arguments = ["forge", str(source / "manifest.csv"), "--out", str(tmp_path / "out"), "--kinds", "time-shift"]
    done = CliRunner().invoke(app, [*arguments, "--offset", "0.2", "--seed", "3"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "3 clips in" in done.output and "left out: bar.mp4 (time-shift): No face" in done.output
    assert {line["offset_s"] for line in read_lines(tmp_path / "out" / "forged.csv").values()} == {"0.2"}


def test_the_command_fails_where_nothing_can_be_made(source: Path, tmp_path: Path) -> None:
    only_bar = tmp_path / "bar.csv"
    only_bar.write_text(f"path,label\n{source / 'bar.mp4'},real\n")
    done = CliRunner().invoke(app, ["forge", str(only_bar), "--out", str(tmp_path / "out"), "--kinds", "frozen"])
    assert done.exit_code == 1 and "0 clips" in done.output


def test_help_is_the_commands_own() -> None:
    done = CliRunner().invoke(app, ["forge", "--help"])
    assert done.exit_code == 0 and "--kinds" in done.output


def write_lists(folder: Path, text: str) -> Path:
    original = Row(number=1, path=folder / "a.mp4", label="real", speaker=text, source=text, method="")
    with _open_lists(folder, [original]) as add_line:
        add_line(dict.fromkeys(COLUMNS, text) | {"path": "b.mp4", "label": "fake", "offset_s": "-0.2"})
    return folder / "manifest.csv"


def read(path: Path) -> str:
    with path.open(encoding="utf-8", newline="") as file:
        return file.read()


def test_names_are_no_formulas(tmp_path: Path) -> None:
    check_csv(lambda text: read(write_lists(tmp_path, text)))
    check_csv(lambda text: read(write_lists(tmp_path, text).with_name("forged.csv")))


def test_names_are_read_back_as_they_were(tmp_path: Path) -> None:
    for text in PAYLOADS:
        first = read_manifest(write_lists(tmp_path, text))[0]
        assert first.speaker == first.source == text
