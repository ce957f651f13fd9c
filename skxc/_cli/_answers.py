"""The answers of a model to texts, as lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import skxc

from ._errors import input_checked


def loaded(model: str, device: str | None) -> Any:
    from skxc._validation import resolve_device

    with input_checked():
        clf = skxc.load(model, device=device)
        resolve_device(clf.device)
        return clf


def best(clf: Any, texts: list[str], k: int) -> Iterator[tuple[list[Any], list[float]]]:
    """Names and probabilities of the best labels of each text, best first."""
    for row, proba in zip(*clf.predict_top_k_proba(texts, k), strict=True):
        # the shortest decimal number that gives the same float32
        yield clf.label_names_[row].tolist(), [float(str(value)) for value in proba]


def json_line(labels: list[Any], proba: list[float]) -> str:
    return json.dumps({"labels": labels, "proba": proba}, ensure_ascii=False) + "\n"


def tab_separated_line(labels: list[Any], proba: list[float]) -> str:
    escapes = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
    names = (str(label).translate(escapes) for label in labels)
    pairs = zip(names, proba, strict=True)
    return "\t".join(f"{name}\t{value}" for name, value in pairs) + "\n"
