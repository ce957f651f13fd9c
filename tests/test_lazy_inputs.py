"""Texts and labels that are read from files, in blocks: the model is that of the same in memory."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import pickle
import tempfile
from collections.abc import Sequence

import numpy as np
import pytest
import scipy.sparse as sp
from test_checkpoints import Killed, kill, learnt

from skxc import ReneeClassifier, UniDEC
from skxc._data import _batches, _token_files
from skxc._data._batches import epoch_batches
from skxc._data._token_files import TokenRows, delete_tokens, find_tokens, write_tokens
from skxc._data._tokens import TokenStore
from skxc._functional import _lexical
from skxc._search import _reranker_training
from skxc._training._checkpoint import FILE
from skxc.datasets import FileColumn
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder
from skxc.model_selection import tune_threshold


class Column(Sequence):
    """What `datasets` gives for a column: it reads what is asked for."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, key):
        assert isinstance(key, slice | int)
        return self.values[key]


Column.__module__ = "datasets.arrow_dataset"


class Batches:
    """Batches that can be read again, of a length of their own."""

    def __init__(self, values, size=7):
        self.values, self.size = values, size

    def __iter__(self):
        for start in range(0, len(self.values), self.size):
            yield self.values[start : start + self.size]


@pytest.fixture
def lines(data, tmp_path):
    path = tmp_path / "X.txt"
    path.write_text("".join(f"{text}\n" for text in data.texts), encoding="utf8")
    return path


@pytest.fixture
def npz(data, tmp_path):
    sp.save_npz(tmp_path / "Y.npz", data.Y)
    return tmp_path / "Y.npz"


@pytest.fixture
def rows(data, tmp_path):
    """JSON lines with all that y may be."""
    path = tmp_path / "rows.jsonl"
    pairs = zip(data.texts, data.lists, strict=True)
    path.write_text("".join(json.dumps({"text": t, "labels": y}) + "\n" for t, y in pairs))
    return path


# ------------------------------------------------------------------------------- the same model
@pytest.mark.parametrize("kind", ["path", "column", "batches", "arrays", "datasets"])
def test_the_model_is_that_of_texts_in_memory(make, data, lines, rows, npz, kind):
    X = {
        "path": lines,
        "column": FileColumn(rows, "text"),
        "batches": Batches(data.texts),
        "arrays": Batches(np.array(data.texts, object)),
        "datasets": Column(data.texts),
    }[kind]
    clf = make(early_stopping=True).fit(X, npz)
    assert learnt(clf) == learnt(make(early_stopping=True).fit(data.texts, data.Y))


def test_weights_excluded_pairs_and_a_warm_start_are_part_of_it(make, data, lines):
    fit = {
        "sample_weight": np.arange(1, len(data.texts) + 1),
        "exclude": sp.random_array(data.Y.shape, density=0.1, rng=0, format="csr") > 0,
    }
    models = [make(warm_start=True).fit(X, data.Y, **fit) for X in (lines, data.texts)]
    assert learnt(models[0]) == learnt(models[1])
    models = [m.fit(X, data.Y, **fit) for m, X in zip(models, (lines, data.texts), strict=True)]
    assert learnt(models[0]) == learnt(models[1])


def test_partial_fit_reads_files_too(make, data, lines, npz):
    models = [make().partial_fit(X, y) for X, y in ((lines, npz), (data.texts, data.Y))]
    assert learnt(models[0]) == learnt(models[1])
    models = [m.partial_fit(X, data.Y) for m, X in zip(models, (lines, data.texts), strict=True)]
    assert learnt(models[0]) == learnt(models[1])


@pytest.mark.parametrize(
    "parameters",
    [
        {"negatives": "mined", "mining_interval": 1, "pool_size": 3},
        {"batches": "clustered", "mining_interval": 1},
    ],
)
def test_mining_and_clusters_read_them_in_files(data, lines, parameters):
    own = {"label_texts": data.label_texts, "epochs": 3, "random_state": 0, **parameters}
    models = [UniDEC(BagOfWordsEncoder(dim=8), **own).fit(X, data.Y) for X in (lines, data.texts)]
    assert learnt(models[0]) == learnt(models[1])


