"""`skxc explain`: why texts get their labels, text after text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ._answers import loaded
from ._errors import InputError, input_checked
from ._predict import text_blocks
from ._streams import check_not_input, opened_output

_FORMATS = {".html": "html", ".jsonl": "jsonl"}  # by the ending of --out


def explain(
    *,
    model: str,
    texts: str | None,
    text: list[str] | None,
    encoding: str,
    label: list[str] | None,
    top_k: int,
    format: str | None,
    out: str | None,
    device: str | None,
) -> None:
    """Explain each text as it arrives; a page of HTML is written at the end."""
    if top_k < 1:
        raise InputError(f"--top_k is {top_k}. Pass at least 1.")
    check_not_input(out, texts or "-")
    format = format or _FORMATS.get(Path(out or "").suffix.lower(), "text")
    clf = loaded(model, device)
    asked = None if label is None else _as_names(clf, label)
    with ExitStack() as stack:
        blocks = stack.enter_context(text_blocks(texts or "-", text, encoding))
        file = stack.enter_context(opened_output(out))
        found = _explained(clf, blocks, asked, top_k)
        if format == "html":
            from skxc._explanation import Explanations

            content = Explanations(list(found)).to_html()
            file.write(content.encode(errors="backslashreplace"))
            return
        for explanation in found:
            line = json.dumps(explanation.to_dict(), ensure_ascii=False)
            shown = line if format == "jsonl" else f"{explanation}\n"
            file.write(f"{shown}\n".encode(errors="backslashreplace"))
            file.flush()


def _explained(
    clf: Any, blocks: Iterator[list[str]], labels: list[Any] | None, top_k: int
) -> Iterator[Any]:
    for block in blocks:
        for text in block:
            with input_checked():
                [explanation] = clf.explain([text], labels, top_k)
            yield explanation


def _as_names(clf: Any, labels: list[str]) -> list[Any]:
    """Labels as the model names them: numbers, where it has numbers."""
    known = clf.label_names_.tolist()
    numbers = {str(name): name for name in [*clf.classes_.tolist(), *known]}
    return [numbers.get(label, label) for label in labels]
