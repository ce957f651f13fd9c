"""Row-sparse Adam: torch's AdamW where all rows are stepped, explicit decay where they are not."""

from __future__ import annotations

import copy
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from skxc._training._optim import clip_gradients_
from skxc._training._row_adam import RowAdam

EXACT = {"rtol": 1e-12, "atol": 1e-12}
RATES = [1e-3, 0.2, 0.1, 0.0, 0.05, 0.3, 1e-4, 0.02, 0.1, 0.01]
N_ROWS, DIM, DECAY = 7, 3, 0.5


def make_table(dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    return nn.Parameter(torch.randn(N_ROWS, DIM, dtype=dtype, generator=g))


def make_gradients(row_lists, seed=1, dtype=torch.float64):
    """(rows, values) of a step each; None: a random half of the rows."""
    g = torch.Generator().manual_seed(seed)
    gradients = []
    for rows in row_lists:
        if rows is None:
            rows = (torch.rand(N_ROWS, generator=g) < 0.5).nonzero().squeeze(1)
        rows = torch.as_tensor(rows, dtype=torch.int64)
        gradients.append((rows, torch.randn(len(rows), DIM, dtype=dtype, generator=g)))
    return gradients


def sparse(rows, values, *, is_coalesced=True):
    return torch.sparse_coo_tensor(
        rows[None], values, (N_ROWS, DIM), is_coalesced=is_coalesced, check_invariants=True
    )


def run(optimizer, table, gradients, rates):
    for (rows, values), rate in zip(gradients, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step_rows_(table, rows, values)


class NaiveRowAdam:
    """Adam row by row; every step decays every row."""

    def __init__(self, table, betas=(0.9, 0.999), eps=1e-8):
        self.rows = [row.clone() for row in table.detach()]
        self.first = [torch.zeros_like(row) for row in self.rows]
        self.second = [torch.zeros_like(row) for row in self.rows]
        self.n_updates = [0] * len(self.rows)
        self.betas, self.eps = betas, eps

    def step(self, rows, values, rate):
        for row in self.rows:
            row *= 1 - rate * DECAY
        for i, gradient in zip(rows.tolist(), values, strict=True):
            b1, b2 = self.betas
            self.n_updates[i] += 1
            self.first[i] = b1 * self.first[i] + (1 - b1) * gradient
            self.second[i] = b2 * self.second[i] + (1 - b2) * gradient**2
            mean = self.first[i] / (1 - b1 ** self.n_updates[i])
            mean_square = self.second[i] / (1 - b2 ** self.n_updates[i])
            self.rows[i] -= rate * mean / (mean_square.sqrt() + self.eps)

    def table(self):
        return torch.stack(self.rows)


@pytest.mark.parametrize("path", ["grad", "direct"])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9), (0.0, 0.99)])
def test_with_every_row_in_every_step_it_is_adamw(path, betas):
    table, dense = make_table(), make_table()
    optimizer = RowAdam([table], 1e-3, betas=betas, weight_decay=DECAY)
    adamw = torch.optim.AdamW([dense], 1e-3, betas=betas, weight_decay=DECAY)
    for (rows, values), rate in zip(make_gradients([range(N_ROWS)] * 10), RATES, strict=True):
        optimizer.param_groups[0]["lr"] = adamw.param_groups[0]["lr"] = rate
        dense.grad = values
        adamw.step()
        if path == "grad":
            table.grad = sparse(rows, values)
            optimizer.step()
        else:
            optimizer.step_rows_(table, rows, values)
        torch.testing.assert_close(table, dense, **EXACT)


@pytest.mark.parametrize("seed", range(5))
def test_lazy_decay_equals_decaying_all_rows_in_every_step(seed):
    table = make_table(seed=seed)
    naive, optimizer = NaiveRowAdam(table), RowAdam([table], 1e-3, weight_decay=DECAY)
    gradients = make_gradients([None] * 10, seed)
    for (rows, values), rate in zip(gradients, RATES, strict=True):
        run(optimizer, table, [(rows, values)], [rate])
        naive.step(rows, values, rate)
        torch.testing.assert_close(table[rows], naive.table()[rows], **EXACT)
    optimizer.flush()
    torch.testing.assert_close(table.detach(), naive.table(), **EXACT)


