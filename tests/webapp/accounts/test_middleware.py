"""Accounts on the real server: nothing without login, and no access to another user's data."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from engine.settings import Settings
from tests.webapp import served
from webapp.accounts.gradio_middleware import GradioOwnership, Kind, is_web_address, list_paths, scan_stream
from webapp.accounts.middleware import COOKIE, OPEN_PATHS, AuthMiddleware
from webapp.accounts.records import Role
from webapp.accounts.store import MAX_BY_NAME, AccountStore
from webapp.jobs.records import Job


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    made = served.make_settings(tmp_path_factory.mktemp("guarded"))
    served.make_accounts(made, ada=Role.ANALYST, bob=Role.ANALYST, vera=Role.VIEWER, root=Role.ADMIN)
    return made


@pytest.fixture(scope="module")
def app(settings: Settings) -> FastAPI:
    return served.build_server(served.make_page(), settings, "0.0.0.0", served.PORT)


@pytest.fixture(scope="module")
def stranger(app: FastAPI) -> Iterator[TestClient]:
    with served.open_client(app) as client:
        yield client


@pytest.fixture(scope="module")
def ada(app: FastAPI, stranger: TestClient) -> TestClient:
    return served.visit(app, "ada")


@pytest.fixture(scope="module")
def bob(app: FastAPI, stranger: TestClient) -> TestClient:
    return served.visit(app, "bob")


@pytest.fixture(scope="module")
def job(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Job:
    return served.finish_job(settings, tmp_path_factory.mktemp("files"), "ada")


def test_anonymous_client_gets_nothing_from_any_route(app: FastAPI, stranger: TestClient) -> None:
    routes = served.list_routes(app)
    paths = {path for _, path in routes}
    assert len(routes) > 100
    for wanted in ("queue/join", "queue/data", "cancel", "reset", "heartbeat/{session_hash}", "upload"):
        assert f"/gradio_api/{wanted}" in paths, wanted
    let_in = set()
    for method, path in sorted(routes):
        address = re.sub(r"\{[^}]*\}", "x", path)
        answer = stranger.request(method, address, headers={"Origin": served.ADDRESS})
        if answer.status_code not in (401, 302, 303):
            let_in.add(path)
        elif answer.status_code != 401:
            assert answer.headers["location"].startswith("/login"), path
    assert let_in <= OPEN_PATHS, let_in


@pytest.mark.parametrize("path", ["//login", "/login/", "/login/x", "/LOGIN", "/healthz/", "/%6cogin/../config", "/./"])
def test_no_spelling_leads_around_the_guard(stranger: TestClient, path: str) -> None:
    assert stranger.get(path).status_code == 401


def test_a_web_socket_is_closed(stranger: TestClient) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), stranger.websocket_connect("/gradio_api/queue/join"):
        pass


def test_a_page_is_led_to_the_login_and_back_to_this_server_alone(app: FastAPI, stranger: TestClient) -> None:
    answer = stranger.get("/files/x/y", headers={"Accept": "text/html"})
    assert answer.status_code == 303 and answer.headers["location"] == "/login?next=/files/x/y"
    for target in ("//evil.example", "https://evil.example", "/\\evil.example", "/a b", "javascript:alert(1)", "/\t/e"):
        form = stranger.get("/login", params={"next": target})
        assert 'name="next" value="/"' in form.text, target
    assert 'value="/files/x/y"' in stranger.get("/login", params={"next": "/files/x/y"}).text


def test_the_login_page_runs_nothing_and_says_no_more_than_needed(stranger: TestClient) -> None:
    answer = stranger.get("/login")
    assert "default-src 'none'" in answer.headers["content-security-policy"] and "<script" not in answer.text
    assert answer.headers["cache-control"] == "no-store"


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(app: FastAPI, stranger: TestClient) -> None:
    for address, is_secure in ((served.ADDRESS, False), ("https://way.example", True)):
        client = TestClient(app, address, follow_redirects=False)
        client.get("/login")
        token = client.cookies.get("wayspeak_login") or ""
        form = {"name": "vera", "password": served.PASSWORD, "form": token}
        answer = client.post("/login", data=form, headers={"Origin": address})
        (cookie,) = [one for one in answer.headers.get_list("set-cookie") if one.startswith(COOKIE)]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie
        assert ("Secure" in cookie) is is_secure


def test_a_login_from_another_sites_form_is_refused(stranger: TestClient) -> None:
    stranger.get("/login")
    form = {"name": "ada", "password": served.PASSWORD, "form": stranger.cookies.get("wayspeak_login") or ""}
    assert stranger.post("/login", data=form, headers={"Origin": "http://evil.example"}).status_code == 403
    assert stranger.post("/login", data={**form, "form": "guess"}).status_code == 401
    stranger.cookies.clear()
    assert stranger.post("/login", data={**form, "form": ""}).status_code == 401
    assert stranger.post("/login", content=b"\xff" * 20_000).status_code == 401


def test_the_sixth_bad_login_has_to_wait(settings: Settings, stranger: TestClient) -> None:
    served.make_accounts(settings, eve=Role.VIEWER)
    for _ in range(MAX_BY_NAME):
        assert served.log_in(stranger, "eve", "wrong").status_code == 401
    answer = served.log_in(stranger, "eve")
    assert answer.status_code == 429 and 0 < int(answer.headers["retry-after"]) <= 300
    assert COOKIE not in stranger.cookies


def test_logging_out_ends_the_session_itself(app: FastAPI, stranger: TestClient) -> None:
    client = served.visit(app, "vera")
    token = client.cookies.get(COOKIE) or ""
    assert client.get("/config").status_code == 200
    assert client.get("/logout").status_code == 200 and client.get("/config").status_code == 200
    assert client.post("/logout", headers={"Origin": served.ADDRESS}).status_code == 303
    again = TestClient(app, served.ADDRESS, cookies={COOKIE: token}, follow_redirects=False)
    assert again.get("/config").status_code == 401


def test_a_key_opens_the_api_and_nothing_else(settings: Settings, stranger: TestClient) -> None:
    key = served.make_key(settings, "ada")
    assert stranger.get("/api/v1/jobs", headers=key).status_code == 200
    for path in ("/config", "/", "/gradio_api/info", "/api/v1/../../config"):
        assert stranger.get(path, headers=key).status_code == 401
    wrong = {"Authorization": "Bearer wsk_guess"}
    assert stranger.get("/api/v1/jobs", headers=wrong).status_code == 401


def test_a_session_and_the_api_need_no_key_but_the_right_origin(ada: TestClient, job: Job) -> None:
    assert ada.get(f"/api/v1/jobs/{job.id}").status_code == 200
    path = f"/api/v1/jobs/{job.id}/cancel"
    assert ada.post(path, headers={"Origin": served.ADDRESS}).status_code == 200
    assert ada.post(path, headers={"Origin": "http://evil.example"}).status_code == 403


def test_users_cannot_access_each_others_data(ada: TestClient, bob: TestClient, app: FastAPI, job: Job) -> None:
    names = ("input", "result.json", "speakers.json", "windows.csv", "report.html", "bundle.zip", "faces/0.png")
    paths = [f"/files/{job.id}/{name}" for name in names]
    paths += [f"/api/v1/jobs/{job.id}{end}" for end in ("", "/result", "/speakers", "/windows", "/report", "/bundle")]
    for path in paths:
        assert ada.get(path).status_code == 200, path
        answer = bob.get(path)
        assert answer.status_code == 404 and answer.json()["error"]["code"] == "UNKNOWN_JOB", path
        assert b"talk.mp4" not in answer.content
    for verb, end in (("POST", "/cancel"), ("DELETE", ""), ("POST", "/rerun")):
        assert bob.request(verb, f"/api/v1/jobs/{job.id}{end}", json={}).status_code == 404
    assert bob.get("/api/v1/jobs").json()["jobs"] == []
    assert bob.get("/api/v1/jobs", params={"before": job.id}).status_code == 404
    root = served.visit(app, "root")
    assert [one["id"] for one in root.get("/api/v1/jobs").json()["jobs"]] == [job.id]


def test_a_viewer_changes_nothing(app: FastAPI, stranger: TestClient, ada: TestClient, job: Job) -> None:
    vera, origin = served.visit(app, "vera"), {"Origin": served.ADDRESS}
    analyst_may = [
        ("POST", "/jobs", {"url": "https://example.org/v"}),
        ("POST", f"/jobs/{job.id}/cancel", None),
        ("DELETE", f"/jobs/{job.id}", None),
        ("POST", "/search", {"job": job.id, "reason": "case"}),
        ("POST", "/verify", {"job": job.id, "speaker": "Ada"}),
    ]
    consent = {"basis": "consent", "purpose": "p", "term_days": 3, "collector": "c"}
    enroller_may = [
        ("POST", "/speakers", {"name": "Ada", "consent": consent, "clips": [{"job": job.id}]}),
        ("PATCH", "/speakers/1", {"name": "Eve"}),
        ("DELETE", "/speakers/1", None),
        ("POST", "/speakers/1/merge", {"absorbed": 2}),
        ("POST", "/speakers/1/unmerge", None),
        ("POST", "/samples/1/reassign", {"speaker": 2}),
    ]
    for client, refused in ((vera, analyst_may + enroller_may), (ada, enroller_may)):
        for verb, path, body in refused:
            answer = client.request(verb, f"/api/v1{path}", json=body, headers=origin)
            assert answer.status_code == 403, (path, answer.text)
            assert answer.json()["error"]["code"] == "NOT_ALLOWED"


def upload(client: TestClient, content: bytes) -> str:
    answer = client.post(
        "/gradio_api/upload", files={"files": ("clip.mp4", content)}, headers={"Origin": served.ADDRESS}
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()[0])


def join(client: TestClient, path: str, visit: str) -> object:
    data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, "words"]
    config = client.get("/config").json()
    (number,) = [one["id"] for one in config["dependencies"] if one["api_name"] == "answer"]
    body = {"data": data, "fn_index": number, "session_hash": visit}
    return client.post("/gradio_api/queue/join", json=body, headers={"Origin": served.ADDRESS})


def read_events(client: TestClient, visit: str) -> list[dict]:
    found = []
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": visit}) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                found.append(json.loads(line[5:]))
                if found[-1]["msg"] == "process_completed":
                    return found
    return found


def test_upload_belongs_to_its_user(ada: TestClient, bob: TestClient) -> None:
    path = upload(ada, b"of ada")
    assert ada.get(f"/gradio_api/file={path}").content == b"of ada"
    for prefix in ("file=", "file/"):
        assert bob.get(f"/gradio_api/{prefix}{path}").status_code == 404
    assert bob.head(f"/gradio_api/file={path}").status_code == 404
    folder, name = path.rsplit("/", 1)
    assert bob.get(f"/gradio_api/file={folder}/./{name}").status_code == 404
    assert join(bob, path, "visit-of-bob").status_code == 404  # type: ignore[attr-defined]
    assert upload(bob, b"of ada") == path  # the same file has the same path
    assert bob.get(f"/gradio_api/file={path}").content == b"of ada"


def test_served_file_belongs_to_its_user(ada: TestClient, bob: TestClient) -> None:
    path = upload(ada, b"asked about")
    answer = join(ada, path, "visit-of-ada")
    assert answer.status_code == 200, answer.text  # type: ignore[attr-defined]
    run = answer.json()["event_id"]  # type: ignore[attr-defined]
    (done,) = [one for one in read_events(ada, "visit-of-ada") if one["msg"] == "process_completed"]
    result, back = done["output"]["data"]
    assert result == "ada: words, 11 bytes"
    assert ada.get(f"/gradio_api/file={back['path']}").content == b"asked about"
    assert bob.get(f"/gradio_api/file={back['path']}").status_code == 404
    origin = {"Origin": served.ADDRESS}
    for route, body in (
        ("cancel", {"session_hash": "visit-of-ada", "fn_index": 0, "event_id": "x"}),
        ("cancel", {"session_hash": "mine", "fn_index": 0, "event_id": run}),
        ("reset", {"event_id": run}),
    ):
        assert bob.post(f"/gradio_api/{route}", json=body, headers=origin).status_code == 404, route
    for route in ("queue/data?session_hash=visit-of-ada", "heartbeat/visit-of-ada", f"call/answer/{run}"):
        assert bob.get(f"/gradio_api/{route}").status_code == 404, route


def test_a_body_that_is_no_object_or_too_long_is_refused(ada: TestClient) -> None:
    for body in (b"[]", b"{", b"[" * 100_000, b"1", b" " * (9 * 1024 * 1024)):
        answer = ada.post("/gradio_api/queue/join", content=body, headers={"Origin": served.ADDRESS})
        assert answer.status_code == 400 and answer.json()["error"]["code"] == "BAD_REQUEST"


def test_unowned_files_are_refused_and_old_entries_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.accounts.gradio_middleware.MAX_KEPT", 2)
    kept = GradioOwnership(["shared"])
    assert kept.owns(Kind.FILE, "shared", "ada") and not kept.owns(Kind.FILE, "a", "ada")
    assert kept.claim(Kind.SESSION, "v", "ada") and not kept.claim(Kind.SESSION, "v", "bob")
    for name in ("a", "b", "c"):
        kept.add(Kind.FILE, name, "ada")
    assert [kept.owns(Kind.FILE, name, "ada") for name in ("a", "b", "c")] == [False, True, True]


def test_files_are_found_wherever_they_are_named() -> None:
    assert list(list_paths({"a": [{"path": "x"}, {"b": {"path": "y"}}], "path": 3})) == ["x", "y"]
    assert list(scan_stream(b'data: {"path": "a\\"b", "p": 1, "path":"c"}')) == ['a"b', "c"]
    assert is_web_address("HTTPS://x") and is_web_address(" data:x") and not is_web_address("/tmp/a:b")


def test_accounts_without_a_place_for_them_are_a_mistake(settings: Settings) -> None:
    from webapp.accounts.hosts import HostPolicy

    with pytest.raises(ValueError, match="accounts are on"):
        AuthMiddleware(lambda *_: None, HostPolicy("127.0.0.1", True), None)  # type: ignore[arg-type]


def test_a_disabled_account_is_out_at_once(app: FastAPI, settings: Settings, stranger: TestClient) -> None:
    served.make_accounts(settings, carl=Role.ADMIN)
    carl = served.visit(app, "carl")
    assert carl.get("/config").status_code == 200
    store = AccountStore.open(settings)
    store.disable("carl")
    store.close()
    assert carl.get("/config").status_code == 401


def test_no_log_holds_a_password_or_a_token(
    app: FastAPI, stranger: TestClient, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    client = served.visit(app, "vera")
    client.get("/api/v1/jobs", params={"text": "planted-token"})
    client.get("/api/v1/jobs", headers={"Authorization": "Bearer planted-token"})
    logged = "".join(
        record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore", "asyncio"))
    )
    out = capfd.readouterr()
    for secret in (served.PASSWORD, client.cookies.get(COOKIE) or "-", "planted-token"):
        assert secret not in logged + out.out + out.err


def test_the_crawl_would_notice_an_open_route(tmp_path: Path) -> None:
    open_app = FastAPI()
    open_app.add_api_route("/open", lambda: {}, methods=["GET"])
    assert ("GET", "/open") in served.list_routes(open_app)
