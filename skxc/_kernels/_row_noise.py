"""Random numbers of a table's rows that depend on a row's number, not on which rows are here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# rows whose numbers are drawn together: on a CPU few more than are needed, on a GPU in few calls
_BLOCKS = {"cpu": 1 << 8, "cuda": 1 << 14}


class RowNoise(NamedTuple):
    """Draws for some rows of a table; any part of the table gets what the whole one would."""

    seed: int
    first: int = 0  # the number of the first row
    stream: int = 0  # others are independent of it

    def from_row(self, start: int) -> RowNoise:
        """Of the rows from `start` on."""
        return self._replace(first=self.first + start)

    def normal_(self, rows: Tensor, std: float, is_drawn: Tensor | None = None) -> Tensor:
        """Fill rows, (n_rows, dim), with normal numbers; only those where `is_drawn`, (n_rows,)."""
        for part, of_block, generator in self._blocks(rows):
            if is_drawn is not None and not is_drawn[part].any():
                continue
            # a contiguous block: torch draws others for one that is not
            drawn = rows.new_empty((_n_rows(rows), rows.shape[1]))
            drawn = drawn.normal_(0, std, generator=generator)[of_block]
            mask = slice(None) if is_drawn is None else is_drawn[part]
            rows[part][mask] = drawn[mask]
        return rows

    def halves(self, rows: Tensor) -> Tensor:
        """Sixteen random bits for every number of `rows`, int32."""
        bits = torch.empty(rows.shape, dtype=torch.int32, device=rows.device)
        for part, of_block, generator in self._blocks(rows):
            shape = (_n_rows(rows), *rows.shape[1:])
            drawn = torch.randint(
                0, 1 << 16, shape, dtype=torch.int32, device=rows.device, generator=generator
            )
            bits[part] = drawn[of_block]
        return bits

    def _blocks(self, rows: Tensor) -> Iterator[tuple[slice, slice, torch.Generator]]:
        """Which of `rows` each block has, where they are in it, and what draws the block."""
        generator = torch.Generator(rows.device)
        stop, n_rows = self.first + len(rows), _n_rows(rows)
        for block in range(self.first // n_rows, -(-stop // n_rows)):
            start = block * n_rows
            first, last = max(self.first, start), min(stop, start + n_rows)
            # seeds that are alike give streams that are alike
            mixed = np.random.SeedSequence((self.seed, self.stream, block)).generate_state(1)
            generator.manual_seed(int(mixed[0]))
            part = slice(first - self.first, last - self.first)
            yield part, slice(first - start, last - start), generator


def _n_rows(rows: Tensor) -> int:
    """Of a block."""
    return _BLOCKS.get(rows.device.type, _BLOCKS["cuda"])
