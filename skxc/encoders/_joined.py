"""Words and the vectors of a frozen transformer, side by side in one embedding."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from torch import Tensor

from skxc._data._tokens import TokenStore
from skxc._docstrings import completed_by
from skxc._functional._unit_rows import unit_rows
from skxc._persistence import ENCODER, ModelFolder

from ._bag import BagOfWordsEncoder
from ._base import Encoder, EncoderModule
from ._frozen import LENGTH, FrozenTransformer
from ._spans import TokenSpans
from ._transformer import TransformerEncoder

_PARTS = ("words", "vectors")
# Length of the vectors in a loss of the sum, where the bag's embeddings have `LENGTH`: what is
# learnt from nothing has less to say. (Of 0.7 to 3 times it, by held-out training texts.)
VECTORS_LENGTH = 1.5 * LENGTH


@dataclass(eq=False, repr=False, kw_only=True)
class JoinedEncoder(Encoder, BaseEstimator):
    """A bag of words and a frozen transformer, side by side.

    The bag learns which exact words tell the labels apart, and the transformer, which is not
    trained, knows what words mean. Their embeddings stand side by side, so that every product of
    two of them is the sum of two. :class:`~skxc.UniDEC` gives each losses of its own, and chooses
    how much each counts on texts that training does not see; the other estimators have one loss of
    the sum. After the vectors comes the linear layer that a frozen :class:`TransformerEncoder` has;
    AdamW trains it at a fiftieth of the bag's learning rate. What estimators take for None is what
    they take with a bag.

    Parameters
    ----------
    vectors : str or TransformerEncoder, default=None
        A Hugging Face model id or a local folder, or an encoder with ``trainable=False``. There is
        none that could be taken where it is None: `fit` asks for it.
    words : "bag" or BagOfWordsEncoder, default="bag"
        The bag of words.

    Attributes
    ----------
    words_, vectors_ : encoder objects
        The fitted encoders.
    weights_ : dict of str to ndarray
        Those of both, below ``"words."`` and ``"vectors."``.

    Examples
    --------
    >>> from skxc.encoders import JoinedEncoder, TransformerEncoder
    >>> vectors = TransformerEncoder("sentence-transformers/all-MiniLM-L6-v2", trainable=False)
    >>> JoinedEncoder(vectors).get_params()["vectors__max_length"]
    128
    """

    has_words: ClassVar[bool] = True
    dim_parameter: ClassVar[str] = "words"

    vectors: Any = field(default=None, kw_only=False)
    words: Any = "bag"

    @completed_by(Encoder.fit.__doc__)
    def fit(self, texts: Iterable[str], *, label_texts: Sequence[str] = (), seed: int) -> Self:
        """Learn the words, and load the transformer."""
        self.check_parameters()
        self.words_, self.vectors_ = self._encoders()
        for encoder in (self.words_, self.vectors_):
            encoder.fit(texts, label_texts=label_texts, seed=seed)
        self.weights_ = {
            f"{part}.{name}": array
            for part in _PARTS
            for name, array in _taken(getattr(self, f"{part}_")).items()
        }
        return self

    def _encoders(self) -> tuple[BagOfWordsEncoder, TransformerEncoder]:
        """Unfitted ones, of this object's own."""
        words, vectors = self.words, self.vectors
        if isinstance(words, str):
            words = BagOfWordsEncoder()
        if isinstance(vectors, str):
            vectors = TransformerEncoder(vectors, trainable=False)
        return clone(words), clone(vectors)

    def check_parameters(self) -> None:
        is_bag = isinstance(self.words, BagOfWordsEncoder)
        if not is_bag and not (isinstance(self.words, str) and self.words == "bag"):
            raise TypeError(f"words must be 'bag' or a BagOfWordsEncoder, got {self.words!r:.200}.")
        if not isinstance(self.vectors, str | TransformerEncoder):
            raise TypeError(
                f"vectors must be a model's name, a folder or a TransformerEncoder, got "
                f"{self.vectors!r:.200}. Pass such as JoinedEncoder('path/to/a/model')."
            )
        for encoder in self._encoders():
            encoder.check_parameters()
        if not isinstance(self.vectors, str) and self.vectors.trainable:
            raise ValueError(
                f"vectors={self.vectors!r} is to be trained, and JoinedEncoder trains the words "
                f"beside vectors that stay. Pass trainable=False to the TransformerEncoder."
            )

    @completed_by(Encoder.tokenize.__doc__)
    def tokenize(self, texts: Sequence[str]) -> TokenStore:
        """Cut texts into words, and into the transformer's tokens."""
        words = self.words_.tokenize(texts)
        return TokenStore(words.ids, words.offsets, words.weights, self.vectors_.tokenize(texts))

    @completed_by(Encoder.tokenize_labels.__doc__)
    def tokenize_labels(self, texts: Sequence[str]) -> TokenStore:
        """Cut label texts likewise."""
        words, others = self.words_.tokenize(texts), self.vectors_.tokenize_labels(texts)
        return TokenStore(words.ids, words.offsets, words.weights, others)

    @completed_by(Encoder.token_spans.__doc__)
    def token_spans(self, text: str) -> TokenSpans:
        """Where the words are."""
        return self.words_.token_spans(text)

    @property
    def n_words(self) -> int:
        """Words whose TF-IDF weights `tokenize` gives."""
        return self.words_.n_words

    def reading_bytes(self, n_tokens: int) -> tuple[int, int]:
        parts = [e.reading_bytes(n_tokens) for e in (self.words_, self.vectors_)]
        return sum(kept for kept, _ in parts), sum(passing for _, passing in parts)

    def build_module(self) -> EncoderModule:
        words, vectors = (_with_weights(self, part).build_module() for part in _PARTS)
        assert isinstance(vectors, FrozenTransformer)
        return JoinedModule(words, vectors)

    def write_files(self, folder: Path, *, is_normalized: bool) -> dict[str, Any]:
        rest = {}
        for part in _PARTS:
            (folder / part).mkdir()
            encoder = _with_weights(self, part)
            rest[part] = encoder.write_files(folder / part, is_normalized=is_normalized)
        return rest

    def read_files(self, files: ModelFolder, rest: Mapping[str, Any], *, is_mapped: bool) -> None:
        self.words_, self.vectors_ = self._encoders()
        self.weights_ = {}
        for part in _PARTS:
            encoder = getattr(self, f"{part}_")
            encoder.read_files(files.below(ENCODER, part), rest[part], is_mapped=is_mapped)
            own = _taken(encoder)
            self.weights_ |= {f"{part}.{name}": array for name, array in own.items()}

    def forget(self) -> None:
        for name, encoder in self.saved_parameters().items():
            setattr(self, name, encoder)
        if hasattr(self, "words_"):
            self.words_.forget()

    def saved_parameters(self) -> dict[str, Any]:
        words = self.words
        if isinstance(words, BagOfWordsEncoder):  # not the user's own object
            words = copy.copy(words).set_params(**words.saved_parameters())
        return super().saved_parameters() | {"words": words}

    def planned_dim(self) -> int:
        self.check_parameters()
        return sum(encoder.planned_dim() for encoder in self._encoders())

    def narrowed(self, dim: int) -> Self:
        words, vectors = self._encoders()
        words = words.narrowed(max(dim - vectors.planned_dim(), 1))
        narrowed: Self = clone(self).set_params(words=words)
        return narrowed

    @property
    def _embedding_dim(self) -> int | None:
        return sum(_with_weights(self, part)._embedding_dim or 0 for part in _PARTS)


