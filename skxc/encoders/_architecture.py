"""A transformer's architecture: the model of a configuration, which anybody may have written."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from skxc._persistence import check_numbers

from ._files import without_code

if TYPE_CHECKING:  # transformers takes seconds to import
    from transformers import PretrainedConfig, PreTrainedModel

# what entries of a configuration count whose names have these parts
_COUNTED = ("layer", "block", "depth", "stage", "expert", "label")
_MOST_COUNTED = 100_000  # beyond the number of stored tensors: some share one
_MOST_BUFFERS = 1 << 28  # bytes of positions, masks and the like, beyond those of the weights


def plain_config(config: PretrainedConfig) -> dict[str, Any]:
    """The configuration as JSON has it, without where and how it was loaded."""
    plain = json.loads(config.to_json_string(use_diff=False))
    traces = ("_name_or_path", "dtype", "torch_dtype", "transformers_version")
    return without_code({key: value for key, value in plain.items() if key not in traces})


def build_transformer(plain: Mapping[str, Any]) -> PreTrainedModel:
    """The model of a configuration, in float32; its weights are drawn at random."""
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(**plain)
    config.return_dict = True
    refuse_kernels(config)
    return AutoModel.from_config(config, **without_pooler(config)).float()


def hidden_size(plain: Mapping[str, Any]) -> int:
    """The width of a model's states, by whatever name its configuration has it."""
    from transformers import AutoConfig

    width: int = AutoConfig.for_model(**plain).hidden_size
    return width


def sound_transformer(
    plain: Mapping[str, Any], weights: Mapping[str, np.ndarray]
) -> PreTrainedModel:
    """The model of a configuration that somebody else wrote, without memory (on "meta").

    Raises
    ------
    ValueError
        If the weights are not all those of the configuration. Nothing large is built to see that:
        sizes and counts are compared with the weights' while the model is made.
    """
    try:
        check_counts(plain, len(weights))
        with torch.device("meta"), no_larger_than([w.shape for w in weights.values()]):
            transformer = build_transformer(plain)
    except Exception as error:  # whatever transformers and torch raise
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"the encoder's config.json describes no model of these weights "
            f"({type(error).__name__}: {reason})."
        ) from error
    is_text_encoder = isinstance(getattr(transformer.config, "hidden_size", None), int)
    if transformer.main_input_name != "input_ids" or not is_text_encoder:
        raise ValueError(f"the encoder, a {type(transformer).__name__}, reads no texts.")
    expected = transformer.state_dict()
    for name in sorted({*expected, *weights}):
        needed, found = expected.get(name), weights.get(name)
        has = None if found is None else (str(found.dtype), found.shape)
        needs = None if needed is None else (str(needed.dtype)[6:], tuple(needed.shape))
        if has != needs:
            raise ValueError(
                f"the encoder's weight {name} should be {needs or 'absent'} by its config.json, "
                f"and is {has or 'missing'}."
            )
    for name, _ in transformer.named_parameters():
        check_numbers(name, weights[name])
    n_bytes = sum(array.nbytes for array in weights.values())
    if (n_buffers := sum(b.nbytes for b in transformer.buffers())) > n_bytes + _MOST_BUFFERS:
        raise ValueError(
            f"the encoder's config.json asks for {n_buffers / 2**20:.0f} MiB beside the weights."
        )
    return transformer


def check_counts(plain: Mapping[str, Any], n_tensors: int) -> None:
    """Raise where an entry counts more layers, experts or labels than the weights can be of."""
    for name, value in plain.items():
        if isinstance(value, dict):
            check_counts(value, n_tensors)
        elif isinstance(value, int):
            if value < 0 and "head" in name:
                raise ValueError(f"{name}={value} is negative")
            is_count = "size" not in name and any(part in name for part in _COUNTED)
            if abs(value) > (n_tensors + _MOST_COUNTED if is_count else 2**40):
                raise ValueError(f"{name}={value:.3g} is more than {n_tensors} tensors can hold")


@contextmanager
def no_larger_than(shapes: Sequence[tuple[int, ...]]) -> Iterator[None]:
    """Raise as soon as this thread makes a longer parameter, or far more of them."""
    from torch.nn.modules.module import register_module_parameter_registration_hook

    longest = max((n for shape in shapes for n in shape), default=0)
    most, thread, made = 4 * len(shapes) + 64, threading.get_ident(), 0

    def check(module: nn.Module, name: str, parameter: Any) -> None:
        nonlocal made
        if threading.get_ident() != thread or parameter is None:
            return
        made += 1
        if made > most or max(parameter.shape, default=0) > longest:
            raise ValueError(
                f"{type(module).__name__}.{name}, {tuple(parameter.shape)}, is more than the "
                f"{len(shapes)} stored tensors hold"
            )

    handle = register_module_parameter_registration_hook(check)
    try:
        yield
    finally:
        handle.remove()


def refuse_kernels(config: PretrainedConfig) -> None:
    """Raise where a configuration names code of the hub, by whatever entry."""
    for entry in ("_attn_implementation", "_experts_implementation"):
        value = getattr(config, entry, None)
        if isinstance(value, str) and "/" in value:
            raise ValueError(
                f"The encoder's configuration names code to fetch, {entry}={value!r}. Use a model "
                f"whose configuration names none."
            )


def n_positions(transformer: PreTrainedModel) -> int | None:
    """Tokens of the longest text that the model has positions for; None if unknown."""
    for name, module in transformer.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa and models like it number the positions from padding_idx + 1 on
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - first
    return getattr(transformer.config, "max_position_embeddings", None)


def without_pooler(config: PretrainedConfig) -> dict[str, bool]:
    """The argument that leaves out BERT's pooling layer, where the model's class has it."""
    from transformers import AutoModel

    with torch.device("meta"):
        model_class = type(AutoModel.from_config(config))
    has_argument = "add_pooling_layer" in signature(model_class.__init__).parameters
    return {"add_pooling_layer": False} if has_argument else {}
