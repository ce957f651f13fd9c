"""What a step of UniDEC hands on: the pool, the two views of it, and where gradients begin."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skxc import _distributed as processes
from skxc._data._batches import Batch
from skxc._data._shares import part_of
from skxc._functional._pairs import Pairs, Positives


class PickedLabels(NamedTuple):
    """A batch's pool (PSL): both views' losses are over it."""

    batch: Batch  # the texts that have a label in the pool
    pool: NDArray[np.int64]  # ascending label ids
    positives: Positives[Tensor]  # `labels`: places in the pool; all that y knows of
    ignored: Pairs[Tensor] | None  # likewise
    sample_weight: Tensor | None


class PoolShare(NamedTuple):
    """Whose the pool's labels are: it ascends, so each process's stand together."""

    own: slice  # places in the pool
    sizes: list[int]  # of all processes

    @classmethod
    def of(cls, pool: NDArray[np.int64], n_labels: int) -> Self:
        """The pool's."""
        firsts = [processes.share(n_labels, r).start for r in range(processes.size())]
        sizes = np.diff([*np.searchsorted(pool, firsts), len(pool)]).tolist()
        return cls(part_of(sizes, processes.rank()), sizes)


class WordScores(NamedTuple):
    """What words add to the scores over the temperature."""

    of_pool: Tensor  # (pool, batch)
    of_own: Tensor  # (n_own, batch) those of this process's labels: autograd goes back from here
    own: slice  # their places in the pool


class View(NamedTuple):
    """A batch's texts and its pool's labels in the space of one head; scores are products."""

    texts: Tensor  # (batch, dim)
    labels: Tensor  # (pool, dim)
    temperature_scale: float  # of what scores are divided by
    words: WordScores | None = None


class OutputGradients(NamedTuple):
    """Tensors from which autograd goes back, and the gradients that are known in closed form."""

    outputs: list[Tensor]
    gradients: list[Tensor]

    def add(self, output: Tensor, gradient: Tensor) -> None:
        """One more."""
        self.outputs.append(output)
        self.gradients.append(gradient)
