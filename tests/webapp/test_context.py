"""The app opens its stores once, for page and API."""

from pathlib import Path

import pytest

from gallery_db.gallery import Gallery
from tests.webapp import served
from webapp import server
from webapp.context import AppContext
from webapp.jobs.store import JobStore
from webapp.pages.app import build_app


def test_page_and_api_open_no_store_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = served.make_settings(tmp_path)
    job = served.finish_job(settings, tmp_path)
    context = AppContext.open(settings)
    for store in (JobStore, Gallery):
        monkeypatch.setattr(store, "open", lambda _: pytest.fail("a store was opened again"))
    app = server.build_server(build_app(context), context, served.HOST, served.PORT)
    with served.open_client(app) as client:
        for path in ("/", "/api/v1/jobs", "/api/v1/speakers", "/api/v1/calibrations", f"/files/{job.id}/bundle.zip"):
            assert client.get(path).status_code == 200, path
        asked = {"job": job.id, "face": 0, "reason": "case 7"}
        answer = client.post("/api/v1/search", json=asked)
        assert answer.status_code == 200, answer.text
    context.close()
