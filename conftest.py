"""Hides a GPU from the tests, and from the examples in docstrings, that are not marked `gpu`."""

from __future__ import annotations

import os

import pytest
import torch
from torch.utils._triton import has_triton

_HAS_GPU, _VISIBLE = torch.cuda.is_available(), os.environ.get("CUDA_VISIBLE_DEVICES")
if _HAS_GPU:  # what torch asks once and for all, before the GPU is hidden
    torch.cuda.init()
    torch.cuda.device_count()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture: a test without the mark has a CPU's tolerances."""
    is_marked = item.get_closest_marker("gpu") is not None
    if is_marked and not _HAS_GPU:
        pytest.skip("needs an NVIDIA GPU")
    is_shown = _HAS_GPU and is_marked
    torch.cuda.is_available = lambda: is_shown
    has_triton.cache_clear()  # torch.compile asks it, and it remembers
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if is_shown:
        del os.environ["CUDA_VISIBLE_DEVICES"]
        os.environ |= {} if _VISIBLE is None else {"CUDA_VISIBLE_DEVICES": _VISIBLE}
