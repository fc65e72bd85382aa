"""Tests in two processes of pytest-xdist: one thread of arithmetic in each, and the longest files first."""

import os

import pytest

if os.environ.get("PYTEST_XDIST_WORKER"):  # before any package reads them; processes that the tests start inherit them
    os.environ |= {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the browser: each of its files takes minutes, and none may be left over for one process at the end."""
    items.sort(key=lambda item: not item.path.name.startswith("test_browser"))
