"""Random initial weights whose numbers are nobody else's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

# functions that draw, and take a generator
_DRAWS = {
    *("bernoulli_", "exponential_", "normal_", "random_", "uniform_"),
    *("bernoulli", "multinomial", "normal", "rand", "randint", "randn", "randperm"),
    *("kaiming_normal_", "kaiming_uniform_"),  # of torch.nn.init: what they call is not seen
}


class OwnGenerator(TorchFunctionMode):
    """Inside, this thread's random numbers come from a generator of its own.

    Models draw their initial weights from the process's generator, which other threads read and
    move, too: predictions that build a model while another one is trained.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call it, with the generator where it draws."""
        given = dict(kwargs or {})
        if getattr(func, "__name__", "") in _DRAWS and given.get("generator") is None:
            given["generator"] = self.generator
        return func(*args, **given)
