"""DualEncoderXC: its step against autograd, and what it has beyond the common contract."""

from __future__ import annotations

import copy
import json
import pickle
import re
import shutil
from contextlib import suppress
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from contract import assert_equal_models
from naive_losses import EXACT
from setups import loss_settings
from sklearn.exceptions import NotFittedError
from step_problem import N_LABELS, N_TEXTS, SMALL, Data, StepProblem

from skxc import DualEncoderXC, load
from skxc._data._batches import TrainingRows
from skxc._functional._losses import SoftTopK
from skxc._functional._top_k import UNSEEN_SCORE
from skxc._methods._dual_encoder import DualEncoderMethod
from skxc.datasets import load_library_subjects
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder

LOSSES = ["decoupled-softmax", "softmax", "soft-top-k"]
ALL_LOSSES = [*LOSSES, "one-vs-all", SoftTopK(k="n_positives", alpha=1.5)]
# of embeddings after different orders of the same sums
CLOSE = {"rtol": 1e-3, "atol": 1e-4}


@pytest.fixture(scope="module")
def data():
    return Data()


@pytest.fixture(scope="module")
def make(data):
    """`make(**parameters)`: a tiny unfitted dual encoder of the twelve labels."""

    def make(**parameters):
        settings = {
            "encoder": SMALL, "label_texts": data.label_texts, "epochs": 3, "batch_size": 16,
            "k": 3, "rerank_weight": 0, "random_state": 0,
        }  # fmt: skip
        return DualEncoderXC(**settings | parameters)

    return make


@pytest.fixture(scope="module")
def trained(make, data):
    return make().fit(data.texts, data.Y)


@pytest.fixture
def fitted(trained):
    """A test may change it."""
    return copy.deepcopy(trained)


@pytest.fixture(scope="module")
def sure_bert(tiny_bert, tmp_path_factory):
    """tiny_bert without dropout: what is encoded together does not matter then."""
    folder = tmp_path_factory.mktemp("sure_bert") / "model"
    shutil.copytree(tiny_bert, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    Path(folder / "config.json").write_text(json.dumps(config))
    return TransformerEncoder(model=str(folder), max_length=16)


def assert_close_models(a, b, texts, order=slice(None)):
    """Equal up to float tolerance; `order`: which label of `a` each of `b` is.

    By what they embed: attention does not depend on its keys' intercepts, which AdamW steps in the
    direction of rounding errors.
    """
    np.testing.assert_allclose(a.label_embeddings_[order], b.label_embeddings_, **CLOSE)
    np.testing.assert_allclose(a.transform(texts), b.transform(texts), **CLOSE)


# -------------------------------------------------------------------------------- one step's maths
@pytest.fixture(scope="module", params=["bag", "bert"])
def problem(request):
    if request.param == "bag":
        return StepProblem(BagOfWordsEncoder(dim=8, min_df=1))
    folder = request.getfixturevalue("tiny_bert")  # with the transformer's own dropout
    return StepProblem(TransformerEncoder(model=folder, max_length=16))


# labels at a time; None: one block of all scores
CHUNK_SIZES = [None, 1, 4, 8]


def set_chunk_size(monkeypatch, problem, chunk_size):
    if chunk_size is not None:
        n_scores = len(problem.rows) * chunk_size
        monkeypatch.setattr("skxc._methods._dual_encoder._SCORES_AT_ONCE", n_scores)
        monkeypatch.delattr(DualEncoderMethod, "_step_on_block")


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=str)
@pytest.mark.parametrize("chunk_size", CHUNK_SIZES)
@pytest.mark.parametrize("encode_batch_size", [None, 2])
@pytest.mark.parametrize("pool_size", [0, 1000], ids=["pool of positives", "pool of all"])
def test_a_step_equals_autograd_of_the_naive_formula_with_dropout_on(
    problem, monkeypatch, loss, chunk_size, encode_batch_size, pool_size
):
    set_chunk_size(monkeypatch, problem, chunk_size)
    step = problem.step(loss, encode_batch_size, pool_size)
    assert len(step._pick(problem.batch).pool) == (11 if pool_size else 9)
    want = problem.by_autograd(step, chunk_size)
    got = problem.by_step(step)
    torch.testing.assert_close(got, want, **EXACT)
    assert got[1].abs().max() > 1e-3
    other = problem.by_step(problem.step(loss, encode_batch_size, pool_size), seed=4)
    assert abs(other[0] - got[0]) > 1e-4  # dropout is on


