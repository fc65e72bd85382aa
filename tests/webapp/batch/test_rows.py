"""One row per item, also for failures; the same rows from every runner; no item is analysed twice."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

from engine.errors import Code, FolderUnwritable
from engine.fetch.fetch import FetchedMedia
from engine.settings import Settings
from engine.types import Analysis, CalibrationNote, MediaReport, MediaSelection, Reason, Span, SpanKind
from tests.fakes import make_analysis, make_report
from tests.payloads import check_csv
from tests.webapp.jobs.samples import hash_bytes, make_result, make_settings, write_file
from webapp.analysis.records import AnalysisRequest, JobError
from webapp.batch.local import Version, extract_item, run_batch, score_item
from webapp.batch.rows import (
    BatchRow,
    list_job_rows,
    make_error_row,
    make_row,
    read_jsonl,
    submit,
    write_csv,
    write_jsonl,
)
from webapp.batch.sources import Source, read_sources
from webapp.jobs.records import JobState
from webapp.jobs.store import JobStore

NOTE = CalibrationNote("c" * 64, "1.0.0", "Ada", "Ben", (-2.0, 2.0), 1.0, -1.0)
NEW = ("asked", "from_s", "to_s", "audio_track", "channel")
SOURCE = Source(1, "clips/a.mp4", Path("clips/a.mp4"))


def make_calibrated(score: float = 0.5) -> Analysis:
    report = replace(make_report(score, 2, Reason.EDITED), llr=1.25, zone="supported", calibration=NOTE)
    return make_analysis(report, name="a.mp4")


class FakeRunner:
    """Return the row that a file's content names, and count the calls."""

    def __init__(self, version: Version | None = None):
        self.version = version or Version(make_analysis().recipe, None)
        self.extracted: list[str] = []

    def run(self, sources: Sequence[Source]) -> Iterator[BatchRow]:
        for source in reversed(sources):
            self.extracted.append(source.written)
            assert source.path is not None
            if not source.path.exists():
                yield make_error_row(source, source.name, None, JobError("UNREADABLE_VIDEO", "There is no file."))
                continue
            made = replace(make_analysis(name=source.name), sha256=hash_bytes(source.path.read_bytes()))
            yield make_row(source, replace(made, recipe=self.version.recipe))


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Source]:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        write_file(tmp_path, name, name.encode())
    monkeypatch.chdir(tmp_path)
    return read_sources(["a.mp4", "gone.mp4", "b.mp4", "c.mp4"])


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_row_describes_face_visible_during_most_speech() -> None:
    reports = [replace(make_report(0.2), speech_s=3.0), replace(make_report(0.5, -4, Reason.DRIFT), speech_s=9.0)]
    row = make_row(SOURCE, make_analysis(*reports, replace(make_report(0.9), speech_s=9.0)))
    assert (row.n_faces, row.face, row.score, row.offset_s, row.speech_s) == (3, 1, 0.5, -0.16, 9.0)
    assert row.reasons == ("DRIFT",) and row.status == "EVALUATED" and row.has_result


def test_a_clip_without_a_face_and_one_that_was_refused_have_rows_too() -> None:
    nobody = make_row(SOURCE, replace(make_analysis(make_report(None, 0, Reason.NO_FACE)), tracks=()))
    assert (nobody.status, nobody.reasons, nobody.n_faces, nobody.score) == ("NOT_EVALUATED", ("NO_FACE",), 0, None)
    refused = make_row(SOURCE, make_analysis(make_report(None, 0, Reason.SILENT)))
    assert (refused.face, refused.score, refused.llr, refused.reasons) == (0, None, None, ("SILENT",))


def test_a_calibrated_row_names_its_record() -> None:
    row = make_row(SOURCE, make_calibrated())
    assert (row.llr, row.zone, row.calibration) == (1.25, "supported", "c" * 64)


