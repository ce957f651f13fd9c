"""ReneeClassifier: what it has beyond the common contract."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from naive_losses import naive_loss
from setups import make_setup
from step_problem import dropout_mask

import skxc
from skxc import ReneeClassifier
from skxc._data._batches import TrainingRows
from skxc._estimator._setup import SetupMixin
from skxc._functional._fused_linear import SGD
from skxc._functional._losses import DecoupledSoftmax, Softmax, SoftTopK
from skxc._functional._pairs import Positives
from skxc._functional._two_pass_linear import two_pass_linear_step_
from skxc._methods import _renee
from skxc._methods._renee import ReneeMethod, _bytes_a_label, _chunk_size
from skxc._methods._renee_start import ReneeSettings, initial_log_odds, with_intercept
from skxc.datasets import make_extreme_classification
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder, _pooled

SOFT = {
    "softmax": Softmax(), "decoupled-softmax": DecoupledSoftmax(),
    "soft-top-k": SoftTopK(k=5, alpha=1.0),
}  # fmt: skip
SMALL = BagOfWordsEncoder(dim=16, min_df=1)


@pytest.fixture(scope="module")
def data():
    return make_extreme_classification(300, 20, n_background_words=50, random_state=0)


def make_clf(**parameters):
    settings = {"encoder": SMALL, "epochs": 5, "rerank_weight": 0, "random_state": 0}
    return ReneeClassifier(**settings | parameters)


@pytest.mark.parametrize("encode_batch_size", [None, 2])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("loss", ["one-vs-all", *SOFT])
def test_a_training_step_equals_autograd_through_encoder_dropout_and_classifier(
    data, encode_batch_size, fit_intercept, loss
):
    """The whole step in float64: encoder and classifier gradients, dropout on, weights relevant."""
    encoder = BagOfWordsEncoder(dim=6, min_df=1).fit(data.texts, seed=0)
    rng = np.random.default_rng(0)
    Y = sp.csr_array(data.Y[:9] * 0.7, dtype=np.float32)
    rows = TrainingRows(encoder.tokenize(data.texts[:9]), Y, rng.random(9, dtype=np.float32))
    batch = rows.batch(np.arange(9))
    start = torch.randn(20, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if not fit_intercept:
        start[:, -1] = 0

    module = encoder.build_module().double()
    weights = start.clone().requires_grad_()
    embeddings = with_intercept(module(batch.tokens) * dropout_mask((9, 6), 0.5, seed=3))
    scores, targets = embeddings @ weights.T, torch.tensor(Y.toarray()).double()
    sample_weight = torch.tensor(rows.sample_weight).double()
    if loss == "one-vs-all":
        losses = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
        value = losses.sum(1) @ sample_weight
    else:  # the naive one is a mean over the texts that have a label
        n_texts = targets.any(1).sum()
        value = naive_loss(SOFT[loss], scores, targets, None, sample_weight) * n_texts
    value.backward()
    if not fit_intercept:
        weights.grad[:, -1] = 0

    fused = encoder.build_module().double()
    fused_weights = start.clone()
    velocity = torch.zeros_like(start)
    setup = make_setup(
        ReneeSettings, fused, rows, dropout=0.5, label_chunk_size=7, loss=loss,
        encode_batch_size=encode_batch_size, fit_intercept=fit_intercept, momentum=0.9,
    )  # fmt: skip
    step = ReneeMethod(setup, rows, fused_weights, velocity, is_seen=np.ones(20, bool))
    step.generator = torch.Generator().manual_seed(3)
    mean_loss = step(batch, 0.5, with_loss=True)
    torch.testing.assert_close(mean_loss, value.detach() / 9)
    torch.testing.assert_close(fused_weights, start - 0.05 * weights.grad)
    torch.testing.assert_close(velocity, weights.grad)
    want, got = (m.table.grad.to_dense() for m in (module, fused))
    torch.testing.assert_close(got, want / 9)


@pytest.fixture
def bert(tiny_bert, tmp_path):
    """Without dropout of its own, which is drawn for texts encoded at once."""
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "bert"))
    config = json.loads((folder / "config.json").read_text())
    none = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    (folder / "config.json").write_text(json.dumps(config | none))
    return str(folder)


def in_float64(monkeypatch):
    """Have all that follows trained in float64."""
    make = SetupMixin._setup

    def made(self, *args, **options):
        setup = make(self, *args, **options)
        setup.module.double()
        return replace(setup, dtype=torch.float64)

    monkeypatch.setattr(SetupMixin, "_setup", made)
    monkeypatch.setitem(_pooled._BYTES_A_LAYER, torch.float64, 0)


def test_training_recovers_labels_that_the_words_tell(data):
    clf = make_clf(epochs=30).fit(data.texts, data.Y)
    assert clf.score(data.texts, data.Y) > 0.95
    losses = [h["loss"] for h in clf.history_]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("momentum", "loss"),
    [(0.0, "one-vs-all"), (0.9, "one-vs-all"), *((0.0, loss) for loss in SOFT)],
)
def test_label_chunks_do_not_change_the_model(data, momentum, loss):
    fits = [
        make_clf(label_chunk_size=size, momentum=momentum, loss=loss).fit(data.texts, data.Y)
        for size in (1, 7, "auto")
    ]
    for other in fits[1:]:
        np.testing.assert_allclose(
            fits[0].label_embeddings_, other.label_embeddings_, rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("loss", ["one-vs-all", "decoupled-softmax"])
@pytest.mark.parametrize("is_bert", [False, True])
def test_texts_encoded_at_once_do_not_change_the_model(data, loss, is_bert, bert, monkeypatch):
    """The paper's code splits its batch (`--accum`): the model is the batch's, all the same."""
    in_float64(monkeypatch)  # AdamW takes steps as large where a gradient is nothing but rounding
    encoder = TransformerEncoder(model=bert, max_length=16) if is_bert else SMALL
    first, *others = (
        make_clf(
            encode_batch_size=size, encoder=encoder, loss=loss, batch_size=16, epochs=2,
            learning_rate=1e-4 if is_bert else 0.05,
        ).fit(data.texts[:60], data.Y[:60])
        for size in (None, 1, 5)
    )  # fmt: skip
    start = encoder.fit(data.texts[:60], seed=0).weights_
    for other in others:
        for name, weights in first.encoder_.weights_.items():
            np.testing.assert_allclose(other.encoder_.weights_[name], weights, atol=1e-6)
        np.testing.assert_allclose(other.label_embeddings_, first.label_embeddings_, atol=1e-6)
    moved = [np.abs(w - start[k]).max() for k, w in first.encoder_.weights_.items()]
    assert max(moved) > 1e-4


def test_permuting_the_labels_permutes_the_model(data):
    order = np.random.default_rng(0).permutation(20)
    # rows initialised to the label texts: random rows would be drawn in the columns' order
    texts = np.array(data.label_texts)
    fits = [
        make_clf(label_texts=t, classifier_init="label_texts", augment=False).fit(data.texts, Y)
        for t, Y in ((texts, data.Y), (texts[order], data.Y[:, order]))
    ]
    np.testing.assert_allclose(
        fits[0].label_embeddings_[order], fits[1].label_embeddings_, rtol=1e-3, atol=1e-4
    )


def test_the_intercept_begins_at_the_log_odds(data):
    tokens = SMALL.fit(data.texts, seed=0).tokenize(data.texts)
    rows = TrainingRows(tokens, sp.csr_array(data.Y))
    share = (np.asarray(data.Y.sum(0)).ravel() + 100 * data.Y.mean()) / (300 + 100)
    np.testing.assert_allclose(initial_log_odds(rows), np.log(share / (1 - share)), rtol=1e-5)
    # before anything is learnt, that is each label's probability
    clf = make_clf(epochs=1, learning_rate=1e-12, classifier_learning_rate=1e-12, rerank_weight=0)
    proba = clf.fit(data.texts, data.Y.toarray()).predict_proba([""])[0]
    np.testing.assert_allclose(proba, share, rtol=0.05)


@pytest.mark.parametrize(
    "parameters",
    [{}, {"fit_intercept": False, "momentum": 0.9}, *({"loss": loss} for loss in SOFT)],
)
def test_labels_without_a_training_row_rank_last(data, parameters):
    Y = data.Y.tolil()
    Y[:, [3, 17]] = 0
    clf = make_clf(**parameters).fit(data.texts, Y.tocsr())
    labels, scores = clf.predict_top_k([*data.texts, "", "unknown words only"])
    assert {3, 17} == set(labels[:, -2:].ravel())
    assert (scores[:, -2] < scores[:, -3] - 100).all()
    proba = clf.predict_proba(data.texts)
    assert proba.data.min() > 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_without_intercepts_the_last_entries_stay_0(data, precision, tmp_path):
    clf = make_clf(fit_intercept=False, momentum=0.9, precision=precision, warm_start=True)
    clf.fit(data.texts, data.Y)
    assert clf.label_embeddings_.shape == (20, 17)
    assert not clf.label_embeddings_[:, -1].any()
    assert clf.label_embeddings_[:, :-1].all(1).all()
    scores = clf.transform(data.texts)[:, :-1] @ clf.label_embeddings_[:, :-1].T
    got = clf.set_params(sparse_output=False).decision_function(data.texts)
    np.testing.assert_allclose(
        got, scores, rtol=1e-4, atol=1e-2 if precision != "float32" else 1e-5
    )
    clf.save(tmp_path / "model")
    loaded = skxc.load(tmp_path / "model")
    assert loaded.fit_intercept is False
    np.testing.assert_array_equal(loaded.decision_function(data.texts), got)
    loaded.fit(data.texts, data.Y)
    assert not loaded.label_embeddings_[:, -1].any()
    # what is changed between two fits counts for the second
    loaded.set_params(fit_intercept=True).fit(data.texts, data.Y)
    assert loaded.label_embeddings_[:, -1].all()
    loaded.set_params(fit_intercept=False).fit(data.texts, data.Y)
    assert not loaded.label_embeddings_[:, -1].any()


def test_scores_without_intercepts_begin_near_0(data):
    clf = make_clf(
        fit_intercept=False, epochs=1, learning_rate=1e-12, classifier_learning_rate=1e-12,
        sparse_output=False,
    ).fit(data.texts, data.Y)  # fmt: skip
    assert np.abs(clf.decision_function(data.texts)).max() < 2  # N(0, 0.02), inputs of length 16


@pytest.mark.parametrize("loss", SOFT)
def test_losses_that_normalise_recover_labels_and_are_calibrated(data, loss):
    clf = make_clf(loss=loss, epochs=40, sparse_output=False)
    clf.fit(data.texts, data.Y)
    assert clf.score(data.texts, data.Y) > 0.8
    losses = [h["loss"] for h in clf.history_]
    assert losses[-1] < 0.7 * losses[0]
    assert clf._sigmoid != (1.0, 0.0)
    of_own = clf.predict_proba(data.texts)[data.Y.toarray() > 0]
    of_all = clf.predict_proba(data.texts).sum(1).mean()
    assert of_own.mean() > 0.5
    assert of_all == pytest.approx(data.Y.sum(1).mean(), rel=0.5)


def test_texts_are_held_out_where_scores_are_no_log_odds(data):
    texts, Y = list(data.texts) * 4, sp.vstack([data.Y] * 4)
    assert [make_clf(loss=loss)._is_tuned for loss in ("one-vs-all", *SOFT)] == [False] + 3 * [True]
    clf = make_clf(loss="softmax").fit(texts, Y)
    assert clf.n_samples_seen_ == 1200
    assert clf._sigmoid != (1.0, 0.0)


def test_a_soft_top_k_of_all_labels_is_refused(data):
    clf = make_clf(loss="soft-top-k")
    with pytest.raises(ValueError, match=re.escape("k=5 of 5 labels: all would be in the soft")):
        clf.fit(data.texts, sp.csr_array(data.Y[:, :5]))


def test_a_stream_of_the_soft_top_k_may_begin_with_few_labels(data):
    few, others = data.Y.toarray(), data.Y.toarray()
    few[:, 5:] = 0
    clf = make_clf(loss="soft-top-k").partial_fit(data.texts, sp.csr_array(few))
    assert clf.history_[-1]["loss"] < 1e-30  # all of them are in the top five
    clf.partial_fit(data.texts, sp.csr_array(others))
    assert clf.history_[-1]["loss"] > 0
    assert np.isfinite(clf.label_embeddings_).all()


def test_a_stream_keeps_its_first_loss(data, tmp_path):
    clf = make_clf(loss="softmax", warm_start=True).fit(data.texts, data.Y)
    clf.set_params(loss="one-vs-all").save(tmp_path / "model")
    message = "loss='one-vs-all' differs from the fitted one, 'softmax', that training would go on"
    for model in (clf, skxc.load(tmp_path / "model"), pickle.loads(pickle.dumps(clf))):
        with pytest.raises(ValueError, match=re.escape(message)):
            model.partial_fit(data.texts, data.Y)
        assert model.n_iter_ == 5
        model.set_params(loss="softmax").partial_fit(data.texts, data.Y)
        # a warm start fits the probabilities anew
        model.set_params(loss="one-vs-all").fit(data.texts, data.Y)
        assert model._sigmoid == (1.0, 0.0)
        model.partial_fit(data.texts, data.Y)


def test_an_older_model_goes_on_by_one_vs_all(data):
    clf = make_clf().fit(data.texts, data.Y)
    del clf._loss  # they have none
    with pytest.raises(ValueError, match=re.escape("differs from the fitted one, 'one-vs-all'")):
        clf.set_params(loss="softmax").partial_fit(data.texts, data.Y)
    clf.set_params(loss="one-vs-all").partial_fit(data.texts, data.Y)


def test_label_texts_let_unseen_labels_rank(data):
    is_kept = data.Y[:, [3]].toarray().ravel() == 0
    texts = [text for text, kept in zip(data.texts, is_kept, strict=True) if kept]
    clf = make_clf(label_texts=data.label_texts, epochs=40).fit(texts, data.Y[is_kept])
    assert clf.label_counts_[3] == 0
    assert 3 in clf.predict_top_k([data.label_texts[3]], k=5)[0][0]  # of 20, for any seed


def test_augmentation_adds_each_label_text_as_a_document(data, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "skxc._estimator._fit.train", lambda step, *_: seen.append(step.rows) or [{"loss": 0}]
    )
    weights = np.linspace(0, 1, 300)
    make_clf(label_texts=data.label_texts).fit(data.texts, data.Y, sample_weight=weights)
    (rows,) = seen
    assert len(rows) == len(rows.tokens) == 320
    np.testing.assert_array_equal(rows.Y[300:].toarray(), np.eye(20))
    want = [*(weights / weights.mean()), *np.ones(20)]
    np.testing.assert_allclose(rows.sample_weight, want, rtol=1e-5)


def test_label_counts_are_of_the_labels_as_given_not_augmented(data):
    clf = make_clf(label_texts=data.label_texts).fit(data.texts, data.Y)
    np.testing.assert_array_equal(clf.label_counts_, np.asarray(data.Y.sum(0)).ravel())


@pytest.mark.parametrize("rerank_weight", [0, "auto"])
def test_relevances_pull_less_than_full_labels(rerank_weight):
    texts, Y = ["word"] * 50, sp.csr_array(np.full((50, 1), 0.3, np.float32))
    clf = make_clf(epochs=60, rerank_weight=rerank_weight).fit(texts, Y)
    assert clf.predict_proba(["word"]).data == pytest.approx([0.3], abs=0.05)


def test_bfloat16_weights_learn_as_well(data):
    scores = {
        precision: make_clf(epochs=30, precision=precision)
        .fit(data.texts, data.Y)
        .score(data.texts, data.Y)
        for precision in ("float32", "bfloat16")
    }
    assert scores["bfloat16"] > scores["float32"] - 0.02


def test_partial_fit_goes_on_where_the_last_call_ended(data):
    clf = make_clf(classifier_learning_rate=0.02, dropout=0.0)
    losses = []
    for _ in range(4):
        for part in np.array_split(np.arange(300), 3):
            clf.partial_fit([data.texts[i] for i in part], data.Y[part])
            losses.append(clf.history_[-1]["loss"])
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    assert clf.n_iter_ == 12
    np.testing.assert_array_equal(clf.label_counts_, 4 * np.asarray(data.Y.sum(0)).ravel())


def test_momentum_in_bfloat16_goes_on_through_pickles_and_folders(data, tmp_path):
    parts = np.split(np.arange(300), 3)

    def learn(clf, part):
        return clf.partial_fit([data.texts[i] for i in part], data.Y[part])

    def velocity(clf):
        return clf._optimizer_state["step"]["velocity"]

    whole = make_clf(momentum=0.9, precision="bfloat16", classifier_learning_rate=1e-3)
    first = pickle.dumps(learn(whole, parts[0]))
    restored = pickle.loads(first)
    assert velocity(restored).dtype == np.float32
    # of bfloat16: nothing of it is lost on the way
    of_bfloat16 = torch.from_numpy(velocity(restored)).bfloat16().float().numpy()
    np.testing.assert_array_equal(velocity(restored), of_bfloat16)
    assert (velocity(restored) != 0).all(1).any()
    learn(restored, parts[1])
    learn(whole, parts[1])
    np.testing.assert_array_equal(velocity(restored), velocity(whole))
    np.testing.assert_array_equal(restored.label_embeddings_, whole.label_embeddings_)
    # without the momentum it would have gone on otherwise
    stopped = pickle.loads(first)
    stopped._optimizer_state["step"] = {}
    assert (learn(stopped, parts[1]).label_embeddings_ != whole.label_embeddings_).any()
    restored.save(tmp_path / "model")
    from_folder = skxc.load(tmp_path / "model")
    np.testing.assert_array_equal(velocity(from_folder), velocity(whole))
    for clf in (from_folder, whole):
        learn(clf, parts[2])
    np.testing.assert_array_equal(from_folder.label_embeddings_, whole.label_embeddings_)


def test_momentum_takes_as_much_as_the_weights(data):
    for precision, itemsize in (("float32", 4), ("bfloat16", 2)):
        with_momentum, without = (
            make_clf(precision=precision, momentum=momentum).memory_estimate(data.texts, data.Y)
            for momentum in (0.9, 0.0)
        )
        added = with_momentum["cpu"]["optimizer"] - without["cpu"]["optimizer"]
        assert added == itemsize * 20 * 24  # 16 + 1 numbers a label, 24 with what lies between


def test_where_kernels_serve_a_label_takes_its_errors_alone(monkeypatch):
    monkeypatch.setattr(_renee, "has_fused_step", lambda *_: True)
    rows = TrainingRows(None, sp.csr_array((1, 100)), None)
    for momentum in (0.0, 0.9):
        setup = make_setup(ReneeSettings, None, rows, batch_size=256, momentum=momentum)
        assert _bytes_a_label(setup, setup.settings) == 2 * 256


@pytest.mark.parametrize("loss", SOFT)
def test_a_chunk_takes_what_is_counted_for_its_labels(loss, tmp_path):
    n_texts, n_labels = 64, 1000
    rows = TrainingRows(None, sp.csr_array((1, n_labels)), None)
    setup = make_setup(ReneeSettings, None, rows, batch_size=n_texts, loss=loss)
    weights, embeddings = torch.randn(n_labels, 4), torch.randn(n_texts, 4)
    positives = Positives(torch.arange(n_texts), torch.arange(n_texts), torch.ones(n_texts))
    with torch.profiler.profile(profile_memory=True) as profile:
        two_pass_linear_step_(
            weights, embeddings, positives, SOFT[loss], SGD(0.1, 0.0, 0.0), chunk_size=n_labels
        )
    counted = n_labels * _bytes_a_label(setup, setup.settings)
    assert counted == pytest.approx(peak_bytes(profile, tmp_path), rel=0.05)


def peak_bytes(profile, folder):
    """With what torch's own operations hold inside, such as a logsumexp."""
    profile.export_chrome_trace(str(folder / "trace.json"))
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    changes = [(e["ts"], e["args"]["Bytes"]) for e in events if e["name"] == "[memory]"]
    return np.cumsum([n_bytes for _, n_bytes in sorted(changes)]).max()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_numbers_of_other_types_give_the_model_of_pythons(precision, data):
    reals = {
        "learning_rate": 0.05, "weight_decay": 0.01, "dropout": 0.25, "momentum": 0.9,
        "classifier_learning_rate": 1e-3, "classifier_weight_decay": 1e-4, "max_grad_norm": 1.0,
        "warmup_fraction": 0.1,
    }  # fmt: skip
    first, *others = (
        make_clf(precision=precision, **{k: number(np.float32(v)) for k, v in reals.items()})
        .fit(data.texts, data.Y)
        .label_embeddings_
        for number in (float, np.float32, lambda value: Fraction(float(value)))
    )
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_a_label_first_seen_in_a_later_partial_fit_can_win():
    texts = ["apple", "pear", "car"]
    clf = make_clf(classifier_learning_rate=0.05, batch_size=1).partial_fit(
        texts, sp.csr_array(np.eye(3)[:, [0, 1, 0]] * [1, 1, 0])
    )
    assert clf.predict_top_k(["car"])[0][0, -1] == 2
    for _ in range(40):
        clf.partial_fit(texts, sp.csr_array(np.eye(3)))
    assert clf.predict_top_k(["car"], k=1)[0][0, 0] == 2


