"""Extreme multi-label text classification with scikit-learn's API."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  # its hooks at a fork, and logging's, before ours
import importlib
import os
import threading
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
# A fork waits until no other thread is importing: of a half-imported module, the child would wait
# for ever. For a minute at most, lest the import waits for what the forking thread holds.
_importing = threading.RLock()
_is_held = list[bool]()


def _hold_imports() -> None:
    _is_held.append(_importing.acquire(timeout=60))


def _free_imports() -> None:
    if _is_held.pop():
        _importing.release()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(
        before=_hold_imports, after_in_parent=_free_imports, after_in_child=_free_imports
    )


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        with _importing:
            return getattr(importlib.import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
