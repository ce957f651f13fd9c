"""What the tests that need a GPU share."""

from __future__ import annotations

import warnings
from contextlib import contextmanager

import torch


@contextmanager
def no_waiting():
    """Raise where the host waits for the GPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the mode a prototype when it is first set
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
