"""Optimisers, schedule and loop."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import nn

from skxc._data._batches import TrainingRows
from skxc._data._tokens import TokenStore
from skxc._training._loop import BestEpoch, Schedule, Step, train
from skxc._training._optim import (
    RowAdagrad,
    clip_gradients_,
    make_optimizers,
    rate_factor,
    summed_rows,
)
from skxc.encoders._bag_module import bag_of_rows


def sparse(rows, values, shape):
    indices = torch.tensor([rows])
    return torch.sparse_coo_tensor(indices, values, shape, is_coalesced=True, check_invariants=True)


def test_row_adagrad_equals_the_formula_on_the_rows_in_the_gradient():
    g = torch.Generator().manual_seed(0)
    start = torch.randn(6, 3, dtype=torch.float64, generator=g)
    table = nn.Parameter(start.clone())
    optimizer = RowAdagrad([table], lr=0.1)
    want, sums = start.clone(), torch.full((6,), 1e-16, dtype=torch.float64)
    for rows in ([0, 2, 5], [2, 3], [0, 2]):
        values = torch.randn(len(rows), 3, dtype=torch.float64, generator=g)
        table.grad = sparse(rows, values, start.shape)
        optimizer.step()
        for row, value in zip(rows, values, strict=True):
            sums[row] += (value**2).mean()
            want[row] -= 0.1 / sums[row].sqrt() * value
    torch.testing.assert_close(table.detach(), want, rtol=1e-12, atol=1e-12)
    assert torch.equal(table[[1, 4]].detach(), start[[1, 4]])


def test_row_adagrad_adds_up_a_row_that_two_backward_passes_touched():
    tables = [nn.Parameter(torch.ones(4, 2, dtype=torch.float64)) for _ in range(2)]
    twice = sparse([1, 3], torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64), (4, 2))
    tables[0].grad = twice + sparse([1], torch.tensor([[5.0, 5.0]], dtype=torch.float64), (4, 2))
    summed = torch.tensor([[6.0, 7.0], [3.0, 4.0]], dtype=torch.float64)
    tables[1].grad = sparse([1, 3], summed, (4, 2))
    for table in tables:
        RowAdagrad([table], lr=0.1).step()
    torch.testing.assert_close(tables[0], tables[1])


@pytest.mark.parametrize("rows", [[3], [1, 4, 5], [4, 1, 4, 0, 1, 1], []])
def test_rows_are_summed_without_a_look_at_them(rows):
    g = torch.Generator().manual_seed(0)
    rows = torch.tensor(rows, dtype=torch.int64)
    values = torch.randn(len(rows), 2, dtype=torch.float64, generator=g)
    summed = summed_rows(rows, values)
    zeros = torch.zeros(6, 2, dtype=torch.float64)
    torch.testing.assert_close(zeros.index_add(0, *summed), zeros.index_add(0, rows, values))
    kept = summed[0][summed[1].any(1)]
    assert len(kept.unique()) == len(kept)


def test_rows_of_zeros_that_fill_up_a_gradient_change_nothing():
    tables = [nn.Parameter(torch.ones(4, 2, dtype=torch.float64)) for _ in range(2)]
    twice = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 5.0]], dtype=torch.float64)
    for table, is_on_gpu in zip(tables, (False, True), strict=True):
        optimizer = RowAdagrad([table], lr=0.1)
        for rows in ([0, 3, 0], [2, 2, 2], [3, 1, 0]):
            indices, values = torch.tensor(rows), twice
            if is_on_gpu:  # as a gradient on a GPU is summed
                indices, values = summed_rows(indices, values)
            gradient = torch.sparse_coo_tensor(indices[None], values, (4, 2), check_invariants=True)
            table.grad = gradient if is_on_gpu else gradient.coalesce()
            with pytest.MonkeyPatch.context() as patch:
                if is_on_gpu:
                    patch.setattr("skxc._training._optim._coalesced", lambda g: g)
                optimizer.step()
    torch.testing.assert_close(tables[0], tables[1])


def test_warmup_rises_to_one_and_the_cosine_falls_to_zero():
    rates = [rate_factor(step, 100, 0.1, "cosine") for step in range(101)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_warmup_is_followed_by_a_line_or_by_nothing():
    rates = [rate_factor(step, 14, 0.3, "linear") for step in range(15)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, *(1 - i / 10 for i in range(11))])
    assert {rate_factor(step, 14, 0.3, "constant") for step in range(15)} == {1.0}


@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_short_schedules_never_start_at_zero(n_steps):
    assert all(0 < rate_factor(step, n_steps, 0.05, "cosine") <= 1 for step in range(n_steps))


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clipping_counts_dense_and_sparse_gradients_together(max_norm):
    dense, table = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(5, 2))
    dense.grad = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    table.grad = sparse([1, 4], torch.tensor([[5.0, 6.0], [7.0, 8.0]]), (5, 2))
    norm = math.sqrt(sum(i * i for i in range(1, 9)))
    scale = min(1, max_norm / norm)
    clip_gradients_([dense, table], max_norm)
    torch.testing.assert_close(dense.grad, scale * torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    torch.testing.assert_close(table.grad.to_dense()[4], scale * torch.tensor([7.0, 8.0]))


def test_no_weight_decay_on_one_dimensional_parameters():
    module = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    (optimizer,) = make_optimizers(module, 1e-3, 0.1)
    decayed = {id(p) for g in optimizer.param_groups if g["weight_decay"] for p in g["params"]}
    assert decayed == {id(module[0].weight)}


def test_adams_epsilon_is_that_of_the_settings():
    (optimizer,) = make_optimizers(nn.Linear(3, 2), 1e-3, 0.1, 1e-6)
    assert [group["eps"] for group in optimizer.param_groups] == [1e-6, 1e-6]


def test_row_sparse_tables_get_row_adagrad():
    module = nn.Linear(3, 2, bias=False)
    module.weight.is_row_sparse = True
    (optimizer,) = make_optimizers(module, 1e-3, 0.1)
    assert isinstance(optimizer, RowAdagrad)


class Quadratic(Step):
    """A step whose one parameter is drawn to 3: the loss tells how far it is."""

    def __init__(self, rows):
        self.value, self.rows = nn.Parameter(torch.zeros(1)), rows

    def parameters(self):
        return [self.value]

    def __call__(self, batch, rate, *, with_loss):
        loss = (self.value - 3).square().sum()
        loss.backward()
        return loss.detach() if with_loss else None

    def state(self):
        return {"value": self.value.detach()}


def make_rows(n):
    tokens = TokenStore(np.zeros(n, np.uint16), np.arange(n + 1))
    return TrainingRows(tokens, sp.csr_array((n, 1), dtype=np.float32))


def run(scores, patience):
    step, seen = Quadratic(make_rows(5)), []

    def validate():
        seen.append(step.value.item())
        return scores[len(seen) - 1]

    optimizer = torch.optim.SGD(step.parameters(), lr=0.05)
    settings = Schedule(epochs=len(scores), batch_size=2)
    best = BestEpoch(step, validate, patience)
    history = train(step, [optimizer], settings, np.random.default_rng(0), [best])
    return step.value.item(), seen, history


def test_training_ends_with_the_state_of_the_best_epoch():
    value, seen, history = run([0.1, 0.5, 0.3, 0.2], patience=10)
    assert len(set(seen)) == 4
    assert value == seen[1]
    assert [h["validation_score"] for h in history] == [0.1, 0.5, 0.3, 0.2]


def test_training_stops_after_so_many_epochs_without_improvement():
    value, seen, history = run([0.1, 0.5, 0.5, 0.4, 0.9], patience=2)
    assert len(history) == 4
    assert value == seen[1]


def test_history_tells_loss_and_seconds():
    history = run([0.0, 0.0, 0.0], patience=10)[2]
    losses = [h["loss"] for h in history]
    assert losses == sorted(losses, reverse=True)
    assert all(h["seconds"] > 0 for h in history)


@pytest.mark.parametrize("weighted", [True, False])
def test_bag_of_rows_equals_its_dense_product_forward_and_backward(weighted):
    g = torch.Generator().manual_seed(0)
    table = torch.randn(7, 3, dtype=torch.float64, generator=g, requires_grad=True)
    ids = np.array([0, 6, 6, 2, 2, 5], dtype=np.uint16)  # a word twice in one text; text 1 is empty
    offsets = np.array([0, 3, 3, 6])
    weights = np.array([0.5, -1, 2, 3, 0.25, 1], dtype=np.float32) if weighted else None
    dense = torch.zeros(3, 7, dtype=torch.float64)
    for text in range(3):
        for i in range(offsets[text], offsets[text + 1]):
            dense[text, int(ids[i])] += 1 if weights is None else float(weights[i])
    upstream = torch.randn(3, 3, dtype=torch.float64, generator=g)
    want = torch.autograd.grad((dense @ table * upstream).sum(), table)[0]
    bags = bag_of_rows(table, TokenStore(ids, offsets, weights))
    torch.testing.assert_close(bags, dense @ table)
    (bags * upstream).sum().backward()
    assert table.grad.is_sparse
    assert table.grad._indices()[0].tolist() == [0, 2, 5, 6]  # only words in the batch, each once
    torch.testing.assert_close(table.grad.to_dense(), want)


def test_a_dense_gradient_of_row_adagrad_steps_as_the_sparse_one_does():
    g = torch.Generator().manual_seed(0)
    start = torch.randn(6, 3, dtype=torch.float64, generator=g)
    tables = [nn.Parameter(start.clone()) for _ in range(2)]
    optimizers = [RowAdagrad([table], lr=0.1) for table in tables]
    for rows in ([0, 2, 5], [2, 3], [0, 2], []):
        values = torch.randn(len(rows), 3, dtype=torch.float64, generator=g)
        values[:1] = 0  # a word whose gradients cancel: in the sparse one a row of zeros
        values[1:2] = -values[1:2].abs()
        tables[0].grad = sparse(rows, values, start.shape)
        tables[1].grad = tables[0].grad.to_dense()
        for optimizer in optimizers:
            optimizer.step()
        assert torch.equal(*tables)
    sums = [o.state[t]["sum_of_squares"] for o, t in zip(optimizers, tables, strict=True)]
    assert torch.equal(*sums)
    assert not torch.equal(tables[1], start)
    assert torch.equal(tables[1][[1, 4]], start[[1, 4]])  # rows without a gradient do not move
