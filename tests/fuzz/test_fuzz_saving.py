"""Faults and kills at every file operation of `save`, and loads while others save."""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from tries import SECONDS, FaultError, fuzzed, tried

import skxc
from skxc import ReneeClassifier
from skxc._persistence import _writing
from skxc.encoders import BagOfWordsEncoder

TEXTS = ["red glass lamp", "green garden chair", "black piano", "glass chair", "red piano"] * 4
Y = sp.csr_array(np.eye(5, dtype=np.float32)[[0, 1, 2, 3, 4] * 4])
OPERATIONS = (
    "chmod", "chown", "close", "fsync", "link", "listdir", "mkdir", "open", "rename", "replace",
    "rmdir", "scandir", "sendfile", "unlink",
)  # fmt: skip
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


def model(seed: int) -> ReneeClassifier:
    """One of two models of the same shapes; the seed is also its top_k."""
    encoder = BagOfWordsEncoder(dim=4, min_df=1)
    return ReneeClassifier(encoder, epochs=2, random_state=seed, top_k=seed).fit(TEXTS, Y)


@pytest.fixture(scope="module")
def models() -> dict[int, Any]:
    """By seed: the model, and its scores."""
    return {seed: (clf := model(seed), scores(clf)) for seed in (2, 3)}


def scores(clf: Any) -> np.ndarray:
    """What both tables of the model tell of the texts."""
    return np.hstack([clf.transform(TEXTS), clf.predict_proba(TEXTS).toarray()])


def seed_of(clf: Any, models: dict[int, Any]) -> int:
    """Which of the models it is, wholly."""
    seed: int = clf.top_k
    if clf.random_state != seed or not np.array_equal(scores(clf), models[seed][1]):
        raise FaultError("half of one model, half of another")
    return seed


