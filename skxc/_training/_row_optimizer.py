"""The base class of optimisers of row-sparse tables."""

from __future__ import annotations

import inspect

from torch.optim import Optimizer


class RowOptimizer(Optimizer):
    """torch.optim.Optimizer that does not import torch's compiler.

    torch decorates these methods with "do not compile", and the decorator imports the compiler: one
    second or more per process, as long as the training on a small data set.
    """

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)
