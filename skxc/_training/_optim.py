"""Optimisers of the encoder's parameters, and the schedule of every learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from skxc import _distributed as processes
from skxc._functional._row_sparse import row_sparse

from ._row_optimizer import RowOptimizer

# AdamW's rate for layers beside row-sparse tables, in units of theirs: Adagrad's rates are larger
_BESIDE_TABLES = 0.02
# numbers that are summed over the processes at once
_SUMMED_AT_ONCE = 1 << 23


class RowAdagrad(RowOptimizer):
    """Adagrad with one accumulator per row, for row-sparse gradients.

    A row's learning rate is divided by the root of its summed mean-square gradients: rare words
    keep larger steps than frequent ones. Only rows in the gradient are read or written.
    """

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the rows that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step_rows(parameter, parameter.grad, group["lr"])

    def _step_rows(self, parameter: Tensor, gradient: Tensor, lr: float) -> None:
        state = self.state[parameter]
        if not state:
            state["sum_of_squares"] = parameter.new_full((len(parameter),), 1e-16)
        rows, values = _rows_and_values(gradient)
        sums = state["sum_of_squares"].index_add_(0, rows, values.square().mean(1))[rows]
        parameter.index_add_(0, rows, values * (-lr * sums.rsqrt())[:, None])


def _rows_and_values(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The nonzero rows of the gradient, each once, and their values; rows of 0 may be repeated."""
    if gradient.is_sparse:
        gradient = _coalesced(gradient)
        return gradient._indices()[0], gradient._values()
    rows = gradient.any(1).nonzero().squeeze(1)
    return rows, gradient[rows]


def _coalesced(gradient: Tensor) -> Tensor:
    """The sparse gradient with its repeated rows summed.

    One backward pass of an EmbeddingBag gives ascending rows, but autograd drops the flag that says
    so; a sum over several passes repeats rows. On a CPU the check is cheaper than sorting again.
    """
    rows, values = gradient._indices()[0], gradient._values()
    if not gradient.is_cuda:
        return gradient if bool((rows[1:] > rows[:-1]).all()) else gradient.coalesce()
    rows, values = summed_rows(rows, values)
    return row_sparse(rows, values, gradient.shape)


