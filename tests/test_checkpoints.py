"""A fit that is killed, at any moment, goes on to the very model of an undisturbed one."""

from __future__ import annotations

import copy
import errno
import inspect
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone

import skxc
from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc._training import _checkpoint, _interrupts
from skxc._training._checkpoint import FILE, Checkpoint
from skxc._training._loop import Step
from skxc.datasets import load_library_subjects, make_extreme_classification
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder

N_TEXTS, N_LABELS = 130, 40
TINY = {"epochs": 3, "batch_size": 24, "random_state": 0}
MINED = {"negatives": "mined", "mining_interval": 1, "pool_size": 20, "negatives_per_text": 2}
CASES = {
    "renee": ReneeClassifier(**TINY, momentum=0.9, early_stopping=True, n_iter_no_change=1),
    "renee-bfloat16": ReneeClassifier(**TINY, momentum=0.5, precision="bfloat16"),
    "dual": DualEncoderXC(**TINY, **MINED),
    "dual-all": DualEncoderXC(**TINY, early_stopping=True, negatives="all"),
    "unidec": UniDEC(**TINY, **MINED, batches="clustered", learn_temperature=True),
    "unidec-heads": UniDEC(**TINY, projection_dim=8, early_stopping=True, weight_decay=0.1),
}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """Epochs of milliseconds are each followed by a checkpoint."""
    monkeypatch.setattr(_checkpoint, "_PAUSE", 0)


@pytest.fixture(autouse=True)
def obeyed_signals():
    """A shell has what it runs in the background ignore Ctrl-C."""
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Killed(BaseException):
    """Nothing in the package handles it, as nothing handles a kill."""


@pytest.fixture(scope="module")
def data():
    b = make_extreme_classification(N_TEXTS, N_LABELS, words_per_text=6, random_state=0)
    return list(b.texts), b.Y, list(b.label_texts)


@pytest.fixture(params=["bag", "transformer"])
def encoder(request, tiny_bert):
    if request.param == "bag":
        return BagOfWordsEncoder(dim=16)
    return TransformerEncoder(model=tiny_bert, max_length=16)


def made(name, data, encoder=None, **parameters):
    encoder = BagOfWordsEncoder(dim=16) if encoder is None else encoder
    own = {"encoder": encoder, "label_texts": data[2], **parameters}
    if name == "unidec" and not encoder.has_words:
        own["lexical_learning_rate"] = 0.0
    if name == "unidec-heads":
        own["lexical_learning_rate"] = 0.0
    return clone(CASES[name]).set_params(**own)


def learnt(clf):
    """All fitted attributes but seconds, which no two fits share."""
    fitted = {k: v for k, v in vars(clf).items() if k not in clf.get_params(deep=False)}
    for name in ("_ranker", "encoder_"):
        fitted.pop(name, None)
    history = [{k: v for k, v in e.items() if k != "seconds"} for e in fitted.pop("history_")]
    return list(leaves((fitted, clf.encoder_.weights_, history)))


def leaves(value, name=""):
    """The values inside, arrays as their bytes: pickles differ by what is shared."""
    if isinstance(value, dict):
        value = sorted(value.items())
    if isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from leaves(item, f"{name}.{i}")
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield name, str(value.dtype), value.shape, value.tobytes()
    else:
        yield name, repr(value)


def kill(monkeypatch, after_write):
    """Have the next fit die after so many checkpoints; returns what it wrote."""
    write, written = Checkpoint._write, []

    def writing(self):
        write(self)
        written.append(self.place)
        if len(written) == after_write:
            raise Killed

    monkeypatch.setattr(Checkpoint, "_write", writing)
    return written


def fit_killed(clf, data, monkeypatch, after_write, **fit):
    """Whether the fit was killed."""
    with monkeypatch.context() as patch:
        kill(patch, after_write)
        try:
            clf.fit(data[0], data[1], **fit)
        except Killed:
            return True
    return False


