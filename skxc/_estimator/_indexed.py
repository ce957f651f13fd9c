"""The index of the approximate search: built when first needed, kept while the labels stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from skxc._search._approximate import LabelIndex, pays
from skxc._search._building import building
from skxc._search._ranker import LabelTable, Ranker, Search
from skxc._validation import check_choice

from ._fitted import FittedModel
from ._parameters import SEARCHES


class IndexedModel(FittedModel):
    """Searches as the parameter `search` says."""

    _index: LabelIndex | None = None  # not pickled, as it is no part of what was learnt
    # of a loaded model, until it is needed: the table that it is of, and its arrays
    _saved_index: tuple[NDArray[Any], Mapping[str, NDArray[Any]]] | None = None

    def _search(self, ranker: Ranker, k: int) -> Search | None:
        """The approximate search for `k` labels, or None where it is to be exact."""
        check_choice("search", self.search, SEARCHES)
        table = ranker.table
        n_seen = len(table.rows) - (0 if table.unseen is None else len(table.unseen))
        is_exact = self.search == "exact" or table.rows.device.type != "cpu"
        return None if is_exact or not pays(n_seen, k) else self._get_index(table).search(ranker)

    def _get_index(self, table: LabelTable) -> LabelIndex:
        """The table's index."""
        with building(self):
            index = self._index
            if index is None or not index.is_of(table):
                index = None if index is None else index.extended(table)
                index = index or self._restored_index(table) or LabelIndex.built(table)
                self._index, self._saved_index = index, None
            return index

    def _restored_index(self, table: LabelTable) -> LabelIndex | None:
        """The index that was saved with this table."""
        if self._saved_index is None or self._saved_index[0] is not self.label_embeddings_:
            return None
        try:
            return LabelIndex.restored(self._saved_index[1], table)
        except ValueError as error:
            raise ValueError(
                f"The index that was saved with this model cannot be used: {error}. Load a sound "
                f"copy of the model, or drop the index: save the model with search='exact', and "
                f"load that."
            ) from error

    def _index_arrays(self) -> Mapping[str, NDArray[Any]] | None:
        """What `save` writes of the index, where `search="approximate"`."""
        if self.search == "exact":
            return None
        saved = self._saved_index
        if saved is not None and saved[0] is self.label_embeddings_:
            return saved[1]
        with self._predicting() as ranker:
            self._search(ranker, min(self.top_k, self.n_labels_))  # builds it where it pays
            index = self._index
            return index.arrays() if index is not None and index.is_of(ranker.table) else None
