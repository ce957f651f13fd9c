"""Gradients of tables of which a batch has few rows."""

from __future__ import annotations

import torch
from torch import Tensor


def row_sparse(
    rows: Tensor,  # (n,)
    values: Tensor,  # (n, dim)
    shape: torch.Size,
    *,
    is_coalesced: bool = False,
) -> Tensor:
    """The sparse tensor of these rows, unchecked."""
    # torch 2.11 warns that it does not check, unless it is told so by the setting
    with torch.sparse.check_sparse_tensor_invariants(enable=False):
        return torch.sparse_coo_tensor(rows[None], values, shape, is_coalesced=is_coalesced)
