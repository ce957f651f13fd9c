"""The command line when something goes wrong: what was trained is kept, nothing half is left."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from test_cli import TEXTS, TINY, failing, ran, started, write_data

import skxc
from skxc._cli import main
from skxc._cli._saving import check_space
from skxc._cli._signals import Terminated, orderly_end
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data") / "pairs", "pairs")


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("model") / "renee")
    assert main(["fit", "renee", data, "--out", folder, *TINY]) == 0
    return folder


def scores(folder):
    return skxc.load(folder).predict_top_k(TEXTS, 3)[1]


def saved_beside(told):
    return Path(re.search(r"saved to (\S+): move it to", told)[1])


# ------------------------------------------------------------------------------- a save that fails
def failing_in(monkeypatch, *folders):
    """Have nothing be made in these folders, once training has begun."""
    mkdir, fit = os.mkdir, skxc.ReneeClassifier.fit

    def refusing(path, *args, **kwargs):
        if Path(path).parent in folders:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        mkdir(path, *args, **kwargs)

    def fit_and_fill(self, *args, **kwargs):
        monkeypatch.setattr(os, "mkdir", refusing)
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(skxc.ReneeClassifier, "fit", fit_and_fill)


def test_a_model_that_cannot_be_saved_goes_to_the_temporary_folder(
    data, model, tmp_path, capsys, monkeypatch
):
    (tmp_path / "full").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    failing_in(monkeypatch, tmp_path / "full")
    out = tmp_path / "full" / "model"
    told = failing(capsys, "fit", "renee", data, "--out", out, *TINY, code=1)
    assert "No space left on device" in told
    assert told.endswith(f": move it to {out}.\n")
    assert saved_beside(told).parent == tmp_path / "tmp"
    np.testing.assert_array_equal(scores(saved_beside(told)), scores(model))
    assert list((tmp_path / "full").iterdir()) == []


def test_a_model_that_no_place_takes_is_said_to_be_lost(data, tmp_path, capsys, monkeypatch):
    for name in ("full", "tmp", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    failing_in(monkeypatch, tmp_path, *(tmp_path / name for name in ("full", "tmp", "home")))
    out = tmp_path / "full" / "model"
    assert "it is lost" in failing(capsys, "fit", "renee", data, "--out", out, *TINY, code=1)


@pytest.mark.parametrize("appears", ["model", "file", "folder of files"])
def test_what_appeared_during_training_stays(appears, data, model, tmp_path, capsys, monkeypatch):
    out, fit = tmp_path / "out", skxc.ReneeClassifier.fit

    def fit_meanwhile(self, *args, **kwargs):
        fitted = fit(self, *args, **kwargs)
        if appears == "model":
            shutil.copytree(model, out)
        elif appears == "file":
            out.write_text("thesis")
        else:
            out.mkdir()
            (out / "thesis.txt").write_text("thesis")
        return fitted

    monkeypatch.setattr(skxc.ReneeClassifier, "fit", fit_meanwhile)
    told = failing(capsys, "fit", "renee", data, "--out", out, *TINY, "--epochs=1", code=1)
    beside = saved_beside(told)
    assert told.endswith("move it to a free name.\n")
    assert beside.parent == tmp_path
    assert skxc.load(beside).n_iter_ == 1
    if appears == "model":
        assert skxc.load(out).n_iter_ == 2
    else:
        assert (out if appears == "file" else out / "thesis.txt").read_text() == "thesis"


def test_a_working_directory_that_is_deleted_loses_no_model(data, tmp_path, monkeypatch, capsys):
    here, fit = tmp_path / "here", skxc.ReneeClassifier.fit
    here.mkdir()
    monkeypatch.chdir(here)

    def fit_meanwhile(self, *args, **kwargs):
        here.rmdir()
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(skxc.ReneeClassifier, "fit", fit_meanwhile)
    assert main(["fit", "renee", data, "--out", "model", *TINY]) == 0
    assert skxc.load(here / "model").n_iter_ == 2


@pytest.mark.parametrize(
    ("content", "words"), [("", None), ("thesis", "is not empty"), ("model", "holds a model")]
)
def test_the_working_directory_is_saved_to_or_refused(
    content, words, data, model, tmp_path, monkeypatch, capsys
):
    here = tmp_path / "here"
    if content == "model":
        shutil.copytree(model, here)
    else:
        here.mkdir()
    if content == "thesis":
        (here / "thesis.txt").touch()
    monkeypatch.chdir(here)
    if words is None:
        assert main(["fit", "renee", data, "--out", ".", *TINY]) == 0
        np.testing.assert_array_equal(scores(here), scores(model))
        return
    monkeypatch.setattr(skxc.ReneeClassifier, "fit", None)
    assert words in failing(capsys, "fit", "renee", data, "--out", ".", *TINY)


def test_an_empty_name_is_refused(data, capsys):
    assert "--out is empty" in failing(capsys, "fit", "renee", data, "--out", "")


def test_a_name_too_long_for_the_staging_folder_is_refused_before_training(
    data, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(skxc.ReneeClassifier, "fit", None)
    told = failing(capsys, "fit", "renee", data, "--out", tmp_path / ("m" * 250))
    assert "cannot be written to (File name too long)" in told


# ------------------------------------------------------------------------------------------- space
@pytest.mark.parametrize("name", ["renee", "dual-encoder", "unidec"])
def test_no_fit_is_refused_whose_model_has_space(name, data, tmp_path, monkeypatch, capsys):
    fit = ["fit", name, data, *TINY]
    assert main([*fit, "--out", str(tmp_path / "model")]) == 0
    size = sum(p.stat().st_size for p in (tmp_path / "model").rglob("*") if p.is_file())
    capsys.readouterr()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size))
    assert main([*fit, "--out", str(tmp_path / "other")]) == 0
    capsys.readouterr()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4 * 3 * 8 - 1))
    told = failing(capsys, *fit, "--out", tmp_path / "third")
    assert "has 0.00 MB free" in told


def test_the_space_needed_counts_the_dim_of_any_encoder(tiny_bert, tmp_path, monkeypatch):
    hidden_size = TransformerEncoder(tiny_bert)
    dims = [(BagOfWordsEncoder(dim=8), 8), (TransformerEncoder(tiny_bert, projection_dim=4), 4)]
    from skxc.encoders._hub import load_config

    dims.append((hidden_size, load_config(tiny_bert).hidden_size))
    usage = shutil.disk_usage(tmp_path)
    for encoder, dim in dims:
        for n_missing in (0, 1):
            free = 4 * dim * 100 - n_missing
            monkeypatch.setattr(shutil, "disk_usage", lambda _, f=free: usage._replace(free=f))
            if n_missing:
                with pytest.raises(Exception, match="Make room"):
                    check_space(encoder, 100, tmp_path / "model")
            else:
                check_space(encoder, 100, tmp_path / "model")


# --------------------------------------------------------------------------------- closed streams
def test_no_file_gets_the_number_of_a_closed_stream(model, data, tmp_path):
    streams = "<&- >&- 2>&-"
    (tmp_path / "texts.txt").write_text("car\nred\n")
    out, labels = str(tmp_path / "model"), tmp_path / "labels.jsonl"
    assert ran("fit", "renee", data, "--out", out, *TINY[:-1], redirected=streams)[0] == 0
    np.testing.assert_array_equal(scores(out), scores(model))
    predict = ("predict", model, str(tmp_path / "texts.txt"), "--out", str(labels))
    assert ran(*predict, redirected=streams)[0] == 0
    assert main([*predict[:-1], str(tmp_path / "expected.jsonl")]) == 0
    assert labels.read_bytes() == (tmp_path / "expected.jsonl").read_bytes()


def test_the_next_file_has_the_number_3_or_more_whatever_is_closed(tmp_path):
    code = f"""