# ------------------------------------------------------------------------------- the same model
@pytest.mark.parametrize("name", CASES)
def test_a_fit_killed_again_and_again_ends_in_the_model_of_an_undisturbed_one(
    name, encoder, data, tmp_path, monkeypatch
):
    undisturbed = made(name, data, encoder).fit(data[0], data[1])
    parameters = {"checkpoint_dir": tmp_path / "new" / "ck", "checkpoint_interval": 0}
    n_kills = 0
    for after_write in (1, 2, 3, 1, 4, 5, 2, 10**9):
        clf = made(name, data, encoder, **parameters)
        if not fit_killed(clf, data, monkeypatch, after_write):
            break
        assert not hasattr(clf, "classes_")
        n_kills += 1
    assert n_kills >= 5
    assert learnt(clf) == learnt(undisturbed)
    assert os.listdir(parameters["checkpoint_dir"]) == []


def test_checkpoints_after_epochs_do_likewise(data, tmp_path, monkeypatch):
    parameters = {"checkpoint_dir": str(tmp_path)}
    undisturbed = made("unidec", data).fit(data[0], data[1])
    assert fit_killed(made("unidec", data, **parameters), data, monkeypatch, 2)
    clf = made("unidec", data, **parameters)
    with monkeypatch.context() as patch:
        written = kill(patch, 10**9)
        clf.fit(data[0], data[1])
    assert written == ["all epochs done"]
    assert learnt(clf) == learnt(undisturbed)


def test_a_fit_that_writes_checkpoints_gives_the_model_of_one_that_does_not(data, tmp_path):
    written = made("dual", data, checkpoint_dir=tmp_path, checkpoint_interval=0)
    assert learnt(written.fit(*data[:2])) == learnt(made("dual", data).fit(*data[:2]))


