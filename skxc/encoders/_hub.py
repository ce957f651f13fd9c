"""Loading a pretrained model: configuration, tokenizer, weights, and its published pooling."""

from __future__ import annotations

import json
import os
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from ._architecture import check_counts, no_larger_than, without_pooler
from ._tokenizers import panics_told

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
    with _explain_missing(model), no_larger_than(shapes) if shapes else nullcontext():
        transformer, report = AutoModel.from_pretrained(
            model,
            config=config,
            trust_remote_code=False,
            local_files_only=local_files_only,
            weights_only=True,  # files other than safetensors are pickles
            output_loading_info=True,
            **without_pooler(config),
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
