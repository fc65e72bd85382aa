"""Train the members of the compact model: seeded, resumable bit for bit, one process each if there are enough cores."""

import hashlib
import multiprocessing
import os
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from engine.faces.landmark_features import N_FEATURES
from engine.models.compact import N_SPEECH, CompactMember
from engine.training.clips import TrainingClip
from engine.training.consistency.losses import AlignmentLoss, MaskedPrediction
from engine.training.consistency.units import N_UNITS, cluster_hidden, cluster_mfcc
from engine.training.consistency.windows import ConsistencyWindows, WindowBatch, WindowOptions

SAVE_EVERY = 100  # steps


@dataclass(frozen=True, slots=True)
class MemberOptions:
    """Options for training a member."""

    steps: int = 600
    batch: int = 32  # windows
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    dropout: float = 0.2
    aligned: bool = True  # frame-wise audio-visual alignment loss
    masked: bool = True  # masked prediction of cluster units
    windows: WindowOptions = field(default_factory=WindowOptions)


class MemberState(nn.Module):
    """A member with its training heads."""

    def __init__(self, options: MemberOptions):
        super().__init__()
        self.member = CompactMember(dropout=options.dropout)
        width = self.member.lips.inlet.out_features
        self.alignment = AlignmentLoss()
        self.prediction = MaskedPrediction(width, (N_FEATURES, N_SPEECH), N_UNITS, options.dropout)


def train_member(
    clips: Sequence[TrainingClip],
    options: MemberOptions,
    seed: int,
    checkpoint: Path,
    device: str = "cpu",
    on_step: Callable[[int], None] = lambda step: None,
) -> MemberState:
    """Train a member, resuming from the checkpoint if it has the same options, seed and clips."""
    torch.manual_seed(seed)
    state = MemberState(options).to(device)
    optimiser = torch.optim.AdamW(
        state.parameters(), options.learning_rate, weight_decay=options.weight_decay, betas=(0.9, 0.98)
    )
    warm_up = 0.1 if options.steps > 10 else 0.15  # a warm-up of one step (0.1 of 10) makes torch divide by zero
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, options.learning_rate, total_steps=options.steps, pct_start=warm_up
    )
    run = _MemberRun(state, optimiser, schedule, checkpoint, _name(clips, options, seed))
    step, units = run.restore()
    source = ConsistencyWindows(clips, options.windows)
    units = units or cluster_mfcc(clips, seed)
    while step < options.steps:
        if step == options.steps // 2 and options.masked:
            units = cluster_hidden(clips, state.eval().member, seed)
        rng = np.random.default_rng([seed, step])  # depends on the step alone: a resumed run is identical
        torch.manual_seed(seed * 1_000_003 + step)
        _take_step(run, source.draw(options.batch, rng, units), options, rng, device)
        step += 1
        on_step(step)
        if step % SAVE_EVERY == 0 or step == options.steps:
            run.save(step, units)
    return state.eval()


@dataclass(frozen=True, slots=True, eq=False)
class _MemberRun:
    state: MemberState
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.OneCycleLR
    checkpoint: Path
    name: str

    def save(self, step: int, units: Sequence[np.ndarray]) -> None:
        """Replace the checkpoint atomically."""
        saved = {
            "name": self.name,
            "step": step,
            "trainee": self.state.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "units": [torch.from_numpy(one) for one in units],
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(saved, partial)
        partial.replace(self.checkpoint)

    def restore(self) -> tuple[int, list[np.ndarray] | None]:
        """Restore the checkpoint; return (0, None) if there is none of this run."""
        if not self.checkpoint.is_file():
            return 0, None
        saved = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        if saved["name"] != self.name:
            return 0, None
        self.state.load_state_dict(saved["trainee"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.schedule.load_state_dict(saved["schedule"])
        return int(saved["step"]), [one.numpy() for one in saved["units"]]


def _take_step(
    run: _MemberRun, windows: WindowBatch, options: MemberOptions, rng: np.random.Generator, device: str
) -> None:
    state = run.state.train()
    lips, speech = torch.from_numpy(windows.lips).to(device), torch.from_numpy(windows.speech).to(device)
    real, units = torch.from_numpy(windows.real).to(device), torch.from_numpy(windows.units).to(device)
    member, loss = state.member, torch.zeros((), device=device)
    if options.aligned:
        inner = slice(member.reach, real.shape[1] - member.reach)  # frames with a receptive field of real frames
        loss = loss + state.alignment(member.lips(lips), member.speech(speech), real[:, inner])
    if options.masked:
        loss = loss + state.prediction(member, lips, speech, real, units, rng)
    run.optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(state.parameters(), 1.0)
    run.optimiser.step()
    run.schedule.step()


def _name(clips: Sequence[TrainingClip], options: MemberOptions, seed: int) -> str:
    """Hash everything that determines a run."""
    digest = hashlib.sha256(repr((options, seed)).encode())
    for clip in clips:
        digest.update(clip.name.encode() + clip.lips.tobytes() + clip.mel.tobytes())
    return digest.hexdigest()


OnProgress = Callable[[str, int], None]
"""`on_progress(job name, steps done)`."""


@dataclass(frozen=True, slots=True, eq=False)
class MemberTraining:
    """A member to train: name, clips, options and seed."""

    name: str
    clips: tuple[TrainingClip, ...]
    options: MemberOptions
    seed: int


def train_all(
    jobs: Sequence[MemberTraining], folder: Path, device: str, workers: int, on_progress: OnProgress
) -> list[MemberState]:
    """Train all members and return them in order; finished and interrupted ones resume from `folder`."""
    workers = 1 if device != "cpu" else min(workers, len(jobs))
    if workers <= 1:
        return [_train(job, folder, device, on_progress) for job in jobs]
    context = multiprocessing.get_context("spawn")
    # the manager exits first: if one job fails, the next report of the others fails too and the pool can shut down
    with ProcessPoolExecutor(workers, mp_context=context) as pool, context.Manager() as manager:
        progress = manager.Queue()
        threads = max(1, (os.cpu_count() or 1) // workers)
        futures = [pool.submit(_train_in_process, job, folder, threads, progress) for job in jobs]
        _relay(futures, progress, on_progress)
    return [_train(job, folder, device, lambda name, step: None) for job in jobs]  # loads the checkpoints


def _train_in_process(job: MemberTraining, folder: Path, threads: int, progress: Any) -> None:
    torch.set_num_threads(threads)
    _train(job, folder, "cpu", lambda name, step: progress.put((name, step)))


def _train(job: MemberTraining, folder: Path, device: str, on_progress: OnProgress) -> MemberState:
    def report(step: int) -> None:
        on_progress(job.name, step)

    return train_member(job.clips, job.options, job.seed, folder / f"{job.name}.checkpoint", device, report)


def _relay(futures: Sequence[Future[None]], progress: Any, on_progress: OnProgress) -> None:
    """Forward the progress reports until all processes are done; re-raise the first exception."""
    try:
        while True:
            done, waiting = wait(futures, timeout=0)
            for future in done:
                future.result()
            try:
                on_progress(*progress.get(timeout=0.5))
            except queue.Empty:
                if not waiting:
                    return
    finally:
        for future in futures:
            future.cancel()
