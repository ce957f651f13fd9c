"""The approximate search finds what the exact one does, and its index comes from anyone."""

from __future__ import annotations

import copy
import pickle
import re
import sys

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone

import skxc
from skxc._persistence import seal
from skxc._persistence._reading import read_config
from skxc._persistence._writing import write_tensors
from skxc._search import _approximate
from skxc._search._approximate import LabelIndex
from skxc._search._graph import check_graph
from skxc._search._ranker import LabelTable

index_library = pytest.importorskip("usearch.index", reason="usearch is not installed")

N_LABELS, K = 3000, 5
MODELS = ["ReneeClassifier", "DualEncoderXC", "UniDEC"]


@pytest.fixture(autouse=True)
def _few_labels_are_enough(monkeypatch):
    monkeypatch.setattr(_approximate, "_LABELS_A_WIDTH", 5)


def labels_and_texts():
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(400)])
    label_texts = [" ".join(words[rng.integers(400, size=3)]) + f" own{i}" for i in range(N_LABELS)]
    rows = np.arange(N_LABELS)[rng.permutation(N_LABELS)[: N_LABELS - 100]]  # 100 unseen labels
    texts = [label_texts[j] + " " + words[rng.integers(400)] for j in rows]
    Y = sp.csr_array((np.ones(len(rows)), (np.arange(len(rows)), rows)), (len(rows), N_LABELS))
    return label_texts, texts, Y


@pytest.fixture(scope="module", params=MODELS)
def trained(request):
    label_texts, texts, Y = labels_and_texts()
    cls = getattr(skxc, request.param)
    encoder = skxc.encoders.BagOfWordsEncoder(dim=32)
    clf = cls(encoder, label_texts=label_texts, epochs=2, random_state=0, device="cpu")
    return clf.fit(texts, Y), texts[:300]


@pytest.fixture
def model(trained):
    return copy.deepcopy(trained[0]).set_params(search="approximate")


@pytest.fixture
def texts(trained):
    return trained[1]


def recall(found, wanted):
    return np.mean([len({*a} & {*b}) / len(b) for a, b in zip(found, wanted, strict=True)])


def test_most_of_the_best_labels_are_found_and_scored_as_by_the_exact_search(model, texts):
    labels, scores = model.predict_top_k(texts, K)
    exact, exact_scores = model.set_params(search="exact").predict_top_k(texts, K)
    assert recall(labels, exact) > 0.85
    is_same = labels[:, 0] == exact[:, 0]
    np.testing.assert_allclose(scores[is_same, 0], exact_scores[is_same, 0], rtol=1e-4, atol=1e-5)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert all(len({*row}) == K for row in labels)


def test_one_text_gets_what_it_gets_among_many(model, texts):
    labels, _ = model.predict_top_k(texts, K)
    np.testing.assert_array_equal(model.predict_top_k(texts[:1], K)[0], labels[:1])


def test_excluded_labels_are_not_given_and_a_text_that_excludes_most_is_searched_exactly(
    model, texts
):
    best, _ = model.predict_top_k(texts, K)
    exclude = sp.lil_array((len(texts), N_LABELS))
    exclude[np.arange(len(texts))[:, None], best] = 1
    exclude[0, : N_LABELS - 3] = 1
    exclude = sp.csr_array(exclude)
    labels, scores = model.predict_top_k(texts, K, exclude)
    rows, columns = (labels >= 0).nonzero()
    assert not exclude[rows, labels[rows, columns]].any()
    exact, exact_scores = model.set_params(search="exact").predict_top_k(texts[:1], K, exclude[:1])
    np.testing.assert_array_equal(labels[:1], exact)
    np.testing.assert_allclose(scores[:1], exact_scores, rtol=1e-4, atol=1e-4)
    assert (labels[1:] >= 0).all()


def test_a_search_for_many_labels_is_exact(model, texts):
    labels, _ = model.predict_top_k(texts[:20], 1000)
    exact, _ = model.set_params(search="exact").predict_top_k(texts[:20], 1000)
    np.testing.assert_array_equal(labels, exact)


def test_a_table_of_few_labels_has_no_index(model, texts, monkeypatch):
    monkeypatch.setattr(_approximate, "_LABELS_A_WIDTH", 1000)
    model.predict_top_k(texts, K)
    assert model._index is None


def test_added_labels_are_found_by_the_index_that_is_extended(model, texts):
    if not hasattr(model, "add_labels"):
        pytest.skip("no labels by their texts")
    model.predict_top_k(texts, K)
    graph = model._index.graph
    model.add_labels(["word1 word2 own1 entirely new", texts[0]])
    labels, _ = model.predict_top_k([texts[0]], K)
    assert len(model._index.graph) == len(graph) + 2
    exact, _ = model.set_params(search="exact").predict_top_k([texts[0]], K)
    assert recall(labels, exact) > 0.7
    assert N_LABELS + 1 in labels


def test_the_parameter_acts_at_prediction_and_is_checked(model, texts):
    assert clone(model).search == "approximate"
    with pytest.raises(ValueError, match="search"):
        model.set_params(search="fast").predict_top_k(texts, K)
    with pytest.raises(ValueError, match="search"):
        clone(model).fit(["a", "b"], [["a"], ["b"]])


