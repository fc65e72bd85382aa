"""The API without accounts: jobs from submission to bundle, speakers from enrolment to erasure receipt."""

import json
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from fastapi import FastAPI
from pydantic import ValidationError
from starlette.testclient import TestClient

from engine.settings import Settings
from engine.style.records import FaceEmbedding
from gallery_db.gallery import Gallery
from gallery_db.records import Basis, Consent
from tests.webapp import served
from tests.webapp.jobs.samples import make_sighting
from webapp.analysis.gallery_queries import to_sample
from webapp.analysis.records import AnalysisRequest
from webapp.api.schemas import QuestionView
from webapp.bundle import verify
from webapp.bundle.signing_key import open_key
from webapp.errors import WebCode
from webapp.jobs import files as folders
from webapp.jobs.records import Job
from webapp.jobs.store import JobStore

CONSENT = {"basis": "consent", "purpose": "a test", "term_days": 30, "collector": "a tester"}
NOBODY = "0" * 32


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return served.make_settings(tmp_path)


@pytest.fixture(scope="module")
def page() -> gr.Blocks:
    """One page for all tests, which send no request to it."""
    return served.make_page()


@pytest.fixture
def app(settings: Settings, page: gr.Blocks) -> FastAPI:
    return served.build_server(page, settings, served.HOST, served.PORT)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with served.open_client(app) as client:
        yield client


@pytest.fixture
def job(settings: Settings, tmp_path: Path) -> Job:
    return served.finish_job(settings, tmp_path)


def make_clip(face: int, digit: str) -> FaceEmbedding:
    """Make a clip of a speaker with similar, never identical motion."""
    seen = make_sighting(face)
    vector = seen.embedding.vector.copy()
    vector[int(digit)] += 0.2
    embedding = replace(seen.embedding, vector=vector / np.linalg.norm(vector))
    return replace(seen, sha256=digit * 64, embedding=embedding)


def code_of(answer: object) -> str:
    return str(answer.json()["error"]["code"])  # type: ignore[attr-defined]


def test_file_is_submitted_and_followed(client: TestClient, settings: Settings) -> None:
    question = json.dumps({"reason": "case 7"})
    answer = client.post("/api/v1/jobs", files={"file": ("../dir/talk.mp4", b"film")}, data={"question": question})
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert (job["state"], job["name"], job["owner"], job["size_bytes"]) == ("QUEUED", "talk.mp4", "local", 4)
    assert job["question"]["reason"] == "case 7" and job["sha256"] is not None
    assert JobStore.open(settings).input(job["id"]).read_bytes() == b"film"
    assert client.get(f"/api/v1/jobs/{job['id']}").json() == job
    assert code_of(client.get(f"/api/v1/jobs/{job['id']}/result")) == "JOB_NOT_DONE"
    assert client.post(f"/api/v1/jobs/{job['id']}/cancel").json()["state"] == "CANCELLED"
    again = client.post(f"/api/v1/jobs/{job['id']}/rerun", json={"speaker": "Ada"})
    assert again.status_code == 202 and again.json()["question"]["speaker"] == "Ada"
    assert again.json()["sha256"] == job["sha256"]
    assert client.delete(f"/api/v1/jobs/{job['id']}").status_code == 204
    assert client.get(f"/api/v1/jobs/{job['id']}").status_code == 404


def test_link_is_submitted_and_invalid_link_is_refused_at_once(client: TestClient) -> None:
    answer = client.post("/api/v1/jobs", json={"url": "https://example.org/v", "name": "a talk"})
    assert answer.status_code == 202 and answer.json()["url"] == "https://example.org/v"
    for url in ("file:///etc/passwd", "http://127.0.0.1/", "http://user@example.org/", "http://[::1]/", "x"):
        refused = client.post("/api/v1/jobs", json={"url": url})
        assert refused.status_code == 422 and code_of(refused) in ("BAD_URL", "ADDRESS_FORBIDDEN", "INVALID"), url
    assert len(client.get("/api/v1/jobs").json()["jobs"]) == 1


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"json": {}}, "INVALID"),
        ({"json": {"url": "https://example.org/", "more": 1}}, "INVALID"),
        ({"content": b"{"}, "INVALID"),
        ({"content": b"\xff\xfe"}, "INVALID"),
        ({"files": {"other": ("a.mp4", b"x")}}, "INVALID"),
        ({"files": {"file": ("a.mp4", b"x")}, "data": {"question": "{"}}, "INVALID"),
        ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, "BAD_REQUEST"),
        ({"content": b" " * 100_000}, "FILE_TOO_LARGE"),
    ],
)
def test_what_is_no_job_is_refused_in_words(client: TestClient, sent: dict, code: str) -> None:
    answer = client.post("/api/v1/jobs", **sent)
    assert 400 <= answer.status_code < 500 and code_of(answer) == code, answer.text
    assert answer.json()["error"]["message"] and client.get("/api/v1/jobs").json()["jobs"] == []