def test_too_large_a_classifier_is_refused_before_training(data, monkeypatch):
    monkeypatch.setattr("skxc._training._memory.free_bytes", lambda device: 1000)
    clf = make_clf(momentum=0.9)
    with pytest.raises(ValueError, match=re.escape("Training needs about")) as raised:
        clf.fit(data.texts, data.Y)
    for word in ("weights", "optimizer", "for it. "):
        assert word in str(raised.value)
    assert not hasattr(clf, "classes_")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"momentum": 1.0}, "momentum=1.0 is out of range. Pass a number in [0, 1)."),
        ({"classifier_learning_rate": 0}, "classifier_learning_rate=0 is out of range."),
        ({"classifier_init": "zeros"}, "Pass one of 'random', 'label_texts'."),
        ({"classifier_init": "label_texts"}, "classifier_init='label_texts' needs label_texts."),
        ({"label_chunk_size": 0}, "label_chunk_size=0 is too small."),
        ({"augment": "yes"}, "augment='yes' is unknown. Pass one of True, False."),
        ({"fit_intercept": None}, "fit_intercept=None is unknown. Pass one of True, False."),
        ({"loss": "hinge"}, "loss='hinge' is unknown. Pass one of 'one-vs-all', 'softmax',"),
    ],
)
def test_own_parameters_out_of_range_are_named(data, parameters, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_clf(**parameters).fit(data.texts, data.Y)


def test_a_transformer_is_trained_end_to_end(data, tiny_bert):
    encoder = TransformerEncoder(model=tiny_bert, max_length=16)
    clf = make_clf(
        encoder=encoder, epochs=2, batch_size=32, learning_rate=1e-3, label_texts=data.label_texts,
        classifier_learning_rate=0.01, max_grad_norm=1.0, early_stopping=True,
    )  # fmt: skip
    clf.fit(data.texts[:100], data.Y[:100])
    start = encoder.fit(data.texts, seed=0).weights_
    changed = [k for k, v in start.items() if not np.array_equal(v, clf.encoder_.weights_[k])]
    assert any("layer.0" in name for name in changed)
    assert all(0 <= h["padding"] < 0.5 for h in clf.history_)
    embeddings = clf.transform(data.texts[:3])
    np.testing.assert_allclose(
        embeddings @ clf.label_embeddings_.T,
        clf.set_params(sparse_output=False).decision_function(data.texts[:3]),
        rtol=1e-4,
        atol=1e-4,
    )


def test_a_projection_makes_the_classifier_narrow(data, tiny_bert):
    encoder = TransformerEncoder(model=tiny_bert, max_length=16, projection_dim=4)
    clf = make_clf(encoder=encoder, epochs=1).fit(data.texts[:40], data.Y[:40])
    assert clf.label_embeddings_.shape == (20, 5)
    assert clf.get_feature_names_out().tolist() == [f"reneeclassifier{i}" for i in range(5)]


def test_bfloat16_early_stopping_and_label_text_rows_go_together(data):
    clf = make_clf(
        precision="bfloat16", early_stopping=True, n_iter_no_change=40, epochs=40, momentum=0.5,
        label_texts=data.label_texts, classifier_init="label_texts",
    )  # fmt: skip
    clf.fit(data.texts, data.Y)
    assert clf.label_embeddings_.dtype == np.float32
    assert clf.score(data.texts, data.Y) > 0.5


def test_a_training_that_diverges_says_so_and_leaves_no_model(data):
    clf = make_clf(classifier_learning_rate=1e15)
    with pytest.raises(ValueError, match=re.escape("Training diverged: it came to")):
        clf.fit(data.texts, data.Y)
    assert not hasattr(clf, "classes_")


def test_probabilities_of_classes_are_their_shares_where_the_words_say_no_more():
    texts = ["coin"] * 200
    classes = np.array(["heads"] * 140 + ["tails"] * 60)
    clf = make_clf(epochs=40, dropout=0.0).fit(texts, classes)
    assert clf.predict_proba(["coin"])[0] == pytest.approx([0.7, 0.3], abs=0.05)


def test_sample_weights_count_by_their_ratios_alone(data):
    weights = np.random.default_rng(0).random(300)
    weights = weights.astype(np.float32)  # the dtype that they are used in: no copy is forced
    weights.flags.writeable = False
    fits = [make_clf().fit(data.texts, data.Y, w) for w in (weights, 1000 * weights)]
    np.testing.assert_allclose(fits[0].label_embeddings_, fits[1].label_embeddings_, atol=1e-3)


def test_a_label_with_an_empty_text_and_no_training_row_ranks_last(data):
    Y = data.Y.tolil()
    Y[:, 3] = 0
    label_texts = [*data.label_texts[:3], "", *data.label_texts[4:]]
    clf = make_clf(label_texts=label_texts).fit(data.texts, Y.tocsr())
    assert (clf.predict_top_k(data.texts)[0][:, -1] == 3).all()


def test_a_stream_of_small_batches_learns_what_whole_passes_learn(data):
    whole, stream = make_clf(), make_clf()
    parts = np.array_split(np.random.default_rng(0).permutation(300), 6)
    stream.partial_fit(data.texts, data.Y)
    for _ in range(6):
        whole.partial_fit(data.texts, data.Y)
        for part in parts:
            stream.partial_fit([data.texts[i] for i in part], data.Y[part])
    assert stream.n_samples_seen_ == 300 + whole.n_samples_seen_
    assert stream.score(data.texts, data.Y) > whole.score(data.texts, data.Y) - 0.02


def test_a_label_first_met_late_in_a_stream_starts_at_its_share_of_the_whole_stream(data):
    quiet = {"learning_rate": 1e-12, "classifier_learning_rate": 1e-12}
    Y = data.Y.tolil()
    Y[:, 3] = 0
    clf = make_clf(**quiet).partial_fit(data.texts, Y.tocsr())
    late = sp.csr_matrix(([1.0], ([0], [3])), shape=(2, 20))
    clf.partial_fit(data.texts[:2], late)
    assert clf.predict_proba([""])[0, 3] < 0.05  # not the half of the last two texts


def test_going_on_keeps_the_pace_that_words_have_slowed_down_to(data):
    clf = make_clf().fit(data.texts, data.Y)
    (before,) = (s["0"]["sum_of_squares"] for s in clf._optimizer_state["optimizers"])
    clf.partial_fit(data.texts[:100], data.Y[:100])
    (after,) = (s["0"]["sum_of_squares"] for s in clf._optimizer_state["optimizers"])
    assert (after >= before).all()
    assert (after > before).any()


def test_a_changed_encoder_cannot_go_on_from_the_fitted_one(data):
    clf = make_clf(warm_start=True).fit(data.texts, data.Y)
    table = clf.label_embeddings_
    with pytest.raises(ValueError, match=re.escape("differs from the fitted one")):
        clf.set_params(encoder__dim=8).fit(data.texts, data.Y)
    assert clf.label_embeddings_ is table


def test_bfloat16_keeps_one_chunk_of_temporary_rows(data):
    """The chunk's size counts them, whatever the batch."""
    sizes = {}
    for precision in ("float32", "bfloat16"):
        rows = TrainingRows(None, sp.csr_array((1, 10**7)), None)
        setup = make_setup(ReneeSettings, None, rows, batch_size=8, dim=768)
        setup = replace(setup, dtype=getattr(torch, precision))
        sizes[precision] = _chunk_size(setup, setup.settings)
    assert sizes["bfloat16"] * 769 * 4 * 4 <= 1 << 22
    assert sizes["float32"] * 8 * 4 <= 1 << 22


def test_excluding_every_class_of_a_text_is_refused():
    clf = make_clf().fit(["a", "b"] * 10, ["x", "y"] * 10)
    some, every = (sp.csr_matrix([[0, 0], [1, last]]) for last in (0, 1))
    assert clf.predict(["a", "a"], exclude=some).tolist()[1] == "y"
    assert clf.predict_proba(["a", "a"], exclude=some)[1].tolist() == [0, 1]
    for method in (clf.predict, clf.predict_proba):
        with pytest.raises(ValueError, match=re.escape("exclude leaves no class for text 1.")):
            method(["a", "a"], exclude=every)
