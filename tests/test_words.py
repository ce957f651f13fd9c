"""Words in the world's writing systems."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pytest

from skxc import ReneeClassifier
from skxc.encoders import BagOfWordsEncoder
from skxc.encoders._words import _NOT_PLAIN, _PLAIN_WORD, _UNSPACED, _WORD, lowered, split_words


def words(text):
    return split_words(lowered(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("दिन दान", ["दिन", "दान"]),
        ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
        ("বাংলা ভাষা", ["বাংলা", "ভাষা"]),
        ("دَرَسَ درس", ["دَرَسَ", "درس"]),
        ("שָׁלוֹם", [unicodedata.normalize("NFKC", "שָׁלוֹם")]),
        ("한국어 문장", ["한국어", "문장"]),
        ("བོད་སྐད", ["བོད", "སྐད"]),
        ("Привет, Ёлка", ["привет", "ёлка"]),
        ("ΑΘΗΝΑ αθήνα", ["αθηνα", "αθήνα"]),
        ("İstanbul istanbul", ["istanbul", "istanbul"]),
        ("an_id 3.5 l'été", ["an_id", "3", "5", "l", "été"]),
    ],
)
def test_words_keep_their_marks(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("scho\u0308n", "schön"),  # decomposed
        ("\u1112\u1161\u11ab", "한"),  # decomposed Korean
        ("cafe\u0301", "CAFÉ"),
        ("\ufb01sh", "fish"),  # a ligature
        ("ＡＢＣ１２", "abc12"),  # letters of full width
        ("ｶﾞｷﾞ", "ガギ"),  # of half width
        ("schön\u00adheit", "schönheit"),  # a soft hyphen
        ("می\u200cخواهم", "میخواهم"),  # a joiner of width 0
        ("\ufeffa\u200eb", "ab"),
        ("CO₂", "co2"),
        ("❤\ufe0f a", "a"),
        ("葛\U000e0100", "葛"),  # which picture of the character
        ("Ｃ＋＋ Ｃ＃", "c++ c#"),
    ],
)
def test_forms_that_look_alike_are_one_word(text, same):
    assert words(text) == words(same)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("C++, C# and C", ["c++", "c#", "and", "c"]),
        ("c++11 g++ lgbtq+", ["c++", "11", "g++", "lgbtq+"]),
        ("a+b #tag 5+ c#sharp", ["a", "b", "tag", "5", "c", "sharp"]),
        ("É+ é+f", ["é+", "é", "f"]),
        ("C#で C++言", ["c#", "で", "c++", "言"]),
        ("हि++", ["हि++"]),
    ],
)
def test_signs_that_belong_to_a_name_are_kept(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("学習と", ["学", "習", "と", "学習", "習と"]),
        ("iPhoneの本", ["iphone", "の", "本", "の本"]),
        ("データ", ["デ", "ー", "タ", "デー", "ータ"]),
        ("ไทย", ["ไ", "ท", "ย", "ไท", "ทย", "ไทย"]),
        ("ไม่", ["ไ", "ม่", "ไม่"]),
        ("ខ្មែរ", [*(c := ["ខ្មែ", "រ"]), "".join(c)]),
        ("ไท\u200bย", ["ไ", "ท", "ไท", "ย"]),  # a space of width 0 parts words
    ],
)
def test_scripts_without_spaces_become_ngrams_of_characters(text, expected):
    assert words(text) == expected


def test_the_faster_engine_reads_plain_texts_as_the_other_does():
    plain = [chr(c) for c in range(0x3000) if not _NOT_PLAIN.search(chr(c))]
    for c in plain:
        assert not unicodedata.category(c).startswith(("M", "Cf")), hex(ord(c))
        assert unicodedata.is_normalized("NFC", c), hex(ord(c))
        assert not _UNSPACED.search(c), hex(ord(c))
        text = f"{c} a{c}b{c}++ 1{c}+{c} {c}#a".lower().replace("i\u0307", "i")
        assert _PLAIN_WORD.findall(text) == _WORD.findall(text), hex(ord(c))


def told_apart(a: str, b: str) -> float:
    """Training accuracy on texts that differ in one word alone."""
    X = [f"{a} x", f"y {a}", f"{a} z", f"{b} x", f"y {b}", f"{b} z"] * 10
    y = np.array((["A"] * 3 + ["B"] * 3) * 10)
    return ReneeClassifier(random_state=0).fit(X, y).score(X, y)


@pytest.mark.parametrize(
    ("a", "b"), [("दिन", "दान"), ("ไป", "ไม่"), ("ਦਿਨ", "ਦਾਨ"), ("c++", "c"), ("机器", "学习")]
)
def test_a_classifier_tells_words_apart(a, b):
    assert told_apart(a, b) == 1.0


def test_a_decomposed_text_predicts_as_the_composed_one():
    classifier = ReneeClassifier(random_state=0)
    classifier.fit(["schön x", "schon y"] * 30, np.array(["A", "B"] * 30))
    assert classifier.predict(["schön", "scho\u0308n"]).tolist() == ["A", "A"]


def test_a_pattern_of_ones_own_reads_the_composed_lowered_text():
    encoder = BagOfWordsEncoder(dim=2, min_df=1, token_pattern=r"[a-zö]+\+?")
    encoder.fit(["SCHÖN a+ b"], seed=0)
    assert encoder.vectorizer_.get_feature_names_out().tolist() == ["a+", "b", "schön"]
    assert encoder.tokenize(["scho\u0308n"]).lengths.tolist() == [1]


def test_word_ngrams_are_of_the_same_words():
    encoder = BagOfWordsEncoder(dim=2, min_df=1, ngram_range=(1, 2)).fit(["दिन c++"], seed=0)
    found = encoder.vectorizer_.get_feature_names_out().tolist()
    assert sorted(found) == sorted(["दिन", "c++", "दिन c++"])


def test_half_a_surrogate_pair_is_no_word():
    assert words("plum \ud83d jam\ud83djam") == ["plum", "jam", "jam"]


def test_the_words_of_ascii_are_those_of_the_pattern_before():
    text = "An_ID, v2.0: it's 100% (of x-ray)\tok\x00no"
    assert words(text) == re.findall(r"\b\w+\b", text.lower())
