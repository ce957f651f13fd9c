"""Parts of texts, labels and random numbers, and what is reduced over parts."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from skxc._data._shares import column_share, even_sizes, part_of, text_share
from skxc._data._tokens import TokenStore
from skxc._functional._losses import DecoupledSoftmax, OneVsAll, Softmax, SoftTopK
from skxc._functional._reduce import as_it_is, log_sum_exp
from skxc._kernels import RowNoise, _row_noise


@pytest.mark.parametrize("n_parts", [1, 2, 3, 7])
@pytest.mark.parametrize("lengths", [[], [5], [0, 0, 0], [3] * 10, [100, 1, 1, 1, 1, 1, 1, 1]])
def test_parts_hold_every_text_once(lengths, n_parts):
    sizes = even_sizes(np.array(lengths, np.int64), n_parts)
    assert len(sizes) == n_parts
    assert min(sizes) >= 0
    parts = [part_of(sizes, number) for number in range(n_parts)]
    assert [i for part in parts for i in range(len(lengths))[part]] == list(range(len(lengths)))


def test_parts_take_about_as_long_as_each_other():
    """A batch's long texts, then a pool's short ones."""
    lengths = np.repeat([60, 3], [256, 512])
    sizes = even_sizes(lengths, 2)
    first = lengths[: sizes[0]].sum() + sizes[0]
    assert abs(first / (lengths.sum() + len(lengths)) - 0.5) < 0.01


def test_all_is_no_copy():
    tokens = TokenStore(np.arange(5, dtype=np.uint16), np.array([0, 2, 5]))
    assert text_share(tokens, slice(0, 2)) is tokens
    assert text_share(tokens, slice(1, 2)).ids.tolist() == [2, 3, 4]
    matrix = tokens.as_csr(6)
    assert column_share(matrix, slice(0, 6)) is matrix
    np.testing.assert_array_equal(
        column_share(matrix, slice(2, 5)).toarray(), matrix.toarray()[:, 2:5]
    )


@pytest.mark.parametrize("first", [0, 1, 9, 10, 11, 27])
@pytest.mark.parametrize("is_strided", [False, True])
def test_a_part_of_a_table_draws_what_the_whole_one_would(monkeypatch, first, is_strided):
    """Wherever it begins, and however it lies in memory."""
    monkeypatch.setitem(_row_noise._BLOCKS, "cpu", 10)
    whole = RowNoise(3).normal_(torch.empty(30, 5), 0.02)
    part = torch.empty(30 - first, 8)[:, :5] if is_strided else torch.empty(30 - first, 5)
    RowNoise(3, first).normal_(part, 0.02)
    assert torch.equal(part, whole[first:])
    bits = RowNoise(3).halves(whole)
    assert torch.equal(RowNoise(3).from_row(first).halves(part), bits[first:])
    assert bits.min() >= 0
    assert bits.max() < 1 << 16


def test_blocks_seeds_and_streams_differ(monkeypatch):
    monkeypatch.setitem(_row_noise._BLOCKS, "cpu", 10)
    rows = torch.empty(20, 5)
    drawn = [noise.halves(rows) for noise in (RowNoise(0), RowNoise(1), RowNoise(0, stream=1))]
    drawn += [drawn[0][:10].repeat(2, 1)]
    for i, one in enumerate(drawn):
        assert all((one[10:] != other[10:]).float().mean() > 0.9 for other in drawn[:i])
    large = RowNoise(0).normal_(torch.empty(20_000, 5), 2.0)
    assert abs(large.mean()) < 0.05
    assert abs(large.std() - 2) < 0.05


def test_only_the_rows_that_are_asked_for_are_drawn(monkeypatch):
    monkeypatch.setitem(_row_noise._BLOCKS, "cpu", 10)
    whole = RowNoise(3).normal_(torch.empty(30, 5), 1.0)
    is_drawn = torch.zeros(30, dtype=torch.bool)
    is_drawn[[2, 25]] = True
    rows = RowNoise(3).normal_(torch.zeros(30, 5), 1.0, is_drawn)
    assert torch.equal(rows, whole * is_drawn[:, None])


class Parts:
    """Parts of a reduction, made one after the other: the first round notes, the second answers."""

    def __init__(self, n: int) -> None:
        self.n, self.noted, self.place = n, [], 0

    def reduce_(self, tensor, op):
        """What all parts' `tensor` come to, once all of them have been seen."""
        if self.place == len(self.noted):
            self.noted.append([])
        seen, self.place = self.noted[self.place], self.place + 1
        if len(seen) < self.n:
            seen.append(tensor.clone())
            raise WaitingError
        joined = torch.stack(seen)
        return tensor.copy_({"sum": joined.sum, "min": joined.amin, "max": joined.amax}[op](0))

    def run(self, functions):
        """The results of functions that take `reduce_`."""
        while True:
            results = []
            for function in functions:
                self.place = 0
                try:
                    results.append(function(self.reduce_))
                except WaitingError:
                    continue
            if len(results) == self.n:
                return results


class WaitingError(Exception):
    """For the other parts."""


SOME_LOSSES = [
    Softmax(), DecoupledSoftmax(), SoftTopK(k=3, alpha=1.5), SoftTopK(k="n_positives"), OneVsAll(),
]  # fmt: skip


@pytest.mark.parametrize("loss", SOME_LOSSES, ids=str)
@pytest.mark.parametrize("n_parts", [2, 3])
def test_statistics_over_parts_of_the_columns_are_those_of_all(loss, n_parts):
    g = torch.Generator().manual_seed(0)
    scores = 3 * torch.randn(6, 17, dtype=torch.float64, generator=g)
    scores[torch.rand(6, 17, generator=g) < 0.2] = -torch.inf
    scores[1, :6] = -torch.inf  # a row that a part has nothing of
    relevances = torch.tensor([1.0, 3.0, 0.3, 6.5, 0.0, 17.0], dtype=torch.float64)
    want = loss.row_statistics(lambda: scores.split(4, 1), relevances)
    functions = [
        partial(loss.row_statistics, lambda part=part: part.split(3, 1), relevances)
        for part in scores.tensor_split(n_parts, 1)
    ]
    for got in Parts(n_parts).run(functions):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_the_logarithm_of_a_sum_is_exact_where_all_columns_are_here():
    logarithms = torch.tensor([0.1, -1e30, -torch.inf, 700.0])
    assert torch.equal(log_sum_exp(logarithms, as_it_is), logarithms)
