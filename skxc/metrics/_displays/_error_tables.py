"""Confused labels and worst texts as lines for a terminal and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from skxc._explanation import one_line

from .._errors_named import Confusion, WorstText

NONE = "(no label)"
_MOST_CHARACTERS = 300  # of a text; the display itself has the whole
_MOST_LABELS = 10  # of a text's true ones
_STYLE = """
.skxc-errors { font: 15px/1.5 system-ui, sans-serif; max-width: 75em; }
.skxc-errors table { border-collapse: collapse; font-size: .9em; margin: .4em 0 1.2em; }
.skxc-errors th, .skxc-errors td { padding: .25em .8em .25em 0; text-align: left;
  vertical-align: top; border: 0; border-bottom: 1px solid rgba(128, 128, 128, .3);
  background: none; overflow-wrap: anywhere; white-space: normal; }
.skxc-errors th.number, .skxc-errors td.number { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.skxc-errors .right { color: rgb(33, 113, 181); font-weight: 600; }
.skxc-errors .place { opacity: .7; white-space: nowrap; }
"""


def summary(n_errors: float, n_true: float, name: str | None) -> str:
    """The number of errors, as a sentence."""
    whose = f"{name}: " if name else ""
    errors = f"{digits(n_errors)} error{'s' * (n_errors != 1)}"
    return (
        f"{whose}{errors} among {digits(n_true)} true labels "
        f"(each text's ranking is cut at the number of its true labels)."
    )


def as_lines(sentence: str, confusions: Sequence[Confusion], texts: Sequence[WorstText]) -> str:
    """Both tables for a terminal, below a sentence."""
    lines = [one_line(sentence)]
    if confusions:
        lines += ["", f"{'errors':>7}  {'recall':<10}  true label → given instead"]
        lines += map(_confusion_line, confusions)
    for text in texts:
        shown = "" if text.text is None else f"  {short(text.text, _MOST_CHARACTERS)}"
        lines += ["", f"row {text.row}  nDCG {text.ndcg:.3f}{shown}"]
        shown_labels = text.true_labels[:_MOST_LABELS]
        true = ", ".join(f"{label} ({_place(place)})" for label, place in shown_labels)
        given = ", ".join(f"{label} {score:.3g}" for label, score, _ in text.best_labels)
        lines += [
            f"  true:  {one_line(true)}{_more(text)}",
            f"  given: {one_line(given) or NONE}",
        ]
    return "\n".join(lines)


def as_page(fragment: str) -> str:
    """A document of its own."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<title>Errors</title><style>:root { color-scheme: light dark; } "
        "body { margin: 1em; }</style></head>\n"
        f"<body>{fragment}</body></html>\n"
    )


def as_fragment(sentence: str, confusions: Sequence[Confusion], texts: Sequence[WorstText]) -> str:
    """What a notebook shows."""
    content = [f"<p>{escape(sentence)}</p>"]
    if confusions:
        heads = ["errors", "true label", "its recall", "given instead"]
        content.append(_table(heads, [_confusion_row(c) for c in confusions], n_numbers=1))
    if texts:
        heads = ["row", "nDCG", "text", "true labels, and their places", "best labels"]
        content.append(_table(heads, [_worst_row(text) for text in texts], n_numbers=2))
    tables = "\n".join(content)
    return f'<div class="skxc-errors"><style>{_STYLE}</style>\n{tables}</div>'


def short(name: Any, n: int) -> str:
    """On one line, and cut where it is long."""
    line = one_line(str(name))
    return line if len(line) <= n else f"{line[: n - 1]}…"


def instead(confusion: Confusion) -> Any:
    """The label that was given, in words where there was none."""
    return NONE if confusion.instead is None else confusion.instead


def _confusion_line(confusion: Confusion) -> str:
    labels = f"{one_line(str(confusion.label))} → {one_line(str(instead(confusion)))}"
    return f"{digits(confusion.n_errors):>7}  {_recall(confusion):<10}  {labels}"


def _confusion_row(confusion: Confusion) -> Sequence[str]:
    label, given = (escape(str(name)) for name in (confusion.label, instead(confusion)))
    return digits(confusion.n_errors), label, _recall(confusion), given


def _worst_row(text: WorstText) -> Sequence[str]:
    shown = "" if text.text is None else escape(short(text.text, _MOST_CHARACTERS))
    shown_labels = text.true_labels[:_MOST_LABELS]
    true = [_label(label, _place(place), "right") for label, place in shown_labels]
    given = [
        _label(label, f"{score:.3g}", "right" if is_true else "wrong")
        for label, score, is_true in text.best_labels
    ]
    return (
        str(text.row),
        f"{text.ndcg:.3f}",
        shown,
        "<br>".join(true) + _more(text),
        "<br>".join(given) or NONE,
    )


def _label(label: Any, number: str, kind: str) -> str:
    name = escape(str(label))
    return f'<span class="{kind}">{name}</span> <span class="place">{number}</span>'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, n_numbers: int) -> str:
    """A table of HTML cells, of which the first columns are numbers."""
    head = _cells("th", heads, n_numbers)
    body = "\n".join(f"<tr>{_cells('td', row, n_numbers)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>\n"


def _cells(tag: str, contents: Sequence[str], n_numbers: int) -> str:
    numbers = [f'<{tag} class="number">{content}</{tag}>' for content in contents[:n_numbers]]
    return "".join(numbers + [f"<{tag}>{content}</{tag}>" for content in contents[n_numbers:]])


def _recall(confusion: Confusion) -> str:
    return f"{digits(confusion.n_found)} of {digits(confusion.n_true)}"


def _place(place: int | None) -> str:
    return "not ranked" if place is None else f"place {place}"


def _more(text: WorstText) -> str:
    """How many true labels are not shown."""
    n_more = len(text.true_labels) - _MOST_LABELS
    return f" and {n_more} more" if n_more > 0 else ""


def digits(value: float) -> str:
    """Whole numbers as such, others with two digits behind the point; of small ones, two digits."""
    if 0 < value < 0.1:
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value - round(value)) < 0.005 else f"{value:,.2f}"
