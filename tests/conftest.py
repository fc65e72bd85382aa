"""One thread of arithmetic in each process of pytest-xdist: they share the processors already."""

import os

if os.environ.get("PYTEST_XDIST_WORKER"):  # before any package reads them; processes that the tests start inherit them
    os.environ |= {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
