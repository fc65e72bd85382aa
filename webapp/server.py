"""One server for the page, the API and the files of the jobs, behind one authentication."""

import inspect
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.routing import Mount

from engine.errors import EngineError
from webapp.accounts import login
from webapp.accounts.gradio_middleware import GradioMiddleware, GradioOwnership, list_paths, name_file
from webapp.accounts.hosts import HostPolicy
from webapp.accounts.middleware import AuthMiddleware, answer_error, find_user
from webapp.accounts.store import AccountStore
from webapp.api import files
from webapp.api.app import make_api
from webapp.context import AppContext
from webapp.pages.app import launch_settings

END_S = 5  # s, for open requests at shutdown
BACKLOG = 128
NOT_MOUNTED = frozenset({"share", "inbrowser", "quiet", "strict_cors", "state_session_capacity"})
"""Launch settings for Gradio's own server only, or set in another way (see `_mount_page`)."""


def serve(page: gr.Blocks, context: AppContext, host: str, port: int) -> None:
    """Serve until interrupted; raise PUBLIC_WITHOUT_ACCOUNTS, or OSError if the port is in use."""
    app = build_server(page, context, host, port)
    with listen(host, port) as listening:
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # URLs may contain private data
            server_header=False,
            timeout_graceful_shutdown=END_S,
        )
        uvicorn.Server(config).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """Bind the port; raise OSError if it is in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host.strip("[]"), port), family=family, backlog=BACKLOG)
    # Connections inherit it. asyncio sets it only if the protocol is given; without it, headers and body of a response
    # wait for each other's acknowledgement, 40 ms each time.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def build_server(page: gr.Blocks, context: AppContext, host: str, port: int) -> FastAPI:
    """Build the app without serving it; raise PUBLIC_WITHOUT_ACCOUNTS if a login would be required."""
    accounts = AccountStore.open(context.settings)
    policy = HostPolicy.from_env(host, bool(accounts.accounts()))
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=_close_at_end(accounts))
    app.add_exception_handler(EngineError, answer_error)
    _add_health(app, accounts)
    if policy.has_accounts:
        app.include_router(login.make_router(accounts))
    app.include_router(files.make_router(context))
    app.mount("/api/v1", make_api(context))
    _mount_page(app, page, launch_settings(context.settings, host, port), policy.has_accounts)
    app.add_middleware(AuthMiddleware, policy=policy, accounts=accounts)  # added last, so that it runs first
    return app


def _mount_page(app: FastAPI, page: gr.Blocks, wanted: dict[str, Any], has_accounts: bool) -> None:
    """Mount the page with all of its launch settings; raise ValueError for one that would be lost."""
    taken = set(inspect.signature(gr.mount_gradio_app).parameters)
    lost = set(wanted) - taken - NOT_MOUNTED
    if lost:
        raise ValueError(f"{sorted(lost)} would have no effect on a mounted page")
    if not wanted["strict_cors"]:
        raise ValueError("a mounted page supports strict CORS only")
    page.state_session_capacity = wanted["state_session_capacity"]
    kept = {name: value for name, value in wanted.items() if name in taken}
    name_user = (lambda request: find_user(request).name) if has_accounts else None
    gr.mount_gradio_app(app, page, "/", auth_dependency=name_user, **kept)
    shared = {name_file(path) for path in list_paths(page.config)}
    find_gradio_app(app).add_middleware(GradioMiddleware, ownership=GradioOwnership(shared))


def find_gradio_app(app: FastAPI) -> gr.routes.App:
    """Return Gradio's mounted app; its middleware sees Gradio's requests only."""
    return next(route.app for route in app.routes if isinstance(route, Mount) and isinstance(route.app, gr.routes.App))


def _add_health(app: FastAPI, accounts: AccountStore) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def report_health() -> JSONResponse:
        """Report that the server answers and can read its database, and nothing else."""
        await run_in_threadpool(accounts.find_user, "")
        return JSONResponse({"status": "ok"})


def _close_at_end(accounts: AccountStore) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def live(app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            accounts.close()

    return live