def draws(problem, loss, n):
    """What the text may draw: the probability of it, loss and gradient."""
    Y = problem.rows.Y
    assert Y.nnz > 2
    found = {}
    for seed in range(50):
        step = problem.step(loss, positives_per_text=n)
        step.rng = np.random.default_rng(seed)
        labels = copy.deepcopy(step)._pick(problem.batch).positives.labels
        found.setdefault(tuple(sorted(labels.tolist())), problem.by_step(step))
    shares = dict(zip(Y.indices.tolist(), Y.data / Y.data.sum(dtype=float), strict=True))
    drawn = sorted(found)
    assert drawn == list(combinations(sorted(shares), n))
    if n == 1:
        return [(shares[label], *found[label,]) for (label,) in drawn]
    assert len(set(shares.values())) == 1  # each draw is then as likely as any other
    return [(1 / len(drawn), *found[labels]) for labels in drawn]


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=str)
@pytest.mark.parametrize("chunk_size", CHUNK_SIZES)
@pytest.mark.parametrize("n", [1, 2])
def test_drawn_positives_give_the_whole_loss_on_average_but_of_the_soft_top_k(
    monkeypatch, loss, chunk_size, n
):
    """Of the pool of all labels. The soft top-k's threshold depends on who is in the row."""
    problem = StepProblem(BagOfWordsEncoder(dim=8, min_df=1), dropout=0.0)
    problem.rows = problem.rows.take(np.array([0]))
    Y = problem.rows.Y
    Y.data[:] = 0.5 if n > 1 else np.round(64 * Y.data) / 64  # float32 has their sum
    set_chunk_size(monkeypatch, problem, chunk_size)
    found = draws(problem, loss, n)
    value, gradient = problem.by_step(problem.step(loss))
    mean = sum(share * loss for share, loss, _ in found)
    mean_gradient = sum(share * gradient for share, _, gradient in found)
    if "soft-top-k" in (loss, loss_settings(loss)["loss"]):
        assert abs(mean / value - 1) > 0.01
        assert (mean_gradient - gradient).norm() > 0.01 * gradient.norm()
    else:
        torch.testing.assert_close((mean, mean_gradient), (value, gradient), **EXACT)


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=str)
@pytest.mark.parametrize("chunk_size", [None, 4])
@pytest.mark.parametrize("pool_size", [0, 1000], ids=["pool of positives", "pool of all"])
@pytest.mark.parametrize("n", [1, 2])
def test_undrawn_positives_stay_negatives_of_the_softmax_as_far_as_they_are_in_the_pool(
    monkeypatch, loss, chunk_size, pool_size, n
):
    problem = StepProblem(BagOfWordsEncoder(dim=8, min_df=1))
    set_chunk_size(monkeypatch, problem, chunk_size)
    step = problem.step(loss, pool_size=pool_size, positives_per_text=n)
    is_drawn = np.zeros(problem.targets.shape, bool)
    _, drawn, _ = copy.deepcopy(step)._pick(problem.batch)
    is_drawn[drawn.rows, drawn.labels] = True
    n_positives = (problem.targets > 0).sum(1)
    assert is_drawn.sum(1).tolist() == np.minimum(n_positives, n).tolist()
    relevances = problem.targets.sum(1) / is_drawn.sum(1).clip(min=1)
    ignored = problem.is_ignored
    if loss not in ("softmax", "one-vs-all"):
        ignored = ignored | (~is_drawn & (problem.targets > 0))
    want = problem.by_autograd(step, chunk_size, 3, is_drawn * relevances[:, None], ignored)
    torch.testing.assert_close(problem.by_step(step), want, rtol=1e-6, atol=1e-8)  # of float32


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=str)
@pytest.mark.parametrize(("pool_size", "chunk_size"), [(0, None), (3, None), (11, None), (11, 1)])
def test_a_batch_without_positives_has_no_gradient(monkeypatch, loss, pool_size, chunk_size):
    problem = StepProblem(BagOfWordsEncoder(dim=8, min_df=1))
    problem.rows = problem.rows.take(np.array([3]))
    set_chunk_size(monkeypatch, problem, chunk_size)
    value, gradient = problem.by_step(problem.step(loss, pool_size=pool_size))
    assert value == 0
    assert (gradient == 0).all()


def test_short_texts_are_encoded_more_at_a_time_than_long_ones():
    step = StepProblem(SMALL).step("softmax", encode_batch_size=8)
    sizes = [len(rows) for rows in step._slices(np.repeat([1, 16], [128, 8]), 136)]
    assert sizes[-1] <= 8
    assert sizes[0] > 8


@pytest.mark.parametrize("encode_batch_size", [None, 4])
def test_label_embeddings_build_no_graph(encode_batch_size):
    step = StepProblem(SMALL).step("softmax", encode_batch_size)
    is_enabled = []
    step.module.register_forward_pre_hook(lambda *_: is_enabled.append(torch.is_grad_enabled()))
    assert step.ranker().table.rows.shape == (11, 16)
    assert is_enabled
    assert not any(is_enabled)


# ----------------------------------------------------------------------------- what must not matter
@pytest.mark.parametrize("loss", ALL_LOSSES, ids=str)
@pytest.mark.parametrize("negatives", ["mined", "in-batch"])
def test_a_pool_of_all_labels_is_the_same_whatever_its_name(make, data, loss, negatives):
    settings = loss_settings(loss) | {"mining_interval": 1, "dropout": 0.3}
    want = make(negatives="all", pool_size=0, **settings).fit(data.texts, data.Y)
    got = make(negatives=negatives, pool_size=N_LABELS, **settings).fit(data.texts, data.Y)
    assert_equal_models(got, want)
    smaller = make(negatives=negatives, pool_size=4, **settings).fit(data.texts, data.Y)
    assert not np.array_equal(smaller.label_embeddings_, want.label_embeddings_)


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=str)
@pytest.mark.parametrize("kind", ["bag", "bert"])
def test_chunks_and_the_order_of_the_labels_do_not_change_the_model(
    make, data, sure_bert, monkeypatch, loss, kind
):
    settings = loss_settings(loss) | {"dropout": 0.3, "encode_batch_size": None}
    if kind == "bert":
        settings |= {"encoder": sure_bert, "epochs": 1, "batch_size": 60, "learning_rate": 1e-3}
    want = make(**settings).fit(data.texts, data.Y)
    order = np.random.default_rng(0).permutation(N_LABELS)
    texts = np.array(data.label_texts)[order]
    permuted = make(**settings | {"label_texts": texts}).fit(data.texts, data.Y[:, order])
    assert_close_models(want, permuted, data.texts, order)
    settings["encode_batch_size"] = 5
    assert_close_models(want, make(**settings).fit(data.texts, data.Y), data.texts)
    monkeypatch.setattr("skxc._methods._dual_encoder._SCORES_AT_ONCE", 16 * 5)
    assert_close_models(want, make(**settings).fit(data.texts, data.Y), data.texts)


