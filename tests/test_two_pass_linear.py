"""The linear layer's step with losses that normalise, against autograd and torch.optim.SGD."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
import torch
from naive_losses import EXACT, LOSSES, naive_loss

from skxc._functional._fused_linear import SGD
from skxc._functional._losses import BalancedSoftmax, DecoupledSoftmax, Softmax, SoftTopK
from skxc._functional._pairs import Pairs, Positives
from skxc._functional._two_pass_linear import two_pass_linear_step_

USED = [loss for loss in LOSSES if not isinstance(loss, BalancedSoftmax)]
N_LABELS, BATCH, DIM = 17, 7, 5


def normal(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


class Problem:
    """Texts and pairs; the third text has no positive."""

    def __init__(self, seed=0, *, relevance=False):
        g = torch.Generator().manual_seed(seed)
        self.embeddings = normal(BATCH, DIM, seed=seed + 100)
        self.targets = (torch.rand(BATCH, N_LABELS, generator=g) < 0.3).double()
        self.targets[2] = 0
        self.targets[0, -1] = self.targets[-1, 0] = 1
        if relevance:
            self.targets *= torch.rand(self.targets.shape, generator=g).clamp(min=0.01)
        drawn = torch.rand(self.targets.shape, generator=g) < 0.2
        self.is_ignored = drawn & (self.targets == 0)

    def positives(self, part=slice(None)):
        labels, rows = self.targets[:, part].T.nonzero(as_tuple=True)
        return Positives(labels, rows, self.targets[:, part][rows, labels])

    def ignored(self, part=slice(None)):
        return Pairs(*self.is_ignored[:, part].T.nonzero(as_tuple=True))


def summed(loss, scores, targets, ignored, sample_weight):
    """Of all texts: the naive loss is a mean over those that have a label."""
    return naive_loss(loss, scores, targets, ignored, sample_weight) * targets.any(1).sum()


def autograd_steps(weights, problems, loss, sgd, sample_weight, *, ignores, absent):
    weights = weights.clone().requires_grad_()
    optimizer = torch.optim.SGD(
        [weights], lr=sgd.learning_rate, momentum=sgd.momentum, weight_decay=sgd.weight_decay
    )
    results = []
    for problem in problems:
        embeddings = problem.embeddings.clone().requires_grad_()
        ignored = problem.is_ignored & ignores
        ignored[:, absent] = True
        value = summed(loss, embeddings @ weights.T, problem.targets, ignored, sample_weight)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        results.append((embeddings.grad, value.detach()))
    return weights.detach(), results


@pytest.mark.parametrize("loss", USED, ids=str)
@pytest.mark.parametrize("chunk_size", [1, 3, 8, 17, 1000])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("relevance", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignores", [False, True])
def test_the_step_equals_autograd_then_sgd(
    loss, chunk_size, momentum, relevance, weighted, ignores
):
    sgd = SGD(0.1, 0.05, momentum)
    problems = [Problem(seed, relevance=relevance) for seed in (1, 2, 3)]
    absent = [4, 9]  # no text has them
    for problem in problems:
        problem.targets[:, absent] = 0
        problem.is_ignored[:, absent] = False
    weights = normal(N_LABELS, DIM, seed=0)
    sample_weight = torch.linspace(0, 2, BATCH, dtype=torch.float64) if weighted else None
    want = autograd_steps(
        weights, problems, loss, sgd, sample_weight, ignores=ignores, absent=absent
    )
    velocity = torch.zeros_like(weights) if momentum else None
    is_absent = torch.zeros(N_LABELS, dtype=torch.bool)
    is_absent[absent] = True
    for problem, of_step in zip(problems, want[1], strict=True):
        got = two_pass_linear_step_(
            weights, problem.embeddings, problem.positives(), loss, sgd, chunk_size=chunk_size,
            velocity=velocity, sample_weight=sample_weight, is_absent=is_absent,
            ignored=problem.ignored() if ignores else None,
        )  # fmt: skip
        torch.testing.assert_close(got, of_step, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(weights, want[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("loss", USED, ids=str)
def test_a_batch_without_a_label_moves_nothing_but_decay(loss):
    weights = normal(N_LABELS, DIM, seed=0)
    start, none = weights.clone(), torch.empty(0, dtype=torch.int64)
    gradient, value = two_pass_linear_step_(
        weights, normal(BATCH, DIM, seed=1), Positives(none, none, none.double()), loss,
        SGD(0.1, 0.5), chunk_size=4,
    )  # fmt: skip
    assert value == 0
    assert not gradient.any()
    torch.testing.assert_close(weights, start * (1 - 0.1 * 0.5), **EXACT)


@pytest.mark.parametrize("loss", [Softmax(), DecoupledSoftmax()], ids=str)
def test_the_only_label_has_nothing_to_compete_with(loss):
    weights, start = normal(1, DIM, seed=0), normal(1, DIM, seed=0)
    positives = Positives(torch.zeros(1, dtype=torch.int64), torch.tensor([1]), torch.ones(1))
    gradient, value = two_pass_linear_step_(
        weights, normal(2, DIM, seed=1), positives, loss, SGD(0.1), chunk_size=4
    )
    torch.testing.assert_close(value.item(), 0.0, atol=1e-12, rtol=0)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), **EXACT)
    torch.testing.assert_close(weights, start, **EXACT)


def reduces(parts):
    """What reduces over parts that each run in a thread of their own."""
    barrier, slots = threading.Barrier(parts), [None] * parts

    def of(i):
        def reduce_(tensor, op):
            slots[i] = tensor.clone()
            barrier.wait()
            stacked = torch.stack(slots)
            whole = {"sum": stacked.sum(0), "min": stacked.amin(0), "max": stacked.amax(0)}[op]
            barrier.wait()
            return tensor.copy_(whole)

        return reduce_

    return [of(i) for i in range(parts)]


@pytest.mark.parametrize("loss", USED, ids=str)
@pytest.mark.parametrize("edges", [(0, 5, 17), (0, 17, 17), (0, 0, 8, 17)])
def test_labels_in_parts_give_the_step_of_all(loss, edges):
    """As in several processes, some of which may have no label."""
    problem, weights = Problem(relevance=True), normal(N_LABELS, DIM, seed=0)
    sample_weight = torch.linspace(0.5, 2, BATCH, dtype=torch.float64)
    parts = [slice(a, b) for a, b in pairwise(edges)]
    of_parts = [weights[part].clone() for part in parts]
    options = {"chunk_size": 3, "sample_weight": sample_weight}
    want = two_pass_linear_step_(
        weights, problem.embeddings, problem.positives(), loss, SGD(0.1, 0.05),
        ignored=problem.ignored(), **options,
    )  # fmt: skip

    def step(rows, part, reduce_):
        return two_pass_linear_step_(
            rows, problem.embeddings, problem.positives(part), loss, SGD(0.1, 0.05),
            ignored=problem.ignored(part), reduce_=reduce_, **options,
        )  # fmt: skip

    with ThreadPoolExecutor(len(parts)) as pool:
        got = list(pool.map(step, of_parts, parts, reduces(len(parts))))
    torch.testing.assert_close(sum(gradient for gradient, _ in got), want[0], **EXACT)
    for _, value in got:
        torch.testing.assert_close(value, want[1], **EXACT)
    torch.testing.assert_close(torch.cat(of_parts), weights, **EXACT)


@pytest.mark.parametrize(
    ("momentum", "kept"), [(0.0, None), (0.9, torch.float32), (0.9, torch.bfloat16)]
)
def test_bfloat16_weights_follow_the_exact_step_on_average(momentum, kept):
    problem, loss, sgd = Problem(), DecoupledSoftmax(), SGD(1e-3, 0.1, momentum)
    start = normal(N_LABELS, DIM, seed=0).bfloat16()
    want, _ = autograd_steps(start.double(), [problem], loss, sgd, None, ignores=False, absent=[])
    total, n_runs = torch.zeros_like(want), 2000
    for seed in range(n_runs):
        rounded = start.clone()
        velocity = torch.zeros(start.shape, dtype=kept) if momentum else None
        two_pass_linear_step_(
            rounded, problem.embeddings.float(), problem.positives(), loss, sgd, chunk_size=4,
            velocity=velocity, generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        total += rounded.double()
    spacing = 2.0 ** (want.abs().log2().floor() - 7)
    # a rounding is off by less than one spacing: 5 standard errors of the mean
    assert ((total / n_runs - want).abs() < 5 * spacing / n_runs**0.5).all()


@pytest.mark.gpu
@pytest.mark.parametrize("loss", [*USED[:2], SoftTopK(k=3, alpha=2.0)], ids=str)
def test_a_gpu_gives_the_step_of_the_cpu(loss):
    problem = Problem(relevance=True)
    results = []
    for device in ("cpu", "cuda"):
        weights = normal(N_LABELS, DIM, seed=0).to(device)
        gradient, value = two_pass_linear_step_(
            weights, problem.embeddings.to(device), problem.positives(), loss, SGD(0.1, 0.05, 0.9),
            chunk_size=4, velocity=torch.zeros_like(weights), ignored=problem.ignored(),
            sample_weight=torch.linspace(0.5, 2, BATCH, dtype=torch.float64, device=device),
        )  # fmt: skip
        results.append([part.cpu() for part in (weights, gradient, value)])
    torch.testing.assert_close(*results, **EXACT)
