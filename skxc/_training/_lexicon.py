"""The lexical half of a classifier: weights of the words that labels were seen with."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from skxc._functional._lexical import BatchWords, values_at


class Lexicon:
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

    @classmethod
    def of_training(
        cls,
        pairs: sp.csr_array,  # (n_labels, n_words) of `co_occurring_pairs`
        learning_rate: float,
        earlier: sp.csr_array | None = None,  # (n_labels, n_words) what was learnt so far
    ) -> Lexicon:
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
        self._entries = batch.entries(self.of_label_texts, labels)
        self._picked = self.learnt[torch.from_numpy(self._entries.positions)].requires_grad_()
        return batch.scores(self._entries, self._picked)

    @torch.no_grad()
    def step_(self, rate: float) -> None:
        """Move the picked weights down the gradient that `scores` was given."""
        assert self._picked.grad is not None
        places = torch.from_numpy(self._entries.positions)
        moved = self._picked.detach().add_(self._picked.grad, alpha=-self.learning_rate * rate)
        self.learnt.index_copy_(0, places, moved)


def with_values(pattern: sp.csr_array, values: NDArray[np.float32]) -> sp.csr_array:
    """Other values at the same places."""
    return sp.csr_array((values, pattern.indices, pattern.indptr), shape=pattern.shape)


def _marks(matrix: sp.csr_array) -> sp.csr_array:
    return with_values(matrix, np.ones(len(matrix.indices), np.float32))