@pytest.mark.parametrize(
    "parameters",
    [
        {"negatives": "mined", "pool_size": 3, "mining_interval": 1},
        {"positives_per_text": 1, "pool_size": 0},
        {"pool_size": 5, "loss": "soft-top-k"},
    ],
)
def test_the_same_seed_gives_the_same_model_and_another_one_another(make, data, parameters):
    first, second, other = (
        make(**parameters, random_state=seed).fit(data.texts, data.Y) for seed in (0, 0, 1)
    )
    assert_equal_models(first, second)
    assert first._sigmoid == second._sigmoid
    assert not np.array_equal(first.label_embeddings_, other.label_embeddings_)


def test_unnormalised_scores_have_a_temperature_of_one_unless_told_otherwise(make, data):
    models = {
        temperature: make(normalize=False, temperature=temperature).fit(data.texts, data.Y)
        for temperature in (None, 1.0, 0.1)
    }
    assert_equal_models(models[None], models[1.0])
    assert not np.array_equal(models[None].label_embeddings_, models[0.1].label_embeddings_)
    assert np.linalg.norm(models[None].transform(data.texts), axis=1).min() > 2
    rows = models[None].transform_labels(data.label_texts)
    np.testing.assert_allclose(rows, models[None].label_embeddings_, rtol=1e-5, atol=1e-5)
    assert np.linalg.norm(rows, axis=1).min() > 2


def test_cosines_have_the_temperature_of_the_kind_of_encoder(make, data, sure_bert):
    for encoder, temperature in ((SMALL, 0.09), (sure_bert, 0.05)):
        default, told, other = (
            make(encoder=encoder, epochs=1, temperature=t).fit(data.texts[:30], data.Y[:30])
            for t in (None, temperature, 0.3)
        )
        assert_equal_models(default, told)
        assert not np.array_equal(default.label_embeddings_, other.label_embeddings_)


# ---------------------------------------------------------------------------- learning, and losses
@pytest.mark.parametrize("loss", [*LOSSES, SoftTopK(k="n_positives", alpha=1.0)], ids=str)
def test_training_recovers_the_labels_of_its_texts(make, data, loss):
    model = make(**loss_settings(loss), epochs=20).fit(data.texts, data.Y)
    assert model.score(data.texts, data.Y) > 0.85
    assert model.history_[-1]["loss"] < 0.7 * model.history_[0]["loss"]


def test_one_vs_all_fails_for_a_dual_encoder_as_the_paper_says():
    library = load_library_subjects()
    texts, Y = library.texts[:600], library.Y[:600]
    scores = [
        DualEncoderXC(
            SMALL, label_texts=library.label_texts, loss=loss, epochs=2, rerank_weight=0,
            random_state=0,
        ).fit(texts, Y).score(texts, Y)
        for loss in ("one-vs-all", "decoupled-softmax")
    ]  # fmt: skip
    assert 3 * scores[0] < scores[1]


def test_softmax_loses_the_easy_one_of_five_positives_and_decoupled_softmax_does_not():
    """The paper's synthetic: five positives a text, one of them trivially easy.

    One word of the text names its easy label; the other four are drawn at random, which nothing
    can predict. Softmax pushes a positive down once its probability exceeds 1/5, and so never lets
    the easy label stand out of the frequent ones; decoupled, it may rise as far as it can. In
    fresh texts the easy label then ranks first, or one that happens to apply to a third of them.
    """
    n_easy, n_hard, n_texts = 30, 12, 600
    rng = np.random.default_rng(0)
    easy = rng.integers(n_easy, size=n_texts)
    Y = np.zeros((n_texts, n_easy + n_hard))
    Y[np.arange(n_texts), easy] = 1
    odds = np.linspace(0.5, 2, n_hard)  # the smaller, the more frequent
    hard = np.argsort(rng.random((n_texts, n_hard)) * odds, axis=1)[:, :4]
    np.put_along_axis(Y, n_easy + hard, 1, axis=1)
    assert (Y.sum(1) == 5).all()
    fillers = rng.integers(60, size=(n_texts, 4))
    texts = [f"easy{i} " + " ".join(f"w{w}" for w in f) for i, f in zip(easy, fillers, strict=True)]
    names = [f"easy{i}" for i in range(n_easy)] + [f"hard{i}" for i in range(n_hard)]
    scores, shares = {}, {}
    for loss in ("softmax", "decoupled-softmax"):
        model = DualEncoderXC(
            BagOfWordsEncoder(dim=32, min_df=1), label_texts=names, loss=loss, epochs=20,
            random_state=0,
        ).fit(texts[:300], sp.csr_array(Y[:300]))  # fmt: skip
        scores[loss] = model.score(texts[300:], sp.csr_array(Y[300:]))
        best = model.predict_top_k(texts[300:], k=1)[0][:, 0]
        shares[loss] = (best == easy[300:]).mean()
    assert scores["softmax"] + 0.1 < scores["decoupled-softmax"]
    assert 2 * shares["softmax"] < shares["decoupled-softmax"]


