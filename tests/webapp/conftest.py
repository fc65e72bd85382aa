"""The real app and Chromium; the app starts once per test process."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.webapp.browsing import Served, launch, serve


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("served")) as served:
        yield served


@pytest.fixture(scope="module")  # while it runs, other tests of the process could not run an event loop
def browser() -> Iterator[Browser]:
    with launch() as chromium:
        yield chromium
