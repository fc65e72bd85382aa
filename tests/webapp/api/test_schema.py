"""The whole schema, with requests made up by schemathesis: no answer that it does not name, no mistake of ours.

The app is called as it is served, with accounts, so that what must be refused without a key is, too.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.testclient import TestClient

from engine.settings import Settings
from tests.webapp import served
from webapp.accounts.records import Role
from webapp.api.app import make_api
from webapp.context import AppContext

BUDGET = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,  # the same requests each time
    database=None,
    suppress_health_check=list(HealthCheck),
)
LEFT_OUT: dict[tuple[str, str], list[Any]] = {
    ("post", "/jobs"): [positive_data_acceptance]
}  # no schema can say which addresses are public
VERBS = ("get", "post", "patch", "delete")
UNUSED = AppContext(Settings(Path("unused")), None, None)  # type: ignore[arg-type]  # no route is called
OPERATIONS = [
    (verb, path) for path, verbs in make_api(UNUSED).openapi()["paths"].items() for verb in VERBS if verb in verbs
]


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    folder = tmp_path_factory.mktemp("schema")
    made = served.make_settings(folder)
    served.make_accounts(made, root=Role.ADMIN)
    served.finish_job(made, folder, "root")
    app = served.build_server(served.make_page(), made, served.HOST, served.PORT)
    with TestClient(app, served.ADDRESS) as client:
        headers = served.make_key(made, "root")
        found = schemathesis.openapi.from_dict(client.get("/api/v1/openapi.json", headers=headers).json())
        found.app = app
        found.config.update(headers=headers, base_url=f"{served.ADDRESS}/api/v1")
        yield found


def test_there_are_operations() -> None:
    assert len(OPERATIONS) >= 24


@pytest.mark.parametrize(("verb", "path"), OPERATIONS)
def test_no_made_up_request_is_answered_otherwise_than_the_schema_says(
    schema: BaseSchema, verb: str, path: str
) -> None:
    @BUDGET
    @given(case=schema[path][verb.upper()].as_strategy())
    def ask(case: Case) -> None:
        case.call_and_validate(excluded_checks=LEFT_OUT.get((verb, path), []))

    ask()
