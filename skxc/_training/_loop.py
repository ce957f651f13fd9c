"""The loop that every algorithm is trained by."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm.auto import tqdm

from skxc import _distributed as processes
from skxc._data._batches import Batch, TrainingRows, epoch_batches, padding_share
from skxc._persistence import LARGEST

from ._optim import clip_gradients_, rate_factor, sum_gradients_

logger = logging.getLogger("skxc")

# the loss is monitored on every such step: it costs a pass over the scores
_MONITOR_EVERY = 10

History = list[dict[str, float]]


class Step(Protocol):
    """What happens to a batch."""

    rows: TrainingRows  # what batches are cut from
    generator: torch.Generator  # what it draws from, but for `sampling_state`
    sharded: frozenset[str] = frozenset()  # names of `state` that hold this process's rows alone

    is_idle: bool = False  # the last batch taught nothing: it left no gradients, in any process

    def parameters(self) -> Iterable[nn.Parameter]:
        """What the loop's optimisers update."""

    def begin_epoch(self, epoch: int) -> None:
        """Refresh what is computed from the model once in a while; epochs count from 0."""
        return

    def batches(self, batch_size: int, rng: np.random.Generator) -> list[NDArray[np.int64]] | None:
        """The epoch's batches of training rows, where they are not to be random ones."""
        return None

    def report(self) -> dict[str, float]:
        """What the epoch's entry of `history_` is to tell besides the loss."""
        return {}

    def __call__(self, batch: Batch, rate: float, *, with_loss: bool) -> Tensor | None:
        """Run forward and backward; return the mean loss a text, detached, where `with_loss`.

        Gradients are left on `parameters`. `rate` is the schedule's factor, for parameters that
        the step updates itself.
        """

    def state(self) -> dict[str, Tensor]:
        """Everything that training changes, by reference."""

    def optimizer_state(self) -> dict[str, Tensor]:
        """The part of it that is not the model: what the step's own updates remember."""

    def sampling_state(self) -> dict[str, Any]:
        """What else the next batch depends on, as arrays and plain values: draws, shortlists."""
        return {}

    def restore_sampling(self, state: Mapping[str, Any]) -> None:
        """Go on from a `sampling_state`; the tensors of `state` are restored already."""
        return


@dataclass(frozen=True)
class Schedule:
    """How long and how to train; see the estimators' parameters of the same names."""

    epochs: int
    batch_size: int
    warmup_fraction: float = 0.0
    max_grad_norm: float | None = None
    decay: str = "cosine"  # or "linear"; "constant": `partial_fit` has no warm-up, either
    is_bucketed: bool = False
    is_verbose: bool = False


class EpochCallback(Protocol):
    """What is called around every epoch: early stopping, the users' callbacks."""

    def begin_epoch(self) -> None:
        """Before an epoch."""

    def end_epoch(self, history: History) -> bool:
        """After an epoch, whose entry is the last and may be added to; True asks to stop."""

    def end(self) -> None:
        """After the last epoch."""

    def state(self) -> dict[str, Any]:
        """What it remembers, as tensors (by reference) and plain values."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`, whose tensors are its own."""
        return


