"""Threads that predict for the first time at once, and that draw while others fit."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from contract import CASES, assert_equal_models
from sklearn.base import clone

import skxc
from skxc import ReneeClassifier
from skxc._search import _building
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder

N_THREADS = 8
TEXTS = ["red apples", "green pears", "a fast car", "cars and trucks"] * 5
LABELS = [["fruit", "red"], ["fruit"], ["vehicle"], ["vehicle"]] * 5
CLASSES = [type(case.prototype) for case in CASES]


@contextmanager
def threads_that_change_often():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def all_at_once(*functions):
    """What the functions return, each in a thread, none before all are there."""
    barrier = threading.Barrier(len(functions))

    def run(function):
        barrier.wait()
        return function()

    with threads_that_change_often(), ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(run, functions))


@contextmanager
def another_thread_draws():
    """Inside, a thread draws from torch's own generator all the time."""
    is_over = threading.Event()

    def draw():
        while not is_over.is_set():
            torch.rand(3)

    thread = threading.Thread(target=draw)
    with threads_that_change_often():
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


def fit(cls, encoder=None, **parameters):
    encoder = BagOfWordsEncoder(dim=8, min_df=1) if encoder is None else encoder
    return cls(encoder, **{"epochs": 2, "random_state": 0, **parameters}).fit(TEXTS, LABELS)


@pytest.fixture(scope="module", params=CLASSES)
def saved(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    fit(request.param).save(folder / "model")
    return folder / "model"


def test_first_predictions_in_many_threads_equal_those_of_one(saved):
    want = skxc.load(saved).predict_proba(TEXTS).toarray()
    for _ in range(20):
        clf = skxc.load(saved)
        found = all_at_once(*[lambda clf=clf: clf.predict_proba(TEXTS).toarray()] * N_THREADS)
        np.testing.assert_array_equal(found, [want] * N_THREADS)


def test_the_model_is_built_once_for_all_threads(saved, monkeypatch):
    clf, built = skxc.load(saved), []
    encoder, restored = type(clf.encoder_), type(clf)._method.restored
    build = encoder.build_module
    monkeypatch.setattr(encoder, "build_module", lambda self: built.append(0) or build(self))

    def tables_counted(*arguments):
        ranker = restored(*arguments)
        make = ranker.make_table
        vars(ranker)["make_table"] = lambda: built.append(1) or make()
        return ranker

    monkeypatch.setattr(type(clf)._method, "restored", tables_counted)
    all_at_once(*[lambda: clf.predict(TEXTS)] * N_THREADS)
    assert sorted(built) == [0, 1]


def test_a_model_is_copied_and_saved_while_others_predict_for_the_first_time(saved, tmp_path):
    want = skxc.load(saved).predict_proba(TEXTS).toarray()
    for i in range(10):
        clf = skxc.load(saved)

        def save(clf=clf, i=i):
            clf.save(tmp_path / str(i))
            return skxc.load(tmp_path / str(i))

        copies = [
            lambda clf=clf: pickle.loads(pickle.dumps(clf)),
            lambda clf=clf: copy.deepcopy(clf),
            lambda clf=clf: copy.copy(clf),
            save,
            lambda clf=clf: (clone(clf), clf)[1],
        ]
        predictions = [lambda clf=clf: (clf.predict_proba(TEXTS), clf)[1]] * 3
        for made in all_at_once(*copies, *predictions):
            np.testing.assert_array_equal(made.predict_proba(TEXTS).toarray(), want)


def test_a_device_and_precision_set_while_others_predict_change_no_prediction(saved):
    want = skxc.load(saved).predict_proba(TEXTS).toarray()
    for _ in range(10):
        clf = skxc.load(saved)
        changes = [
            lambda clf=clf: clf.set_params(device="cpu").predict_proba(TEXTS).toarray(),
            lambda clf=clf: clf.set_params(precision="float32").predict_proba(TEXTS).toarray(),
        ]
        others = [lambda clf=clf: clf.predict_proba(TEXTS).toarray()] * 6
        np.testing.assert_array_equal(all_at_once(*changes, *others), [want] * N_THREADS)


def test_a_first_prediction_waits_for_no_other_model(saved):
    clf, other = skxc.load(saved), skxc.load(saved)
    with _building.building(other), _building.building(other._get_ranker()):
        thread = threading.Thread(target=lambda: clf.predict(TEXTS))
        thread.start()
        thread.join(60)
        assert not thread.is_alive()


@dataclass  # by its values: it has no hash
class Equal(ReneeClassifier):
    pass


def test_an_estimator_without_a_hash_predicts_and_leaves_no_lock(tmp_path):
    clf = fit(Equal)
    with pytest.raises(TypeError, match="unhashable"):
        hash(clf)
    clf._ranker = None
    want = fit(ReneeClassifier).predict_proba(TEXTS).toarray()
    np.testing.assert_array_equal(clf.predict_proba(TEXTS).toarray(), want)
    gone = {id(clf), id(clf._ranker)}
    assert gone <= set(_building._locks)
    del clf
    gc.collect()
    assert not gone & set(_building._locks)


def test_prediction_waits_for_no_lock_once_the_model_is_built(saved):
    clf = skxc.load(saved)
    want = clf.predict_proba(TEXTS).toarray()
    found = []
    with _building.building(clf), _building.building(clf._get_ranker()):
        thread = threading.Thread(target=lambda: found.append(clf.predict_proba(TEXTS).toarray()))
        thread.start()
        thread.join(60)
        assert not thread.is_alive()
    np.testing.assert_array_equal(found[0], want)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize(
    "parameters", [{}, {"early_stopping": True}, {"projection_dim": 4}, {"encode_batch_size": 3}]
)
def test_a_fit_is_the_same_while_another_thread_draws_random_numbers(cls, parameters):
    if not set(parameters) <= set(cls().get_params()):
        pytest.skip("a parameter of UniDEC")
    want = fit(cls, **parameters)
    with another_thread_draws():
        assert_equal_models(fit(cls, **parameters), want)


def test_a_pretrained_model_starts_the_same_while_another_thread_draws(tiny_bert):
    encoder = TransformerEncoder(tiny_bert, max_length=8, projection_dim=4)
    want = clone(encoder).fit(TEXTS, seed=1).weights_
    with another_thread_draws():
        found = clone(encoder).fit(TEXTS, seed=1).weights_
    for name, weights in want.items():
        np.testing.assert_array_equal(found[name], weights)


def test_building_a_pretrained_model_moves_nobody_s_random_numbers(tiny_bert):
    encoder = TransformerEncoder(tiny_bert, max_length=8).fit(TEXTS, seed=0)
    before = torch.get_rng_state()
    builds = threading.Thread(target=encoder.build_module)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        want = torch.rand(100_000)
        torch.manual_seed(0)
        builds.start()
        found = [torch.rand(1)]
        while builds.is_alive():
            found.append(torch.rand(1))
        builds.join()
    n = min(len(found), len(want))
    torch.testing.assert_close(torch.cat(found)[:n], want[:n], rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), before)
