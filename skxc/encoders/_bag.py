"""The embedded encoder: a weighted bag of learnt word embeddings."""

from __future__ import annotations

import math
import operator
import os
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.utils.sparsefuncs_fast import inplace_csr_row_normalize_l2

from skxc._data._tokens import TokenStore, id_dtype
from skxc._docstrings import completed_by
from skxc._persistence import ENCODER, ModelFolder, check_numbers, write_json, write_tensors
from skxc._validation import check_integer, check_real, short

from ._bag_module import BagModule
from ._base import WEIGHTS, Encoder, EncoderModule, check_fits
from ._spans import TokenSpans, read_places
from ._word_vectors import begun_at, check_init
from ._words import TimedWords, lowered, split_words, word_spans

# Of a word in a dictionary that grows, and of a token while words are counted.
_BYTES_A_WORD = 215
_BYTES_A_TOKEN = 22
_WORDS = "words.json"  # of a saved encoder
# regular expressions that cannot take long: one thing is repeated, at the end, without a choice
_ONE_REPEAT = re.compile(r"(\(\?u\))?[^*+?{|(]*([*+]|\\w[*+]\\b)?")
_LONGEST_PATTERN = 1000  # characters: some take long to compile
_COUNT = re.compile(r"\{(\d*)(?:,(\d*))?\}")
_MOST_REPEATS = 10_000  # of all counts, multiplied: engines write them out


