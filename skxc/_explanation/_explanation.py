"""What `explain` answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, overload

from ._html import as_fragment, as_page
from ._lines import as_lines


class UnknownLabelError(ValueError):
    """A label to explain that the model has not; other errors are not its asker's."""


class WordEffect(NamedTuple):
    """A word of a text, and how far it moves a label's score.

    Parameters
    ----------
    word : str
        As the text has it.
    start, stop : int
        Its characters are ``text[start:stop]``.
    effect : float
        Above 0: it moves the score up.
    """

    word: str
    start: int
    stop: int
    effect: float


@dataclass(frozen=True)
class LabelExplanation:
    """Why a text got a label's score.

    Parameters
    ----------
    label : object
        The label's name, as `predict_labels` gives it.
    index : int
        Its place in `classes_`.
    score, proba : float
        As prediction gives them.
    constant : float
        The rest of the score: intercepts and, where the method is not "exact", what words do only
        together. The score is this and all words' effects.
    parts : dict of str to float
        The score by where it comes from; the values add up to it.
    words : list of WordEffect
        All words, in the text's order.
    """

    label: Any
    index: int
    score: float
    proba: float
    constant: float
    parts: dict[str, float]
    words: list[WordEffect]


class Neighbour(NamedTuple):
    """A training text like the one that is explained.

    Parameters
    ----------
    row : int
        Its place among the training texts.
    text : str
        The text.
    similarity : float
        The cosine of both embeddings.
    """

    row: int
    text: str
    similarity: float


@dataclass(frozen=True)
class Explanation:
    """Why a text got its labels.

    Parameters
    ----------
    text : str
        The text.
    method : {"exact", "occlusion", "mixed"}
        How the words' effects were found.
    labels : list of LabelExplanation
        The labels that are explained, best first.
    neighbours : list of Neighbour
        Training texts like this one, if any were asked for, the most similar first.
    """

    text: str
    method: Literal["exact", "occlusion", "mixed"]
    labels: list[LabelExplanation]
    neighbours: list[Neighbour]

    def to_dict(self) -> dict[str, Any]:
        """The same as dicts and lists of Python's own types, for JSON.

        Returns
        -------
        dict
            With the fields' names as keys.
        """
        labels = [
            vars(label) | {"words": [word._asdict() for word in label.words]}
            for label in self.labels
        ]
        neighbours = [neighbour._asdict() for neighbour in self.neighbours]
        return {
            "text": self.text,
            "method": self.method,
            "labels": labels,
            "neighbours": neighbours,
        }

    def to_html(self) -> str:
        """A page of its own.

        Returns
        -------
        str
            HTML that loads nothing.
        """
        return as_page([self.to_dict()])

    def __str__(self) -> str:
        return as_lines(self.to_dict())

    def _repr_html_(self) -> str:
        return as_fragment([self.to_dict()])


class Explanations(Sequence[Explanation]):
    """Why each of some texts got its labels: a sequence, shown in colours by notebooks.

    Parameters
    ----------
    explanations : sequence of Explanation
        One a text.
    """

    def __init__(self, explanations: Sequence[Explanation]) -> None:
        self._explanations = tuple(explanations)

    def __len__(self) -> int:
        return len(self._explanations)

    @overload
    def __getitem__(self, index: int) -> Explanation: ...
    @overload
    def __getitem__(self, index: slice) -> Explanations: ...
    def __getitem__(self, index: int | slice) -> Explanation | Explanations:
        found = self._explanations[index]
        return Explanations(found) if isinstance(found, tuple) else found

    def to_html(self) -> str:
        """All of them as one page.

        Returns
        -------
        str
            HTML that loads nothing.
        """
        return as_page([explanation.to_dict() for explanation in self])

    def __repr__(self) -> str:
        return f"<Explanations of {len(self)} text{'s' * (len(self) != 1)}; print() shows them>"

    def __str__(self) -> str:
        return "\n\n".join(map(str, self))

    def _repr_html_(self) -> str:
        return as_fragment([explanation.to_dict() for explanation in self])