class BestEpoch:
    """Early stopping: ends the training, with the state of the epoch that validated best."""

    def __init__(
        self,
        step: Step,
        validate: Callable[[], float],  # higher is better
        patience: int,  # epochs without a better one
    ) -> None:
        self.step, self.validate, self.patience = step, validate, patience
        self.score, self.n_worse = -math.inf, 0
        self.best = dict[str, Tensor]()  # the state of the step

    def begin_epoch(self) -> None:
        """Nothing to do."""

    def end_epoch(self, history: History) -> bool:
        """Validate, and keep the state if it is the best so far."""
        score = history[-1]["validation_score"] = self.validate()
        self.n_worse += 1
        if score > self.score:
            self.score, self.n_worse = score, 0
            _copy_state_(self.step.state(), self.best)
        return self.n_worse >= self.patience

    def end(self) -> None:
        """Go back to the best epoch."""
        _copy_state_(self.best, self.step.state())

    def state(self) -> dict[str, Any]:
        """The best epoch so far."""
        return {"score": self.score, "n_worse": self.n_worse, "best": self.best}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from it."""
        self.score, self.n_worse, self.best = state["score"], state["n_worse"], state["best"]


@dataclass
class Progress:
    """How far a training has come: between two batches, or between two epochs."""

    epoch: int = 0  # the one under way
    batches: list[NDArray[np.int64]] | None = None  # its batches; None until they are drawn
    n_batches: int = 0  # those that are done
    losses: list[float] = field(default_factory=list)  # of them, where it was monitored
    seconds: float = 0.0  # that they took
    n_steps: int = 0  # batches done in all epochs
    history: History = field(default_factory=list)
    is_over: bool = False

    def end_epoch(self) -> None:
        """Go on with the next."""
        self.epoch += 1
        self.batches, self.n_batches, self.losses, self.seconds = None, 0, [], 0.0

    @property
    def n_rows(self) -> int:
        """Rows of the epoch's batches that are done."""
        return sum(map(len, (self.batches or [])[: self.n_batches]))


class Recorder(Protocol):
    """What writes a training down as it goes on, for another process to go on with."""

    def recording(
        self,
        step: Step,
        optimizers: list[Optimizer],
        rng: np.random.Generator,
        callbacks: Sequence[EpochCallback],
        progress: Progress,
    ) -> AbstractContextManager[None]:
        """Around the training, whose state becomes the one that was written down, if any."""

    def after_batch(self) -> None:
        """Between two batches."""

    def after_epoch(self) -> None:
        """Between two epochs, and after the last."""


def train(
    step: Step,
    optimizers: list[Optimizer],
    schedule: Schedule,
    rng: np.random.Generator,
    callbacks: Sequence[EpochCallback] = (),
    recorder: Recorder | None = None,
) -> History:
    """Train `step` on its rows, until the last epoch or until a callback asks to stop."""
    progress = Progress(is_over=not schedule.epochs)
    loop = _Loop(step, optimizers, schedule, progress, recorder)
    recording = recorder and recorder.recording(step, optimizers, rng, callbacks, progress)
    with (
        recording or nullcontext(),
        progress_bar(schedule.epochs * len(step.rows), is_verbose=schedule.is_verbose) as bar,
    ):
        bar.update(progress.epoch * len(step.rows) + progress.n_rows)
        while not progress.is_over:
            for callback in callbacks:
                callback.begin_epoch()
            if progress.batches is None:
                _make_equal_(step)
                step.begin_epoch(progress.epoch)
            history = progress.history
            history.append(processes.broadcast(loop.run_epoch(rng, bar)))
            is_over = [callback.end_epoch(history) for callback in callbacks]
            progress.end_epoch()
            told = ", ".join(f"{name} {value:.4g}" for name, value in history[-1].items())
            logger.info("epoch %d of %d: %s", progress.epoch, schedule.epochs, told)
            is_over = processes.broadcast(any(is_over))
            progress.is_over = is_over or progress.epoch == schedule.epochs
            if recorder:
                recorder.after_epoch()
    for callback in callbacks:
        callback.end()
    return progress.history


def _make_equal_(step: Step) -> None:
    """Give all processes the first one's weights: on unlike devices, rounding leads them apart."""
    if processes.size() > 1:
        for name, tensor in step.state().items():
            if name not in step.sharded:
                processes.broadcast_(tensor)


