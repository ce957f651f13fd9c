"""What optimisers remember, as NumPy arrays: a fitted estimator keeps it for training to go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from skxc import _distributed as processes
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
    own = {}
    for name, tensor in (step.optimizer_state() if is_partial else {}).items():
        array = _array(tensor)
        own[name] = processes.whole(array) if name in step.sharded else array
    return {"optimizers": states, "step": own}


def _array(tensor: Tensor) -> NDArray[Any]:
    """A copy on the host; in float32 what NumPy does not have."""
    if tensor.dtype == torch.bfloat16:
        return to_host(tensor).float().numpy()
    return to_host(tensor).numpy().copy()


def restore_(optimizers: list[Optimizer], step: Step, arrays: Mapping[str, Any]) -> None:
    """Set the state that `optimizer_arrays` gave."""
    try:
        _restore_(optimizers, step, arrays)
    except torch.OutOfMemoryError:  # a RuntimeError, too
        raise
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"What the model remembers of its training does not fit its weights ({error}). Fit it "
            f"anew with warm_start=False, or load it from where it was saved first."
        ) from error


def _restore_(optimizers: list[Optimizer], step: Step, arrays: Mapping[str, Any]) -> None:
    for optimizer, state in zip(optimizers, arrays["optimizers"], strict=True):
        if state:
            current = optimizer.state_dict()
            # torch.tensor copies: the saved arrays stay as they are if training is broken off
            current["state"] = {
                int(i): {k: torch.tensor(v) for k, v in s.items()} for i, s in state.items()
            }
            _check_shapes(optimizer, current["state"])
            optimizer.load_state_dict(current)
    for name, tensor in step.optimizer_state().items():
        if name in arrays["step"]:
            array = arrays["step"][name]
            if name in step.sharded:
                array = array[processes.share(len(array))]
            if array.shape != tuple(tensor.shape):  # copy_ would repeat a smaller one
                raise ValueError(f"{name} has the shape {array.shape}")
            tensor.copy_(torch.tensor(array))


def _check_shapes(optimizer: Optimizer, state: Mapping[int, Mapping[str, Tensor]]) -> None:
    """Raise unless each tensor is a number, or one of each row or entry of its parameter."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, tensors in state.items():
        shape = parameters[i].shape
        for name, tensor in tensors.items():
            if tensor.shape not in (torch.Size(), shape, shape[:1]):
                raise ValueError(f"{name} has the shape {tuple(tensor.shape)}")
