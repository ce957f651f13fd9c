"""The Triton kernels against float64: on a GPU as they are, elsewhere in Triton's interpreter.

The interpreter runs them on the CPU, in float32: its bfloat16 products are wrong.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gpu import no_waiting
from packaging.version import Version

from skxc import _kernels
from skxc._functional import _fused_linear
from skxc._functional._fused_linear import SGD, one_vs_all_step_
from skxc._functional._pairs import Pairs, Positives
from skxc._kernels import RowNoise, fused_step_for, stochastic_round_

HAS_GPU = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)
if not HAS_GPU:
    # read when triton is imported: no module of tests before this one may do that, directly or not
    assert "triton" not in sys.modules or "TRITON_INTERPRET" in os.environ
    os.environ["TRITON_INTERPRET"] = "1"
triton = pytest.importorskip("triton", reason="needs triton")
tl = pytest.importorskip("triton.language", reason="needs triton")
if not HAS_GPU and Version(triton.__version__) < Version("3.7"):
    # the kernels themselves compile from 3.0 on
    pytest.skip("needs the interpreter of Triton 3.7 or newer", allow_module_level=True)

from skxc._kernels import _triton  # noqa: E402

DEVICE = torch.device("cuda" if HAS_GPU else "cpu")
pytestmark = [pytest.mark.gpu] if HAS_GPU else []
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="needs an NVIDIA GPU that multiplies bfloat16")


def make_batch(n_labels, dim, batch, *, relevance=False, share=0.1, dtype=torch.float32, seed=0):
    """Weights, embeddings, positives and ignored pairs, in `dtype` on the device."""
    g = torch.Generator().manual_seed(seed)
    weights = 0.3 * torch.randn(n_labels, dim, generator=g)
    embeddings = torch.randn(batch, dim, generator=g)
    draw = torch.rand(n_labels, batch, generator=g)
    labels, rows = (draw < share).nonzero(as_tuple=True)
    values = torch.rand(len(labels), generator=g).clamp(min=0.01)
    if not relevance:
        values = torch.ones(len(labels))
    ignored = Pairs(*((draw >= share) & (draw < 2 * share)).nonzero(as_tuple=True))
    positives = Positives(labels, rows.to(DEVICE), values.to(DEVICE))
    return weights.to(DEVICE, dtype), embeddings.to(DEVICE, dtype), positives, ignored


def step_by_torch(monkeypatch, *args, **kwargs):
    monkeypatch.setattr(_fused_linear, "fused_step_for", lambda *_: None)
    return one_vs_all_step_(*args, **kwargs)


def step_by_triton(monkeypatch, *args, **kwargs):
    monkeypatch.setattr(_fused_linear, "fused_step_for", lambda *_: _triton.fused_step_)
    return one_vs_all_step_(*args, **kwargs)


def in_float64(weights, embeddings, positives):
    return (
        weights.double(),
        embeddings.double(),
        positives._replace(values=positives.values.double()),
    )


SHAPES = [(1, 1, 1), (3, 5, 2), (130, 64, 1), (128, 65, 16), (300, 257, 7), (257, 40, 257)]


@pytest.mark.parametrize(("n_labels", "dim", "batch"), SHAPES)
@pytest.mark.parametrize("chunk_size", [100, 1000])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("weighted", [False, True])
def test_kernels_equal_the_float64_step(
    n_labels, dim, batch, chunk_size, weight_decay, weighted, monkeypatch
):
    weights, *rest, ignored = make_batch(n_labels, dim, batch, relevance=True)
    sgd, want = SGD(0.02, weight_decay), in_float64(weights, *rest)
    options = {"chunk_size": chunk_size, "with_loss": True, "ignored": ignored}
    if weighted:
        options["sample_weight"] = torch.linspace(0, 2, batch, device=DEVICE)
    gradient, loss = step_by_torch(monkeypatch, *want, sgd, **options)
    got, got_loss = step_by_triton(monkeypatch, weights, *rest, sgd, **options)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), gradient, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got_loss.double(), loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(weights.double(), want[0], rtol=1e-5, atol=1e-6)


def autograd_steps(weights, batches, sgd, sample_weight):
    """Weights, and the texts' gradients, in float64 by torch.optim.SGD."""
    weights = weights.double().requires_grad_()
    optimizer = torch.optim.SGD(
        [weights], lr=sgd.learning_rate, momentum=sgd.momentum, weight_decay=sgd.weight_decay
    )
    gradients = []
    for embeddings, positives in batches:
        leaf = embeddings.double().requires_grad_()
        targets = leaf.new_zeros(len(leaf), len(weights))
        targets[positives.rows, positives.labels.to(DEVICE)] = positives.values.double()
        losses = F.binary_cross_entropy_with_logits(leaf @ weights.T, targets, reduction="none")
        optimizer.zero_grad()
        (losses.sum(1) @ sample_weight.double()).backward()
        optimizer.step()
        gradients.append(leaf.grad)
    return weights.detach(), gradients


