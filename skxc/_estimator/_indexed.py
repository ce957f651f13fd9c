"""The index of the approximate search: built when first needed, kept while the labels stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from skxc._search._approximate import LEAST_LABELS, LabelIndex
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
        if self.search == "exact" or ranker.table.rows.device.type != "cpu":
            return None
        index = self._get_index(ranker.table)
        return index.search(ranker) if index is not None and index.serves(k) else None

    def _get_index(self, table: LabelTable) -> LabelIndex | None:
        """The table's index; None where it has too few labels for one."""
        n_seen = len(table.rows) - (0 if table.unseen is None else len(table.unseen))
        if n_seen < LEAST_LABELS:
            return None
        with building(self):
            index = self._index
            if index is None or not index.is_of(table):
                index = None if index is None else index.extended(table)
                self._index = index or self._restored_index(table) or LabelIndex.built(table)
                self._saved_index = None
            return self._index

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
        """What `save` writes of the index, which `search="approximate"` has by then."""
        if self.search == "exact":
            return None
        saved = self._saved_index
        if saved is not None and saved[0] is self.label_embeddings_:
            return saved[1]
        with self._predicting() as ranker:
            if self._search(ranker, 1) is None:
                return None
            index = self._get_index(ranker.table)
        return None if index is None else index.arrays()
