"""Backward from output gradients without torch's compiler; rows of length 1."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from skxc._functional._backward import backward
from skxc._functional._unit_rows import unit_rows


@pytest.mark.parametrize("enabled", [True, False])
def test_gradients_reach_the_leaves_as_with_autograd(enabled):
    g = torch.Generator().manual_seed(0)
    leaves = [torch.randn(4, 3, generator=g, requires_grad=True) for _ in range(2)]
    outputs = [(leaves[0] * leaves[1]).sin(), leaves[1].exp().half(), leaves[0].detach()]
    gradients = [torch.randn(4, 3, generator=g) for _ in outputs]
    terms = zip(outputs[:2], gradients, strict=False)
    want = torch.autograd.grad(
        [output for output, _ in terms], leaves, [gradients[0], gradients[1].half()],
        retain_graph=True,
    )  # fmt: skip
    with torch.set_grad_enabled(enabled):
        backward(outputs, gradients)
    torch.testing.assert_close([leaf.grad for leaf in leaves], list(want))


def test_outputs_without_a_graph_are_skipped():
    leaf = torch.ones(3)
    backward([leaf], [torch.ones(3)])
    assert leaf.grad is None


def test_rows_have_length_1_and_the_gradient_of_normalize():
    x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x[2] *= 1e-6
    x[3] *= 1e6
    torch.testing.assert_close(unit_rows(x), F.normalize(x, dim=1), rtol=0, atol=1e-15)
    x = x[[0, 1, 4]].requires_grad_()
    assert torch.autograd.gradcheck(unit_rows, x)


def test_a_row_of_0_stays_and_has_the_gradient_of_normalize():
    gradient, found = torch.tensor([[1.0, -2.0]]), []
    for function in (unit_rows, lambda x: F.normalize(x, dim=1)):
        x = torch.zeros(1, 2, requires_grad=True)
        y = function(x)
        assert not y.any()
        y.backward(gradient)
        found.append(x.grad)
    torch.testing.assert_close(*found)