def test_a_row_lists_the_spans_of_another_voice() -> None:
    spans = (
        Span(0.0, 42.0, (0.0, 0.0), (41.5, 42.5), SpanKind.CONSISTENT, 30.0, 0.3, 1.2),
        Span(42.0, 49.24, (41.5, 42.5), (49.0, 49.5), SpanKind.INCONSISTENT, 6.0, -0.3, -1.1),
    )
    row = make_row(SOURCE, make_analysis(replace(make_report(), spans=spans, span_calibration=NOTE)))
    assert row.other_voice == ("42.0-49.2",) and read_jsonl(write_jsonl([row])) == [row]
    assert read_csv(write_csv([row]))[0]["other_voice"] == "42.0-49.2"
    assert make_row(SOURCE, make_calibrated()).other_voice == ()


def test_rows_come_back_and_have_no_timings() -> None:
    rows = [make_row(SOURCE, make_calibrated()), make_error_row(SOURCE, "a.mp4", None, JobError("X", "Why, “this”."))]
    assert read_jsonl(write_jsonl(rows)) == rows
    assert "total" not in write_jsonl(rows)
    first, second = read_csv(write_csv(rows))
    assert list(first) == [one.name for one in fields(BatchRow)]
    assert (first["score"], first["reasons"], first["error"]) == ("0.5", "EDITED", "")
    assert (second["status"], second["error"], second["score"]) == ("FAILED", "Why, “this”.", "")


def test_half_a_line_and_lines_of_others_are_left_out() -> None:
    whole = write_jsonl([make_row(SOURCE, make_calibrated())])
    assert len(read_jsonl(whole + whole[:40])) == 1 and read_jsonl('{"x": 1}\n[]\n7\n\n') == []


def test_no_cell_is_a_formula() -> None:
    def write(text: str) -> str:
        row = make_error_row(Source(1, text), text, None, JobError("X", text))
        return write_csv([row, replace(make_row(SOURCE, make_calibrated(0.5)), offset_s=-0.12)])

    check_csv(write)
    assert read_csv(write("x"))[1]["offset_s"] == "-0.12"


def test_every_item_has_its_row_in_the_order_given(clips: list[Source], tmp_path: Path) -> None:
    result: list[tuple[int, int]] = []
    rows = run_batch(
        clips, FakeRunner(), tmp_path / "out", on_row=lambda row, total: result.append((row.number, total))
    )
    assert [(row.number, row.source, row.status) for row in rows] == [
        (1, "a.mp4", "EVALUATED"), (2, "gone.mp4", "FAILED"), (3, "b.mp4", "EVALUATED"), (4, "c.mp4", "EVALUATED"),
    ]  # fmt: skip
    assert sorted(result) == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert read_jsonl((tmp_path / "out" / "results.jsonl").read_text("utf-8")) == rows
    assert (tmp_path / "out" / "results.csv").read_text("utf-8") == write_csv(rows)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["results.csv", "results.jsonl"]


def test_what_is_there_is_kept_by_its_bytes_and_what_failed_is_tried_again(clips: list[Source], tmp_path: Path) -> None:
    first = run_batch(clips, FakeRunner(), tmp_path / "out")
    (tmp_path / "a.mp4").rename(tmp_path / "gone.mp4")
    write_file(tmp_path, "b.mp4", b"other bytes")
    answers = FakeRunner()
    rows = run_batch(clips, answers, tmp_path / "out", resume=True)
    assert sorted(answers.extracted) == ["a.mp4", "b.mp4"]
    assert (rows[1].source, rows[1].name, rows[1].sha256) == ("gone.mp4", "gone.mp4", first[0].sha256)
    assert rows[0].status == "FAILED" and rows[3] == first[3]
    answers = FakeRunner()
    run_batch(clips, answers, tmp_path / "out")
    assert len(answers.extracted) == 4


@pytest.mark.parametrize("version", [Version("other", None), Version(make_analysis().recipe, "c" * 64)])
def test_results_of_another_recipe_or_calibration_are_recomputed(
    clips: list[Source], tmp_path: Path, version: Version
) -> None:
    run_batch(clips, FakeRunner(), tmp_path / "out")
    answers = FakeRunner(version)
    run_batch(clips, answers, tmp_path / "out", resume=True)
    assert len(answers.extracted) == 4