# ---------------------------------------------------------------------------------------- negatives
def spy_on_pools(monkeypatch):
    """Every step's labels, with the method and the batch that they came from."""
    pick, seen = DualEncoderMethod._pick, []

    def recorded(self, batch):
        seen.append((self, batch, pick(self, batch)))
        return seen[-1][2]

    monkeypatch.setattr(DualEncoderMethod, "_pick", recorded)
    return seen


@pytest.mark.parametrize("excludes", [False, True])
def test_mined_negatives_are_the_best_labels_that_are_neither_positive_nor_excluded(
    fitted, data, excludes
):
    exclude = data.exclude - data.exclude.multiply(data.Y) if excludes else None
    rows = TrainingRows(
        fitted.encoder_.tokenize(data.texts), sp.csr_array(data.Y), None,
        None if exclude is None else sp.csr_array(exclude),
    )  # fmt: skip
    shortlists = fitted._get_ranker().hard_negatives(rows, 5)
    scores = fitted.transform(data.texts) @ fitted.label_embeddings_.T
    scores[data.Y.nonzero()] = -np.inf
    if excludes:
        scores[exclude.nonzero()] = -np.inf
    best = np.argsort(-scores, axis=1)[:, :5]
    is_none = np.take_along_axis(scores, best, 1) == -np.inf  # of fewer than five others
    np.testing.assert_array_equal(shortlists, np.where(is_none, -1, best))


@pytest.mark.parametrize("excludes", [False, True])
def test_mining_begins_after_the_interval_and_fills_the_pools(make, data, monkeypatch, excludes):
    seen = spy_on_pools(monkeypatch)
    exclude = data.exclude if excludes else None
    few = slice(50)
    model = make(
        negatives="mined", pool_size=0, negatives_per_text=1, mining_interval=2, batch_size=1,
        epochs=4,
    )  # fmt: skip
    model.fit(data.texts[few], data.Y[few], exclude=None if exclude is None else exclude[few])
    n_steps = len(seen) // 4
    for i, (method, batch, labels) in enumerate(seen):
        n_positives = len(batch.positives.labels)
        if i < 2 * n_steps:  # the positives alone
            assert set(labels.pool) == set(batch.positives.labels)
            continue
        assert len(labels.pool) == n_positives + 1
        (negative,) = set(labels.pool) - set(batch.positives.labels)
        assert negative in method.shortlists[batch.index]
        if excludes:
            assert negative not in batch.ignored.labels
    # all others are within the hundred best
    known = seen[-1][0].rows.Y.toarray() > 0
    if excludes:
        known = known | (seen[-1][0].rows.exclude.toarray() > 0)
    for row, shortlist in zip(known, seen[-1][0].shortlists, strict=True):
        assert sorted(shortlist[shortlist >= 0]) == np.flatnonzero(~row).tolist()


@pytest.mark.parametrize("negatives", ["all", "in-batch", "mined"])
def test_labels_without_a_known_word_are_never_in_a_pool(make, data, monkeypatch, negatives):
    seen = spy_on_pools(monkeypatch)
    model = make(
        label_texts=["?!", *data.label_texts[1:]], negatives=negatives, pool_size=2,
        mining_interval=1, negatives_per_text=5,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="hold no word"):
        model.fit(data.texts, data.Y)
    assert data.Y[:, [0]].sum() > 0
    assert all(0 not in labels.pool for *_, labels in seen)


# ------------------------------------------------------------------------------------------ exclude
@pytest.mark.parametrize("negatives", ["all", "mined"])
def test_a_label_that_every_text_excludes_might_as_well_not_be_there(make, data, negatives):
    # one vocabulary: the text of the label stands among the training texts where it is no label's;
    # one batch, without dropout: that text, of no label, then changes nothing
    few, label_texts = 17, data.label_texts[:7]
    texts, Y = data.texts[:few], data.Y[:few, :7]
    exclude = sp.csr_array((np.ones(few), (np.arange(few), np.full(few, 6))), shape=Y.shape)
    settings = {
        "negatives": negatives, "pool_size": 0, "negatives_per_text": 99, "mining_interval": 1,
        "batch_size": 99, "dropout": 0.0, "epochs": 4,
    }  # fmt: skip
    with_label = make(label_texts=label_texts, **settings).fit(texts, Y, exclude=exclude)
    shorter = sp.vstack([Y[:, :6], sp.csr_matrix((1, 6))]).tocsr()
    without = make(label_texts=label_texts[:6], **settings)
    without.fit([*texts, label_texts[6]], shorter)
    assert_close_models(with_label, without, texts, slice(6))


