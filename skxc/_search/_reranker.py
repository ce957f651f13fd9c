"""The second stage: a text's best labels ranked anew, by linear classifiers of exact words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from skxc import _distributed as processes
from skxc._data._tokens import TokenStore
from skxc._functional._top_k import UNSEEN_SCORE, top_k_of_rows

if TYPE_CHECKING:
    from skxc._functional._squared_hinge import LinearClassifiers

# labels of a text that are ranked anew: its best ones
CANDIDATES = 100

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Reranker:
    """Adds a label's margin, weighted, to the score that a text's candidate has already."""

    classifiers: LinearClassifiers
    idf: NDArray[np.float32]  # (n_tokens,) of tokens that have no weights themselves; else empty
    weight: float

    @classmethod
    def of_arrays(cls, arrays: Arrays, weight: float) -> Reranker | None:
        """From fitted attributes; None where no second stage was kept."""
        if not arrays:
            return None
        return cls(as_classifiers(arrays), arrays["idf"], weight)

    def top(
        self,
        tokens: TokenStore,
        labels: NDArray[np.int64],  # (n_texts, n) best first; -1: none
        scores: NDArray[np.float32],  # (n_texts, n)
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The same labels, ranked anew."""
        scores = scores.copy()
        shift = self._rescore_(tokens, labels[:, :CANDIDATES], scores[:, :CANDIDATES])
        _shift_(scores[:, CANDIDATES:], shift)
        order = np.lexsort((labels, -scores))
        return np.take_along_axis(labels, order, 1), np.take_along_axis(scores, order, 1)

    def rescore_all_(
        self,
        tokens: TokenStore,
        scores: NDArray[np.float32],  # (n_texts, n_labels) -inf: excluded; updated in place
    ) -> None:
        """Likewise, of all labels."""
        n = min(CANDIDATES, scores.shape[1])
        found, best = (part.numpy() for part in top_k_of_rows(torch.from_numpy(scores), n))
        best[found == -np.inf] = -1
        shift = self._rescore_(tokens, best, found)
        _shift_(scores, shift)
        rows, places = np.nonzero(best >= 0)
        scores[rows, best[rows, places]] = found[rows, places]

    def _rescore_(
        self,
        tokens: TokenStore,
        labels: NDArray[np.int64],  # (n_texts, n) the candidates, best first; -1: none
        scores: NDArray[np.float32],  # (n_texts, n) updated in place
    ) -> NDArray[np.float32]:  # (n_texts,)
        """Add the margins; how far all other labels are to fall, so that none overtakes these."""
        is_known = (labels >= 0) & (scores > UNSEEN_SCORE)
        last = np.where(is_known, scores, np.inf).min(1, initial=np.inf)
        margins = self.classifiers.margins(features(tokens, self.idf), labels)
        np.add(scores, np.float32(self.weight) * margins, out=scores, where=is_known)
        lowest = np.where(is_known, scores, np.inf).min(1, initial=np.inf)
        shift = np.zeros(len(labels), np.float32)
        np.subtract(lowest, last, out=shift, where=np.isfinite(last))
        return np.minimum(shift, 0)


def _shift_(scores: NDArray[np.float32], shift: NDArray[np.float32]) -> None:
    """Move the scores of known labels."""
    np.add(scores, shift[:, None], out=scores, where=scores > UNSEEN_SCORE)


def features(tokens: TokenStore, idf: NDArray[np.float32]) -> sp.csr_array:
    """What the classifiers read in texts: TF-IDF weights of their tokens, at unit length."""
    if not len(idf):
        texts = tokens.as_csr(int(tokens.ids.max(initial=0)) + 1)
        return texts if texts.has_sorted_indices else texts.sorted_indices()
    counts = _counts(tokens, len(idf))
    counts.data = (1 + np.log(counts.data)) * idf[counts.indices]
    lengths = np.sqrt(counts.multiply(counts).sum(1))
    counts.data /= np.repeat(np.where(lengths > 0, lengths, 1), np.diff(counts.indptr))
    return counts


def idf_of(tokens: TokenStore) -> NDArray[np.float32]:  # (n_tokens,)
    """Inverse document frequencies: 0 of tokens that all texts have."""
    n_holding = np.zeros(0, np.int64)
    for part in tokens.parts():
        n_tokens = max(int(part.ids.max(initial=0)) + 1, len(n_holding))
        found = np.bincount(_counts(part, n_tokens).indices, minlength=n_tokens)
        found[: len(n_holding)] += n_holding
        n_holding = found
    return np.log((1 + len(tokens)) / (1 + n_holding)).astype(np.float32)


def _counts(tokens: TokenStore, n_tokens: int) -> sp.csr_array:
    """How often a text has a token, (n_texts, n_tokens) float32; sorted."""
    n_ids = max(n_tokens, int(tokens.ids.max(initial=0)) + 1)
    counts = TokenStore(tokens.ids, tokens.offsets.copy()).as_csr(n_ids)
    counts.sum_duplicates()  # in place
    return counts[:, :n_tokens]


def as_classifiers(arrays: Arrays) -> LinearClassifiers:
    """The classifiers of a model's arrays."""
    from skxc._functional._squared_hinge import (  # imports numba
        LinearClassifiers,
        with_narrow_indices,
    )

    shape = (len(arrays["offsets"]) - 1, int(arrays["n_words"]))
    weights = sp.csr_array((arrays["weights"], arrays["words"], arrays["offsets"]), shape)
    return LinearClassifiers(with_narrow_indices(weights), arrays["intercepts"])


def as_arrays(classifiers: LinearClassifiers, idf: NDArray[np.float32]) -> dict[str, Any]:
    """What a fitted model keeps of them: of all processes' labels."""
    table = classifiers.weights
    return {
        "offsets": processes.whole_offsets(table.indptr),
        "words": processes.whole(table.indices.astype(np.int32)),
        "weights": processes.whole(table.data),
        "intercepts": processes.whole(classifiers.intercepts),
        "idf": idf,
        "n_words": np.array(table.shape[1]),
    }
