"""Forked children fit and predict, whatever their parent's threads were doing at the fork."""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import joblib
import numpy as np
import pytest
import torch
from tqdm.auto import tqdm

from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc._estimator import _fork
from skxc._estimator._fork import isolated_torch_seed
from skxc._search._ranker import Ranker
from skxc._validation import resolve_device
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
    # Python 3.12 warns of what is tested here
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
]

TEXTS = ["red apples", "green pears", "a fast car", "cars and trucks"] * 5
LABELS = [["fruit", "red"], ["fruit"], ["vehicle"], ["vehicle"]] * 5
NAMES = ["fruit", "red", "vehicle"]
CPU = torch.device("cpu")
SECONDS = 60  # by then, a child hangs


def in_child(function):
    """What the function returns in a forked child, which ends even if it hangs."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            result = pickle.dumps(function())
        except BaseException as error:
            result = pickle.dumps(repr(error))
        os.write(writer, result)
        os._exit(0)
    os.close(writer)
    try:
        has_ended, _, _ = select.select([reader], [], [], SECONDS)
        assert has_ended, "the child hangs"
        return pickle.loads(os.read(reader, 1 << 16))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)


@contextmanager
def held_by_another_thread(context):
    """Inside, a thread is in the middle of this context."""
    is_held, is_over = threading.Event(), threading.Event()

    def hold():
        with context:
            is_held.set()
            is_over.wait(2 * SECONDS)

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_held.wait(SECONDS)
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@contextmanager
def drawn_from_the_generator():
    """As in a fit of another seed: torch's random state is neither the user's nor a start."""
    with isolated_torch_seed(1, CPU):
        torch.rand(3)
        yield


@pytest.fixture(params=["bag", "bert"])
def encoder(request, tiny_bert):
    if request.param == "bag":
        return BagOfWordsEncoder(dim=8)
    return TransformerEncoder(tiny_bert, max_length=8)


def fitted(cls=ReneeClassifier, encoder=None):
    encoder = BagOfWordsEncoder(dim=8) if encoder is None else encoder
    clf = cls(encoder, label_texts=NAMES, epochs=1, random_state=0)
    Y = np.array([[name in row for name in NAMES] for row in LABELS], dtype=int)
    return clf.fit(TEXTS, Y)


def learnt(cls=ReneeClassifier, encoder=None):
    return fitted(cls, encoder).label_embeddings_.tobytes()


@pytest.mark.parametrize("cls", [ReneeClassifier, DualEncoderXC, UniDEC])
def test_a_child_fits_the_same_model_while_a_thread_of_its_parent_fits(cls, encoder):
    expected = learnt(cls, encoder)
    with held_by_another_thread(drawn_from_the_generator()):
        assert in_child(lambda: learnt(cls, encoder)) == expected


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    torch.randn(500, 500) @ torch.randn(500, 500)  # OpenMP's threads start
    yield
    torch.set_num_threads(1)


def test_a_child_fits_and_predicts_after_its_parent_used_two_threads(two_threads):
    clf = fitted()
    expected = clf.predict_labels(TEXTS, k=2)

    def work():
        torch.randn(500, 500) @ torch.randn(500, 500)
        return fitted().predict_labels(TEXTS, k=2), clf.predict_labels(TEXTS, k=2)

    assert in_child(work) == (expected, expected)
    assert in_child(torch.get_num_threads) == 1
    assert torch.get_num_threads() == 2


def test_a_child_of_a_child_fits(two_threads):
    expected = learnt()
    with held_by_another_thread(drawn_from_the_generator()):
        assert in_child(lambda: in_child(learnt)) == expected


def test_a_child_forked_in_a_fit_of_its_own_thread_goes_on():
    expected = learnt()

    def work():
        with isolated_torch_seed(1, CPU):
            inner = in_child(learnt)
        return inner, learnt()

    assert in_child(work) == (expected, expected)


def test_a_child_draws_random_numbers_although_a_thread_of_its_parent_does():
    is_over = threading.Event()

    def draw():  # the generator's own lock is held nearly all of the time
        while not is_over.is_set():
            torch.rand(1_000_000)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        for _ in range(5):
            assert in_child(lambda: len(torch.rand(2))) == 2
    finally:
        is_over.set()
        thread.join()


def test_a_child_is_renewed_although_the_fork_began_before_our_hooks_were_there():
    _fork._go_on()  # nothing was done before the fork
    with held_by_another_thread(_fork.torch_random()):
        held = _fork.torch_random()
        _fork._renew()
        assert _fork.torch_random() is not held


def test_a_child_fits_while_a_progress_bar_of_its_parent_is_drawn():
    expected = learnt()
    with held_by_another_thread(tqdm.get_lock()):
        assert in_child(learnt) == expected


def test_a_child_predicts_while_a_thread_of_its_parent_builds_a_model():
    clf = fitted()
    expected = clf.predict_labels(TEXTS, k=2)
    clf._ranker = None
    is_over = threading.Event()
    is_building = threading.Event()

    def build():
        is_building.set()
        is_over.wait(2 * SECONDS)

    thread = threading.Thread(target=lambda: Ranker(None, None, build, torch.float32).table)
    thread.start()
    try:
        assert is_building.wait(SECONDS)
        assert in_child(lambda: clf.predict_labels(TEXTS, k=2)) == expected
    finally:
        is_over.set()
        thread.join()


def test_a_child_forked_during_the_import_of_an_estimator_has_it():
    code = f"""
import os, signal, sys, threading, warnings
import skxc
warnings.simplefilter("ignore")
threading.Thread(target=lambda: skxc.ReneeClassifier).start()
while "skxc._estimator" not in sys.modules:
    pass
pid = os.fork()
if not pid:
    signal.alarm({SECONDS})  # it would hang
    skxc.ReneeClassifier()
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=2 * SECONDS)


def test_workers_of_joblib_s_multiprocessing_backend_fit_and_predict(two_threads):
    clf = fitted()
    expected = clf.predict_labels(TEXTS, k=2)
    work = joblib.Parallel(n_jobs=2, backend="multiprocessing", timeout=SECONDS)
    fits = work(joblib.delayed(fitted)() for _ in range(2))
    assert [fit.predict_labels(TEXTS, k=2) for fit in fits] == [expected] * 2
    assert work(joblib.delayed(clf.predict_labels)(TEXTS, 2) for _ in range(2)) == [expected] * 2


def test_auto_is_the_cpu_in_a_child_whose_parent_used_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto").type == "cuda"
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    assert resolve_device("auto").type == "cpu"
