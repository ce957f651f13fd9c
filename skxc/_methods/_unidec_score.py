"""UniDEC's score: the parts that it is the weighted sum of, and the choice of their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from skxc import _distributed as processes
from skxc._data._batches import TrainingRows
from skxc._data._shares import column_share
from skxc._data._tokens import TokenStore
from skxc._functional._top_k import UNSEEN_SCORE, has_values
from skxc._search._ranker import LabelTable
from skxc._search._score_weights import best_weights, candidates_of, ndcg_at_5

from ._lexical_weights import LexicalWeights, with_values

# what is tried for each weight
_GRIDS = {
    "dual": (0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0),
    "vectors_dual": (0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0),
    "vectors": (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0),
    "lexical": (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0),
    "label_words": (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0),
}
# words that weigh less are left out of prediction
_LEAST_WEIGHT = 1e-4
# labels of each ranking that takes part in choosing the weights; scores held at once (32 MiB)
_CANDIDATES_A_VIEW = 50
_SCORES_AT_ONCE = 1 << 23
_LEAST_TEXTS_AT_ONCE = 16


class ScoreWeights(NamedTuple):
    """How the parts of a label's score are weighed."""

    dual: float  # the cosine with its text, in [0, 1]; the cosine with its row has the rest
    lexical: float  # what its words have learnt, times the temperature
    label_words: float  # the TF-IDF cosine with its text
    # of a joined encoder: all that its vectors say, beside what its bag does; and `dual` among it
    vectors: float = 1.0
    vectors_dual: float = 0.35


@dataclass(frozen=True)
class ScoreParts:
    """Both halves of every label of this process, and the weights of its words."""

    label_texts: Tensor  # (n_own, dim) unit vectors, 0 where no word is known
    classifier: Tensor  # (n_own, dim) rows as they are scored
    is_seen: Tensor  # (n_own,) bool: some training text has the label
    is_shared: bool  # the halves are of one space
    words: LexicalWeights | None
    temperature: float
    n_of_words: int | None  # columns of a joined encoder's bag, where the space is shared

    def rows(self, dual_weight: float, vectors_dual_weight: float) -> Tensor:
        """Both halves joined, in each view; see `joined_halves`."""
        tables, weights = [(self.label_texts, self.classifier)], (dual_weight, vectors_dual_weight)
        if self.n_of_words is not None:
            views = (slice(self.n_of_words), slice(self.n_of_words, None))
            tables = [(self.label_texts[:, v], self.classifier[:, v]) for v in views]
        rows = [
            joined_halves(*halves, self.is_seen, weight, is_shared=self.is_shared)
            for halves, weight in zip(tables, weights, strict=False)
        ]
        return rows[0] if len(rows) == 1 else torch.cat(rows, 1)

    def word_table(self, weights: ScoreWeights) -> sp.csr_array | None:
        """Both kinds of the words' weights, joined; see `joined_words`."""
        if self.words is None:
            return None
        pattern, learnt = self.words.of_label_texts, self.words.learnt.numpy()
        return joined_words(pattern, learnt, weights, self.temperature)

    def tuned_weights(
        self,
        start: ScoreWeights,
        embed: Callable[[TokenStore], NDArray[np.float32]],  # both views with a weight of 1
        rows: TrainingRows,
        *,
        is_dual_fixed: bool,
    ) -> ScoreWeights:
        """The weights that rank held-out texts best, by nDCG@5."""
        grids = dict(_GRIDS)
        if is_dual_fixed:
            del grids["dual"], grids["vectors_dual"]
        if self.words is None:
            del grids["lexical"], grids["label_words"]
        if self.n_of_words is None:
            del grids["vectors"]
            grids.pop("vectors_dual", None)
        if not grids:
            return start
        views = [self._part_weights(weights) for weights in _views(start, self.n_of_words)]
        n_labels = rows.Y.shape[1]
        found = candidates_of(self._blocks(embed, rows), views, _CANDIDATES_A_VIEW, n_labels)

        def ndcg(weights: Mapping[str, float]) -> NDArray[np.float64]:
            parts = self._part_weights(ScoreWeights(**weights))
            with np.errstate(invalid="ignore"):  # 0 times -inf: excluded
                scores = np.tensordot(parts, found.parts, 1)
            return ndcg_at_5(found.labels, scores, rows)

        best = best_weights(start._asdict(), grids, ndcg, rows.sample_weight)
        return ScoreWeights(**best)

    def _part_weights(self, weights: ScoreWeights) -> NDArray[np.float32]:
        """Of the parts in a block."""
        dual, lexical, label_words, vectors, of_texts = weights
        halves = (dual, 1 - dual)
        joined = (vectors * of_texts, vectors * (1 - of_texts))
        of_vectors = () if self.n_of_words is None else joined
        of_words = () if self.words is None else (lexical * self.temperature, label_words)
        return np.array([*halves, *of_vectors, *of_words], np.float32)

    def _blocks(
        self, embed: Callable[[TokenStore], NDArray[np.float32]], rows: TrainingRows
    ) -> Iterator[NDArray[np.float32]]:
        """All parts of the own labels' scores, (n_parts, n_rows, n_own), some texts at a time.

        Where a label lacks a half, both parts are the other half's, as in `joined_halves`.
        """
        halves, words = [self.rows(dual, dual) for dual in (1.0, 0.0)], []
        views = [slice(self.n_of_words)]
        if self.n_of_words is not None:
            views.append(slice(self.n_of_words, None))
        tables = [(view, half[:, view]) for view in views for half in halves]
        if self.words is not None:
            pattern = self.words.of_label_texts
            words = [with_values(pattern, self.words.learnt.numpy()), pattern]
        is_unknown = ~has_values(halves[0]).numpy()
        own, n_labels = processes.share(rows.Y.shape[1]), len(is_unknown)
        n_at_once = texts_at_once(processes.n_share(rows.Y.shape[1]))
        for start in range(0, len(rows), n_at_once):
            part = rows.take(np.arange(start, min(start + n_at_once, len(rows))))
            embeddings = torch.from_numpy(embed(part.tokens))
            block = [embeddings[:, view] @ table.T for view, table in tables]
            for weights in words:
                added = LabelTable(halves[0], None, weights).word_scores(part.tokens)
                assert added is not None
                block.append(added(0, n_labels))
            scores = torch.stack(block).numpy()
            scores[:, :, is_unknown] = UNSEEN_SCORE
            if part.exclude is not None:
                scores[:, *column_share(part.exclude, own).nonzero()] = -np.inf
            yield scores


