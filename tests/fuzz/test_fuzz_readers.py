"""Folders of data sets, whole and with changed bytes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from tries import fuzzed, tried

from skxc.datasets import load_xc_folder

pytestmark = pytest.mark.filterwarnings("ignore")

TEXT = st.text(
    st.characters(blacklist_characters="\n\r\ufeff", blacklist_categories=["Cs"]),
    min_size=1,
    max_size=8,
)
PAIRS = st.dictionaries(st.integers(0, 3), st.sampled_from([1.0, 0.5, 0.25]), max_size=3)
ROWS = st.lists(st.tuples(TEXT, PAIRS), min_size=1, max_size=4)
LABELS = st.lists(TEXT, min_size=4, max_size=4)


def lines(rows):
    return "".join(f"{row}\n" for row in rows).encode()


def matrix_of(rows):
    Y = np.zeros((len(rows), 4), np.float32)
    for i, (_, pairs) in enumerate(rows):
        for label, value in pairs.items():
            Y[i, label] = value
    return Y


def pair_files(folder, train, test, labels):
    for part, rows in (("trn", train), ("tst", test)):
        (folder / f"{part}_X.txt").write_bytes(lines(text for text, _ in rows))
        pairs = [" ".join(f"{label}:{value}" for label, value in row.items()) for _, row in rows]
        (folder / f"{part}_X_Y.txt").write_bytes(lines([f"{len(rows)} 4", *pairs]))
    (folder / "Y.txt").write_bytes(lines(labels))


def npz_files(folder, train, test, labels):
    for part, rows in (("trn", train), ("tst", test)):
        (folder / f"{part}_X.txt").write_bytes(lines(text for text, _ in rows))
        sp.save_npz(folder / f"Y.{part}.npz", sp.csr_matrix(matrix_of(rows)))
    (folder / "Y.txt").write_bytes(lines(labels))


def json_files(folder, train, test, labels):
    for part, rows in (("trn", train), ("tst", test)):
        objects = [{"title": text, "target_ind": [*pairs], "target_rel": [*pairs.values()]}
                   for text, pairs in rows]  # fmt: skip
        content = lines(map(json.dumps, objects))
        (folder / f"{part}.json.gz").write_bytes(gzip.compress(content, mtime=0))
    content = lines(json.dumps({"title": text}) for text in labels)
    (folder / "lbl.json.gz").write_bytes(gzip.compress(content, mtime=0))


LAYOUTS = st.sampled_from([pair_files, npz_files, json_files])


@fuzzed(60)
@given(LAYOUTS, ROWS, ROWS, LABELS)
def test_what_is_written_is_read_again(write, train, test, labels):
    with TemporaryDirectory() as name, tried("readers"):
        write(Path(name), train, test, labels)
        data = load_xc_folder(name)
        assert data.texts == [text for text, _ in train]
        assert data.test_texts == [text for text, _ in test]
        assert data.label_texts == labels
        np.testing.assert_array_equal(data.Y.toarray(), matrix_of(train))
        np.testing.assert_array_equal(data.Y_test.toarray(), matrix_of(test))


@st.composite
def changes(draw):
    """A change of bytes: some replaced, taken out or put in, by what means something, or cut."""
    place, length = draw(st.floats(0, 1)), draw(st.integers(0, 4))
    numbers = [b"-1", b"99", b"nan", b"1e999", b"9" * 25, b"_", b"null"]
    marks = [b"\n", b"\r\n", b":", b" ", b"[", b'"', b"{", b"\x00", b"\xff", b"\xef\xbb\xbf"]
    special = st.sampled_from([*numbers, *marks])
    put_in = draw(st.one_of(special, st.binary(max_size=4)))
    is_cut = draw(st.integers(0, 9)) == 0

    def change(content):
        start = int(place * len(content))
        return content[:start] if is_cut else content[:start] + put_in + content[start + length :]

    return change


@fuzzed(150)
@given(LAYOUTS, ROWS, ROWS, LABELS, st.integers(0, 4), changes())
def test_changed_bytes_are_refused_or_give_a_valid_data_set(write, train, test, labels, at, change):
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, train, test, labels)
        files = sorted(folder.iterdir())
        path = files[at % len(files)]
        content = path.read_bytes()
        if path.suffix == ".gz" and at % 2:  # else hardly a change gets past the checksum
            path.write_bytes(gzip.compress(change(gzip.decompress(content)), mtime=0))
        else:
            path.write_bytes(change(content))
        with tried("readers"):
            data = load_xc_folder(name)
            for texts, Y in ((data.texts, data.Y), (data.test_texts, data.Y_test)):
                assert Y.shape == (len(texts), data.Y.shape[1])
                assert all(isinstance(text, str) for text in texts)
                assert Y.dtype == np.float32
                assert ((Y.data > 0) & (Y.data <= 1)).all()
                Y.check_format(full_check=True)
                assert Y.has_canonical_format
            assert len(data.label_texts) == data.Y.shape[1]
            unchanged = {"trn": (data.texts, train), "tst": (data.test_texts, test)}
            unchanged.pop(path.name[:3], None)
            if "Y." not in path.name:
                for texts, rows in unchanged.values():
                    assert texts == [text for text, _ in rows]
