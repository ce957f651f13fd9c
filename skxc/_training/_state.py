"""All that the rest of a training depends on, as plain values and arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from skxc import _distributed as processes
from skxc._data._shares import part_of
from skxc._kernels import to_host

from ._loop import EpochCallback, Progress, Step

# NumPy has no bfloat16: its bits stand in
_BITS = torch.int16


@dataclass(frozen=True)
class TrainingState:
    """The parts of a training; restored in place."""

    step: Step
    optimizers: list[Optimizer]
    rng: np.random.Generator  # of the batches
    callbacks: Sequence[EpochCallback]
    progress: Progress

    def packed(self) -> dict[str, Any]:
        """The state; on a CPU, arrays share their memory with the training.

        Of several processes, that of all: tables are whole.
        """
        sharded = self.step.sharded
        progress = vars(self.progress) | {"losses": np.array(self.progress.losses, np.float64)}
        return {
            "progress": progress | _packed_batches(self.progress.batches),
            "step": _arrays(self.step.state(), sharded),
            "sampling": _arrays(self.step.sampling_state()),
            "optimizers": [_arrays(o.state_dict()["state"]) for o in self.optimizers],
            "callbacks": [_arrays(callback.state(), sharded) for callback in self.callbacks],
            "rng": self.rng.bit_generator.state,
            "torch": processes.gather(_random_states(self.step.generator)),
        }

    def restore_(self, packed: Mapping[str, Any]) -> None:
        """Go on from such a state, which has the same parts.

        Raises
        ------
        KeyError, RuntimeError, TypeError, ValueError
            If it has others.
        """
        own = self.step.state()
        if {*own} != {*packed["step"]}:
            raise ValueError(f"its step has {sorted({*own} ^ {*packed['step']})[0]}, or lacks it")
        parts = _own_parts({name: len(own[name]) for name in self.step.sharded & {*own}})
        for name, tensor in own.items():
            saved = _tensors(packed["step"][name], {name: tensor.dtype}, name, parts)
            if (saved.shape, saved.dtype) != (tensor.shape, tensor.dtype):
                raise ValueError(f"{name} is of {saved.dtype}, {tuple(saved.shape)}")
            tensor.copy_(saved)
        self.step.restore_sampling(packed["sampling"])
        for optimizer, state in zip(self.optimizers, packed["optimizers"], strict=True):
            current = optimizer.state_dict()
            current["state"] = {int(i): _tensors(tensors) for i, tensors in state.items()}
            optimizer.load_state_dict(current)
        dtypes = {name: tensor.dtype for name, tensor in own.items()}
        for callback, state in zip(self.callbacks, packed["callbacks"], strict=True):
            callback.restore(_tensors(state, dtypes, "", parts))
        self._restore_progress(packed["progress"])
        self.rng.bit_generator.state = packed["rng"]
        _set_random_states(self.step.generator, packed["torch"])

    def _restore_progress(self, packed: Mapping[str, Any]) -> None:
        values = {f.name: packed[f.name] for f in fields(Progress)}
        values["losses"] = packed["losses"].tolist()
        if packed["batches"] is not None:
            values["batches"] = split_rows(packed)
        vars(self.progress).update(values)


def _packed_batches(batches: list[NDArray[np.int64]] | None) -> dict[str, Any]:
    """The rows one after the other: neither clusters nor their order are drawn twice."""
    if batches is None:
        return {"batches": None}
    return joined_rows(batches)


def joined_rows(batches: list[NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    """Groups of rows, one after the other."""
    return {"batches": np.concatenate(batches), "ends": np.cumsum([len(rows) for rows in batches])}


def split_rows(joined: Mapping[str, NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """The groups again."""
    return np.split(np.array(joined["batches"]), joined["ends"][:-1])


def _arrays(values: Any, sharded: Set[str] = frozenset(), name: str = "") -> Any:
    """Tensors as arrays, anything else as it is; keys as JSON has them."""
    if isinstance(values, Mapping):
        return {str(key): _arrays(value, sharded, key) for key, value in values.items()}
    if not isinstance(values, Tensor):
        return values
    tensor = to_host(values.detach())
    array = (tensor.view(_BITS) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return processes.whole(array) if name in sharded else array


def _tensors(
    values: Any,
    dtypes: Mapping[str, torch.dtype] | None = None,
    name: str = "",
    parts: Mapping[str, slice] = MappingProxyType({}),
) -> Any:
    """Arrays as tensors of their own memory; with these dtypes, of these rows, by their names."""
    if isinstance(values, Mapping):
        return {key: _tensors(value, dtypes, key, parts) for key, value in values.items()}
    if not isinstance(values, np.ndarray):
        return values
    own = values[parts[name]] if name in parts else values
    tensor, dtype = torch.tensor(own), (dtypes or {}).get(name)
    return tensor.view(dtype) if dtype == torch.bfloat16 and tensor.dtype == _BITS else tensor


def _own_parts(lengths: Mapping[str, int]) -> dict[str, slice]:
    """Where this process's rows are in the tables of all, by the rows that each has."""
    of_processes = processes.gather(lengths)
    return {
        name: part_of([of_one[name] for of_one in of_processes], processes.rank())
        for name in lengths
    }


def _random_states(generator: torch.Generator) -> dict[str, NDArray[Any]]:
    """Of the process's generators, which encoders draw from, and of the training's own."""
    states = {"process": torch.get_rng_state(), "own": generator.get_state()}
    if generator.device.type == "cuda":
        states["device"] = torch.cuda.get_rng_state(generator.device)
    return {name: state.numpy() for name, state in states.items()}


def _set_random_states(
    generator: torch.Generator, of_processes: list[Mapping[str, NDArray[Any]]]
) -> None:
    """Set them; of other processes than now, only what all draw from."""
    states = of_processes[min(processes.rank(), len(of_processes) - 1)]
    generator.set_state(torch.tensor(states["own"]))
    if len(of_processes) != processes.size():
        return
    torch.set_rng_state(torch.tensor(states["process"]))
    if generator.device.type == "cuda":
        torch.cuda.set_rng_state(torch.tensor(states["device"]), generator.device)
