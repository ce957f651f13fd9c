"""Random arguments, config files and texts, and disks that are full when a model is saved."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tries import FaultError, fuzzed, tried

import skxc
from skxc._cli import main

DOOR = "command line"
TEXTS = ["red apples", "green pears", "a fast car", "cars and trucks", "a red car"] * 4
NAMES = ["fruit", "red", "vehicle"]
CODES = (0, 1, 2, 130, 141, 143)
# last on the command line, so that they win: nothing here trains for long
SMALL = ["--epochs=1", "--bag.dim=4", "--verbose=0", "--device=cpu", "--random-state=0"]
METHODS = ["renee", "dual-encoder", "unidec"]

VALUES = """
0 -1 1 2 3 1e3 1e309 nan .inf -.inf null true false auto [] {} [1] [1,3] [1,1] {a:1}
model data texts fit.yaml . - -- = title [title] tsv jsonl npz pairs cpu cuda bag 1_0
1:1 0x1 [[1]] [null] '' ~ !!int !x &a *a @model fruit 99999999999999999999
"""


class Refused(Exception):  # noqa: N818
    """The command ended with an error, told as it should be."""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with data, texts and a model, which is copied for each try."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "data").mkdir()
    labels = ["0:1 1:1", "0:1", "2:1", "2:1", "1:1 2:1"]
    for part, n in (("trn", 20), ("tst", 5)):
        (folder / "data" / f"{part}_X.txt").write_text("".join(f"{t}\n" for t in TEXTS[:n]))
        pairs = "".join(f"{row}\n" for row in (labels * 4)[:n])
        (folder / "data" / f"{part}_X_Y.txt").write_text(f"{n} 3\n{pairs}")
    (folder / "data" / "Y.txt").write_text("".join(f"{name}\n" for name in NAMES))
    (folder / "texts").write_text("car\nred\n")
    with chdir(folder):
        assert main(["fit", "renee", "data", "--out", "model", *SMALL]) == 0
    return folder


@contextmanager
def copied(home: Path) -> Iterator[Path]:
    """Work in a copy of the folder."""
    with tempfile.TemporaryDirectory() as root:
        here = Path(os.path.realpath(root)) / "here"
        shutil.copytree(home, here)
        with chdir(here), mock.patch.dict(os.environ, {"HF_HUB_OFFLINE": "1", "HOME": root}):
            yield here


def run(argv: Sequence[str], stdin: bytes = b"") -> tuple[int, bytes, str]:
    """Exit code, stdout and stderr of a command in this process."""
    streams = [io.BytesIO(stdin), io.BytesIO(), io.BytesIO()]
    wrapped = [io.TextIOWrapper(stream, encoding="utf-8") for stream in streams]
    patches = [mock.patch.object(sys, f"std{k}", wrapped[i]) for i, k in enumerate(STREAMS)]
    with patches[0], patches[1], patches[2]:
        try:
            code = main(argv)
        except SystemExit as end:  # --help
            code = int(end.code or 0)
        for stream in wrapped[1:]:
            stream.flush()
    return code, streams[1].getvalue(), streams[2].getvalue().decode()


STREAMS = ("in", "out", "err")


def check_told(code: int, error: str) -> None:
    """Raise `Refused` for an error that is told well, `FaultError` for one that is not."""
    if code not in CODES:
        raise FaultError(f"exit code {code}")
    lines = [line for line in error.split("\n") if not line.startswith("skxc: warning: ")]
    if code == 0:
        if lines != [""]:
            raise FaultError(f"a success tells {error!r}")
        return
    is_line = len(lines) == 2 and not lines[1] and lines[0].startswith("skxc: error: ")
    if not is_line or len(lines[0].split()) < 5 or "(SKXC_DEBUG=1" in error:
        raise FaultError(f"exit code {code} tells {error!r}")
    raise Refused(error)


def check_output(argv: Sequence[str], out: bytes, stdin: bytes) -> None:
    """Raise if what a successful command wrote is not what it must be."""
    text = out.decode()
    if text.startswith("usage: skxc") or "--help" in argv or "-h" in argv:
        return
    if any(word.partition("=")[0].replace("-", "_") == "__print_config" for word in argv):
        assert isinstance(yaml.safe_load(text), dict)
    elif argv[0] == "--version":
        assert text == f"skxc {skxc.__version__}\n"
    elif argv[0] == "info":
        assert text.startswith("class  ")
    elif argv[0] == "fit":
        clf = skxc.load(text.rsplit(" after ", 1)[0].split(") to ", 1)[1])
        assert (clf.n_labels_, clf.n_iter_) == (3, 1)
        assert np.isfinite(clf.predict_proba(TEXTS).data).all()
    elif argv[0] == "evaluate":
        assert text
        if text.startswith("{"):
            assert all(0 <= value <= 1 for value in json.loads(text).values())


# ------------------------------------------------------------------------------------- strategies
def is_inside(word: str) -> bool:
    """Whether a path stays in the working directory."""
    return "/" not in word and ".." not in word and "~" not in word


words = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), max_size=8).filter(
    is_inside
)
values = st.one_of(
    words,
    st.sampled_from(VALUES.split()).filter(lambda word: word != "~"),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
)
NUMBERS_AND_WORDS = {
    "fit": "out overwrite layout fields encoder learning_rate top_k dropout batch_size precision "
    "loss device verbose bag.min_df bag.ngram_range bag.max_features transformer.pooling config "
    "early_stopping label_chunk_size random_state sparse_output print_config help nonsense",
    "predict": "top_k format out device config print_config help nonsense",
    "evaluate": "ks propensity json layout fields device config print_config help nonsense",
    "info": "help config nonsense",
}


@st.composite
def arguments(draw: Callable[[Any], Any]) -> list[str]:
    """A command line that is nearly right."""
    command = draw(st.sampled_from(sorted(NUMBERS_AND_WORDS)))
    start = {
        "fit": [draw(st.sampled_from(METHODS)), "data", "--out", "new"],
        "predict": ["model", "texts"],
        "evaluate": ["model", "data"],
        "info": ["model"],
    }[command]
    names = NUMBERS_AND_WORDS[command].split()
    options = list[str]()
    for name in draw(st.lists(st.sampled_from(names), max_size=3)):
        dashed = name.replace("_", "-") if draw(st.booleans()) else name
        value = draw(values)
        options += draw(
            st.sampled_from([[f"--{dashed}={value}"], [f"--{dashed}", value], [f"--{dashed}"]])
        )
    argv = [command, *start, *options]
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(argv) - 1))
        change = draw(st.sampled_from(["drop", "replace", "insert", "double"]))
        argv[at : at + (change in ("drop", "replace"))] = {
            "drop": [],
            "double": [argv[at]],
        }.get(change, [draw(values)])
        if not argv:
            break
    return argv + (SMALL if argv[:1] == ["fit"] else [])


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(NUMBERS_AND_WORDS["fit"].split()) | words
configs = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=100).map(lambda text: text.encode("utf8", "surrogatepass")),
    st.text("[]{}:,-&*a1!|>?#'\"\n \t%@", max_size=60).map(str.encode),
    st.dictionaries(keys, plain, max_size=3).map(lambda v: yaml.safe_dump(v).encode()),
    st.dictionaries(keys, plain, max_size=3).map(lambda v: json.dumps(v).encode()),
    st.integers(1, 60_000).map(lambda n: b"epochs: " + b"[" * n),
)
contents = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode("utf8", "surrogatepass")),
    st.lists(st.sampled_from([b"car", b"", b"\n", b"\r\n", b"\xef\xbb\xbf", b"\0"])).map(b" ".join),
)


# ------------------------------------------------------------------------------------------ tests
@fuzzed(60)
@given(argv=arguments())
def test_random_arguments(home, argv):
    with copied(home) as here, tried(DOOR, Refused):
        (here / "fit.yaml").write_text("top_k: 2\n")
        code, out, error = run(argv, b"car\n")
        check_told(code, error)
        check_output(argv, out, b"car\n")


@fuzzed(60)
@given(content=configs, method=st.sampled_from(METHODS))
def test_random_config_files(home, content, method):
    with copied(home) as here, tried(DOOR, Refused):
        (here / "fit.yaml").write_bytes(content)
        argv = ["fit", method, "data", "--out", "new", *SMALL, "--config", "fit.yaml"]
        argv += ["--encoder=bag"]
        code, out, error = run(argv)
        check_told(code, error)
        check_output(argv, out, b"")


def check_predicted(written: bytes, content: bytes) -> None:
    """One line of the model's labels for each line of text."""
    rows = [json.loads(line) for line in written.splitlines()]
    if len(rows) != content.count(b"\n") + (not content.endswith(b"\n") and bool(content)):
        raise FaultError(f"{len(rows)} lines for {content!r}")
    for row in rows:
        if sorted(row["labels"]) != NAMES or row["proba"] != sorted(row["proba"], reverse=True):
            raise FaultError(f"{row} for {content!r}")


