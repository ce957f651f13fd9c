"""What the search holds at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from allocations import Allocations
from torch import nn

from skxc._data._tokens import TokenStore
from skxc._search import _ranker
from skxc._search._ranker import LabelTable, Ranker, SearchSizes, search_bytes

N_LABELS, DIM = 20_000, 32
CPU = torch.device("cpu")


class Rows(nn.Module):
    """A token's row is its text's embedding."""

    def __init__(self):
        super().__init__()
        self.rows = nn.Parameter(torch.randn(10, DIM, generator=torch.Generator().manual_seed(0)))

    def forward(self, tokens):
        return self.rows[torch.from_numpy(tokens.ids.astype(np.int64))]


def make_ranker(dtype):
    g = torch.Generator().manual_seed(1)
    table = LabelTable(torch.randn(N_LABELS, DIM, generator=g).to(dtype), None)
    return Ranker(Rows(), lambda x: x, lambda: table, torch.float32)


def tokens_of(n_texts):
    return TokenStore(np.arange(n_texts, dtype=np.uint16), np.arange(n_texts + 1))


@pytest.fixture(autouse=True)
def _few_scores(monkeypatch):
    monkeypatch.setitem(_ranker._SIZES, "cpu", SearchSizes(8, 1 << 14, 1 << 15))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n_texts", [1, 8])
def test_a_search_holds_what_it_says_however_few_texts_there_are(n_texts, dtype):
    ranker = make_ranker(dtype)
    table = ranker.table.rows.float()
    with Allocations() as allocations:
        labels, scores = ranker.top_k(tokens_of(n_texts), 5)
    is_copied = dtype == torch.bfloat16
    held = allocations.peak - ranker.table.rows.nbytes
    small = 30_000  # embeddings, and the best of them
    assert held < search_bytes(n_texts, N_LABELS, DIM, CPU, is_copied=is_copied) + small
    want = (ranker.module.rows[:n_texts].detach() @ table.T).topk(5)
    np.testing.assert_array_equal(labels, want.indices)
    np.testing.assert_allclose(scores, want.values, rtol=1e-5)


@pytest.mark.parametrize("n_texts", [1, 10])
def test_all_scores_of_a_text_take_no_copy_of_the_table(n_texts):
    ranker = make_ranker(torch.float32)
    table = ranker.table.rows
    with Allocations() as allocations:
        scores = ranker.scores(tokens_of(n_texts), None)
    assert allocations.peak - table.nbytes < 3 * 8 * (1 << 15)  # float64
    want = ranker.module.rows[:n_texts].detach().double() @ table.double().T
    np.testing.assert_allclose(scores, want, rtol=1e-6)