# ----------------------------------------------------------------------------------- the embeddings
def test_training_labels_are_embedded_as_any_text_is(trained, data, make, tiny_bert):
    rows = trained.transform_labels(data.label_texts)
    np.testing.assert_allclose(rows, trained.label_embeddings_, atol=1e-6)
    assert trained.label_texts_.tolist() == data.label_texts
    # not by the module in training, whose dropout is on
    encoder = TransformerEncoder(model=tiny_bert, max_length=16)
    bert = make(encoder=encoder, epochs=1, batch_size=60).fit(data.texts, data.Y)
    rows = bert.transform_labels(data.label_texts)
    np.testing.assert_allclose(rows, bert.label_embeddings_, atol=1e-5)


def test_embeddings_have_unit_length(trained, data):
    embeddings = trained.transform([*data.texts, "", "?!"])
    np.testing.assert_allclose(np.linalg.norm(embeddings[:-2], axis=1), 1, rtol=1e-6)
    assert not embeddings[-2:].any()  # a text without words points nowhere
    np.testing.assert_allclose(np.linalg.norm(trained.label_embeddings_, axis=1), 1, rtol=1e-6)


# -------------------------------------------------------------------------------------- add_labels
NEW = ["primary schools", "open source software"]  # words of the training texts


def widened(Y):
    """Y with empty columns for the new labels."""
    return sp.hstack([Y, sp.csr_matrix((Y.shape[0], len(NEW)), dtype=Y.dtype)]).tocsr()


def test_added_labels_are_what_encoding_their_texts_gives_and_are_predicted(fitted, data):
    before = copy.deepcopy(fitted)
    new = [data.label_texts[4], NEW[1]]  # the first of them again, under another name
    assert fitted.add_labels(new) is fitted
    table = np.concatenate([before.label_embeddings_, before.transform_labels(new)])
    np.testing.assert_array_equal(fitted.label_embeddings_, table)
    np.testing.assert_allclose(table[N_LABELS], table[4], atol=1e-6)
    labels, scores = fitted.predict_top_k(data.texts)
    assert labels.shape == (N_TEXTS, N_LABELS + 2)
    cosines = np.take_along_axis(fitted.transform(data.texts) @ table.T, labels, 1)
    np.testing.assert_allclose(scores, cosines, atol=1e-6)
    assert fitted.predict_labels([NEW[1]], k=1) == [[NEW[1]]]
    assert fitted.predict_proba(data.texts).shape == (N_TEXTS, N_LABELS + 2)
    # one entry a label has grown; nothing was trained
    assert fitted.n_labels_ == N_LABELS + 2
    assert fitted.classes_.tolist() == list(range(N_LABELS + 2))
    assert fitted.label_counts_.tolist() == [*before.label_counts_, 0, 0]
    assert fitted.label_counts_.dtype == np.int64
    assert fitted.label_texts_.tolist() == [*data.label_texts, *new]
    assert fitted.history_ == before.history_
    for name, weights in before.encoder_.weights_.items():
        np.testing.assert_array_equal(weights, fitted.encoder_.weights_[name])
    assert fitted.label_texts == data.label_texts  # the parameter stays as it was given


def test_labels_may_be_added_again_and_again(trained):
    one, two = copy.deepcopy(trained), copy.deepcopy(trained)
    for text in NEW:
        one.add_labels([text])
    two.add_labels(NEW)
    np.testing.assert_allclose(one.label_embeddings_, two.label_embeddings_, atol=1e-6)
    for name in ("classes_", "label_counts_", "label_texts_", "label_names_"):
        assert getattr(one, name).tolist() == getattr(two, name).tolist()


@pytest.mark.parametrize(
    ("kind", "classes", "want"),
    [
        ("matrix", None, [12, 13]),
        ("matrix", [20, 31], [20, 31]),
        ("frame", None, NEW),
        ("frame", ["x", "y"], ["x", "y"]),
        ("lists", None, NEW),
        ("classes", None, NEW),
        ("classes", np.array(["x", "y"]), ["x", "y"]),
        ("numbers", [5, 900], [5, 900]),
    ],
)
def test_added_labels_get_the_names_that_are_passed_or_their_texts(make, data, kind, classes, want):
    names, label_texts = data.label_texts, data.label_texts
    first = [row[0] for row in data.lists]
    y = {
        "matrix": data.Y,
        "frame": pd.DataFrame(data.Y.toarray(), columns=names),
        "lists": data.lists,
        "classes": np.array(first),
        "numbers": np.array([10 + names.index(name) for name in first]),
    }[kind]
    if kind in ("classes", "numbers"):
        label_texts = [str(name) for name in np.unique(y)]
    elif kind == "lists":
        label_texts = sorted({label for row in y for label in row})
    model = make(epochs=1, label_texts=label_texts).fit(data.texts, y)
    before = model.classes_.tolist()
    model.add_labels(NEW, classes)
    assert model.classes_.tolist() == before + want
    predicted = [row[0] for row in model.predict_labels(NEW, k=1)]
    # columns of a matrix have no names: their texts stand for them
    assert predicted == (NEW if kind == "matrix" else want)
    if kind in ("classes", "numbers"):
        assert model.predict(NEW).tolist() == want
        np.testing.assert_allclose(model.predict_proba(NEW).sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("texts", "classes", "message"),
    [
        (NEW, [11, 20], "The label 11 is there already, or named twice. Pass new names"),
        (NEW, [20, 20], "The label 20 is there already, or named twice. Pass new names"),
        (NEW, [20], "classes has shape (1,), but there are 2 label texts. Pass one name per text"),
        (NEW, ["a", "b"], "The labels are named 0, ..., and the new ones"),
        ([], None, "label_texts holds 0 texts. Pass at least one."),
        ([None, "b"], None, "label_texts[0] is None of type NoneType, not a str."),
        ("text", None, "label_texts is a single str, 'text'. Pass a list"),
    ],
)
def test_labels_that_cannot_be_added_are_refused_and_change_nothing(
    fitted, trained, texts, classes, message
):
    with pytest.raises(ValueError, match=re.escape(message)):
        fitted.add_labels(texts, classes)
    assert fitted.n_labels_ == len(fitted.label_embeddings_) == N_LABELS
    assert_equal_models(fitted, trained)


