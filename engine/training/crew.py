"""The processes that train together: one, or several started by torch's own launcher."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

Item = TypeVar("Item")

PATIENCE = timedelta(hours=12)  # one process may find clusters while the others wait


@dataclass(frozen=True, slots=True)
class Crew:
    """One process among those that share a run; alone by default."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Go on when all are here."""
        if self.size > 1:
            distributed.barrier()

    def share(self, find: Callable[[], Item]) -> Item:
        """Let the first process find something and give it to all."""
        found = [find() if self.leads else None]
        if self.size > 1:
            distributed.broadcast_object_list(found, device=self.device)
        return found[0]  # type: ignore[return-value]

    def divide(self, items: Sequence[Any], work: Callable[[Any], Item]) -> list[Item]:
        """Do the work on every item, each process on its share; all have all results, in the order of the items."""
        done = [work(item) for item in items[self.rank :: self.size]]
        if self.size == 1:
            return done
        parts: list[Any] = [None] * self.size
        distributed.all_gather_object(parts, done)
        return [parts[i % self.size][i // self.size] for i in range(len(items))]

    def average(self, tensors: Sequence[torch.Tensor]) -> None:
        """Put the mean over all processes into each tensor."""
        if self.size > 1:
            for tensor in tensors:
                distributed.all_reduce(tensor)
                tensor /= self.size


@contextmanager
def join_crew(device: str) -> Iterator[Crew]:
    """Take a place among the processes that `torchrun` started, each with its own GPU; alone without it."""
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    if size == 1:
        yield Crew(torch.device(device))
        return
    here = torch.device(device, local) if device == "cuda" else torch.device(device)
    if here.type == "cuda":
        torch.cuda.set_device(here)
    distributed.init_process_group("nccl" if here.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Crew(here, distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()