def test_a_fit_killed_after_its_last_epoch_is_not_trained_again(data, tmp_path, monkeypatch):
    undisturbed = made("renee", data).fit(*data[:2])
    clf = made("renee", data, checkpoint_dir=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(ReneeClassifier, "_publish", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            clf.fit(*data[:2])
    with monkeypatch.context() as patch:
        patch.setattr(Step, "begin_epoch", lambda *_: (_ for _ in ()).throw(AssertionError))
        clf.fit(*data[:2])
    assert learnt(clf) == learnt(undisturbed)


def test_weights_and_excluded_pairs_are_part_of_it(data, tmp_path, monkeypatch):
    fit = {
        "sample_weight": np.arange(1, N_TEXTS + 1),
        "exclude": sp.random_array(data[1].shape, density=0.05, rng=0, format="csr") > 0,
    }
    undisturbed = made("renee", data).fit(*data[:2], **fit)
    clf = made("renee", data, checkpoint_dir=tmp_path)
    assert fit_killed(clf, data, monkeypatch, 1, **fit)
    assert learnt(clf.fit(*data[:2], **fit)) == learnt(undisturbed)


def test_a_warm_start_goes_on_from_its_own_checkpoint(data, tmp_path, monkeypatch):
    first = made("unidec", data).fit(*data[:2]).set_params(warm_start=True)
    undisturbed = copy.deepcopy(first).fit(*data[:2])
    clf = copy.deepcopy(first).set_params(checkpoint_dir=tmp_path)
    assert fit_killed(clf, data, monkeypatch, 1)
    assert learnt(clf) == learnt(first)
    again = pickle.loads(pickle.dumps(clf)).fit(*data[:2])
    assert learnt(again) == learnt(undisturbed)
    assert fit_killed(clf, data, monkeypatch, 1)
    with pytest.raises(ValueError, match="differs: the fitted model"):
        clf.set_params(warm_start=False).fit(*data[:2])


def test_without_a_seed_the_checkpoints_is_taken(data, tmp_path, monkeypatch):
    parameters = {"checkpoint_dir": tmp_path, "random_state": None, "keep_checkpoint": True}
    legacy = np.random.mtrand._rand  # what None stands for
    start = legacy.get_state()
    undisturbed = made("renee", data, random_state=None).fit(*data[:2])
    legacy.set_state(start)
    assert fit_killed(made("renee", data, **parameters), data, monkeypatch, 1)
    assert learnt(made("renee", data, **parameters).fit(*data[:2])) == learnt(undisturbed)


def test_a_checkpoint_that_is_kept_makes_the_same_fit_short(data, tmp_path):
    clf = made("dual", data, checkpoint_dir=tmp_path, keep_checkpoint=True).fit(*data[:2])
    assert os.listdir(tmp_path) == [FILE]
    before = (tmp_path / FILE).stat().st_mtime_ns
    again = clone(clf).fit(*data[:2])
    assert learnt(again) == learnt(clf)
    assert again.history_ == clf.history_  # the seconds, too: no epoch was run
    assert (tmp_path / FILE).stat().st_mtime_ns == before
    clone(clf).set_params(keep_checkpoint=False).fit(*data[:2])
    assert os.listdir(tmp_path) == []


def test_seconds_are_those_of_all_processes(data, tmp_path, monkeypatch):
    parameters = {"checkpoint_dir": tmp_path, "checkpoint_interval": 0, "epochs": 1}
    clf = made("renee-bfloat16", data, **parameters)
    step, paused = type(clf)._method.__call__, []

    def slow(self, *args, **kwargs):
        if not paused:
            paused.append(time.sleep(0.3))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(type(clf)._method, "__call__", slow)
    assert fit_killed(clf, data, monkeypatch, 1)
    assert clf.fit(*data[:2]).history_[0]["seconds"] > 0.3


def test_callbacks_of_the_user_are_called_for_the_epochs_that_are_left(data, tmp_path, monkeypatch):
    callbacks = pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9 has none")
    clf = made("renee-bfloat16", data, checkpoint_dir=tmp_path)
    if not hasattr(clf, "set_callbacks"):
        pytest.skip("scikit-learn before 1.9 has none")
    assert fit_killed(clf, data, monkeypatch, 2)
    clf.set_callbacks(callbacks.ProgressBar()).fit(*data[:2])
    assert clf.n_iter_ == 3


def test_partial_fit_writes_none(data, tmp_path):
    made("dual", data, checkpoint_dir=tmp_path).partial_fit(*data[:2])
    assert os.listdir(tmp_path) == []


# -------------------------------------------------------------------------------- another fit
def fit_of(data):
    return {"X": data[0], "y": data[1]}


OTHERS = {
    "X": lambda data: ({}, {"X": [*data[0][:-1], "another text"]}),
    "y": lambda data: ({}, {"y": data[1][::-1]}),
    "sample_weight": lambda data: ({}, {"sample_weight": np.arange(1, N_TEXTS + 1)}),
    "exclude": lambda data: ({}, {"exclude": sp.eye_array(N_TEXTS, N_LABELS, format="csr")}),
    "label_texts": lambda data: ({"label_texts": data[2][::-1]}, {}),
    r"random_state \(there 0, here 1\)": lambda _: ({"random_state": 1}, {}),
    r"epochs \(there 3, here 4\)": lambda _: ({"epochs": 4}, {}),
    r"dropout \(there None, here 0.1\)": lambda _: ({"dropout": 0.1}, {}),
    r"rerank_weight \(there 'auto', here 0\)": lambda _: ({"rerank_weight": 0}, {}),
    "encoder": lambda _: ({"encoder": BagOfWordsEncoder(dim=17)}, {}),
}


@pytest.fixture(scope="module")
def checkpoint(data, tmp_path_factory):
    """The content of one that a killed fit left."""
    folder = tmp_path_factory.mktemp("checkpoint")
    with pytest.MonkeyPatch.context() as patch:
        assert fit_killed(made("renee", data, checkpoint_dir=folder), data, patch, 1)
    return (folder / FILE).read_bytes()


@pytest.mark.parametrize("what", OTHERS)
def test_a_fit_that_differs_is_told_in_what(what, data, checkpoint, tmp_path):
    (tmp_path / FILE).write_bytes(checkpoint)
    parameters, fit = OTHERS[what](data)
    clf = made("renee", data, checkpoint_dir=tmp_path, **parameters)
    with pytest.raises(ValueError, match=f"is of a fit that differs: {what}. Pass what it was"):
        clf.fit(**fit_of(data) | fit)
    assert (tmp_path / FILE).read_bytes() == checkpoint


def test_another_estimator_is_told(data, checkpoint, tmp_path):
    (tmp_path / FILE).write_bytes(checkpoint)
    with pytest.raises(ValueError, match=r"differs: estimator \(there Renee.*here Dual"):
        made("dual", data, checkpoint_dir=tmp_path).fit(*data[:2])


def test_parameters_of_prediction_may_differ(data, checkpoint, tmp_path):
    (tmp_path / FILE).write_bytes(checkpoint)
    others = {"top_k": 7, "threshold": 0.3, "sparse_output": True, "verbose": 1}
    made("renee", data, checkpoint_dir=tmp_path, **others).fit(np.array(data[0]), data[1])


@pytest.mark.parametrize("at", [0, 100, -1, None])
def test_a_damaged_checkpoint_is_told_and_stays(at, data, checkpoint, tmp_path):
    damaged = bytearray(checkpoint)
    if at is None:
        del damaged[len(damaged) // 2 :]
    else:
        damaged[at] ^= 255
    (tmp_path / FILE).write_bytes(damaged)
    with pytest.raises(ValueError, match=r"checkpoint.safetensors cannot be read \(.*Delete it"):
        made("renee", data, checkpoint_dir=tmp_path).fit(*data[:2])
    assert (tmp_path / FILE).read_bytes() == damaged


def test_a_checkpoint_of_another_format_is_told(data, checkpoint, tmp_path, monkeypatch):
    (tmp_path / FILE).write_bytes(checkpoint)
    monkeypatch.setattr(_checkpoint, "FORMAT", _checkpoint.FORMAT + 1)
    with pytest.raises(ValueError, match=r"it has format 2, and this skxc writes 3"):
        made("renee", data, checkpoint_dir=tmp_path).fit(*data[:2])


@pytest.mark.parametrize(
    ("parameters", "error", "told"),
    [
        ({"checkpoint_dir": 3}, TypeError, "checkpoint_dir=3 is no folder. Pass a str"),
        ({"checkpoint_dir": ""}, ValueError, "checkpoint_dir is ''"),
        ({"checkpoint_interval": -1}, ValueError, "checkpoint_interval=-1 is out of range"),
        ({"checkpoint_interval": "step"}, ValueError, "Pass one of 'epoch'"),
        ({"keep_checkpoint": 2}, ValueError, "keep_checkpoint=2 is unknown"),
    ],
)
def test_bad_parameters_are_told(parameters, error, told, data):
    with pytest.raises(error, match=told):
        made("renee", data, **parameters).fit(*data[:2])


def test_a_folder_that_cannot_be_one_is_told(data, tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "ck", "a\0b"):
        with pytest.raises(ValueError, match=r"checkpoint_dir='.*' is no folder"):
            made("renee", data, checkpoint_dir=folder).fit(*data[:2])


# ------------------------------------------------------------------------------------ the folder
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_two_fits_do_not_share_a_folder(data, tmp_path, monkeypatch):
    clf, told = made("renee", data, checkpoint_dir=tmp_path), []
    after_epoch = Checkpoint.after_epoch

    def meanwhile(self):
        with pytest.raises(ValueError, match="is in use: another fit writes") as error:
            made("renee", data, checkpoint_dir=tmp_path).fit(*data[:2])
        told.append(str(error.value))
        after_epoch(self)

    monkeypatch.setattr(Checkpoint, "after_epoch", meanwhile)
    clf.fit(*data[:2])
    assert told


def test_what_a_killed_write_left_goes_and_other_files_stay(data, tmp_path):
    (tmp_path / f"{FILE}.new").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    made("renee", data, checkpoint_dir=tmp_path).fit(*data[:2])
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_a_full_disk_ends_no_training(data, tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    undisturbed = made("unidec", data).fit(*data[:2])
    monkeypatch.setattr(_checkpoint, "write_tensors", full)
    clf = made("unidec", data, checkpoint_dir=tmp_path).fit(*data[:2])
    assert learnt(clf) == learnt(undisturbed)
    told = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(told) == 3
    assert told[0].startswith("No checkpoint of epoch 2 to begin: ")
    assert told[0].endswith("No space left on device. Training goes on; the latest is none.")
    assert os.listdir(tmp_path) == []


def test_the_interval_counts_from_the_last_one(data, tmp_path, monkeypatch):
    now = [0.0]

    def wait(self):
        now[0] += 4.0
        after_batch(self)

    after_batch = Checkpoint.after_batch
    monkeypatch.setattr(_checkpoint.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Checkpoint, "after_batch", wait)
    with monkeypatch.context() as patch:
        written = kill(patch, 10**9)
        parameters = {"checkpoint_dir": tmp_path, "checkpoint_interval": 10}
        made("renee-bfloat16", data, **parameters).fit(*data[:2])
    n_batches = [int(place.split()[2]) for place in written if "batches" in place]
    assert n_batches[:2] == [3, 6]
    assert written[-1] == "all epochs done"


def test_short_epochs_are_not_each_followed_by_a_long_write(data, tmp_path, monkeypatch):
    now, write = [0.0], Checkpoint._write

    def slow(self):
        write(self)
        self.n_seconds = 3.0
        written.append(self.place)

    def wait(self):
        now[0] += 10.0
        after_epoch(self)

    after_epoch, written = Checkpoint.after_epoch, []
    monkeypatch.setattr(_checkpoint, "_PAUSE", 5)
    monkeypatch.setattr(_checkpoint.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Checkpoint, "after_epoch", wait)
    monkeypatch.setattr(Checkpoint, "_write", slow)
    made("dual", data, checkpoint_dir=tmp_path, epochs=6).fit(*data[:2])
    assert [place[:7] for place in written] == ["epoch 2", "epoch 4", "epoch 6", "all epo"]


# --------------------------------------------------------------------------------------- signals
def interrupted(monkeypatch, number, times=1, pause=0.0):
    """Have the third batch be interrupted while it is under way."""
    step, n_calls = ReneeClassifier._method.__call__, []

    def disturbed(self, *args, **kwargs):
        n_calls.append(0)
        if len(n_calls) == 3:
            for _ in range(times):
                signal.raise_signal(number)
            time.sleep(pause)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(ReneeClassifier._method, "__call__", disturbed)


def test_ctrl_c_writes_a_last_checkpoint_and_says_so(data, tmp_path, monkeypatch, caplog):
    undisturbed, before = made("renee", data).fit(*data[:2]), signal.getsignal(signal.SIGINT)
    clf = made("renee", data, checkpoint_dir=tmp_path)
    with monkeypatch.context() as patch:
        interrupted(patch, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            clf.fit(*data[:2])
    assert signal.getsignal(signal.SIGINT) is before
    path = tmp_path / FILE
    assert f"The same fit goes on from {path}, epoch 1, 3 of " in caplog.text
    assert not hasattr(clf, "classes_")
    assert learnt(clf.fit(*data[:2])) == learnt(undisturbed)


def test_a_second_ctrl_c_ends_at_once(data, tmp_path, monkeypatch):
    interrupted(monkeypatch, signal.SIGINT, times=2)
    with pytest.raises(KeyboardInterrupt):
        made("renee", data, checkpoint_dir=tmp_path).fit(*data[:2])
    assert os.listdir(tmp_path) == []


def test_a_long_batch_is_not_waited_for(data, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(_interrupts, "_GRACE", 0.05)
    interrupted(monkeypatch, signal.SIGINT, pause=30.0)
    with pytest.raises(KeyboardInterrupt):
        made("renee", data, checkpoint_dir=tmp_path, checkpoint_interval=0).fit(*data[:2])
    assert "Interrupted in a long step" in caplog.text
    assert "The latest is epoch 1, 2 of " in caplog.text


def test_a_handler_of_the_users_that_raises_nothing_lets_training_go_on(
    data, tmp_path, monkeypatch
):
    undisturbed, came = made("renee", data).fit(*data[:2]), []
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(0))
    try:
        interrupted(monkeypatch, signal.SIGTERM)
        clf = made("renee", data, checkpoint_dir=tmp_path).fit(*data[:2])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [0]
    assert learnt(clf) == learnt(undisturbed)


def test_a_fit_in_a_thread_leaves_signals_alone(data, tmp_path):
    clf, before = made("renee", data, checkpoint_dir=tmp_path), signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=clf.fit, args=data[:2])
    thread.start()
    thread.join()
    assert clf.n_iter_ > 0
    assert signal.getsignal(signal.SIGINT) is before


def fitted_to_subjects(folder):
    b = load_library_subjects()
    parameters = {"epochs": 2, "random_state": 0, "checkpoint_interval": 0}
    clf = UniDEC(
        BagOfWordsEncoder(dim=8), label_texts=b.label_texts, checkpoint_dir=folder, **parameters
    )
    return clf.fit(b.texts[:300], b.Y[:300])


_SCRIPT = f"""
import os, signal, sys
import torch
from skxc import UniDEC
from skxc._persistence import _writing
from skxc.datasets import load_library_subjects
from skxc.encoders import BagOfWordsEncoder

{inspect.getsource(fitted_to_subjects)}
torch.set_num_threads(1)
how, folder = sys.argv[1:]
parts, step, n = _writing.parts_in_c_order, UniDEC._method.__call__, [0]

def dying(array):
    for part in parts(array):
        n[0] += 1
        if n[0] == 40:  # within the file
            os.kill(os.getpid(), signal.SIGKILL)
        yield part

def disturbed(self, *args, **kwargs):
    n[0] += 1
    if n[0] == 12:
        os.kill(os.getpid(), signal.SIGTERM)
    return step(self, *args, **kwargs)

if how == "within a write":
    _writing.parts_in_c_order = dying
else:
    UniDEC._method.__call__ = disturbed
fitted_to_subjects(folder)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is Unix'")
def test_processes_that_are_killed_while_writing_or_terminated_lose_nothing(tmp_path):
    def run(how, folder):
        return subprocess.run(
            [sys.executable, "-c", _SCRIPT, how, str(folder)],
            capture_output=True,
            text=True,
        )

    killed = run("within a write", tmp_path / "b")
    assert killed.returncode == -signal.SIGKILL
    assert sorted(os.listdir(tmp_path / "b")) == [FILE, f"{FILE}.new"]
    terminated = run("SIGTERM", tmp_path / "b")
    assert terminated.returncode == -signal.SIGTERM
    assert "Interrupted. The same fit goes on from " in terminated.stderr
    models = [fitted_to_subjects(tmp_path / name) for name in "ab"]
    assert os.listdir(tmp_path / "b") == []
    texts = load_library_subjects().texts[:50]
    for one, other in zip(*(m.predict_top_k(texts) for m in models), strict=True):
        np.testing.assert_array_equal(one, other)
    assert learnt(models[0]) == learnt(models[1])


# ------------------------------------------------------------------------------------- elsewhere
def test_a_path_as_checkpoint_dir_is_saved_with_the_model(data, tmp_path):
    clf = made("renee", data, checkpoint_dir=tmp_path / "ck").fit(*data[:2])
    clf.save(tmp_path / "model")
    assert skxc.load(tmp_path / "model").checkpoint_dir == str(tmp_path / "ck")


def test_memory_estimate_is_the_same_on_a_cpu(data, tmp_path):
    plain, written = made("renee", data), made("renee", data, checkpoint_dir=tmp_path)
    assert plain.memory_estimate(*data[:2]) == written.memory_estimate(*data[:2])


def test_strided_tables_are_written_as_they_are(tmp_path):
    from skxc._persistence import read_tensors, write_tensors

    table = np.random.default_rng(0).normal(size=(7, 8)).astype(np.float32)
    arrays = {"a": table[:, :5], "b": table.T, "c": table[::2], "d": np.array(3), "e": table[:0]}
    write_tensors(tmp_path / "x.safetensors", arrays, {"about": "é"})
    metadata, read = read_tensors(tmp_path / "x.safetensors")
    assert metadata["about"] == "é"
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].shape == array.shape
    assert torch.equal(torch.tensor(read["b"]), torch.tensor(table.T.copy()))


# ------------------------------------------------------------------------------ found in a review
def test_equal_numbers_of_other_types_are_the_same_fit(data, tmp_path, monkeypatch):
    clf = made("renee", data, checkpoint_dir=tmp_path)
    assert fit_killed(clf, data, monkeypatch, 1)
    others = {"epochs": np.int64(3), "weight_decay": np.float64(0.01), "augment": np.True_}
    others |= {"random_state": np.int64(0), "momentum": np.float64(0.9)}
    undisturbed = made("renee", data).fit(*data[:2])
    assert learnt(clf.set_params(**others).fit(*data[:2])) == learnt(undisturbed)


def test_details_of_the_paper_count_as_they_are_resolved(data, tmp_path, monkeypatch):
    clf = made("renee", data, checkpoint_dir=tmp_path)
    assert fit_killed(clf, data, monkeypatch, 1)
    with pytest.raises(ValueError, match="differs: paper"):
        clf.set_params(paper={"schedule": "linear"}).fit(*data[:2])
    undisturbed, same = made("renee", data).fit(*data[:2]), {"adam_epsilon": np.float64(1e-8)}
    clf.set_params(paper={"schedule": "cosine", **same}).fit(*data[:2])
    assert learnt(clf) == learnt(undisturbed)


def test_a_random_state_that_has_moved_on_takes_the_checkpoints_seed(data, tmp_path, monkeypatch):
    undisturbed = made("renee", data, random_state=np.random.RandomState(0)).fit(*data[:2])
    clf = made("renee", data, checkpoint_dir=tmp_path, random_state=np.random.RandomState(0))
    assert fit_killed(clf, data, monkeypatch, 1)
    assert learnt(clf.fit(*data[:2])) == learnt(undisturbed)


def test_the_resolved_precision_is_part_of_the_fit(data, tmp_path, monkeypatch):
    clf = made("renee", data, checkpoint_dir=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(ReneeClassifier, "_dtype", lambda *_: torch.bfloat16)
        assert fit_killed(clf, data, patch, 1)
    with pytest.raises(ValueError, match=r"precision \(there bfloat16, here float32\)"):
        clf.fit(*data[:2])


def test_all_of_an_encoders_arrays_count(data, tmp_path, monkeypatch):
    class WithTable(BagOfWordsEncoder):
        def __init__(self, dim=16, table=None):
            super().__init__(dim=dim)
            self.table = table

    tables = [np.zeros((2000, 3)), np.zeros((2000, 3))]
    tables[1][1000] = 1.0
    clf = made("renee", data, WithTable(table=tables[0]), checkpoint_dir=tmp_path)
    assert fit_killed(clf, data, monkeypatch, 1)
    with pytest.raises(ValueError, match="differs: encoder"):
        clone(clf).set_params(encoder=WithTable(table=tables[1])).fit(*data[:2])


def test_a_warm_start_follows_a_fit_whose_checkpoint_was_kept(data, tmp_path):
    parameters = {"warm_start": True, "keep_checkpoint": True}
    clf = made("renee", data, checkpoint_dir=tmp_path, **parameters).fit(*data[:2])
    other = made("renee", data, warm_start=True).fit(*data[:2])
    assert learnt(clf.fit(*data[:2])) == learnt(other.fit(*data[:2]))


def test_a_long_write_is_waited_for(data, tmp_path, monkeypatch):
    write = _checkpoint.write_tensors

    def slow(*args):
        time.sleep(0.3)
        write(*args)

    monkeypatch.setattr(_interrupts, "_GRACE", 0.15)
    monkeypatch.setattr(_checkpoint, "write_tensors", slow)
    interrupted(monkeypatch, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        made("renee", data, checkpoint_dir=tmp_path).fit(*data[:2])
    assert os.listdir(tmp_path) == [FILE]


def test_a_signal_while_a_checkpoint_is_written_has_its_effect_after_it(
    data, tmp_path, monkeypatch
):
    write = _checkpoint.write_tensors

    def disturbed(*args):
        signal.raise_signal(signal.SIGINT)
        write(*args)

    monkeypatch.setattr(_checkpoint, "write_tensors", disturbed)
    with monkeypatch.context() as patch:
        written = kill(patch, 10**9)
        with pytest.raises(KeyboardInterrupt):
            made("renee", data, checkpoint_dir=tmp_path, checkpoint_interval=0).fit(*data[:2])
    assert len(written) == 1
    assert os.listdir(tmp_path) == [FILE]


def test_an_interrupted_fit_on_a_full_disk_promises_nothing(data, tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_checkpoint, "write_tensors", full)
    interrupted(monkeypatch, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        made("renee", data, checkpoint_dir=tmp_path).fit(*data[:2])
    assert "Interrupted. No checkpoint could be written." in caplog.text
    assert "goes on from" not in caplog.text


@pytest.fixture
def sigterms():
    """Those that reach a handler which raises nothing."""
    came = []
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(0))
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    yield came
    after = {n: signal.getsignal(n) for n in handlers}
    signal.signal(signal.SIGTERM, before)
    assert after == handlers


def test_a_signal_is_not_lost_where_a_batch_fails(data, tmp_path, monkeypatch, sigterms):
    def failing(self, *args, **kwargs):
        signal.raise_signal(signal.SIGTERM)
        raise ZeroDivisionError

    monkeypatch.setattr(ReneeClassifier._method, "__call__", failing)
    with pytest.raises(ZeroDivisionError):
        made("renee", data, checkpoint_dir=tmp_path).fit(*data[:2])
    assert sigterms == [0]


def test_a_signal_after_the_last_epoch_leaves_no_handler(data, tmp_path, monkeypatch, sigterms):
    after_epoch = Checkpoint.after_epoch

    def late(self):
        after_epoch(self)
        if self._state.progress.is_over:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Checkpoint, "after_epoch", late)
    made("renee", data, checkpoint_dir=tmp_path).fit(*data[:2])
    assert sigterms == [0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_ends_at_once_and_keeps_no_lock(data, tmp_path, monkeypatch):
    children, after_epoch = [], Checkpoint.after_epoch

    def forking(self):
        after_epoch(self)
        if not children:
            children.append(os.fork())
            if not children[0]:
                time.sleep(60)
                os._exit(1)
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "after_epoch", forking)
        with pytest.raises(Killed):
            made("renee", data, checkpoint_dir=tmp_path).fit(*data[:2])
    try:
        made("renee", data, checkpoint_dir=tmp_path).fit(*data[:2])  # not in use
        os.kill(children[0], signal.SIGTERM)
        began = time.monotonic()
        assert os.WTERMSIG(os.waitpid(children[0], 0)[1]) == signal.SIGTERM
        assert time.monotonic() - began < 5
    except BaseException:
        os.kill(children[0], signal.SIGKILL)
        raise