@pytest.mark.parametrize(("n_labels", "dim", "batch"), SHAPES)
@pytest.mark.parametrize("chunk_size", [100, 1000])
def test_kernels_with_momentum_equal_autograd_then_sgd(
    n_labels, dim, batch, chunk_size, monkeypatch
):
    batches = [make_batch(n_labels, dim, batch, relevance=True, seed=i)[1:3] for i in range(3)]
    weights, *_ = make_batch(n_labels, dim, batch)
    sgd, velocity = SGD(0.01, 0.05, 0.9), torch.zeros_like(weights)
    sample_weight = torch.linspace(0, 2, batch, device=DEVICE)
    want, gradients = autograd_steps(weights, batches, sgd, sample_weight)
    for of_batch, gradient in zip(batches, gradients, strict=True):
        got, _ = step_by_triton(
            monkeypatch, weights, *of_batch, sgd, chunk_size=chunk_size, velocity=velocity,
            sample_weight=sample_weight, batch_size=batch + 20,
        )  # fmt: skip
        torch.testing.assert_close(got.double(), gradient, rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(weights.double(), want, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_batches_of_no_positive_and_of_nothing_else(share, monkeypatch):
    weights, *rest, _ = make_batch(150, 24, 33, share=share)
    want = in_float64(weights, *rest)
    gradient, _ = step_by_torch(monkeypatch, *want, SGD(0.1), chunk_size=64)
    got, loss = step_by_triton(monkeypatch, weights, *rest, SGD(0.1), chunk_size=64)
    assert loss is None
    torch.testing.assert_close(got.double(), gradient, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(weights.double(), want[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("score", [5.0, 10.0])
def test_errors_of_positives_are_taken_before_they_are_rounded(score, monkeypatch):
    # bfloat16 has no number between 1 - 2^-8 and 1, and these probabilities lie there
    dtype = torch.bfloat16 if HAS_GPU else torch.float32
    weights = torch.full((1, 4), score / 4, dtype=dtype, device=DEVICE)
    positives = Positives(
        torch.tensor([0]), torch.tensor([0], device=DEVICE), torch.ones(1, device=DEVICE)
    )
    got, _ = step_by_triton(
        monkeypatch, weights, torch.ones_like(weights), positives, SGD(0.0), chunk_size=1
    )
    error = torch.tensor(-score).double().sigmoid()
    torch.testing.assert_close(
        got.double().cpu(), (-error * score / 4).expand(1, 4), rtol=1e-2, atol=0
    )


@pytest.mark.parametrize("padding", [3, 7, 8, 50])
def test_rows_may_stand_apart_and_what_is_between_may_be_nan(padding, monkeypatch):
    weights, *rest, _ = make_batch(140, 65, 9)
    want = in_float64(weights, *rest)
    table = torch.full((140, 65 + padding), torch.nan, device=DEVICE)
    table[:, :65] = weights
    gradient, _ = step_by_torch(monkeypatch, *want, SGD(0.1, 0.1), chunk_size=64)
    view = table[:, :65]
    got, _ = step_by_triton(monkeypatch, view, *rest, SGD(0.1, 0.1), chunk_size=64)
    torch.testing.assert_close(got.double(), gradient, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(view.double(), want[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("padding", [3, 50])
def test_rows_of_the_velocity_stand_as_far_apart(padding, monkeypatch):
    weights, *rest, _ = make_batch(140, 65, 9)
    velocity = torch.randn(140, 65, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    want, moving, sgd = in_float64(weights, *rest), velocity.double(), SGD(0.1, 0.1, 0.9)
    step_by_torch(monkeypatch, *want, sgd, chunk_size=64, velocity=moving)
    tables = torch.full((2, 140, 65 + padding), torch.nan, device=DEVICE)
    tables[:, :, :65] = torch.stack([weights, velocity])
    view, moved = tables[:, :, :65]
    step_by_triton(monkeypatch, view, *rest, sgd, chunk_size=64, velocity=moved)
    torch.testing.assert_close(view.double(), want[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(moved.double(), moving, rtol=1e-5, atol=1e-5)
    if padding > 8:
        assert tables[:, :, 65:].isnan().all()


def test_numbers_of_numpy_are_floats_to_the_kernels(monkeypatch):
    results = []
    for number in (np.float32, lambda x: float(np.float32(x))):
        weights, *rest, _ = make_batch(140, 24, 9)
        velocity = torch.ones_like(weights)
        sgd = SGD(number(0.1), number(0.01), number(0.9))
        step_by_triton(
            monkeypatch, weights, *rest, sgd, chunk_size=np.int64(64), velocity=velocity,
            batch_size=np.int64(16),
        )  # fmt: skip
        results.append((weights, velocity))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    # and where the kernels are called as they are
    weights, embeddings, positives, _ = make_batch(3, 8, 2)
    pairs = positives.labels.to(DEVICE), positives.rows, positives.values
    _triton.fused_step_(weights, embeddings, *pairs, *sgd, chunk_size=64)


def test_columns_beside_the_table_are_not_touched(monkeypatch):
    _, *rest, _ = make_batch(140, 24, 9)
    table = torch.ones(140, 32, device=DEVICE)
    step_by_triton(monkeypatch, table[:, :24], *rest, SGD(0.1, 0.5), chunk_size=64)
    assert (table[:, 24:] == 1).all()
    assert (table[:, :24] != 1).all()
    # the last rows of a table whose storage ends with them
    tail = torch.ones(2 * 27 + 24, device=DEVICE)
    step_by_triton(
        monkeypatch, tail.as_strided((3, 24), (27, 1)), *make_batch(3, 24, 9)[1:3], SGD(0.1, 0.5),
        chunk_size=64,
    )  # fmt: skip
    assert (tail[24:27] == 1).all()
    assert (tail[54:] != 1).all()


def test_chunks_do_not_change_the_weights(monkeypatch):
    results = []
    for chunk_size in (1, 128, 300, 1000):
        weights, *rest, _ = make_batch(700, 33, 20)
        step_by_triton(monkeypatch, weights, *rest, SGD(0.1, 0.1), chunk_size=chunk_size)
        results.append(weights)
    assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.skipif(HAS_GPU, reason="a sparse file stands in for memory: on the CPU only")
def test_tables_of_more_than_2_to_the_31_numbers(tmp_path, monkeypatch):
    weights, *rest, _ = make_batch(3, 9, 4, share=0.4)
    stride = 1 << 30
    file = torch.from_file(str(tmp_path / "table"), shared=True, size=2 * stride + 9)
    table = file.as_strided((3, 9), (stride, 1)).copy_(weights)
    want = in_float64(weights, *rest)
    step_by_torch(monkeypatch, *want, SGD(0.1), chunk_size=64)
    step_by_triton(monkeypatch, table, *rest, SGD(0.1), chunk_size=64)
    torch.testing.assert_close(table.double(), want[0], rtol=1e-5, atol=1e-6)


def decayed(n_labels=200, dim=100, seed=0, chunk_size=1000, monkeypatch=None):
    """A bfloat16 step in which nothing but the decay is not 0: right in the interpreter, too."""
    weights = torch.full((n_labels, dim), 1.003, dtype=torch.bfloat16, device=DEVICE)
    generator = torch.Generator(DEVICE).manual_seed(seed)
    decay_(monkeypatch, weights, SGD(0.01, 0.1), chunk_size=chunk_size, generator=generator)
    return weights


def decay_(monkeypatch, weights, sgd, **options):
    none = Positives(*torch.empty(2, 0, dtype=torch.int64), torch.empty(0))
    none = Positives(none.labels, none.rows.to(DEVICE), none.values.to(DEVICE))
    embeddings = torch.zeros(16, weights.shape[1], dtype=torch.bfloat16, device=DEVICE)
    step_by_triton(monkeypatch, weights, embeddings, none, sgd, **options)


def bfloat16_tables(*values, shape=(600, 100)):
    return [torch.full(shape, value, dtype=torch.bfloat16, device=DEVICE) for value in values]


def test_bfloat16_velocity_is_rounded_without_bias(monkeypatch):
    weights, velocity = bfloat16_tables(1.003, 0.0137)
    start, moving = weights[0, 0].item(), velocity[0, 0].item()
    generator = torch.Generator(DEVICE).manual_seed(0)
    options = {"chunk_size": 1000, "velocity": velocity, "generator": generator}
    decay_(monkeypatch, weights, SGD(0.1, 0.01, 0.9), **options)
    moving = 0.9 * moving + 0.01 * start
    for table, exact, spacing in (
        (velocity, moving, 2.0**-13),
        (weights, start - 0.1 * moving, 2.0**-7),
    ):
        got = table.double()
        assert ((got - exact).abs() < spacing).all()
        assert abs(got.mean().item() - exact) < 5 * spacing / got.numel() ** 0.5
    # the two are rounded by other bits: neither tells the other's direction
    up = torch.stack([velocity.double() > moving, weights.double() > start - 0.1 * moving])
    correlation = torch.corrcoef(up.flatten(1).double())[0, 1]
    assert correlation.abs() < 5 / velocity.numel() ** 0.5


def test_tiny_gradients_arrive_through_the_velocity(monkeypatch):
    # rounded to the nearest, neither the weights nor a velocity near its limit would move
    weights, velocity = bfloat16_tables(1.0, 0.0, shape=(128, 64))
    sgd, generator = SGD(0.01, 1e-3, 0.9), torch.Generator(DEVICE).manual_seed(0)
    exact, moving, n_steps = 1.0, 0.0, 30
    for _ in range(n_steps):
        decay_(monkeypatch, weights, sgd, chunk_size=1000, velocity=velocity, generator=generator)
        moving = 0.9 * moving + 1e-3 * exact
        exact -= 0.01 * moving
    n = weights.numel()
    assert abs(velocity.double().mean().item() - moving) < 5 * 2.0**-14 * (5 / n) ** 0.5
    assert abs(weights.double().mean().item() - exact) < 5 * 2.0**-8 * (n_steps / n) ** 0.5
    assert abs(weights.double().mean().item() - exact) < 0.1 * (1 - exact)


def test_without_momentum_the_bits_are_the_first_streams(monkeypatch):
    (weights,) = bfloat16_tables(1.003, shape=(64, 64))
    start = weights.float()
    decay_(
        monkeypatch, weights, SGD(0.1, 0.01), chunk_size=1000,
        generator=torch.Generator(DEVICE).manual_seed(3),
    )  # fmt: skip
    seed = torch.randint(
        1 << 62, (1,), device=DEVICE, generator=torch.Generator(DEVICE).manual_seed(3)
    )
    bits = (start * (1 - 0.1 * 0.01)).cpu().view(torch.int32)
    want = ((bits + random_halves(seed.item(), n=64, groups=8)) >> 16).to(torch.int16)
    assert torch.equal(weights.cpu().view(torch.int16), want)


def test_bfloat16_weights_are_rounded_without_bias(monkeypatch):
    weights = decayed(600, 100, monkeypatch=monkeypatch).double()
    exact = torch.tensor(1.003).bfloat16().double().item() * (1 - 0.01 * 0.1)
    spacing = 2.0**-7
    assert 0 < (weights < exact).double().mean() < 1  # some down, some up
    assert ((weights - exact).abs() < spacing).all()
    assert abs(weights.mean().item() - exact) < 5 * spacing / weights.numel() ** 0.5


def test_rounding_is_the_seeds_and_the_places_alone(monkeypatch):
    first = decayed(monkeypatch=monkeypatch)
    assert torch.equal(first, decayed(monkeypatch=monkeypatch))
    assert torch.equal(first, decayed(chunk_size=1, monkeypatch=monkeypatch))
    assert torch.equal(first, decayed(300, monkeypatch=monkeypatch)[:200])
    assert not torch.equal(first, decayed(seed=1, monkeypatch=monkeypatch))
    # neither the rows nor the columns of a tile, nor the tiles, are rounded alike
    assert len(first.float().unique(dim=0)) == 200
    assert len(first.float().unique(dim=1).T) == 100


@triton.jit
def _random_kernel(random, seed, label, N: tl.constexpr, G: tl.constexpr, STREAM: tl.constexpr):
    labels, groups = label + tl.arange(0, N), tl.arange(0, G)
    places = tl.arange(0, N)[:, None] * (8 * G) + tl.arange(0, 8 * G)[None, :]
    tl.store(random + places, _triton._random_halves(seed, labels, groups, N, G, STREAM))


def random_halves(seed=7, label=0, n=256, groups=32, stream=0):
    random = torch.empty(n, 8 * groups, dtype=torch.int32, device=DEVICE)
    _random_kernel[(1,)](random, seed, label, n, groups, stream)
    return random.cpu()


def test_random_bits_are_uniform_and_independent():
    random = random_halves().long()
    assert random.min() >= 0
    assert random.max() < 1 << 16
    bits = (random[:, :, None] >> torch.arange(16) & 1).double()
    tolerance = 5 / random.numel() ** 0.5
    assert ((bits.flatten(0, 1).mean(0) - 0.5).abs() < tolerance).all()
    signs = 2 * bits - 1
    for a, b in [
        (signs[:-1], signs[1:]),  # labels
        (signs[:, :-1], signs[:, 1:]),  # columns
        (signs[..., :-1], signs[..., 1:]),  # bits
        (signs, 2 * (random_halves(8)[:, :, None].long() >> torch.arange(16) & 1) - 1),  # seeds
        (signs, 2 * (random_halves(stream=1)[:, :, None].long() >> torch.arange(16) & 1) - 1),
    ]:
        assert ((a * b).mean((0, 1)).abs() < 1.1 * tolerance).all()


@triton.jit
def _round_kernel(rounded, values, seed, N: tl.constexpr):
    labels, groups = tl.arange(0, N), tl.arange(0, 1)
    places = labels[:, None] * 8 + tl.arange(0, 8)[None, :]
    random = _triton._random_halves(seed, labels, groups, N, 1, 0)
    tl.store(rounded + places, _triton._rounded(tl.load(values + places), random))


def rounded_by_kernel(values):
    rounded = torch.empty(values.shape, dtype=torch.bfloat16, device=DEVICE)
    _round_kernel[(1,)](rounded, values.to(DEVICE), 3, len(values) // 8)
    return rounded.cpu()


def rounded_by_torch(values):
    rounded = torch.empty(values.shape, dtype=torch.bfloat16)
    return stochastic_round_(rounded, values, RowNoise(0))


@pytest.mark.parametrize("rounded", [rounded_by_kernel, rounded_by_torch])
@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 1.003, -3.7e-5, 1e-39, 3e-41, -2e-39, 3.3e38])
def test_stochastic_rounding_is_unbiased(value, rounded):
    values = torch.full((1 << 16,), value)
    result = rounded(values).double()
    grid = result.unique()
    exact = float(values[0].double())
    assert len(grid) <= 2  # the two neighbours, or the value itself where bfloat16 holds it
    assert grid.min() <= exact <= grid.max()
    spacing = float(grid.max() - grid.min())
    assert abs(result.mean().item() - exact) <= 5 * spacing / len(values) ** 0.5


@pytest.mark.parametrize("rounded", [rounded_by_kernel, rounded_by_torch])
@pytest.mark.parametrize("pattern", [0x7FC00000, 0x7FFFFFFF])
def test_nan_and_infinities_stay_what_they_are(pattern, rounded):
    nan = torch.full((16,), pattern, dtype=torch.int32).view(torch.float32)
    assert rounded(nan).isnan().all()
    for value in (torch.inf, -torch.inf):
        assert (rounded(torch.full((16,), value)) == value).all()


def test_a_cpu_has_no_fused_step():
    tensors = torch.zeros(2, 3, 4, dtype=torch.bfloat16)
    assert fused_step_for(*tensors) is None


def test_the_velocity_must_lie_as_the_weights_do(monkeypatch):
    monkeypatch.setattr(_kernels, "has_fused_step", lambda *_: True)
    monkeypatch.setattr(_kernels, "_load_fused_step", lambda *_: "the kernels")
    tables = torch.zeros(4, 16, 24, dtype=torch.bfloat16)
    weights, embeddings, velocity = tables[0, :, :17], torch.zeros(2, 17).bfloat16(), tables[1]
    assert fused_step_for(weights, embeddings) == "the kernels"
    assert fused_step_for(weights, embeddings, velocity[:, :17]) == "the kernels"
    assert fused_step_for(weights, embeddings, velocity[:, :17].contiguous()) is None
    assert fused_step_for(weights, embeddings, velocity[:, :17].float()) is None


def test_where_triton_does_not_run_a_warning_is_logged_and_torch_serves(monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("no C compiler")

    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(_kernels, "_try_out", fail)
    assert _kernels._load_fused_step.__wrapped__(torch.device("cuda", 0)) is None
    assert "plain torch is used: no C compiler" in caplog.text


@needs_gpu
@pytest.mark.parametrize(("n_labels", "dim", "batch"), [(1000, 257, 7), (3000, 769, 256)])
@pytest.mark.parametrize("relevance", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_in_bfloat16_the_kernels_are_no_worse_than_torch(
    n_labels, dim, batch, relevance, momentum, monkeypatch
):
    weights, *rest, ignored = make_batch(
        n_labels, dim, batch, relevance=relevance, share=0.01, dtype=torch.bfloat16
    )
    exact, start = in_float64(weights, *rest), torch.randn_like(weights)
    sgd = SGD(0.01, 0.1, momentum)
    options = {"chunk_size": 512, "with_loss": True, "ignored": ignored}
    moving = start.double()
    want, want_loss = step_by_torch(
        monkeypatch, *exact, sgd, velocity=moving if momentum else None, **options
    )
    errors = {}
    for step in (step_by_torch, step_by_triton):
        table, velocity = weights.clone(), start.clone()
        gradient, loss = step(
            monkeypatch, table, *rest, sgd, velocity=velocity if momentum else None, **options
        )
        errors[step] = (
            (velocity - moving).norm() / moving.norm(),
            (gradient - want).norm() / want.norm(),
            (table - exact[0]).norm() / exact[0].norm(),  # most of it is the rounding's
            (loss - want_loss).abs() / want_loss,
        )
    for by_triton, by_torch in zip(errors[step_by_triton], errors[step_by_torch], strict=True):
        assert by_triton <= 1.05 * by_torch + 1e-4


@needs_gpu
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_bfloat16_steps_follow_float64_on_average(momentum, monkeypatch):
    weights, *rest, _ = make_batch(200, 65, 20, dtype=torch.bfloat16)
    exact, sgd, start = in_float64(weights, *rest), SGD(1e-3, 0.1, momentum), weights.clone()
    step_by_torch(
        monkeypatch, *exact, sgd, chunk_size=512, velocity=start.double() if momentum else None
    )
    total, n_runs = torch.zeros_like(exact[0]), 400
    for seed in range(n_runs):
        table, generator = weights.clone(), torch.Generator(DEVICE).manual_seed(seed)
        step_by_triton(
            monkeypatch, table, *rest, sgd, chunk_size=512, generator=generator,
            velocity=start.clone() if momentum else None,
        )  # fmt: skip
        total += table
    spacing = 2.0 ** (exact[0].abs().log2().floor() - 7)
    # errors are stored in bfloat16: each term of a step is known to 2^-8 of itself
    embeddings, positives = rest[0].double(), rest[1]
    errors = (weights.double() @ embeddings.T).sigmoid()
    errors[positives.labels.to(DEVICE), positives.rows] -= positives.values.double()
    terms = 1e-3 * (errors.abs() @ embeddings.abs())
    assert ((total / n_runs - exact[0]).abs() < 5 * spacing / n_runs**0.5 + terms / 256).all()


@needs_gpu
@pytest.mark.parametrize("step", [step_by_torch, step_by_triton])
@pytest.mark.parametrize("batch", [32, 300])
def test_nothing_waits_for_the_gpu(step, batch, monkeypatch):
    weights, *rest, ignored = make_batch(1000, 65, batch, dtype=torch.bfloat16)
    generator = torch.Generator(DEVICE).manual_seed(0)
    options = {"chunk_size": 256, "with_loss": True, "ignored": ignored, "generator": generator}
    for velocity in (None, torch.zeros_like(weights)):
        options["velocity"] = velocity
        step(monkeypatch, weights, *rest, SGD(0.1, 0.1, 0.9), **options)  # compiles
        with no_waiting():
            step(monkeypatch, weights, *rest, SGD(0.1, 0.1, 0.9), **options)


@needs_gpu
@pytest.mark.parametrize("chunk_size", [512, 100_000])
def test_large_batches_sum_their_gradient_in_float32(chunk_size, monkeypatch):
    weights, embeddings, positives, _ = make_batch(
        20_000, 257, 1024, share=0.001, dtype=torch.bfloat16
    )
    exact = in_float64(weights, embeddings, positives)
    want, _ = step_by_torch(monkeypatch, *exact, SGD(0.0), chunk_size=4096)
    # what is left: errors are stored in bfloat16
    errors = (embeddings.double() @ weights.double().T).sigmoid()
    errors[positives.rows, positives.labels.to(DEVICE)] -= positives.values.double()
    rounded = errors.bfloat16().float() @ weights.float()
    got, _ = step_by_triton(
        monkeypatch, weights, embeddings, positives, SGD(0.0), chunk_size=chunk_size
    )
    assert (got - want).norm() <= 1.02 * (rounded - want).norm()


def n_variants(kernel):
    """How often a kernel was compiled in this process; Triton has moved where it says so."""
    caches = getattr(kernel, "device_caches", None)  # by device; the kernels come first
    if caches is None:
        caches = {device: (cache,) for device, cache in kernel.cache.items()}
    return sum(len(kernels[0]) for kernels in caches.values())


@needs_gpu
@pytest.mark.parametrize(("batch", "dim"), [(40, 131), (300, 137)])  # that no other test has
def test_a_ragged_last_batch_compiles_nothing(batch, dim, monkeypatch):
    kernels = _triton._errors_kernel, _triton._update_kernel
    before = [n_variants(kernel) for kernel in kernels]
    table, velocity = torch.zeros(2, 1000, -(-dim // 8) * 8, dtype=torch.bfloat16, device=DEVICE)
    for n in (batch, batch, batch // 3, 1):
        _, *rest, ignored = make_batch(1000, dim, n, dtype=torch.bfloat16)
        for with_loss in (False, True):
            step_by_triton(
                monkeypatch, table[:, :dim], *rest, SGD(0.1, 0.1, 0.9), chunk_size=384,
                velocity=velocity[:, :dim], batch_size=batch, with_loss=with_loss,
                ignored=ignored,
            )  # fmt: skip
    assert n_variants(kernels[0]) - before[0] <= 2  # with the loss, and without
    assert n_variants(kernels[1]) - before[1] <= 1


@needs_gpu
def test_the_door_takes_bfloat16_on_a_gpu_and_nothing_else():
    tensors = torch.zeros(2, 16, 16, device=DEVICE)
    assert fused_step_for(*tensors) is None
    assert fused_step_for(*tensors.bfloat16()) is _triton.fused_step_
