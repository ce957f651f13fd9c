"""Words of a text in any writing system, by Unicode's own properties."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate

import regex

# Scripts without spaces between words. A character of Chinese or Japanese says more than one of
# Thai, Lao, Khmer or Burmese: n-grams of up to 2 there, of up to 3 here.
_SHORT, _LONG = r"\p{Han}\p{Hiragana}\p{Katakana}ー", r"\p{Line_Break=SA}"
# Letters, digits and "_" with the combining marks that follow; the signs of "c++" and "c#" belong
# to a name, those of "a+b" do not.
_WORD = regex.compile(
    rf"(?!\p{{M}})[\w\p{{N}}]+"
    rf"(?:(?<=\p{{L}}\p{{M}}*)(?:\+\+|[+#]+(?![\w--[{_SHORT}{_LONG}]])))?",
    regex.V1,
)
# The same for plain texts, by the standard library, which is faster: Latin, Greek and Cyrillic with
# their usual punctuation and currencies; no combining marks, format characters, superscripts.
_PLAIN_WORD = re.compile(r"\w+(?:(?<=[^\W\d_])(?:\+\+|[+#]+(?!\w)))?")
_NOT_PLAIN = re.compile(
    "[^\0-\xac\xae-\xb1\xb4-\xb8\xba\xbb\xbf-\u02ff\u0388-\u0482\u048a-\u052f"
    "\u2010-\u2027\u20a0-\u20bf\u2122]"
)
# Soft hyphens, joiners, direction marks, variation selectors and the like, but not the zero-width
# space, which separates words of Khmer and Thai.
_INVISIBLE = regex.compile(r"[\p{Cf}\p{Default_Ignorable_Code_Point}--\u200B]", regex.V1)
_WIDE_SIGNS = str.maketrans("＋＃", "+#")
_UNSPACED = regex.compile(f"[{_SHORT}{_LONG}]")
_RUNS = regex.compile(
    rf"[{_SHORT}][{_SHORT}\p{{M}}]*|[{_LONG}][{_LONG}\p{{M}}]*|[^{_SHORT}{_LONG}]+"
)
_LONG_RUN = regex.compile(f"[{_LONG}]")
_SECONDS_A_TEXT = 5.0
_KINDS = (r"\w", r"\s", r"\d")
_CODES = re.compile(r"\\[xuUN0-7]")  # in a regular expression: characters by their numbers or names
_CHARACTERS = regex.compile(r"\X")  # with what is written above, below and around them


def lowered(text: str) -> str:
    """The text in lower case and one Unicode form (NFC), without invisible characters."""
    if text.isascii():
        return text.lower()
    if _NOT_PLAIN.search(text):
        text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text).translate(_WIDE_SIGNS))
    return text.lower().replace("i\u0307", "i")  # Python's lower case of Turkish's capital i


def split_words(text: str) -> list[str]:
    """The words of a text from `lowered`; character n-grams where no spaces are written."""
    if text.isascii():
        return _PLAIN_WORD.findall(text)
    is_plain = not _NOT_PLAIN.search(text)
    found: list[str] = (_PLAIN_WORD if is_plain else _WORD).findall(text)
    if not unicodedata.is_normalized("NFKC", text):  # ligatures, letters of full or half width
        found = [unicodedata.normalize("NFKC", word).lower() for word in found]
    if not is_plain and _UNSPACED.search(text):
        found = [part for word in found for part, _ in _parts(word)]
    return found


def word_spans(text: str) -> list[tuple[str, int, int]]:
    """The words of `split_words`, and where in the text each of them is."""
    is_plain = not _NOT_PLAIN.search(text)
    spans = list[tuple[str, int, int]]()
    for match in (_PLAIN_WORD if is_plain else _WORD).finditer(text):
        word, (start, stop) = match.group(), match.span()
        if not unicodedata.is_normalized("NFKC", word):
            word = unicodedata.normalize("NFKC", word).lower()
        if is_plain or not _UNSPACED.search(word):
            spans.append((word, start, stop))
            continue
        is_same = len(word) == stop - start  # else a part may be anywhere within
        for part, at in _parts(word):
            ends = (start + at, start + at + len(part)) if is_same else (start, stop)
            spans.append((part, *ends))
    return spans


def _parts(word: str) -> Iterator[tuple[str, int]]:
    """Runs of one script, those without spaces as n-grams of their characters; where they begin."""
    for match in _RUNS.finditer(word):
        run, at = match.group(), match.start()
        if not _UNSPACED.match(run):
            yield run, at
            continue
        characters = _CHARACTERS.findall(run)
        starts = [at, *(at + n for n in accumulate(map(len, characters)))]
        for n in range(1, 4 if _LONG_RUN.match(run) else 3):
            for start in range(len(characters) - n + 1):
                yield "".join(characters[start : start + n]), starts[start]


class TimedWords:
    """The words of a text by a pattern that somebody else wrote, which might take for ever.

    Python's own engine cannot be stopped. `regex` can, and finds the same, but where the two differ
    in what is a letter, digit or space: such characters are read as others of the same kind, which
    no pattern in ASCII tells apart from them.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        n_groups = self._compiled().groups
        if n_groups > 1:
            raise ValueError(
                f"token_pattern={pattern!r:.200} has {n_groups} groups. Train with one at most."
            )

    def _compiled(self) -> regex.Pattern[str]:
        try:
            return regex.compile(self.pattern, regex.V0)  # kept by regex itself
        except (regex.error, RecursionError) as error:
            raise ValueError(
                f"token_pattern={self.pattern!r:.200} cannot be matched with a time limit "
                f"({error}). Train with another one."
            ) from error

    def __call__(self, text: str) -> list[str]:
        return [text[start:end] for start, end in self.spans(text)]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where the words are."""
        is_ascii = self.pattern.isascii() and not _CODES.search(self.pattern)
        read = "".join(map(_read_as, text)) if is_ascii else text
        compiled = self._compiled()
        try:
            found = compiled.finditer(read, timeout=_SECONDS_A_TEXT)
            return [match.span(compiled.groups) for match in found]
        except (TimeoutError, MemoryError) as error:
            raise ValueError(
                f"token_pattern={self.pattern!r:.200} takes more than {_SECONDS_A_TEXT:g} s or too "
                f"much memory for the text {text[:60]!r}. Train the model with another pattern."
            ) from error


@lru_cache(maxsize=1 << 16)
def _read_as(character: str) -> str:
    """The character, or another of the same kind for `re` that `regex` takes for one, too."""
    kinds = [bool(re.match(kind, character)) for kind in _KINDS]
    if kinds == [bool(regex.match(kind, character)) for kind in _KINDS]:
        return character
    is_letter, is_space, _ = kinds
    return "\v" if is_space else "\U00010380" if is_letter else "\U0010fffd"
