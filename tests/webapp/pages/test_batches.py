"""Links and uploads become one batch; no list can name a file of the server."""

from pathlib import Path

import pytest

from tests.raising import raises
from tests.webapp.jobs.samples import write_file
from tests.webapp.pages.contexts import OWNER, finish_job
from webapp.analysis.records import AnalysisRequest, JobError
from webapp.batch import rows as batch
from webapp.batch.sources import Source
from webapp.context import AppContext
from webapp.errors import WebCode
from webapp.pages import batches

LINK = "https://example.org/talk"


def test_links_a_list_and_uploads_are_one_batch(context: AppContext, tmp_path: Path) -> None:
    listing, upload = tmp_path / "list.csv", write_file(tmp_path, "upload.mp4", b"bytes")
    listing.write_text(f"url,note\n{LINK}/2,x\n", "utf-8")
    name, refused = batches.submit(
        context, OWNER, f"{LINK}/1\n\n# no\n", str(listing), [str(upload)], AnalysisRequest()
    )
    assert refused == []
    rows = batch.list_job_rows(context.jobs, name)
    assert [row.source for row in rows] == [f"{LINK}/1", f"{LINK}/2", "upload.mp4"]
    assert [label for label, own in batches.list_batches(context, OWNER) if own == name]
    assert batches.list_batches(context, "eve") == []


@pytest.mark.parametrize("line", ["/etc/passwd", "file:///etc/passwd", "clip.mp4", "-x"])
def test_a_line_names_no_file(context: AppContext, line: str) -> None:
    with raises(WebCode.BAD_BATCH, match="not a link"):
        batches.submit(context, OWNER, line, None, [], AnalysisRequest())
    assert context.jobs.list() == []


@pytest.mark.parametrize("ending", ["csv", "txt"])
def test_a_list_names_no_file(context: AppContext, tmp_path: Path, ending: str) -> None:
    secret = write_file(tmp_path, "secret.mp4", b"secret")
    listing = tmp_path / f"list.{ending}"
    listing.write_text(f"path\n{secret}\n" if ending == "csv" else f"{secret}\n", "utf-8")
    with raises(WebCode.BAD_BATCH):
        batches.submit(context, OWNER, "", str(listing), [], AnalysisRequest())
    assert context.jobs.list() == []


def test_empty_batch_is_refused(context: AppContext) -> None:
    with raises(WebCode.BAD_BATCH, match="Nothing was given"):
        batches.submit(context, OWNER, "  \n", None, [], AnalysisRequest())


def test_refused_items_are_listed_with_reasons() -> None:
    source = Source(1, "<b>film.mp4", Path("<b>film.mp4"))
    row = batch.make_error_row(source, source.name, None, JobError("QUOTA_USED", "No room.", "Delete jobs."))
    words = batches.describe_refused([row])
    assert "&lt;b&gt;film.mp4" in words and "No room." in words and batches.describe_refused([]) == ""


def test_results_are_shown_and_downloaded(context: AppContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    finish_job(context, tmp_path, "=a.mp4", batch="batch-1")
    rows = batch.list_job_rows(context.jobs, "batch-1")
    (shown,) = batches.list_rows(rows)
    assert shown[1] == "=a.mp4" and shown[4:6] == ["0.400", "+0.08"] and len(shown) == len(batches.HEADERS)
    as_csv, as_jsonl = batches.write_downloads(rows)
    assert "'=a.mp4" in Path(as_csv).read_text("utf-8") and Path(as_jsonl).read_text("utf-8").startswith("{")
    assert Path(as_csv).is_relative_to(tmp_path / "cache")
