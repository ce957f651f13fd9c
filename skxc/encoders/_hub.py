"""Loading a pretrained model: configuration, tokenizer, weights, and its published pooling."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skxc._persistence import is_out_of_reach as hub_is_out_of_reach

from ._architecture import check_counts, no_larger_than, without_pooler
from ._tokenizers import panics_told

if TYPE_CHECKING:  # transformers takes seconds to import
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


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
    """Whether there is no connection to the hub, where the model is not a folder."""
    return not os.path.isdir(model) and hub_is_out_of_reach()


def load_config(model: str, *, local_files_only: bool = False) -> PretrainedConfig:
    """The configuration of a text encoder."""
    from transformers import AutoConfig

    with _explain_missing(model):
        if os.path.isdir(model):
            config_json = read_json(model, "config.json", local_files_only=True)
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


def read_json(model: str, filename: str, *, local_files_only: bool) -> Any | None:
    """The content of one of the model's files, None where it has no such file."""
    path = fetched(model, filename, local_files_only=local_files_only)
    if path is None:
        return None
    try:
        with open(path, encoding="utf8") as file:
            return json.load(file)
    except (RecursionError, ValueError) as error:
        raise ValueError(f"model={model!r}: {filename} is no JSON ({error}).") from error


def fetched(model: str, filename: str, *, local_files_only: bool) -> str | None:
    """Where one of the model's files lies, None where it has no such file."""
    if os.path.isdir(model):
        path = os.path.join(model, filename)
        return path if os.path.isfile(path) else None
    from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return hf_hub_download(model, filename, local_files_only=local_files_only)
    except LocalEntryNotFoundError as error:  # no connection
        if try_to_load_from_cache(model, filename) is not _CACHED_NO_EXIST:
            raise OSError(
                f"{filename} of model={model!r} was not fetched before and cannot be now. Connect "
                "to the internet, or pass pooling='mean', 'cls' or 'last', and prompt and "
                "label_prompt, which it may name otherwise."
            ) from error
        return None
    except EntryNotFoundError:
        return None
