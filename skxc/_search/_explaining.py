"""A label's score taken apart: what each token of a text adds to it, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from skxc._data._tokens import TokenStore
from skxc._functional._top_k import UNSEEN_SCORE
from skxc.encoders._base import autocast

from ._head import LinearHead
from ._ranker import Ranker
from ._reranker import CANDIDATES, Reranker, features

SECOND_STAGE, UNSEEN = "second stage", "never seen"


class Part(NamedTuple):
    """What is known of some labels, of one kind: the sum over the kinds is the table's."""

    rows: Tensor | None  # (n, dim) what embeddings are multiplied with
    words: sp.csr_array | None = None  # (n, n_words)


@dataclass(frozen=True)
class TextScores:
    """One text's scores of some labels, taken apart."""

    scores: NDArray[np.float64]  # (n_labels,)
    parts: dict[str, NDArray[np.float64]]  # (n_labels,) each; their sum is the score
    ids: NDArray[np.int64]  # (n_ids,) tokens of the text, each once
    of_tokens: NDArray[np.float64]  # (n_ids, n_labels) what they add
    of_left_out: NDArray[np.float64]  # (n_left_out, n_labels) what a text loses without a word


def has_all_in_sums(ranker: Ranker, tokens: TokenStore) -> bool:
    """Whether a text's scores are sums over its tokens, so that no word need be left out."""
    is_linear = isinstance(ranker.head, LinearHead)
    return is_linear and ranker.module.addends(tokens).shape[1] == ranker.module.dim


@torch.inference_mode()
def scores_apart(
    ranker: Ranker,
    tokens: TokenStore,  # one text
    left_out: TokenStore | None,  # the text without one word after the other
    labels: NDArray[np.int64],  # (n_labels,)
    scores: NDArray[np.float32],  # (n_labels,) as prediction gives them
    parts: Mapping[str, Part],  # of these labels
    *,
    is_summed: bool,  # tokens have places in the text: sums over them can be shown
) -> TextScores:
    """Take one text's scores apart."""
    apart = _Apart(ranker, labels, parts, _is_candidate(ranker, tokens, labels))
    values = {name: value[0] for name, value in apart.values(tokens).items()}
    ids, of_tokens = np.zeros(0, np.int64), np.zeros((0, len(labels)))
    rest = apart.whole
    if is_summed:
        ids = np.unique(tokens.ids)
        of_tokens, n_exact = apart.of_tokens(tokens, ids)
        rest = partial(apart.rest, n_exact=n_exact)
    of_left_out = np.zeros((0, len(labels)))
    if left_out is not None:
        of_left_out = rest(tokens) - rest(left_out)
    is_unseen = scores <= UNSEEN_SCORE
    of_tokens[:, is_unseen] = of_left_out[:, is_unseen] = 0
    for value in values.values():
        value[is_unseen] = 0
    exact = scores.astype(np.float64)
    if ranker.reranker is not None:
        values[SECOND_STAGE] = np.where(is_unseen, 0, exact - sum(values.values()))
    if is_unseen.any():
        values[UNSEEN] = np.where(is_unseen, exact, 0)
    return TextScores(exact, values, ids, of_tokens, of_left_out)


def _is_candidate(
    ranker: Ranker, tokens: TokenStore, labels: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """The labels that the second stage ranks anew for the text."""
    if ranker.reranker is None:
        return np.zeros(len(labels), bool)
    first = ranker.with_reranker(None)
    return np.isin(labels, first.top_k(tokens, min(CANDIDATES, ranker.n_labels))[0])


@dataclass(frozen=True)
class _Apart:
    """Pieces of some labels' scores."""

    ranker: Ranker
    labels: NDArray[np.int64]
    parts: Mapping[str, Part]
    is_candidate: NDArray[np.bool_]

    def values(self, tokens: TokenStore) -> dict[str, NDArray[np.float64]]:  # (n_texts, n_labels)
        """Each part's share of the scores, but the second stage's."""
        rows, values = self._rows(tokens), {}
        for name, part in self.parts.items():
            value = np.zeros((len(tokens), len(self.labels)))
            if part.rows is not None:
                value += rows @ _double(part.rows).T
            if part.words is not None:
                value += (_words(tokens, part.words.shape[1]) @ part.words.T).toarray()
            values[name] = value
        return values

    def of_tokens(
        self, tokens: TokenStore, ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], int]:
        """What a text's tokens add, (n_ids, n_labels), and how many numbers of the embedding do."""
        effects = np.zeros((len(ids), len(self.labels)))
        addends, n_exact = self._addends(tokens)
        tables = [_double(p.rows[:, :n_exact]) for p in self.parts.values() if p.rows is not None]
        np.add.at(effects, np.searchsorted(ids, tokens.ids), addends @ np.sum(tables, 0).T)
        words = [part.words for part in self.parts.values() if part.words is not None]
        for table in words:
            weights = _words(tokens, table.shape[1])
            effects += _columns(table, ids) * _columns(weights, ids)
        if (reranker := self.ranker.reranker) is not None:
            found = features(tokens, reranker.idf)
            weights = reranker.classifiers.weights[self.labels]
            added = _columns(weights, ids) * _columns(found, ids) * reranker.weight
            effects += added * self.is_candidate
        return effects, n_exact

    def rest(self, tokens: TokenStore, n_exact: int) -> NDArray[np.float64]:
        """What `of_tokens` does not explain, (n_texts, n_labels)."""
        tables = [_double(p.rows[:, n_exact:]) for p in self.parts.values() if p.rows is not None]
        return self._rows(tokens)[:, n_exact:] @ np.sum(tables, 0).T

    def whole(self, tokens: TokenStore) -> NDArray[np.float64]:
        """All that tells the scores apart, (n_texts, n_labels)."""
        whole: NDArray[np.float64] = np.sum(list(self.values(tokens).values()), 0)
        if (reranker := self.ranker.reranker) is not None:
            whole += self.is_candidate * self._margins(reranker, tokens) * reranker.weight
        return whole

    def _margins(self, reranker: Reranker, tokens: TokenStore) -> NDArray[np.float32]:
        labels = np.tile(self.labels, (len(tokens), 1))
        return reranker.classifiers.margins(features(tokens, reranker.idf), labels)

    def _rows(self, tokens: TokenStore) -> NDArray[np.float64]:
        """What labels' rows are multiplied by, (n_texts, width)."""
        return self.ranker.embed(tokens).astype(np.float64)

    def _addends(self, tokens: TokenStore) -> tuple[NDArray[np.float64], int]:
        """What tokens add to that, (n_tokens, n), and n."""
        ranker, head = self.ranker, self.ranker.head
        if not isinstance(head, LinearHead):
            return np.zeros((len(tokens.ids), 0)), 0
        with autocast(ranker.device, ranker.dtype):
            addends = ranker.module.addends(tokens).float()
            embedding = ranker.module(tokens).float()
        n = addends.shape[1]
        factors = head.factors(embedding)[:, :n].to(addends.device)
        return _double(addends * factors), n


def _double(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().cpu().double().numpy()


def _words(tokens: TokenStore, n_words: int) -> sp.csr_array:
    """Weights of texts' words."""
    return replace(tokens, others=None, vectors=None).as_csr(n_words)


def _columns(table: sp.csr_array, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Some columns, as rows; 0 where the table has none."""
    columns, is_there = np.zeros((len(ids), table.shape[0])), ids < table.shape[1]
    columns[is_there] = table[:, ids[is_there]].toarray().T
    return columns
