"""Synthetic texts and labels whose best possible prediction is known."""

from __future__ import annotations

from itertools import islice, product
from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
from sklearn.utils import Bunch, check_random_state, check_scalar

# Without "e": it would make words that stop-word lists drop, such as "become" and "before".
_SYLLABLES = ["".join(pair) for pair in product("bcdfghjklmnprstvwxyz", "aiou")]


def make_extreme_classification(
    n_samples: int = 1000,
    n_labels: int = 100,
    *,
    labels_per_text: float = 2.0,
    words_per_text: int = 10,
    words_per_label: int = 2,
    n_background_words: int = 1000,
    zipf_exponent: float = 1.0,
    flip_y: float = 0.0,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    r"""Generate texts with many labels, of which the best possible prediction is known.

    Every label owns `words_per_label` words, which no other label has; together they are its label
    text. A text holds, in random order, one word of each of its labels, chosen at random among the
    label's, and background words, which belong to no label. Labels and background words have
    Zipf-like frequencies, so most labels of a large problem have few texts or none. A label's
    number says nothing about its frequency.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of texts.
    n_labels : int, default=100
        Number of labels.
    labels_per_text : float, default=2.0
        Labels drawn for a text on average: one, and a Poisson number more. They are drawn
        independently, so a text can have fewer: a label that is drawn twice counts once.
    words_per_text : int, default=10
        Words in a text; a text with more labels than this has a word for each label.
    words_per_label : int, default=2
        Words that a label owns.
    n_background_words : int, default=1000
        Words that belong to no label. With 0, texts hold the words of their labels only.
    zipf_exponent : float, default=1.0
        The r-th most frequent label is drawn with a probability proportional to
        ``r ** -zipf_exponent``, and so are background words. With 0, all are equally frequent.
    flip_y : float, default=0.0
        Probability with which each label of a text is replaced in `Y`, after the text was written,
        by a label drawn afresh (the name is that of
        :func:`~sklearn.datasets.make_classification`).
    random_state : int, RandomState instance or None, default=None
        Source of randomness. Pass an int for the same data in every call.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the attributes:

        texts : list of str, length n_samples
            The texts.
        Y : csr_matrix of shape (n_samples, n_labels), float32
            1 where a text has a label. No row is empty.
        Y_clean : csr_matrix of shape (n_samples, n_labels), float32
            1 where a text holds a word of the label: `Y` before the flips.
        label_texts : list of str, length n_labels
            The words of each label.
        label_proba : ndarray of shape (n_labels,), float64
            Probability of each label in a single draw.

    Raises
    ------
    TypeError
        If a parameter is not a number of its kind.
    ValueError
        If a parameter is out of range.

    Notes
    -----
    With ``flip_y=0``, `Y` is `Y_clean`: whoever looks every word up in `label_texts` recovers it
    exactly. That also holds for labels without a training text.

    With flips of probability :math:`f`, a text whose row :math:`z` of `Y_clean` has :math:`c`
    labels has label :math:`l` in `Y` with probability

    .. math:: 1 - f (1 - p_l) (1 - f p_l)^{c - 1} \text{ if } z_l = 1, \qquad
              1 - (1 - f p_l)^c \text{ if } z_l = 0,

    where :math:`p` is `label_proba`. No model can rank better than these scores do. For moderate
    flips they put the labels of `Y_clean` first, so the precision at 1 ends near :math:`1 - f`.

    Examples
    --------
    >>> from skxc.datasets import make_extreme_classification
    >>> data = make_extreme_classification(4, 5, words_per_text=4, random_state=0)
    >>> data.texts
    ['babi codu bado bada', 'bica docu badu babi', 'bagi baco baca badi', 'baca bafu boca bavo']
    >>> data.label_texts
    ['baba babi', 'babo babu', 'baca baci', 'baco bacu', 'bada badi']
    >>> data.Y.toarray()
    array([[1., 0., 0., 0., 1.],
           [1., 0., 0., 0., 0.],
           [0., 0., 1., 1., 1.],
           [0., 0., 1., 0., 0.]], dtype=float32)
    """
    check_scalar(n_samples, "n_samples", Integral, min_val=1)
    check_scalar(n_labels, "n_labels", Integral, min_val=1)
    check_scalar(labels_per_text, "labels_per_text", Real, min_val=1)
    check_scalar(words_per_text, "words_per_text", Integral, min_val=1)
    check_scalar(words_per_label, "words_per_label", Integral, min_val=1)
    check_scalar(n_background_words, "n_background_words", Integral, min_val=0)
    check_scalar(zipf_exponent, "zipf_exponent", Real, min_val=0)
    check_scalar(flip_y, "flip_y", Real, min_val=0, max_val=1)
    random = check_random_state(random_state)

    label_of_rank = random.permutation(n_labels)
    label_proba = np.empty(n_labels)
    label_proba[label_of_rank] = _zipf_proba(n_labels, zipf_exponent)

    n_drawn = 1 + random.poisson(labels_per_text - 1, size=n_samples)
    rows = np.repeat(np.arange(n_samples), n_drawn)
    Y_clean = _indicator(rows, _draw(random, label_proba, len(rows)), n_samples, n_labels)

    rows = np.repeat(np.arange(n_samples), np.diff(Y_clean.indptr))
    is_flipped = random.random_sample(Y_clean.nnz) < flip_y
    fresh = _draw(random, label_proba, Y_clean.nnz)
    Y = _indicator(rows, np.where(is_flipped, fresh, Y_clean.indices), n_samples, n_labels)

    vocabulary = _make_words(n_labels * words_per_label + n_background_words)
    words, n_words = _draw_words(
        random,
        Y_clean,
        words_per_text,
        words_per_label,
        _zipf_proba(n_background_words, zipf_exponent),
    )
    return Bunch(
        texts=_join_words(vocabulary[words].tolist(), n_words),
        Y=Y,
        Y_clean=Y_clean,
        label_texts=_join_words(
            vocabulary[: n_labels * words_per_label].tolist(), np.full(n_labels, words_per_label)
        ),
        label_proba=label_proba,
    )


def _zipf_proba(n_items: int, exponent: float) -> np.ndarray:
    """Probabilities proportional to rank ** -exponent, most frequent first."""
    weights = np.arange(1, n_items + 1, dtype=np.float64) ** -exponent
    return weights / weights.sum()


def _draw(random: np.random.RandomState, proba: np.ndarray, n_draws: int) -> np.ndarray:
    """Independent draws from 0, ..., len(proba) - 1."""
    draws = np.searchsorted(np.cumsum(proba), random.random_sample(n_draws), side="right")
    return np.minimum(draws, len(proba) - 1)  # by rounding errors, the sum can end below 1


def _indicator(rows: np.ndarray, labels: np.ndarray, n_rows: int, n_labels: int) -> sp.csr_matrix:
    """Matrix with 1 at each pair, however often it occurs."""
    matrix = sp.csr_matrix(
        (np.ones(len(rows), dtype=np.float32), (rows, labels)), shape=(n_rows, n_labels)
    )
    matrix.data[:] = 1
    return matrix


def _draw_words(
    random: np.random.RandomState,
    Y: sp.csr_matrix,
    words_per_text: int,
    words_per_label: int,
    background_proba: np.ndarray,  # (n_background_words,)
) -> tuple[np.ndarray, np.ndarray]:
    """Word ids of all texts one after the other, and each text's number of words.

    Label l owns the ids from l * words_per_label on; background words follow the labels'.
    """
    n_own = np.diff(Y.indptr)
    own = Y.indices.astype(np.int64) * words_per_label
    own += random.randint(words_per_label, size=Y.nnz)
    n_filled = np.maximum(words_per_text - n_own, 0) * (len(background_proba) > 0)
    filled = Y.shape[1] * words_per_label + _draw(random, background_proba, n_filled.sum())

    samples = np.arange(Y.shape[0])
    rows = np.concatenate([np.repeat(samples, n_own), np.repeat(samples, n_filled)])
    order = np.argsort(rows + random.random_sample(len(rows)))  # by row, shuffled inside each
    return np.concatenate([own, filled])[order], n_own + n_filled


def _make_words(n_words: int) -> np.ndarray:
    """Pronounceable words, all different and of the same length, as an object array."""
    n_syllables = 2
    while len(_SYLLABLES) ** n_syllables < n_words:
        n_syllables += 1
    words = product(_SYLLABLES, repeat=n_syllables)
    return np.array(["".join(word) for word in islice(words, n_words)], dtype=object)


def _join_words(words: list[str], n_words: np.ndarray) -> list[str]:
    """Cut `words` into texts of `n_words` words each."""
    ends = np.cumsum(n_words).tolist()
    return [" ".join(words[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
