"""Hides a GPU from the tests, and from the examples in docstrings, that are not marked `gpu`."""

from __future__ import annotations

import os

import pytest
import torch

_HAS_GPU, _VISIBLE = torch.cuda.is_available(), os.environ.get("CUDA_VISIBLE_DEVICES")
if _HAS_GPU:
    torch.cuda.init()  # before the variable hides the GPU from the processes that a test starts


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture: a test without the mark has a CPU's tolerances."""
    is_marked = item.get_closest_marker("gpu") is not None
    if is_marked and not _HAS_GPU:
        pytest.skip("needs an NVIDIA GPU")
    is_shown = _HAS_GPU and is_marked
    torch.cuda.is_available = lambda: is_shown
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if is_shown:
        del os.environ["CUDA_VISIBLE_DEVICES"]
        os.environ |= {} if _VISIBLE is None else {"CUDA_VISIBLE_DEVICES": _VISIBLE}
