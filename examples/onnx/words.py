"""Words of texts as an exported bag of words reads them: ids and weights, without skxc.

    from words import make_reader
    read = make_reader("exported/words.json")
    read(["A text"])  # {"word_ids": ..., "word_weights": ...}, padded with weights of 0

The rule of ``token_pattern=None``. It needs NumPy and the package regex.
"""

import json
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import regex

SHORT, LONG = r"\p{Han}\p{Hiragana}\p{Katakana}ー", r"\p{Line_Break=SA}"  # no spaces between words
INVISIBLE = regex.compile(r"[\p{Cf}\p{Default_Ignorable_Code_Point}--\u200B]", regex.V1)
WORD = regex.compile(
    rf"(?!\p{{M}})[\w\p{{N}}]+"
    rf"(?:(?<=\p{{L}}\p{{M}}*)(?:\+\+|[+#]+(?![\w--[{SHORT}{LONG}]])))?",
    regex.V1,
)
UNSPACED = regex.compile(f"[{SHORT}{LONG}]")
RUN = regex.compile(
    rf"[{SHORT}][{SHORT}\p{{M}}]*|(?P<long>[{LONG}][{LONG}\p{{M}}]*)|(?P<spaced>[^{SHORT}{LONG}]+)"
)


def words_of(text):
    """Words, in lower case; characters and their n-grams where no spaces are written."""
    text = INVISIBLE.sub("", text).replace("＋", "+").replace("＃", "#")
    text = unicodedata.normalize("NFC", text).lower().replace("i\u0307", "i")
    found = [unicodedata.normalize("NFKC", word).lower() for word in WORD.findall(text)]
    if not UNSPACED.search(text):
        return found
    words = []
    for word in found:
        for run in RUN.finditer(word):
            characters = [run[0]] if run["spaced"] else regex.findall(r"\X", run[0])
            for n in range(1, 2 if run["spaced"] else 4 if run["long"] else 3):
                for start in range(len(characters) - n + 1):
                    words.append("".join(characters[start : start + n]))
    return words


def make_reader(path):
    """From texts to the inputs of the graph."""
    rule = json.loads(Path(path).read_bytes().decode("utf8", "surrogatepass"))
    if rule["token_pattern"] is not None or not rule["is_nfc"]:
        raise ValueError("This model cuts words by another rule, which words.json names.")
    ids = {word: i for i, word in enumerate(rule["words"])}
    idf, (shortest, longest) = np.array(rule["idf"]), rule["ngram_range"]

    def weights_of(text):
        words = words_of(text)
        grams = (
            " ".join(words[start : start + n])
            for n in range(shortest, longest + 1)
            for start in range(len(words) - n + 1)
        )
        counts = Counter(ids[gram] for gram in grams if gram in ids)
        weights = {i: (1 + np.log(count)) * idf[i] for i, count in counts.items()}
        length = sum(weight**2 for weight in weights.values()) ** 0.5
        return {i: weight / length for i, weight in weights.items()}

    def read(texts):
        rows = [weights_of(text) for text in texts]
        shape = len(rows), max([1, *map(len, rows)])
        word_ids, word_weights = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        for row, weights in enumerate(rows):
            word_ids[row, : len(weights)] = list(weights)
            word_weights[row, : len(weights)] = list(weights.values())
        return {"word_ids": word_ids, "word_weights": word_weights}

    return read
