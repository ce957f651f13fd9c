"""A pretrained Hugging Face transformer as the encoder."""

from __future__ import annotations

import json
import os
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
from torch import nn

from skxc._data._tokens import TokenStore, id_dtype
from skxc._docstrings import completed_by
from skxc._persistence import ENCODER, ModelFolder, check_numbers
from skxc._validation import check_choice, check_integer, check_real

from . import _architecture, _compiled, _files, _hub, _lora, _tokenizers
from ._base import Encoder, EncoderModule, check_fits
from ._draws import OwnGenerator
from ._frozen import LENGTH, FrozenTransformer
from ._pooled import ACTIVATIONS, POOLINGS, PooledTransformer, dense_layers
from ._published import Published, published_modules, published_prompts
from ._spans import TokenSpans, read_places
from ._transformer_checks import check_fitted, check_layers, check_max_length
from ._vector_cache import VectorCache, fingerprint_of

if TYPE_CHECKING:  # transformers and what comes with it take seconds to import
    from transformers import PreTrainedModel

# fitted attributes that have no file, and what they are in models of older versions
_REST: Mapping[str, Any] = {
    "pad_token_id_": None,
    "pooling_": None,
    "special_tokens_": None,
    "dense_": [],
    "prompt_": "",
    "label_prompt_": "",
}
_TOKENIZER_BLOCK = 4096  # texts whose Rust encodings live at the same time


