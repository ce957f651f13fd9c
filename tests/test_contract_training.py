"""What every estimator's training leaves, loses and goes on from."""

from __future__ import annotations

import copy
import logging
import pickle
import random
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from containers import MATRICES
from contract import N_LABELS, N_TEXTS, TINY, assert_equal_models, assert_unchanged, state_of
from sklearn.exceptions import NotFittedError

from skxc import load
from skxc._estimator import _fit
from skxc._training._loop import _Loop
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder


# ------------------------------------------------------------------------------ fit leaves no trace
def test_the_same_seed_gives_the_same_model_and_another_another(make, trained, data):
    assert_equal_models(make().fit(data.texts, data.Y), trained)
    other = make(random_state=1).fit(data.texts, data.Y)
    assert not np.array_equal(other.label_embeddings_, trained.label_embeddings_)


def test_a_refit_forgets_the_first(make, trained, data):
    again = make().fit(data.texts[9:50], data.Y[9:50].toarray())
    assert_equal_models(again.fit(data.texts, data.Y), trained)
    assert again.n_iter_ == len(again.history_) == trained.n_iter_


def _global_state():
    return repr(
        (
            random.getstate(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            torch.get_rng_state().tolist(),
            torch.get_num_threads(),
            torch.get_default_dtype() == torch.float32,
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            logging.getLogger().handlers,
            logging.getLogger("skxc").level,
        )
    )


@pytest.mark.parametrize("early_stopping", [False, True])
def test_training_and_prediction_leave_global_state_alone(make, data, early_stopping):
    before = _global_state()
    estimator = make(early_stopping=early_stopping).fit(data.texts, data.Y)
    estimator.partial_fit(data.texts, data.Y).predict_proba(data.texts)
    assert _global_state() == before


def test_global_state_survives_a_broken_off_fit(make, data, monkeypatch):
    _break_off_at_step(monkeypatch, 2)
    before = _global_state()
    with pytest.raises(KeyboardInterrupt):
        make().fit(data.texts, data.Y)
    assert _global_state() == before


def test_fits_in_threads_equal_those_one_after_the_other(make, data):
    def fit(seed):
        return make(random_state=seed).fit(data.texts, data.Y)

    before = _global_state()
    expected = [fit(seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        fitted = list(pool.map(fit, range(3)))
    for a, b in zip(fitted, expected, strict=True):
        assert_equal_models(a, b)
    assert _global_state() == before


def test_the_global_random_state_does_not_reach_a_seeded_fit(make, trained, data):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        assert_equal_models(make().fit(data.texts, data.Y), trained)


@pytest.mark.parametrize("as_sparse", [True, False])
def test_training_and_prediction_leave_their_input_alone(make, data, as_sparse):
    Y = MATRICES["duplicates in a csr_array" if as_sparse else "dense int"](data.Y.toarray())
    label_texts = np.array(data.label_texts, dtype=object)
    weights = np.linspace(0, 1, N_TEXTS)
    exclude = sp.csr_array(np.eye(N_TEXTS, N_LABELS))
    given = (list(data.texts), Y, label_texts, weights, exclude)
    before = _contents(given)
    estimator = make().set_params(label_texts=label_texts)
    estimator.fit(given[0], Y, sample_weight=weights).partial_fit(given[0], Y)
    estimator.predict(given[0], exclude=exclude)
    estimator.score(given[0], Y, weights, exclude)
    assert estimator.label_texts is label_texts
    assert _contents(given) == before


def _contents(given):
    """Everything stored in `given`, a sparse matrix's arrays included."""
    stored = [[g.data, g.indices, g.indptr] if sp.issparse(g) else [np.asarray(g)] for g in given]
    return [(array.dtype, array.tolist()) for arrays in stored for array in arrays]


def test_fit_changes_no_parameter(make, data):
    estimator = make()
    before = pickle.dumps(estimator.get_params())
    estimator.fit(data.texts, data.Y).partial_fit(data.texts, data.Y)
    assert pickle.dumps(estimator.get_params()) == before


@pytest.mark.parametrize("verbose", [0, 1])
def test_nothing_is_printed_where_stderr_is_no_terminal(make, data, capfd, verbose):
    make(verbose=verbose).fit(data.texts, data.Y).predict(data.texts)
    assert capfd.readouterr() == ("", "")


# --------------------------------------------------------------------------------------- broken off
def _break_off_at_step(monkeypatch, n):
    """Ctrl-C in the n-th step from now."""
    run_step, calls = _Loop.run_step, []

    def interrupted(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == n:
            raise KeyboardInterrupt
        return run_step(self, *args, **kwargs)

    monkeypatch.setattr(_Loop, "run_step", interrupted)


def _break_off_at_publication(monkeypatch, make):
    """Ctrl-C while the trained table is copied out."""

    def interrupted(self, setup):
        raise KeyboardInterrupt

    monkeypatch.setattr(make()._method, "end", interrupted)


@pytest.mark.parametrize("when", ["first step", "later step", "publication"])
@pytest.mark.parametrize("method", ["fit", "warm_start fit", "partial_fit"])
def test_ctrl_c_leaves_a_fitted_estimator_as_it_was(make, data, monkeypatch, when, method):
    fitted = make(warm_start=method.startswith("warm")).partial_fit(data.texts, data.Y)
    state = state_of(fitted)
    proba = fitted.predict_proba(data.texts)
    if when == "publication":
        _break_off_at_publication(monkeypatch, make)
    else:
        _break_off_at_step(monkeypatch, 1 if when == "first step" else 4)
    with pytest.raises(KeyboardInterrupt):
        getattr(fitted, method.split()[-1])(data.texts[::-1], data.Y)
    assert_unchanged(fitted, state)
    assert (fitted.predict_proba(data.texts) != proba).nnz == 0


@pytest.mark.parametrize("when", ["step", "publication"])
def test_ctrl_c_leaves_an_unfitted_estimator_unfitted(make, data, monkeypatch, when):
    estimator = make()
    if when == "publication":
        _break_off_at_publication(monkeypatch, make)
    else:
        _break_off_at_step(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(data.texts, data.Y)
    assert set(vars(estimator)) == set(vars(make()))
    with pytest.raises(NotFittedError):
        estimator.predict(data.texts)


# ------------------------------------------------------------------------------------- going on
def test_history_tells_every_epoch(trained):
    assert trained.n_iter_ == len(trained.history_) == TINY["epochs"]
    assert all(entry["loss"] > 0 and entry["seconds"] > 0 for entry in trained.history_)


def test_training_learns(make, data):
    short, long = (make(epochs=n).fit(data.texts, data.Y) for n in (1, 20))
    assert long.score(data.texts, data.Y) >= max(0.9, short.score(data.texts, data.Y))
    assert long.history_[-1]["loss"] < long.history_[0]["loss"] / 2


def test_partial_fits_learn_more_with_every_call(make, data):
    estimator = make(dropout=0.0)
    scores, first, second = [], slice(0, N_TEXTS // 2), slice(N_TEXTS // 2, N_TEXTS)
    for _ in range(15):
        estimator.partial_fit(data.texts[first], data.Y[first])
        estimator.partial_fit(data.texts[second], data.Y[second])
        scores.append(estimator.score(data.texts, data.Y))
    assert scores[-1] > max(scores[0], 0.6)
    assert estimator.n_iter_ == len(estimator.history_) == 30
    assert estimator.n_samples_seen_ == 15 * N_TEXTS
    np.testing.assert_array_equal(estimator.label_counts_, 15 * np.asarray(data.Y.sum(0)).ravel())


def test_partial_fit_needs_all_classes_first_where_there_is_one_label_a_text(make, data):
    names = np.unique(data.classes)
    with pytest.raises(ValueError, match=re.escape("classes must be passed on the first call")):
        make().partial_fit(data.texts, data.classes)
    estimator = make(n_labels=len(names) + 1)
    estimator.partial_fit(data.texts, data.classes, classes=["zoology", *names[::-1]])
    assert estimator.classes_.tolist() == sorted(["zoology", *names])
    estimator.partial_fit(data.texts[:3], data.classes[:3])
    with pytest.raises(ValueError, match=re.escape("differs from the classes of the first call")):
        estimator.partial_fit(data.texts, data.classes, classes=names)


def test_classes_name_a_matrix_columns_in_their_own_order(make, data):
    names = list("qpsrut")
    estimator = make(epochs=20).partial_fit(data.texts, data.Y, classes=names)
    assert estimator.classes_.tolist() == names
    frame = pd.DataFrame(data.Y.toarray(), columns=names)
    estimator.partial_fit(data.texts, frame, classes=names)
    assert estimator.classes_.tolist() == names
    estimator.partial_fit(data.texts, frame[sorted(names)], classes=sorted(names))
    assert estimator.score(data.texts, frame) == estimator.score(data.texts, data.Y)


def test_every_call_that_goes_on_draws_its_own_randomness(make, data, monkeypatch):
    # the same dropout in every call of a stream would switch the same inputs off for ever
    run_step, batches = _Loop.run_step, []

    def recorded(self, batch, **keywords):
        batches.append((batch.tokens.ids.tolist(), torch.rand(3).tolist()))
        return run_step(self, batch, **keywords)

    monkeypatch.setattr(_Loop, "run_step", recorded)
    estimator = make(batch_size=N_TEXTS, epochs=1, warm_start=True)
    for method in (estimator.partial_fit, estimator.partial_fit, estimator.fit, estimator.fit):
        method(data.texts, data.Y)
    tokens, noise = zip(*batches, strict=True)
    assert len({tuple(ids) for ids in tokens}) == len({tuple(draw) for draw in noise}) == 4


def test_a_warm_start_never_validates_on_texts_that_it_was_trained_on(make, data, monkeypatch):
    validated = []
    validation_score = _fit._validation_score

    def recorded(method, setup):
        validated.append(setup.held_out.tokens.ids.tolist())
        return validation_score(method, setup)

    monkeypatch.setattr(_fit, "_validation_score", recorded)
    estimator = make(early_stopping=True, epochs=1, warm_start=True)
    estimator.fit(data.texts, data.Y).fit(data.texts, data.Y)
    assert validated[0] == validated[1]


def test_a_fit_between_partial_fits_starts_the_optimisers_anew(make, data):
    few = data.texts[:5]
    estimator = make().partial_fit(few, data.Y[:5])
    estimator.fit(data.texts, data.Y).partial_fit(data.texts, data.Y)
    expected = make().fit(data.texts, data.Y).partial_fit(data.texts, data.Y)
    assert_equal_models(estimator, expected)


def test_warm_start_goes_on_and_a_cold_start_does_not(make, data):
    warm = make(warm_start=True, dropout=0.0).fit(data.texts, data.Y)
    cold = copy.deepcopy(warm).set_params(warm_start=False)
    n_first = warm.n_iter_
    warm.fit(data.texts, data.Y)
    cold.fit(data.texts, data.Y)
    assert (warm.n_iter_, cold.n_iter_) == (2 * n_first, n_first)
    assert warm.history_[n_first]["loss"] < 0.9 * cold.history_[0]["loss"]


def test_warm_start_keeps_what_was_learnt_of_labels_that_no_longer_occur(make, data):
    estimator = make(warm_start=True, epochs=20).fit(data.texts, data.Y)
    label = int(data.Y.indices[0])
    has_label = data.Y[:, [label]].toarray().ravel() > 0
    before = estimator.predict_proba(data.texts[:1])[0, label]
    rest = np.flatnonzero(~has_label)
    estimator.set_params(epochs=1).fit([data.texts[i] for i in rest], data.Y[rest])
    assert estimator.predict_proba(data.texts[:1])[0, label] > before / 10


def test_early_stopping_keeps_the_epoch_that_scored_best(make, data, monkeypatch):
    tables, scores = [], []
    validation_score = _fit._validation_score

    def recorded(method, setup):
        tables.append(method.ranker().table.rows.clone().numpy())
        scores.append(validation_score(method, setup))
        return scores[-1]

    monkeypatch.setattr(_fit, "_validation_score", recorded)
    estimator = make(
        early_stopping=True, validation_fraction=0.3, n_iter_no_change=4, epochs=60, random_state=1,
    ).fit(data.texts, data.Y)  # fmt: skip
    best = int(np.argmax(scores))
    assert 0 < best < len(scores) - 1, "this run cannot tell the best epoch from others"
    np.testing.assert_array_equal(estimator.label_embeddings_, tables[best])
    assert not np.array_equal(estimator.label_embeddings_, tables[-1])
    assert [entry["validation_score"] for entry in estimator.history_] == scores
    assert estimator.n_iter_ == len(scores) == best + 1 + 4


def test_early_stopping_survives_validation_texts_of_no_weight(make, data):
    weights = np.zeros(N_TEXTS)
    weights[:2] = 1
    estimator = make(early_stopping=True).fit(data.texts, data.Y, sample_weight=weights)
    assert np.isfinite([entry["validation_score"] for entry in estimator.history_]).all()


# ------------------------------------------------------------------------------------------ exclude
@pytest.fixture(scope="module")
def mask(data):
    """A fifth of all pairs."""
    is_excluded = np.random.default_rng(0).random(data.Y.shape) < 0.2
    return sp.csr_array(is_excluded, dtype=np.int64)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_whatever_y_says_of_an_excluded_pair_does_not_count(make, data, mask, method):
    given, silent, free = (make(epochs=2) for _ in range(3))
    hidden = (data.Y - data.Y.multiply(mask)).tocsr()
    assert hidden.nnz < data.Y.nnz
    getattr(given, method)(data.texts, data.Y, exclude=mask)
    getattr(silent, method)(data.texts, hidden, exclude=mask)
    getattr(free, method)(data.texts, hidden)
    assert_equal_models(given, silent)
    # neither positive nor negative: without the mask, all that y does not hold is negative
    assert not np.array_equal(silent.label_embeddings_, free.label_embeddings_)


@pytest.mark.parametrize("is_mined", [False, True])
def test_an_excluded_pair_is_neither_pulled_together_nor_pushed_apart(make, data, mask, is_mined):
    """Its score lies between that of a positive and that of a negative."""
    if is_mined and not hasattr(make(), "negatives"):
        pytest.skip("Renee's negatives are all labels")
    parameters = {"negatives": "mined", "pool_size": 4, "mining_interval": 1} if is_mined else {}
    pairs = sp.csr_array(data.Y.multiply(mask))
    assert pairs.nnz > 10
    hidden = (data.Y - pairs).tocsr()
    scores = {}
    for name, Y, exclude in (
        ("positive", data.Y, None), ("excluded", data.Y, pairs), ("negative", hidden, None)
    ):  # fmt: skip
        estimator = make(epochs=15, sparse_output=False, **parameters)
        estimator.fit(data.texts, Y, exclude=exclude)
        scores[name] = estimator.decision_function(data.texts)[pairs.nonzero()].mean()
    assert scores["negative"] < scores["excluded"] < scores["positive"]


def test_a_mask_of_another_kind_or_shape_is_refused(make, data, mask):
    with pytest.raises(TypeError, match=re.escape("exclude is a ndarray. Pass a SciPy sparse")):
        make().fit(data.texts, data.Y, exclude=mask.toarray())
    with pytest.raises(ValueError, match=re.escape("exclude has shape (90, 5)")):
        make().fit(data.texts, data.Y, exclude=mask[:, :5])


# ------------------------------------------------------------------------------------ unseen labels
def without(Y, label):
    """Y without a label."""
    kept = Y.tolil()
    kept[:, label] = 0
    return kept.tocsr()


def test_is_seen_tells_the_labels_that_training_has_met(make, data, tmp_path):
    is_seen, few = np.arange(N_LABELS) != 3, without(data.Y, 3)
    estimator = make(warm_start=True).fit(data.texts, few)
    assert estimator.is_seen_.dtype == bool
    np.testing.assert_array_equal(estimator.is_seen_, is_seen)
    estimator.save(tmp_path / "model")
    for copied in (load(tmp_path / "model"), pickle.loads(pickle.dumps(estimator))):
        np.testing.assert_array_equal(copied.is_seen_, is_seen)
        np.testing.assert_array_equal(copied.partial_fit(data.texts, few).is_seen_, is_seen)
        assert copied.partial_fit(data.texts, data.Y).is_seen_.all()
    # what was seen once stays seen, until a cold start
    assert estimator.fit(data.texts, without(data.Y, 2)).is_seen_.all()
    estimator.set_params(warm_start=False).fit(data.texts, few)
    np.testing.assert_array_equal(estimator.is_seen_, is_seen)


# ---------------------------------------------------------------------------------------- the model
def test_the_trained_module_is_the_one_that_predicts(make, data, monkeypatch):
    build, built = BagOfWordsEncoder.build_module, []

    def recorded(self):
        built.append(build(self))
        return built[-1]

    monkeypatch.setattr(BagOfWordsEncoder, "build_module", recorded)
    estimator = make().fit(data.texts, data.Y)
    labels, scores = estimator.predict_top_k(data.texts)
    assert len(built) == 1  # not built again after training
    assert estimator._get_ranker().module is built[0]
    assert not built[0].training
    # a copy builds its own, from the arrays, and answers the same
    copied = pickle.loads(pickle.dumps(estimator))
    assert "_ranker" not in vars(copied)
    again = copied.predict_top_k(data.texts)
    assert len(built) == 2
    assert copied._get_ranker().module is built[1]
    np.testing.assert_array_equal(again[0], labels)
    np.testing.assert_array_equal(again[1], scores)


# ----------------------------------------------------------------------------------------- settings
@pytest.mark.parametrize("encoder", [BagOfWordsEncoder(), TransformerEncoder("a model")])
def test_every_setting_is_the_parameter_of_its_name_or_what_none_stands_for(make, data, encoder):
    estimator = make(epochs=None, batch_size=None, dropout=np.float32(0.25))
    defaults = estimator._default_values(encoder)
    settings = estimator._settings(encoder, 7, data.Y, is_partial=True)
    assert settings.dim == 7
    assert type(settings.dropout) is float
    for field in fields(estimator._method.Settings):
        value, given = getattr(settings, field.name), getattr(estimator, field.name, None)
        if field.name == "epochs" and isinstance(defaults["epochs"], range):
            assert value in defaults["epochs"]
        elif field.name == "paper":  # a dict of details: the next test
            assert value == type(value)()
        elif field.name != "dim":
            assert value == (defaults.get(field.name) if given is None else given)
        assert value is not None or "None" in field.type


def test_details_of_the_paper_that_are_not_given_are_as_by_default(make, data):
    estimator = make(paper={"schedule": "linear"})
    settings = estimator._settings(BagOfWordsEncoder(), 7, data.Y, is_partial=False)
    details = estimator._method.Settings.details
    assert settings.paper == details(schedule="linear") != details()
    assert estimator.paper == {"schedule": "linear"}


def test_a_setting_that_no_parameter_has_is_an_error(make, data, monkeypatch):
    method = make()._method

    @dataclass(frozen=True, kw_only=True)
    class Wider(method.Settings):
        of_no_parameter: int

    monkeypatch.setattr(method, "Settings", Wider)
    with pytest.raises(AttributeError, match="of_no_parameter"):
        make().fit(data.texts, data.Y)
