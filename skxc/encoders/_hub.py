"""Loading a pretrained model: configuration, tokenizer, weights, and its published pooling."""

from __future__ import annotations

import json
import os
import socket
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
import torch
from torch import nn

from skxc._persistence import check_numbers

from ._files import without_code

if TYPE_CHECKING:  # transformers takes seconds to import
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# sentence-transformers' names for the poolings that we have: one "pooling_mode" in its newer
# files, a switch for each pooling in its older ones
_PUBLISHED_POOLINGS = {
    "mean": "mean",
    "cls": "cls",
    "lasttoken": "last",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}

_SECONDS_TO_CONNECT = 5
# what entries of a configuration count whose names have these parts
_COUNTED = ("layer", "block", "depth", "stage", "expert", "label")
_MOST_COUNTED = 100_000  # beyond the number of stored tensors: some share one
_MOST_BUFFERS = 1 << 28  # bytes of positions, masks and the like, beyond those of the weights


@contextmanager
def silence() -> Iterator[None]:
    """No logs, warnings or progress bars of transformers and the hub's client."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    levels = logging.get_verbosity(), hub_logging.get_verbosity()
    has_bar, has_hub_bar = logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.set_verbosity_error()
        hub_logging.set_verbosity_error()
        logging.disable_progress_bar()  # the hub's too
        try:
            yield
        finally:
            logging.set_verbosity(levels[0])
            hub_logging.set_verbosity(levels[1])
            if has_bar:
                logging.enable_progress_bar()  # the hub's too
            if not has_hub_bar:
                disable_progress_bars()


@contextmanager
def panics_told() -> Iterator[None]:
    """Raise errors of the Rust tokenizer as ValueError; panics are no `Exception` by themselves."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ValueError(
                f"The tokenizer failed ({' '.join(str(error).split())[:300]}). Use a "
                f"tokenizer.json that transformers loads."
            ) from error
        raise


@contextmanager
def _explain_missing(model: str) -> Iterator[None]:
    """Say which model cannot be loaded, and what to do."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError | ValueError) and not os.path.isdir(model):
            raise
        reason = str(error).strip().split("\n")[0].rstrip(".: ")
        if os.path.isdir(model):
            raise OSError(
                f"model={model!r} is a folder that transformers cannot load ({reason}). Pass the "
                "path of a folder that holds config.json, the weights and tokenizer.json."
            ) from error
        raise OSError(
            f"model={model!r} is neither a local folder nor a model that could be fetched "
            f"({reason}). Pass the path of a folder that holds config.json, the weights and "
            "tokenizer.json, or connect to the internet to let transformers download it; "
            "encoder='bag' is the embedded encoder."
        ) from error


def is_out_of_reach(model: str) -> bool:
    """Whether there is no connection to the hub: its client would try for half a minute a file.

    One that is slow, or behind a proxy, is left to the client.
    """
    from huggingface_hub import constants

    if os.path.isdir(model) or constants.HF_HUB_OFFLINE or getproxies():
        return False
    hub = urlsplit(constants.ENDPOINT)
    port = hub.port or (80 if hub.scheme == "http" else 443)
    try:
        socket.create_connection((hub.hostname, port), timeout=_SECONDS_TO_CONNECT).close()
    except TimeoutError:
        return False
    except OSError:
        return True
    return False


def load_config(model: str, *, local_files_only: bool = False) -> PretrainedConfig:
    """The configuration of a text encoder."""
    from transformers import AutoConfig

    with _explain_missing(model):
        if os.path.isdir(model):
            config_json = _read_json(model, "config.json", local_files_only=True)
            check_counts(config_json or {}, len(_stored_shapes(model)))
        config = AutoConfig.from_pretrained(
            model, trust_remote_code=False, local_files_only=local_files_only
        )
    is_text_encoder = hasattr(config, "hidden_size") and hasattr(config, "vocab_size")
    if config.is_encoder_decoder or not is_text_encoder:
        raise ValueError(
            f"model={model!r} has the architecture {config.model_type!r}, which is not a single "
            "text encoder. Pass a model such as BERT, RoBERTa, DistilBERT, MPNet or ModernBERT."
        )
    config.use_cache = (
        False  # of models that generate text: nothing would read these keys and values
    )
    return config


def load_tokenizer(model: str, *, local_files_only: bool = False) -> PreTrainedTokenizerBase:
    """The model's fast tokenizer."""
    from transformers import AutoTokenizer

    try:
        with panics_told() if os.path.isdir(model) else nullcontext():
            tokenizer = AutoTokenizer.from_pretrained(
                model, use_fast=True, trust_remote_code=False, local_files_only=local_files_only
            )
    except (OSError, ValueError, ImportError) as error:
        raise ValueError(_no_tokenizer_message(model, str(error))) from error
    if not tokenizer.is_fast:
        raise ValueError(_no_tokenizer_message(model, f"{type(tokenizer).__name__} is not fast"))
    if len(tokenizer.get_vocab()) <= len(tokenizer.all_special_tokens):
        # without files, transformers 5 makes a tokenizer to which every word is unknown
        raise ValueError(_no_tokenizer_message(model, "there are no tokenizer files"))
    return tokenizer


def _no_tokenizer_message(model: str, reason: str) -> str:
    """What is wrong with the tokenizer, and what to do."""
    return (
        f"model={model!r} has no fast tokenizer ({reason.strip().splitlines()[0].rstrip('.: ')}). "
        "Pass a model with a tokenizer.json, or write one beside the model: "
        "AutoTokenizer.from_pretrained(...).save_pretrained(folder)."
    )


