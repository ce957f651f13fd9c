"""Where in a text its tokens are: an explanation shows what each word did."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import regex
from numpy.typing import NDArray

_CLUSTERS = regex.compile(r"\X")
# where no spaces are written, each character is shown as a word
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Line_Break=SA}]"
_SHOWN = regex.compile(
    rf"{_UNSPACED}\p{{M}}*|[\p{{L}}\p{{N}}_--{_UNSPACED}][\w\p{{N}}\p{{M}}\p{{Cf}}+#--{_UNSPACED}]*",
    regex.V1,
)


class TokenSpans(NamedTuple):
    """Where a text's tokens are: an entry for each time that a token occurs.

    A token of several words, such as an n-gram, has an entry for each of them.

    Parameters
    ----------
    ids : ndarray of shape (n,), int64
        The tokens, as in the text's `TokenStore`.
    starts, stops : ndarray of shape (n,), int64
        Token ``i`` is ``text[starts[i]:stops[i]]``; where that is empty, it is no part of the text.

    Examples
    --------
    >>> from skxc.encoders import BagOfWordsEncoder
    >>> encoder = BagOfWordsEncoder(dim=8).fit(["red apple"], seed=0)
    >>> encoder.token_spans("An apple!").starts.tolist()
    [3]
    """

    ids: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    @classmethod
    def of(cls, found: Iterable[tuple[int, int, int]]) -> TokenSpans:
        """From (id, start, stop) of each token."""
        array = np.array([*found], np.int64).reshape(-1, 3)
        return cls(array[:, 0], array[:, 1], array[:, 2])


def read_places(text: str, read: str, normalized: Callable[[str], str]) -> list[int]:
    """Where in `text` each character of `read`, which was made of it, begins; and its end.

    `normalized` makes of a character, with what is written above or below it, its part of `read`.
    """
    clusters = _CLUSTERS.findall(text)
    parts = [len(normalized(cluster)) for cluster in clusters]
    if sum(parts) != len(read):  # what is made of a character depends on its neighbours
        return [i * len(text) // max(len(read), 1) for i in range(len(read) + 1)]
    starts = accumulate(map(len, clusters), initial=0)
    places = [start for start, n in zip(starts, parts, strict=False) for _ in range(n)]
    return [*places, len(text)]


def shown_words(text: str, spans: TokenSpans | None) -> list[tuple[int, int]]:
    """Places of the words that an explanation shows; what tokens name beside them, too."""
    words = [match.span() for match in _SHOWN.finditer(text)]
    if spans is None:
        return words
    covered = np.zeros(len(text) + 1, bool)
    for start, stop in words:
        covered[start:stop] = True
    for start, stop in {*zip(spans.starts.tolist(), spans.stops.tolist(), strict=True)}:
        if start < stop and not covered[start:stop].any():
            words.append((start, stop))
            covered[start:stop] = True
    return sorted(words)


def overlaps(spans: TokenSpans, words: list[tuple[int, int]]) -> list[NDArray[np.int64]]:
    """The shown words that each token is part of, or has parts in."""
    ends = np.array(words, np.int64).reshape(-1, 2)
    first = np.searchsorted(ends[:, 1], spans.starts, "right")
    last = np.searchsorted(ends[:, 0], spans.stops, "left")
    return [np.arange(a, max(a, b)) for a, b in zip(first, last, strict=True)]