def test_a_transformer_reads_them_in_files(data, lines, tiny_bert, monkeypatch):
    monkeypatch.setattr(_token_files, "_ROWS_AT_ONCE", 7)  # words of the second stage, in parts
    own = {"label_texts": data.label_texts, "epochs": 1, "random_state": 0, "rerank_weight": 1.0}
    encoder = TransformerEncoder(tiny_bert, max_length=16)
    models = [ReneeClassifier(encoder, **own).fit(X, data.Y) for X in (lines, data.texts)]
    assert learnt(models[0]) == learnt(models[1])
    assert models[0].reranker_


def test_parts_of_any_size_give_the_same_model(data, lines, monkeypatch):
    own = {"label_texts": data.label_texts, "epochs": 2, "random_state": 0}
    undisturbed = UniDEC(BagOfWordsEncoder(dim=8), **own).fit(data.texts, data.Y)
    monkeypatch.setattr(_lexical, "_WORDS_AT_ONCE", 20)
    monkeypatch.setattr(_reranker_training, "_TEXTS_AT_ONCE", 11)
    assert learnt(UniDEC(BagOfWordsEncoder(dim=8), **own).fit(lines, data.Y)) == learnt(undisturbed)


def test_very_many_texts_are_shuffled_in_parts_alike_in_memory_and_in_files(
    make, data, lines, monkeypatch
):
    monkeypatch.setattr("skxc._estimator._setup.MOST_SHUFFLED", 20)
    monkeypatch.setattr(_batches, "MOST_SHUFFLED", 20)
    monkeypatch.setattr(_batches, "_RUN", 4)
    models = [make().fit(X, data.Y) for X in (lines, data.texts)]
    assert learnt(models[0]) == learnt(models[1])


def test_label_lists_and_classes_are_read_from_a_column(make, data, rows, tmp_path):
    from_lists = make(label_texts="auto").fit(data.texts, data.lists)
    for y in (FileColumn(rows, "labels"), Column(data.lists)):
        clf = make(label_texts="auto").fit(FileColumn(rows, "text"), y)
        assert learnt(clf) == learnt(from_lists)
    (tmp_path / "y.txt").write_text("".join(f"{name}\n" for name in data.classes))
    clf = make(label_texts="auto").fit(data.texts, tmp_path / "y.txt")
    assert learnt(clf) == learnt(make(label_texts="auto").fit(data.texts, data.classes))


def test_label_lists_in_batches_are_not_read_as_batches_of_classes(data):
    lists = [*data.lists[:-1], []]
    clf = ReneeClassifier(BagOfWordsEncoder(dim=8), epochs=1, random_state=0, label_texts=None)
    in_blocks = learnt(clf.fit(data.texts, Column(lists)))
    assert in_blocks == learnt(clf.fit(data.texts, lists))


def test_prediction_and_scores_take_paths(make, data, lines, npz):
    clf = make().fit(data.texts, data.Y)
    np.testing.assert_array_equal(clf.predict_top_k(lines)[0], clf.predict_top_k(data.texts)[0])
    assert clf.score(lines, npz) == clf.score(data.texts, data.Y)


def test_the_estimate_of_memory_counts_no_tokens_in_files(make, data, lines):
    clf = make(rerank_weight=0)
    from_file = clf.memory_estimate(lines, data.Y)["cpu"]
    in_memory = clf.memory_estimate(data.texts, data.Y)["cpu"]
    assert from_file["weights"] == in_memory["weights"]
    assert from_file["data"] < in_memory["data"]


# ------------------------------------------------------------------------------ files of tokens
def folders_of_tokens():
    return {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("skxc-")}


