"""The second stage: its classifiers against scikit-learn's, and what it does in an estimator."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.svm import LinearSVC

pytest.importorskip("numba", reason="numba is not installed: no second stage")

import skxc
from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc._data._batches import TrainingRows
from skxc._data._tokens import TokenStore
from skxc._functional._squared_hinge import LinearClassifiers, squared_hinge_classifiers
from skxc._functional._top_k import UNSEEN_SCORE
from skxc._search._reranker import CANDIDATES, Reranker, features, idf_of
from skxc._search._reranker_training import tuned_weight
from skxc.datasets import make_extreme_classification
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder

ESTIMATORS = pytest.mark.parametrize("estimator", [ReneeClassifier, DualEncoderXC, UniDEC])
WORDS = make_extreme_classification(300, 20, n_background_words=50, random_state=0)
MANY = make_extreme_classification(300, 150, n_background_words=50, random_state=1)


def make(estimator, data=WORDS, **parameters):
    settings = {
        "encoder": BagOfWordsEncoder(dim=16), "label_texts": data.label_texts, "epochs": 2,
        "random_state": 0,
    }  # fmt: skip
    return estimator(**settings | parameters)


@pytest.fixture(scope="module", params=[ReneeClassifier, DualEncoderXC, UniDEC])
def trained(request):
    return make(request.param).fit(WORDS.texts, WORDS.Y)


# --------------------------------------------------------------------------------- the mathematics
def problem(n_texts=300, n_labels=7, density=0.4, seed=0):
    """Texts, and labels that some texts have, some have not, and some are not asked about."""
    rng = np.random.default_rng(seed)
    texts = np.where(rng.random((n_texts, 80)) < 0.1, rng.random((n_texts, 80)), 0)
    values = rng.choice([-1.0, 1.0, 0.5], (n_texts, n_labels))
    pairs = np.where(rng.random((n_texts, n_labels)) < density, values, 0)
    return sp.csr_array(texts.astype(np.float32)), sp.csc_array(pairs.astype(np.float32))


def solved(texts, pairs, **parameters):
    settings = {"C": 0.7, "intercept_scaling": 0.3, "tol": 1e-7, "least_weight": 0.0}
    return squared_hinge_classifiers(texts, pairs, **settings | parameters)


def test_the_optimum_is_scikit_learns():
    texts, pairs = problem()
    found = solved(texts, pairs)
    for label in range(pairs.shape[1]):
        rows, values = pairs[:, [label]].tocoo().row, pairs[:, [label]].tocoo().data
        svc = LinearSVC(C=0.7, intercept_scaling=0.3, tol=1e-9, max_iter=100_000)
        svc.fit(sp.csr_matrix(texts[rows]), values > 0, sample_weight=abs(values))
        np.testing.assert_allclose(found.weights[[label]].toarray()[0], svc.coef_[0], atol=1e-6)
        assert found.intercepts[label] == pytest.approx(svc.intercept_[0], abs=1e-6)


def test_with_earlier_classifiers_the_gradient_of_the_objective_is_zero():
    texts, pairs = problem()
    rng = np.random.default_rng(1)
    weights = sp.csr_array(rng.normal(size=(7, 80)).astype(np.float32))
    earlier = LinearClassifiers(weights, rng.normal(size=7).astype(np.float32))
    found = solved(texts, pairs, earlier=earlier)
    inputs = np.hstack([texts.toarray(), np.full((300, 1), 0.3)])
    old, new = (
        np.hstack([c.weights.toarray(), c.intercepts[:, None] / 0.3]) for c in (earlier, found)
    )
    values = pairs.toarray()
    hinge = np.maximum(0, 1 - np.sign(values) * (inputs @ new.T))
    gradient = (new - old) - 2 * 0.7 * (values * hinge).T @ inputs
    np.testing.assert_allclose(gradient, 0, atol=1e-4)


def test_a_label_without_pairs_is_what_it_was():
    texts, pairs = problem()
    pairs = pairs.toarray()
    pairs[:, 3] = 0
    earlier = solved(*problem(seed=5))
    found = solved(texts, sp.csc_array(pairs), earlier=earlier)
    np.testing.assert_array_equal(
        found.weights[[3]].toarray(), earlier.weights[[3]].toarray().astype(np.float32)
    )
    assert found.intercepts[3] == pytest.approx(earlier.intercepts[3], rel=1e-6)
    assert solved(texts, sp.csc_array(pairs)).weights[[3]].nnz == 0


@pytest.mark.parametrize("n_threads", [1, 3])
def test_a_label_depends_neither_on_the_others_nor_on_its_place(n_threads, monkeypatch):
    monkeypatch.setattr("skxc._functional._squared_hinge._WEIGHTS_AT_ONCE", 100)
    texts, pairs = problem(n_labels=23)
    all_at_once = solved(texts, pairs, tol=0.1, n_threads=n_threads)
    order = np.random.default_rng(0).permutation(23)
    other = solved(texts, sp.csc_array(pairs[:, order]), tol=0.1)
    np.testing.assert_array_equal(all_at_once.weights[order].toarray(), other.weights.toarray())
    np.testing.assert_array_equal(all_at_once.intercepts[order], other.intercepts)
    assert all_at_once.weights.has_sorted_indices


def test_small_weights_are_left_out():
    texts, pairs = problem()
    all_of_them, large = solved(texts, pairs), solved(texts, pairs, least_weight=0.1)
    dense = all_of_them.weights.toarray()
    np.testing.assert_array_equal(large.weights.toarray(), np.where(abs(dense) < 0.1, 0, dense))


@pytest.mark.parametrize("long", [0, 2, 10**6])
def test_margins_are_inner_products_however_words_are_looked_up(long, monkeypatch):
    texts, pairs = problem()
    classifiers = solved(texts, pairs)
    from skxc._functional import _squared_hinge

    monkeypatch.setattr(_squared_hinge, "_LONG", long)
    margins = getattr(_squared_hinge._margins, "py_func", _squared_hinge._margins)
    monkeypatch.setattr(_squared_hinge, "_margins", margins)
    labels = np.random.default_rng(0).integers(-1, 7, (300, 3))
    labels[::50] = -1
    every = (texts @ classifiers.weights.T).toarray() + classifiers.intercepts
    want = np.where(labels >= 0, np.take_along_axis(every, labels.clip(0), 1), 0)
    np.testing.assert_allclose(classifiers.margins(texts, labels), want, rtol=1e-5, atol=1e-6)


def test_margins_of_texts_without_words_and_of_unknown_words():
    classifiers = solved(*problem())
    no_words = sp.csr_array((2, 1), dtype=np.float32)
    labels = np.array([[0, 1], [2, -1]])
    want = np.where(labels < 0, 0, classifiers.intercepts[labels])
    np.testing.assert_array_equal(classifiers.margins(no_words, labels), want)
    wider = sp.csr_array(np.eye(2, 200, 150, dtype=np.float32))
    np.testing.assert_array_equal(classifiers.margins(wider, labels), want)


def test_sub_words_weigh_by_tf_idf_and_what_all_texts_have_not_at_all():
    tokens = TokenStore(np.array([5, 1, 1, 5, 2, 5, 9], np.uint16), np.array([0, 3, 5, 5, 7]))
    idf = idf_of(tokens)
    assert idf[5] == pytest.approx(np.log(5 / 4))
    want = np.zeros((4, 10))
    want[0, 1], want[0, 5] = (1 + np.log(2)) * np.log(5 / 2), np.log(5 / 4)
    want[1, 2], want[1, 5] = np.log(5 / 2), np.log(5 / 4)
    want[3, 9], want[3, 5] = np.log(5 / 2), np.log(5 / 4)
    lengths = np.linalg.norm(want, axis=1, keepdims=True)
    want /= np.where(lengths > 0, lengths, 1)
    np.testing.assert_allclose(features(tokens, idf).toarray(), want, rtol=1e-6)
    later = TokenStore(np.array([1, 300], np.uint16), np.array([0, 2]))  # 300 was never seen
    np.testing.assert_allclose(features(later, idf).toarray(), np.eye(1, 10, 1))


# ------------------------------------------------------------------------------------- the reranker
def reranker(n_labels=150, weight=0.5, seed=0):
    rng = np.random.default_rng(seed)
    weights = sp.csr_array(rng.normal(size=(n_labels, 30)).astype(np.float32))
    classifiers = LinearClassifiers(weights, rng.normal(size=n_labels).astype(np.float32))
    return Reranker(classifiers, np.empty(0, np.float32), weight)


def some_texts(n=9, seed=0):
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.integers(0, 30, (n, 4)), 1).astype(np.uint16)
    return TokenStore(ids.ravel(), np.arange(0, 4 * n + 1, 4), rng.random(4 * n, np.float32))


@pytest.mark.parametrize("n_labels", [1, 40, CANDIDATES, 150])
def test_the_candidates_are_ranked_anew_and_all_others_stay_below(n_labels):
    second, tokens = reranker(n_labels), some_texts()
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(9, n_labels)).astype(np.float32)
    scores[:, -1:] = UNSEEN_SCORE
    labels = np.argsort(-scores, 1)
    best = np.take_along_axis(scores, labels, 1)
    found, values = second.top(tokens, labels, best)
    assert (np.diff(values) <= 0).all()
    np.testing.assert_array_equal(np.sort(found), np.tile(np.arange(n_labels), (9, 1)))
    assert (values[:, -1] == UNSEEN_SCORE).all()
    n = min(CANDIDATES, n_labels - 1)
    first = labels[:, :n]
    margins = second.classifiers.margins(features(tokens, second.idf), first)
    want = np.sort(best[:, :n] + np.float32(0.5) * margins)[:, ::-1]
    np.testing.assert_allclose(values[:, :n], want, rtol=1e-6)
    np.testing.assert_array_equal(found[:, n:], labels[:, n:])
    dense = scores.copy()
    second.rescore_all_(tokens, dense)
    np.testing.assert_allclose(np.take_along_axis(dense, found, 1), values, rtol=1e-6)


def test_excluded_labels_take_no_candidates_place():
    second, tokens = reranker(), some_texts(1)
    scores = np.linspace(2, -2, 150, dtype=np.float32)[None]
    excluded = scores.copy()
    excluded[0, :50] = -np.inf
    second.rescore_all_(tokens, excluded)
    assert (excluded[0, :50] == -np.inf).all()
    margins = second.classifiers.margins(features(tokens, second.idf), np.arange(150)[None])
    want = scores + np.float32(0.5) * margins
    np.testing.assert_allclose(excluded[0, 50:], want[0, 50:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("is_margin_right", "want"), [(True, 3.0), (False, 0.0)])
def test_the_weight_is_the_one_that_ranks_best(is_margin_right, want):
    second, tokens, labels = reranker(), some_texts(), np.tile(np.arange(100), (9, 1))
    margins = second.classifiers.margins(features(tokens, second.idf), labels)
    best = margins.argmax(1) if is_margin_right else margins.argmin(1)

    class FirstStage:
        def top_k(self, tokens, k, exclude):
            scores = np.zeros((9, 100), np.float32)
            scores[np.arange(9), best] = 0 if is_margin_right else 1
            return labels, scores

    Y = sp.csr_array((np.ones(9, np.float32), (np.arange(9), best)), (9, 150))
    rows = TrainingRows(tokens, Y)
    assert tuned_weight(second, FirstStage(), rows, 2.0) == want / 2


# -------------------------------------------------------------------------------- in an estimator
def test_every_label_has_a_classifier_without_tiny_weights(trained):
    arrays = trained.reranker_
    assert trained.rerank_weight_ > 0
    assert len(arrays["offsets"]) == 21
    assert (np.diff(arrays["offsets"]) > 0).all()
    assert abs(arrays["weights"]).min() >= 0.05


@ESTIMATORS
def test_it_ranks_better_where_exact_words_decide(estimator):
    data = skxc.datasets.load_library_subjects()
    rows = np.arange(600)
    scores = [
        make(estimator, data, rerank_weight=weight, epochs=None)
        .fit(data.texts[:600], data.Y[rows])
        .score(data.test_texts[:1000], data.Y_test[:1000])
        for weight in (0, "auto")
    ]
    assert scores[1] > scores[0]


@ESTIMATORS
@pytest.mark.parametrize("weight", [0, 0.7])
def test_a_weight_that_is_given_is_taken(estimator, weight):
    model = make(estimator, rerank_weight=weight).fit(WORDS.texts, WORDS.Y)
    assert model.rerank_weight_ == weight
    assert bool(model.reranker_) == (weight > 0)


@ESTIMATORS
@pytest.mark.parametrize("weight", [-1, np.nan, "yes", None])
def test_a_wrong_weight_is_refused(estimator, weight):
    with pytest.raises((ValueError, TypeError), match="rerank_weight"):
        make(estimator, rerank_weight=weight).fit(WORDS.texts, WORDS.Y)


def test_renee_holds_nothing_out_and_keeps_its_log_odds_without_it():
    large = make_extreme_classification(1_300, 20, random_state=0)
    with_it, without = (
        make(ReneeClassifier, large, rerank_weight=w).fit(large.texts, large.Y) for w in ("auto", 0)
    )
    assert without._sigmoid == (1.0, 0.0)
    assert with_it._sigmoid != (1.0, 0.0)


def test_dense_and_sparse_results_agree_beyond_the_candidates():
    model = make(UniDEC, MANY).fit(MANY.texts, MANY.Y.toarray())
    labels, scores = model.predict_top_k(MANY.texts[:40], k=150)
    every = model.decision_function(MANY.texts[:40])
    np.testing.assert_allclose(np.take_along_axis(every, labels, 1), scores, rtol=1e-4, atol=1e-5)
    ten, _ = model.predict_top_k(MANY.texts[:40], k=10)
    np.testing.assert_array_equal(ten, labels[:, :10])


@ESTIMATORS
def test_a_text_scores_alike_alone_and_among_others(estimator):
    model = make(estimator, MANY).fit(MANY.texts, MANY.Y)
    _, scores = model.predict_top_k(MANY.texts, k=5)
    for i in range(3):
        alone = model.predict_top_k(MANY.texts[i : i + 1], k=5)
        np.testing.assert_allclose(alone[1][0], scores[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("estimator", [DualEncoderXC, UniDEC])
def test_added_labels_have_classifiers_of_their_texts(estimator):
    model = make(estimator).fit(WORDS.texts, WORDS.Y)
    before = copy.deepcopy(model)
    text = WORDS.texts[0]
    model.add_labels([text])
    assert len(model.reranker_["offsets"]) == 22
    classifiers = Reranker.of_arrays(model.reranker_, 1.0).classifiers
    words = features(model.encoder_.tokenize([text]), np.empty(0, np.float32))
    assert classifiers.margins(words, np.array([[20]]))[0, 0] > 0.3
    assert model.predict_top_k([text], k=1)[0][0, 0] == 20
    n_old = before.reranker_["offsets"][-1]
    np.testing.assert_array_equal(model.reranker_["weights"][:n_old], before.reranker_["weights"])


@ESTIMATORS
def test_a_stream_goes_on_from_its_classifiers(estimator):
    model = make(estimator)
    model.partial_fit(WORDS.texts[:200], WORDS.Y[:200])
    weight, first = model.rerank_weight_, copy.deepcopy(model.reranker_)
    model.partial_fit(WORDS.texts[200:], WORDS.Y[200:])
    assert model.rerank_weight_ == weight > 0
    assert not np.array_equal(model.reranker_["intercepts"], first["intercepts"])
    again = copy.deepcopy(model)
    again.partial_fit(WORDS.texts[:1], sp.csr_matrix((1, 20)))
    changed = again.reranker_["intercepts"] != model.reranker_["intercepts"]
    assert changed.any()  # labels that the text was mistaken for


@ESTIMATORS
def test_a_stream_without_a_second_stage_stays_without(estimator):
    model = make(estimator, rerank_weight=0).partial_fit(WORDS.texts, WORDS.Y)
    model.set_params(rerank_weight="auto").partial_fit(WORDS.texts[:50], WORDS.Y[:50])
    assert model.reranker_ == {}
    assert model.rerank_weight_ == 0


@ESTIMATORS
def test_excluded_pairs_are_no_negatives(estimator):
    Y = WORDS.Y.copy()
    wrong = sp.csr_array(1 - WORDS.Y.toarray())  # all that is not positive
    model = make(estimator, label_texts=WORDS.label_texts).fit(WORDS.texts, Y, exclude=wrong)
    assert (model.reranker_["intercepts"] >= 0).all()
    assert (model.reranker_["weights"] > 0).all()


@ESTIMATORS
def test_a_text_of_weight_zero_counts_as_no_text(estimator):
    weights = np.ones(300)
    weights[:10] = 0
    Y = WORDS.Y.tolil()
    Y[:10] = 0
    Y[:10, 3] = 1
    texts = ["strange words"] * 10 + WORDS.texts[10:]
    model = make(estimator).fit(texts, Y.tocsr(), sample_weight=weights)
    word = model.encoder_.vectorizer_.vocabulary_["strange"]
    assert word not in model.reranker_["words"]


@ESTIMATORS
def test_a_transformers_sub_words_serve(estimator, tiny_bert):
    encoder = TransformerEncoder(model=tiny_bert, max_length=16)
    model = make(estimator, encoder=encoder, epochs=1).fit(WORDS.texts[:80], WORDS.Y[:80])
    assert len(model.reranker_["idf"]) == model.reranker_["n_words"]
    assert model.rerank_weight_ > 0
    labels, _ = model.predict_top_k(WORDS.texts[:80], k=1)
    assert labels.shape == (80, 1)


@pytest.mark.parametrize("is_mapped", [False, True])
def test_saved_pickled_and_copied_models_rank_alike(trained, tmp_path, is_mapped):
    want = trained.predict_top_k(WORDS.texts, k=7)
    trained.save(tmp_path / "model")
    loaded = skxc.load(tmp_path / "model", mmap=is_mapped)
    for other in (loaded, pickle.loads(pickle.dumps(trained)), copy.deepcopy(trained)):
        for a, b in zip(want, other.predict_top_k(WORDS.texts, k=7), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": np.full(3, 10**6, np.int32)}, "names words that the encoder does not have"),
        ({"n_words": np.array(3)}, "is of 3 words"),
        ({"intercepts": np.zeros(4, np.float32)}, "intercepts has the shape"),
        ({"weights": np.zeros(3, np.float64)}, "should be an array of float32"),
        ({"offsets": np.zeros(21, np.int64)}, "does not lead from 0 to"),
    ],
    ids=["words", "n_words", "intercepts", "weights", "offsets"],
)
def test_a_model_with_an_unsound_second_stage_is_not_saved(trained, change, message, tmp_path):
    model = copy.deepcopy(trained)
    for name, value in change.items():
        if len(value.shape) and name != "intercepts" and name != "offsets":
            value = np.resize(value, model.reranker_[name].shape)
        model.reranker_[name] = value
    with pytest.raises(ValueError, match=message):
        model.save(tmp_path / "model")


def test_without_numba_auto_gives_no_second_stage_and_says_so(monkeypatch, caplog):
    from skxc._estimator import _second_stage

    monkeypatch.setattr(_second_stage, "find_spec", lambda name: None)
    _second_stage._has_numba.cache_clear()
    try:
        model = make(UniDEC).fit(WORDS.texts, WORDS.Y)
    finally:
        _second_stage._has_numba.cache_clear()
    assert model.rerank_weight_ == 0
    assert "numba is not installed" in caplog.text
