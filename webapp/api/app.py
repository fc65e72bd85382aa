"""The API as one FastAPI app: routes, errors, schema at /api/v1/openapi.json; no interactive documentation."""

from fastapi import Depends, FastAPI

from webapp.api import dependencies, jobs, speakers, system
from webapp.api.dependencies import KEY
from webapp.api.schemas import NewLink
from webapp.bundle.environment import PACKAGE, find_version
from webapp.context import AppContext

ABOUT = (
    "Audio-visual speech consistency and speaking style of a video. A submitted file or link becomes a job; its result "
    "exists once the job is DONE. Results state what was measured, never whether a video is genuine."
)


def make_api(context: AppContext) -> FastAPI:
    """Build the app, which is mounted at /api/v1 behind the authentication."""
    app = FastAPI(
        title="Wayspeak",
        version=find_version(PACKAGE) or "0",
        description=ABOUT,
        docs_url=None,  # they would load scripts from other hosts
        redoc_url=None,
        responses=dependencies.ERRORS,
        dependencies=[Depends(KEY)],
    )
    dependencies.install(app)
    for room in (jobs, speakers, system):
        app.include_router(room.make_router(context))
    _name_schemas(app)
    return app


def _name_schemas(app: FastAPI) -> None:
    """Add the models that a route parses by itself to the schemas."""
    write = app.openapi

    def describe() -> dict[str, object]:
        if app.openapi_schema is None:
            schema = write()
            own = NewLink.model_json_schema(ref_template="#/components/schemas/{model}")
            schema["components"]["schemas"] |= {**own.pop("$defs", {}), "NewLink": own}
        return app.openapi_schema or {}

    app.openapi = describe  # type: ignore[method-assign]
