"""The server without accounts: headers of the page, and refused requests."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest
import uvicorn
from fastapi import FastAPI
from gradio_client import Client, handle_file
from starlette.testclient import TestClient

from tests.raising import raises
from tests.webapp import served
from webapp.accounts.hosts import HostPolicy, is_loopback, is_same_origin
from webapp.context import AppContext
from webapp.errors import WebCode
from webapp.pages.app import launch_settings
from webapp.server import NOT_MOUNTED, _mount_page, build_server, listen, serve


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    settings = served.make_settings(tmp_path_factory.mktemp("local"))
    return served.build_server(served.make_page(), settings, served.HOST, served.PORT)


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[TestClient]:
    with served.open_client(app) as client:
        yield client


def test_every_launch_setting_holds_after_mounting(tmp_path: Path) -> None:
    page, settings = served.make_page(), served.make_settings(tmp_path)
    served.build_server(page, settings, served.HOST, served.PORT)
    wanted = launch_settings(settings, served.HOST, served.PORT)
    assert page.max_file_size == settings.limits.max_bytes
    assert page.blocked_paths == [str(settings.data_dir)] and page.allowed_paths == []
    assert (page.run_history, page.show_error, page.enable_monitoring, page.ssr_mode) == (False, False, False, False)
    assert (page.footer_links, page.state_session_capacity, page.auth) == ([], 50, None)
    assert (page.css, page.head) == (wanted["css"], wanted["head"])
    assert page.theme is not None and page.theme.to_dict() == wanted["theme"].to_dict()
    assert page.pwa is False and not page.mcp_server and page.api_open is False


def test_a_setting_that_would_be_lost_is_refused(tmp_path: Path) -> None:
    wanted = launch_settings(served.make_settings(tmp_path), served.HOST, served.PORT)
    with pytest.raises(ValueError, match="new_one"):
        _mount_page(FastAPI(), served.make_page(), {**wanted, "new_one": 1}, False)
    with pytest.raises(ValueError, match="strict CORS"):
        _mount_page(FastAPI(), served.make_page(), {**wanted, "strict_cors": False}, False)
    assert set(wanted) >= NOT_MOUNTED


def test_the_page_the_health_and_the_schema_are_there(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200 and "gradio" in page.text
    assert client.get("/healthz").json() == {"status": "ok"}
    schema = client.get("/api/v1/openapi.json").json()
    assert {"/jobs", "/speakers", "/calibrations"} <= set(schema["paths"])
    assert schema["servers"] == [{"url": "/api/v1"}]


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/jobs", "/nowhere", "/theme.css"])
def test_every_answer_carries_the_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy and "default-src 'self'" in policy and "http" not in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "same-origin"
    assert headers["x-frame-options"] == "DENY" and "server" not in headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "", "[", "10.0.0.1"])
def test_unknown_host_name_is_refused(client: TestClient, host: str) -> None:
    answer = client.get("/api/v1/jobs", headers={"Host": host})
    assert answer.status_code == 403 and answer.json()["error"]["code"] == "FOREIGN_REQUEST"


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "LOCALHOST:7860", "[::1]:7860"])
def test_the_names_of_this_machine_are_its_own(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/jobs", "/gradio_api/queue/join", "/gradio_api/upload"])
def test_another_sites_page_can_do_nothing(client: TestClient, headers: dict[str, str], path: str) -> None:
    answer = client.post(path, json={"url": "https://example.org/"}, headers=headers)
    assert answer.status_code == 403 and answer.json()["error"]["code"] == "FOREIGN_REQUEST"


def test_no_origin_is_allowed_to_read(client: TestClient) -> None:
    answer = client.get("/config", headers={"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    answer = client.options(
        "/gradio_api/queue/join",
        headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"},
    )
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "/monitoring",
        "/monitoring/summary",
        "/gradio_api/proxy=https://example.org/",
        "/gradio_api/vibe-code/",
        "/gradio_api/runs",
        "/gradio_api/deep_link",
        "/gradio_api/token",
        "/gradio_api/dev/reload",
    ],
)
def test_unused_routes_are_closed(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["file=https://example.org/a", "file=file:///etc/passwd", "file=HTTP://127.0.0.1:1/"])
def test_no_file_is_fetched_from_elsewhere(client: TestClient, path: str) -> None:
    assert client.get(f"/gradio_api/{path}").status_code in (400, 403, 404)


def test_a_file_on_the_web_cannot_be_named_as_an_input(client: TestClient) -> None:
    data = [{"path": "http://127.0.0.1:1/x", "meta": {"_type": "gradio.FileData"}}, "words"]
    answer = client.post("/gradio_api/queue/join", json={"data": data, "fn_index": 0, "session_hash": "abc"})
    assert answer.status_code == 400 and "URL" in answer.json()["error"]["message"]


def test_the_data_folder_and_the_system_are_not_served(client: TestClient, app: FastAPI, tmp_path: Path) -> None:
    for path in ("/etc/passwd", str(tmp_path), f"{tmp_path}/../app.sqlite"):
        assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)


def test_too_large_an_upload_is_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    settings = served.make_settings(tmp_path)
    small = replace(settings, limits=replace(settings.limits, max_bytes=1000))
    app = served.build_server(served.make_page(), small, served.HOST, served.PORT)
    with served.open_client(app) as client:
        files = {"files": ("a.mp4", b"x" * 200_000)}
        assert client.post("/gradio_api/upload", files=files).status_code == 413
        answer = client.post("/api/v1/jobs", files={"file": ("a.mp4", b"x" * 200_000)})
        assert answer.status_code == 413 and answer.json()["error"]["code"] == "FILE_TOO_LARGE"


def test_unknown_api_routes_return_api_errors(client: TestClient) -> None:
    assert client.get("/api/v1/nowhere").json()["error"]["code"] == "NOT_FOUND"
    answer = client.put("/api/v1/jobs")
    assert answer.status_code == 405 and answer.json()["error"]["code"] == "METHOD_NOT_ALLOWED"


def test_a_public_address_without_accounts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, page = AppContext.open(served.make_settings(tmp_path)), served.make_page()
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with raises(WebCode.PUBLIC_WITHOUT_ACCOUNTS) as refused:
            build_server(page, context, host, served.PORT)
        assert host in refused.value.message and "users add" in refused.value.hint
        with raises(WebCode.PUBLIC_WITHOUT_ACCOUNTS):
            serve(page, context, host, 0)
    monkeypatch.setenv("WAYSPEAK_LOCAL_ONLY", "1")
    assert HostPolicy.from_env("0.0.0.0", False).knows("localhost:1") and not HostPolicy.from_env(
        "0.0.0.0", False
    ).knows("a.b")
    monkeypatch.delenv("WAYSPEAK_LOCAL_ONLY")
    monkeypatch.setenv("WAYSPEAK_ACCOUNTS", "1")
    assert HostPolicy.from_env("0.0.0.0", False).has_accounts and HostPolicy.from_env("0.0.0.0", False).knows("a.b")
    monkeypatch.setenv("WAYSPEAK_HOSTS", "Way.example, other.example")
    policy = HostPolicy.from_env("0.0.0.0", True)
    assert policy.knows("way.example:8443") and policy.knows("localhost") and not policy.knows("a.b")


def test_loopback_and_origins_are_classified() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "localhost.example", ""))
    assert is_same_origin("https://a.b:8443", "A.B:8443") and not is_same_origin("https://a.b", "a.b:8443")
    assert not is_same_origin("null", "") and not is_same_origin("https://[", "x")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server, served by uvicorn on a free port."""
    settings = served.make_settings(tmp_path_factory.mktemp("running"))
    with socket.create_server((served.HOST, 0)) as listening:
        port = listening.getsockname()[1]
        app = served.build_server(served.make_page(), settings, served.HOST, port)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
        thread.start()
        yield f"http://{served.HOST}:{port}/"
        server.should_exit = True
        thread.join()


def test_gradio_client_works_against_the_mounted_page(running: str, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"12345")
    client = Client(running, verbose=False)
    fn_index = next(number for number, one in enumerate(client.config["dependencies"]) if one["api_name"] == "answer")
    result, back = client.predict(handle_file(str(tmp_path / "clip.mp4")), "hello", fn_index=fn_index)
    assert result == "local: hello, 5 bytes" and Path(back).read_bytes() == b"12345"


def test_a_taken_port_is_an_error_of_the_system(tmp_path: Path) -> None:
    context = AppContext.open(served.make_settings(tmp_path))
    with socket.create_server((served.HOST, 0)) as taken, pytest.raises(OSError, match=r"[Aa]ddress already in use"):
        serve(served.make_page(), context, served.HOST, taken.getsockname()[1])


def test_the_page_config_names_no_folder_of_the_machine(client: TestClient, tmp_path: Path) -> None:
    config = client.get("/config").json()
    assert config["version"] == gr.__version__
    assert str(Path.home()) not in json.dumps(config) or str(Path.home()) == "/"


def test_answers_are_sent_at_once_and_not_when_the_one_before_is_acknowledged() -> None:
    with (
        listen(served.HOST, 0) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