def _copy_state_(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    """Copy into the tensors of `target`, which are made when first needed and never twice."""
    for name, tensor in source.items():
        if name in target:
            target[name].copy_(tensor)
        else:
            target[name] = tensor.clone()


def check_finite(table: NDArray[np.float32]) -> None:
    """Raise where training has left the numbers that prediction can multiply with each other."""
    largest = float(np.maximum(table.max(initial=0), -table.min(initial=0)))  # nan stays nan
    if not largest <= LARGEST:
        raise _diverged(largest)


def check_converged(value: float) -> None:
    """Raise where a loss or a sum of weights is not finite."""
    if not math.isfinite(value):
        raise _diverged(value)


def _diverged(value: float) -> ValueError:
    return ValueError(
        f"Training diverged: it came to {value}. Lower the learning rates, or bring weight decay "
        f"and temperature back to their defaults."
    )


def progress_bar(n_texts: int, *, is_verbose: bool, desc: str | None = None) -> Any:
    """A bar over so many texts; silent outside terminals and notebooks."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()  # None: closed by the caller
    is_seen = processes.rank() == 0 and (is_terminal or "ipykernel" in sys.modules)
    return tqdm(
        total=n_texts,
        unit=" texts",
        unit_scale=True,
        desc=desc,
        disable=not (is_verbose and is_seen),
    )


class _Loop:
    """Epochs over one step, counting the steps for the schedule."""

    def __init__(
        self,
        step: Step,
        optimizers: list[Optimizer],
        schedule: Schedule,
        progress: Progress | None = None,  # None: it begins
        recorder: Recorder | None = None,
    ) -> None:
        self.step, self.optimizers, self.schedule = step, optimizers, schedule
        self.progress, self.recorder = progress or Progress(), recorder
        self.n_steps = schedule.epochs * -(-len(step.rows) // schedule.batch_size)
        self.base_rates = [[group["lr"] for group in o.param_groups] for o in optimizers]

    def drawn_batches(self, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """The epoch's batches: the step's own, or random ones."""
        batch_size, is_bucketed = self.schedule.batch_size, self.schedule.is_bucketed
        own = self.step.batches(batch_size, rng)
        if own is not None:
            return own
        lengths = self.step.rows.tokens.lengths
        return epoch_batches(lengths, batch_size, rng, is_bucketed=is_bucketed)

    def run_epoch(self, rng: np.random.Generator, bar: Any) -> dict[str, float]:
        """One pass over the step's rows, or what is left of it; the epoch's entry of `history_`."""
        rows, progress = self.step.rows, self.progress
        began = time.perf_counter() - progress.seconds
        batches = progress.batches = progress.batches or self.drawn_batches(rng)
        for selected in batches[progress.n_batches :]:
            is_monitored = progress.n_batches % _MONITOR_EVERY == 0
            loss = self.run_step(rows.batch(selected), with_loss=is_monitored)
            if loss is not None:
                progress.losses.append(float(loss))
                check_converged(progress.losses[-1])
                bar.set_postfix(loss=f"{progress.losses[-1]:.4g}", refresh=False)
            bar.update(len(selected))
            progress.n_batches += 1
            progress.seconds = time.perf_counter() - began
            if self.recorder:
                self.recorder.after_batch()
        entry = {"loss": float(np.mean(progress.losses))}
        if self.schedule.is_bucketed:
            entry["padding"] = padding_share(rows.tokens.lengths, batches)
        return entry | self.step.report() | {"seconds": time.perf_counter() - began}

    def run_step(self, batch: Batch, *, with_loss: bool) -> Tensor | None:
        """One batch: schedule, forward and backward, clip, update."""
        n_done, schedule = self.progress.n_steps, self.schedule
        rate = rate_factor(n_done, self.n_steps, schedule.warmup_fraction, schedule.decay)
        loss = self.step(batch, rate, with_loss=with_loss)
        if not self.step.is_idle:
            sum_gradients_(self.step.parameters())
        if self.schedule.max_grad_norm is not None:
            clip_gradients_(self.step.parameters(), self.schedule.max_grad_norm)
        for optimizer, base in zip(self.optimizers, self.base_rates, strict=True):
            for group, lr in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = lr * rate
            optimizer.step()
            optimizer.zero_grad()
        self.progress.n_steps += 1
        return loss
