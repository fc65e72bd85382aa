"""Looking after the gallery from the command line; whatever destroys something asks first."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update

from engine.calibration.files import write_record
from engine.settings import Settings
from gallery_db.export import read_people
from gallery_db.gallery import Gallery
from gallery_db.records import Basis, Consent
from gallery_db.schema import ConsentRow
from tests.engine.calibration.drawn import make_record
from tests.gallery_db.drawn import RECIPE, draw_clips, draw_person, make_sample
from tests.webapp.cli.terminals import Run, make_run


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder in which Ada and Ben are enrolled with two clips each."""
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "data"))
    with Gallery.open(Settings(tmp_path / "data")) as gallery:
        for number, name in enumerate(("Ada", "Ben")):
            rng = np.random.default_rng(number)
            vectors = draw_clips(draw_person(rng), 2, rng, 0.3)
            consent = Consent(Basis.CONSENT, "verification", 365, "1", "Eve")
            samples = [make_sample(one, f"{name.lower()}{i}.mp4") for i, one in enumerate(vectors)]
            gallery.enrol(name, samples, consent)
    return tmp_path / "data"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], data_dir: Path) -> Run:
    return make_run(monkeypatch, capfd)


def list_names(data_dir: Path) -> list[str]:
    with Gallery.open(Settings(data_dir)) as gallery:
        return [one.name for one in gallery.speakers()]


def test_everybody_is_listed(run: Run) -> None:
    code, out, err = run("gallery", "list")
    assert (code, err) == (0, "")
    assert [line[:22] for line in out.splitlines()] == ["Ada  2 clips, 24.0 s, ", "Ben  2 clips, 24.0 s, "]
    result = json.loads(run("gallery", "list", "--json")[1])
    assert [one["name"] for one in result["found"]] == ["Ada", "Ben"] and result["schema_version"] == 1


def test_the_clips_of_one_are_listed_with_numbers_and_consents(run: Run) -> None:
    code, out, _ = run("gallery", "list", "Ben")
    assert code == 0 and [line.split()[:2] for line in out.splitlines()] == [["3", "ben0.mp4"], ["4", "ben1.mp4"]]
    assert "consent (consent) until" in out and "verification" in out
    assert len(json.loads(run("gallery", "list", "Ben", "--json")[1])["found"]) == 2
    code, _, err = run("gallery", "list", "Zoe")
    assert code == 2 and "Zoe" in err


def test_records_are_kept_in_their_order_and_listed(run: Run, tmp_path: Path) -> None:
    draft, approved = tmp_path / "draft.json", tmp_path / "approved.json"
    record = make_record()
    write_record(record, draft)
    write_record(record.approve("Bob"), approved)
    code, _, err = run("gallery", "keep", approved)
    assert code == 2 and "Store that one first" in err
    code, out, _ = run("gallery", "keep", draft, approved)
    assert code == 0 and out.count(": stored") == 2
    code, out, _ = run("gallery", "calibrations")
    assert code == 0 and "approved, by Ada, approved by Bob" in out and len(out.splitlines()) == 2
    result = json.loads(run("gallery", "calibrations", "--json")[1])["found"]
    assert [one["status"] for one in result] == ["draft", "approved"]
    assert "stored already" in run("gallery", "keep", draft)[2]


def test_stats_and_check(run: Run) -> None:
    code, out, _ = run("gallery", "stats")
    assert code == 0 and out.startswith("2 speakers, 4 clips, 48 s\n") and RECIPE in out
    assert json.loads(run("gallery", "stats", "--json")[1])["found"]["n_speakers"] == 2
    assert run("gallery", "check")[:2] == (0, "The gallery is sound.\n")


def test_export_of_all_or_one_speaker_never_overwrites(run: Run, tmp_path: Path) -> None:
    assert run("gallery", "export", tmp_path / "all")[0] == 0
    assert run("gallery", "export", tmp_path / "one", "--speaker", "Ben")[0] == 0
    assert [[one.name for one in read_people(tmp_path / file)] for file in ("all", "one")] == [["Ada", "Ben"], ["Ben"]]
    before = (tmp_path / "all").read_bytes()
    code, _, err = run("gallery", "export", tmp_path / "all")
    assert code == 2 and "already exists" in err and (tmp_path / "all").read_bytes() == before


def test_names_that_are_there_are_refused_merged_or_renamed_on_import(run: Run, data_dir: Path, tmp_path: Path) -> None:
    run("gallery", "export", tmp_path / "all")
    code, _, err = run("gallery", "import", tmp_path / "all")
    assert code == 2 and "Ada" in err and list_names(data_dir) == ["Ada", "Ben"]
    code, out, _ = run("gallery", "import", tmp_path / "all", "--rename")
    assert code == 0 and "2 speakers imported" in out
    assert list_names(data_dir) == ["Ada", "Ada (2)", "Ben", "Ben (2)"]
    assert run("gallery", "import", tmp_path / "all", "--merge")[0] == 0
    assert list_names(data_dir) == ["Ada", "Ada (2)", "Ben", "Ben (2)"]
    code, _, err = run("gallery", "import", tmp_path / "all", "--merge", "--rename")
    assert code == 2 and "contradict" in err