@dataclass(eq=False, repr=False, kw_only=True)
class BagOfWordsEncoder(Encoder, BaseEstimator):
    """TF-IDF-weighted sum of learnt word embeddings, scaled to one length.

    Needs no download, no GPU and no pretrained weights: vocabulary and weights come from
    scikit-learn's own vectoriser, the embeddings start at random, and a training step changes
    only the words in its batch.

    Parameters
    ----------
    dim : int, default=256
        Width of the embeddings.
    ngram_range : tuple of (int, int), default=(1, 1)
        Shortest and longest word n-gram, in words.
    min_df : int or float, default=1
        Words in fewer texts than this are ignored (an int: a count; a float: a share), except those
        of label texts. If the texts would have none left, all are kept.
    max_features : int, default=None
        Words to keep, at most: the most frequent ones, label texts included. None: all.
    token_pattern : str, default=None
        Regular expression of a word, with one group at most, in up to 1,000 characters. None: words
        by Unicode's rules: letters, digits and "_", with the marks that belong to them, also where
        there is only one; "c++" and "c#" are others than "c"; Chinese, Japanese, Thai, Lao, Khmer
        and Burmese, written without spaces, become n-grams of 1 to 2 or 3 characters. Texts are in
        lower case and Unicode's composed form (NFC).
    init : str, path-like, dict, tuple or TransformerEncoder, default=None
        Vectors of words that the embeddings begin at, where training would begin at random ones:

        - the folder, or the Hugging Face model id, of static embeddings (model2vec's, or
          sentence-transformers' ``StaticEmbedding``);
        - a dict of each word's vector, or (words, array), one row a word;
        - a :class:`TransformerEncoder`, which embeds each word once.

        They are taken less their mean, reduced to `dim` along their principal axes where they are
        wider, and scaled to length 1; words without a vector begin near 0. The fitted encoder
        needs nothing of it any more. A saved model keeps a folder's name, and of anything else
        None.

    Attributes
    ----------
    vectorizer_ : TfidfVectorizer
        Vocabulary and weights of the words.
    weights_ : dict of str to ndarray
        The embeddings.

    Examples
    --------
    >>> from skxc.encoders import BagOfWordsEncoder
    >>> encoder = BagOfWordsEncoder(dim=8, min_df=1).fit(["red apple", "green apple"], seed=0)
    >>> encoder.vectorizer_.get_feature_names_out().tolist()
    ['apple', 'green', 'red']
    >>> encoder.tokenize(["an apple", ""]).lengths.tolist()
    [1, 0]
    """

    has_words: ClassVar[bool] = True
    dim_parameter: ClassVar[str] = "dim"

    dim: int = 256
    ngram_range: tuple[int, int] = (1, 1)
    min_df: float = 1
    max_features: int | None = None
    token_pattern: str | None = None
    init: Any = None  # str or path-like, mapping, (words, array), TransformerEncoder

    @completed_by(Encoder.fit.__doc__)
    def fit(self, texts: Iterable[str], *, label_texts: Sequence[str] = (), seed: int) -> Self:
        """Learn the vocabulary and draw the embeddings.

        All words of the labels' texts are kept: one that is in no training text can still
        distinguish a label from the others.
        """
        self.check_parameters()
        self.vectorizer_ = self._fitted_vectorizer(texts, label_texts)
        shape = (len(self.vectorizer_.idf_), int(self.dim))
        check_fits(math.prod(shape))
        table = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        table /= np.float32(self.dim**0.5)
        if self.init is not None:
            table = begun_at(self.init, self.vectorizer_.get_feature_names_out().tolist(), table)
        self.weights_ = {"table": table}
        return self

    def check_parameters(self) -> None:
        check_integer("dim", self.dim, 1)
        if isinstance(self.min_df, Integral):
            check_integer("min_df", self.min_df, 1)
        else:
            check_real("min_df", self.min_df, high=1)
        if self.max_features is not None:
            check_integer("max_features", self.max_features, 1)
        try:
            shortest, longest = map(operator.index, self.ngram_range)
            is_range = 1 <= shortest <= longest
        except (TypeError, ValueError):
            is_range = False
        if not is_range:
            raise ValueError(
                f"ngram_range={short(self.ngram_range)} is no range. Pass the shortest and the "
                f"longest n-gram, in words, such as (1, 2)."
            )
        check_init(self.init)
        if not isinstance(self.token_pattern, str | None):
            raise TypeError(
                f"token_pattern must be a str or None, got {short(self.token_pattern)}."
            )
        pattern = self.token_pattern or ""
        repeats = math.prod(max(int(n or 0) for n in c) or 1 for c in _COUNT.findall(pattern))
        if len(pattern) > _LONGEST_PATTERN or repeats > _MOST_REPEATS:
            raise ValueError(
                f"token_pattern={short(pattern)} has {len(pattern)} characters, and its counts of "
                f"repeats multiply to {repeats}. Pass one of at most {_LONGEST_PATTERN}, and "
                f"{_MOST_REPEATS}."
            )
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(
                f"token_pattern={short(self.token_pattern)} is no regular expression ({error}). "
                f"Pass one that matches a word."
            ) from error
        if not _ONE_REPEAT.fullmatch(pattern):
            TimedWords(pattern)  # a saved model is to be loaded

    def _fitted_vectorizer(
        self, texts: Iterable[str], label_texts: Sequence[str]
    ) -> TfidfVectorizer:
        """A vectoriser as TfidfVectorizer.fit gives it, which also keeps the labels' rare words."""
        shortest, longest = map(int, self.ngram_range)
        reading = _reading(self.token_pattern)
        words_of = CountVectorizer(ngram_range=(shortest, longest), **reading).build_analyzer()
        # texts that hold a word, and how often all of them do: read once, in any memory
        n_holding, n_occurrences, n_texts = Counter[str](), Counter[str](), len(label_texts)
        for text in texts:
            found = words_of(text)
            n_holding.update(set(found))
            if self.max_features is not None:
                n_occurrences.update(found)
            n_texts += 1
        least = self.min_df if isinstance(self.min_df, Integral) else self.min_df * n_texts
        of_texts = set(n_holding)
        of_labels = [words_of(text) for text in label_texts]
        for found in of_labels:
            n_holding.update(set(found))
            n_occurrences.update(found)
        if not n_holding:
            # no text has a word: a word that no text can have keeps the shapes valid
            return _vectorizer(["\0"], np.ones(1, np.float32), (1, 1), _reading(r"\0"))
        kept = {word for word, n in n_holding.items() if n >= least}.union(*of_labels)
        if not kept & of_texts:
            kept = set(n_holding)
        names = sorted(kept)
        if self.max_features is not None:  # of equally frequent ones, the first
            names = sorted(
                sorted(names, key=lambda word: -n_occurrences[word])[: self.max_features]
            )
        counts = np.fromiter(map(n_holding.__getitem__, names), np.int64, len(names))
        idf = (np.log((1 + n_texts) / (1 + counts)) + 1).astype(np.float32)
        return _vectorizer(names, idf, (shortest, longest), reading)

    @completed_by(Encoder.tokenize.__doc__)
    def tokenize(self, texts: Sequence[str]) -> TokenStore:
        """Word ids and TF-IDF weights of `texts`, which have unit length; no unknown words."""
        # what TfidfVectorizer.transform does, without its checks, which take 0.3 ms a call
        features = CountVectorizer.transform(self.vectorizer_, texts)
        np.log(features.data, out=features.data)
        features.data += 1
        features.data *= self.vectorizer_.idf_[features.indices]
        inplace_csr_row_normalize_l2(features)
        return TokenStore(
            features.indices.astype(id_dtype(features.shape[1])),
            features.indptr.astype(np.int64),
            features.data.astype(np.float32, copy=False),
        )

    @completed_by(Encoder.token_spans.__doc__)
    def token_spans(self, text: str) -> TokenSpans:
        """Where the known words and n-grams of a text are."""
        fitted = self.vectorizer_
        normalized = fitted.preprocessor or str.lower
        read = normalized(text)
        places = read_places(text, read, normalized)
        words = [(w, places[a], _stop(places, b)) for w, a, b in _words_of(fitted, read)]
        shortest, longest = fitted.ngram_range
        grams = (
            words[i : i + n]
            for n in range(shortest, longest + 1)
            for i in range(len(words) - n + 1)
        )
        return TokenSpans.of(
            (fitted.vocabulary_[name], start, stop)
            for gram in grams
            if (name := " ".join(word for word, *_ in gram)) in fitted.vocabulary_
            for _, start, stop in gram
        )

    @property
    def n_words(self) -> int:
        """Words whose TF-IDF weights `tokenize` gives."""
        return len(self.vectorizer_.idf_)

    def reading_bytes(self, n_tokens: int) -> tuple[int, int]:
        return _BYTES_A_WORD * len(self.vectorizer_.vocabulary_), _BYTES_A_TOKEN * n_tokens

    def build_module(self) -> EncoderModule:
        return BagModule(torch.tensor(self.weights_["table"]))

    def forget(self) -> None:
        self.init = self.saved_parameters()["init"]

    def saved_parameters(self) -> dict[str, Any]:
        init = self.init
        init = os.fspath(init) if isinstance(init, str | os.PathLike) else None
        return super().saved_parameters() | {"init": init}

    def write_files(self, folder: Path, *, is_normalized: bool) -> dict[str, Any]:
        fitted = self.vectorizer_
        write_json(folder / _WORDS, fitted.get_feature_names_out().tolist())
        write_tensors(folder / WEIGHTS, self.weights_ | {"idf": fitted.idf_})
        return {
            "ngram_range": list(fitted.ngram_range),
            "token_pattern": fitted.token_pattern,
            "is_nfc": fitted.preprocessor is not None,
        }

    def read_files(self, files: ModelFolder, rest: Mapping[str, Any], *, is_mapped: bool) -> None:
        arrays = files.tensors(f"{ENCODER}/{WEIGHTS}", is_mapped=is_mapped)
        words, name = files.json(f"{ENCODER}/{_WORDS}"), files.root / ENCODER
        if not isinstance(words, list) or not set(map(type, words)) <= {str}:
            raise ValueError(f"{name / _WORDS} is no list of words. Save the model again.")
        if set(arrays) != {"table", "idf"} or not len(words) == len(arrays["idf"]) == len(
            arrays["table"]
        ):
            raise ValueError(
                f"{name} has {len(words)} words and arrays of another length. Save the model again."
            )
        for key, ndim in (("table", 2), ("idf", 1)):
            array = arrays[key]
            if array.dtype != np.float32 or array.ndim != ndim or not array.size:
                raise ValueError(
                    f"{name / WEIGHTS}: {key} is an array of {array.dtype}, {array.shape}, and "
                    f"should be one of float32 with {ndim} axes. Save the model again."
                )
            check_numbers(key, array)
        if len(set(words)) < len(words) or not (arrays["idf"] > 0).all():
            raise ValueError(
                f"{name} has a word twice, or one without a weight. Save the model again."
            )
        pattern, ngram_range = rest["token_pattern"], tuple(rest["ngram_range"])
        clone(self).set_params(token_pattern=pattern, ngram_range=ngram_range).check_parameters()
        reading = _reading(pattern, is_nfc=rest.get("is_nfc", False))
        if pattern is not None and not _ONE_REPEAT.fullmatch(pattern):
            reading["tokenizer"] = TimedWords(pattern)
        self.weights_ = {"table": arrays["table"]}
        self.vectorizer_ = _vectorizer(words, arrays["idf"], ngram_range, reading)

    @property
    def _embedding_dim(self) -> int:
        return self.weights_["table"].shape[1]