import os
from skxc._cli._streams import prepare_output
prepare_output()
with open({str(tmp_path / "told")!r}, "w") as file:
    file.write(str(file.fileno()))
"""
    for streams in ("<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"):
        command = ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, "-c", code]
        subprocess.run(command, check=True)
        assert int((tmp_path / "told").read_text()) >= 3


# ----------------------------------------------------------------------------------------- signals
ENDS = {signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(autouse=True)
def _hanging_up_is_not_ignored():
    """Under nohup it is, also in the processes that the tests start."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_terminated_fit_leaves_nothing_behind(data, tmp_path):
    fit = ("fit", "renee", data, "--out", str(tmp_path / "model"), "--epochs=1000000")
    with started(*fit, stderr=subprocess.PIPE) as process:
        while b"epoch 1 of" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.stderr.read().splitlines()[-1] == b"skxc: terminated"
    assert process.returncode == 143
    assert list(tmp_path.iterdir()) == []


def test_a_terminated_prediction_leaves_no_part(model, tmp_path):
    out = tmp_path / "labels.jsonl"
    predict = ("predict", model, "--out", str(out))
    with started(*predict, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(b"car\n")
        process.stdin.flush()
        while not list(tmp_path.glob("*.part")):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.stderr.read() == b"skxc: terminated\n"
    assert process.returncode == 143
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
def test_a_second_signal_does_not_break_off_the_end_and_handlers_come_back(number):
    cleaned = []

    def ended():
        with orderly_end():
            try:
                os.kill(os.getpid(), number)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGHUP)
                cleaned.append(True)

    with pytest.raises(Terminated) as end:
        ended()
    assert cleaned
    assert end.value.exit_code == ENDS[number]
    assert signal.getsignal(signal.SIGTERM) is signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_a_handler_of_the_callers_own_is_left_to_it():
    caught = []
    before = signal.signal(signal.SIGTERM, lambda *_: caught.append(1))
    try:
        with orderly_end():
            os.kill(os.getpid(), signal.SIGTERM)
        assert caught == [1]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_forked_process_ends_by_the_signal_itself():
    with orderly_end():
        child = os.fork()
        if not child:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM


