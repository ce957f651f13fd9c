"""AdamW for large tables with row-sparse gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from ._row_optimizer import RowOptimizer

State = dict[str, Tensor]


class RowAdam(RowOptimizer):
    """AdamW (Loshchilov and Hutter, 2019) that reads and writes only the rows in the gradient.

    With a gradient for every row it is torch.optim.AdamW. A row without one keeps its moments and
    is not moved by them. The bias correction counts each row's own updates: the first is full-size.

    Weight decay is lazy. `log_decay` sums log(1 - lr * weight_decay) over all steps, and
    `row_log_decay` is the part of the sum that a row has had; the difference is pending and is
    applied when the row is next stepped. Call `apply_pending_decay_` before you read some rows,
    and `flush` before you read the whole table.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Tables of shape (n_rows, dim), float32 or float64, or torch's groups of them.
    lr, betas, eps, weight_decay :
        As in torch.optim.AdamW; `lr` of a group may change between steps.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add the group as torch does, and initialise the state of its tables."""
        super().add_param_group(param_group)
        for table in self.param_groups[-1]["params"]:
            self.state[table] = _initial_state(table)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Step the rows in the row-sparse gradient of every table."""
        for table in chain.from_iterable(group["params"] for group in self.param_groups):
            gradient = table.grad
            if gradient is None:
                continue
            if not gradient.is_sparse:
                raise TypeError(
                    f"The gradient of shape {tuple(gradient.shape)} is dense, but RowAdam steps "
                    f"only rows. Pass a row-sparse gradient, or use torch.optim.AdamW."
                )
            self.step_rows_(table, gradient._indices()[0], gradient._values())

    @torch.no_grad()
    def step_rows_(
        self,
        table: Tensor,  # (n_rows, dim), one of the optimiser's; updated in place
        rows: Tensor,  # (n_touched,)
        values: Tensor,  # (n_touched, dim) their gradient; summed over repeated rows
        *,
        is_ascending: bool = False,  # each row once: then they are not looked at
    ) -> None:
        """Step some rows; the weight decay of the others is pending."""
        group, state = self._group(table), self.state[table]
        if not is_ascending:
            rows, values = _sum_repeated_rows(rows, values)
        rows, values = rows.to(table.device), values.to(table)
        state["log_decay"] += math.log1p(-group["lr"] * group["weight_decay"])
        updated = table[rows].mul_(_take_pending_decay(state, rows))
        direction = _direction(state, rows, values, group["betas"], group["eps"])
        table.index_copy_(0, rows, updated.sub_(direction, alpha=group["lr"]))

    @torch.no_grad()
    def apply_pending_decay_(self, table: Tensor, rows: Tensor) -> None:
        """Apply the pending weight decay of some rows of the table."""
        rows = rows.to(table.device)
        table.index_copy_(0, rows, table[rows].mul_(_take_pending_decay(self.state[table], rows)))

    @torch.no_grad()
    def flush(self) -> None:
        """Apply all pending weight decay."""
        for table, state in self.state.items():
            pending = state["log_decay"] - state["row_log_decay"]
            table.mul_(pending.exp().to(table)[:, None])
            # nothing is pending now: sums that restart at 0 stay small
            state["log_decay"].zero_()
            state["row_log_decay"].zero_()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Copy the state into the existing tensors.

        Torch would cast it to the table's dtype, too coarse for sums of small decays.
        """
        own = dict(self.state)
        super().load_state_dict(state_dict)
        indices = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        for i, (table, state) in zip(indices, own.items(), strict=True):
            for name, tensor in state.items():
                tensor.copy_(state_dict["state"][i][name])
            self.state[table] = state

    def _group(self, table: Tensor) -> dict[str, Any]:
        for group in self.param_groups:
            if any(parameter is table for parameter in group["params"]):
                return group
        raise ValueError(f"The table of shape {tuple(table.shape)} is not one of the optimiser's.")


def _initial_state(table: Tensor) -> State:
    n_rows = len(table)
    return {
        "first_moment": torch.zeros_like(table, requires_grad=False),
        "second_moment": torch.zeros_like(table, requires_grad=False),
        "n_updates": torch.zeros(n_rows, dtype=torch.int64, device=table.device),
        # float64: sums over a whole training of steps of 1e-5 and less
        "log_decay": torch.zeros((), dtype=torch.float64, device=table.device),
        "row_log_decay": torch.zeros(n_rows, dtype=torch.float64, device=table.device),
    }


def _sum_repeated_rows(rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The rows, each once, and their summed gradients; no sorting if they are ascending."""
    if bool((rows[1:] > rows[:-1]).all()):
        return rows, values
    rows, places = rows.unique(return_inverse=True)
    places = places.to(values.device)
    sums = values.new_zeros(len(rows), values.shape[1])
    # not index_add_, which is not deterministic on a GPU
    return rows, sums.index_put_((places,), values, accumulate=True)


def _take_pending_decay(state: State, rows: Tensor) -> Tensor:  # (n_touched, 1)
    """The factor of the rows' pending decay, in the table's dtype; it is no longer pending."""
    pending = state["log_decay"] - state["row_log_decay"][rows]
    state["row_log_decay"][rows] = state["log_decay"]
    return pending.exp().to(state["first_moment"].dtype)[:, None]


def _direction(
    state: State,
    rows: Tensor,  # (n_touched,) each once
    gradient: Tensor,  # (n_touched, dim)
    betas: tuple[float, float],
    eps: float,
) -> Tensor:  # (n_touched, dim)
    """Adam's step over the learning rate; updates the rows' moments and counts in place."""
    n_updates = state["n_updates"][rows].add_(1)
    first = state["first_moment"][rows].lerp_(gradient, 1 - betas[0])
    second = state["second_moment"][rows].mul_(betas[1])
    second.addcmul_(gradient, gradient, value=1 - betas[1])
    new = {"n_updates": n_updates, "first_moment": first, "second_moment": second}
    for name, tensor in new.items():
        state[name].index_copy_(0, rows, tensor)
    correction, second_correction = (
        (1 - beta ** n_updates.double()).to(gradient.dtype)[:, None] for beta in betas
    )
    return first.div_(second.div_(second_correction).sqrt_().add_(eps).mul_(correction))
