"""The contents of the reference and the gallery, and their order. Needs no Sphinx."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import skxc

GALLERY_ORDER = (
    "first_classifier",
    "own_table",
    "label_texts_and_unseen_labels",
    "choosing_among_the_three",
    "reading_the_metrics",
    "explaining",
    "grid_search",
    "pretrained_encoder",
)

CONSTANTS = {
    "skxc.metrics.PROPENSITY_CONSTANTS": "Published (A, B) of :func:`~skxc.metrics.propensities`."
}


def gallery_place(path: str) -> int:
    """Position of an example in the gallery."""
    return GALLERY_ORDER.index(Path(path).stem.removeprefix("plot_"))


def public_names() -> dict[str, list[str]]:
    """The ``__all__`` of `skxc` and of its public submodules, by module."""
    modules = sorted(m.name for m in pkgutil.iter_modules(skxc.__path__) if m.name[0] != "_")
    return {
        module: [n for n in importlib.import_module(module).__all__ if not n.startswith("_")]
        for module in ["skxc", *(f"skxc.{name}" for name in modules)]
    }


def pages() -> dict[str, str]:
    """Full name of every public object, by its full name and by its last part."""
    full = [f"{module}.{name}" for module, names in public_names().items() for name in names]
    return {name.rpartition(".")[2]: name for name in full} | {name: name for name in full}


def api_page() -> str:
    """The page of the reference: one table per module."""
    parts = ["API reference\n============="]
    for module, names in public_names().items():
        rows = "\n".join(f"   {name}" for name in names)
        parts.append(f"{module}\n{'-' * len(module)}\n\n.. automodule:: {module}\n   :no-members:")
        parts.append(f".. autosummary::\n   :toctree: generated\n   :nosignatures:\n\n{rows}")
    return "\n\n".join(parts) + "\n"
