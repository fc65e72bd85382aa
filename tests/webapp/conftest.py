"""The real app and Chromium, started for a file of tests and ended after it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.webapp.browsing import Served, launch, serve


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("served")) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch() as chromium:
        yield chromium