def test_nothing_is_left_of_them(make, data, lines, monkeypatch):
    before = folders_of_tokens()
    make().fit(lines, data.Y)
    monkeypatch.setattr(type(make()), "_publish", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        make().fit(lines, data.Y)
    assert folders_of_tokens() == before


def test_a_fit_that_goes_on_does_not_tokenise_again(make, data, lines, tmp_path, monkeypatch):
    undisturbed = make().fit(data.texts, data.Y)
    folder, tokenize = tmp_path / "ck", BagOfWordsEncoder.tokenize
    with monkeypatch.context() as patch:
        kill(patch, 1)
        with pytest.raises(Killed):
            make(checkpoint_dir=folder).fit(lines, data.Y)
    parts = ("ids", "json", "offsets", "other_ids", "other_offsets", "weights")
    names = [f"tokens.{part}" for part in parts]
    assert sorted(os.listdir(folder)) == [FILE, *names]
    calls = []
    monkeypatch.setattr(
        BagOfWordsEncoder, "tokenize", lambda self, texts: calls.append(0) or tokenize(self, texts)
    )
    clf = make(checkpoint_dir=folder, keep_checkpoint=True).fit(lines, data.Y)
    assert not calls
    assert learnt(clf) == learnt(undisturbed)
    (folder / FILE).unlink()  # then another fit takes the tokens
    other = make(checkpoint_dir=folder, epochs=1).fit(lines, data.Y)
    assert not calls
    assert learnt(other) == learnt(make(epochs=1).fit(data.texts, data.Y))
    assert os.listdir(folder) == []


def test_tokens_of_other_texts_are_written_anew(make, data, lines, tmp_path):
    folder = tmp_path / "ck"
    make(checkpoint_dir=folder, keep_checkpoint=True).fit(lines, data.Y)
    (folder / FILE).unlink()
    other = make(checkpoint_dir=folder).fit(Batches(data.texts[::-1]), data.Y)
    assert learnt(other) == learnt(make().fit(data.texts[::-1], data.Y))


@pytest.mark.parametrize("weighted", [True, False])
def test_rows_of_files_are_those_of_a_store_in_memory(weighted, tmp_path):
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 5, 50)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.concatenate([np.sort(rng.choice(30, n, replace=False)) for n in lengths])
    weights = rng.random(offsets[-1], np.float32) if weighted else None
    store = TokenStore(ids.astype(np.uint16), offsets, weights)
    parts = [store.take(np.arange(start, min(start + 8, 50))) for start in range(0, 50, 8)]
    base = write_tokens(parts, tmp_path, {"X": "1"})
    rows = rng.permutation(50)[:40]
    ours, theirs = TokenRows(base, rows), store.take(rows)

    def assert_equal(one, other):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.offsets, other.offsets)
        assert (one.weights is None) == (other.weights is None)
        if one.weights is not None:
            np.testing.assert_array_equal(one.weights, other.weights)

    every = np.arange(40)
    assert_equal(ours, theirs)
    assert_equal(ours.take(every), theirs)
    assert_equal(ours.view(every[::-3]).take(np.array([2, 0])), theirs.take(np.array([33, 39])))
    assert_equal(TokenStore.concatenate(list(ours.parts())), theirs)
    joined = ours.followed_by(ours.view(every[:5]))
    assert_equal(joined.take(np.arange(45)), theirs.followed_by(theirs.take(every[:5])))
    assert len(ours) == 40
    assert ours.n_tokens == theirs.n_tokens
    np.testing.assert_array_equal(ours.lengths, theirs.lengths)
    assert (ours.as_csr(30) != theirs.as_csr(30)).nnz == 0
    matrix, places = ours.placed_csr(30)
    assert (matrix[places] != theirs.as_csr(30)).nnz == 0
    assert ours.nbytes == rows.nbytes
    assert find_tokens(tmp_path, {"X": "2"}) is None
    np.testing.assert_array_equal(find_tokens(tmp_path, {"X": "1"}).ids, store.ids)
    delete_tokens(tmp_path)
    assert os.listdir(tmp_path) == []


def test_half_written_tokens_are_not_found(tmp_path):
    def broken():
        yield TokenStore(np.array([1], np.uint16), np.array([0, 1]))
        raise Killed

    write_tokens([TokenStore(np.array([1], np.uint16), np.array([0, 1]))], tmp_path, {"X": "1"})
    with pytest.raises(Killed):
        write_tokens(broken(), tmp_path, {"X": "1"})
    assert find_tokens(tmp_path, {"X": "1"}) is None


