"""What an 8-bit classifier would hold and take at least, and the dead zone of its rounding.

    python benchmarks/eight_bits.py

Computed and emulated on a CPU; nothing here runs on a GPU. The floors take what docs/guide/gpu.md
has for an H200: a copy at 4.29 TB/s and bfloat16 products at 780 TFLOP/s.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

E4M3 = torch.float8_e4m3fn
BYTES_A_SECOND, OPERATIONS_A_SECOND = 4.29e12, 780e12
DIM, LABELS, BATCHES = 768, (131_073, 1_305_265, 2_812_281, 8_623_847), (32, 128, 256)
BYTES = {"bfloat16": 2, "8 bits": 1, "bfloat16 with momentum": 4}  # of a weight, held
UPDATES, UPDATE, N_WEIGHTS = 1000, 1e-4, 100_000


def floor_ms(n_weights: int, held: int, batch: int) -> float:
    """Reading and writing what is held, or three products: the larger."""
    by_memory = 2 * held * n_weights / BYTES_A_SECOND
    return 1e3 * max(by_memory, 6 * batch * n_weights / OPERATIONS_A_SECOND)


def by_exponent(values: Tensor, generator: torch.Generator) -> Tensor:
    """Round at random to 3 bits of mantissa at float32's exponent; then to the nearest e4m3."""
    noise = torch.randint(0, 1 << 20, values.shape, generator=generator, dtype=torch.int32)
    cut = (values.view(torch.int32) + noise) & ~((1 << 20) - 1)
    return cut.view(torch.float32).to(E4M3).float()


def on_the_grid(values: Tensor, generator: torch.Generator) -> Tensor:
    """Round at random between the two nearest numbers of e4m3, subnormal ones too."""
    exponent = (torch.frexp(values).exponent - 1).clamp(min=-6)
    step = torch.ldexp(torch.ones_like(values), exponent - 3)
    noise = torch.rand(values.shape, generator=generator)
    return ((values / step + noise).floor() * step).to(E4M3).float()


def scaled(values: Tensor, generator: torch.Generator) -> Tensor:
    """`by_exponent`, of weights that are stored times 2^6."""
    return by_exponent(values * 64, generator) / 64


Rounding = Callable[[Tensor, torch.Generator], Tensor]


def after_updates(start: float, rounded: Rounding) -> float:
    """The mean of many weights after many small steps."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.full((N_WEIGHTS,), start)
    for _ in range(UPDATES):
        weights = rounded(weights + UPDATE, generator)
    return float(weights.mean())


def main() -> None:
    for name, held in BYTES.items():
        threshold = 2 * held * OPERATIONS_A_SECOND / (6 * BYTES_A_SECOND)
        print(f"\n{name}: products take longer from {threshold:.0f} texts on")
        for n_labels in LABELS:
            n_weights = n_labels * DIM
            floors = " / ".join(f"{floor_ms(n_weights, held, b):.2f}" for b in BATCHES)
            print(f"  {n_labels:,} labels: {held * n_weights / 2**30:.2f} GiB, {floors} ms")
    print(f"\n{UPDATES} updates of {UPDATE}:")
    print("| start | right | by exponent | on the grid | times 2^6 |\n|---|---|---|---|---|")
    for steps in (0, 2, 4, 5, 6, 7, 8, 15):
        start = steps * 2.0**-9
        means = [after_updates(start, f) for f in (by_exponent, on_the_grid, scaled)]
        cells = " | ".join(f"{mean:.4f}" for mean in means)
        print(f"| {start:.4f} | {start + UPDATES * UPDATE:.4f} | {cells} |", flush=True)
    generator = torch.Generator().manual_seed(0)
    bound = (6 / (LABELS[2] + DIM)) ** 0.5
    xavier = ((2 * torch.rand(10**6, generator=generator) - 1) * bound).to(E4M3).float()
    share = float((xavier == 0).float().mean())
    print(f"\nXavier's start: {share:.0%} are 0, {len(xavier.unique())} values")
    normal = 0.02 * torch.randn(10**6, generator=generator)
    for scale in (1, 64):
        error = (normal * scale).to(E4M3).float() / scale - normal
        print(f"N(0, 0.02) times {scale}: error {float(error.std() / normal.std()):.1%}")


if __name__ == "__main__":
    main()
