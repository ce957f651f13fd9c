"""Lists of labels that stand in a cell as text: of JSON, Python and NumPy."""

from __future__ import annotations

import json
import re
from ast import literal_eval
from typing import Any

_ENDS = {"[": "]", "(": ")", "{": "}"}
_EMPTY = ("()", "{}", "set()")
_MISSING = ("None", "nan", "<NA>", "NaT")
_ITEM = r"""(?:[uU]?'(?:[^'\\]|\\.)*'|[uU]?"(?:[^"\\]|\\.)*"|[^\s,'"()\[\]{}]+)"""
_ITEMS = re.compile(_ITEM, re.DOTALL)
# with commas, as Python writes them, or without, as NumPy does
_WRITTEN = re.compile(
    rf".\s*(?:{_ITEM}(?:\s*,\s*{_ITEM})*\s*,?|{_ITEM}(?:\s+{_ITEM})*)\s*.", re.DOTALL
)
_WHOLE = re.compile(r"[+-]?\d+(?:\.0*)?")
_QUOTED = re.compile(r"""[\[{][\s\[({]*(?:[\w.]+\()?[uU]?(['"]).*\1""", re.DOTALL)


def written_list(text: str) -> list[Any] | None:
    """The entries of a list, tuple or set, some of which may be missing; None: it is none.

    Raises
    ------
    ValueError
        If it seems to be one of texts, and is none.
    """
    if text in _EMPTY:
        return []
    if not text or _ENDS.get(text[0]) != text[-1]:
        return None
    try:  # JSON first: its escapes are not Python's
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = _items(text)
    if isinstance(values, list) and all(map(_is_entry, values)):
        return values
    if _QUOTED.match(text):
        raise ValueError(
            f"{text[:60]!r} looks like a list of texts, but cannot be read as one. Write "
            f'["one", "another"]'
        )
    return None


def _is_entry(value: Any) -> bool:
    is_float = isinstance(value, float) and (value.is_integer() or value != value)
    return value is None or is_float or type(value) in (str, int)


def _items(text: str) -> list[Any] | None:
    """What stands between the brackets: texts, whole numbers and missing values."""
    if not _WRITTEN.fullmatch(text) or (text[0] == "(" and "," not in text):
        return None
    values = list[Any]()
    for item in _ITEMS.findall(text[1:-1]):
        try:
            if item[-1] in "'\"":
                values.append(literal_eval(item))
            elif _WHOLE.fullmatch(item):
                values.append(int(item.split(".")[0]))
            elif item in _MISSING:
                values.append(None)
            else:
                return None
        except (ValueError, SyntaxError):  # of escapes, or of thousands of digits
            return None
    return values
