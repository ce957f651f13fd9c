"""Streamed exact search against the dense score matrix."""

from __future__ import annotations

import pytest
import torch

from skxc._functional import _top_k
from skxc._functional._pairs import Pairs
from skxc._functional._top_k import UNSEEN_SCORE, top_k_inner_products, top_k_of_rows


@pytest.fixture(params=["as on a CPU", "as on a GPU"], autouse=True)
def place(request, monkeypatch):
    """Both ways to search: a CPU looks at values, a GPU is not waited for."""
    if request.param == "as on a GPU":
        monkeypatch.setattr(_top_k, "_is_on_host", lambda _: False)


@pytest.mark.parametrize("chunk_size", [1, 7, 64, 1000])
@pytest.mark.parametrize("k", [1, 5, 1000, 2000])
def test_streamed_top_k_equals_dense(chunk_size, k):
    g = torch.Generator().manual_seed(k)
    queries = torch.randn(6, 4, dtype=torch.float64, generator=g)
    table = torch.randn(1000, 4, dtype=torch.float64, generator=g)
    want = (queries @ table.T).sort(1, descending=True)
    labels, scores = top_k_inner_products(queries, table, k, chunk_size=chunk_size)
    torch.testing.assert_close(scores, want.values[:, :k])
    assert torch.equal(labels, want.indices[:, :k])


@pytest.mark.parametrize("chunk_size", [3, 10, 50])
def test_excluded_pairs_leave_before_the_cut(chunk_size):
    g = torch.Generator().manual_seed(0)
    queries, table = torch.randn(4, 3, generator=g), torch.randn(20, 3, generator=g)
    mask = torch.rand(4, 20, generator=g) < 0.5
    mask[0] = True
    mask[0, [3, 19]] = False  # two labels are left for row 0
    labels, rows = mask.T.nonzero(as_tuple=True)
    want = (queries @ table.T).masked_fill(mask, -torch.inf).sort(1, descending=True)
    got, scores = top_k_inner_products(
        queries, table, 5, chunk_size=chunk_size, exclude=Pairs(labels, rows)
    )
    torch.testing.assert_close(scores, want.values[:, :5])
    assert torch.equal(got[1:], want.indices[1:, :5])
    assert set(got[0, :2].tolist()) == {3, 19}
    assert got[0, 2:].tolist() == [-1, -1, -1]


@pytest.mark.parametrize("n_columns", [1, 99, 1024, 5003])
@pytest.mark.parametrize("k", [1, 3, 50])
def test_block_maxima_find_the_same_scores_as_topk(n_columns, k):
    k = min(k, n_columns)
    # few distinct values: ties across and within blocks
    scores = torch.randint(
        0, 50, (9, n_columns), generator=torch.Generator().manual_seed(1)
    ).float()
    values, columns = top_k_of_rows(scores, k)
    assert torch.equal(values, scores.topk(k).values)
    assert torch.equal(scores.gather(1, columns), values)
    assert all(len(set(row)) == k for row in columns.tolist())


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 20, 50])
@pytest.mark.parametrize("unseen", [[0], [19], [2, 3, 6], range(20)])
@pytest.mark.parametrize("excludes", [False, True])
def test_unseen_labels_come_after_all_others_with_a_finite_score(chunk_size, unseen, excludes):
    g = torch.Generator().manual_seed(0)
    queries, table = torch.randn(4, 3, generator=g), 100 * torch.randn(20, 3, generator=g)
    unseen = torch.tensor(unseen)
    dense = (queries @ table.T).index_fill(1, unseen, UNSEEN_SCORE)
    exclude = None
    if excludes:  # a label may be both: then it is not given at all
        mask = torch.rand(4, 20, generator=g) < 0.3
        dense = dense.masked_fill(mask, -torch.inf)
        exclude = Pairs(*mask.T.nonzero(as_tuple=True))
    labels, scores = top_k_inner_products(
        queries, table, 20, chunk_size=chunk_size, exclude=exclude, unseen=unseen
    )
    torch.testing.assert_close(scores, dense.sort(1, descending=True).values)
    for row, given, values in zip(dense, labels, scores, strict=True):
        n_given = int((row > -torch.inf).sum())
        assert len(set(given[:n_given].tolist())) == n_given
        torch.testing.assert_close(row[given[:n_given]], values[:n_given])
        assert given[n_given:].tolist() == [-1] * (20 - n_given)


@pytest.mark.parametrize("chunk_size", [1, 7, 100, 2000])
@pytest.mark.parametrize("k", [1, 2, 10, 1000, 2000])
@pytest.mark.parametrize("excludes", [False, True])
def test_equal_scores_come_in_the_labels_order(chunk_size, k, excludes):
    g = torch.Generator().manual_seed(0)
    queries = torch.randint(-1, 2, (20, 2), generator=g).float()  # some are 0: all labels tie
    table = torch.randint(0, 3, (1000, 2), generator=g).float()
    dense, pairs = queries @ table.T, None
    if excludes:
        mask = torch.rand(20, 1000, generator=g) < 0.5
        dense, pairs = dense.masked_fill(mask, -torch.inf), Pairs(*mask.T.nonzero(as_tuple=True))
    want = dense.sort(dim=1, descending=True, stable=True)
    labels, scores = top_k_inner_products(queries, table, k, chunk_size=chunk_size, exclude=pairs)
    assert torch.equal(scores, want.values[:, :k])
    expected = want.indices[:, :k].masked_fill(scores == -torch.inf, -1)
    assert torch.equal(labels, expected)


@pytest.mark.parametrize("k", [1, 5, 40])
@pytest.mark.parametrize("chunk_size", [50, 96, 133])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
def test_later_chunks_are_searched_by_maxima_of_blocks(k, chunk_size, share):
    """Few values, so ties; as many as 98 % excluded, so rows that run out of labels."""
    g = torch.Generator().manual_seed(k)
    table = torch.randint(-2, 3, (700, 3), generator=g).double()
    queries = torch.randint(-2, 3, (9, 3), generator=g).double()
    table[:300] *= 0.5  # the best come late
    is_out = torch.rand(700, 9, generator=g) < share
    pairs = Pairs(*is_out.nonzero(as_tuple=True))
    scores = (queries @ table.T).masked_fill(is_out.T, -torch.inf)
    want = scores.sort(dim=1, descending=True, stable=True)
    labels, found = top_k_inner_products(queries, table, k, chunk_size=chunk_size, exclude=pairs)
    assert torch.equal(found, want.values[:, :k])
    expected = want.indices[:, :k].masked_fill(found == -torch.inf, -1)
    assert torch.equal(labels, expected)
