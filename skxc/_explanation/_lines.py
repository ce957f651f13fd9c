"""An explanation for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MOST_WORDS = 10  # of a label, those that moved its score most
_BAR_WIDTH = 24


def as_lines(explanation: Mapping[str, Any]) -> str:
    """The labels below the text, and below each what moved its score."""
    lines = [one_line(explanation["text"])]
    for label in explanation["labels"]:
        lines += ["", f"  {one_line(str(label['label']))}  {label['proba']:.3f}"]
        parts = " + ".join(f"{name} {value:.3f}" for name, value in label["parts"].items())
        lines.append(f"    score {label['score']:.3f} = {parts}")
        rest = "(no word)" if explanation["method"] == "exact" else "(together)"
        lines += _of_words(label, rest)
    for neighbour in explanation["neighbours"]:
        lines.append(
            f"  training text {neighbour['row']} ({neighbour['similarity']:.2f}): "
            f"{one_line(neighbour['text'])}"
        )
    return "\n".join(lines)


def _of_words(label: Mapping[str, Any], rest_name: str) -> list[str]:
    """The words that moved the score most, with bars, and what is no single word's."""
    words = sorted(label["words"], key=lambda word: -abs(word["effect"]))
    shown = [word for word in words[:_MOST_WORDS] if word["effect"]]
    rows = [(one_line(word["word"]), word["effect"]) for word in shown]
    n_others = sum(bool(word["effect"]) for word in words[_MOST_WORDS:])
    if n_others:
        rest = sum(word["effect"] for word in words[_MOST_WORDS:])
        rows.append((f"({n_others} other word{'s' * (n_others > 1)})", rest))
    if label["constant"]:
        rows.append((rest_name, label["constant"]))
    width = max((len(name) for name, _ in rows), default=0)
    largest = max((abs(effect) for _, effect in rows), default=0) or 1
    return [
        f"    {name:<{width}} {effect:+8.3f} {_bar(effect / largest)}".rstrip()
        for name, effect in rows
    ]


def _bar(share: float) -> str:
    return ("█" if share > 0 else "░") * round(_BAR_WIDTH * abs(share))


def one_line(text: str) -> str:
    """Without line breaks, and without characters that a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)