# ------------------------------------------------------------------------------------ config files
BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (BOMB.encode(), "YAML alias *a0 is not accepted"),
        (b"epochs: " + b"[" * 40_000, "YAML nested more than 20 times"),
        (b'{"epochs": ' + b"[" * 9_000 + b"]" * 9_000 + b"}", "YAML nested more than 20 times"),
        (b"epochs: 1 #" + b"x" * 1_000_000, "holds more than 100,000 bytes"),
        (bytes(range(256)), "is not UTF-8"),
        (b"epochs: 1" + b":1" * 40_000, "A number of 80,001 characters is not accepted"),
        (b"epochs: " + b"9" * 5_000, "A number of 5,000 characters is not accepted"),
    ],
    ids=["aliases", "YAML nested", "JSON nested", "huge", "binary", "sexagesimal", "digits"],
)
def test_hostile_config_files_are_refused(content, words, data, tmp_path, capsys):
    path = tmp_path / "fit.yaml"
    path.write_bytes(content)
    (tmp_path / "outer.yaml").write_text(f"config: {path}\n")
    for config in (path, tmp_path / "outer.yaml"):  # which a file may name, too
        told = failing(capsys, "fit", "renee", data, "--out", tmp_path / "m", "--config", config)
        assert words in told
        assert len(told) < 500


def test_hostile_values_of_options_are_refused(data, tmp_path, capsys):
    fit = ["fit", "renee", data, "--out", tmp_path / "m"]
    assert "YAML alias *a" in failing(capsys, *fit, "--epochs", "[&a [1],*a]")
    assert "nested more than" in failing(capsys, *fit, "--epochs", "[" * 50_000)


def test_a_config_of_an_odd_kind_is_refused_in_words(data, tmp_path, capsys):
    (tmp_path / "fit.yaml").write_text("config: {}\n")
    fit = ["fit", "renee", data, "--out", tmp_path / "m", "--config", tmp_path / "fit.yaml"]
    assert "has a value of a kind that is not accepted" in failing(capsys, *fit)


def test_a_config_from_a_pipe_is_read(data, tmp_path):
    reads, writes = os.pipe()
    with open(reads), open(writes, "w") as file:
        file.write("epochs: 3\n")
        file.close()
        fit = ["fit", "renee", data, "--out", str(tmp_path / "m"), "--bag.dim=8"]
        assert main([*fit, "--config", f"/dev/fd/{reads}"]) == 0
    assert skxc.load(tmp_path / "m").n_iter_ == 3
