"""What optimisers remember, as NumPy arrays: a fitted estimator keeps it for training to go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from skxc._kernels import to_host

from ._loop import Step
from ._optim import RowAdagrad


def optimizer_arrays(
    optimizers: list[Optimizer], step: Step, *, is_partial: bool
) -> dict[str, Any]:
    """The state of the optimisers, and of the step's own.

    After `fit` that is row-wise Adagrad's one number a row, without which words that were learnt
    would leap again; momentum and Adam's moments, of the model's size, only between partial fits.
    """
    states: list[dict[str, Any]] = [{} for _ in optimizers]
    for kept, optimizer in zip(states, optimizers, strict=True):
        if is_partial or isinstance(optimizer, RowAdagrad):
            for i, state in optimizer.state_dict()["state"].items():
                kept[str(i)] = {
                    name: _array(torch.as_tensor(value)) for name, value in state.items()
                }
    own = step.optimizer_state() if is_partial else {}
    return {"optimizers": states, "step": {k: _array(v) for k, v in own.items()}}


def _array(tensor: Tensor) -> NDArray[Any]:
    """A copy on the host; in float32 what NumPy does not have."""
    if tensor.dtype == torch.bfloat16:
        return to_host(tensor).float().numpy()
    return to_host(tensor).numpy().copy()


def restore_(optimizers: list[Optimizer], step: Step, arrays: Mapping[str, Any]) -> None:
    """Set the state that `optimizer_arrays` gave."""
    for optimizer, state in zip(optimizers, arrays["optimizers"], strict=True):
        if state:
            current = optimizer.state_dict()
            # torch.tensor copies: the saved arrays stay as they are if training is broken off
            current["state"] = {
                int(i): {k: torch.tensor(v) for k, v in s.items()} for i, s in state.items()
            }
            optimizer.load_state_dict(current)
    for name, tensor in step.optimizer_state().items():
        if name in arrays["step"]:
            tensor.copy_(torch.tensor(arrays["step"][name]))