def test_part_and_sound_are_chosen_for_files_and_links(client: TestClient) -> None:
    asked = {"from_s": 60.0, "to_s": 75.5, "audio_track": 2, "channel": "left"}
    by_link = client.post("/api/v1/jobs", json={"url": "https://example.org/v", "question": asked})
    by_form = client.post("/api/v1/jobs", files={"file": ("a.mp4", b"x")}, data={"question": json.dumps(asked)})
    for answer in (by_link, by_form):
        assert answer.status_code == 202, answer.text
        shown = client.get(f"/api/v1/jobs/{answer.json()['id']}").json()
        assert {name: shown["question"][name] for name in asked} == asked | {"channel": "FL"}
        assert shown["left_s"] is None
    again = client.post(f"/api/v1/jobs/{by_form.json()['id']}/rerun", json={"from_s": 5})
    assert again.json()["question"]["from_s"] == 5.0 and again.json()["question"]["channel"] is None


@pytest.mark.parametrize(
    "asked",
    [
        {"from_s": -1},
        {"from_s": 5, "to_s": 5},
        {"to_s": 0},
        {"from_s": "1:00"},
        {"audio_track": 0},
        {"channel": "middle"},
        {"channel": ""},
    ],
)
def test_a_part_or_sound_that_no_recording_has_is_refused(client: TestClient, asked: dict) -> None:
    sent: list[dict] = [
        {"json": {"url": "https://example.org/v", "question": asked}},
        {"files": {"file": ("a.mp4", b"x")}, "data": {"question": json.dumps(asked)}},
    ]
    for one in sent:
        answer = client.post("/api/v1/jobs", **one)
        assert answer.status_code == 422 and code_of(answer) == "INVALID", answer.text
    assert client.get("/api/v1/jobs").json()["jobs"] == []


def test_the_schema_documents_part_and_sound(client: TestClient) -> None:
    schemas = client.get("/api/v1/openapi.json").json()["components"]["schemas"]
    fields = schemas["QuestionView"]["properties"]
    assert all(fields[name]["description"] for name in ("from_s", "to_s", "audio_track", "channel"))
    assert schemas["JobView"]["properties"]["left_s"]["description"]


def test_results_are_those_of_the_command_line(client: TestClient, job: Job, settings: Settings) -> None:
    base = f"/api/v1/jobs/{job.id}"
    assert client.get(f"{base}/result").text == served.write_result()
    kept = JobStore.open(settings).folder(job.id) / folders.SPEAKERS
    assert client.get(f"{base}/speakers").text == kept.read_text("utf-8")
    assert client.get(f"{base}/windows").text.count("\n") == 1 + 2 * 9
    report = client.get(f"{base}/report")
    assert report.headers["content-type"].startswith("text/html") and "talk.mp4" in report.text
    assert "sandbox" in report.headers["content-security-policy"]


def test_a_bundle_of_a_job_holds_and_can_be_made_again(client: TestClient, job: Job, settings: Settings) -> None:
    one = client.get(f"/api/v1/jobs/{job.id}/bundle")
    assert one.headers["content-type"] == "application/zip"
    members = verify.unpack(one.content)
    assert verify.find_problems(members, open_key(settings.data_dir).fingerprint) == []
    assert client.get(f"/files/{job.id}/bundle.zip").content == one.content
    original = json.loads(members["exhibit.json"])["original"]
    assert original["sha256"] == job.sha256 and original["size_bytes"] == job.size_bytes
    assert {"models/compact-model.md", "faces/0.png", "faces/1.png", "speakers.json"} <= set(members)
    assert "1. Ada" in members["report.html"].decode()


def test_files_are_served_with_safe_content_types(client: TestClient, job: Job) -> None:
    video = client.get(f"/files/{job.id}/input")
    assert video.content == b"talk.mp4" and video.headers["content-type"] == "application/octet-stream"
    assert "sandbox" in video.headers["content-security-policy"] and "no-store" in video.headers["cache-control"]
    part = client.get(f"/files/{job.id}/input", headers={"Range": "bytes=2-4"})
    assert part.status_code == 206 and part.content == b"lk."
    assert client.get(f"/files/{job.id}/faces/1.png").content.startswith(b"\x89PNG")
    for name in ("origin.json", "embeddings.safetensors", "..", "%2e%2e%2fapp.sqlite", "faces/9.png", "faces/x.png"):
        assert client.get(f"/files/{job.id}/{name}").status_code in (404, 409, 422), name
    assert client.get(f"/files/{NOBODY}/input").status_code == 404
    assert client.get("/files/../input").status_code == 404