def _reading(token_pattern: str | None, *, is_nfc: bool = True) -> dict[str, Any]:
    """What a vectoriser reads in a text; models saved by older versions have no normal form."""
    tokenizer = split_words if token_pattern is None else None
    preprocessor = lowered if is_nfc else None
    return {"token_pattern": token_pattern, "tokenizer": tokenizer, "preprocessor": preprocessor}


def _vectorizer(
    words: list[str],
    idf: np.ndarray,  # (n_words,) float32
    ngram_range: tuple[int, int],
    reading: Mapping[str, Any],
) -> TfidfVectorizer:
    """A fitted vectoriser of these words; it makes no longer n-grams than they are."""
    shortest, longest = ngram_range
    if longest > 1:
        longest = min(longest, max(shortest, 1 + max(word.count(" ") for word in words)))
    vectorizer = TfidfVectorizer(
        sublinear_tf=True, ngram_range=(shortest, longest), dtype=np.float32, **reading
    )
    vectorizer.vocabulary_ = dict(zip(words, range(len(words)), strict=True))
    vectorizer.idf_ = idf
    vectorizer.transform([""])  # a first call adds attributes: not in threads that predict at once
    return vectorizer


def _words_of(vectorizer: TfidfVectorizer, read: str) -> list[tuple[str, int, int]]:
    """The words that a vectoriser reads in a text, and where they are."""
    if vectorizer.tokenizer is split_words:
        return word_spans(read)
    if vectorizer.tokenizer is not None:
        spans = vectorizer.tokenizer.spans(read)
    else:
        pattern = re.compile(vectorizer.token_pattern)
        spans = [match.span(pattern.groups) for match in pattern.finditer(read)]
    return [(read[start:stop], start, stop) for start, stop in spans]


def _stop(places: Sequence[int], stop: int) -> int:
    """The end of what becomes the characters before `stop`: the next one's beginning."""
    last = places[stop - 1] if stop else 0
    return places[min(bisect_right(places, last, stop), len(places) - 1)]