def is_text(content: bytes) -> bool:
    """Whether all lines are UTF-8."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


@fuzzed(60)
@given(content=contents, kind=st.sampled_from(["stdin", "file", "file to file"]))
def test_random_texts(home, content, kind):
    with copied(home) as here, tried(DOOR, Refused):
        (here / "random").write_bytes(content)
        argv = ["predict", "model", *([] if kind == "stdin" else ["random"])]
        argv += ["--out", "labels"] if kind == "file to file" else []
        code, out, error = run(argv, content)
        if (code == 0) != is_text(content):
            raise FaultError(f"exit code {code} for {content!r}")
        if list(here.glob("*.part")) or (code and (here / "labels").exists()):
            raise FaultError(f"half of a file for {content!r}")
        check_told(code, error)
        written = (here / "labels").read_bytes() if kind == "file to file" else out
        check_predicted(written, content)


@fuzzed(3)
@given(content=contents)
def test_random_texts_through_a_real_pipe(home, content):
    with copied(home), tried(DOOR, Refused):
        command = [sys.executable, "-m", "skxc", "predict", "model"]
        done = subprocess.run(command, input=content, capture_output=True)
        if (done.returncode == 0) != is_text(content):
            raise FaultError(f"exit code {done.returncode} for {content!r}")
        check_told(done.returncode, done.stderr.decode())
        check_predicted(done.stdout, content)


OPERATIONS = ("mkdir", "open", "fsync", "rename")


@fuzzed(30)
@given(
    operation=st.sampled_from(OPERATIONS),
    n_before=st.integers(0, 6),
    number=st.sampled_from([errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS]),
    out=st.sampled_from(["new", "model", "."]),
)
def test_a_disk_that_fails_at_the_save_loses_no_model(home, operation, n_before, number, out):
    fit, real = skxc.ReneeClassifier.fit, getattr(os, operation)
    trained, calls = [], []

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls.append(operation)
        if trained and len(calls) == n_before + 1:
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    def fit_and_keep(self: Any, *args: Any, **kwargs: Any) -> Any:
        trained.append(fit(self, *args, **kwargs))
        calls.clear()
        return trained[-1]

    with copied(home) as here, tried(DOOR, Refused):
        data = str(here / "data")
        if out == ".":
            (here / "empty").mkdir()
        with (
            chdir(here / "empty" if out == "." else here),
            mock.patch.object(skxc.ReneeClassifier, "fit", fit_and_keep),
            mock.patch.object(os, operation, failing),
        ):
            code, told, error = run(["fit", "renee", data, "--out", out, "--overwrite", *SMALL])
            place = out
            if code:
                place = error.rsplit("saved to ", 1)[1].split(": move it to")[0]
            np.testing.assert_array_equal(
                skxc.load(place).predict_top_k(TEXTS, 3)[1], trained[0].predict_top_k(TEXTS, 3)[1]
            )
            if code and out == "model":
                skxc.load(out)  # the old one
        check_told(code, error)
        assert told.startswith(b"Saved ReneeClassifier")