def summed_rows(rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """As many rows and values, each row once; the rest are zeros for row 0.

    Their number is known without a look at the rows: a GPU is not waited for.
    """
    rows, order = rows.sort()
    is_first = torch.ones_like(rows)
    is_first[1:] = rows[1:] != rows[:-1]
    places = (is_first.cumsum(0) - 1,)
    sums = torch.zeros_like(values).index_put_(places, values[order], accumulate=True)
    return torch.zeros_like(rows).index_put_(places, rows), sums


def make_optimizers(
    module: nn.Module, learning_rate: float, weight_decay: float, epsilon: float = 1e-8
) -> list[Optimizer]:
    """Row-wise Adagrad for row-sparse tables, AdamW for the rest (no decay on 1-d parameters)."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    tables = [p for p in parameters if getattr(p, "is_row_sparse", False)]
    dense = [p for p in parameters if not getattr(p, "is_row_sparse", False)]
    optimizers: list[Optimizer] = []
    if tables:
        optimizers.append(RowAdagrad(tables, learning_rate))
    if dense:
        groups: list[dict[str, Any]] = [
            {"params": [p for p in dense if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in dense if p.ndim <= 1], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        # on a GPU one kernel for all parameters of a group; on a CPU torch's default
        is_fused = True if all(p.is_cuda for p in dense) else None
        rate = learning_rate * (_BESIDE_TABLES if tables else 1)
        optimizers.append(torch.optim.AdamW(groups, rate, eps=epsilon, fused=is_fused))
    return optimizers


def adam_with_state(groups: Iterable[dict[str, Any]], epsilon: float) -> Optimizer | None:
    """Adam on those parameters that are trained, its state there before the first step.

    A group's "full_lr" is its learning rate before the schedule.
    """
    trained = [
        {"weight_decay": 0.0, "full_lr": group["lr"], **group, "params": parameters}
        for group in groups
        if (parameters := [p for p in group["params"] if p.requires_grad])
    ]
    if not trained:
        return None
    for parameter in (p for group in trained for p in group["params"]):
        parameter.grad = torch.zeros_like(parameter)
    optimizer = torch.optim.AdamW(trained, eps=epsilon)
    optimizer.step()  # by a gradient of 0: nothing moves
    optimizer.zero_grad()
    for state in optimizer.state.values():
        state["step"].zero_()
    return optimizer


def rate_factor(step: int, n_steps: int, warmup_fraction: float, schedule: str) -> float:
    """Factor of every learning rate: linear warm-up to 1, then down to 0 by a cosine or a line."""
    if schedule == "constant":
        return 1.0
    n_warmup = round(n_steps * warmup_fraction)
    if step < n_warmup:
        return (step + 1) / n_warmup
    share = (step - n_warmup) / max(n_steps - n_warmup, 1)
    return 1 - share if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * share))


@torch.no_grad()
def sum_gradients_(parameters: Iterable[nn.Parameter]) -> None:
    """Sum the gradients over the processes: each has those of its share of the texts."""
    if processes.size() == 1:
        return
    dense = []
    for parameter in parameters:
        if not parameter.requires_grad:
            continue
        if getattr(parameter, "is_row_sparse", False) and _is_sparse(parameter.grad):
            parameter.grad = _joined_rows(parameter)
            continue
        if parameter.grad is None:  # no text of the batch is this process's
            parameter.grad = torch.zeros_like(parameter)
        dense.append(parameter.grad)
    for part in _portions(dense):
        if len(part) == 1 and part[0].is_contiguous():
            processes.all_reduce_(part[0])
            continue
        sums = processes.all_reduce_(torch.cat([gradient.reshape(-1) for gradient in part]))
        of_each = sums.split([gradient.numel() for gradient in part])
        for gradient, sum_ in zip(part, of_each, strict=True):
            gradient.copy_(sum_.view_as(gradient))


def _is_sparse(gradient: Tensor | None) -> bool:
    return gradient is None or gradient.is_sparse


def _joined_rows(parameter: nn.Parameter) -> Tensor:
    """The gradient of all processes, with repeated rows."""
    gradient = parameter.grad
    if gradient is None:
        rows = torch.empty(0, dtype=torch.int64, device=parameter.device)
        values = parameter.new_empty((0, *parameter.shape[1:]))
    else:
        gradient = _coalesced(gradient)
        rows, values = gradient._indices()[0], gradient._values()
    sizes = processes.gather_counts(len(rows))
    rows, values = (processes.all_gather_rows(part, sizes) for part in (rows, values))
    return row_sparse(rows, values, parameter.shape)


def _portions(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients to be summed together, of one dtype; a large one by itself."""
    part: list[Tensor] = []
    for gradient in gradients:
        n_numbers = gradient.numel() + sum(other.numel() for other in part)
        if part and (n_numbers > _SUMMED_AT_ONCE or gradient.dtype != part[0].dtype):
            yield part
            part = []
        part.append(gradient)
    if part:
        yield part


@torch.no_grad()
def clip_gradients_(parameters: Iterable[nn.Parameter], max_norm: float) -> None:
    """Scale all gradients, dense and sparse, so that their joint norm is at most `max_norm`."""
    gradients = []
    for parameter in parameters:
        if parameter.grad is not None:
            if parameter.grad.is_sparse:
                parameter.grad = _coalesced(parameter.grad)
            gradients.append(parameter.grad)
    if not gradients:
        return
    values = [g._values() if g.is_sparse else g for g in gradients]
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(v) for v in values]))
    scale = (max_norm / (norm + 1e-12)).clamp(max=1.0)
    for value in values:
        value.mul_(scale)