def test_rows_before_an_interruption_are_kept(clips: list[Source], tmp_path: Path) -> None:
    class Breaking(FakeRunner):
        def run(self, sources: Sequence[Source]) -> Iterator[BatchRow]:
            rows = super().run(sources)
            yield next(rows)
            yield next(rows)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(clips, Breaking(), tmp_path / "out")
    answers = FakeRunner()
    rows = run_batch(clips, answers, tmp_path / "out", resume=True)
    assert sorted(answers.extracted) == ["a.mp4", "gone.mp4"] and len(rows) == 4


def test_a_link_is_not_fetched_again(tmp_path: Path) -> None:
    link = Source(1, "https://example.org/", url="https://example.org/")

    class Fetched(FakeRunner):
        def run(self, sources: Sequence[Source]) -> Iterator[BatchRow]:
            for source in sources:
                self.extracted.append(source.written)
                yield make_row(source, make_analysis(name="A talk"))

    run_batch([link], Fetched(), tmp_path)
    answers = Fetched()
    (row,) = run_batch([link], answers, tmp_path, resume=True)
    assert answers.extracted == [] and row.name == "A talk"


def test_a_folder_that_cannot_be_written_is_told(clips: list[Source], tmp_path: Path) -> None:
    with pytest.raises(FolderUnwritable):
        run_batch(clips, FakeRunner(), tmp_path / "a.mp4" / "out")


def test_whatever_happens_to_an_item_is_a_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings, clip = Settings(tmp_path), write_file(tmp_path, "a.mp4")
    source = Source(1, "a.mp4", clip)

    def refuse(path: Path, selection: MediaSelection) -> None:
        raise Code.UNREADABLE_VIDEO("It is a text.", "Choose a video.")

    def stumble(path: Path, selection: MediaSelection) -> None:
        raise RuntimeError("a secret detail")

    rows = [
        extract_item(source, refuse, settings),  # type: ignore[arg-type]
        extract_item(source, stumble, settings),  # type: ignore[arg-type]
        extract_item(Source(1, "b.mp4", tmp_path / "b.mp4"), stumble, settings),  # type: ignore[arg-type]
    ]
    assert all(isinstance(row, BatchRow) and row.status == "FAILED" for row in rows)
    assert [row.error_code for row in rows if isinstance(row, BatchRow)] == [
        "UNREADABLE_VIDEO", "INTERNAL_ERROR", "UNREADABLE_VIDEO",
    ]  # fmt: skip
    assert [getattr(row, "sha256", "") for row in rows] == [hash_bytes(b"not decoded")] * 2 + [None]
    assert "secret" in caplog.text and all("secret" not in str(row) for row in rows)
    assert score_item(source, rows[0], None) is rows[0]  # type: ignore[arg-type]


def test_a_link_is_fetched_and_its_file_goes_again(tmp_path: Path) -> None:
    part = MediaSelection(1.0, 2.0)
    link, folders = Source(3, "https://example.org/", url="https://example.org/", selection=part), []

    def fetch(url: str, folder: Path, limits: object) -> FetchedMedia:
        folders.append(folder)
        return FetchedMedia(write_file(folder), "d" * 64, 3, "A talk", None, "", url, None, "", ())  # type: ignore[arg-type]

    def observe(path: Path, selection: MediaSelection) -> Analysis:
        assert path.read_bytes() == b"not decoded" and selection == part
        return make_analysis()

    seen = extract_item(link, observe, Settings(tmp_path), fetch)  # type: ignore[arg-type]
    assert getattr(seen, "name", "") == "A talk" and not folders[0].exists()

    def fail(*_: object) -> FetchedMedia:
        raise Code.SITE_UNREACHABLE("It does not answer.", "Try later.")

    row = extract_item(link, observe, Settings(tmp_path), fail)  # type: ignore[arg-type]
    assert isinstance(row, BatchRow) and (row.error_code, row.name) == ("SITE_UNREACHABLE", link.written)


