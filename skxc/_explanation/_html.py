"""An explanation as HTML: words coloured by what they did, bars of where a score comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_UP, _DOWN = "33, 113, 181", "217, 95, 2"  # blue and orange, which the colour-blind tell apart
_STRONGEST = 0.75  # opacity of the word that moved the score most: the text stays readable
_STYLE = """
.skxc-explanation { font: 15px/1.6 system-ui, sans-serif; max-width: 60em; }
.skxc-explanation details { border-top: 1px solid rgba(128, 128, 128, .35); padding: .4em 0; }
.skxc-explanation section { margin-bottom: 1.5em; }
.skxc-explanation summary { cursor: pointer; display: flex; gap: .8em; align-items: center; }
.skxc-explanation summary::before { content: "▸"; }
.skxc-explanation details[open] > summary::before { content: "▾"; }
.skxc-explanation .proba { font-variant-numeric: tabular-nums; min-width: 3.2em; }
.skxc-explanation .bar { display: block; height: .6em; }
.skxc-explanation .track { display: inline-block; width: 6em; flex: none; }
.skxc-explanation .track { background: rgba(128, 128, 128, .2); }
.skxc-explanation p { margin: .5em 0; overflow-wrap: anywhere; white-space: pre-wrap; }
.skxc-explanation mark { color: inherit; border-radius: .2em; padding: .05em 0; }
.skxc-explanation table { border-collapse: collapse; font-size: .9em; background: none; }
.skxc-explanation table { margin: 0; }  /* some sites centre tables */
.skxc-explanation td { padding: .1em .8em .1em 0; text-align: left; border: 0; background: none; }
.skxc-explanation td.number { text-align: right; font-variant-numeric: tabular-nums; }
.skxc-explanation .note { font-size: .85em; opacity: .75; }
"""
_METHODS = {
    "exact": "Each word's effect is its own share of the score, which is a sum over words.",
    "occlusion": "A word's effect is how far the score falls without it. What words do together "
    "is no single word's.",
    "mixed": "A word's effect is its share of the sums over words, and how far the rest of the "
    "score falls without it.",
}


def as_page(explanations: Sequence[Mapping[str, Any]]) -> str:
    """A document of its own."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<title>Explanation</title><style>:root { color-scheme: light dark; } "
        "body { margin: 1em; }</style></head>\n"
        f"<body>{as_fragment(explanations)}</body></html>\n"
    )


def as_fragment(explanations: Sequence[Mapping[str, Any]]) -> str:
    """What a notebook shows."""
    content = "\n".join(map(_explanation, explanations))
    methods = dict.fromkeys(explanation["method"] for explanation in explanations)
    notes = "".join(f'<p class="note">{_METHODS[method]}</p>' for method in methods)
    return f'<div class="skxc-explanation"><style>{_STYLE}</style>\n{content}\n{notes}</div>'


def _explanation(explanation: Mapping[str, Any]) -> str:
    text, labels = explanation["text"], explanation["labels"]
    content = [_label(text, label, is_open=not i) for i, label in enumerate(labels)]
    if explanation["neighbours"]:
        rows = [
            _row(f"row {n['row']}", f"{n['similarity']:.2f}", escape(n["text"]))
            for n in explanation["neighbours"]
        ]
        table = f"<table>{''.join(rows)}</table>"
        content.append(f"<details><summary>Training texts like it</summary>{table}</details>")
    return f"<section>{''.join(content) or f'<p>{escape(text)}</p>'}</section>"


def _label(text: str, label: Mapping[str, Any], *, is_open: bool) -> str:
    bar = f'<span class="track">{_bar(label["proba"])}</span>'
    name, proba = escape(str(label["label"])), f"{label['proba']:.3f}"
    summary = f'{bar}<span class="proba">{proba}</span><strong>{name}</strong>'
    parts = {**label["parts"], "= score": label["score"]}
    largest = max(map(abs, parts.values()), default=0) or 1
    rows = "".join(
        _row(escape(part), f"{value:.3f}", f'<span class="track">{_bar(value / largest)}</span>')
        for part, value in parts.items()
    )
    return (
        f"<details{' open' if is_open else ''}><summary>{summary}</summary>"
        f"<p>{_coloured(text, label['words'])}</p><table>{rows}</table></details>"
    )


def _coloured(text: str, words: Sequence[Mapping[str, Any]]) -> str:
    """The text, its words on colours as strong as their effects."""
    largest = max((abs(word["effect"]) for word in words), default=0) or 1
    pieces, end = [], 0
    for word in words:
        share = word["effect"] / largest
        pieces.append(escape(text[end : word["start"]]))
        end = word["stop"]
        colour = f"rgba({_UP if share > 0 else _DOWN}, {_STRONGEST * abs(share):.2f})"
        shown = escape(text[word["start"] : end])
        pieces.append(
            f'<mark style="background: {colour}" title="{word["effect"]:+.3f}">{shown}</mark>'
        )
    return "".join([*pieces, escape(text[end:])])


def _bar(share: float) -> str:
    colour = _UP if share > 0 else _DOWN
    width = f"{100 * min(abs(share), 1):.0f}%"
    return f'<span class="bar" style="width: {width}; background: rgb({colour})"></span>'


def _row(name: str, number: str, rest: str) -> str:
    return f'<tr><td>{name}</td><td class="number">{number}</td><td>{rest}</td></tr>'