def joined_halves(
    label_texts: Tensor,  # (n_labels, dim) unit vectors, 0 where no word is known
    classifier: Tensor,  # (n_labels, dim) rows as they are scored
    is_seen: Tensor,  # (n_labels,) bool: some training text has the label
    weight: float,  # of the label texts, in [0, 1]
    *,
    is_shared: bool,
) -> Tensor:  # (n_labels, dim) where the space is shared, else (n_labels, 2 dim)
    """Both halves of every label, so that one inner product is the weighted mean of two.

    An unseen label is its text alone, one without a known word its row alone, both at full weight:
    the scales then compare.
    """
    has_text = has_values(label_texts)
    of_text = torch.where(is_seen & has_text, weight, has_text.to(label_texts.dtype))
    of_row = torch.where(is_seen, torch.where(has_text, 1 - weight, 1.0), 0.0)
    dual = label_texts * of_text[:, None]
    if is_shared:
        return dual.addcmul_(classifier, of_row[:, None])
    return torch.cat([dual, classifier * of_row[:, None]], 1)


def joined_words(
    of_label_texts: sp.csr_array,  # (n_labels, n_words)
    learnt: NDArray[np.float32],  # (n_pairs,) at the same places
    weights: ScoreWeights,
    temperature: float,
) -> sp.csr_array:  # (n_labels, n_words), weights of 0 left out
    """Both kinds of weights of words, so that one sparse product is their weighted sum."""
    values = of_label_texts.data * np.float32(weights.label_words)
    values += learnt * np.float32(weights.lexical * temperature)
    table = with_values(of_label_texts, values)
    kept = np.abs(values) > _LEAST_WEIGHT
    if not kept.all():
        offsets = np.concatenate([[0], np.cumsum(kept)])[table.indptr]
        table = sp.csr_array((values[kept], table.indices[kept], offsets), table.shape)
    return table


def texts_at_once(n_labels: int) -> int:
    """Texts whose parts are held at once: all tables are read for them, so never just a few."""
    return max(_SCORES_AT_ONCE // (4 * n_labels), _LEAST_TEXTS_AT_ONCE)


def _views(weights: ScoreWeights, n_of_words: int | None) -> list[ScoreWeights]:
    """Weights that rank labels differently: whatever is best ranks high what one of them does."""
    views = [
        weights,
        ScoreWeights(1, 0, 0),
        ScoreWeights(0, 1, 0),
        ScoreWeights(1, 0, 1),
        ScoreWeights(1, 3, 2),
    ]
    if n_of_words is not None:
        views += [weights._replace(vectors=0.0), weights._replace(vectors=6.0)]
    return views