@pytest.mark.parametrize(
    ("head", "kind"), [(b"\0\0\0\x18ftypisom", "video/mp4"), (b"\x1a\x45\xdf\xa3", "video/webm"), (b"RIFF", "")]
)
def test_the_type_of_a_video_is_that_of_its_bytes(client: TestClient, head: bytes, kind: str) -> None:
    job = client.post("/api/v1/jobs", files={"file": ("film", head)}).json()
    answer = client.get(f"/files/{job['id']}/input")
    assert answer.headers["content-type"] == (kind or "application/octet-stream")


def test_a_link_with_several_videos_takes_a_number(client: TestClient) -> None:
    link = {"url": "https://example.org/post", "item": 2}
    job = client.post("/api/v1/jobs", json=link).json()
    assert client.get(f"/api/v1/jobs/{job['id']}").json()["item"] == job["item"] == 2
    assert code_of(client.post("/api/v1/jobs", json=link | {"item": -1})) == "INVALID"


def test_the_origin_of_a_fetched_file_is_told(client: TestClient, job: Job, settings: Settings) -> None:
    assert code_of(client.get(f"/api/v1/jobs/{job.id}/origin")) == "NOT_FOUND"
    path = settings.data_dir / "jobs" / job.id / "origin.json"
    path.write_text('{"format_id": "v+a", "language": "en"}', "utf-8")
    assert client.get(f"/api/v1/jobs/{job.id}/origin").json() == {"format_id": "v+a", "language": "en"}


def test_a_page_sent_as_a_video_is_not_shown_as_one(client: TestClient) -> None:
    page = b"<script>alert(1)</script>"
    for name in ("x.html", "x.svg", "x", "x.mp4.html"):
        job = client.post("/api/v1/jobs", files={"file": (name, page)}).json()
        answer = client.get(f"/files/{job['id']}/input")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_list_of_jobs_is_turned_page_by_page(client: TestClient) -> None:
    for number in range(5):
        client.post("/api/v1/jobs", files={"file": (f"{number}.mp4", b"film")})
    first = client.get("/api/v1/jobs", params={"limit": 3}).json()
    rest = client.get("/api/v1/jobs", params={"limit": 3, "before": first["next"]}).json()
    assert [one["name"] for one in first["jobs"] + rest["jobs"]] == [f"{n}.mp4" for n in (4, 3, 2, 1, 0)]
    assert rest["next"] is None
    found = client.get("/api/v1/jobs", params={"text": "3.mp4", "state": ["QUEUED", "RUNNING"]}).json()
    assert [one["name"] for one in found["jobs"]] == ["3.mp4"]


