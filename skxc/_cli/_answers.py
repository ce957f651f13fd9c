"""The answers of a model to texts, as bytes of the output's format."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator
from itertools import chain
from typing import IO, Any, NamedTuple

import skxc
from skxc._persistence import read_config, unreplaced

from ._errors import input_checked
from ._parquet import message


class Task(NamedTuple):
    """What is asked of a model, in whichever process."""

    model: str  # a folder
    device: str | None
    top_k: int
    format: str  # "jsonl", "tsv", "csv" or "parquet"


class Answers(NamedTuple):
    """The answers to texts that follow each other."""

    content: bytes  # lines, or a message of Arrow
    n_rows: int


def answering(task: Task) -> Callable[[list[str]], Answers]:
    """Load the model; what answers texts with it."""
    clf = loaded(task.model, task.device)
    encoded = {
        "jsonl": _json_lines,
        "tsv": _tab_separated_lines,
        "csv": _csv_lines,
        "parquet": message,
    }[task.format]

    def answered(texts: list[str]) -> Answers:
        labels, proba = clf.predict_top_k_proba(texts, task.top_k)
        return Answers(encoded(clf.label_names_[labels].tolist(), proba), len(texts))

    return answered


def loaded(model: str, device: str | None) -> Any:
    """The estimator in a folder."""
    from skxc._validation import resolve_device

    with input_checked():
        clf = skxc.load(model, device=device)
        resolve_device(clf.device)
        return clf


def _json_lines(labels: list[list[Any]], proba: Any) -> bytes:
    rows = zip(labels, _shortest(proba), strict=True)
    lines = (json.dumps({"labels": a, "proba": b}, ensure_ascii=False) + "\n" for a, b in rows)
    return _encoded(lines)


def _tab_separated_lines(labels: list[list[Any]], proba: Any) -> bytes:
    escapes = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
    lines = []
    for row, values in zip(labels, _shortest(proba), strict=True):
        names = (str(label).translate(escapes) for label in row)
        pairs = zip(names, values, strict=True)
        lines.append("\t".join(f"{name}\t{value}" for name, value in pairs) + "\n")
    return _encoded(lines)


def _csv_lines(labels: list[list[Any]], proba: Any) -> bytes:
    lines = io.StringIO(newline="")
    rows = zip(labels, _shortest(proba), strict=True)
    _csv_writer(lines).writerows(chain(*zip(a, b, strict=True)) for a, b in rows)
    return _encoded([lines.getvalue()])


def header(task: Task) -> bytes:
    """What comes before all answers: in CSV, the names of the columns.

    They begin with a byte-order mark, without which Excel does not take a file for UTF-8.
    """
    if task.format != "csv":
        return b""
    with input_checked():
        n_labels = unreplaced(task.model, read_config)["fitted"]["n_labels_"]
    line = io.StringIO(newline="")
    ranks = range(1, min(task.top_k, n_labels) + 1)
    _csv_writer(line).writerow(f"{what}_{rank}" for rank in ranks for what in ("label", "proba"))
    return codecs.BOM_UTF8 + line.getvalue().encode()


def _csv_writer(file: IO[str]) -> Any:
    # by which csv tells that labels with a carriage return, too, need quotation marks
    return csv.writer(file, lineterminator="\r\n")


def _shortest(proba: Any) -> Iterator[list[float]]:
    """Each row's numbers as the shortest decimals that give the same float32."""
    for row in proba:
        yield [float(str(value)) for value in row]


def _encoded(lines: Any) -> bytes:
    # lone surrogates, from a label file, as JSON escapes them
    return "".join(lines).encode(errors="backslashreplace")
