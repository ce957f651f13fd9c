"""How much memory training will take, said before it starts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from skxc import _distributed as processes
from skxc._validation import free_host_bytes, size
from skxc.encoders._base import EncoderModule

from ._setup import Settings, TrainingSetup

logger = logging.getLogger("skxc")

# texts that a CPU's transformer embeds at once: more are no faster there
_TEXTS_AT_ONCE = 64

S = TypeVar("S", bound=Settings)
Remedies = Mapping[str, Callable[[int], str]]  # settings to lower, and how users pass them


@dataclass(frozen=True)
class Memory:
    """Bytes by what they hold.

    "weights", "optimizer" and "data" are there from the first step until the model is published.
    "activations" are gone between epochs, when "epoch" comes: what is then made of all texts. They
    and "copies" (of the best epoch) are gone at the end, when "published" copies come.
    """

    device: Mapping[str, int]  # where the encoder is trained
    host: Mapping[str, int] = field(default_factory=dict)

    def by_place(self, device: torch.device) -> dict[str, dict[str, int]]:
        """The peak on host and device, which are one where `device` is the CPU."""
        if device.type == "cpu":
            return {"cpu": _at_peak(_sums(self.device, self.host))}
        return {str(device): _at_peak(self.device), "cpu": _at_peak(self.host)}

    def __add__(self, other: Memory) -> Memory:
        return Memory(_sums(self.device, other.device), _sums(self.host, other.host))


def _at_peak(parts: Mapping[str, int]) -> dict[str, int]:
    """While training or while publishing, whichever holds more."""
    names = ("weights", "optimizer", "copies", "activations", "epoch", "published", "data")
    part = dict.fromkeys(names, 0)
    part |= parts
    activations = max(part["activations"], part["epoch"])
    in_a_step = part["copies"] + activations
    return {
        "weights": part["weights"] + max(part["published"] - in_a_step, 0),
        "optimizer": part["optimizer"] + part["copies"],
        "activations": activations,
        "data": part["data"],
    }


def _sums(parts: Mapping[str, int], others: Mapping[str, int]) -> dict[str, int]:
    names = dict.fromkeys([*parts, *others])
    return {name: parts.get(name, 0) + others.get(name, 0) for name in names}


def free_bytes(device: torch.device) -> int:
    """Bytes that can still be allocated on `device`."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    return free_host_bytes() // processes.n_on_host()


def device_share(device: torch.device) -> int:
    """A quarter of a GPU's memory: for what can also be less, or lie on the host."""
    return int(torch.cuda.get_device_properties(device).total_memory) // 4


