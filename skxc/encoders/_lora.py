"""Low-rank adapters (LoRA), which are trained in place of a transformer's weights, through PEFT."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from skxc._persistence import ModelFolder, write_json, write_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FOLDER = "adapter"  # of a saved encoder
_TENSORS = "adapter_model.safetensors"
_NAME = ".default."  # PEFT's own, of the only adapter
_BASE = ".base_layer."
_FACTORS = (".lora_A", ".lora_B")
_PREFIX = "base_model.model."  # in PEFT's files


def insert_(transformer: PreTrainedModel, rank: int, alpha: float) -> None:
    """Put adapters beside all linear layers, and freeze everything else.

    Raises
    ------
    ImportError
        If PEFT is not installed.
    ValueError
        If the transformer has no linear layer.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError(
            "lora_rank needs the package peft: pip install 'skxc[lora]'. Or pass lora_rank=None."
        ) from error
    layers = [name for name, module in transformer.named_modules() if type(module) is nn.Linear]
    if not layers:
        raise ValueError(
            f"lora_rank={rank}, and {type(transformer).__name__} has no linear layer (nn.Linear) "
            f"that adapters could stand beside. Pass lora_rank=None."
        )
    settings: dict[str, Any] = {"r": rank, "lora_alpha": alpha, "target_modules": layers}
    config = LoraConfig(**settings, bias="none")
    inject_adapter_in_model(config, transformer)
    for name, parameter in transformer.named_parameters():
        parameter.requires_grad = is_factor(name)


def is_factor(name: str) -> bool:
    """Whether a weight of this name is part of an adapter."""
    return any(f"{factor}." in name for factor in _FACTORS)


def split(
    weights: Mapping[str, np.ndarray], scaling: float
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The weights with the adapters added, by their names without; and the adapters alone."""
    merged, factors = {}, {}
    for name, array in weights.items():
        if is_factor(name):
            factors[name.replace(_NAME, ".")] = array
            continue
        layer, base, kind = name.rpartition(_BASE)
        if base and kind == "weight":
            a, b = (weights[f"{layer}{factor}{_NAME}weight"] for factor in _FACTORS)
            array = array + np.float32(scaling) * (b @ a)
        merged[name.replace(_BASE, ".")] = array
    return merged, factors


def stacked(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Adapters of a higher rank, whose product is the sum of both's."""
    return {
        name: np.concatenate([array, second[name]], axis=0 if _FACTORS[0] in name else 1)
        for name, array in first.items()
    }


def write_adapter(
    folder: Path, factors: Mapping[str, np.ndarray], scaling: float, model: str
) -> None:
    """The adapters apart, as ``peft.PeftModel.from_pretrained(base, folder)`` reads them."""
    folder.mkdir()
    write_tensors(folder / _TENSORS, {f"{_PREFIX}{name}": a for name, a in factors.items()})
    rank = next(len(array) for name, array in factors.items() if _FACTORS[0] in name)
    settings = {
        "peft_type": "LORA",
        "base_model_name_or_path": model,
        "r": rank,
        "lora_alpha": scaling * rank,
        "target_modules": sorted({name.split(".lora_")[0] for name in factors}),
        "bias": "none",
        "inference_mode": True,
    }
    write_json(folder / "adapter_config.json", settings)


def read_adapter(files: ModelFolder, path: str, *, is_mapped: bool) -> dict[str, np.ndarray]:
    """What `write_adapter` wrote, for the model to be saved again; empty where there is none."""
    if f"{path}/{_TENSORS}" not in files.config["files"]:
        return {}
    arrays = files.tensors(f"{path}/{_TENSORS}", is_mapped=is_mapped)
    return {name.removeprefix(_PREFIX): array for name, array in arrays.items()}