def test_an_epoch_in_parts_has_every_row_once_and_reads_runs(monkeypatch):
    monkeypatch.setattr(_batches, "MOST_SHUFFLED", 64)
    monkeypatch.setattr(_batches, "_RUN", 8)
    n_rows = 1003
    rng = np.random.default_rng(0)
    batches = epoch_batches(np.ones(n_rows, np.int64), 16, rng, is_bucketed=False)
    order = np.concatenate(batches)
    assert sorted(order) == list(range(n_rows))
    for start in range(0, n_rows, 64):
        n_runs = len(np.unique(order[start : start + 64] // 8))
        assert n_runs <= 10  # 8, and one cut at each end or the short last one
    first, second = order[:16], order[16:32]
    assert np.ptp(first) > 200
    assert np.ptp(second) > 200


# ------------------------------------------------------------------------------------ bad input
@pytest.mark.parametrize(
    ("X", "error", "told"),
    [
        (Batches(["a", "b", None, "c"], 2), ValueError, r"X\[2\] is None"),
        (Batches(["a", "b", 3, "c"], 2), TypeError, r"X\[2\] is 3 of type int"),
        (Column(["a", "b", b"c", "d"]), TypeError, r"X\[2\] is b'c'"),
        (Batches([]), ValueError, "X holds 0 rows"),
        (iter([["a", "b"]]), TypeError, "read once only"),
        (pathlib.Path("no/such.txt"), FileNotFoundError, "such.txt"),
        (pathlib.Path("."), ValueError, "is a folder"),
        ("texts.txt", ValueError, r"single str.*pathlib.Path\('texts.txt'\)"),
    ],
)
def test_bad_sources_are_told(X, error, told):
    with pytest.raises(error, match=told):
        ReneeClassifier().fit(X, [["a"], ["b"], ["a"], ["b"]])


def test_a_source_that_changes_is_told(data):
    class Shrinking:
        n_passes = 0

        def __iter__(self):
            self.n_passes += 1
            return iter(data.texts if self.n_passes < 5 else data.texts[:-1])

    with pytest.raises(ValueError, match=r"X held \d+ values when it was first read, and now"):
        ReneeClassifier(BagOfWordsEncoder(dim=8), epochs=1).fit(Shrinking(), data.Y)


def test_mixed_batches_are_told():
    class Mixed:
        def __iter__(self):
            return iter([["a", "b"], "c"])

    with pytest.raises(TypeError, match="A batch is 'c' of type str, which is no list"):
        ReneeClassifier().fit(Mixed(), [["a"], ["b"], ["a"]])


@pytest.mark.parametrize(
    ("y", "told"),
    [
        (Column([["a"], "b", ["c"]]), r"Y\[1\] is 'b' of type str, but other rows are lists"),
        (Column([["a"], [["b"]], ["c"]]), r"Y\[1\] holds the label \['b'\] of type list"),
    ],
)
def test_bad_label_columns_are_told(y, told):
    with pytest.raises(TypeError, match=told):
        ReneeClassifier().fit(["a", "b", "c"], y)


def test_another_number_of_labels_than_texts_is_told(lines, npz, data):
    with pytest.raises(ValueError, match=f"Y has {len(data.texts)} rows, but X has 2 texts"):
        ReneeClassifier().fit(Column(["a", "b"]), npz)


# ------------------------------------------------------------------------------ found in a review
def test_a_warm_start_does_not_take_tokens_of_another_vocabulary(data, lines, tmp_path):
    folder, rows = tmp_path / "ck", slice(20, None)
    own = {"label_texts": data.label_texts, "epochs": 1, "random_state": 0}
    X, Y = Batches(data.texts[rows]), data.Y[rows]
    clf = ReneeClassifier(BagOfWordsEncoder(dim=8), **own)
    kept = {"checkpoint_dir": folder, "keep_checkpoint": True}
    ReneeClassifier(BagOfWordsEncoder(dim=8), **own, **kept).fit(X, Y)
    (folder / FILE).unlink()
    clf.fit(data.texts, data.Y).set_params(warm_start=True)
    undisturbed = pickle.loads(pickle.dumps(clf)).fit(X, Y)
    assert learnt(clf.set_params(checkpoint_dir=folder).fit(X, Y)) == learnt(undisturbed)


@pytest.mark.parametrize("name", ["ids", "weights", "offsets"])
def test_cut_token_files_are_written_anew(name, make, data, lines, tmp_path):
    folder = tmp_path / "ck"
    make(checkpoint_dir=folder, keep_checkpoint=True).fit(lines, data.Y)
    (folder / FILE).unlink()
    os.truncate(folder / f"tokens.{name}", 40)
    clf = make(checkpoint_dir=folder).fit(lines, data.Y)
    assert learnt(clf) == learnt(make().fit(data.texts, data.Y))


def test_names_of_columns_stay_in_order_for_a_path(data, npz):
    names = [f"n{7 * i % 6}" for i in range(data.Y.shape[1])]
    clf = ReneeClassifier(BagOfWordsEncoder(dim=8), label_texts=None)
    clf.partial_fit(data.texts, npz, classes=names)
    assert clf.classes_.tolist() == names


@pytest.mark.parametrize("kind", [int, bool, float])
def test_rows_of_an_indicator_are_no_label_lists(kind, data):
    rows = data.Y.toarray().astype(kind).tolist()
    with pytest.raises((ValueError, TypeError), match="indicator"):
        ReneeClassifier(BagOfWordsEncoder(dim=8)).fit(data.texts, Column(rows))


def test_texts_of_numpy_are_texts_and_no_batches(make, data):
    class OfArray:
        def __iter__(self):
            return iter(np.array(data.texts))

    assert learnt(make().fit(OfArray(), data.Y)) == learnt(make().fit(data.texts, data.Y))


def test_frames_as_batches_are_told(data):
    pandas = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match="is no list of texts"):
        ReneeClassifier().fit(Batches(pandas.DataFrame({"text": data.texts})), data.Y)


def test_another_order_in_another_pass_is_told(data):
    class Shuffled:
        rng = np.random.default_rng(0)

        def __iter__(self):
            return iter(self.rng.permutation(np.array(data.texts, object)))

    with pytest.raises(ValueError, match="in another order, than when it was first read"):
        ReneeClassifier(BagOfWordsEncoder(dim=8)).fit(Shuffled(), data.Y)


def test_what_gives_one_iterator_is_told(data):
    class Once:
        values = iter(data.texts)

        def __iter__(self):
            return self.values

    with pytest.raises(TypeError, match="A Once is read once only"):
        ReneeClassifier().fit(Once(), data.Y)


def test_a_streaming_column_of_datasets_is_read(make, data):
    class IterableColumn:
        def __iter__(self):
            return iter(data.texts)

        def __getitem__(self, key):
            raise NotImplementedError

    IterableColumn.__module__ = "datasets.iterable_dataset"
    clf = make().fit(IterableColumn(), data.Y)
    assert learnt(clf) == learnt(make().fit(data.texts, data.Y))


def test_a_full_disk_is_told_with_a_remedy_and_left_as_it_was(data, lines, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    clf = ReneeClassifier(BagOfWordsEncoder(dim=8), checkpoint_dir=tmp_path / "ck")
    monkeypatch.setattr(_token_files.os, "fsync", full)
    with pytest.raises(OSError, match=r"no room for the tokens.*TMPDIR.*larger disk.*ck'") as error:
        clf.fit(lines, data.Y)
    assert error.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path / "ck") == []


def test_errors_of_reading_are_those_of_the_source(data):
    class Broken(Batches):
        n_passes = 0

        def __iter__(self):
            self.n_passes += 1
            if self.n_passes > 6:
                raise OSError(errno.EIO, "Input/output error", "X")
            return super().__iter__()

    with pytest.raises(OSError, match="Input/output error: 'X'"):
        ReneeClassifier(BagOfWordsEncoder(dim=8)).fit(Broken(data.texts), data.Y)


def test_what_reads_no_path_says_so(make, data, lines):
    clf = make().fit(data.texts, data.Y)
    with pytest.raises(TypeError, match=r"X is the path .* Pass list\(skxc.datasets.FileColumn"):
        tune_threshold(clf, lines, data.Y)
    held_out = list(FileColumn(lines))
    assert tune_threshold(clf, held_out, data.Y) == tune_threshold(clf, data.texts, data.Y)