@pytest.mark.parametrize(
    ("y", "name"), [(np.array([1.0, 2.0] * 10), None), (np.array(["a", "b"] * 10), 7)]
)
def test_names_of_another_kind_leave_those_that_are_there_as_they_are(make, y, name):
    model = make(label_texts=["car", "apple"]).fit(["fast car", "red apple"] * 10, y)
    known = model.classes_.tolist()
    with suppress(ValueError):  # to refuse them is fine
        model.add_labels(["red car"], None if name is None else [name])
    assert model.classes_.tolist()[:2] == known
    assert model.classes_.tolist()[2:] in ([], [name or "red car"])


def test_names_that_are_taken_are_refused(make, data):
    frame = pd.DataFrame(data.Y.toarray(), columns=data.label_texts)
    model = make(epochs=1).fit(data.texts, frame)
    with pytest.raises(ValueError, match=re.escape("is there already, or named twice.")):
        model.add_labels(data.label_texts[:1])
    model.add_labels(data.label_texts[:1], ["another name"])
    assert model.classes_[-1] == "another name"


def test_nothing_can_be_embedded_before_fit(make):
    for method in (make().add_labels, make().transform_labels):
        with pytest.raises(NotFittedError):
            method(NEW)


@pytest.mark.parametrize("method", ["partial_fit", "warm_start fit"])
def test_training_goes_on_with_the_added_labels(make, data, method):
    model = make(warm_start=True).fit(data.texts, data.Y).add_labels(NEW)
    Y = widened(data.Y).tolil()
    Y[:, N_LABELS] = data.Y[:, [0]]  # the new label is where the first one is
    Y = Y.tocsr()
    before = model.predict_top_k(data.texts)
    counts = model.label_counts_
    for _ in range(5):
        getattr(model, method.split()[-1])(data.texts, Y)
    assert model.n_labels_ == N_LABELS + 2
    assert model.label_texts_.tolist() == [*data.label_texts, *NEW]
    assert model.predict_labels([NEW[1]], k=1) == [[NEW[1]]]
    total = np.asarray(Y.sum(0)).ravel()
    want = counts + 5 * total if method == "partial_fit" else total
    np.testing.assert_array_equal(model.label_counts_, want)

    def mean_place(labels):
        return np.argmax(labels == N_LABELS, axis=1)[Y[:, [N_LABELS]].toarray().ravel() > 0].mean()

    assert mean_place(model.predict_top_k(data.texts)[0]) < mean_place(before[0])
    with pytest.raises(ValueError, match=re.escape("Y has 12 columns, but the model knows 14")):
        model.partial_fit(data.texts, data.Y)


def test_labels_added_under_numbers_keep_their_names_when_training_goes_on(fitted, data):
    fitted.add_labels(NEW, classes=[20, 31])
    before = fitted.predict_labels([NEW[1]], k=1)
    fitted.partial_fit(data.texts, widened(data.Y))
    assert fitted.predict_labels([NEW[1]], k=1) == before == [[NEW[1]]]


@pytest.mark.parametrize("way", ["pickle", "save"])
def test_a_copy_keeps_the_added_labels(fitted, data, tmp_path, way):
    fitted.add_labels(NEW)
    if way == "save":
        fitted.save(tmp_path / "model")
    again = pickle.loads(pickle.dumps(fitted)) if way == "pickle" else load(tmp_path / "model")
    assert again.n_labels_ == N_LABELS + 2
    assert again.is_seen_.tolist() == [True] * N_LABELS + [False] * 2
    assert again.predict_labels(data.texts) == fitted.predict_labels(data.texts)
    assert (again.predict_proba(data.texts) != fitted.predict_proba(data.texts)).nnz == 0
    again.partial_fit(data.texts, widened(data.Y))
    assert again.label_texts_.tolist() == [*data.label_texts, *NEW]


def test_added_labels_are_unseen_until_a_text_has_them(fitted, data):
    fitted.add_labels(NEW)
    Y = widened(data.Y)
    assert fitted.partial_fit(data.texts, Y).is_seen_.tolist() == [True] * N_LABELS + [False] * 2
    assert (fitted.predict_top_k(NEW)[1] > -1.1).all()  # ranked by their texts all the same
    Y = Y.tolil()
    Y[0, N_LABELS] = 1
    fitted.partial_fit(data.texts, Y.tocsr())
    assert fitted.is_seen_.tolist() == [True] * (N_LABELS + 1) + [False]


def test_the_ranker_of_the_labels_before_is_dropped(fitted, data):
    before = fitted._get_ranker()
    fitted.add_labels(NEW)
    assert fitted._get_ranker() is not before
    assert len(fitted._get_ranker().table.rows) == N_LABELS + 2