def test_applying_pending_decay_before_reading_equals_decaying_all_rows():
    table, gradients = make_table(), make_gradients([None] * 10)
    naive, optimizer = NaiveRowAdam(table), RowAdam([table], 1e-3, weight_decay=DECAY)
    for (rows, targets), rate in zip(gradients, RATES, strict=True):
        optimizer.apply_pending_decay_(table, rows)
        torch.testing.assert_close(table[rows], naive.table()[rows], **EXACT)
        run(optimizer, table, [(rows, (table[rows] - targets).detach())], [rate])
        naive.step(rows, naive.table()[rows] - targets, rate)
    optimizer.flush()
    torch.testing.assert_close(table.detach(), naive.table(), **EXACT)


def test_flushing_in_between_changes_nothing():
    tables, gradients = [make_table(), make_table()], make_gradients([None] * 10)
    for table, n in zip(tables, [10, 3], strict=True):
        optimizer = RowAdam([table], 1e-3, weight_decay=DECAY)
        for start in range(0, 10, n):
            run(optimizer, table, gradients[start : start + n], RATES[start : start + n])
            optimizer.flush()
    torch.testing.assert_close(tables[0], tables[1], **EXACT)


def test_rows_that_are_never_stepped_only_decay():
    table, start = make_table(), make_table().detach()
    optimizer = RowAdam([table], 1e-3, weight_decay=DECAY)
    run(optimizer, table, make_gradients([[0, 3], [3], [0], [], []]), RATES[:5])
    untouched = [1, 2, 4, 5, 6]
    assert torch.equal(table[untouched], start[untouched])
    optimizer.flush()
    factor = math.prod(1 - rate * DECAY for rate in RATES[:5])
    torch.testing.assert_close(table[untouched].detach(), factor * start[untouched], **EXACT)


def test_without_weight_decay_other_rows_stay_to_the_bit():
    table, start = make_table(), make_table().detach()
    optimizer = RowAdam([table], 1e-3)
    run(optimizer, table, make_gradients([[0, 3]] * 10), RATES)
    optimizer.flush()
    assert torch.equal(table[[1, 2, 4, 5, 6]], start[[1, 2, 4, 5, 6]])


def test_a_rows_first_update_is_a_full_step_however_late_it_comes():
    table, start = make_table(), make_table().detach()
    optimizer = RowAdam([table], 0.1)
    run(optimizer, table, make_gradients([[0]] * 50), [0.1] * 50)
    values = torch.tensor([[1e-3, -2.0, 50.0]], dtype=torch.float64)
    optimizer.step_rows_(table, torch.tensor([4]), values)
    torch.testing.assert_close(
        table[4].detach(), start[4] - 0.1 * values[0].sign(), rtol=0, atol=1e-5
    )


def test_moments_of_rows_not_in_the_step_are_frozen():
    table = make_table()
    optimizer = RowAdam([table], 0.1, weight_decay=DECAY)
    run(optimizer, table, make_gradients([range(N_ROWS)]), [0.1])
    before = copy.deepcopy(optimizer.state[table])
    run(optimizer, table, make_gradients([[2, 5]], seed=9), [0.1])
    for name in ("first_moment", "second_moment", "n_updates"):
        is_same = (optimizer.state[table][name] == before[name]).reshape(N_ROWS, -1).all(1)
        assert is_same.tolist() == [True, True, False, True, True, False, True]


@pytest.mark.parametrize("path", ["grad", "direct"])
def test_gradients_of_a_repeated_row_are_summed(path):
    tables = [make_table(), make_table()]
    twice = torch.tensor([5, 1, 5]), torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]).double()
    once = torch.tensor([1, 5]), torch.tensor([[4.0, 5, 6], [8, 10, 12]]).double()
    for table, (rows, values) in zip(tables, [twice, once], strict=True):
        optimizer = RowAdam([table], 0.1)
        for scale in (1.0, -0.3):  # the size of a first gradient does not matter to Adam
            if path == "grad":
                table.grad = sparse(rows, scale * values, is_coalesced=False)
                optimizer.step()
            else:
                optimizer.step_rows_(table, rows, scale * values)
    torch.testing.assert_close(tables[0], tables[1], **EXACT)


def test_rows_may_come_in_any_order():
    tables = [make_table(), make_table()]
    rows, values = make_gradients([[0, 2, 3, 6]])[0]
    for table, order in zip(tables, [[0, 1, 2, 3], [2, 0, 3, 1]], strict=True):
        RowAdam([table], 0.1, weight_decay=DECAY).step_rows_(table, rows[order], values[order])
    torch.testing.assert_close(tables[0], tables[1], **EXACT)