@pytest.mark.parametrize("mmap", [True, False])
def test_the_index_is_saved_and_used_without_being_built_anew(
    model, texts, tmp_path, monkeypatch, mmap
):
    labels, scores = model.predict_top_k(texts, K)
    model.save(tmp_path / "model")
    loaded = skxc.load(tmp_path / "model", mmap=mmap)
    monkeypatch.setattr(LabelIndex, "built", None)
    found = loaded.predict_top_k(texts, K)
    np.testing.assert_array_equal(found[0], labels)
    np.testing.assert_array_equal(found[1], scores)
    loaded.save(tmp_path / "again")
    skxc.load(tmp_path / "again", mmap=mmap).predict_top_k(texts, K)
    if hasattr(loaded, "add_labels"):  # a map cannot grow in place
        loaded.add_labels([texts[0]]).predict_top_k(texts, K)


def test_the_exact_search_saves_no_index(model, texts, tmp_path):
    model.predict_top_k(texts, K)
    model.set_params(search="exact").save(tmp_path / "model")
    assert not (tmp_path / "model" / "search.safetensors").exists()


def test_pickles_hold_no_index_and_predict_the_same(model, texts):
    labels, _ = model.predict_top_k(texts, K)
    copied = pickle.loads(pickle.dumps(model))
    assert "_index" not in vars(copied)
    np.testing.assert_array_equal(copied.predict_top_k(texts, K)[0], labels)


def test_a_second_fit_has_an_index_of_its_own(model, texts):
    model.predict_top_k(texts, K)
    before = model._index
    _, all_texts, Y = labels_and_texts()
    model.set_params(epochs=1).fit(all_texts[:500], Y[:500])
    model.predict_top_k(texts, K)
    assert model._index is not before
    assert model._index.is_of(model._get_ranker().table)


def test_without_the_library_an_error_says_what_to_install(model, texts, monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(ImportError, match=re.escape('pip install "skxc[approximate]"')):
        model.predict_top_k(texts, K)


# ------------------------------------------------------------------------------------ hostile bytes
def table_of(n_labels, dim=16, seed=0):
    g = torch.Generator().manual_seed(seed)
    return LabelTable.of(torch.randn(n_labels, dim, generator=g))


@pytest.fixture(scope="module")
def index():
    return LabelIndex.built(table_of(2000)).arrays()


def restored(arrays, **changes):
    return LabelIndex.restored({**arrays, **changes}, table_of(2000))


def test_rows_of_any_length_are_found_by_their_inner_products():
    g = torch.Generator().manual_seed(1)
    rows = torch.randn(5000, 16, generator=g) * torch.rand(5000, 1, generator=g) + 3
    index = LabelIndex.built(LabelTable.of(rows))
    queries = torch.randn(200, 16, generator=g)
    found = index._nearest(queries, 10, 200)
    assert recall(found, (queries @ rows.T).topk(10).indices.numpy()) > 0.9


def test_an_index_of_another_table_is_refused(index):
    with pytest.raises(ValueError, match="of other labels"):
        LabelIndex.restored(index, table_of(2000, seed=1))
    with pytest.raises(ValueError, match="other vectors"):
        LabelIndex.restored(index, table_of(1999))
    with pytest.raises(ValueError, match="other shapes"):
        LabelIndex.restored(index, table_of(2000, dim=17))


@pytest.mark.parametrize("name", ["mean", "radius"])
def test_numbers_that_are_none_are_refused(index, name):
    with pytest.raises(ValueError, match="not finite"):
        restored(index, **{name: np.full_like(index[name], np.nan)})


def test_bytes_are_refused_wherever_usearch_would_follow_them(index):
    content, dim = index["graph"], 17
    start = 8 + 2 * dim * 2000
    labels = np.arange(2000)
    for place in [0, 4, *range(start, start + 9), *range(start + 13, start + 104)]:
        damaged = content.copy()
        damaged[place] ^= 0x93
        with pytest.raises(ValueError, match="it"):
            check_graph(damaged, labels, dim)
    damaged = content.copy()
    damaged[start + 9 : start + 11] = [9, 0]  # version 2.9, whose kinds had other numbers
    with pytest.raises(ValueError, match="another version"):
        check_graph(damaged, labels, dim)
    with pytest.raises(ValueError, match="cut"):
        check_graph(content[:-1], labels, dim)
    with pytest.raises(ValueError, match="cut"):
        check_graph(content[:50], labels, dim)


def test_random_damage_is_refused_or_harmless(index):
    rng = np.random.default_rng(0)
    start = 8 + 2 * 17 * 2000
    queries = torch.randn(50, 16)
    n_refused = 0
    for _ in range(300):
        damaged = index["graph"].copy()
        damaged[rng.integers(start, len(damaged), size=3)] = rng.integers(256, size=3)
        try:
            found = restored(index, graph=damaged)._nearest(queries, 10, 100)
        except ValueError:
            n_refused += 1
        else:
            assert ((found >= -1) & (found < 2000)).all()
    assert n_refused > 100


def test_a_loaded_model_refuses_an_index_that_is_not_its_own(model, texts, index, tmp_path):
    model.save(tmp_path / "model")
    write_tensors(tmp_path / "model" / "search.safetensors", index)
    config = read_config(tmp_path / "model")
    for name in ("format", "format_version", "files", "sha256"):
        config.pop(name, None)
    (tmp_path / "model" / "config.json").unlink()
    seal(tmp_path / "model", config)
    loaded = skxc.load(tmp_path / "model")
    with pytest.raises(ValueError, match="The index that was saved with this model"):
        loaded.predict_top_k(texts, K)
    assert loaded.set_params(search="exact").predict_top_k(texts, K)[0].shape == (len(texts), K)