@dataclass(eq=False, repr=False, kw_only=True)
class TransformerEncoder(Encoder, BaseEstimator):
    r"""Pooled last hidden states of a pretrained transformer [1]_.

    A text is cut into the model's own tokens, at most `max_length` of them; the last hidden
    states of its tokens are pooled to one vector, which `projection_dim` can make smaller. An
    estimator then goes on to train all the weights; with `lora_rank` small matrices beside them;
    with ``trainable=False`` none of them: texts and labels are embedded once, and what follows is
    trained in minutes on a CPU.

    Parameters
    ----------
    model : str
        Identifier of a model on the Hugging Face hub, or path of a local folder that holds
        ``config.json``, the weights and ``tokenizer.json``. Code that a model brings along is
        never executed.
    max_length : int, default=128
        Tokens kept of each text, the model's special tokens included. It must not exceed the
        positions that the model has.
    pooling : {"auto", "mean", "weightedmean", "cls", "last"}, default="auto"
        How the states of a text's tokens become one vector:

        - "mean": their mean;
        - "weightedmean": their mean, each weighted by its place in the text;
        - "cls": the first token's state;
        - "last": the last token's state (models that read from left to right);
        - "auto": what the model's sentence-transformers files name (``modules.json``,
          ``1_Pooling/config.json``), with the Dense layers that follow it there; "mean" where it
          has none.
    projection_dim : int or None, default=None
        Columns of a linear layer without a bias that follows the pooling, the bottleneck of
        [1]_: label embeddings become so much smaller. None: no such layer. Of a frozen
        transformer, the layer has a bias and is always there; None: as wide as the embedding.
    prompt : str, default="auto"
        What stands before each text, such as ``"query: "``. "auto": what the model's
        sentence-transformers files say (``config_sentence_transformers.json``): the default prompt,
        else that of queries, else none.
    label_prompt : str, default="auto"
        What stands before each label text. "auto": as for texts. Labels name what texts are about,
        and a model's queries do so, too: its prompt for passages, which are to answer queries,
        did worse where nothing is trained.
    trainable : bool, default=True
        False: the transformer is frozen. It embeds each text once, before training, and runs in
        training no more; what it gives is scaled to length 1, less the mean of the training texts,
        and goes through a linear layer that begins as the identity (with a smaller `projection_dim`
        at the principal axes). That layer and the estimator's own weights are trained.
    cache_dir : str or path-like, default=None
        Folder where a frozen transformer's vectors are kept, for other fits, folds of a
        cross-validation, predictions and processes to find: one SQLite file a model, 4 bytes a
        number. None: each fit embeds its texts, and keeps nothing. A model that is loaded has none.
    lora_rank : int or None, default=None
        Rank of the adapters (LoRA [2]_) that are trained beside all linear layers of the
        transformer, whose own weights stay. It needs the package peft
        (``pip install "skxc[lora]"``). None: no adapters; all weights are trained.
    lora_alpha : float or None, default=None
        Adapters are multiplied by ``lora_alpha / lora_rank``. None: twice the rank.
    gradient_checkpointing : bool, default=False
        In training, keep of each block its input alone, and compute the rest once more for the
        gradient: a third more time, for a fraction of the memory.
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
    pooling_ : {"mean", "weightedmean", "cls", "last"}
        The pooling in use.
    dense_ : list of str
        Activations of the Dense layers that the model's files name, in their order.
    prompt_, label_prompt_ : str
        The prompts in use.
    pad_token_id_ : int
        The token that fills the shorter texts of a batch.
    tokenizer_json_ : str
        The fast tokenizer as ``tokenizer.json`` holds it, truncation at `max_length` included.
    special_tokens_ : dict of str to str
        Tokens by their roles, such as "pad_token".
    weights_ : dict of str to ndarray
        The module's state: the model's under ``"transformer."``, those of Dense layers under
        ``"dense."``, and ``"projection.weight"`` where there is a projection. All floating-point
        numbers are float32.
    adapters_ : dict of str to ndarray
        Of a loaded model that was trained by adapters: these, apart from the weights, which hold
        their sum.

    Notes
    -----
    Nothing else of a sentence-transformers folder is read: its ``Normalize`` module is left
    out, since an estimator normalises where its loss asks for it; `max_length` replaces its
    ``max_seq_length``.

    A saved model holds the weights with the adapters added, which need no peft, and the adapters
    apart in ``encoder/adapter/``, as peft reads them. Training that goes on from a loaded model
    begins new adapters.

    With `cache_dir`, vectors are those of whichever fit embedded a text first: rounding may differ
    in the last bits from what this fit would have computed, as it does between batches.

    The projection starts from :math:`U(-1/\sqrt{d}, 1/\sqrt{d})`, with `d` the model's hidden
    size, and stays in float32 under autocast, as in the code of [1]_.

    References
    ----------
    .. [1] Jain, Prakash, Saini, Jiao, Ramjee and Varma (2023). "Renee: End-to-end training of
       extreme classification models". Proceedings of Machine Learning and Systems 5.
    .. [2] Hu et al. (2022). "LoRA: Low-Rank Adaptation of Large Language Models". ICLR 2022.

    Examples
    --------
    >>> from skxc.encoders import TransformerEncoder
    >>> encoder = TransformerEncoder(model="distilbert-base-uncased", max_length=32)
    >>> encoder.get_params()["pooling"]
    'auto'
    """

    dim_parameter: ClassVar[str] = "projection_dim"

    model: str = field(kw_only=False)
    max_length: int = 128
    pooling: str = "auto"
    projection_dim: int | None = None
    prompt: str = "auto"
    label_prompt: str = "auto"
    trainable: bool = True
    cache_dir: Any = None  # str or path-like
    lora_rank: int | None = None
    lora_alpha: float | None = None
    gradient_checkpointing: bool = False
    compile: bool = False

    @property
    def is_padded(self) -> bool:  # type: ignore[override]
        """A batch costs as much as its longest text, where the transformer reads it in training."""
        return bool(self.trainable)

    @property
    def is_pretrained(self) -> bool:  # type: ignore[override]
        """The weights know the language before training."""
        return True

    @property
    def is_frozen(self) -> bool:  # type: ignore[override]
        """The transformer embeds every text once."""
        return not self.trainable

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
            published = Published(self.pooling)
            if self.pooling == "auto":
                published = published_modules(self.model, **where)
            self._choose_prompts(published, where)
            tokenizer = _hub.load_tokenizer(self.model, **where)
            transformer, missing = _hub.load_transformer(self.model, config, **where)
            for name, parameter in transformer.named_parameters():
                check_numbers(f"model={self.model!r}: {name}", parameter.detach().numpy())
            check_max_length(self, transformer, tokenizer)
            weights = {
                f"dense.{2 * i}.{kind}": array
                for i, layer in enumerate(published.dense)
                for kind, array in (("weight", layer.weight), ("bias", layer.bias))
                if array is not None
            }
            self.config_ = _architecture.plain_config(config)
            self.pooling_, self.dense_ = published.pooling, [d.activation for d in published.dense]
            self.pad_token_id_ = _hub.padding_token(tokenizer, config)
            width = published.dense[-1].weight.shape[0] if published.dense else config.hidden_size
            projection = self._initial_projection(width)
            module = self._module(transformer, weights, projection)
            module.load_state_dict(
                {name: torch.from_numpy(array) for name, array in weights.items()}, strict=False
            )
            if self.lora_rank is not None:
                _lora.insert_(transformer, int(self.lora_rank), self._lora_alpha)
        if missing:
            warnings.warn(_hub.missing_weights_message(self.model, missing), stacklevel=2)
        self.tokenizer_json_ = _hub.truncating_json(tokenizer, self.max_length)
        _tokenizers.check_tokenizer(self.tokenizer_json_, None)
        named = tokenizer.special_tokens_map.items()
        self.special_tokens_ = {role: token for role, token in named if isinstance(token, str)}
        self.adapters_: dict[str, np.ndarray] = {}
        self.weights_ = {name: w.numpy().copy() for name, w in module.state_dict().items()}
        layers = _files.split_weights(self.weights_)[1]
        check_layers(layers, self.dense_, config.hidden_size, is_frozen=self.is_frozen)
        return self

    def _choose_prompts(self, published: Published, where: Mapping[str, bool]) -> None:
        """Those that are given, and for "auto" those that the model's files name."""
        prompts = [self.prompt, self.label_prompt]
        if "auto" in prompts:
            auto = published_prompts(self.model, **where)
            prompts = [a if p == "auto" else p for p, a in zip(prompts, auto, strict=True)]
        self.prompt_, self.label_prompt_ = prompts
        if any(prompts) and not published.reads_prompts:
            raise ValueError(
                f"pooling='auto' cannot follow model={self.model!r}: its files leave the prompt's "
                f"tokens out of the pooling (include_prompt), which TransformerEncoder does not. "
                f"Pass prompt='' and label_prompt='', or another pooling."
            )

    def _initial_projection(self, width: int) -> nn.Linear | None:
        """A random layer; of a frozen encoder the identity, as far as it has columns."""
        dim = width if self.projection_dim is None else int(self.projection_dim)
        if self.trainable and self.projection_dim is None:
            return None
        check_fits(dim * width)
        # torch draws from U(-1/sqrt(fan_in), 1/sqrt(fan_in))
        projection = nn.Linear(width, dim, bias=not self.trainable)
        if not self.trainable:
            nn.init.eye_(projection.weight)
            nn.init.zeros_(projection.bias)
        return projection

    def _module(
        self,
        transformer: PreTrainedModel,
        weights: Mapping[str, np.ndarray],
        projection: nn.Linear | None,
    ) -> PooledTransformer:
        """The torch module, its dense layers not loaded yet."""
        module_class = PooledTransformer if self.trainable else FrozenTransformer
        return module_class(
            transformer,
            pooling=self.pooling_,
            pad_token_id=self.pad_token_id_,
            dense=dense_layers(weights, self.dense_),
            projection=projection,
        )

    @completed_by(Encoder.tokenize.__doc__)
    def tokenize(self, texts: Sequence[str]) -> TokenStore:
        """Cut texts, the prompt before them, into at most `max_length` token ids.

        The model's special tokens are among them.
        """
        return self._tokenized(texts, "prompt_")

    @completed_by(Encoder.tokenize_labels.__doc__)
    def tokenize_labels(self, texts: Sequence[str]) -> TokenStore:
        """Cut label texts, the labels' prompt before them, likewise."""
        return self._tokenized(texts, "label_prompt_")

    def _tokenized(self, texts: Sequence[str], name: str) -> TokenStore:
        check_is_fitted(self, "tokenizer_json_")
        prompt = getattr(self, name)
        tokenizer = _tokenizers.tokenizer_from_json(self.tokenizer_json_)
        dtype = id_dtype(self.config_["vocab_size"])
        ids, lengths = [np.empty(0, dtype)], [0]
        for start in range(0, len(texts), _TOKENIZER_BLOCK):
            block = texts[start : start + _TOKENIZER_BLOCK]
            block = [_tokenizers.composed(prompt + text) for text in block]
            # a model without special tokens has none for an empty text: attention over no token
            # at all would give nan
            with _tokenizers.panics_told():
                encodings = tokenizer.encode_batch_fast(block)
            rows = [e.ids or [self.pad_token_id_] for e in encodings]
            ids.append(self._known_ids(rows).astype(dtype))
            lengths.extend(map(len, rows))
        return TokenStore(np.concatenate(ids), np.cumsum(lengths, dtype=np.int64))

    @completed_by(Encoder.token_spans.__doc__)
    def token_spans(self, text: str) -> TokenSpans:
        """Where the sub-words are; the prompt and special tokens are no part of the text."""
        given, composed = self.prompt_ + text, _tokenizers.composed
        places = read_places(given, read := composed(given), composed)
        with _tokenizers.panics_told():
            encoding = _tokenizers.tokenizer_from_json(self.tokenizer_json_).encode(read)
        ends = [[max(places[end] - len(self.prompt_), 0) for end in e] for e in encoding.offsets]
        return TokenSpans.of(zip(encoding.ids, *zip(*ends, strict=True), strict=True))

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
        weights, _ = _lora.split(self.weights_, self._lora_scaling)
        return self._built(weights)

    def build_training_module(self) -> EncoderModule:
        check_is_fitted(self, "weights_")
        module = self._built(self.weights_)
        if self.lora_rank is not None and module.is_as_built:  # a loaded model's are merged
            with _hub.silence(), OwnGenerator(0):
                _lora.insert_(module.transformer, int(self.lora_rank), self._lora_alpha)
            module.has_new_parameters = True
        if self.gradient_checkpointing:
            module.checkpoint_gradients_()
        return module.train()

    def _built(self, weights: Mapping[str, np.ndarray]) -> PooledTransformer:
        """The module of these weights, and adapters where they have some."""
        projection = weights.get("projection.weight")  # (projection_dim, width)
        with _hub.silence(), OwnGenerator(0):  # it draws weights, replaced below
            layer = None
            if projection is not None:
                bias = "projection.bias" in weights
                layer = nn.Linear(projection.shape[1], len(projection), bias=bias)
            transformer = _architecture.build_transformer(self.config_)
            module = self._module(transformer, weights, layer)
            has_factors = any(map(_lora.is_factor, weights))
            if has_factors:
                _lora.insert_(transformer, int(self.lora_rank or 1), self._lora_alpha)
        # torch.tensor copies: weights_ may be a read-only memory map
        state = {name: torch.tensor(w) for name, w in weights.items()}
        module.load_state_dict(state, assign=True)
        if isinstance(module, FrozenTransformer):
            module.freeze_()
            if self.cache_dir is not None:
                frozen = {n: w for n, w in weights.items() if not n.startswith("projection.")}
                fingerprint = fingerprint_of(frozen, self.config_, self.pooling_, self.dense_)
                module.cache = VectorCache(Path(self.cache_dir), fingerprint, module.frozen_dim)
        if self.compile:
            _compiled.compile_blocks(module.transformer)
            module.is_compiled = True
        return module

    @property
    def _lora_alpha(self) -> float:
        return float(2 * int(self.lora_rank or 1) if self.lora_alpha is None else self.lora_alpha)

    @property
    def _lora_scaling(self) -> float:
        return self._lora_alpha / int(self.lora_rank or 1)

    def planned_dim(self) -> int:
        if self.projection_dim is not None:
            return int(self.projection_dim)
        where = {"local_files_only": _hub.is_out_of_reach(self.model)}
        if self.pooling == "auto" and (dense := published_modules(self.model, **where).dense):
            return len(dense[-1].weight)
        hidden_size: int = _hub.load_config(self.model, **where).hidden_size
        return hidden_size

    def saved_parameters(self) -> dict[str, Any]:
        return super().saved_parameters() | {"cache_dir": None}

    def write_files(self, folder: Path, *, is_normalized: bool) -> dict[str, Any]:
        max_length = json.loads(self.tokenizer_json_)["truncation"]["max_length"]
        weights, factors = _lora.split(self.weights_, self._lora_scaling)
        _files.write_transformer(folder, self.config_, weights)
        _files.write_tokenizer(folder, self.tokenizer_json_, self.special_tokens_, max_length)
        _files.write_modules(
            folder,
            weights,
            hidden_size=_architecture.hidden_size(self.config_),
            pooling=self.pooling_,
            activations=self.dense_,
            prompts=(self.prompt_, self.label_prompt_),
            max_length=max_length,
            is_normalized=is_normalized,
            frozen_length=LENGTH if self.is_frozen else None,
        )
        factors = _files.split_weights(factors)[0]
        if factors and self.adapters_:  # trained beside weights that hold earlier ones
            factors = _lora.stacked(self.adapters_, factors)
        if factors := factors or self.adapters_:
            _lora.write_adapter(folder / _lora.FOLDER, factors, self._lora_scaling, self.model)
        return {name: getattr(self, name) for name in _REST}

    def read_files(self, files: ModelFolder, rest: Mapping[str, Any], *, is_mapped: bool) -> None:
        for name, older in _REST.items():
            setattr(self, name, rest[name] if older is None else rest.get(name, older))
        if not isinstance(self.dense_, list) or not {*map(str, self.dense_)} <= {*ACTIVATIONS}:
            raise ValueError(
                f"dense_ should be a list of {', '.join(ACTIVATIONS)}, and is {self.dense_!r:.100}."
            )
        self.config_, self.weights_ = _files.read_transformer(
            files, len(self.dense_), LENGTH if self.is_frozen else None, is_mapped=is_mapped
        )
        self.adapters_ = _lora.read_adapter(files, f"{ENCODER}/{_lora.FOLDER}", is_mapped=is_mapped)
        self.tokenizer_json_ = _files.read_tokenizer(files)
        with _hub.silence():
            check_fitted(self)

    @property
    def _embedding_dim(self) -> int:
        layers = _files.split_weights(self.weights_)[1]
        widths = [len(w) for name, w in layers.items() if name.endswith(".weight")]
        if "projection.weight" in layers:
            return len(layers["projection.weight"])
        return widths[-1] if widths else _architecture.hidden_size(self.config_)

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
        check_choice("pooling", self.pooling, ("auto", *POOLINGS))
        check_integer("max_length", self.max_length, low=1)
        for name in ("projection_dim", "lora_rank"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), low=1)
        for name in ("prompt", "label_prompt"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(
                    f"{name} must be a str, got {getattr(self, name)!r:.100}. Pass what is to "
                    f"stand before each text, such as 'query: ', '' or 'auto'."
                )
        if self.lora_alpha is not None:
            check_real("lora_alpha", self.lora_alpha, ends="(]")
        for name in ("trainable", "gradient_checkpointing", "compile"):
            check_choice(name, getattr(self, name), (False, True))
        if not isinstance(self.cache_dir, str | os.PathLike | None) or self.cache_dir == "":
            raise TypeError(
                f"cache_dir must be the path of a folder or None, got {self.cache_dir!r:.100}."
            )
        if not self.trainable and (self.lora_rank is not None or self.gradient_checkpointing):
            name = "gradient_checkpointing" if self.lora_rank is None else "lora_rank"
            raise ValueError(
                f"trainable=False and {name}={getattr(self, name)}: a frozen transformer has no "
                f"gradient. Leave one of them out."
            )