def test_speaker_is_enrolled_renamed_found_and_erased(
    client: TestClient, job: Job, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = {"name": "Ada", "consent": CONSENT, "clips": [{"job": job.id, "face": 0}]}
    trial = client.post("/api/v1/speakers", json={**wish, "dry_run": True})
    assert trial.status_code == 201 and client.get("/api/v1/speakers").json() == {"speakers": []}
    done = client.post("/api/v1/speakers", json=wish)
    assert done.status_code == 201, done.text
    number = done.json()["found"]["speaker"]["id"]
    assert client.get(f"/api/v1/speakers/{number}").json()["name"] == "Ada"
    (sample,) = client.get(f"/api/v1/speakers/{number}/samples").json()["samples"]
    assert sample["purpose"] == "a test" and sample["source_name"] == "talk.mp4" and "vector" not in str(sample)
    assert client.patch(f"/api/v1/speakers/{number}", json={"name": "Ada L."}).json()["name"] == "Ada L."
    found = client.post("/api/v1/search", json={"job": job.id, "face": 0, "reason": "case 7"}).json()["found"]
    assert found["candidates"][0]["name"] == "Ada L."
    verified = client.post("/api/v1/verify", json={"job": job.id, "face": 0, "speaker": "Ada L."}).json()["found"]
    assert verified["speaker"]["id"] == number and verified["similarity"] > 0.99
    receipt = client.delete(f"/api/v1/speakers/{number}").json()["found"]
    assert receipt["is_erased"] is True and client.get(f"/api/v1/speakers/{number}").status_code == 404
    assert client.get(f"/api/v1/jobs/{job.id}/speakers").json()["error"]["code"] == "FORGOTTEN"


def test_speakers_are_merged_and_unmerged_and_a_clip_moves(client: TestClient, settings: Settings) -> None:
    consent = Consent(Basis.CONSENT, "a test", 3, "1", "a tester")
    with Gallery.open(settings) as gallery:
        for face, name, digests in ((0, "Ada", "1"), (1, "Bob", "23")):
            gallery.enrol(name, [to_sample(make_clip(face, digit)) for digit in digests], consent)
    ids = {one["name"]: one["id"] for one in client.get("/api/v1/speakers").json()["speakers"]}
    merged = client.post(f"/api/v1/speakers/{ids['Ada']}/merge", json={"absorbed": ids["Bob"]})
    assert merged.json()["n_samples"] == 3
    parted = client.post(f"/api/v1/speakers/{ids['Bob']}/unmerge")
    assert parted.status_code == 200, parted.text
    assert parted.json()["name"] == "Bob"
    (sample, _) = client.get(f"/api/v1/speakers/{ids['Bob']}/samples").json()["samples"]
    given = client.post(f"/api/v1/samples/{sample['id']}/reassign", json={"speaker": ids["Ada"]})
    assert given.status_code == 200 and given.json()["n_samples"] == 2, given.text


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/search", {"job": "JOB", "face": 0}, "INVALID"),
        ("/search", {"job": "JOB", "face": 0, "reason": "  "}, "INVALID"),
        ("/search", {"job": "JOB", "face": 7, "reason": "case"}, "NO_SUCH_FACE"),
        ("/search", {"job": "JOB", "reason": "case"}, "MANY_FACES"),
        ("/search", {"job": NOBODY, "reason": "case"}, "UNKNOWN_JOB"),
        ("/verify", {"job": "JOB", "face": 0, "speaker": "Nobody"}, "UNKNOWN_SPEAKER"),
        ("/speakers", {"name": "Ada", "consent": {}, "clips": [{"job": "JOB"}]}, "INVALID"),
        ("/speakers", {"name": " ", "consent": CONSENT, "clips": [{"job": "JOB", "face": 0}]}, "NAME_TAKEN"),
        ("/speakers/7/merge", {"absorbed": 8}, "UNKNOWN_SPEAKER"),
        ("/speakers/99999999999999999999/merge", {"absorbed": 8}, "INVALID"),
    ],
)
def test_invalid_operations_are_reported(client: TestClient, job: Job, path: str, body: dict, code: str) -> None:
    sent = json.loads(json.dumps(body).replace('"JOB"', f'"{job.id}"'))
    answer = client.post(f"/api/v1{path}", json=sent)
    assert 400 <= answer.status_code < 500 and code_of(answer) == code, answer.text


def test_calibrations_models_and_health_are_listed(client: TestClient) -> None:
    listed = client.get("/api/v1/calibrations").json()["calibrations"]
    assert listed and all(len(one["id"]) == 64 for one in listed)
    whole = client.get(f"/api/v1/calibrations/{listed[0]['id']}").json()
    assert whole["id"] == listed[0]["id"] and whole["recipe"] == listed[0]["recipe"]
    assert code_of(client.get(f"/api/v1/calibrations/{'0' * 64}")) == "UNKNOWN_CALIBRATION"
    models = client.get("/api/v1/models").json()
    assert {one["name"] for one in models["weights"]} >= {"compact", "dynamics"} and models["methods"]
    health = client.get("/api/v1/health").json()
    assert health["jobs"]["QUEUED"] == 0 and isinstance(health["healthy"], bool)


def test_internal_error_is_reported_without_details(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, job: Job
) -> None:
    def fail(self: JobStore, job_id: str) -> Job:
        raise RuntimeError("planted secret")

    monkeypatch.setattr(JobStore, "get", fail)
    for path in (f"/api/v1/jobs/{job.id}", f"/files/{job.id}/input"):
        answer = client.get(path)
        assert answer.status_code == 500 and code_of(answer) == "INTERNAL_ERROR"
        assert "planted" not in answer.text


def test_job_deleted_meanwhile_is_no_internal_error(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, job: Job
) -> None:
    def gone(self: JobStore, job_id: str) -> None:
        raise WebCode.UNKNOWN_JOB("There is no such job.", "Look.")

    monkeypatch.setattr(JobStore, "read_result", gone)
    assert client.get(f"/api/v1/jobs/{job.id}/bundle").status_code == 404


def test_the_schema_names_every_body_and_the_key(client: TestClient) -> None:
    schema = client.get("/api/v1/openapi.json").json()
    assert schema["components"]["securitySchemes"]
    body = schema["paths"]["/jobs"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "application/json"}
    name = body["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
    assert name in schema["components"]["schemas"]
    assert BytesIO(json.dumps(schema).encode()).read().count(b"cdn") == 0
    assert client.get("/api/v1/docs").status_code == 404 and client.get("/docs").status_code == 404


def test_a_question_names_only_the_known_language() -> None:
    assert QuestionView(language="en").to_request() == AnalysisRequest(language="en")
    assert QuestionView().to_request().language is None
    with pytest.raises(ValidationError):
        QuestionView(language="ar")  # type: ignore[arg-type]