def _taken(encoder: Encoder) -> dict[str, np.ndarray]:
    """The weights, which the encoder then has no more."""
    weights = encoder.weights_
    del encoder.weights_
    return weights


def joined_parts(joined: JoinedEncoder) -> tuple[BagOfWordsEncoder, TransformerEncoder]:
    """The fitted encoders, each with its own weights."""
    words, vectors = (_with_weights(joined, part) for part in _PARTS)
    return words, vectors


def _with_weights(joined: JoinedEncoder, part: str) -> Any:
    """One of the fitted encoders, with its own weights."""
    encoder, prefix = copy.copy(getattr(joined, f"{part}_")), f"{part}."
    encoder.weights_ = {
        name.removeprefix(prefix): array
        for name, array in joined.weights_.items()
        if name.startswith(prefix)
    }
    return encoder


class JoinedModule(EncoderModule):
    """Both embeddings, side by side; the bag is trained, and the layer after the vectors."""

    def __init__(self, words: EncoderModule, vectors: FrozenTransformer) -> None:
        super().__init__()
        self.words, self.vectors = words, vectors
        self.dim = words.dim + vectors.dim

    @property
    def frozen_dim(self) -> int:
        """Width of the transformer's vectors."""
        return self.vectors.frozen_dim

    @property
    def views(self) -> tuple[int, ...]:
        """Of the words, and of the transformer."""
        return self.words.dim, self.vectors.dim

    def frozen_vectors(self, tokens: TokenStore) -> np.ndarray:
        """The transformer's."""
        assert tokens.others is not None
        return self.vectors.frozen_vectors(tokens.others)

    def begin_at_(self, vectors: np.ndarray) -> None:
        """Begin the layer after the transformer."""
        self.vectors.begin_at_(vectors)

    def forward(self, tokens: TokenStore) -> Tensor:  # (n_texts, dim)
        others = tokens if tokens.others is None else tokens.others
        vectors = unit_rows(self.vectors(others)) * VECTORS_LENGTH
        return torch.cat([self.words(tokens).to(vectors.dtype), vectors], 1)

    def addends(self, tokens: TokenStore) -> Tensor:  # (n_tokens, words.dim)
        return self.words.addends(tokens)

    def activation_bytes(
        self, lengths: np.ndarray, n_texts: int, dim: int, dtype: torch.dtype
    ) -> int:
        """Of both, and of both side by side."""
        parts = (self.words, self.vectors)
        own = sum(part.activation_bytes(lengths, n_texts, part.dim, dtype) for part in parts)
        return own + 4 * n_texts * self.dim
