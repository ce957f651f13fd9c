"""A transformer encoder's folder, as transformers and sentence-transformers read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skxc._persistence import ENCODER, ModelFolder, write_json, write_tensors

_PREFIX = "transformer."  # of the transformer's own weights in ours
_PROJECTION = "projection.weight"
_DENSE = "{}_Dense/model.safetensors"  # the first one is module 2
_MODULES = "sentence_transformers.models"
_POOLING_SWITCHES = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
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
    activations: Sequence[str],
    prompts: tuple[str, str],  # of texts and labels
    max_length: int,
    is_normalized: bool,
    frozen_length: float | None,  # of what the projection of a frozen transformer reads
) -> None:
    """What sentence-transformers adds: pooling, layers, prompts and scaling to length 1."""
    settings = {"max_seq_length": max_length, "do_lower_case": False}
    write_json(folder / "sentence_bert_config.json", settings)
    switches = {switch: pooling == name for name, switch in _POOLING_SWITCHES.items()}
    modules: list[tuple[str, Mapping[str, Any] | None]] = [
        ("Transformer", None),
        ("Pooling", {"word_embedding_dimension": hidden_size, **switches}),
    ]
    layers = _layers(weights, activations)
    for arrays, activation in layers:
        if arrays is layers[-1][0] and frozen_length is not None:
            modules.append(("Normalize", None))
            arrays["linear.weight"] = arrays["linear.weight"] * np.float32(frozen_length)
        out_features, in_features = arrays["linear.weight"].shape
        place = "linear" if activation == "Identity" else "activation"
        dense = {
            "in_features": in_features,
            "out_features": out_features,
            "bias": "linear.bias" in arrays,
            "activation_function": f"torch.nn.modules.{place}.{activation}",
        }
        modules.append(("Dense", dense))
    if is_normalized:
        modules.append(("Normalize", None))
    listed = []
    for i, (kind, module_config) in enumerate(modules):
        path = f"{i}_{kind}" if i else ""
        listed.append({"idx": i, "name": str(i), "path": path, "type": f"{_MODULES}.{kind}"})
        if module_config is not None:
            (folder / path).mkdir()
            write_json(folder / path / "config.json", module_config)
    places = [i for i, (kind, _) in enumerate(modules) if kind == "Dense"]
    for i, (arrays, _) in zip(places, layers, strict=True):
        write_tensors(folder / _DENSE.format(i), arrays)
    write_json(folder / "modules.json", listed)
    if any(prompts):
        named = dict(zip(("query", "label"), prompts, strict=True))
        told = {"prompts": named, "default_prompt_name": "query"}
        write_json(folder / "config_sentence_transformers.json", told)


def _layers(
    weights: Mapping[str, np.ndarray], activations: Sequence[str]
) -> list[tuple[dict[str, np.ndarray], str]]:
    """The layers after the pooling, and their activations: dense ones, and the projection."""
    names = [(f"dense.{2 * i}", activation) for i, activation in enumerate(activations)]
    if _PROJECTION in weights:
        names.append((_PROJECTION.removesuffix(".weight"), "Identity"))
    layers = []
    for name, activation in names:
        arrays = {"linear.weight": weights[f"{name}.weight"]}
        if f"{name}.bias" in weights:
            arrays["linear.bias"] = weights[f"{name}.bias"]
        layers.append((arrays, activation))
    return layers


def read_transformer(
    files: ModelFolder, n_dense: int, frozen_length: float | None, *, is_mapped: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Configuration and weights, those of the layers among them."""
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
    for i in range(n_dense + 1):
        is_frozen = i == n_dense and frozen_length is not None
        name = f"{ENCODER}/{_DENSE.format(2 + i + is_frozen)}"
        if name not in files.config["files"]:
            continue  # no projection; of a dense layer, the weights are missed later
        layer = f"dense.{2 * i}" if i < n_dense else _PROJECTION.removesuffix(".weight")
        arrays = files.tensors(name, is_mapped=is_mapped)
        if is_frozen and "linear.weight" in arrays:
            arrays["linear.weight"] = arrays["linear.weight"] / np.float32(frozen_length)
        weights |= {f"{layer}.{n.removeprefix('linear.')}": array for n, array in arrays.items()}
    return config, weights


def split_weights(
    weights: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The transformer's own weights under its own names, and those of the layers after it."""
    own = {k.removeprefix(_PREFIX): w for k, w in weights.items() if k.startswith(_PREFIX)}
    return own, {k: w for k, w in weights.items() if not k.startswith(_PREFIX)}


def read_tokenizer(files: ModelFolder) -> str:
    """The fast tokenizer."""
    path = f"{ENCODER}/tokenizer.json"
    try:
        return files.text(path).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{files.path(path)} is no text in UTF-8 ({error}).") from error
