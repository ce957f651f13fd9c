"""The lexical half of a classifier: weights of the words that labels were seen with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from skxc import _distributed as processes
from skxc._data._tokens import TokenStore
from skxc._functional._lexical import BatchWords, WordEntries, values_at
from skxc._training._memory import Memory

from ._attributes import an_array, sparse_rows

Arrays = Mapping[str, NDArray[Any]]


words_attribute = sparse_rows(
    of_label_texts=an_array(np.float32, "n_pairs"), learnt=an_array(np.float32, "n_pairs")
)


class LexicalWeights:
    """A weight for every pair of a label and a word that some training text joins; plain SGD.

    A step reads and moves only the pairs of the pool's labels and the batch's words. Plain SGD: a
    step size for every pair, as Adagrad has it, turns the tiny gradients of the many negatives into
    full-size steps.
    """

    def __init__(
        self,
        of_label_texts: sp.csr_array,  # (n_labels, n_words) their features, 0 where they have none
        learnt: Tensor,  # (n_pairs,) the weights, updated in place
        learning_rate: float,
    ) -> None:
        self.of_label_texts, self.learnt = of_label_texts, learnt
        self.learning_rate = learning_rate
        self._entries: WordEntries | None = None

    @classmethod
    def of_training(
        cls,
        pairs: sp.csr_array,  # (n_labels, n_words) of `co_occurring_pairs`
        learning_rate: float,
        earlier: sp.csr_array | None = None,  # (n_labels, n_words) what was learnt so far
    ) -> LexicalWeights:
        """All pairs of these texts, and earlier ones with what they have learnt."""
        if earlier is None:
            return cls(pairs, torch.zeros(pairs.nnz), learning_rate)
        pattern = (_marks(pairs) + _marks(earlier)).tocsr()
        pattern.sort_indices()
        learnt = torch.from_numpy(values_at(earlier, pattern))
        pattern.data = values_at(pairs, pattern)
        return cls(pattern, learnt, learning_rate)

    def scores(
        self,
        texts: sp.csr_array,  # (batch, n_words)
        labels: NDArray[np.int64],  # (pool,)
    ) -> Tensor:  # (pool, batch)
        """The scores that the words give; `step_` takes their gradient."""
        batch = BatchWords(texts)
        if not len(labels):  # all of the pool's are other processes'
            self._entries = None
            return self.learnt.new_empty((0, texts.shape[0]))
        self._entries = batch.entries(self.of_label_texts, labels)
        self._picked = self.learnt[torch.from_numpy(self._entries.positions)].requires_grad_()
        return batch.scores(self._entries, self._picked)

    @torch.no_grad()
    def step_(self, rate: float) -> None:
        """Move the picked weights down the gradient that `scores` was given."""
        if self._entries is None:
            return
        assert self._picked.grad is not None
        positions = torch.from_numpy(self._entries.positions)
        moved = self._picked.detach().add_(self._picked.grad, alpha=-self.learning_rate * rate)
        self.learnt.index_copy_(0, positions, moved)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """CSR with two values at each place, of the labels of all processes."""
        table = self.of_label_texts
        return {
            "offsets": processes.whole_offsets(table.indptr),
            "words": processes.whole(table.indices.astype(np.int32)),
            "of_label_texts": processes.whole(table.data),
            "learnt": processes.whole(self.learnt.numpy()),
            "n_words": np.array(table.shape[1]),
        }


def as_csr(arrays: Arrays, kind: str) -> sp.csr_array:  # (n_labels, n_words)
    """One kind of the values of `LexicalWeights.arrays`: "learnt" or "of_label_texts"."""
    shape = (len(arrays["offsets"]) - 1, int(arrays["n_words"]))
    return sp.csr_array((arrays[kind], arrays["words"], arrays["offsets"]), shape)


def with_new_labels(arrays: Arrays, tokens: TokenStore) -> dict[str, NDArray[Any]]:
    """The arrays, and labels of which nothing is learnt but what their texts say."""
    if not arrays:
        return {}
    assert tokens.weights is not None
    new = {
        "offsets": arrays["offsets"][-1] + tokens.offsets[1:],
        "words": tokens.ids.astype(arrays["words"].dtype),
        "learnt": np.zeros(len(tokens.ids), np.float32),
        "of_label_texts": tokens.weights,
    }
    return {**arrays, **{name: np.concatenate([arrays[name], new[name]]) for name in new}}


def with_values(pattern: sp.csr_array, values: NDArray[np.float32]) -> sp.csr_array:
    """Other values at the same places."""
    return sp.csr_array((values, pattern.indices, pattern.indptr), shape=pattern.shape)


def _marks(matrix: sp.csr_array) -> sp.csr_array:
    return with_values(matrix, np.ones(len(matrix.indices), np.float32))


def words_memory(n_pairs: int, *, is_copied: bool) -> Memory:
    """Of `LexicalWeights`, on the host."""
    return Memory(
        {},
        {
            "weights": 12 * n_pairs,  # a word, what it has learnt, and what its text says
            "copies": 4 * n_pairs * is_copied,
            "published": 16 * n_pairs,  # the words again, and both kinds of weights joined
        },
    )
