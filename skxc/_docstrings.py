"""Documentation that several functions share is written once and completed at import."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])
# of numpydoc
_ORDER = (
    "Parameters",
    "Attributes",
    "Returns",
    "Yields",
    "Raises",
    "Notes",
    "References",
    "Examples",
)


def completed_by(shared: str | None) -> Callable[[_Function], _Function]:
    """Decorator that adds to a docstring the sections of `shared` that it lacks.

    Of the section "Parameters", each parameter of the function or class is added that its own
    docstring does not describe, in the order of the signature; attributes follow its own.
    """

    def complete(function: _Function) -> _Function:
        if function.__doc__ and shared and "---" in shared:  # python -OO leaves none
            ours, own = _sections(shared), _sections(function.__doc__)
            described = _entries(ours["Parameters"]) | _entries(own.get("Parameters", ""))
            names = [n for n in inspect.signature(function).parameters if n not in ("self", "cls")]
            sections = ours | own
            sections["Parameters"] = "\n".join(described[name] for name in names)
            if "Attributes" in sections:
                attributes = _entries(own.get("Attributes", ""))
                attributes = attributes | _entries(ours.get("Attributes", "")) | attributes
                sections["Attributes"] = "\n".join(attributes.values())
            titles = [title for title in _ORDER if title in sections]
            parts = [f"{title}\n{'-' * len(title)}\n{sections[title]}" for title in titles]
            function.__doc__ = "\n\n".join([sections[""], *parts]) + "\n"
        return function

    return complete


def _sections(docstring: str) -> dict[str, str]:
    """Text of each section by its title; what stands before the first one by ""."""
    first, *rest = re.split(r"^(\w+)\n-+\n", inspect.cleandoc(docstring), flags=re.MULTILINE)
    texts = [text.strip() for text in rest[1::2]]
    return {"": first.strip()} | dict(zip(rest[::2], texts, strict=True))


def _entries(section: str) -> dict[str, str]:
    """Each parameter's lines by its name."""
    entries = re.split(r"\n(?=\S)", section)
    return {entry.partition(" : ")[0].lstrip("*"): entry for entry in entries if entry}