def test_damaged_file_imports_no_speaker(run: Run, data_dir: Path, tmp_path: Path) -> None:
    run("gallery", "export", tmp_path / "all")
    content = bytearray((tmp_path / "all").read_bytes())
    content[-5] ^= 1
    (tmp_path / "all").write_bytes(content)
    code, _, err = run("gallery", "import", tmp_path / "all", "--rename")
    assert code == 2 and "checksum" in err and list_names(data_dir) == ["Ada", "Ben"]


def test_a_backup_comes_back(run: Run, data_dir: Path, tmp_path: Path) -> None:
    assert run("gallery", "backup", tmp_path / "kept.db")[0] == 0
    assert run("gallery", "backup", tmp_path / "kept.db")[0] == 2  # there already
    assert run("gallery", "rename", "Ada", "Zoe")[0] == 0
    code, _, err = run("gallery", "restore", tmp_path / "kept.db")
    assert code == 2 and "--yes" in err and list_names(data_dir) == ["Ben", "Zoe"]
    code, out, _ = run("gallery", "restore", tmp_path / "kept.db", "--yes")
    assert code == 0 and "erased" not in out and list_names(data_dir) == ["Ada", "Ben"]


def test_restore_does_not_bring_back_erased_speakers(run: Run, data_dir: Path, tmp_path: Path) -> None:
    run("gallery", "backup", tmp_path / "kept.db")
    run("forget", "Ada", "--yes")
    code, out, _ = run("gallery", "restore", tmp_path / "kept.db", "--yes")
    assert code == 0 and "1 speakers erased since" in out and list_names(data_dir) == ["Ben"]


def test_merge_and_unmerge_restore_two_speakers(run: Run, data_dir: Path) -> None:
    code, out, _ = run("gallery", "merge", "Ada", "Ben")
    assert code == 0 and "Ada has 4 clips now" in out and list_names(data_dir) == ["Ada"]
    code, out, _ = run("gallery", "unmerge", "Ben")
    assert code == 0 and "Ben has 2 clips again" in out and list_names(data_dir) == ["Ada", "Ben"]


def test_a_clip_is_given_to_another_and_a_name_is_corrected(run: Run, data_dir: Path) -> None:
    assert run("gallery", "reassign", "3", "Ada")[0] == 0
    code, out, _ = run("gallery", "list")
    assert code == 0 and "Ada  3 clips" in out and "Ben  1 clip," in out
    assert run("gallery", "rename", "Ben", "Benedikt")[0] == 0 and list_names(data_dir) == ["Ada", "Benedikt"]
    code, _, err = run("gallery", "rename", "Benedikt", "ADA")
    assert code == 2 and "Ada" in err


@pytest.mark.parametrize(("answers", "result"), [(None, "--yes"), (["n"], "not confirmed"), ([""], "not confirmed")])
def test_forget_requires_confirmation(run: Run, data_dir: Path, answers: list[str] | None, result: str) -> None:
    code, _, err = run("forget", "Ada", answers=answers)
    assert code == 2 and result in err and list_names(data_dir) == ["Ada", "Ben"]


def test_forget_prints_receipt_and_cleans_caches(run: Run, data_dir: Path) -> None:
    with Gallery.open(Settings(data_dir)) as gallery:
        own, other = (gallery.samples(name)[0].source_hash for name in ("Ada", "Ben"))
    cache = data_dir / "cache" / "some-recipe"
    cache.mkdir(parents=True)
    for name in (f"{own}.npz", f"{own}.faces.npz", f"{other}.npz"):
        (cache / name).write_bytes(b"rows")
    code, out, _ = run("forget", "ada", answers=["y"])
    assert code == 0 and "Ada was forgotten at " in out and "2 samples" in out
    assert "gone from every file" in out and "not reached: backups" in out and "2 kept observations" in out
    assert [file.name for file in cache.iterdir()] == [f"{other}.npz"] and list_names(data_dir) == ["Ben"]
    assert run("forget", "Ada", "--yes")[0] == 2


def test_what_is_overdue_is_forgotten_and_nothing_else(run: Run, data_dir: Path) -> None:
    code, out, _ = run("gallery", "forget-overdue")
    assert code == 0 and out == "0 forgotten.\n"
    consent = Consent(Basis.CONSENT, "x", 1, "1", "Eve")
    with Gallery.open(Settings(data_dir)) as gallery:
        rng = np.random.default_rng(5)
        gallery.enrol("Cem", [make_sample(one) for one in draw_clips(draw_person(rng), 2, rng, 0.3)], consent)
        yesterday = datetime.now(UTC) - timedelta(days=1)
        with gallery.database.write() as connection:
            connection.execute(update(ConsentRow).where(ConsentRow.term_days == 1).values(expires_at=yesterday))
        assert gallery.stats().n_overdue == 1
    code, _, err = run("gallery", "forget-overdue")
    assert code == 2 and "of 1 speakers" in err and "--yes" in err
    code, out, _ = run("gallery", "forget-overdue", "--yes")
    assert code == 0 and out.endswith("1 forgotten.\n") and list_names(data_dir) == ["Ada", "Ben"]
