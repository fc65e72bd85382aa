"""The steps of pre-training: the same weights whether one process takes them or several, stopped or not.

A step is made of micro-batches, and the weights are a function of these alone: each draws its chance from its own
number, is compared within itself, and starts from the running statistics as they were before the step, which then take
the mean of all. Who computes a micro-batch makes no difference beyond the rounding of a sum.

The processes that train together: one, or several started by torch's own launcher.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from engine.errors import EngineError
from engine.models.avhubert import AVHubert
from engine.training.avhubert.batches import BatchSource, PretrainingBatch, load_batches
from engine.training.avhubert.objective import Pretraining
from engine.training.checkpoints import Record, load_checkpoint, save_checkpoint

Item = TypeVar("Item")

PATIENCE = timedelta(hours=12)  # one process may find clusters while the others wait


@dataclass(frozen=True, slots=True)
class ProcessGroup:
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
def join_crew(device: str) -> Iterator[ProcessGroup]:
    """Take a place among the processes that `torchrun` started, each with its own GPU; alone without it."""
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    if size == 1:
        yield ProcessGroup(torch.device(device))
        return
    here = torch.device(device, local) if device == "cuda" else torch.device(device)
    if here.type == "cuda":
        torch.cuda.set_device(here)
    distributed.init_process_group("nccl" if here.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield ProcessGroup(here, distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()


Losses = dict[str, float]
OnStep = Callable[[int, Losses], None]
"""`on_step(steps done, losses of the last)`."""

STEPS_SHOWN = 20
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class StepOptions:
    """How the weights move."""

    steps: int = 400_000
    micro_batches: int = 16  # of a step, shared by the processes
    learning_rate: float = 2e-3  # at its highest
    warm_up: float = 0.08  # share of the steps in which it rises to that; then it falls to nothing
    weight_decay: float = 0.01
    clip_norm: float = 10.0
    precision: str = "float32"  # of the network's products, one of PRECISIONS
    sparing: bool = False  # compute the encoder's layers twice rather than keep what they were

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision {self.precision!r}, wanted one of {', '.join(PRECISIONS)}")

    def rate(self, step: int) -> float:
        """Learning rate of a step, the first being 0."""
        rising = max(1, round(self.warm_up * self.steps))
        falling = max(1, self.steps - rising)
        return self.learning_rate * min((step + 1) / rising, (self.steps - step) / falling)


@dataclass(frozen=True, slots=True, eq=False)
class Trend:
    """The losses of a run's first and last steps, up to `STEPS_SHOWN` each."""

    first: list[Losses] = field(default_factory=list)
    last: list[Losses] = field(default_factory=list)

    def add(self, losses: Losses) -> None:
        """Take note of a step."""
        if len(self.first) < STEPS_SHOWN:
            self.first.append(losses)
        self.last.append(losses)
        del self.last[:-STEPS_SHOWN]

    def sum_up(self) -> dict[str, list[float]]:
        """Give the mean of each loss over the first and over the last steps."""
        names = self.first[0] if self.first else {}
        return {name: [sum(one[name] for one in end) / len(end) for end in (self.first, self.last)] for name in names}


@dataclass(frozen=True, slots=True)
class RunContext:
    """Where and by whom the work is done; nothing of it changes the weights beyond rounding."""

    folder: Path
    crew: ProcessGroup
    loaders: int = 0  # processes of each process that prepare micro-batches ahead
    save_every: int = 500  # steps
    on_step: Callable[[str, int, Losses], None] = lambda name, step, losses: None


def take_steps(
    trainee: Pretraining,
    source: BatchSource,
    options: StepOptions,
    seed: int,
    shop: RunContext,
    name: str,
    recipe: Record,
) -> Trend:
    """Train to the last step, from the checkpoint of this run where there is one."""
    run = _TrainerRun(trainee, options, seed, shop.crew)
    path = shop.folder / f"{name}.safetensors"
    step, record = load_checkpoint(path, trainee, run.optimiser, run.scaler, recipe)
    trend = Trend(**record)
    batches = load_batches(source, run.numbers(step), shop.loaders)
    while step < options.steps:
        losses = run.take_step(step, batches)
        step += 1
        trend.add(losses)
        if shop.crew.leads and (step % shop.save_every == 0 or step == options.steps):
            optimiser = run.optimiser if step < options.steps else None
            save_checkpoint(path, trainee, optimiser, run.scaler, recipe, step, asdict(trend))
        shop.on_step(name, step, losses)
    shop.crew.wait()
    trainee.eval()
    return trend


