"""Training steps of pre-training: the same weights from one or several processes, interrupted or not.

A step consists of micro-batches that determine the weights: each draws random numbers from its own number, is compared
within itself, and starts from the running statistics before the step, which then take the mean over all micro-batches.
Which process computes a micro-batch makes no difference beyond the rounding of a sum. Processes are one, or several
started by `torchrun`.
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

PATIENCE = timedelta(hours=12)  # rank 0 may compute clusters while the others wait


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """The processes of a run, as seen by one of them; a single one by default."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which writes files."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            distributed.barrier()

    def share(self, find: Callable[[], Item]) -> Item:
        """Compute a value in rank 0 and broadcast it."""
        found = [find() if self.leads else None]
        if self.size > 1:
            distributed.broadcast_object_list(found, device=self.device)
        return found[0]  # type: ignore[return-value]

    def divide(self, items: Sequence[Any], work: Callable[[Any], Item]) -> list[Item]:
        """Map `work` over the items, each process on its share; return all results in order in every process."""
        done = [work(item) for item in items[self.rank :: self.size]]
        if self.size == 1:
            return done
        parts: list[Any] = [None] * self.size
        distributed.all_gather_object(parts, done)
        return [parts[i % self.size][i // self.size] for i in range(len(items))]

    def average(self, tensors: Sequence[torch.Tensor]) -> None:
        """Average tensors over all processes, in place."""
        if self.size > 1:
            for tensor in tensors:
                distributed.all_reduce(tensor)
                tensor /= self.size


@contextmanager
def join_process_group(device: str) -> Iterator[ProcessGroup]:
    """Join the processes that `torchrun` started, each with its own GPU; a single process without it."""
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
"""`on_step(finished steps, losses of the last one)`."""

STEPS_SHOWN = 20
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class StepOptions:
    """Optimisation options."""

    steps: int = 400_000
    micro_batches: int = 16  # per step, divided among the processes
    learning_rate: float = 2e-3  # peak
    warm_up: float = 0.08  # share of the steps with rising rate; then it falls to 0
    weight_decay: float = 0.01
    clip_norm: float = 10.0
    precision: str = "float32"  # of autocast, one of PRECISIONS
    sparing: bool = False  # activation checkpointing of the encoder layers

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision {self.precision!r}, wanted one of {', '.join(PRECISIONS)}")

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, from 0."""
        rising = max(1, round(self.warm_up * self.steps))
        falling = max(1, self.steps - rising)
        return self.learning_rate * min((step + 1) / rising, (self.steps - step) / falling)


@dataclass(frozen=True, slots=True, eq=False)
class Trend:
    """The losses of a run's first and last steps, up to `STEPS_SHOWN` each."""

    first: list[Losses] = field(default_factory=list)
    last: list[Losses] = field(default_factory=list)

    def add(self, losses: Losses) -> None:
        """Add the losses of a step."""
        if len(self.first) < STEPS_SHOWN:
            self.first.append(losses)
        self.last.append(losses)
        del self.last[:-STEPS_SHOWN]

    def summarise(self) -> dict[str, list[float]]:
        """Return the mean of each loss over the first and over the last steps."""
        names = self.first[0] if self.first else {}
        return {name: [sum(one[name] for one in end) / len(end) for end in (self.first, self.last)] for name in names}


@dataclass(frozen=True, slots=True)
class RunContext:
    """Folder, processes and callbacks of a run; they do not change the weights beyond rounding."""

    folder: Path
    group: ProcessGroup
    loaders: int = 0  # worker processes that prefetch micro-batches, per process
    save_every: int = 500  # steps
    on_step: Callable[[str, int, Losses], None] = lambda name, step, losses: None


def train_steps(
    pretraining: Pretraining,
    source: BatchSource,
    options: StepOptions,
    seed: int,
    context: RunContext,
    name: str,
    recipe: Record,
) -> Trend:
    """Train to the last step, resuming from the checkpoint of this run if there is one."""
    run = _TrainerRun(pretraining, options, seed, context.group)
    path = context.folder / f"{name}.safetensors"
    step, record = load_checkpoint(path, pretraining, run.optimiser, run.scaler, recipe)
    trend = Trend(**record)
    batches = load_batches(source, run.numbers(step), context.loaders)
    while step < options.steps:
        losses = run.take_step(step, batches)
        step += 1
        trend.add(losses)
        if context.group.leads and (step % context.save_every == 0 or step == options.steps):
            optimiser = run.optimiser if step < options.steps else None
            save_checkpoint(path, pretraining, optimiser, run.scaler, recipe, step, asdict(trend))
        context.on_step(name, step, losses)
    context.group.wait()
    pretraining.eval()
    return trend


class _TrainerRun:
    """Training state of one process."""

    def __init__(self, pretraining: Pretraining, options: StepOptions, seed: int, group: ProcessGroup):
        if options.micro_batches % group.size:
            raise EngineError(
                f"{options.micro_batches} micro-batches cannot be divided among {group.size} processes.",
                "Set `--micro-batches` to a multiple of the number of processes.",
            )
        self._options, self._seed, self._group = options, seed, group
        self._share = options.micro_batches // group.size
        pretraining.to(group.device).train()
        if options.sparing:
            checkpoint_layers(pretraining.model)
        self._parameters = [one for one in pretraining.parameters() if one.requires_grad]
        self._buffers = list(pretraining.buffers())
        self._call: nn.Module = pretraining
        self._wait: Callable[[], AbstractContextManager[object]] = nullcontext
        if group.size > 1:
            shared = DistributedDataParallel(pretraining, forward_sync_buffers=False)
            self._call, self._wait = shared, shared.no_sync
        self.optimiser = torch.optim.AdamW(
            self._parameters, options.learning_rate, betas=(0.9, 0.98), eps=1e-6, weight_decay=options.weight_decay
        )
        self.scaler = torch.amp.GradScaler(group.device.type, enabled=options.precision == "float16")

    def numbers(self, step: int) -> range:
        """Return the micro-batch numbers of this process, from this step to the last."""
        per_step = self._options.micro_batches
        return range(step * per_step + self._group.rank, self._options.steps * per_step, self._group.size)

    def take_step(self, step: int, batches: Iterator[PretrainingBatch]) -> Losses:
        """Update the weights once; return the mean losses over the micro-batches of this process."""
        before = [one.clone() for one in self._buffers]
        moved = [torch.zeros_like(one) for one in before if one.is_floating_point()]
        losses: Losses = {}
        for turn, number in enumerate(self.numbers(step)[: self._share]):
            for buffer, old in zip(self._buffers, before, strict=True):
                buffer.copy_(old)
            found = self._accumulate(next(batches), number, is_last=turn == self._share - 1)
            for total, buffer in zip(moved, self._statistics, strict=True):
                total += buffer / self._share
            losses = {name: losses.get(name, 0.0) + float(one.detach()) / self._share for name, one in found.items()}
        self._group.average(moved)
        for buffer, mean in zip(self._statistics, moved, strict=True):
            buffer.copy_(mean)
        self._update(step)
        return losses

    @property
    def _statistics(self) -> list[torch.Tensor]:
        return [one for one in self._buffers if one.is_floating_point()]

    def _accumulate(self, batch: PretrainingBatch, number: int, is_last: bool) -> dict[str, torch.Tensor]:
        """Accumulate the gradient of a micro-batch; the last one of a step reduces over all processes."""
        torch.manual_seed(self._seed * 1_000_003 + number)  # for dropout; seeds CUDA too
        kind = PRECISIONS[self._options.precision]
        with nullcontext() if is_last else self._wait():
            with torch.autocast(self._group.device.type, kind, enabled=kind is not None):
                found: dict[str, torch.Tensor] = self._call(batch.to(self._group.device))
            self.scaler.scale(found["loss"] / self._share).backward()
        if not self.scaler.is_enabled() and not torch.isfinite(found["loss"]):
            hint = "Start again with a lower `--learning-rate`."
            raise EngineError(f"The loss of micro-batch {number} is not finite.", hint)
        return found

    def _update(self, step: int) -> None:
        for parameters in self.optimiser.param_groups:
            parameters["lr"] = self._options.rate(step)
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self._parameters, self._options.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad()


def checkpoint_layers(model: AVHubert) -> None:
    """Recompute every encoder layer in the backward pass instead of storing its activations."""
    for layer in model.encoder.layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
