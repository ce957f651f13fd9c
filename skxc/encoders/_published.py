"""What a sentence-transformers folder says beside the weights: pooling, dense layers, prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from ._hub import fetched, read_json
from ._pooled import ACTIVATIONS

# sentence-transformers' names for the poolings that we have: one "pooling_mode" in its newer
# files, a switch for each pooling in its older ones
_POOLINGS = {
    "mean": "mean",
    "weightedmean": "weightedmean",
    "cls": "cls",
    "lasttoken": "last",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
# what the modules may be; the last two leave embeddings as they are, or are the estimators' own
_MODULES = ("Transformer", "Pooling", "Dense", "Dropout", "Normalize")
_DENSE_FILES = ("model.safetensors", "pytorch_model.bin")


class Dense(NamedTuple):
    """A layer that follows the pooling."""

    weight: np.ndarray  # (out, in) float32
    bias: np.ndarray | None  # (out,)
    activation: str  # one of `ACTIVATIONS`


class Published(NamedTuple):
    """How a model's files say that its states become an embedding."""

    pooling: str = "mean"
    dense: tuple[Dense, ...] = ()
    reads_prompts: bool = True  # a prompt's tokens are pooled, too


def published_modules(model: str, *, local_files_only: bool = False) -> Published:
    """Pooling and dense layers of a sentence-transformers model; the mean of any other.

    Raises
    ------
    ValueError
        If its files name what we do not have.
    """
    modules = read_json(model, "modules.json", local_files_only=local_files_only)
    if modules is None:
        return Published()
    try:
        listed = [(module["type"].rpartition(".")[2], module["path"]) for module in modules]
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(_unsupported(model, f"no list ({error!r}, modules.json)")) from error
    pooling, dense, reads_prompts = "mean", [], True
    kinds = [kind for kind, _ in listed]
    for place, (kind, path) in enumerate(listed):
        if kind not in _MODULES:
            raise ValueError(_unsupported(model, f"the module {kind!r} (modules.json)"))
        if kind == "Pooling":
            settings = _settings(model, path, local_files_only=local_files_only)
            pooling, reads_prompts = _pooling(model, settings), settings.get("include_prompt", True)
        elif kind == "Dense":
            if "Pooling" not in kinds[:place] or "Normalize" in kinds[:place]:
                before = ", ".join(kinds[:place])
                raise ValueError(
                    _unsupported(model, f"a Dense layer after {before}, and not right after the "
                                        f"pooling")
                )  # fmt: skip
            settings = _settings(model, path, local_files_only=local_files_only)
            dense.append(_dense(model, path, settings, local_files_only=local_files_only))
    return Published(pooling, tuple(dense), bool(reads_prompts))


def published_prompts(model: str, *, local_files_only: bool = False) -> tuple[str, str]:
    """The prompts of texts and of labels: the default one, else the queries' for both.

    Texts and labels stand for the same things, as two queries do; a document's prompt is for text
    that answers one.

    Raises
    ------
    ValueError
        If the file that names them is not what sentence-transformers writes.
    """
    name = "config_sentence_transformers.json"
    settings = read_json(model, name, local_files_only=local_files_only) or {}
    prompts: Any = settings.get("prompts") or {} if isinstance(settings, dict) else None
    if not isinstance(prompts, dict) or not {*map(type, prompts.values())} <= {str}:
        raise ValueError(
            f"model={model!r}: {name} holds no prompts by their names. Pass prompt and "
            f"label_prompt."
        )
    named: dict[str, str] = prompts
    prompt = named.get(str(settings.get("default_prompt_name")), named.get("query", ""))
    return prompt, named.get("label", prompt)  # as we save it


def _settings(model: str, path: str, *, local_files_only: bool) -> dict[str, Any]:
    settings = read_json(model, f"{path}/config.json", local_files_only=local_files_only) or {}
    if not isinstance(settings, dict):
        raise ValueError(_unsupported(model, f"no settings in {path}/config.json"))
    return settings


def _pooling(model: str, settings: Mapping[str, Any]) -> str:
    """The pooling in ``1_Pooling/config.json``, of which several would be concatenated."""
    modes = settings.get("pooling_mode")
    if modes is None:
        modes = [
            key for key, is_on in settings.items() if key.startswith("pooling_mode_") and is_on
        ]
    listed = modes if isinstance(modes, list) else [modes]
    modes = [str(mode) for mode in listed] or ["mean"]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise ValueError(_unsupported(model, f"the pooling {'+'.join(modes)!r}"))
    return _POOLINGS[modes[0]]


def _dense(model: str, path: str, settings: Mapping[str, Any], *, local_files_only: bool) -> Dense:
    activation = str(settings.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = activation.rpartition(".")[2]
    if activation not in ACTIVATIONS:
        raise ValueError(_unsupported(model, f"a Dense layer with the activation {activation!r}"))
    for key in ("module_input_name", "module_output_name"):
        if settings.get(key, "sentence_embedding") not in (None, "sentence_embedding"):
            raise ValueError(_unsupported(model, f"a Dense layer with {key}={settings[key]!r}"))
    for name in _DENSE_FILES:
        file = fetched(model, f"{path}/{name}", local_files_only=local_files_only)
        if file is not None:
            break
    else:
        raise ValueError(_unsupported(model, f"a Dense layer without weights ({path})"))
    try:
        if name == _DENSE_FILES[0]:
            from safetensors.numpy import load_file

            arrays = load_file(file)
        else:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
            arrays = {key: tensor.numpy() for key, tensor in loaded.items()}
        weight = np.array(arrays.pop("linear.weight"), np.float32)
        bias = arrays.pop("linear.bias", None)
        bias = None if bias is None else np.array(bias, np.float32)
    except Exception as error:
        what = f"a Dense layer whose weights cannot be read ({path}: {error!r:.200})"
        raise ValueError(_unsupported(model, what)) from error
    if arrays or weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        raise ValueError(_unsupported(model, f"a Dense layer of other weights ({path})"))
    return Dense(weight, bias, activation)


def _unsupported(model: str, what: str) -> str:
    """What pooling="auto" found and cannot do, and what to do instead."""
    return (
        f"pooling='auto' cannot follow model={model!r}: its sentence-transformers files name "
        f"{what}. TransformerEncoder has mean, weightedmean, cls and last pooling, and Dense "
        f"layers right after it ({', '.join(ACTIVATIONS)}). Pass pooling='mean', 'cls' or 'last' "
        f"to use the transformer without what follows it."
    )
