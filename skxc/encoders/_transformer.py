"""A pretrained Hugging Face transformer as the encoder."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skxc._data._tokens import TokenStore, id_dtype
from skxc._docstrings import completed_by
from skxc._kernels import to_device
from skxc._persistence import ModelFolder, check_numbers
from skxc._validation import check_choice, check_integer

from . import _architecture, _compiled, _files, _hub, _tokenizers
from ._base import Encoder, EncoderModule, check_fits
from ._draws import OwnGenerator

if TYPE_CHECKING:  # transformers and what comes with it take seconds to import
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_POOLINGS = ("auto", "mean", "cls", "last")
# What autograd keeps per layer, token and hidden unit; some of it is float32 under autocast
_BYTES_A_LAYER = {torch.float32: 72, torch.bfloat16: 45}
# float32 maps of all pairs of tokens, which the CPU's attention holds where it has dropout
_MAPS_A_LAYER = 3
# Batches of changing shapes fragment the CPU's heap: 1.5 times the memory was measured.
_CPU_HEAP = 1.5
_REST = ("pad_token_id_", "pooling_", "special_tokens_")  # fitted attributes that have no file
_TOKENIZER_BLOCK = 4096  # texts whose Rust encodings live at the same time


@dataclass(eq=False, repr=False, kw_only=True)
class TransformerEncoder(Encoder, BaseEstimator):
    r"""Pooled last hidden states of a pretrained transformer [1]_.

    A text is cut into the model's own tokens, at most `max_length` of them; the last hidden
    states of its tokens are pooled to one vector, which `projection_dim` can make smaller. An
    estimator then goes on to train all the weights.

    Parameters
    ----------
    model : str
        Identifier of a model on the Hugging Face hub, or path of a local folder that holds
        ``config.json``, the weights and ``tokenizer.json``. Code that a model brings along is
        never executed.
    max_length : int, default=128
        Tokens kept of each text, the model's special tokens included. It must not exceed the
        positions that the model has.
    pooling : {"auto", "mean", "cls", "last"}, default="auto"
        How the states of a text's tokens become one vector:

        - "mean": their mean;
        - "cls": the first token's state;
        - "last": the last token's state (models that read from left to right);
        - "auto": what the model's sentence-transformers files name (``modules.json``,
          ``1_Pooling/config.json``), "mean" where it has none.
    projection_dim : int or None, default=None
        Columns of a linear layer without a bias that follows the pooling, the bottleneck of
        [1]_: label embeddings become so much smaller. None: no such layer.
    compile : bool, default=False
        Run the transformer's blocks through ``torch.compile``, in training and in prediction. It is
        meant for long training on a GPU: the first batches wait for the compiler, a minute or two
        on a CPU, where it gains little. Results are those of the uncompiled model up to rounding.
        It needs Triton and a C compiler on a GPU, a C++ compiler on a CPU; where these are missing,
        the logger "skxc" warns, and the model runs uncompiled.

    Attributes
    ----------
    config_ : dict
        The model's configuration.
    pooling_ : {"mean", "cls", "last"}
        The pooling in use.
    pad_token_id_ : int
        The token that fills the shorter texts of a batch.
    tokenizer_json_ : str
        The fast tokenizer as ``tokenizer.json`` holds it, truncation at `max_length` included.
    special_tokens_ : dict of str to str
        Tokens by their roles, such as "pad_token".
    weights_ : dict of str to ndarray
        The module's state: the model's under ``"transformer."``, and ``"projection.weight"``
        where there is a projection. All floating-point numbers are float32.

    Notes
    -----
    Nothing else of a sentence-transformers folder is read: its ``Normalize`` module is left
    out, since an estimator normalises where its loss asks for it; `max_length` replaces its
    ``max_seq_length``; its prompts are not put before the texts.

    The projection starts from :math:`U(-1/\sqrt{d}, 1/\sqrt{d})`, with `d` the model's hidden
    size, and stays in float32 under autocast, as in the code of [1]_.

    References
    ----------
    .. [1] Jain, Prakash, Saini, Jiao, Ramjee and Varma (2023). "Renee: End-to-end training of
       extreme classification models". Proceedings of Machine Learning and Systems 5.

    Examples
    --------
    >>> from skxc.encoders import TransformerEncoder
    >>> encoder = TransformerEncoder(model="distilbert-base-uncased", max_length=32)
    >>> encoder.get_params()["pooling"]
    'auto'
    """

    is_padded: ClassVar[bool] = True
    is_pretrained: ClassVar[bool] = True
    dim_parameter: ClassVar[str] = "projection_dim"

    model: str = field(kw_only=False)
    max_length: int = 128
    pooling: str = "auto"
    projection_dim: int | None = None
    compile: bool = False

    def fit(self, texts: Iterable[str], *, label_texts: Sequence[str] = (), seed: int) -> Self:
        """Load the tokenizer, the configuration and the pretrained weights.

        Parameters
        ----------
        texts : iterable of str
            Not used: the vocabulary is the model's own.

        label_texts : sequence of str, default=()
            Not used either.

        seed : int
            Where the projection starts, and the weights that the model's files lack.

        Returns
        -------
        TransformerEncoder
            The encoder itself.

        Raises
        ------
        OSError
            If the model is not on this machine and cannot be downloaded.
        TypeError
            If a parameter has the wrong type.
        ValueError
            If a parameter has a value that is not accepted, or one that the model does not
            allow, or if the model has no fast tokenizer.

        Warns
        -----
        UserWarning
            If the model's files lack weights, which then start at random.
        """
        self.check_parameters()
        with _hub.silence(), OwnGenerator(seed):
            where = {"local_files_only": _hub.is_out_of_reach(self.model)}
            config = _hub.load_config(self.model, **where)
            pooling = self.pooling
            if pooling == "auto":
                pooling = _hub.published_pooling(self.model, **where)
            tokenizer = _hub.load_tokenizer(self.model, **where)
            transformer, missing = _hub.load_transformer(self.model, config, **where)
            for name, parameter in transformer.named_parameters():
                check_numbers(f"model={self.model!r}: {name}", parameter.detach().numpy())
            self._check_max_length(transformer, tokenizer)
            if self.projection_dim is not None:
                check_fits(int(self.projection_dim) * config.hidden_size)
            pad_token_id = _hub.padding_token(tokenizer, config)
            module = _TransformerModule(transformer, pooling, self.projection_dim, pad_token_id)
        if missing:
            warnings.warn(_hub.missing_weights_message(self.model, missing), stacklevel=2)
        self.config_ = _architecture.plain_config(config)
        self.pooling_ = pooling
        self.pad_token_id_ = pad_token_id
        self.tokenizer_json_ = _hub.truncating_json(tokenizer, self.max_length)
        _tokenizers.check_tokenizer(self.tokenizer_json_, None)
        named = tokenizer.special_tokens_map.items()
        self.special_tokens_ = {role: token for role, token in named if isinstance(token, str)}
        self.weights_ = {name: w.numpy().copy() for name, w in module.state_dict().items()}
        return self

    @completed_by(Encoder.tokenize.__doc__)
    def tokenize(self, texts: Sequence[str]) -> TokenStore:
        """Cut texts into at most `max_length` token ids, special tokens included."""
        check_is_fitted(self, "tokenizer_json_")
        tokenizer = _tokenizers.tokenizer_from_json(self.tokenizer_json_)
        dtype = id_dtype(self.config_["vocab_size"])
        ids, lengths = [np.empty(0, dtype)], [0]
        for start in range(0, len(texts), _TOKENIZER_BLOCK):
            block = [_tokenizers.composed(text) for text in texts[start : start + _TOKENIZER_BLOCK]]
            # a model without special tokens has none for an empty text: attention over no token
            # at all would give nan
            with _tokenizers.panics_told():
                encodings = tokenizer.encode_batch_fast(block)
            rows = [e.ids or [self.pad_token_id_] for e in encodings]
            ids.append(self._known_ids(rows).astype(dtype))
            lengths.extend(map(len, rows))
        return TokenStore(np.concatenate(ids), np.cumsum(lengths, dtype=np.int64))

    def _known_ids(self, rows: list[list[int]]) -> np.ndarray:
        """The tokens of all rows, which the model can embed."""
        ids = np.fromiter(chain.from_iterable(rows), np.int64)
        if len(ids) and ids.max() >= self.config_["vocab_size"]:
            raise ValueError(
                f"The tokenizer gives the token {ids.max()}, and the model has an embedding for "
                f"{self.config_['vocab_size']}. Use a tokenizer.json that belongs to the weights."
            )
        return ids

    def reading_bytes(self, n_tokens: int) -> tuple[int, int]:
        return len(self.tokenizer_json_), 2 * n_tokens

    def build_module(self) -> EncoderModule:
        check_is_fitted(self, "weights_")
        projection = self.weights_.get("projection.weight")  # (projection_dim, hidden)
        projection_dim = None if projection is None else len(projection)
        with _hub.silence(), OwnGenerator(0):  # it draws weights, replaced below
            model = _architecture.build_transformer(self.config_)
            module = _TransformerModule(model, self.pooling_, projection_dim, self.pad_token_id_)
        # torch.tensor copies: weights_ may be a read-only memory map
        state = {name: torch.tensor(w) for name, w in self.weights_.items()}
        module.load_state_dict(state, assign=True)
        if self.compile:
            _compiled.compile_blocks(module.transformer)
            module.is_compiled = True
        return module

    def write_files(self, folder: Path, *, is_normalized: bool) -> dict[str, Any]:
        max_length = json.loads(self.tokenizer_json_)["truncation"]["max_length"]
        _files.write_transformer(folder, self.config_, self.weights_)
        _files.write_tokenizer(folder, self.tokenizer_json_, self.special_tokens_, max_length)
        _files.write_modules(
            folder,
            self.weights_,
            hidden_size=_architecture.hidden_size(self.config_),
            pooling=self.pooling_,
            max_length=max_length,
            is_normalized=is_normalized,
        )
        return {name: getattr(self, name) for name in _REST}

    def read_files(self, files: ModelFolder, rest: Mapping[str, Any], *, is_mapped: bool) -> None:
        self.config_, self.weights_ = _files.read_transformer(files, is_mapped=is_mapped)
        self.tokenizer_json_ = _files.read_tokenizer(files)
        for name in _REST:
            setattr(self, name, rest[name])
        self._check_fitted()

    def _check_fitted(self) -> None:
        """Raise unless configuration, weights and tokenizer, somebody else's, are of one model."""
        own, projection = _files.split_weights(self.weights_)
        with _hub.silence():
            transformer = _architecture.sound_transformer(self.config_, own)
        width = transformer.config.hidden_size
        if projection is not None:
            if projection.dtype != np.float32 or projection.shape[1:] != (width,):
                raise ValueError(
                    f"the encoder's projection is an array of {projection.dtype}, "
                    f"{projection.shape}, and should be of float32, (n, {width})."
                )
            check_numbers("projection", projection)
        check_choice("pooling_", self.pooling_, _POOLINGS[1:])
        check_integer("pad_token_id_", self.pad_token_id_, 0)
        check_integer("vocab_size", self.config_.get("vocab_size"), 1)
        if self.pad_token_id_ >= self.config_["vocab_size"]:
            raise ValueError(f"pad_token_id_={self.pad_token_id_} is no token of the encoder's.")
        special = self.special_tokens_
        if not isinstance(special, dict) or not {*map(type, special.values())} <= {str}:
            raise ValueError(f"special_tokens_ should be a dict of str, and is {special!r:.100}.")
        _tokenizers.check_tokenizer(self.tokenizer_json_, _architecture.n_positions(transformer))

    @property
    def _embedding_dim(self) -> int:
        projection = _files.split_weights(self.weights_)[1]
        return _architecture.hidden_size(self.config_) if projection is None else len(projection)

    def check_parameters(self) -> None:
        if not isinstance(self.model, str):
            raise TypeError(
                f"model must be a str, got {self.model!r}. Pass the identifier of a model on the "
                "Hugging Face hub or the path of a local folder."
            )
        if not self.model.strip():
            raise ValueError(
                f"model={self.model!r} is empty. Pass the identifier of a model on the Hugging "
                "Face hub or the path of a local folder."
            )
        check_choice("pooling", self.pooling, _POOLINGS)
        check_integer("max_length", self.max_length, low=1)
        if self.projection_dim is not None:
            check_integer("projection_dim", self.projection_dim, low=1)
        check_choice("compile", self.compile, (False, True))

    def _check_max_length(
        self, transformer: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        """Raise where `max_length` holds no text, or more than the model has positions for."""
        n_special = tokenizer.num_special_tokens_to_add(pair=False)
        if self.max_length <= n_special:
            raise ValueError(
                f"max_length={self.max_length} leaves no room for a text beside the {n_special} "
                f"special tokens of model={self.model!r}. Pass at least {n_special + 1}."
            )
        longest = _architecture.n_positions(transformer)
        if longest is not None and self.max_length > longest:
            raise ValueError(
                f"max_length={self.max_length} exceeds the {longest} positions that "
                f"model={self.model!r} has. Pass max_length={longest} or less."
            )


class _TransformerModule(EncoderModule):
    """A transformer, its pooling and an optional projection."""

    def __init__(
        self,
        transformer: PreTrainedModel,
        pooling: str,
        projection_dim: int | None,
        pad_token_id: int,
    ) -> None:
        super().__init__()
        hidden_size = transformer.config.hidden_size
        self.transformer = transformer
        self.pooling = pooling
        self.pad_token_id = pad_token_id
        self.is_compiled = False
        self.dim = hidden_size if projection_dim is None else projection_dim
        self.projection: nn.Module = nn.Identity()
        if projection_dim is not None:  # torch draws from U(-1/sqrt(fan_in), 1/sqrt(fan_in))
            self.projection = nn.Linear(hidden_size, projection_dim, bias=False)

    def forward(self, tokens: TokenStore) -> Tensor:  # (n_texts, dim)
        device = next(self.parameters()).device
        padded = _pad(tokens, self.pad_token_id)
        ids, mask = (to_device(torch.from_numpy(a), device) for a in padded)
        # decided on the host: transformers would wait for the GPU to see that nothing is padded
        attention_mask = None if padded[1].all() else mask.long()
        embeddings = _pool(self._states(ids, attention_mask), mask, self.pooling)
        with torch.autocast(device.type, enabled=False):
            return self.projection(embeddings)

    def _states(self, ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """The last hidden states, (n_texts, longest, hidden)."""
        if not self.is_compiled:
            try:
                states = self.transformer(input_ids=ids, attention_mask=attention_mask)
                return states.last_hidden_state
            except (AttributeError, LookupError, TypeError, ValueError) as error:
                raise ValueError(
                    f"The encoder's configuration makes {type(self.transformer).__name__} fail "
                    f"({error!r:.300}). Use a model with its own config.json."
                ) from error
        has_graph = torch.is_grad_enabled()
        # training that encodes twice, first without a graph, is compiled once: with it
        with _compiled.many_graphs(), torch.set_grad_enabled(has_graph or self.training):
            states = self.transformer(input_ids=ids, attention_mask=attention_mask)
        return states.last_hidden_state if has_graph else states.last_hidden_state.detach()

    def activation_bytes(
        self, lengths: np.ndarray, n_texts: int, dim: int, dtype: torch.dtype
    ) -> int:
        """What autograd keeps of every layer, measured on BERT."""
        config, longest = self.transformer.config, int(lengths.max(initial=1))
        a_token, heap = float(_BYTES_A_LAYER[dtype] * config.hidden_size), 1.0
        if next(self.parameters()).device.type == "cpu":
            a_token += 4 * _MAPS_A_LAYER * config.num_attention_heads * longest
            heap = _CPU_HEAP
        return int(heap * n_texts * (longest * a_token * config.num_hidden_layers + 4 * dim))


def _pad(tokens: TokenStore, pad_token_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids (int64) and mask (bool) of a batch, as wide as its longest text."""
    lengths = tokens.lengths
    mask = np.arange(lengths.max(initial=1)) < lengths[:, None]  # (n_texts, longest)
    ids = np.full(mask.shape, pad_token_id, dtype=np.int64)
    ids[mask] = tokens.ids
    return ids, mask


def _pool(
    states: Tensor,  # (n_texts, longest, hidden)
    mask: Tensor,  # (n_texts, longest) bool: the real tokens, which come first
    pooling: str,
) -> Tensor:
    """One vector per text, (n_texts, hidden), in float32 or better."""
    dtype = torch.promote_types(states.dtype, torch.float32)
    if pooling == "cls":
        return states[:, 0].to(dtype)
    lengths = mask.sum(dim=1)
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), lengths - 1].to(dtype)
    total = states.masked_fill(~mask.unsqueeze(-1), 0).sum(dim=1, dtype=dtype)
    return total / lengths.unsqueeze(-1)