def test_clipped_gradients_of_an_embedding_are_stepped():
    table, direct = make_table(), make_table()
    ids = torch.tensor([4, 1, 4])
    nn.functional.embedding(ids, table, sparse=True).square().sum().backward()
    clip_gradients_([table], 0.01)
    RowAdam([table], 0.1).step()
    values = torch.stack([2 * direct[1], 4 * direct[4]]).detach()
    RowAdam([direct], 0.1).step_rows_(direct, torch.tensor([1, 4]), 0.01 * values / values.norm())
    torch.testing.assert_close(table, direct, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_training_goes_on_from_saved_state_as_if_it_had_not_stopped(dtype):
    gradients = make_gradients([None] * 10, dtype=dtype)
    table = make_table(dtype)
    optimizer = RowAdam([table], 1e-3, weight_decay=DECAY)
    run(optimizer, table, gradients[:6], RATES[:6])
    saved = optimizer.state_dict()
    arrays = {
        k: v.numpy().copy() for k, v in saved["state"][0].items()
    }  # as the estimators keep it
    resumed_table = nn.Parameter(table.detach().clone())
    resumed = RowAdam([resumed_table], 1e-3, weight_decay=DECAY)
    state = {0: {k: torch.tensor(v) for k, v in arrays.items()}}
    resumed.load_state_dict({"state": state, "param_groups": saved["param_groups"]})
    for o, t in [(optimizer, table), (resumed, resumed_table)]:
        run(o, t, gradients[6:], RATES[6:])
        o.flush()
    assert torch.equal(table, resumed_table)
    np.testing.assert_array_equal(state[0]["n_updates"], arrays["n_updates"])  # not written to


def test_loading_keeps_the_tensors_and_their_dtypes():
    table = make_table(torch.float32)
    optimizer = RowAdam([table], 1e-3, weight_decay=DECAY)
    run(optimizer, table, make_gradients([None], dtype=torch.float32), [0.1])
    before = dict(optimizer.state[table])
    other = make_table(torch.float32)
    source = RowAdam([other], 1e-3, weight_decay=DECAY)
    run(source, other, make_gradients([None] * 10, dtype=torch.float32), RATES)
    optimizer.load_state_dict(source.state_dict())
    after = optimizer.state[table]
    assert all(after[name] is tensor for name, tensor in before.items())
    assert after["log_decay"].dtype == after["row_log_decay"].dtype == torch.float64
    assert after["n_updates"].dtype == torch.int64
    assert all(torch.equal(after[name], source.state[other][name]) for name in before)


def test_in_float32_small_decays_add_up_over_a_long_training():
    table = nn.Parameter(torch.ones(2, DIM))
    optimizer = RowAdam([table], 1e-3, weight_decay=0.01)
    rows, values = torch.tensor([0]), torch.zeros(1, DIM)
    for _ in range(5_000):
        optimizer.step_rows_(table, rows, values)
    optimizer.flush()
    torch.testing.assert_close(table[1], torch.full((DIM,), (1 - 1e-5) ** 5_000), rtol=1e-7, atol=0)


def test_each_table_and_group_has_its_own_state_and_rates():
    tables = [make_table(seed=seed) for seed in range(3)]
    rates, decays = [0.1, 0.1, 0.01], [0.5, 0.5, 0.1]
    groups = [
        {"params": tables[:2]},
        {"params": tables[2:], "lr": rates[2], "weight_decay": decays[2]},
    ]
    together = RowAdam(groups, rates[0], weight_decay=decays[0])
    alone = [make_table(seed=seed) for seed in range(3)]
    gradients = make_gradients([None] * 9)
    for i, (rows, values) in enumerate(gradients):
        together.step_rows_(tables[i % 3], rows, values)
    together.flush()
    for i, table in enumerate(alone):
        optimizer = RowAdam([table], rates[i], weight_decay=decays[i])
        run(optimizer, table, gradients[i::3], [rates[i]] * 3)
        optimizer.flush()
        torch.testing.assert_close(tables[i], table, **EXACT)


def test_a_table_without_a_gradient_is_left_alone():
    table, start = make_table(), make_table().detach()
    optimizer = RowAdam([table], 0.1, weight_decay=DECAY)
    optimizer.step()
    optimizer.flush()
    assert torch.equal(table, start)


def test_a_dense_gradient_is_refused():
    table = make_table()
    table.grad = torch.zeros(N_ROWS, DIM, dtype=torch.float64)
    with pytest.raises(TypeError, match=re.escape("gradient of shape (7, 3) is dense")):
        RowAdam([table], 0.1).step()


def test_a_table_of_another_optimiser_is_refused():
    rows, values = make_gradients([[1]])[0]
    with pytest.raises(ValueError, match=re.escape("table of shape (7, 3) is not one of")):
        RowAdam([make_table()], 0.1).step_rows_(make_table(), rows, values)
