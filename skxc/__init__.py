"""Extreme multi-label text classification with scikit-learn's API."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._dual_encoder import DualEncoderXC
    from ._load import load
    from ._renee import ReneeClassifier
    from ._unidec import UniDEC

__version__ = "0.1.0.dev0"
# by their names on the command line; a new one is its own files and a name here
_ESTIMATORS = {"renee": "ReneeClassifier", "dual-encoder": "DualEncoderXC", "unidec": "UniDEC"}
__all__ = ["DualEncoderXC", "ReneeClassifier", "UniDEC", "__version__", "load"]

# torch takes seconds to import: an estimator's module is loaded when its name is first used.
_LAZY = {
    "DualEncoderXC": "._dual_encoder",
    "ReneeClassifier": "._renee",
    "UniDEC": "._unidec",
    "load": "._load",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
