"""scikit-learn's callbacks, called once an epoch."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc.datasets import make_extreme_classification
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder
from skxc.metrics import XMCScorer

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks since 1.9")

EPOCHS = 3


@pytest.fixture(scope="module")
def data():
    return make_extreme_classification(90, 6, random_state=0)


@pytest.fixture(params=[ReneeClassifier, DualEncoderXC, UniDEC])
def clf(request, data):
    encoder = BagOfWordsEncoder(dim=8, min_df=1)
    return request.param(
        encoder, label_texts=data.label_texts, epochs=EPOCHS, batch_size=16, random_state=0
    )


class Recorder:
    """Notes what it is told; `stop_after` epochs it asks to stop."""

    def __init__(self, stop_after=None):
        self.stop_after, self.calls, self.models, self.data = stop_after, [], [], []

    def setup(self, estimator, context):
        self.calls.append("setup")

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.calls.append(f"begin {context.task_name} {context.task_id}")

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
    ):
        self.calls.append(f"end {context.task_name} {context.task_id}")
        self.models.append(fitted_estimator)
        self.data.append((X, y, metadata))
        return context.task_name == "epoch" and context.task_id + 1 == self.stop_after


def assert_equal_models(a, b):
    np.testing.assert_array_equal(a.label_embeddings_, b.label_embeddings_)
    for name, weights in a.encoder_.weights_.items():
        np.testing.assert_array_equal(weights, b.encoder_.weights_[name])


def test_a_fit_is_a_task_and_every_epoch_a_task_of_it(clf, data):
    recorder = Recorder()
    clf.set_callbacks(recorder).fit(data.texts, data.Y)
    epochs = [f"{when} epoch {i}" for i in range(EPOCHS) for when in ("begin", "end")]
    assert recorder.calls == ["setup", "begin fit 0", *epochs, "end fit 0", "teardown"]


def test_looking_at_the_model_of_every_epoch_does_not_change_the_training(clf, data):
    recorder = Recorder()
    plain = clone(clf).fit(data.texts, data.Y)
    clf.set_callbacks(recorder).fit(data.texts, data.Y)
    assert_equal_models(clf, plain)
    np.testing.assert_array_equal(
        clf.predict_proba(data.texts).toarray(), plain.predict_proba(data.texts).toarray()
    )


# what draws at random, or changes more than the seen labels' rows
INTRICATE = {
    ReneeClassifier: {"momentum": 0.9, "classifier_weight_decay": 0.1, "augment": False},
    DualEncoderXC: {"negatives": "mined", "pool_size": 3, "mining_interval": 1},
    UniDEC: {"negatives": "mined", "batches": "clustered", "mining_interval": 1,
             "projection_dim": 4, "learn_temperature": True},
}  # fmt: skip


def test_looking_at_an_intricate_model_does_not_change_the_training(clf, data):
    Y = data.Y.tolil()
    Y[:, 2] = 0
    Y = Y.tocsr()
    clf.set_params(**INTRICATE[type(clf)])
    plain = clone(clf).fit(data.texts, Y)
    recorder = Recorder()
    clf.set_callbacks(recorder).fit(data.texts, Y)
    assert len(recorder.models) == EPOCHS + 1
    assert_equal_models(clf, plain)
    for fitted, expected in zip(
        clf.predict_top_k(data.texts), plain.predict_top_k(data.texts), strict=True
    ):
        np.testing.assert_array_equal(fitted, expected)
    assert [h["loss"] for h in clf.history_] == [h["loss"] for h in plain.history_]


def test_looking_at_a_transformer_leaves_its_dropout_on(clf, data, tiny_bert):
    clf.set_params(encoder=TransformerEncoder(model=tiny_bert, max_length=8), learning_rate=1e-3)
    colours = ["red", "green", "blue"] * len(data.texts)
    texts = list(map(" ".join, zip(colours, data.texts, strict=False)))
    plain = clone(clf).fit(texts, data.Y)
    clf.set_callbacks(Recorder()).fit(texts, data.Y)
    assert_equal_models(clf, plain)


def test_a_callback_gets_the_model_as_if_fit_had_ended_there(clf, data):
    recorder = Recorder()
    clf.set_callbacks(recorder).fit(data.texts, data.Y)
    *epochs, end = recorder.models
    assert len(epochs) == EPOCHS
    for model in (epochs[-1], end):
        assert_equal_models(model, clf)
        assert (model.predict(data.texts) != clf.predict(data.texts)).nnz == 0
    tables = [model.label_embeddings_ for model in epochs]
    assert not np.allclose(tables[0], tables[1])  # none of them shares its arrays with training
    assert [len(model.history_) for model in epochs] == [1, 2, 3]
    assert [model.score(data.texts, data.Y) for model in epochs]


def test_a_callback_that_returns_true_ends_the_training(clf, data):
    clf.set_callbacks(Recorder(stop_after=2)).fit(data.texts, data.Y)
    assert clf.n_iter_ == len(clf.history_) == 2
    assert clf.predict(data.texts).shape == data.Y.shape


def test_early_stopping_and_callbacks_look_on_together(clf, data):
    recorder = Recorder()
    clf.set_params(early_stopping=True, epochs=40, n_iter_no_change=1)
    clf.set_callbacks(recorder).fit(data.texts, data.Y)
    assert clf.n_iter_ < 40
    assert recorder.calls.count("begin epoch 0") == 1
    assert len(recorder.models) == clf.n_iter_ + 1
    scores = [entry["validation_score"] for entry in clf.history_]
    assert_equal_models(recorder.models[int(np.argmax(scores))], clf)


def test_callbacks_are_given_the_data_and_what_else_fit_was_given(clf, data):
    recorder = Recorder()
    weights, mask = np.linspace(0.5, 1, 90), sp.csr_array((90, 6))
    clf.set_callbacks(recorder).fit(data.texts, data.Y, sample_weight=weights, exclude=mask)
    for X, y, metadata in recorder.data:
        assert X is data.texts
        assert y is data.Y
        assert metadata == {"sample_weight": weights, "exclude": mask}


def test_a_broken_off_fit_tears_its_callbacks_down_and_leaves_the_model(clf, data):
    class Interrupting(Recorder):
        def on_fit_task_begin(self, estimator, context):
            super().on_fit_task_begin(estimator, context)
            if context.task_name == "epoch" and context.task_id == 1:
                raise KeyboardInterrupt

    recorder = Interrupting()
    clf.fit(data.texts, data.Y)
    before = copy.deepcopy({k: v for k, v in vars(clf).items() if k != "_ranker"})
    with pytest.raises(KeyboardInterrupt):
        clf.set_callbacks(recorder).fit(data.texts, data.Y)
    assert recorder.calls[-1] == "teardown"
    assert vars(clf).keys() - {"_skl_callbacks", "_ranker"} == before.keys()
    np.testing.assert_array_equal(clf.label_embeddings_, before["label_embeddings_"])


def test_a_partial_fit_calls_none(clf, data):
    recorder = Recorder()
    clf.set_callbacks(recorder).partial_fit(data.texts, data.Y)
    assert recorder.calls == []


def test_scoring_monitor_logs_every_epoch_by_our_scorer(clf, data):
    monitor = callback.ScoringMonitor(scoring=XMCScorer(("P@1", "PSP@3")))
    clf.set_callbacks(monitor).fit(data.texts, data.Y)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(rows) == EPOCHS
    assert rows[-1]["P@1"] == pytest.approx(clf.score(data.texts, data.Y))
    assert 0 < rows[-1]["PSP@3"] <= 1


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_callbacks_follow_a_search_over_a_pipeline(clf, data, n_jobs):
    monitor = callback.ScoringMonitor(scoring=XMCScorer(("P@1",)))
    pipeline = make_pipeline(FunctionTransformer(), clf.set_callbacks(monitor))
    grid = {f"{type(clf).__name__.lower()}__dropout": [0.1, 0.5]}
    search = GridSearchCV(pipeline, grid, cv=KFold(2), n_jobs=n_jobs, refit=False)
    search.fit(data.texts, data.Y)
    logs = monitor.get_logs(select="all")
    n_epochs = sum(row["task_name"] == "epoch" for log in logs for row in log.data)
    assert n_epochs == 2 * 2 * EPOCHS


def test_the_progress_bar_of_scikit_learn_runs(clf, data, capsys):
    pytest.importorskip("rich", reason="sklearn.callback.ProgressBar needs rich")
    clf.set_callbacks(callback.ProgressBar()).fit(data.texts, data.Y)
    assert type(clf).__name__ in capsys.readouterr().out


def test_callbacks_survive_a_clone_and_pickling_a_fitted_model(clf, data):
    recorder = Recorder()
    clone(clf.set_callbacks(recorder)).fit(data.texts, data.Y)
    assert recorder.calls[-1] == "teardown"
    copied = pickle.loads(pickle.dumps(clf.fit(data.texts, data.Y)))
    np.testing.assert_array_equal(
        copied.predict_top_k(data.texts)[0], clf.predict_top_k(data.texts)[0]
    )


def test_the_model_of_an_epoch_can_grow_and_go_on_training(clf, data):
    recorder = Recorder(stop_after=1)
    clf.set_callbacks(recorder).fit(data.texts, data.Y)
    model = recorder.models[0]
    if hasattr(model, "add_labels"):
        model.add_labels([data.texts[0]])
        assert model.predict_top_k([data.texts[0]], k=1)[0] == [[data.Y.shape[1]]]
    else:
        model.partial_fit(data.texts, data.Y)
        assert model.n_iter_ == 2
