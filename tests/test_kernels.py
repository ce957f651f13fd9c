"""What a GPU needs of the rest: transfers, attention, optimiser."""

from __future__ import annotations

import pytest
import torch
from gpu import no_waiting

from skxc._kernels import to_device, to_host
from skxc._training._optim import make_optimizers
from skxc.encoders import TransformerEncoder
from skxc.encoders._base import autocast


@pytest.fixture(scope="module")
def encoder(tiny_bert):
    return TransformerEncoder(tiny_bert, max_length=64).fit([], seed=0)


def test_on_a_cpu_nothing_is_copied():
    tensor = torch.arange(3)
    assert to_device(tensor, torch.device("cpu")) is tensor


PADDED = torch.rand(5, 8)


@pytest.mark.parametrize(
    "table",
    [PADDED, PADDED[:, :6], PADDED[1:3, :6], PADDED[:1, :6], PADDED[:0, :6], PADDED.flatten()],
    ids=lambda t: f"{tuple(t.shape)}",
)
def test_a_table_with_padded_rows_comes_to_the_host_without_a_copy_on_the_gpu(table, monkeypatch):
    sources, copy = [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda t: sources.append(t) or copy(t))
    moved = to_host(table)
    assert torch.equal(moved, table)
    assert moved.data_ptr() == table.data_ptr()  # on a CPU the table itself
    assert [source.is_contiguous() for source in sources] == [True]


@pytest.mark.parametrize(
    "table", [PADDED[:, 2:], PADDED.T, PADDED[:, ::2], PADDED[:1].expand(5, 8)]
)
def test_any_other_tensor_comes_to_the_host_as_it_is(table):
    assert torch.equal(to_host(table), table)


@pytest.mark.gpu
def test_transfers_do_not_wait():
    with no_waiting():
        moved = to_device(torch.arange(3), torch.device("cuda"))
    assert moved.tolist() == [0, 1, 2]


# of torch 2.11
@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events:UserWarning")
def test_transformers_attend_by_one_fused_operation(encoder):
    module = encoder.build_module()
    assert module.transformer.config._attn_implementation == "sdpa"
    with torch.profiler.profile() as profile:
        module(encoder.tokenize(["red table", "a small blue lamp"]))
    assert "aten::scaled_dot_product_attention" in {e.key for e in profile.key_averages()}


def test_a_batch_without_padding_is_embedded_as_one_with_it(encoder):
    module, masks = encoder.build_module().eval(), []
    module.transformer.register_forward_pre_hook(
        lambda _, __, arguments: masks.append(arguments["attention_mask"]), with_kwargs=True
    )
    texts = ["red table", "blue lamp"]  # of one length
    with torch.no_grad():
        alone = module(encoder.tokenize(texts))
        padded = module(encoder.tokenize([*texts, "a small white kitchen chair for the garden"]))
    torch.testing.assert_close(alone, padded[:2])
    assert masks[0] is None  # what is not there is not looked at
    assert masks[1].sum(1).tolist()[0] < masks[1].shape[1]


def test_under_autocast_products_are_bfloat16_and_embeddings_float32(encoder):
    module, seen = encoder.build_module(), set()
    for layer in module.transformer.encoder.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.register_forward_hook(lambda _, __, output: seen.add(output.dtype))
    with autocast(torch.device("cpu"), torch.bfloat16):
        embeddings = module(encoder.tokenize(["red table"]))
    assert seen == {torch.bfloat16}
    assert embeddings.dtype == torch.float32


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_adamw_is_fused_on_a_gpu(device):
    module = torch.nn.Linear(2, 3).to(device)
    (optimizer,) = make_optimizers(module, 1e-3, 0.1)
    assert bool(optimizer.defaults["fused"]) == (device == "cuda")
    module(torch.ones(1, 2, device=device)).sum().backward()
    before = module.weight.detach().clone()
    optimizer.step()
    assert not torch.equal(module.weight, before)
