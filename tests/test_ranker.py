"""What the search holds at once."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from allocations import Allocations
from torch import nn

from skxc._data._tokens import TokenStore
from skxc._search import _eight_bits, _ranker
from skxc._search._eight_bits import EightBitTable
from skxc._search._ranker import (
    LabelTable,
    Ranker,
    SearchSizes,
    as_read_only_tensor,
    search_bytes,
)

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


@pytest.mark.parametrize("n_bytes", [0, 4, 24, 64])
def test_a_small_table_lies_where_torchs_own_do(n_bytes):
    """Elsewhere, as in a file, some processors round products otherwise."""
    buffer = np.zeros(4 * 300 + 128, np.uint8)
    start = -buffer.ctypes.data % 64 + n_bytes
    array = buffer[start : start + 1200].view(np.float32).reshape(30, 10)
    array[:] = np.arange(300).reshape(30, 10)
    array.flags.writeable = False
    tensor = as_read_only_tensor(array)
    assert tensor.data_ptr() % 64 == 0
    assert (tensor.data_ptr() == array.ctypes.data) == (n_bytes % 64 == 0)
    np.testing.assert_array_equal(tensor, array)


def test_a_large_table_is_not_copied():
    array = np.zeros((1 << 20) + 1, np.float32)[1:]
    assert as_read_only_tensor(array).data_ptr() == array.ctypes.data


@pytest.mark.parametrize("n_texts", [1, 8])
def test_a_search_in_eight_bits_holds_what_it_says(monkeypatch, n_texts):
    """NumPy's arrays; what numba's loops hold besides is a text's scores."""
    monkeypatch.setattr(_eight_bits, "has_int8_products", lambda: False)
    monkeypatch.setattr(_ranker, "has_int8_products", lambda: True)
    n_labels, dim, n_words = 50_000, 64, 200_000
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.standard_normal((n_labels, dim), np.float32))
    words = sp.random(n_labels, 10, n_words / n_labels / 10, "csr", np.float32, random_state=0)
    words = sp.csr_array(words)
    tokens = TokenStore(np.zeros(0, np.uint16), np.zeros(n_texts + 1, np.int64), np.zeros(0, "f"))

    def searched():
        return EightBitTable.of(rows, None, words).top_k(rows[:n_texts], tokens, 5)

    searched()  # compiled
    tracemalloc.start()
    labels, _ = searched()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    said = search_bytes(n_texts, n_labels, dim, CPU, n_words=words.nnz)
    assert 0.85 * said < peak < 1.15 * said
    assert (labels[:, 0] == np.arange(n_texts)).all()
