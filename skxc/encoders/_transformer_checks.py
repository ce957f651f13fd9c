"""Whether a transformer encoder's parts, somebody else's, belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skxc._persistence import check_numbers
from skxc._validation import check_choice, check_integer

from . import _architecture, _files, _tokenizers
from ._pooled import POOLINGS

if TYPE_CHECKING:  # transformers takes seconds to import
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def check_fitted(encoder: Any) -> None:
    """Raise unless configuration, weights and tokenizer are of one model.

    Raises
    ------
    ValueError
        If they are not.
    """
    own, layers = _files.split_weights(encoder.weights_)
    transformer = _architecture.sound_transformer(encoder.config_, own)
    width = transformer.config.hidden_size
    check_layers(layers, encoder.dense_, width, is_frozen=encoder.is_frozen)
    check_choice("pooling_", encoder.pooling_, POOLINGS)
    for name in ("prompt_", "label_prompt_"):
        if not isinstance(getattr(encoder, name), str):
            raise ValueError(f"{name} should be a str, and is {getattr(encoder, name)!r:.100}.")
    check_integer("pad_token_id_", encoder.pad_token_id_, 0)
    check_integer("vocab_size", encoder.config_.get("vocab_size"), 1)
    if encoder.pad_token_id_ >= encoder.config_["vocab_size"]:
        raise ValueError(f"pad_token_id_={encoder.pad_token_id_} is no token of the encoder's.")
    special = encoder.special_tokens_
    if not isinstance(special, dict) or not {*map(type, special.values())} <= {str}:
        raise ValueError(f"special_tokens_ should be a dict of str, and is {special!r:.100}.")
    _tokenizers.check_tokenizer(encoder.tokenizer_json_, _architecture.n_positions(transformer))


def check_layers(
    layers: Mapping[str, np.ndarray],
    activations: Sequence[str],  # of the dense ones
    width: int,  # of what the first one reads
    *,
    is_frozen: bool,  # a projection with a bias follows, of a trained one perhaps one without
) -> None:
    """Raise unless each layer's weights go on from the layer's before it.

    Raises
    ------
    ValueError
        If they do not.
    """
    names = [f"dense.{2 * i}" for i in range(len(activations))]
    if "projection.weight" in layers or is_frozen:
        names.append("projection")
    left = dict(layers)
    for name in names:
        weight = left.pop(f"{name}.weight", np.empty(0))
        bias = left.pop(f"{name}.bias", None)
        is_float = weight.dtype == np.float32 and weight.ndim == 2
        if not is_float or weight.shape[1] != width or not len(weight):
            raise ValueError(
                f"the encoder's {name}.weight is an array of {weight.dtype}, {weight.shape}, and "
                f"should be of float32, (n, {width})."
            )
        width = len(weight)
        if bias is not None and (bias.dtype, bias.shape) != (np.float32, (width,)):
            raise ValueError(
                f"the encoder's {name}.bias is of {bias.dtype}, {bias.shape}, and should be of "
                f"float32, ({width},)."
            )
        for array in (weight, bias):
            if array is not None:
                check_numbers(name, array)
    if left:
        raise ValueError(f"the encoder has weights of no layer, {sorted(left)[0]}.")
    if is_frozen and "projection.bias" not in layers:
        raise ValueError("the encoder's projection.bias is missing.")


def check_max_length(
    encoder: Any, transformer: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Raise where `max_length` holds no text, or more than the model has positions for.

    Raises
    ------
    ValueError
        If it does.
    """
    model, max_length = encoder.model, encoder.max_length
    n_special = tokenizer.num_special_tokens_to_add(pair=False)
    if max_length <= n_special:
        raise ValueError(
            f"max_length={max_length} leaves no room for a text beside the {n_special} special "
            f"tokens of model={model!r}. Pass at least {n_special + 1}."
        )
    longest = _architecture.n_positions(transformer)
    if longest is not None and max_length > longest:
        raise ValueError(
            f"max_length={max_length} exceeds the {longest} positions that model={model!r} has. "
            f"Pass max_length={longest} or less."
        )
    for name in ("prompt", "label_prompt"):
        prompt = getattr(encoder, f"{name}_")
        n_tokens = len(tokenizer(prompt)["input_ids"]) if prompt else 0
        if n_tokens >= max_length:
            raise ValueError(
                f"max_length={max_length} leaves no room for a text behind {name}={prompt!r:.100}, "
                f"which has {n_tokens} tokens with the special ones. Pass more, or {name}=''."
            )