# --------------------------------------------------------------------------------------- bad input
def test_label_texts_are_asked_for_with_the_reason(make, data):
    message = "it scores labels by their texts, and label_texts is None. Pass one text per column"
    with pytest.raises(ValueError, match=re.escape(message)):
        make(label_texts=None).fit(data.texts, data.Y)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"loss": "bce"}, ValueError, "loss='bce' is unknown. Pass one of 'decoupled-softmax'"),
        ({"negatives": "hard"}, ValueError, "negatives='hard' is unknown. Pass one of 'in-batch'"),
        ({"normalize": "l2"}, ValueError, "normalize='l2' is unknown. Pass one of True, False."),
        ({"temperature": 0}, ValueError, "temperature=0 is out of range. Pass a number in (0"),
        ({"temperature": "low"}, TypeError, "temperature must be a number in (0"),
        ({"k": 0}, ValueError, "k=0 is out of range. Pass a number in (0"),
        ({"k": [5]}, TypeError, "k must be a number in (0, inf), got [5]."),
        ({"k": "num_pos"}, ValueError, "k='num_pos' is unknown. Pass a number in (0, inf) or 'n_"),
        ({"alpha": -1.0}, ValueError, "alpha=-1.0 is out of range. Pass a number in (0"),
        ({"pool_size": -1}, ValueError, "pool_size=-1 is too small. Pass an integer of at least 0"),
        ({"pool_size": 2.5}, TypeError, "pool_size must be an integer of at least 0, got 2.5."),
        ({"positives_per_text": 0}, ValueError, "positives_per_text=0 is too small."),
        ({"negatives_per_text": 0}, ValueError, "negatives_per_text=0 is too small."),
        ({"mining_interval": 0}, ValueError, "mining_interval=0 is too small."),
        ({"encode_batch_size": 0}, ValueError, "encode_batch_size=0 is too small."),
        ({"loss": "soft-top-k", "k": 12}, ValueError, "k=12 of 12 labels: all would be in the"),
        ({"loss": "soft-top-k", "k": 99}, ValueError, "k=99 of 12 labels: all would be in the"),
        ({"label_texts": ["a", "b"]}, ValueError, "label_texts has 2 entries, but Y has 12 labels"),
    ],
)
def test_parameters_out_of_range_are_named(make, data, parameters, error, message):
    model = make(**parameters)
    with pytest.raises(error, match=re.escape(message)):
        model.fit(data.texts, data.Y)
    assert not hasattr(model, "classes_")


def test_duplicate_label_texts_warn_once_a_fit_and_share_one_score(make, data):
    texts = [*data.label_texts[:10], *data.label_texts[:2]]
    with pytest.warns(UserWarning, match="label_texts") as warned:
        model = make(label_texts=texts, warm_start=True).fit(data.texts, data.Y)
    assert len(warned) == 1
    assert f"2 duplicates, such as {texts[0]!r}" in str(warned[0].message)
    np.testing.assert_array_equal(model.label_embeddings_[:2], model.label_embeddings_[10:])
    model.fit(data.texts, data.Y).partial_fit(data.texts, data.Y)  # known by now


def test_a_label_text_without_a_known_word_warns_and_ranks_last(make, data):
    texts = ["", "?!", *data.label_texts[2:]]
    with pytest.warns(UserWarning, match="hold no word") as warned:
        model = make(label_texts=texts, early_stopping=True).fit(data.texts, data.Y)
    assert len(warned) == 1
    assert "2 of 12 label texts hold no word that the encoder knows" in str(warned[0].message)
    assert "label_texts[0]=''" in str(warned[0].message)
    labels, scores = model.predict_top_k([*data.texts, "", "?!"])
    assert labels.shape == (N_TEXTS + 2, N_LABELS)
    assert {0, 1} == set(labels[:, -2:].ravel())
    assert np.isfinite(scores).all()
    assert (scores[:, -2:] == UNSEEN_SCORE).all()  # below every cosine
    assert (model.label_counts_[:2] > 0).all()  # training texts have them: nothing was learnt
    assert model.is_seen_.tolist() == [False] * 2 + [True] * 10
    assert model.predict_proba(data.texts).data.min() > 0
    mask = sp.csr_array((np.ones(10), (np.zeros(10, int), np.arange(2, 12))), shape=(1, 12))
    assert set(model.predict_top_k(data.texts[:1], k=2, exclude=mask)[0][0]) == {0, 1}
    with pytest.warns(UserWarning, match="1 of 2 label texts hold no word"):
        model.add_labels(["never seen", data.label_texts[0]])
    assert set(model.predict_top_k(data.texts)[0][:, -3:].ravel()) == {0, 1, 12}
    assert model.is_seen_.tolist() == [False] * 2 + [True] * 10 + [False] * 2


@pytest.mark.parametrize("about", ["duplicates", "no known word", "added"])
def test_warnings_point_at_the_callers_line(make, fitted, data, about):
    texts = [*data.label_texts[:11], "" if about == "no known word" else data.label_texts[0]]
    model = make(label_texts=texts, epochs=1)
    method, given = model.fit, (data.texts, data.Y)
    if about == "added":
        method, given = fitted.add_labels, (["?!"],)
    with pytest.warns(UserWarning, match="label_texts") as warned:
        method(*given)
    assert warned[0].filename == __file__