# ------------------------------------------------------------------------------------------ faults
@dataclass
class Faults:
    """Lets `n_before` file operations pass, and then does `fault` once, or again and again."""

    n_before: int
    fault: Callable[[], None]
    is_lasting: bool
    n_done: int = 0
    failed: list[str] = field(default_factory=list)

    def check(self, what: str) -> None:
        """Count an operation, which may be one that fails."""
        self.n_done += 1
        n_over = self.n_done - self.n_before
        if n_over == 1 or (self.is_lasting and n_over > 1):
            self.failed.append(what)
            self.fault()

    def wrapped(self, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, as an operation that may fail."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self.check(what)
            return function(*args, **kwargs)

        return call

    def opened(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        """A file; each write is an operation."""
        self.check("io.open")
        opened = io_open(file, mode, *args, **kwargs)
        return _File(opened, self) if "w" in mode else opened

    @contextmanager
    def injected(self) -> Iterator[None]:
        """Have the operations of this process fail."""
        with (
            mock.patch.multiple(
                os, **{name: self.wrapped(name, getattr(os, name)) for name in OPERATIONS}
            ),
            mock.patch("io.open", self.opened),
            mock.patch.object(_writing, "exchange", self.wrapped("exchange", _writing.exchange)),
        ):
            yield


io_open = io.open


class _File:
    """A file whose writes may fail."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self.file, self.faults = file, faults

    def write(self, content: Any) -> int:
        self.faults.check("write")
        n_bytes: int = self.file.write(content)
        return n_bytes

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: Any) -> None:
        self.file.close()


def fail() -> None:
    raise OSError(errno.ENOSPC, "no space left on this device")


def interrupt() -> None:
    raise KeyboardInterrupt


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def place(kind: str) -> Iterator[tuple[str, Path]]:
    """A folder's name as it is passed, and its path."""
    with tempfile.TemporaryDirectory() as root:
        target = Path(os.path.realpath(root)) / "model"
        if kind == "beside":
            yield str(target), target
            return
        target.mkdir()
        with chdir(target):
            yield ".", target


@contextmanager
def simple_file_system(is_simple: bool) -> Iterator[None]:
    """As on one that can neither exchange two folders nor link files."""

    def no_link(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EPERM, "no links")

    if not is_simple:
        yield
        return
    with (
        mock.patch.object(_writing, "exchange", return_value=False),
        mock.patch.object(os, "link", no_link),
    ):
        yield


def is_whole_after(target: Path, message: str, models: dict[int, Any], was_there: bool) -> bool:
    """Whether a whole model is under the name, or where the message says; raise if none is."""
    try:
        loaded = skxc.load(target)
    except (FileNotFoundError, ValueError) as error:
        paths = [p for p in (*target.parent.iterdir(), *target.rglob("*")) if p.suffix in SUFFIXES]
        named = [p for p in paths if str(p) in f"{error} {message}"]
        if was_there or named:
            if not named:
                raise FaultError(f"the old model is lost: {error}") from error
            for path in named:
                seed_of(skxc.load(path), models)
        return False
    seed_of(loaded, models)
    return True


SUFFIXES = (".new", ".old")
FAULTS = {"error": fail, "interrupt": interrupt, "kill": kill}


@needs_fork
@fuzzed(60)
@given(
    kind=st.sampled_from(["beside", "in place"]),
    fault=st.sampled_from(sorted(FAULTS)),
    is_lasting=st.booleans(),
    was_there=st.booleans(),
    is_simple=st.booleans(),
    n_before=st.integers(0, 160),
)
def test_a_save_under_faults_loses_nothing(
    models, kind, fault, is_lasting, was_there, is_simple, n_before
):
    check_save_under_faults(models, kind, fault, is_lasting, was_there, is_simple, n_before)


def check_save_under_faults(
    models: dict[int, Any],
    kind: str,
    fault: str,
    is_lasting: bool,
    was_there: bool,
    is_simple: bool,
    n_before: int,
) -> None:
    """One save under a fault; what is there afterwards; a save after it."""
    faults = Faults(n_before, FAULTS[fault], is_lasting and fault == "error")
    with place(kind) as (name, target), simple_file_system(is_simple):
        if was_there:
            models[2][0].save(name)
        message = ""
        with tried("save under faults", KeyboardInterrupt, Injected):
            if fault == "kill":
                run_killed(lambda: save(models[3][0], name, faults))
            else:
                try:
                    save(models[3][0], name, faults)
                    assert seed_of(skxc.load(name), models) == 3
                except (OSError, KeyboardInterrupt) as error:
                    message = str(error)
                    is_whole_after(target, message, models, was_there)
                    raise Injected(message) from error
            is_whole_after(target, message, models, was_there)
        models[3][0].save(name)
        assert seed_of(skxc.load(name), models) == 3
        found = {p.name for p in (*target.iterdir(), *target.parent.iterdir())}
        left = {path for path in found if path.endswith(SUFFIXES)}
        assert fault != "kill" or not left, left


class Injected(Exception):  # noqa: N818
    """An error that was asked for."""


def save(clf: Any, name: str, faults: Faults) -> None:
    """Save under faults."""
    with faults.injected():
        clf.save(name)


def run_killed(call: Callable[[], None]) -> None:
    """Run it in a forked process, which may be killed."""
    child = os.fork()
    if not child:
        try:
            call()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


# -------------------------------------------------------------------------------- loads and saves
def save_in_turn(name: str, is_simple: bool, stop: Any) -> None:
    """Save one model and the other, until told to stop."""
    clfs = [model(2), model(3)]
    with simple_file_system(is_simple):
        while not stop.is_set():
            for clf in clfs:
                clf.save(name)


def run_saver(name: str, is_simple: bool, stop: Any) -> None:
    """`save_in_turn`; in the working directory, where the name is a dot."""
    with chdir(name):
        save_in_turn(".", is_simple, stop)


@needs_fork
@pytest.mark.parametrize("is_simple", [False, True], ids=["exchange and links", "neither"])
@pytest.mark.parametrize("kind", ["beside", "in place"])
def test_a_load_during_saves_gives_one_of_the_models(models, tmp_path, kind, is_simple):
    target = tmp_path / "model"
    models[2][0].save(target)
    context = multiprocessing.get_context("fork")
    stop = context.Event()
    run = run_saver if kind == "in place" else save_in_turn
    saver = context.Process(target=run, args=(str(target), is_simple, stop))
    saver.start()
    found = set()
    end = time.monotonic() + SECONDS / 2
    n_loads = 0
    try:
        while n_loads < 40 or time.monotonic() < end:
            n_loads += 1
            with tried("load during saves"):
                found.add(seed_of(skxc.load(target, mmap=n_loads % 2 == 0), models))
    finally:
        stop.set()
        saver.join()
    assert saver.exitcode == 0
    assert n_loads < 1000 or found == {2, 3}


@needs_fork
@pytest.mark.parametrize("is_simple", [False, True], ids=["exchange and links", "neither"])
@pytest.mark.parametrize("kind", ["beside", "in place"])
def test_saves_at_once_leave_one_of_the_models(models, kind, is_simple):
    with place(kind) as (name, target), simple_file_system(is_simple):
        end = time.monotonic() + SECONDS / 4
        n_rounds = 0
        while n_rounds < 3 or time.monotonic() < end:
            n_rounds += 1
            with tried("save under faults"):
                children = [forked(models[seed][0], name) for seed in (2, 3, 2, 3)]
                assert {os.waitpid(child, 0)[1] for child in children} == {0}
                seed_of(skxc.load(target), models)
                found = {p.name for p in (*target.iterdir(), *target.parent.iterdir())}
                assert not {path for path in found if path.endswith(SUFFIXES)}


def forked(clf: Any, name: str) -> int:
    """A child that saves."""
    child = os.fork()
    if not child:
        try:
            clf.save(name)
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    return child
