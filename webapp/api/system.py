"""Installation: calibrations, models, methods and health."""

import json
from typing import Annotated

from fastapi import APIRouter, Path

from engine.calibration.files import list_shipped
from engine.calibration.records import Calibration, to_json
from engine.consistency.methods import list_lacking, list_methods
from engine.doctor import examine, is_healthy
from engine.weights.registry import WEIGHTS, inspect_weight
from webapp.api.dependencies import AnyUser
from webapp.api.schemas import Plain
from webapp.bundle.environment import PACKAGE, find_version
from webapp.context import AppContext
from webapp.errors import WebCode

CalibrationId = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


def make_router(context: AppContext) -> APIRouter:
    """Return the routes under /calibrations, /models and /health."""
    router = APIRouter(tags=["installation"])

    @router.get("/calibrations")
    def list_calibrations(user: AnyUser) -> Plain:
        """List all calibration records, shipped ones first."""
        return {"calibrations": [_summarise(one) for one in _read_all(context)]}

    @router.get("/calibrations/{calibration_id}")
    def get_calibration(calibration_id: CalibrationId, user: AnyUser) -> Plain:
        """Return one complete record."""
        for one in _read_all(context):
            if one.id == calibration_id:
                return _write(one)
        raise WebCode.UNKNOWN_CALIBRATION("There is no such calibration.", "See the list.")

    @router.get("/models")
    def list_models(user: AnyUser) -> Plain:
        """List methods and weights, and how to install the missing ones."""
        data_dir = context.settings.data_dir
        checks = [inspect_weight(weight, data_dir) for weight in WEIGHTS]
        return {
            "methods": [method.title for method in list_methods(data_dir)],
            "lacking": {str(model): f"{e.message} {e.hint}" for model, e in list_lacking(data_dir).items()},
            "weights": [
                {
                    "name": one.weight.name,
                    "state": str(one.state),
                    "purpose": one.weight.purpose,
                    "licence": one.weight.weight_licence,
                }
                for one in checks
            ],
        }

    @router.get("/health")
    def get_health(user: AnyUser) -> Plain:
        """Return whether all required tools and weights are present, and the number of jobs per state."""
        findings = examine(context.settings)
        counts = {str(state): count for state, count in context.jobs.counts().items()}
        lacking = [f"{one.topic}: {one.text}" for one in findings if one.mark == "missing"]
        return {
            "version": find_version(PACKAGE), "healthy": is_healthy(findings), "missing": lacking, "jobs": counts,
        }  # fmt: skip

    return router


def _read_all(context: AppContext) -> list[Calibration]:
    return [*list_shipped(), *context.gallery.calibrations()]


def _summarise(record: Calibration) -> Plain:
    fields = _write(record)
    names = ("id", "version", "task", "status", "recipe", "author", "approver", "created", "supersedes")
    return {name: fields.get(name) for name in names}


def _write(record: Calibration) -> Plain:
    found = json.loads(to_json(record))
    return {"id": record.id, **found} if isinstance(found, dict) else {"id": record.id}