class _TrainerRun:
    """What one process holds while it trains."""

    def __init__(self, trainee: Pretraining, options: StepOptions, seed: int, crew: ProcessGroup):
        if options.micro_batches % crew.size:
            raise EngineError(
                f"{options.micro_batches} micro-batches cannot be shared by {crew.size} processes.",
                "Give `--micro-batches` a multiple of the number of processes.",
            )
        self._options, self._seed, self._crew = options, seed, crew
        self._share = options.micro_batches // crew.size
        trainee.to(crew.device).train()
        if options.sparing:
            spare_memory(trainee.model)
        self._parameters = [one for one in trainee.parameters() if one.requires_grad]
        self._buffers = list(trainee.buffers())
        self._call: nn.Module = trainee
        self._wait: Callable[[], AbstractContextManager[object]] = nullcontext
        if crew.size > 1:
            shared = DistributedDataParallel(trainee, forward_sync_buffers=False)
            self._call, self._wait = shared, shared.no_sync
        self.optimiser = torch.optim.AdamW(
            self._parameters, options.learning_rate, betas=(0.9, 0.98), eps=1e-6, weight_decay=options.weight_decay
        )
        self.scaler = torch.amp.GradScaler(crew.device.type, enabled=options.precision == "float16")

    def numbers(self, step: int) -> range:
        """Name the micro-batches that are this process's, from this step to the last."""
        per_step = self._options.micro_batches
        return range(step * per_step + self._crew.rank, self._options.steps * per_step, self._crew.size)

    def take_step(self, step: int, batches: Iterator[PretrainingBatch]) -> Losses:
        """Move the weights once; give the mean losses over this process's micro-batches."""
        before = [one.clone() for one in self._buffers]
        moved = [torch.zeros_like(one) for one in before if one.is_floating_point()]
        losses: Losses = {}
        for turn, number in enumerate(self.numbers(step)[: self._share]):
            for buffer, old in zip(self._buffers, before, strict=True):
                buffer.copy_(old)
            told = self._learn(next(batches), number, is_last=turn == self._share - 1)
            for total, buffer in zip(moved, self._statistics, strict=True):
                total += buffer / self._share
            losses = {name: losses.get(name, 0.0) + float(one.detach()) / self._share for name, one in told.items()}
        self._crew.average(moved)
        for buffer, mean in zip(self._statistics, moved, strict=True):
            buffer.copy_(mean)
        self._move(step)
        return losses

    @property
    def _statistics(self) -> list[torch.Tensor]:
        return [one for one in self._buffers if one.is_floating_point()]

    def _learn(self, batch: PretrainingBatch, number: int, is_last: bool) -> dict[str, torch.Tensor]:
        """Add the gradient of a micro-batch; the last one of a step gathers those of all processes."""
        torch.manual_seed(self._seed * 1_000_003 + number)  # dropout; CUDA's generators too
        kind = PRECISIONS[self._options.precision]
        with nullcontext() if is_last else self._wait():
            with torch.autocast(self._crew.device.type, kind, enabled=kind is not None):
                told: dict[str, torch.Tensor] = self._call(batch.to(self._crew.device))
            self.scaler.scale(told["loss"] / self._share).backward()
        if not self.scaler.is_enabled() and not torch.isfinite(told["loss"]):
            hint = "Begin anew with a lower `--learning-rate`."
            raise EngineError(f"The loss of micro-batch {number} is not finite.", hint)
        return told

    def _move(self, step: int) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self._options.rate(step)
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self._parameters, self._options.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad()


def spare_memory(model: AVHubert) -> None:
    """Let every layer of the encoder be computed again on the way back, instead of being kept."""
    for layer in model.encoder.layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