def test_the_page_s_jobs_give_the_same_rows(clips: list[Source], tmp_path: Path) -> None:
    there = [one for one in clips if one.path is not None and one.path.exists()]
    there = [replace(one, number=number) for number, one in enumerate(there, start=1)]
    store = JobStore.open(make_settings(tmp_path))
    assert submit(store, "ada", there, AnalysisRequest(), "b1") == []
    (refused,) = submit(store, "ada", [clips[1]], AnalysisRequest(), "b1")
    assert (refused.error_code, refused.number, refused.source) == ("UNREADABLE_VIDEO", 2, "gone.mp4")
    assert {row.status for row in list_job_rows(store, "b1")} == {"QUEUED"}
    while (job := store.lease("w1")) is not None:
        found = make_result(job.name)
        analysis = replace(make_analysis(name=job.name), sha256=str(job.sha256), timings_s={"total": 99.0})
        store.finish(job.id, "w1", replace(found, analysis=analysis))
    rows = list_job_rows(store, "b1")
    (store.folder(store.list()[0].id) / "result.json").rename(tmp_path / "aside.json")
    assert [row.error_code for row in list_job_rows(store, "b1")] == [None, None, "REPORT_DAMAGED"]
    ours = run_batch(there, FakeRunner(), tmp_path / "out")
    assert write_csv(rows) == write_csv(ours) and write_jsonl(rows) == write_jsonl(ours)
    store.close()


def test_jobs_that_fail_or_wait_have_rows(clips: list[Source], tmp_path: Path) -> None:
    store = JobStore.open(make_settings(tmp_path))
    submit(store, "ada", [clips[0], clips[2], clips[3]], AnalysisRequest(), "b1")
    job = store.lease("w1")
    assert job is not None
    store.fail(job.id, "w1", Code.UNREADABLE_VIDEO("It is a text.", "Choose a video."))
    store.cancel(store.list()[0].id)
    rows = list_job_rows(store, "b1")
    assert [row.status for row in rows] == [JobState.FAILED, JobState.QUEUED, JobState.CANCELLED]
    error = make_error_row(Source(1, "a.mp4"), "a.mp4", job.sha256, JobError("UNREADABLE_VIDEO", "It is a text."))
    assert json.dumps(asdict(rows[0])) == json.dumps(asdict(error))
    store.close()


def test_rows_name_the_judged_part_and_sound() -> None:
    media = MediaReport(from_s=60.0, to_s=75.5, audio_track=2, channel="FL")
    source = Source(1, "a.mp4", Path("a.mp4"), selection=MediaSelection(60.0, 75.5, channel="FL"))
    row = make_row(source, replace(make_analysis(), media=media))
    assert (row.asked, row.from_s, row.to_s, row.audio_track, row.channel) == (
        "0:01:00–0:01:15.5 · FL", 60.0, 75.5, 2, "FL",
    )  # fmt: skip
    assert read_jsonl(write_jsonl([row])) == [row]
    (cells,) = read_csv(write_csv([row]))
    assert (cells["from_s"], cells["audio_track"], cells["channel"]) == ("60.0", "2", "FL")


def test_rows_of_earlier_versions_are_of_the_whole_recording(clips: list[Source], tmp_path: Path) -> None:
    rows = run_batch(clips, FakeRunner(), tmp_path / "out")
    assert all(row.asked == "" for row in rows)
    old = [{name: value for name, value in asdict(row).items() if name not in NEW} for row in rows]
    (tmp_path / "out" / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in old), "utf-8")
    answers = FakeRunner()
    run_batch(clips, answers, tmp_path / "out", resume=True)
    assert answers.extracted == ["gone.mp4"]


def test_another_part_of_a_known_file_is_analysed(clips: list[Source], tmp_path: Path) -> None:
    run_batch(clips, FakeRunner(), tmp_path / "out")
    answers = FakeRunner()
    parts = [replace(one, selection=MediaSelection(1.0)) for one in clips]
    run_batch(parts, answers, tmp_path / "out", resume=True)
    assert len(answers.extracted) == 4


def test_jobs_of_a_batch_keep_their_parts(clips: list[Source], tmp_path: Path) -> None:
    store = JobStore.open(make_settings(tmp_path))
    part = MediaSelection(1.0, 2.0, 2, "FR")
    submit(store, "ada", [replace(clips[0], selection=part), clips[2]], AnalysisRequest(), "b1")
    assert [job.question.selection for job in store.list()] == [MediaSelection(), part]
    assert [row.asked for row in list_job_rows(store, "b1")] == ["0:00:01–0:00:02 · #2 · FR", ""]
    store.close()