# ------------------------------------------------------------------------------------------ corners
@pytest.mark.parametrize("loss", ALL_LOSSES, ids=str)
@pytest.mark.parametrize("negatives", ["all", "in-batch", "mined"])
@pytest.mark.parametrize("positives_per_text", [None, 1])
def test_texts_and_labels_without_any_positive_are_fine(
    make, data, loss, negatives, positives_per_text
):
    Y = data.Y.tolil()
    Y[::3] = 0
    Y[:, 5] = 0
    model = make(
        negatives=negatives, positives_per_text=positives_per_text, pool_size=4,
        mining_interval=1, epochs=2, **{"k": 2} | loss_settings(loss),
    )  # fmt: skip
    model.fit(data.texts, Y.tocsr())
    assert np.isfinite(model.label_embeddings_).all()
    assert model.label_counts_[5] == 0
    # an unseen label is known by its text all the same
    assert not model.is_seen_[5]
    assert model.predict_top_k([data.label_texts[5]], k=1)[0].item() == 5


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["matrix", "dense", "classes"])
@pytest.mark.parametrize("negatives", ["in-batch", "mined"])
def test_two_labels(make, loss, kind, negatives):
    texts = ["red apple", "fast car", "green apple", "old car"] * 10
    names = np.array(["apple", "car"] * 20)
    Y = np.stack([names == "apple", names == "car"], 1).astype(int)
    y = {"matrix": sp.csr_matrix(Y), "dense": Y, "classes": names}[kind]
    model = make(
        label_texts=["an apple", "a car"], loss=loss, k=1, negatives=negatives, pool_size=1,
        mining_interval=1, epochs=10,
    ).fit(texts, y)  # fmt: skip
    assert model.predict_top_k(texts[:2], k=1)[0].tolist() == [[0], [1]]
    assert model.score(texts, y) == 1
    if kind == "classes":
        assert model.predict(["apple", "car"]).tolist() == ["apple", "car"]


# ---------------------------------------------------------------------------------------- going on
def test_a_warm_start_goes_on_from_the_fitted_weights(make, data):
    model = make(warm_start=True, epochs=10).fit(data.texts, data.Y)
    first = copy.deepcopy(model)
    model.set_params(epochs=1, learning_rate=1e-12).fit(data.texts, data.Y)
    assert_close_models(model, first, data.texts)


@pytest.mark.parametrize("negatives", ["in-batch", "mined"])
@pytest.mark.parametrize("excludes", [False, True])
def test_early_stopping_keeps_encoder_and_labels_of_the_best_epoch(
    make, data, monkeypatch, negatives, excludes
):
    held_out = []
    monkeypatch.setattr(
        DualEncoderXC, "_calibrate", lambda self, setup, _: held_out.append(setup.held_out)
    )
    weights = np.arange(1.0, N_TEXTS + 1)  # they tell which text is which
    exclude = data.exclude if excludes else None
    model = make(
        early_stopping=True, validation_fraction=0.3, epochs=30, n_iter_no_change=3,
        negatives=negatives, pool_size=4, mining_interval=1,
    ).fit(data.texts, data.Y, weights, exclude)  # fmt: skip
    scores = [entry["validation_score"] for entry in model.history_]
    best = int(np.argmax(scores))
    assert model.n_iter_ == best + 1 + 3 < 30
    rows = model.transform_labels(data.label_texts)
    np.testing.assert_allclose(rows, model.label_embeddings_, atol=1e-6)
    # the validation score is what `score` gives of the texts held out
    is_out = np.round(held_out[0].sample_weight * weights.mean()).astype(int) - 1
    model._sigmoid = 1.0, 0.0
    texts, mask = [data.texts[i] for i in is_out], None if exclude is None else exclude[is_out]
    assert model.score(texts, data.Y[is_out], weights[is_out], mask) == pytest.approx(scores[best])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_transformer_trains_through_mined_chunks(make, data, tiny_bert, monkeypatch, precision):
    """All at once: its own dropout, two passes, mining, clipping, drawn positives."""
    monkeypatch.setattr("skxc._methods._dual_encoder._SCORES_AT_ONCE", 32)
    step, is_training = DualEncoderMethod.__call__, []

    def recorded(self, *args, **keywords):
        is_training.append(self.module.training)
        return step(self, *args, **keywords)

    monkeypatch.setattr(DualEncoderMethod, "__call__", recorded)
    encoder = TransformerEncoder(model=tiny_bert, max_length=16)
    model = make(
        encoder=encoder, negatives="mined", pool_size=0, positives_per_text=1, mining_interval=1,
        epochs=3, learning_rate=3e-3, encode_batch_size=4, max_grad_norm=1.0,
        precision=precision,
    ).fit(data.texts[:60], data.Y[:60])  # fmt: skip
    assert all(is_training)  # after mining, too
    start = encoder.fit(data.texts, seed=0).weights_
    changed = [k for k, v in start.items() if not np.array_equal(v, model.encoder_.weights_[k])]
    assert any("layer.0" in name for name in changed)
    assert np.isfinite([epoch["loss"] for epoch in model.history_]).all()
    assert model.label_embeddings_.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(model.label_embeddings_, axis=1), 1, rtol=1e-5)
