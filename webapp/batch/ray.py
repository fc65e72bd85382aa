"""A batch on a Ray cluster: CPU actors extract features, and GPU (or CPU) actors score them in batches.

Every machine needs Wayspeak, its weights and the files under the same names. Rows are byte-identical to those of one
machine if both score on the same kind of device; a GPU may round the last digit of a score differently.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from engine.consistency.methods import Method
from engine.consistency.model_specs import SPECS
from engine.features.records import ClipFeatures
from engine.settings import Settings
from engine.types import MediaSelection
from webapp.batch.local import extract_item, load_engine, read_version, score_item
from webapp.batch.rows import BatchRow
from webapp.batch.sources import Source
from webapp.errors import WebCode

LOCAL = "local"
ATTEMPTS = 3
PATIENCE_MS = 60_000  # start-up time for each of Ray's own processes; the default is half of it
ANSWER_S = 5.0
BATCH = 8  # clips scored together
Record = dict[str, Any]
"""A row of Ray Data; its objects travel as Ray carries them, inside the operator's own cluster."""


class FeatureActor:
    """Actor that extracts features; it loads no consistency model."""

    def __init__(self, settings: Settings, method: Method):
        from engine.features.extractor import FeatureExtractor

        has_mouths = any(SPECS[model].needs_mouths for model in method.models)
        self._settings, self._extractor = settings, FeatureExtractor.load(settings, cut_mouths=has_mouths)

    def __call__(self, record: Record) -> Record:
        """Extract the features of one item."""
        return record | {"features": extract_item(record["source"], self._extract, self._settings)}

    def _extract(self, path: Path, selection: MediaSelection) -> ClipFeatures:
        return self._extractor.extract(path, selection=selection)


class ScoringActor:
    """Actor that scores features."""

    def __init__(self, settings: Settings, method: Method):
        self._engine = load_engine(settings, method)

    def __call__(self, batch: Record) -> Record:
        """Score several items."""
        pairs = zip(batch["source"], batch["features"], strict=True)
        return {"row": [score_item(source, features, self._engine) for source, features in pairs]}


class RayRunner:
    """Distribute items to the actors of a cluster."""

    def __init__(self, address: str, settings: Settings, method: Method):
        self._settings, self._method = settings, method
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics are sent
        connect(address)
        self.version = read_version(load_engine(settings, method))

    def run(self, sources: Sequence[Source]) -> Iterator[BatchRow]:
        """Yield the rows as they finish."""
        import ray

        if not sources:
            return
        resources = ray.cluster_resources()
        n_cores = max(1, int(resources.get("CPU", 1)) - 1)
        n_extractors = min(n_cores, len(sources))
        workers = share_nodes(n_cores // n_extractors, ray.nodes(), self._settings.workers)
        n_gpus = int(resources.get("GPU", 0))
        arguments = (self._settings, self._method)
        items = ray.data.from_items([{"source": one} for one in sources], override_num_blocks=len(sources))
        done = items.map(
            FeatureActor,  # type: ignore[arg-type]  # an actor's class is taken too
            fn_constructor_args=(replace(self._settings, workers=workers), self._method),
            num_cpus=workers,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=n_extractors),
        ).map_batches(
            ScoringActor,
            fn_constructor_args=arguments,
            batch_size=BATCH,
            num_gpus=1 if n_gpus else 0,
            num_cpus=0 if n_gpus else 1,
            compute=ray.data.ActorPoolStrategy(size=max(1, n_gpus)),
        )
        for record in done.iter_rows():
            yield record["row"]


def share_nodes(n_cores: int, nodes: Sequence[Record], most: int = 0) -> int:
    """Return the segments that an actor processes at a time: its cores, on one machine; `most` 0: no limit."""
    machines = [int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]]
    return max(1, min([n_cores, most or n_cores, *(count for count in machines if count)]))


def connect(address: str) -> None:
    """Connect to a cluster, or start one for `local`; raise RAY_MISSING on failure."""
    try:
        import ray
        import ray.data
    except ImportError as cause:
        raise WebCode.RAY_MISSING("Ray is not installed.", "Install it: pip install 'wayspeak[ray]'.") from cause
    if not ray.is_initialized():
        if address == LOCAL:
            _start()
        else:
            _join(address)
    ray.data.DataContext.get_current().enable_progress_bars = False


def _start() -> None:
    """Start a cluster on this machine, which ends with this process; a busy machine may need more than one attempt."""
    import ray

    os.environ.setdefault("RAY_agent_register_timeout_ms", str(PATIENCE_MS))
    for attempt in range(1, ATTEMPTS + 1):
        try:
            ray.init(LOCAL, log_to_driver=False, include_dashboard=False)
            return
        except Exception as cause:  # Ray raises nothing narrower if one of its processes was too slow
            ray.shutdown()
            if attempt == ATTEMPTS:
                raise WebCode.RAY_MISSING(
                    f"Ray could not be started here: {cause}.", "Try again when the machine is less busy."
                ) from cause


def _join(address: str) -> None:
    """Join the cluster at an address after testing its port: Ray itself waits for minutes, then aborts."""
    import ray

    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        if parts.port is not None:
            socket.create_connection((parts.hostname or "", parts.port), timeout=ANSWER_S).close()
        ray.init(address, log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as cause:
        raise WebCode.RAY_MISSING(
            f"No Ray cluster answers at {address}: {cause}.", "Start one: ray start --head."
        ) from cause
