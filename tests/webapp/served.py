"""A small page behind the real server, jobs with fake results, and logged-in users."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
from argon2 import PasswordHasher
from fastapi import FastAPI
from httpx2 import Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from engine.reports.json import to_json, write_json
from engine.settings import Settings
from tests.fakes import make_analysis, make_report
from tests.webapp.jobs.samples import make_search, make_settings, make_sighting, submit
from webapp import server
from webapp.accounts import store as accounts_store
from webapp.accounts.middleware import find_user
from webapp.accounts.records import Role
from webapp.accounts.store import AccountStore
from webapp.analysis.analyser import AnalysisResult
from webapp.analysis.records import AnalysisRequest
from webapp.context import AppContext
from webapp.jobs.records import Job
from webapp.jobs.store import JobStore

PASSWORD = "a sentence of mine"
HOST, PORT = "127.0.0.1", 7860
ADDRESS = f"http://{HOST}:{PORT}"


def make_page() -> gr.Blocks:
    """Build a page with a file and a text input that returns a file and the user's name."""

    def answer(path: str | None, words: str, request: gr.Request) -> tuple[str, str]:
        size = Path(path).stat().st_size if path else 0
        return f"{find_user(request).name}: {words}, {size} bytes", path or ""

    with gr.Blocks(analytics_enabled=False) as page:
        file, words = gr.File(type="filepath"), gr.Textbox()
        result, back = gr.Textbox(), gr.File()
        gr.Button().click(answer, [file, words], [result, back], api_name="answer")
    return page.queue(max_size=20, api_open=False)


def build_server(page: gr.Blocks, settings: Settings, host: str, port: int) -> FastAPI:
    """Build the server with its own stores."""
    return server.build_server(page, AppContext.open(settings), host, port)


def make_accounts(settings: Settings, **roles: Role) -> None:
    """Create accounts with one common password and cheap hashes."""
    accounts_store._HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    store = AccountStore.open(settings)
    for name, role in roles.items():
        store.add(name, PASSWORD, role)
    store.close()


def make_key(settings: Settings, name: str) -> dict[str, str]:
    """Return request headers with a new API key."""
    store = AccountStore.open(settings)
    key = store.add_key(name)
    store.close()
    return {"Authorization": f"Bearer {key}"}


def finish_job(settings: Settings, folder: Path, owner: str = "local", n_faces: int = 2) -> Job:
    """Return a finished job."""
    store = JobStore.open(settings)
    submit(store, folder, "talk.mp4", owner, question=AnalysisRequest(reason="case 7"))
    job = store.lease("worker")
    assert job is not None and job.owner == owner
    analysis = make_analysis(*(make_report(0.6, 1) for _ in range(n_faces)), name="talk.mp4")
    faces = tuple(make_sighting(face) for face in range(n_faces))
    found = AnalysisResult(analysis, faces, tuple(make_search((1, "Ada")) for _ in faces), None)
    assert store.finish(job.id, "worker", found)
    done = store.get(job.id)
    store.close()
    return done


def write_result() -> str:
    """Return the consistency result of `finish_job`."""
    return write_json(to_json(make_analysis(make_report(0.6, 1), make_report(0.6, 1), name="talk.mp4")))


@contextmanager
def open_client(app: FastAPI, **headers: str) -> Iterator[TestClient]:
    """Open a client with its own cookies that follows no redirects."""
    with TestClient(app, ADDRESS, follow_redirects=False, raise_server_exceptions=False, headers=headers) as client:
        yield client


def list_routes(app: FastAPI) -> set[tuple[str, str]]:
    """Return every method and path of the app, including page and API."""

    def walk(routes: list[object], prefix: str) -> Iterator[tuple[str, str]]:
        for route in routes:
            if isinstance(route, Mount):
                yield from walk(list(route.routes), prefix + route.path)
            elif isinstance(route, Route):
                yield from ((method, prefix + route.path) for method in route.methods or ())
            else:  # FastAPI keeps included routers whole
                inner = getattr(route, "original_router", None)
                assert inner is not None, f"{route!r} is of no kind that is known"
                yield from walk(inner.routes, prefix)

    return set(walk(list(app.routes), ""))


def visit(app: FastAPI, name: str) -> TestClient:
    """Return a client logged in through the form of a running app."""
    client = TestClient(app, ADDRESS, follow_redirects=False, raise_server_exceptions=False)
    answer = log_in(client, name)
    assert answer.status_code == 303, answer.text
    return client


def log_in(client: TestClient, name: str, password: str = PASSWORD) -> Response:
    """Fill the form in and send it."""
    client.get("/login")
    form = {"name": name, "password": password, "form": client.cookies.get("wayspeak_login") or "", "next": "/"}
    return client.post("/login", data=form, headers={"Origin": ADDRESS})


__all__ = [
    "ADDRESS", "HOST", "PASSWORD", "PORT", "build_server", "finish_job", "list_routes", "log_in", "make_accounts",
    "make_key", "make_page", "make_settings", "open_client", "visit", "write_result",
]  # fmt: skip
