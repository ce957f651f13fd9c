"""A transformer encoder's folder, as transformers and sentence-transformers read it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skxc._persistence import ENCODER, ModelFolder, write_json, write_tensors

_PREFIX = "transformer."  # of the transformer's own weights in ours
_PROJECTION = "projection.weight"
_DENSE = "2_Dense/model.safetensors"
_MODULES = "sentence_transformers.models"
_POOLING_SWITCHES = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "last": "pooling_mode_lasttoken",
}
# entries of a configuration that make transformers fetch and run code
_CODE_KEYS = {
    "auto_map",
    "attribute_map",  # other names for the entries below
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_internal",
    "experts_implementation",
    "_experts_implementation",
    "_experts_implementation_internal",
}


def without_code(config: Any) -> Any:
    """The configuration without the entries that name code."""
    if isinstance(config, list):
        return [without_code(value) for value in config]
    if not isinstance(config, dict):
        return config
    return {key: without_code(value) for key, value in config.items() if key not in _CODE_KEYS}


def write_transformer(
    folder: Path, config: Mapping[str, Any], weights: Mapping[str, np.ndarray]
) -> None:
    """Configuration and weights, under transformers' names."""
    write_json(folder / "config.json", config)
    write_tensors(folder / "model.safetensors", split_weights(weights)[0])


def write_tokenizer(
    folder: Path, tokenizer_json: str, special_tokens: Mapping[str, str], max_length: int
) -> None:
    """The fast tokenizer, and what Python must know of it."""
    (folder / "tokenizer.json").write_bytes(tokenizer_json.encode())
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        # not token_type_ids: few models take them, and the others are the same with zeros
        "model_input_names": ["input_ids", "attention_mask"],
    }
    write_json(folder / "tokenizer_config.json", settings | dict(special_tokens))


def write_modules(
    folder: Path,
    weights: Mapping[str, np.ndarray],
    *,
    hidden_size: int,
    pooling: str,
    max_length: int,
    is_normalized: bool,
) -> None:
    """What sentence-transformers adds: pooling, projection and scaling to length 1."""
    settings = {"max_seq_length": max_length, "do_lower_case": False}
    write_json(folder / "sentence_bert_config.json", settings)
    switches = {switch: pooling == name for name, switch in _POOLING_SWITCHES.items()}
    modules: dict[str, Mapping[str, Any] | None] = {
        "Transformer": None,
        "Pooling": {"word_embedding_dimension": hidden_size, **switches},
    }
    if _PROJECTION in weights:
        out_features, in_features = weights[_PROJECTION].shape
        modules["Dense"] = {
            "in_features": in_features,
            "out_features": out_features,
            "bias": False,
            "activation_function": "torch.nn.modules.linear.Identity",
        }
    if is_normalized:
        modules["Normalize"] = None
    listed = []
    for i, (kind, module_config) in enumerate(modules.items()):
        path = f"{i}_{kind}" if i else ""
        listed.append({"idx": i, "name": str(i), "path": path, "type": f"{_MODULES}.{kind}"})
        if module_config is not None:
            (folder / path).mkdir()
            write_json(folder / path / "config.json", module_config)
    if _PROJECTION in weights:
        write_tensors(folder / _DENSE, {"linear.weight": weights[_PROJECTION]})
    write_json(folder / "modules.json", listed)


def read_transformer(
    files: ModelFolder, *, is_mapped: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Configuration and weights, the projection's among them."""
    path = f"{ENCODER}/config.json"
    config = files.json(path)
    if not isinstance(config, dict):
        raise ValueError(f"{files.path(path)} is no configuration of a model.")
    if without_code(config) != config:
        raise ValueError(
            f"{files.path(path)} names code to run ({', '.join(sorted(_CODE_KEYS & set(config)))})"
            f", which skxc never writes. Load models from sources that you trust."
        )
    own = files.tensors(f"{ENCODER}/model.safetensors", is_mapped=is_mapped)
    weights = {f"{_PREFIX}{name}": array for name, array in own.items()}
    if f"{ENCODER}/{_DENSE}" in files.config["files"]:
        dense = files.tensors(f"{ENCODER}/{_DENSE}", is_mapped=is_mapped)
        weights[_PROJECTION] = dense["linear.weight"]
    return config, weights


def split_weights(
    weights: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """The transformer's own weights under its own names, and the projection's."""
    own = {k.removeprefix(_PREFIX): w for k, w in weights.items() if k.startswith(_PREFIX)}
    return own, weights.get(_PROJECTION)


def read_tokenizer(files: ModelFolder) -> str:
    """The fast tokenizer."""
    path = f"{ENCODER}/tokenizer.json"
    try:
        return files.text(path).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{files.path(path)} is no text in UTF-8 ({error}).") from error
