"""What an encoder is, and the torch module that it builds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import psutil
import torch
from sklearn.base import clone
from torch import Tensor, nn

from skxc._data._tokens import TokenStore
from skxc._persistence import ENCODER, ModelFolder, write_tensors

from ._spans import TokenSpans

WEIGHTS = "model.safetensors"  # the file of a saved encoder's arrays


class EncoderModule(nn.Module):
    """A torch module that embeds a batch of texts.

    Attributes
    ----------
    dim : int
        Width of an embedding.

    Examples
    --------
    >>> from skxc.encoders import BagOfWordsEncoder
    >>> encoder = BagOfWordsEncoder(dim=8, min_df=1).fit(["red apple"], seed=0)
    >>> module = encoder.build_module()
    >>> module(encoder.tokenize(["an apple", "red"])).shape
    torch.Size([2, 8])
    """

    dim: int
    has_new_parameters: bool = False  # since an earlier fit, whose moments are of others

    @property
    def frozen_dim(self) -> int | None:
        """Width of `frozen_vectors`; None: nothing is frozen."""
        return None

    @property
    def is_as_built(self) -> bool:
        """Whether `Encoder.build_module` gives the very same after training."""
        return True

    @property
    def views(self) -> tuple[int, ...]:
        """Widths of the parts side by side in an embedding, each a view of its own of the text."""
        return (self.dim,)

    def frozen_vectors(self, tokens: TokenStore) -> np.ndarray:
        """Embed texts by the part that is not trained; see `TokenStore.vectors`.

        Parameters
        ----------
        tokens : TokenStore
            The texts.

        Returns
        -------
        ndarray of shape (n_texts, frozen_dim), float32
            The vectors.
        """
        raise NotImplementedError

    def begin_at_(self, vectors: np.ndarray) -> None:
        """Begin what follows the frozen part at the training texts.

        Parameters
        ----------
        vectors : ndarray of shape (n_texts, frozen_dim)
            What `frozen_vectors` gave.
        """

    def forward(self, tokens: TokenStore) -> Tensor:
        """Embed texts.

        Parameters
        ----------
        tokens : TokenStore
            What the encoder's `tokenize` made of the texts.

        Returns
        -------
        Tensor of shape (n_texts, dim)
            The embeddings, before dropout.
        """
        raise NotImplementedError

    def addends(self, tokens: TokenStore) -> Tensor:
        """What each token of a text adds to its embedding, where that is a sum.

        Parameters
        ----------
        tokens : TokenStore
            One text.

        Returns
        -------
        Tensor of shape (n_tokens, n)
            The first `n` numbers of the embedding are the sum of these; by default, `n` is 0.
        """
        return torch.zeros(len(tokens.ids), 0)

    def activation_bytes(
        self, lengths: np.ndarray, n_texts: int, dim: int, dtype: torch.dtype
    ) -> int:
        """Memory that embedding texts takes, until their gradients are computed.

        Parameters
        ----------
        lengths : ndarray of shape (n,)
            Numbers of tokens of all the texts that batches are drawn from.
        n_texts : int
            Texts embedded at once.
        dim : int
            Width of the embeddings: the module's, or a smaller one that is to be tried.
        dtype : torch.dtype
            ``torch.bfloat16`` where the module runs under autocast, else ``torch.float32``.

        Returns
        -------
        int
            Bytes.
        """
        raise NotImplementedError


class Encoder(Protocol):
    """What turns texts into tokens, and tokens into embeddings.

    An encoder holds parameters only, until `fit` reads texts or weights. An estimator fits a clone
    of it, so that one encoder can serve many estimators. Fitted attributes are NumPy arrays,
    strings and dicts: they are pickled, memory-mapped and saved without torch.

    To write an encoder, derive from this class and from ``sklearn.base.BaseEstimator``; write
    `fit`, `tokenize`, `build_module` and `reading_bytes`; set `dim_parameter`, and the other class
    variables where their defaults are wrong. A model with an encoder of your own is saved by
    joblib: ``save`` and :func:`skxc.load` accept only the encoders of this module.

    Attributes
    ----------
    is_padded : bool, default=False
        A batch costs as much as its longest text: training puts texts of similar length together.
    is_pretrained : bool, default=False
        The weights know the language before training: estimators take smaller steps.
    is_frozen : bool, default=False
        Only small layers after a pretrained model are trained.
    has_words : bool, default=False
        Tokens are words with TF-IDF weights: :class:`~skxc.UniDEC` can learn weights for pairs of a
        label and a word.
    n_words : int, default=0
        Number of these words, once fitted.
    dim_parameter : str
        Name of the parameter that sets the width of the embeddings: errors about memory name it.
    weights_ : dict of str to ndarray
        The state of the torch module. It is not there while an estimator trains, which then has the
        module alone: `tokenize` and `reading_bytes` must not need it.

    Examples
    --------
    >>> from skxc.encoders import BagOfWordsEncoder
    >>> BagOfWordsEncoder.has_words, BagOfWordsEncoder.is_padded
    (True, False)
    """

    is_padded: ClassVar[bool] = False
    is_pretrained: ClassVar[bool] = False
    is_frozen: ClassVar[bool] = False
    has_words: ClassVar[bool] = False
    dim_parameter: ClassVar[str]
    weights_: dict[str, np.ndarray]

    @abstractmethod
    def fit(self, texts: Iterable[str], *, label_texts: Sequence[str] = (), seed: int) -> Self:
        """Learn the vocabulary, or load it; set `weights_`.

        Parameters
        ----------
        texts : iterable of str
            Texts: a list or, of a file, what reads it anew on every pass.
        label_texts : sequence of str, default=()
            The labels' texts.
        seed : int
            Seed of the weights that are drawn at random.

        Returns
        -------
        Encoder
            The encoder itself.

        Raises
        ------
        ValueError
            If a parameter is out of range.
        """

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> TokenStore:
        """Cut texts into tokens.

        Parameters
        ----------
        texts : sequence of str
            The texts.

        Returns
        -------
        TokenStore
            The tokens of each text, without padding; an empty text may have none.
        """

    def tokenize_labels(self, texts: Sequence[str]) -> TokenStore:
        """Cut label texts into tokens, by default as all texts.

        Parameters
        ----------
        texts : sequence of str
            The label texts.

        Returns
        -------
        TokenStore
            The tokens of each text, without padding; an empty text may have none.
        """
        return self.tokenize(texts)

    def token_spans(self, text: str) -> TokenSpans | None:
        """Tell where the tokens of a text are: an explanation then shows what each word did.

        Parameters
        ----------
        text : str
            The text.

        Returns
        -------
        TokenSpans or None
            Arrays `ids`, `starts` and `stops`, an entry for each time that a token occurs. None,
            the default: unknown, and explanations leave out one word after the other.
        """
        return None

    @abstractmethod
    def build_module(self) -> EncoderModule:
        """Build the torch module.

        Returns
        -------
        EncoderModule
            On the CPU, in training mode, with a copy of `weights_`. Its state has the same names.
        """

    def build_training_module(self) -> EncoderModule:
        """Build the torch module for training, by default as for prediction.

        Returns
        -------
        EncoderModule
            Likewise; parameters that are not to be trained require no gradient.
        """
        return self.build_module()

    @abstractmethod
    def reading_bytes(self, n_tokens: int) -> tuple[int, int]:
        """Memory of the vocabulary, and of reading texts.

        Parameters
        ----------
        n_tokens : int
            Tokens of all texts.

        Returns
        -------
        tuple of (int, int)
            Bytes that stay, and bytes that `fit` and `tokenize` need on top while they run.
        """

    @property
    def n_words(self) -> int:
        """Words whose TF-IDF weights `tokenize` gives; 0 where `has_words` is False."""
        return 0

    @property
    def _embedding_dim(self) -> int | None:
        """Width of the fitted embeddings; None: a loaded model's rows are not compared with it."""
        return None

    def check_parameters(self) -> None:
        """Raise where a parameter is not accepted: when a saved encoder is loaded.

        Raises
        ------
        TypeError
            If a parameter has a wrong type.
        ValueError
            If a parameter is out of range.
        """

    def planned_dim(self) -> int:
        """Width of the embeddings, before `fit`.

        Returns
        -------
        int
            The parameter's; where that is None, it needs another method.
        """
        dim: int = getattr(self, self.dim_parameter)
        return dim

    def narrowed(self, dim: int) -> Self:
        """Ask for narrower embeddings: what a fit is told to pass that lacks memory.

        Parameters
        ----------
        dim : int
            Width of the embeddings.

        Returns
        -------
        Encoder
            An unfitted one.
        """
        encoder: Any = clone(self)
        narrowed: Self = encoder.set_params(**{self.dim_parameter: dim})
        return narrowed

    def forget(self) -> None:
        """Drop parameters that only `fit` needs, once it has run: by default, none."""

    def saved_parameters(self) -> dict[str, Any]:
        """Parameters as a saved model keeps them: without what is of this machine alone.

        Returns
        -------
        dict of str to object
            By their names; what is not kept is None.
        """
        parameters: dict[str, Any] = self.get_params(deep=False)  # type: ignore[attr-defined]
        return parameters

    def write_files(self, folder: Path, *, is_normalized: bool) -> dict[str, Any]:
        """Write the fitted encoder, for ``save``; by default, `weights_` alone.

        Parameters
        ----------
        folder : Path
            An empty folder.
        is_normalized : bool
            Whether the estimator scales embeddings to length 1. Files that other libraries read
            can say so.

        Returns
        -------
        dict
            What is in none of the files, as JSON holds it.
        """
        write_tensors(folder / WEIGHTS, self.weights_)
        return {}

    def read_files(self, files: ModelFolder, rest: Mapping[str, Any], *, is_mapped: bool) -> None:
        """Set the fitted attributes again, for :func:`skxc.load`.

        Parameters
        ----------
        files : ModelFolder
            The saved model; its `json`, `text` and `tensors` read a file by its path, such as
            ``"encoder/model.safetensors"``.
        rest : dict
            What `write_files` returned.
        is_mapped : bool
            Whether arrays are to be read-only maps of their files.
        """
        self.weights_ = files.tensors(f"{ENCODER}/{WEIGHTS}", is_mapped=is_mapped)


def trained_state(module: EncoderModule) -> dict[str, torch.Tensor]:
    """The module's state without the weights that no training changes."""
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    return {name: t for name, t in module.state_dict().items() if name not in frozen}


def check_fits(n_weights: int) -> None:
    """Raise where float32 weights would not fit into memory, which a system may only see too late.

    Raises
    ------
    MemoryError
        If they would not.
    """
    needed, free = 4 * n_weights / 2**30, psutil.virtual_memory().available / 2**30
    if needed > free:
        raise MemoryError(f"{n_weights} weights take {needed:.1f} GiB, and {free:.1f} are free")


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """The context in which an encoder runs, in training and in prediction alike."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)