def texts_at_once(
    module: EncoderModule, lengths: NDArray[np.int64], dtype: torch.dtype, device: torch.device
) -> int:
    """`encode_batch_size` of a transformer where users leave it to us.

    By the memory that the GPU has, not by what is free: dropout differs between batches, and one
    seed is to give one model.
    """
    if device.type == "cpu":
        return _TEXTS_AT_ONCE
    a_text = module.activation_bytes(lengths, 1, module.dim, dtype)
    return max(device_share(device) // a_text, 1)


def encoder_memory(setup: TrainingSetup[S], settings: S) -> Memory:
    """The encoder, its optimiser and the data."""
    parts = dict.fromkeys(("weights", "optimizer", "copies", "activations"), 0)
    for parameter in setup.module.parameters():
        n_bytes = parameter.nbytes
        if getattr(parameter, "is_row_sparse", False):
            n_bytes = n_bytes * settings.dim // setup.module.dim
        elif parameter.requires_grad:
            parts["optimizer"] += 3 * n_bytes  # the gradient and AdamW's two moments
            if setup.dtype == torch.bfloat16:  # autocast's copies
                parts["activations"] += n_bytes // 2
        parts["weights"] += n_bytes
    if settings.early_stopping:
        parts["copies"] = parts["weights"]
    return Memory(parts, {"published": parts["weights"], "data": setup.data_bytes})


def training_memory(
    own: Callable[[TrainingSetup[S], S], Memory],  # of labels and steps
    setup: TrainingSetup[S],
    settings: S,
) -> Memory:
    """What training with `settings` holds at its peak."""
    n_rows = len(setup.rows) + len(setup.label_texts or [])  # label texts may be rows, too
    settings = replace(settings, batch_size=min(settings.batch_size, n_rows))
    memory = encoder_memory(setup, settings) + own(setup, settings)
    # the texts are read before anything else is there
    others = sum(memory.by_place(setup.device)["cpu"].values()) - setup.data_bytes
    return memory + Memory({}, {"data": max(setup.reading_bytes - others, 0)})


def check_memory(
    estimate: Callable[[Any], Memory],  # what training with other settings takes
    settings: Any,
    remedies: Remedies,
    device: torch.device,
    held: Mapping[str, int],  # bytes, by place, of what is estimated and allocated already
) -> None:
    """Log the estimate; raise where it is more than there is, with what would fit."""
    for place, parts in estimate(settings).by_place(device).items():
        needed, free = sum(parts.values()), free_bytes(torch.device(place)) + held.get(place, 0)
        listed = ", ".join(f"{name} {size(n)}" for name, n in parts.items())
        logger.info("training needs about %s on %s (%s)", size(needed), place, listed)
        if needed > free:

            def fits(name: str, value: int, place: str = place, free: int = free) -> bool:
                changes: dict[str, Any] = {name: value}
                changed = estimate(replace(settings, **changes)).by_place(device)[place]
                return sum(changed.values()) <= free

            raise ValueError(
                f"Training needs about {size(needed)} ({listed}), but {place} has {size(free)} "
                f"for it. {_advice(settings, remedies, fits)}"
            )


def held_bytes(setup: TrainingSetup[S]) -> dict[str, int]:
    """What of the estimate is allocated before training, by place."""
    module = sum(parameter.nbytes for parameter in setup.module.parameters())
    if setup.device.type == "cpu":
        return {"cpu": setup.data_bytes + module}
    return {"cpu": setup.data_bytes, str(setup.device): module}


def _advice(settings: Any, remedies: Remedies, fits: Callable[[str, int], bool]) -> str:
    """The largest value that fits of every setting that alone would do; else all of them."""
    values = {name: _largest(getattr(settings, name), partial(fits, name)) for name in remedies}
    enough = [remedies[name](value) for name, value in values.items() if value]
    if enough:
        return f"Pass {' or '.join(enough)}, which would fit."
    lowered = " and ".join(_halved(settings, remedies))
    return f"Lower {lowered}, or pass fewer texts or labels: none alone would do."


def _halved(settings: Settings, remedies: Remedies) -> list[str]:
    return [how(max(getattr(settings, name) // 2, 1)) for name, how in remedies.items()]


def _largest(value: int, fits: Callable[[int], bool]) -> int:
    """The largest number below `value` that fits; 0 where 1 does not."""
    low, high = 0, value
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def on_device(module: EncoderModule, device: torch.device) -> EncoderModule:
    """The encoder, moved to `device`.

    Raises
    ------
    ValueError
        If not even the encoder fits there.
    """
    try:
        return module.to(device)
    except torch.cuda.OutOfMemoryError as error:
        needed = sum(parameter.nbytes for parameter in module.parameters())
        raise ValueError(
            f"The encoder needs {size(needed)}, but {device} has {size(free_bytes(device))} for "
            f"it. Pass device='cpu' or a smaller encoder, or end what else is on that GPU."
        ) from error


@contextmanager
def explained_out_of_memory(setup: TrainingSetup[S], remedies: Remedies) -> Iterator[None]:
    """Turn an out-of-memory error, which the estimate did not foresee, into the same sentence."""
    try:
        yield
    except (torch.cuda.OutOfMemoryError, MemoryError) as error:
        raise ValueError(
            f"Training needs more memory than {setup.device} has free "
            f"({str(error).splitlines()[0]}). "
            f"Pass {' or '.join(_halved(setup.settings, remedies))}."
        ) from error
