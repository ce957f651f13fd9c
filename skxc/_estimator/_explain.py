"""Why a text got its labels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skxc._data._tokens import TokenStore
from skxc._docstrings import completed_by
from skxc._explanation import (
    Explanation,
    Explanations,
    LabelExplanation,
    Neighbour,
    UnknownLabelError,
    WordEffect,
)
from skxc._search._explaining import TextScores, has_all_in_sums, scores_apart
from skxc._search._ranker import Ranker
from skxc._validation import check_integer, check_texts, short
from skxc.encoders._spans import TokenSpans, overlaps, shown_words

from ._predict import SHARED, PredictMixin
from ._sources import opened

# of a longer text, neighbours are left out together
_MOST_LEFT_OUT = 256
_MOST_ALIKE = 1000  # names that one that is not known is compared with


class ExplainMixin(PredictMixin):
    """`explain`."""

    @completed_by(SHARED)
    def explain(
        self,
        X: Any,
        labels: Sequence[Any] | None = None,
        k: int = 5,
        *,
        training_texts: Any = None,
        n_neighbours: int = 3,
    ) -> Explanations:
        """Tell how far each word of a text moves the scores of its labels.

        With a :class:`~skxc.encoders.BagOfWordsEncoder` the effects are exact: a score is a sum
        over words. (The text's length, by which the sum is divided, depends on all of them; an
        n-gram's share is divided evenly among its words.) A transformer's score is no sum: there, a
        word's effect is how far the score falls when the word is left out, and what words do only
        together is no single word's. Where a score has both, as with a
        :class:`~skxc.encoders.JoinedEncoder`, each is explained in its way.

        Parameters
        ----------
        labels : list, default=None
            Names of the labels to explain, as `predict_labels` gives them or as in `classes_`; all
            labels of such a name. None: the `k` best of each text.
        k : int, default=5
            Labels a text where `labels` is None.
        training_texts : array-like of shape (n_training,), str, default=None
            Texts that the most similar ones are to be named of; the estimator keeps none.
        n_neighbours : int, default=3
            How many of them, for each text.

        Returns
        -------
        Explanations
            A sequence, one `Explanation` a text. A notebook shows it in colours, ``print`` with
            bars; ``to_html`` and each one's ``to_dict`` write it out. The words' effects and the
            constant, which is the rest, add up to the score. So do the parts, by where it comes
            from: ``"label text"`` (what the label's own text has in common with this one),
            ``"classifier"`` (the label's row), ``"word weights"`` (of :class:`~skxc.UniDEC`),
            ``"second stage"``.

        Examples
        --------
        >>> from skxc import ReneeClassifier
        >>> texts, y = ["red apples", "fast red cars"] * 20, [["fruit"], ["vehicles"]] * 20
        >>> clf = ReneeClassifier(random_state=0).fit(texts, y)
        >>> [explanation] = clf.explain(["fast apples"], labels=["fruit"])
        >>> [(word, effect > 0) for word, _, _, effect in explanation.labels[0].words]
        [('fast', False), ('apples', True)]
        """
        check_is_fitted(self)
        check_integer("k", k, 1)
        check_integer("n_neighbours", n_neighbours, 1)
        texts = self._check_texts(X, reset=False)
        chosen = None if labels is None else self._places_of(labels)
        others = (
            None
            if training_texts is None
            else check_texts(opened(training_texts), "training_texts")
        )
        tokens = self.encoder_.tokenize(texts)
        with self._predicting() as ranker:
            found = [
                self._explanation(ranker, text, tokens.take(np.array([i])), chosen, k)
                for i, text in enumerate(texts)
            ]
            if others is not None:
                near = self._neighbours(ranker, tokens, others, n_neighbours)
                found = [replace(e, neighbours=n) for e, n in zip(found, near, strict=True)]
        return Explanations(found)

    def _places_of(self, labels: Sequence[Any]) -> NDArray[np.int64]:
        """Places in `classes_` of labels by their names; all of those that share a name."""
        is_list = isinstance(labels, list | tuple) or getattr(labels, "ndim", 0) == 1
        if not is_list or not len(labels):
            raise ValueError(
                f"labels is {short(labels)}. Pass a list of labels' names, such as "
                f"{self.label_names_[:1].tolist()!r}, or None for the best."
            )
        places = (place for label in labels for place in self._places_named(label))
        return np.array(list(dict.fromkeys(places)), np.int64)

    def _places_named(self, label: Any) -> list[int]:
        """The places of a name: not by a dict of all names, which takes a second a million."""
        # a label is no collection, which numpy would compare item by item
        if isinstance(label, str) or not isinstance(label, Collection):
            for names in (self.label_names_, self.classes_):
                if places := np.flatnonzero(names == label).tolist():
                    return places
        hint = _hint(label, self.label_names_) or _hint(label, self.classes_)
        raise UnknownLabelError(
            f"labels has {short(label)}, which is no label of this model: pass names as "
            f"predict_labels gives them, or as in classes_.{hint}"
        )

    def _explanation(
        self,
        ranker: Ranker,
        text: str,
        tokens: TokenStore,  # of the text
        chosen: NDArray[np.int64] | None,
        k: int,
    ) -> Explanation:
        labels, scores = self._to_explain(ranker, text, tokens, chosen, k)
        spans = self.encoder_.token_spans(text)
        words = shown_words(text, spans)
        is_exact = spans is not None and has_all_in_sums(ranker, tokens)
        groups = [] if is_exact or not words else _groups(len(words))
        left_out = [_without(text, [words[i] for i in group]) for group in groups]
        apart = scores_apart(
            ranker,
            tokens,
            self.encoder_.tokenize(left_out) if left_out else None,
            labels,
            scores,
            self._method.score_parts(vars(self), ranker, labels),
            is_summed=spans is not None,
        )
        effects = _effects_of_words(apart, spans, words, groups)
        places = [(text[start:stop], start, stop) for start, stop in words]
        named = [
            LabelExplanation(
                label=self.label_names_[[label]].tolist()[0],
                index=int(label),
                score=float(apart.scores[i]),
                proba=float(proba),
                constant=float(apart.scores[i] - effects[:, i].sum()),
                parts={name: float(values[i]) for name, values in apart.parts.items()},
                words=[
                    WordEffect(*p, float(e)) for p, e in zip(places, effects[:, i], strict=True)
                ],
            )
            for i, (label, proba) in enumerate(
                zip(labels, self._proba_of(text, labels, scores), strict=True)
            )
        ]
        if is_exact:
            return Explanation(text, "exact", named, [])
        return Explanation(text, "mixed" if apart.of_tokens.any() else "occlusion", named, [])

    def _to_explain(
        self,
        ranker: Ranker,
        text: str,
        tokens: TokenStore,
        chosen: NDArray[np.int64] | None,
        k: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The labels and their scores, best first."""
        if chosen is None:
            labels, scores = self.predict_top_k([text], k)
            return labels[0], scores[0]
        scores = ranker.scores(tokens, None)[0, chosen]
        order = np.argsort(-scores, kind="stable")
        return chosen[order], scores[order]

    def _proba_of(
        self, text: str, labels: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        if self._target_kind != "classes":
            return self._proba(scores.copy())
        labels_of, proba = self.predict_top_k_proba([text], self.n_labels_)
        of_all = np.empty(self.n_labels_, np.float32)
        of_all[labels_of[0]] = proba[0]
        return of_all[labels]

    def _neighbours(
        self, ranker: Ranker, tokens: TokenStore, others: list[str], n: int
    ) -> list[list[Neighbour]]:
        """The training texts whose embeddings have the largest cosines with each text's."""
        plain = replace(ranker, head=nn.Identity())
        texts, training = (
            _unit_rows(plain.embed(t)) for t in (tokens, self.encoder_.tokenize(others))
        )
        found = []
        for row in texts:
            cosines = training @ row
            best = np.argsort(-cosines, kind="stable")[:n]
            found.append([Neighbour(int(i), others[i], float(cosines[i])) for i in best])
        return found


def _effects_of_words(
    apart: TextScores,
    spans: TokenSpans | None,
    words: list[tuple[int, int]],
    groups: Sequence[NDArray[np.int64]],  # words that were left out together
) -> NDArray[np.float64]:  # (n_words, n_labels)
    """What the words do: their tokens' share, and what is missing without them."""
    effects = np.zeros((len(words), len(apart.scores)))
    for group, missing in zip(groups, apart.of_left_out, strict=False):
        effects[group] += missing / len(group)
    if spans is not None and len(apart.ids):
        places = np.searchsorted(apart.ids, spans.ids)
        n_times = np.bincount(places)
        for place, at in zip(places, overlaps(spans, words), strict=True):
            if len(at):
                effects[at] += apart.of_tokens[place] / (n_times[place] * len(at))
    return effects


def _hint(label: Any, names: NDArray[Any]) -> str:
    """What was meant, perhaps: a name that begins alike."""
    start = str(label)[:2]
    starts = names.astype(object).astype("U2")  # by way of objects: dates have no such short form
    is_alike = np.isin(starts, [start.lower(), start.upper(), start.capitalize()])
    alike = {str(name): name for name in names[np.flatnonzero(is_alike)[:_MOST_ALIKE]].tolist()}
    near = get_close_matches(str(label), alike, 1)
    return f" Did you mean {alike[near[0]]!r}?" if near else ""


def _groups(n_words: int) -> list[NDArray[np.int64]]:
    """Words that are left out together: each alone, or neighbours in a long text."""
    return np.array_split(np.arange(n_words), min(n_words, _MOST_LEFT_OUT))


def _without(text: str, places: list[tuple[int, int]]) -> str:
    """The text without some of its words."""
    starts = [0, *(stop for _, stop in places)]
    stops = [*(start for start, _ in places), len(text)]
    return "".join(text[start:stop] for start, stop in zip(starts, stops, strict=True))


def _unit_rows(rows: NDArray[np.float32]) -> NDArray[Any]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths, lengths, 1)