def load_transformer(
    model: str, config: PretrainedConfig, *, local_files_only: bool = False
) -> tuple[PreTrainedModel, list[str]]:
    """The pretrained model in float32, and the names of the weights that its files lack."""
    from transformers import AutoModel

    shapes = _stored_shapes(model) if os.path.isdir(model) else []
    with _explain_missing(model), _no_larger_than(shapes) if shapes else nullcontext():
        transformer, report = AutoModel.from_pretrained(
            model,
            config=config,
            trust_remote_code=False,
            local_files_only=local_files_only,
            weights_only=True,  # files other than safetensors are pickles
            output_loading_info=True,
            **_without_pooler(config),
        )
    return transformer.float(), sorted(report["missing_keys"])


def _stored_shapes(folder: str) -> list[tuple[int, ...]]:
    """Of the tensors in a folder's safetensors files."""
    from safetensors import safe_open

    shapes = []
    for path in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(path, "numpy") as file:
            names = file.keys()  # no dict: it has no __iter__
            shapes += [tuple(file.get_slice(name).get_shape()) for name in names]
    return shapes


def missing_weights_message(model: str, missing: Sequence[str]) -> str:
    """What a model's files lack."""
    names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    return (
        f"The files of model={model!r} lack {len(missing)} of its weights ({names}), which start "
        "at random. Pass a folder whose config.json and weights belong together."
    )


def _without_pooler(config: PretrainedConfig) -> dict[str, bool]:
    """The argument that leaves out BERT's pooling layer, where the model's class has it."""
    from transformers import AutoModel

    with torch.device("meta"):
        model_class = type(AutoModel.from_config(config))
    has_argument = "add_pooling_layer" in signature(model_class.__init__).parameters
    return {"add_pooling_layer": False} if has_argument else {}


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
    _refuse_kernels(config)
    return AutoModel.from_config(config, **_without_pooler(config)).float()


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
        with torch.device("meta"), _no_larger_than([w.shape for w in weights.values()]):
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
def _no_larger_than(shapes: Sequence[tuple[int, ...]]) -> Iterator[None]:
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


def _refuse_kernels(config: PretrainedConfig) -> None:
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


def padding_token(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> int:
    """The tokenizer's padding token, 0 where it has none that the model can embed."""
    pad_token_id = tokenizer.pad_token_id
    # it is masked, so its id does not matter, but RoBERTa also counts positions by it
    return 0 if pad_token_id is None or pad_token_id >= config.vocab_size else pad_token_id


def truncating_json(tokenizer: PreTrainedTokenizerBase, max_length: int) -> str:
    """The tokenizer as JSON, set to truncate and not to pad."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.enable_truncation(max_length, direction=tokenizer.truncation_side)
    return backend.to_str()


def published_pooling(model: str, *, local_files_only: bool = False) -> str:
    """The pooling of a sentence-transformers model, "mean" for any other."""
    modules = _read_json(model, "modules.json", local_files_only=local_files_only)
    if modules is None:
        return "mean"
    try:
        paths = {module["type"].rpartition(".")[2]: module["path"] for module in modules}
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(
            _unsupported_message(model, f"no list ({error!r}, modules.json)")
        ) from error
    for kind in paths:
        if kind not in ("Transformer", "Pooling", "Normalize"):
            raise ValueError(_unsupported_message(model, f"the module {kind!r} (modules.json)"))
    if "Pooling" not in paths:
        return "mean"
    path = f"{paths['Pooling']}/config.json"
    settings = _read_json(model, path, local_files_only=local_files_only) or {}
    modes = _pooling_modes(settings) if isinstance(settings, dict) else ["none"]
    if len(modes) != 1 or modes[0] not in _PUBLISHED_POOLINGS:
        raise ValueError(_unsupported_message(model, f"the pooling {'+'.join(modes)!r}"))
    return _PUBLISHED_POOLINGS[modes[0]]


def _pooling_modes(settings: Mapping[str, Any]) -> list[str]:
    """The poolings in ``1_Pooling/config.json``, of which several would be concatenated."""
    modes = settings.get("pooling_mode")
    if modes is None:
        modes = [
            key for key, is_on in settings.items() if key.startswith("pooling_mode_") and is_on
        ]
    return [modes] if isinstance(modes, str) else [str(mode) for mode in modes] or ["mean"]


def _unsupported_message(model: str, what: str) -> str:
    """What pooling="auto" found and cannot do, and what to do instead."""
    return (
        f"pooling='auto' cannot follow model={model!r}: its sentence-transformers files name "
        f"{what}, and TransformerEncoder has only mean, cls and last pooling. Pass "
        "pooling='mean', 'cls' or 'last' to use the transformer without it."
    )


def _read_json(model: str, filename: str, *, local_files_only: bool) -> Any | None:
    """The content of one of the model's files, None where it has no such file."""
    if os.path.isdir(model):
        path = os.path.join(model, filename)
        if not os.path.isfile(path):
            return None
    else:
        from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            path = hf_hub_download(model, filename, local_files_only=local_files_only)
        except LocalEntryNotFoundError as error:  # no connection
            if try_to_load_from_cache(model, filename) is not _CACHED_NO_EXIST:
                raise OSError(
                    f"pooling='auto' reads {filename} of model={model!r}, which was not fetched "
                    "before and cannot be now. Connect to the internet, or pass pooling='mean', "
                    "'cls' or 'last'."
                ) from error
            return None
        except EntryNotFoundError:
            return None
    try:
        with open(path, encoding="utf8") as file:
            return json.load(file)
    except (RecursionError, ValueError) as error:
        raise ValueError(f"model={model!r}: {filename} is no JSON ({error}).") from error
