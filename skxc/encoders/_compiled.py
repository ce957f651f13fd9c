"""The blocks of a transformer, compiled by torch: one compilation for all that are alike."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

logger = logging.getLogger("skxc")

# Graphs of a block that are kept, of all models together; torch's own limit is 8. One model needs
# about 6: batches with and without padding and single texts, in training and in prediction.
_MAX_GRAPHS = 64
# Dropout draws its numbers as in the uncompiled model. A second encoding from the same random state
# has the masks of the first, whatever runs it: this graph, another, or plain torch at _MAX_GRAPHS.
OPTIONS = {"fallback_random": True}


def compile_blocks(transformer: nn.Module) -> None:
    """Compile the blocks in place, at their first call: names of weights stay as they are.

    Not the whole model: it would take as many times longer as there are blocks.
    """
    for block in _blocks(transformer):
        # dynamic: one graph for all batch sizes and lengths from 2 on
        block.compile(backend=_inductor, dynamic=True)


def _blocks(transformer: nn.Module) -> list[nn.Module]:
    """The modules of the heaviest list: every architecture of transformers keeps them in one.

    `_no_split_modules` also names embeddings, and is empty for DistilBERT and MPNet.
    """
    lists = [m for m in transformer.modules() if isinstance(m, nn.ModuleList) and len(m)]
    if not lists:
        raise ValueError(
            f"compile=True compiles the blocks of a transformer, and {type(transformer).__name__} "
            f"has none in an nn.ModuleList. Pass compile=False for this model."
        )
    weights = [sum(p.numel() for p in blocks.parameters()) for blocks in lists]
    return list(lists[weights.index(max(weights))])


def _inductor(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
    """torch.compile's own backend, or the graph itself where that fails."""
    from torch._dynamo.exc import BackendCompilerFailed, TorchDynamoException

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's imports warn of each other
            from torch._inductor.compile_fx import compile_fx

            compiled: Any = compile_fx(graph, inputs, config_patches=OPTIONS)
        return compiled
    except Exception as error:  # whatever is missing: the graph in plain torch gives the same
        is_failure = isinstance(error, BackendCompilerFailed)
        if isinstance(error, TorchDynamoException) and not is_failure:
            raise  # how the backend asks for another tracing
        reason = f"{type(error).__name__}: {str(error).strip()}".split("\n")[0]
        logger.warning("torch.compile fails here, the encoder runs uncompiled: %s", reason)
        return graph.forward


@contextmanager
def many_graphs() -> Iterator[None]:
    """Let torch keep `_MAX_GRAPHS` graphs of a block."""
    config: Any = torch._dynamo.config
    # its old name, which torch still accepts
    with config.patch(cache_size_limit=max(config.cache_size_limit, _MAX_GRAPHS)):
        yield
