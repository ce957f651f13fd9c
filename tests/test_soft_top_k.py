"""The threshold of the soft top-k against its definition and other root finders."""

from __future__ import annotations

import math

import pytest
import torch
from naive_losses import naive_threshold

from skxc._functional._soft_top_k import soft_top_k_threshold


class Blocks:
    """Scores in blocks of columns, counting the passes."""

    def __init__(self, scores, block_size=None):
        self.scores, self.block_size, self.n_passes = scores, block_size, 0

    def __call__(self):
        self.n_passes += 1
        yield from self.scores.split(self.block_size or self.scores.shape[1], dim=1)


def make_rows(kind, n_labels, dtype=torch.float32, n_rows=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n_rows, n_labels, dtype=torch.float64, generator=g)
    if kind == "cosines over 0.05":
        x = (x / 6 - 0.1) * 20
    elif kind == "equal":
        x = torch.full_like(x, 3.7)
    elif kind == "one outlier":
        x[:, n_labels // 2] = 60
    elif kind == "one far below":
        x[:, n_labels // 2] = -300
    elif kind == "five outliers":
        x[:, :5] += 60
    elif kind == "heavy tails":
        x = x / (x.roll(1, 0).abs() + 0.05)
    return x.to(dtype)


def probabilities(scores, threshold, alpha):
    return torch.sigmoid(alpha * (scores.double() + threshold.double()[:, None]))


KINDS = [
    "normal",
    "cosines over 0.05",
    "equal",
    "one outlier",
    "one far below",
    "five outliers",
    "heavy tails",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("n_labels", [10, 997, 1_000_000])
@pytest.mark.parametrize("k", [1, 5])
def test_float32_probabilities_sum_to_k_in_16_passes(kind, alpha, n_labels, k):
    blocks = Blocks(make_rows(kind, n_labels))
    threshold, _ = soft_top_k_threshold(blocks, k, alpha)
    total = probabilities(blocks.scores, threshold, alpha).sum(1)
    assert (total - k).abs().max() < 1e-3
    assert blocks.n_passes <= 16


@pytest.mark.parametrize("n_labels", [997, 200_003])
def test_ordinary_rows_take_half_of_the_passes_of_bisection(n_labels):
    blocks = Blocks(make_rows("normal", n_labels))
    soft_top_k_threshold(blocks, 5, 2.0)
    assert blocks.n_passes <= 8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [1.0, 5.0])
@pytest.mark.parametrize("k", [0.5, 1, 2.5, 5, 10, 16.9])
def test_float64_threshold_equals_brent_even_where_k_labels_stand_out(kind, alpha, k):
    scores = make_rows(kind, 17, torch.float64)
    threshold, _ = soft_top_k_threshold(Blocks(scores), k, alpha)
    want = torch.stack([naive_threshold(row, k, alpha) for row in scores])
    torch.testing.assert_close(threshold, want, rtol=1e-12, atol=1e-12)


def test_a_root_found_at_once_waits_for_the_other_rows():
    middles = torch.linspace(-3, 3, 50, dtype=torch.float64)[:, None]
    pairs = middles + torch.tensor([-10.0, 10.0])  # k = 1: the root is minus the middle
    scores = torch.cat([torch.full((50, 2), -torch.inf), pairs], 1)
    scores = torch.cat([scores, make_rows("heavy tails", 4, torch.float64)])
    threshold, _ = soft_top_k_threshold(Blocks(scores), 1, 2.0)
    torch.testing.assert_close(threshold[:50], -middles[:, 0], rtol=0, atol=1e-12)


def test_a_long_flat_row_has_its_root_outside_of_the_paper_codes_bracket():
    scores = torch.zeros(1, 1_300_000)
    threshold, _ = soft_top_k_threshold(Blocks(scores), 5, 2.0)
    assert threshold < -10 / 2.0
    assert math.isclose(threshold.item(), math.log(5 / (1_300_000 - 5)) / 2.0, rel_tol=1e-5)


@pytest.mark.parametrize("block_size", [1, 4, 37])
def test_blocks_are_one_row(block_size):
    scores = make_rows("normal", 37, torch.float64)
    want = soft_top_k_threshold(Blocks(scores), 5, 2.0)
    got = soft_top_k_threshold(Blocks(scores, block_size), 5, 2.0)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_the_order_of_labels_does_not_matter_and_a_shift_moves_the_threshold():
    scores = make_rows("normal", 41, torch.float64)
    threshold, slope = soft_top_k_threshold(Blocks(scores), 5, 2.0)
    order = torch.randperm(41, generator=torch.Generator().manual_seed(1))
    got = soft_top_k_threshold(Blocks(scores[:, order] + 3), 5, 2.0)
    torch.testing.assert_close(got, (threshold - 3, slope), rtol=1e-12, atol=1e-12)


def test_labels_at_minus_infinity_are_not_in_the_sum():
    scores = make_rows("normal", 19, torch.float64)
    holes = scores.clone()
    holes[0, 3:9] = holes[1, 0] = -torch.inf
    got = soft_top_k_threshold(Blocks(holes, 5), 4, 2.0)
    rows = [holes[i][holes[i] > -torch.inf][None] for i in range(3)]
    want = [torch.cat(v) for v in zip(*(soft_top_k_threshold(Blocks(r), 4, 2.0) for r in rows),
                                      strict=True)]  # fmt: skip
    torch.testing.assert_close(got, tuple(want), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_of_k_labels_or_fewer_have_probability_1_and_do_not_slow_the_others(dtype):
    scores = make_rows("normal", 23, dtype, n_rows=5)
    scores[1, 4:] = -torch.inf  # 4 labels
    scores[2, 5:] = -torch.inf  # 5 labels
    scores[1:3, :4] *= 100
    scores[3] = -torch.inf  # none
    blocks = Blocks(scores)
    threshold, slope = soft_top_k_threshold(blocks, 5, 2.0)
    assert threshold.isfinite().all()
    assert slope.isfinite().all()
    total = probabilities(scores, threshold, 2.0).sum(1)
    want = torch.tensor([5.0, 4.0, 5.0, 0.0, 5.0], dtype=torch.float64)
    torch.testing.assert_close(total, want, rtol=1e-5, atol=1e-5)
    assert blocks.n_passes <= 12


@pytest.mark.parametrize("block_size", [1, 7, 23])
def test_every_row_may_have_a_k_of_its_own(block_size):
    scores = make_rows("heavy tails", 23, torch.float64, n_rows=6)
    scores[2, 4:] = -torch.inf  # 4 labels: all in the top 5
    scores[4, 4:] = -torch.inf  # the same, of which only 2 are
    k = torch.tensor([1, 3, 5, 0.5, 2, 22], dtype=torch.float64)
    got = soft_top_k_threshold(Blocks(scores, block_size), k, 2.0)
    rows = [
        soft_top_k_threshold(Blocks(r[None]), n.item(), 2.0) for r, n in zip(scores, k, strict=True)
    ]
    want = tuple(torch.cat(parts) for parts in zip(*rows, strict=True))
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    total = probabilities(scores, got[0], 2.0).sum(1)
    torch.testing.assert_close(total, torch.minimum(k, torch.tensor([23, 23, 4, 23, 4, 23.0])),
                               check_dtype=False, rtol=1e-10, atol=0)  # fmt: skip


def test_the_slope_and_the_vjp_equal_finite_differences():
    scores = make_rows("normal", 11, torch.float64)
    alpha, step = 2.0, 1e-5
    threshold, slope = soft_top_k_threshold(Blocks(scores), 3, alpha)
    up, down = (probabilities(scores, threshold + d, alpha).sum(1) for d in (step, -step))
    torch.testing.assert_close(slope, (up - down) / (2 * step), rtol=1e-8, atol=0)
    proba = probabilities(scores, threshold, alpha)
    by_formula = -alpha * proba * (1 - proba) / slope[:, None]
    for label in range(11):
        shift = torch.zeros_like(scores)
        shift[:, label] = step
        up, down = (soft_top_k_threshold(Blocks(scores + d), 3, alpha)[0] for d in (shift, -shift))
        torch.testing.assert_close(
            by_formula[:, label], (up - down) / (2 * step), rtol=1e-7, atol=1e-9
        )
