"""The fused one-vs-all step against autograd and torch.optim.SGD."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from skxc._functional._fused_linear import SGD, one_vs_all_step_
from skxc._functional._pairs import Pairs, Positives
from skxc._kernels import RowNoise, _torch, add_product_, sgd_update_, stochastic_round_


def make_batch(n_labels, batch=7, dim=5, seed=0, relevance=False, labels_with_positives=None):
    g = torch.Generator().manual_seed(seed)
    weights = torch.randn(n_labels, dim, dtype=torch.float64, generator=g)
    embeddings = torch.randn(batch, dim, dtype=torch.float64, generator=g)
    targets = (torch.rand(batch, n_labels, generator=g) < 0.3).double()
    if labels_with_positives is not None:
        targets[:, labels_with_positives:] = 0
    if relevance:
        targets *= torch.rand(batch, n_labels, dtype=torch.float64, generator=g).clamp(min=0.01)
    labels, rows = targets.T.nonzero(as_tuple=True)
    return weights, embeddings, targets, Positives(labels, rows, targets[rows, labels])


def autograd_steps(weights, batches, sgd, sample_weight):
    weights = weights.clone().requires_grad_()
    optimizer = torch.optim.SGD(
        [weights], lr=sgd.learning_rate, momentum=sgd.momentum, weight_decay=sgd.weight_decay
    )
    gradients, losses = [], []
    for embeddings, targets in batches:
        embeddings = embeddings.clone().requires_grad_()
        loss = F.binary_cross_entropy_with_logits(
            embeddings @ weights.T, targets, reduction="none"
        ).sum(1)
        loss = loss.sum() if sample_weight is None else loss @ sample_weight
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        gradients.append(embeddings.grad)
        losses.append(loss.detach())
    return weights.detach(), gradients, losses


@pytest.mark.parametrize("chunk_size", [1, 3, 11, 37, 1000])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("relevance", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_fused_step_equals_autograd_then_sgd(
    chunk_size, momentum, weight_decay, relevance, weighted
):
    sgd = SGD(0.1, weight_decay, momentum)
    weights, *_ = make_batch(37)
    batches = [make_batch(37, seed=s, relevance=relevance)[1:] for s in (1, 2, 3)]
    sample_weight = torch.linspace(0, 2, 7, dtype=torch.float64) if weighted else None
    want = autograd_steps(weights, [b[:2] for b in batches], sgd, sample_weight)
    velocity = torch.zeros_like(weights) if momentum else None
    for (embeddings, _, positives), gradient, loss in zip(batches, *want[1:], strict=True):
        got = one_vs_all_step_(
            weights, embeddings, positives, sgd, chunk_size=chunk_size, velocity=velocity,
            sample_weight=sample_weight, with_loss=True,
        )  # fmt: skip
        torch.testing.assert_close(got[0], gradient, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(got[1], loss, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(weights, want[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("n_labels", "batch"), [(1, 1), (1, 7), (2, 1)])
@pytest.mark.parametrize("with_positives", [0, 1])
def test_one_label_one_row_and_no_positive(n_labels, batch, with_positives):
    weights, embeddings, targets, positives = make_batch(
        n_labels, batch, seed=5, labels_with_positives=with_positives
    )
    want, (gradient,), _ = autograd_steps(weights, [(embeddings, targets)], SGD(0.1), None)
    got, loss = one_vs_all_step_(weights, embeddings, positives, SGD(0.1), chunk_size=2)
    assert loss is None
    torch.testing.assert_close(got, gradient)
    torch.testing.assert_close(weights, want)


def test_a_positive_in_the_last_place_of_every_chunk_counts():
    weights, embeddings, targets, _ = make_batch(9, batch=3)
    targets.zero_()
    targets[0, 2] = targets[1, 5] = targets[2, 8] = 1
    labels, rows = targets.T.nonzero(as_tuple=True)
    positives = Positives(labels, rows, torch.ones(3, dtype=torch.float64))
    want, *_ = autograd_steps(weights, [(embeddings, targets)], SGD(0.1), None)
    one_vs_all_step_(weights, embeddings, positives, SGD(0.1), chunk_size=3)
    torch.testing.assert_close(weights, want)


@pytest.mark.parametrize(
    ("momentum", "kept"), [(0.0, None), (0.9, torch.float32), (0.9, torch.bfloat16)]
)
def test_bfloat16_weights_follow_the_float32_step_on_average(momentum, kept):
    weights, embeddings, targets, positives = make_batch(13, batch=4)
    start = weights.bfloat16()
    sgd = SGD(1e-3, 0.1, momentum)
    want, *_ = autograd_steps(start.double(), [(embeddings, targets)], sgd, None)
    total = torch.zeros_like(want)
    n_runs = 2000
    for seed in range(n_runs):
        rounded = start.clone()
        velocity = torch.zeros(start.shape, dtype=kept) if momentum else None
        one_vs_all_step_(
            rounded, embeddings.float(), positives, sgd, chunk_size=4, velocity=velocity,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        total += rounded.double()
    spacing = 2.0 ** (want.abs().log2().floor() - 7)
    # a rounding is off by less than one spacing: 5 standard errors of the mean
    assert ((total / n_runs - want).abs() < 5 * spacing / n_runs**0.5).all()


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 1.003, -3.7e-5, 1e-39, 3e-41, -2e-39, 3.3e38])
def test_stochastic_rounding_is_unbiased(value):
    values = torch.full((200_000,), value, dtype=torch.float32)
    rounded = torch.empty(values.shape, dtype=torch.bfloat16)
    stochastic_round_(rounded, values, RowNoise(0))
    grid = rounded.double().unique()
    exact = float(values[0].double())
    assert len(grid) <= 2  # the two neighbours, or the value itself where bfloat16 holds it
    assert grid.min() <= exact <= grid.max()
    spacing = float(grid.max() - grid.min())
    assert abs(rounded.double().mean().item() - exact) <= 5 * spacing / len(values) ** 0.5


def test_steps_too_small_for_nearest_rounding_still_arrive():
    weights = torch.ones(1000, 1, dtype=torch.bfloat16)
    for seed in range(100):
        stochastic_round_(weights, weights.float() - 1e-4, RowNoise(seed))
    assert abs(weights.float().mean().item() - 0.99) < 1e-3


def test_bfloat16_velocity_is_right_on_average():
    """Three steps of many copies of the same rows, against torch.optim.SGD in float64."""
    g = torch.Generator().manual_seed(0)
    start, error = torch.randn(6, 5, generator=g).bfloat16(), torch.randn(3, 6, 4, generator=g)
    embeddings, n_copies = torch.randn(4, 5, generator=g), 4000
    exact = start.double().requires_grad_()
    optimizer = torch.optim.SGD([exact], lr=1e-2, momentum=0.9, weight_decay=0.1)
    weights = start.repeat(n_copies, 1)
    velocity = torch.zeros_like(weights)
    for seed, of_step in enumerate(error):
        exact.grad = of_step.double() @ embeddings.double()
        optimizer.step()
        copies = of_step.repeat(n_copies, 1)
        sgd_update_(weights, copies, embeddings, 1e-2, 0.1, 0.9, velocity, RowNoise(seed))
    for got, want in ((weights, exact), (velocity, optimizer.state[exact]["momentum_buffer"])):
        of_copies = got.double().view(n_copies, 6, 5)
        # 5 standard errors of the mean, where each of three roundings is off by one spacing
        largest = torch.maximum(of_copies.abs().amax(0), start.double().abs())
        spacing = 2.0 ** (largest.log2().floor() - 7)
        assert ((of_copies.mean(0) - want).abs() < 5 * spacing * (3 / n_copies) ** 0.5).all()
        assert (of_copies.std(0) > 0).any()


def test_numbers_of_numpy_are_as_good_as_pythons():
    results = []
    for number in (np.float32, lambda x: float(np.float32(x))):
        weights, embeddings, _, positives = make_batch(11)
        velocity = torch.zeros_like(weights)
        one_vs_all_step_(
            weights, embeddings, positives, SGD(number(0.1), number(0.01), number(0.9)),
            chunk_size=np.int64(4), velocity=velocity, batch_size=np.int64(8),
        )  # fmt: skip
        results.append((weights, velocity))
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("n_labels", [1, 63, 64, 4096])
@pytest.mark.parametrize("by_copies", [False, True])
def test_products_of_bfloat16_are_summed_in_float32(n_labels, device, by_copies, monkeypatch):
    if by_copies:
        monkeypatch.setattr(_torch, "_has_wide_products", lambda _: False)
    monkeypatch.setattr(_torch, "_LABELS_AT_ONCE", 64)
    g = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n_labels, n, generator=g).to(device, torch.bfloat16) for n in (30, 17))
    total = torch.ones(30, 24, device=device)
    want = 1 + a.T.double() @ b.double()
    add_product_(total[:, :17], a.T, b)
    # a GPU's matrix units cut a sum's last bits off; a sum in bfloat16 would be off by 0.1
    tolerance = 4e-3 if device == "cuda" else 1e-4
    torch.testing.assert_close(total[:, :17].double(), want, rtol=1e-5, atol=tolerance)
    assert (total[:, 17:] == 1).all()


@pytest.mark.skipif("dtype" not in torch.ops.aten.mm.overloads(), reason="needs torch 2.8 or newer")
def test_a_gpu_multiplies_bfloat16_to_float32_at_once(monkeypatch):
    monkeypatch.setattr(_torch, "_LABELS_AT_ONCE", None)  # no blocks of copies
    has_wide_products = _torch._has_wide_products.__wrapped__
    monkeypatch.setattr(_torch, "_has_wide_products", has_wide_products)  # nothing kept for others
    with FakeTensorMode():  # shapes, types and the call itself; tests on a GPU check the numbers
        a, b = (torch.empty(40, n, dtype=torch.bfloat16, device="cuda") for n in (30, 17))
        assert has_wide_products(a.device)
        add_product_(torch.empty(30, 17, device="cuda"), a.T, b)


@pytest.mark.parametrize("chunk_size", [1, 3, 11, 1000])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_ignored_pairs_have_no_part_in_loss_and_gradients(chunk_size, share, weighted):
    weights, embeddings, targets, positives = make_batch(11, relevance=True)
    g = torch.Generator().manual_seed(1)
    is_ignored = (torch.rand(targets.shape, generator=g) < share) & (targets == 0)
    sample_weight = torch.linspace(0, 2, 7, dtype=torch.float64) if weighted else None
    start = weights.clone()
    got = one_vs_all_step_(
        weights, embeddings, positives, SGD(0.1), chunk_size=chunk_size, with_loss=True,
        sample_weight=sample_weight, ignored=Pairs(*is_ignored.T.nonzero(as_tuple=True)),
    )  # fmt: skip
    leaves = start.clone().requires_grad_(), embeddings.clone().requires_grad_()
    losses = F.binary_cross_entropy_with_logits(leaves[1] @ leaves[0].T, targets, reduction="none")
    per_text = torch.where(is_ignored, 0, losses).sum(1)
    loss = per_text.sum() if sample_weight is None else per_text @ sample_weight
    by_weights, by_embeddings = torch.autograd.grad(loss, leaves)
    torch.testing.assert_close(got, (by_embeddings, loss.detach()), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(weights, start - 0.1 * by_weights, rtol=1e-12, atol=1e-12)


def test_a_label_that_every_row_ignores_stays_as_it_is():
    weights, embeddings, _, positives = make_batch(5, labels_with_positives=4)
    start = weights.clone()
    ignored = Pairs(torch.full((7,), 4), torch.arange(7))
    one_vs_all_step_(weights, embeddings, positives, SGD(0.1), chunk_size=2, ignored=ignored)
    assert torch.equal(weights[4], start[4])
    assert (weights[:4] != start[:4]).any(1).all()
