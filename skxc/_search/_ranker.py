"""The model: an encoder, a head and a table of labels. It embeds, searches and scores."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from skxc import _distributed as processes
from skxc._data._batches import TrainingRows, length_sorted_slices
from skxc._data._shares import column_share, even_sizes, part_of, text_share
from skxc._data._tokens import TokenStore
from skxc._functional._lexical import BatchWords
from skxc._functional._pairs import Pairs
from skxc._functional._top_k import UNSEEN_SCORE, has_values, top_k_inner_products
from skxc._kernels._int8 import PRODUCTS_AT_ONCE, has_int8_products
from skxc.encoders._base import EncoderModule, autocast

from ._building import built_once
from ._head import LinearHead
from ._reranker import CANDIDATES, Reranker
from ._shares import best_of_all

if TYPE_CHECKING:
    from ._eight_bits import EightBitTable

# of one batch: embeddings (batch, dim), tokens, k, excluded pairs -> labels and scores, (batch, k)
Search = Callable[
    [Tensor, TokenStore, int, sp.csr_array | None],
    tuple[NDArray[np.int64], NDArray[np.float32]],
]


class SearchSizes(NamedTuple):
    """What `Ranker` does at once."""

    texts: int  # embedded and searched for
    tokens: int  # padded ones, of these texts
    scores: int  # texts times labels; float32


# a CPU's scores stay in its cache (8 MiB); a GPU needs work for all of its units (256 MiB)
_SIZES = {"cpu": SearchSizes(256, 1 << 14, 1 << 21), "cuda": SearchSizes(1024, 1 << 15, 1 << 26)}
# what a ranker builds when it is first needed
_TABLE, _EIGHT_BITS = "_table", "_eight_bits"
_BUILT = {_TABLE, _EIGHT_BITS}
# The search in eight bits. Smaller tables take a fraction of a millisecond in any case.
_LEAST_NUMBERS = 1 << 20
# texts at once up to which numba's products are faster than torch's in float32
_MOST_TEXTS = 8
# With fewer labels a result, too many are candidates. Few texts in float32 wait for memory.
_LABELS_A_RESULT, _OF_FEW_TEXTS, _FEW_TEXTS = 256, 16, 32
_MOST_RESULTS = 1024  # a text's candidates are a few times as many
_CANDIDATE_BYTES = 1 << 16  # of a text
_ALIGNMENT = 64  # bytes, of torch's tensors
# bytes a score: float32, and what finding the best of them takes
_BYTES_A_SCORE = {"cpu": 5, "cuda": 6}


def search_sizes(device: torch.device) -> SearchSizes:
    """For this kind of device."""
    return _SIZES.get(device.type, _SIZES["cuda"])


def is_fast_in_eight_bits(
    n_texts: int, n_labels: int, dim: int, k: int, device: torch.device
) -> bool:
    """Whether that is the faster way to search."""
    is_large = n_labels * dim >= _LEAST_NUMBERS
    least = _OF_FEW_TEXTS if n_texts <= _FEW_TEXTS else _LABELS_A_RESULT
    has_few_results = k <= min(n_labels // least, _MOST_RESULTS)
    has_products = n_texts <= _MOST_TEXTS or has_int8_products()
    return device.type == "cpu" and is_large and has_few_results and has_products


class LabelTable(NamedTuple):
    """What texts are scored against, on the device."""

    rows: Tensor  # (n_labels, dim)
    unseen: Tensor | None  # ascending labels about which nothing is known: they rank last
    words: sp.csr_array | None = None  # (n_labels, n_words) weights, on the host

    @classmethod
    def of(cls, rows: Tensor, words: sp.csr_array | None = None) -> LabelTable:
        """The table; labels whose row is 0 are unseen."""
        unseen = (~has_values(rows)).nonzero().squeeze(1)
        return cls(rows, unseen if len(unseen) else None, words)

    def word_scores(self, tokens: TokenStore) -> Callable[[int, int], Tensor] | None:
        """What the words add to the scores of a range of labels, (len(tokens), stop - start)."""
        if self.words is None:
            return None
        table, batch = self.words, BatchWords(tokens.as_csr(self.words.shape[1]))

        def added(start: int, stop: int) -> Tensor:
            entries = batch.entries(table, np.arange(start, stop))
            weights = torch.from_numpy(table.data[entries.positions])
            return batch.scores(entries, weights).T.to(self.rows.device)

        return added


@dataclass(frozen=True, eq=False)
class Ranker:
    """Embeds texts and finds their best labels. It trains nothing."""

    module: EncoderModule
    head: Callable[[Tensor], Tensor]  # from the encoder's output to what the rows are multiplied by
    make_table: Callable[[], LabelTable]  # called when first needed: embedding alone needs none
    dtype: torch.dtype  # bfloat16: the encoder runs under autocast
    reranker: Reranker | None = None  # the second stage
    n_of_all: int | None = None  # labels of all processes; the table is this one's share of them

    def of_shares(self, n_labels: int) -> Ranker:
        """The model whose table is a share of so many labels: all processes search together."""
        return self if processes.size() == 1 else replace(self, n_of_all=n_labels)

    @property
    def n_labels(self) -> int:
        """Labels that are searched."""
        return len(self.table.rows) if self.n_of_all is None else self.n_of_all

    def with_reranker(self, reranker: Reranker | None) -> Ranker:
        """The same model with this second stage."""
        ranker = replace(self, reranker=reranker)
        vars(ranker).update({name: vars(self)[name] for name in _BUILT & {*vars(self)}})
        return ranker

    @property
    def table(self) -> LabelTable:
        """The labels."""
        return built_once(self, _TABLE, self.make_table)

    @property
    def device(self) -> torch.device:
        """Where the encoder is."""
        return next(self.module.parameters()).device

    def embed_labels(self, tokens: TokenStore) -> NDArray[np.float32]:
        """Label texts as rows of the table, (len(tokens), dim)."""
        head = self.head.of_labels if isinstance(self.head, LinearHead) else self.head
        return replace(self, head=head).embed(tokens)

    def embed(self, tokens: TokenStore) -> NDArray[np.float32]:
        """What is multiplied with the table's rows, (len(tokens), dim)."""
        embeddings = None
        sizes = search_sizes(self.device)
        for rows in length_sorted_slices(tokens.lengths, sizes.texts, sizes.tokens):
            part = self._embed_together(tokens.take(rows)).cpu().numpy()
            if embeddings is None:
                embeddings = np.empty((len(tokens), part.shape[1]), np.float32)
            embeddings[rows] = part
        assert embeddings is not None  # check_texts refuses an empty X
        return embeddings

    def top_k(
        self,
        tokens: TokenStore,
        k: int,
        exclude: sp.csr_array | None = None,
        search: Search | None = None,  # None: an exact one
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Embed and search batch by batch: neither embeddings nor scores of all texts are held."""
        labels = np.empty((len(tokens), k), np.int64)
        scores = np.empty((len(tokens), k), np.float32)
        n_found = self.n_searched(k)
        search = search or (self.exact_top_k if self.n_of_all is None else self._top_k_of_shares)
        sizes = self._sizes
        for rows in length_sorted_slices(tokens.lengths, sizes.texts, sizes.tokens):
            part, mask = tokens.take(rows), None if exclude is None else exclude[rows]
            found = search(self._embed_together(part), part, n_found, mask)
            if self.reranker is not None:
                found = self.reranker.top(part, *found)
            labels[rows], scores[rows] = found[0][:, :k], found[1][:, :k]
        return labels, scores

    def n_searched(self, k: int) -> int:
        """Labels of a text that are searched for, to give the `k` best."""
        return k if self.reranker is None else min(max(k, CANDIDATES), self.n_labels)

    @property
    def _sizes(self) -> SearchSizes:
        # words are scored on the host
        return search_sizes(self.device if self.table.words is None else torch.device("cpu"))

    def exact_top_k(
        self, embeddings: Tensor, tokens: TokenStore, k: int, exclude: sp.csr_array | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best of all labels, of one batch."""
        n_labels, dim = (rows := self.table.rows).shape
        if is_fast_in_eight_bits(len(tokens), n_labels, dim, k, rows.device):
            table = built_once(self, _EIGHT_BITS, self._make_eight_bits)
            found = None if table is None else table.top_k(embeddings, tokens, k, exclude)
            if found is not None:
                return found
        return self._top_k_in_float32(embeddings, tokens, k, exclude)

    def _top_k_of_shares(
        self, embeddings: Tensor, tokens: TokenStore, k: int, exclude: sp.csr_array | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Likewise, each process among its own."""
        own = processes.share(self.n_labels)
        n_own = own.stop - own.start
        found = np.empty((len(tokens), 0), np.int64), np.empty((len(tokens), 0), np.float32)
        if n_own:
            mask = None if exclude is None else column_share(exclude, own)
            found = self.exact_top_k(embeddings, tokens, min(k, n_own), mask)
        return best_of_all(*found, self.n_labels, k)

    def _make_eight_bits(self) -> EightBitTable | None:
        """None without numba, or where it would not be exact."""
        try:
            from ._eight_bits import EightBitTable
        except ImportError:
            return None
        return EightBitTable.of(*self.table)

    def _top_k_in_float32(
        self, embeddings: Tensor, tokens: TokenStore, k: int, exclude: sp.csr_array | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        table = self.table
        copied_dim = table.rows.shape[1] if table.rows.dtype != torch.float32 else 0
        labels, scores = top_k_inner_products(
            embeddings,
            table.rows,
            k,
            chunk_size=max(self._sizes.scores // max(len(tokens), copied_dim), k),
            exclude=None if exclude is None else _pairs(exclude, table.rows.device),
            unseen=table.unseen,
            added=table.word_scores(tokens),
        )
        return labels.cpu().numpy(), scores.float().cpu().numpy()

    def scores(self, tokens: TokenStore, exclude: sp.csr_array | None) -> NDArray[np.float32]:
        """The scores of all labels, (len(tokens), n_labels); -inf where a pair is excluded."""
        table = self.table
        embeddings = torch.from_numpy(self.embed(tokens)).to(table.rows.device)
        scores = _exact_products(embeddings, table.rows)
        if table.words is not None:  # not all at once: a batch is dense over its words
            n_parts = -(-len(tokens) // search_sizes(torch.device("cpu")).texts)
            for rows in np.array_split(np.arange(len(tokens)), n_parts):
                added = table.word_scores(tokens.take(rows))
                assert added is not None
                scores[rows] += added(0, len(table.rows)).cpu().numpy()
        if table.unseen is not None:
            scores[:, table.unseen.cpu().numpy()] = UNSEEN_SCORE
        if exclude is not None:
            scores[exclude.nonzero()] = -np.inf
        if self.reranker is not None:
            self.reranker.rescore_all_(tokens, scores)
        return scores

    def hard_negatives(self, rows: TrainingRows, k: int) -> NDArray[np.int32]:
        """The best wrong labels of training texts, (len(rows), k); -1: none."""
        known = rows.Y if rows.exclude is None else rows.Y + rows.exclude
        labels, scores = self.top_k(rows.tokens, k, known)
        labels[scores <= UNSEEN_SCORE] = -1
        return labels.astype(np.int32)

    def precision_at_1(self, rows: TrainingRows) -> float:
        """P@1 on texts whose labels are known, as `score` gives it."""
        labels, _ = self.top_k(rows.tokens, 1, rows.exclude)
        hits = np.asarray(rows.Y[np.arange(len(labels)), labels[:, 0]]).ravel() > 0
        weights = rows.sample_weight
        if weights is not None and not weights.any():
            weights = None
        return float(np.average(hits, weights=weights))

    def _embed_together(self, tokens: TokenStore) -> Tensor:
        """A batch's embeddings; where the labels are shared out, each process embeds a part."""
        if self.n_of_all is None:
            return self._embed_batch(tokens)
        sizes = even_sizes(tokens.lengths, processes.size())
        own = part_of(sizes, processes.rank())
        if own.start < own.stop:
            part = self._embed_batch(text_share(tokens, own))
        else:
            with torch.inference_mode():
                part = self.head(torch.empty(0, self.module.dim, device=self.device))
        return processes.all_gather_rows(part, sizes)

    @torch.inference_mode()
    def _embed_batch(self, tokens: TokenStore) -> Tensor:
        with autocast(self.device, self.dtype):
            embeddings = self.module(tokens)
        return self.head(embeddings.float())


def search_bytes(
    n_texts: int,
    n_labels: int,
    dim: int,  # of the table's rows
    device: torch.device,
    *,
    n_words: int = 0,  # of all labels
    is_copied: bool = False,  # the rows, to float32
) -> int:
    """What `Ranker.top_k` holds: scores and their best, and a table in eight bits."""
    sizes = search_sizes(device)
    n_at_once = min(sizes.texts, n_texts)
    a_score = _BYTES_A_SCORE.get(device.type, _BYTES_A_SCORE["cuda"])
    n_bytes = a_score * min(sizes.scores, n_at_once * n_labels)
    n_bytes += 4 * min(sizes.scores, n_labels * dim) * is_copied
    if n_texts and is_fast_in_eight_bits(1, n_labels, dim, 1, device):  # of a last batch at least
        products = 4 * min(PRODUCTS_AT_ONCE, n_at_once * n_labels) + _CANDIDATE_BYTES * n_at_once
        n_bytes = max(n_bytes, products) + n_labels * (dim + 12) + 8 * n_words
    return n_bytes


def _exact_products(embeddings: Tensor, table: Tensor) -> NDArray[np.float32]:
    """All inner products, in float64: a text's scores then do not depend on its batch.

    A float32 product rounds a row differently wherever it stands in the batch.
    """
    scores = np.empty((len(embeddings), len(table)), np.float32)
    chunk_size = max(search_sizes(table.device).scores // max(embeddings.shape), 1)
    for start in range(0, len(table), chunk_size):
        chunk = table[start : start + chunk_size].double()
        scores[:, start : start + chunk_size] = (embeddings.double() @ chunk.T).cpu().numpy()
    return scores


def _pairs(mask: sp.csr_array, device: torch.device) -> Pairs[Tensor]:
    """The mask's pairs, sorted by label."""
    rows, labels = mask.nonzero()
    order = np.argsort(labels, kind="stable")
    return Pairs(*(torch.from_numpy(a[order].astype(np.int64)).to(device) for a in (labels, rows)))


def as_read_only_tensor(array: NDArray[Any]) -> Tensor:
    """A tensor that shares `array`'s memory, which may be a read-only map: only read it.

    A small array that is not aligned as torch's own are, as an unpickled one, is copied: some
    processors round a product by where its factors begin, and the model is to predict what it did
    before. Large tables are aligned in files, and mostly searched in eight bits.
    """
    array = np.asarray(array)
    if array.size < _LEAST_NUMBERS and array.ctypes.data % _ALIGNMENT:
        return torch.tensor(array)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writ", UserWarning)
        return torch.from_numpy(array)
