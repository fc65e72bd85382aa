"""Gradio's routes: an allow-list, everything else is closed."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest
from fastapi import FastAPI
from packaging.requirements import Requirement
from starlette.testclient import TestClient

from tests.raising import raises
from tests.webapp import served
from webapp.accounts.gradio_middleware import ALLOWED, Rule, find_rule
from webapp.errors import WebCode
from webapp.server import find_gradio_app

CLOSED = {
    "POST /gradio_api/api/{api_name}",
    "POST /gradio_api/call/v2/{api_name}",
    "GET /gradio_api/call/v2/{api_name}/{event_id}",
    "POST /gradio_api/call/{api_name}",
    "GET /gradio_api/call/{api_name}/{event_id}",
    "POST /gradio_api/component_server",
    "GET /gradio_api/custom_component/{id}/{environment}/{type}/{file_name}",
    "GET /gradio_api/deep_link",
    "GET /gradio_api/dev/reload",
    "GET /gradio_api/file/{path:path}",
    "GET /gradio_api/login_check",
    "GET /gradio_api/openapi.json",
    "POST /gradio_api/process_recording",
    "GET /gradio_api/proxy={url_path:path}",
    "HEAD /gradio_api/proxy={url_path:path}",
    "GET /gradio_api/queue/status",
    "GET /gradio_api/runs",
    "GET /gradio_api/startup-events",
    "POST /gradio_api/stream/{event_id}",
    "POST /gradio_api/stream/{event_id}/close",
    "GET /gradio_api/stream/{session_hash}/{run}/{component_id}/playlist-file",
    "GET /gradio_api/stream/{session_hash}/{run}/{component_id}/playlist.m3u8",
    "GET /gradio_api/stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}",
    "GET /gradio_api/theme.css",
    "GET /gradio_api/token",
    "POST /gradio_api/undo-vibe-edit",
    "GET /gradio_api/user",
    "GET /gradio_api/vibe-code",
    "POST /gradio_api/vibe-code",
    "POST /gradio_api/vibe-edit",
    "POST /gradio_api/vibe-starter-queries",
    "POST /login",
    "GET /logout",
    "GET /monitoring",
    "GET /monitoring/summary",
    "GET /monitoring/{key}",
    "GET /openapi.json",
    "HEAD /openapi.json",
    "GET /pwa_icon",
    "GET /pwa_icon/{size}",
    "GET /robots.txt",
    "GET /svelte/{path:path}",
}
"""Every route of the installed Gradio that the page does not need; paths with a `/` at their end are closed too."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    settings = served.make_settings(tmp_path_factory.mktemp("allowed"))
    return served.build_server(served.make_page(), settings, served.HOST, served.PORT)


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[TestClient]:
    with served.open_client(app) as client:
        yield client


def request(client: TestClient, method: str, path: str) -> tuple[int, str]:
    """Return status and error code of the response, with path parameters filled in."""
    answer = client.request(method, re.sub(r"\{[^}]*\}", "1", path), headers={"Origin": served.ADDRESS})
    is_json = answer.headers.get("content-type") == "application/json"
    error = answer.json().get("error") if is_json and answer.content else None
    return answer.status_code, error["code"] if isinstance(error, dict) else ""


def test_every_route_of_gradio_is_either_allowed_or_known_to_be_closed(app: FastAPI) -> None:
    declared = served.list_routes(find_gradio_app(app))
    assert set(ALLOWED) <= declared, "allowed, and Gradio declares it no more"
    others = {f"{method} {path.rstrip('/')}" for method, path in declared - set(ALLOWED) if path != "/"}
    allowed = {f"{method} {path}" for method, path in ALLOWED}
    assert others - allowed == CLOSED, "decide for every new route of Gradio whether the page needs it"


def test_what_is_not_allowed_is_refused_before_gradio_sees_it(app: FastAPI, client: TestClient) -> None:
    for method, path in sorted(served.list_routes(find_gradio_app(app)) - set(ALLOWED)):
        expected = (404, "" if method == "HEAD" else "NOT_FOUND")
        assert request(client, method, path) == expected, f"{method} {path}"


@pytest.mark.parametrize("path", ["/made-up", "/gradio_api/made-up", "/gradio_api/queue/made-up", "/gradio_api/x/{y}"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_a_new_route_of_gradio_is_closed(app: FastAPI, client: TestClient, path: str, method: str) -> None:
    find_gradio_app(app).add_api_route(path, lambda: {"open": True}, methods=[method])
    assert request(client, method, path) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/config"),
        ("DELETE", "/gradio_api/upload"),
        ("GET", "/gradio_api/queue/join"),
        ("GET", "/config/"),
        ("GET", "//config"),
        ("GET", "/CONFIG"),
        ("GET", "/config\n"),
        ("GET", "/x/config"),
        ("GET", "/gradio_api/../config"),
        ("POST", "/gradio_api/run/a/b"),
        ("GET", "/gradio_api/heartbeat/a/b"),
        ("GET", ""),
    ],
)
def test_no_other_method_or_spelling_is_allowed(method: str, path: str) -> None:
    with raises(WebCode.NOT_FOUND):
        find_rule(method, path)


def test_rules_come_with_the_parameters_of_the_path() -> None:
    assert find_rule("GET", "/") == (Rule.PUBLIC, {})
    assert find_rule("GET", "/gradio_api/heartbeat/abc") == (Rule.SESSION, {"session_hash": "abc"})
    assert find_rule("HEAD", "/gradio_api/file=/tmp/a/b.mp4") == (Rule.FILE, {"path_or_url": "/tmp/a/b.mp4"})


def test_what_the_page_needs_is_open(client: TestClient) -> None:
    for path in ("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/gradio_api/app_id"):
        assert client.get(path).status_code == 200, path
    assert client.head("/").status_code == 200


def test_gradio_is_pinned_to_the_minor_version_whose_routes_were_read() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))["project"]
    (pin,) = [one for one in map(Requirement, project["optional-dependencies"]["app"]) if one.name == "gradio"]
    major, minor, _ = gr.__version__.split(".", 2)
    assert pin.specifier.contains(gr.__version__)
    assert not pin.specifier.contains(f"{major}.{int(minor) + 1}.0")
