"""What optimisers of row-sparse tables share."""

from __future__ import annotations

import inspect

from torch.optim import Optimizer


class RowOptimizer(Optimizer):
    """torch's Optimizer, without its compiler.

    torch marks these methods as not to be compiled, and the mark imports the compiler: a second and
    more of every process, as long as a small set trains.
    """

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)
