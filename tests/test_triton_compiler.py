"""The Triton kernels as a GPU's compiler has them: no GPU is needed, nor Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec

import pytest
from packaging.version import Version

if find_spec("triton") is None:  # not imported here: another file chooses its interpreter first
    pytest.skip("needs triton", allow_module_level=True)
installed = Version(version("triton"))

COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from skxc._kernels import _triton as K
types = dict.fromkeys(("weights", "velocity", "embeddings", "errors"), "*bf16")
types |= dict.fromkeys(("pair_ends", "pair_labels", "pair_rows", "seeds"), "*i64")
types |= dict.fromkeys(("first", "n_labels"), "i32")
types |= dict.fromkeys(("learning_rate", "weight_decay", "decay", "momentum"), "fp32")
common = {"WIDTH": 776, "STRIDE": 776, "TILE_D": 64}
for capability, limit, n_rows in ((80, 163, 512), (89, 99, 256), (90, 227, 16)):
    block = min(n_rows, 128)
    is_fused = n_rows <= 256
    errors = {"DIM": 769, "TILE_L": 128, "TILE_B": block, "WITH_LOSS": True}
    update = {"TILE_L": 64, "TILE_B": n_rows if is_fused else block, "WITH_GRADIENT": is_fused}
    of_update = {"num_stages": 3 if n_rows <= 64 else 2}
    of_update |= {"maxnreg": 128} if capability == 90 else {}
    for kernel, constants, options in (
        (K._errors_kernel, errors, {"num_stages": 3}),
        (K._update_kernel, update | {"WITH_MOMENTUM": False}, of_update),
        (K._update_kernel, update | {"WITH_MOMENTUM": True}, of_update),
    ):
        constants = common | constants | {"N_ROWS": n_rows}
        names = kernel.arg_names
        is_aligned = [["tt.divisibility", 16]]
        aligned = ("weights", "velocity", "embeddings")
        compiled = triton.compile(
            ASTSource(
                kernel,
                {n: "constexpr" if n in constants else types.get(n, "*fp32") for n in names},
                constexprs={(names.index(n),): value for n, value in constants.items()},
                attrs={(names.index(n),): is_aligned for n in aligned if n in names},
            ),
            target=GPUTarget("cuda", capability, 32),
            options={"num_warps": 8, "enable_fp_fusion": True} | options,
        )
        assert compiled.metadata.shared <= limit * 1024, compiled.metadata.shared
        # tiles are loaded 16 bytes at a time, although rows of 769 end anywhere
        assert "cp.async.cg.shared.global" in compiled.asm["ptx"]
        if constants.get("WITH_MOMENTUM"):
            assert "ld.global.v4.b32" in compiled.asm["ptx"]
print("compiled")
"""

# Which variants of the kernels a GPU would compile: the launches are recorded, nothing is run.
VARIANTS = """
import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import make_backend
from triton.runtime.jit import create_function_from_signature
from skxc._kernels import _triton as K

class Recorded:
    def __init__(self, kernel):
        backend = make_backend(GPUTarget("cuda", 90, 32))
        self.bind = create_function_from_signature(kernel.signature, kernel.params, backend)
        self.variants = set()
    def __getitem__(self, grid):
        return self.launch
    def launch(self, *args, **kwargs):
        _, specialization, options = self.bind(*args, **kwargs)
        self.variants.add(str((specialization, sorted(options.items()))))

kernels = K._errors_kernel, K._update_kernel
for n_labels, dim, batch in ((1000, 24, 40), (385, 769, 300)):
    errors, update = K._errors_kernel, K._update_kernel = [Recorded(k) for k in kernels]
    table, moving = torch.zeros(2, n_labels, -(-dim // 8) * 8, dtype=torch.bfloat16)
    for n, n_pairs in ((batch, 70), (batch, 0), (batch // 3, 1), (1, 33)):
        labels = torch.arange(n_pairs) * n_labels // max(n_pairs, 1)
        for with_loss in (False, True):
            K.fused_step_(
                table[:, :dim], torch.zeros(n, dim, dtype=torch.bfloat16), labels,
                torch.zeros(n_pairs, dtype=torch.int64), torch.ones(n_pairs), 0.1, 0.01, 0.9,
                chunk_size=128, velocity=moving[:, :dim], batch_size=batch, with_loss=with_loss,
            )
    print(len(errors.variants), len(update.variants))
"""


def run_without_interpreter(script, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.skipif(installed < Version("3.3"), reason="another way to compile before Triton 3.3")
def test_kernels_compile_for_gpus_and_fit_their_shared_memory(tmp_path):
    assert "compiled" in run_without_interpreter(COMPILE, tmp_path)


@pytest.mark.skipif(installed < Version("3.6"), reason="another way to bind before Triton 3.6")
def test_neither_chunks_nor_batches_are_a_reason_to_compile_again(tmp_path):
    # the errors' kernel with a loss and without, the update's once: for each of the two sizes
    assert run_without_interpreter(VARIANTS, tmp_path).split() == ["2", "1"] * 2
