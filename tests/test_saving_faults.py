"""Saves and loads where file systems, other processes or strangers are in the way."""

from __future__ import annotations

import copy
import errno
import os
import shutil
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
from test_saving import assert_same, reseal, saved, set_in

import skxc
from skxc import ReneeClassifier
from skxc._cli import main
from skxc._persistence import _leftovers, _opening, _writing
from skxc.encoders import BagOfWordsEncoder
from skxc.encoders._words import TimedWords

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX's file systems")

TEXTS = ["red glass lamp", "green garden chair", "black piano"] * 2
Y = np.eye(3)[[0, 1, 2] * 2]


@pytest.fixture(scope="module")
def model():
    return ReneeClassifier(BagOfWordsEncoder(dim=4, min_df=1), epochs=1).fit(TEXTS, Y)


@pytest.fixture
def other(model):
    return copy.deepcopy(model).set_params(top_k=3)


@pytest.fixture
def folder(model, tmp_path):
    model.save(tmp_path / "model")
    return tmp_path / "model"


def raising(number):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return fail


# ------------------------------------------------------------------- where folders stay themselves
@pytest.fixture
def here(folder, monkeypatch):
    """The folder as the working directory, of a file system without links."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(os, "link", raising(errno.EPERM))
    return folder


def test_a_disk_that_is_full_in_the_midst_of_config_json_loses_no_model(
    here, model, other, monkeypatch
):
    copy_file = shutil.copy2

    def half(source, target):
        copy_file(source, target)
        if Path(source).name == "config.json" and ".old" not in str(target):
            Path(target).write_bytes(Path(source).read_bytes()[:100])
            raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(shutil, "copy2", half)
    with pytest.raises(OSError, match=r"Complete are .+\.new and .+\.old: move one"):
        other.save(".")
    with pytest.raises(FileNotFoundError, match="left a complete model"):
        skxc.load(".")
    new, old = sorted(here.glob(".skxc-*.*"))
    assert_same(skxc.load(new), other)
    assert_same(skxc.load(old), model)
    monkeypatch.setattr(shutil, "copy2", copy_file)
    assert_same(saved(other, "."), other)
    assert len(os.listdir(here)) == 4


def test_a_half_config_json_beside_complete_models_is_replaced(here, model, other):
    shutil.copytree(here, here / ".skxc-0123abcd.new")
    (here / "config.json").write_bytes((here / "config.json").read_bytes()[:50])
    (here / ".skxc-spare").touch()
    with pytest.raises(ValueError, match="left a complete model in"):
        skxc.load(".")
    assert_same(saved(other, "."), other)
    assert not (here / ".skxc-spare").exists()


def test_a_file_system_without_permissions_is_no_failure(folder, other, monkeypatch):
    monkeypatch.setattr(os, "chmod", raising(errno.EPERM))
    assert_same(saved(other, folder), other)


def test_two_saves_put_their_files_into_one_folder_in_turn(folder, model, other, monkeypatch):
    monkeypatch.chdir(folder)
    link = _writing._link
    first_is_linking, second_may_end = threading.Event(), threading.Event()

    def slow_link(*args):
        if threading.current_thread() is thread and not first_is_linking.is_set():
            first_is_linking.set()
            assert not second_may_end.wait(0.5)  # the other save waits for this one
        link(*args)

    def save_second():
        other.save(".")
        second_may_end.set()

    monkeypatch.setattr(_writing, "_link", slow_link)
    thread = threading.Thread(target=lambda: model.save("."))
    thread.start()
    assert first_is_linking.wait(60)
    save_second()
    thread.join()
    assert_same(skxc.load("."), other)
    assert len(os.listdir(folder)) == 4


def test_a_folder_that_others_hold_for_too_long_is_told(folder, other, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(_leftovers, "_SECONDS", 0.05)
    with _leftovers.in_turn(folder), pytest.raises(OSError, match="is locked by another process"):
        other.save(".")


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EBUSY])
@pytest.mark.parametrize("has_exchange", [True, False])
def test_a_folder_that_cannot_be_renamed_is_filled_anew(
    folder, other, monkeypatch, number, has_exchange
):
    def exchange(new, target):
        return has_exchange and raising(number)()

    rename = os.rename

    def rename_others(source, target):
        return raising(number)() if Path(source) == folder else rename(source, target)

    monkeypatch.setattr(_writing, "exchange", exchange)
    monkeypatch.setattr(os, "rename", rename_others)
    inode = folder.stat().st_ino
    assert_same(saved(other, folder), other)
    assert folder.stat().st_ino == inode
    assert os.listdir(folder.parent) == ["model"]


def test_folders_reach_the_disk_before_config_json_does(folder, other, monkeypatch):
    monkeypatch.chdir(folder)
    done = []
    flush, link = _writing._flush, _writing._link
    monkeypatch.setattr(_writing, "_flush", lambda path: done.append(path) or flush(path))
    monkeypatch.setattr(
        _writing, "_link", lambda source, *rest: done.append(source.name) or link(source, *rest)
    )
    other.save(".")
    last = len(done) - 1 - done[::-1].index("config.json")
    assert {folder, folder / "encoder"} <= set(done[last - 2 : last])
    assert folder in done[last:]


# ------------------------------------------------------------------------------ what is beside them
def test_a_stranger_s_leftovers_are_in_nobody_s_way(folder, other, monkeypatch):
    beside = folder.parent
    os.mkfifo(beside / ".model.0a1b2c3d.new")
    (beside / ".model.0a1b2c3d.old").mkdir()
    (beside / ".model.0b1b2c3d.new").mkdir()
    open_file = os.open

    def closed(path, *args, **kwargs):
        return raising(errno.EACCES)() if "0b1b2c3d" in str(path) else open_file(path, *args)

    monkeypatch.setattr(os, "open", closed)
    assert_same(saved(other, folder), other)
    (folder / "labels.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"labels\.json is missing"):
        skxc.load(folder)


def test_a_model_that_is_being_saved_is_not_called_broken_off(folder, model, monkeypatch):
    monkeypatch.setattr(_opening, "_TRIES", 2)
    second = folder.rename(folder.with_name("second"))
    with _leftovers.claimed(folder, folder.parent) as new:
        shutil.copytree(second, new, dirs_exist_ok=True)
        with pytest.raises(FileNotFoundError, match="is saving it just now: try again") as told:
            skxc.load(folder)
        assert "broken off" not in str(told.value)
    with pytest.raises(FileNotFoundError, match="broken off left a complete model"):
        skxc.load(folder)


@pytest.mark.parametrize("kind", ["fifo", "device", "large"])
@pytest.mark.parametrize("call", [skxc.load, lambda path: main(["info", str(path)])])
def test_a_config_json_that_is_no_small_file_is_refused_at_once(folder, kind, call, capsys):
    config = folder / "config.json"
    if kind == "large":
        os.truncate(config, 1 << 40)  # sparse: it takes no space
    else:
        config.unlink()
        os.mkfifo(config) if kind == "fifo" else config.symlink_to("/dev/zero")
    if call is not skxc.load:
        assert call(folder) == 2
        return
    with pytest.raises((FileNotFoundError, ValueError), match=r"config\.json"):
        call(folder)


def test_a_folder_that_cannot_be_listed_does_not_count_as_empty(tmp_path, other, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").touch()
    scan = os.scandir

    def closed(path="."):
        return raising(errno.EACCES)() if Path(path) == tmp_path / "model" else scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(PermissionError):
        other.save(tmp_path / "model")
    monkeypatch.undo()
    assert os.listdir(tmp_path / "model") == ["thesis.txt"]
    assert os.listdir(tmp_path) == ["model"]


# --------------------------------------------------------------------------- what is under the name
@pytest.mark.parametrize("mode", [0o700, 0o2770, 0o755])
def test_a_replaced_folder_stays_as_private_as_it_was(folder, other, mode):
    folder.chmod(mode)
    assert_same(saved(other, folder), other)
    assert stat.S_IMODE(folder.stat().st_mode) == mode


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EACCES])
def test_folders_that_cannot_be_flushed_are_no_failure(tmp_path, model, monkeypatch, number):
    flush = os.fsync

    def only_files(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        return raising(number)() if is_folder else flush(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    assert_same(saved(model, tmp_path / "model"), model)


def test_folders_above_that_a_failed_save_has_made_go_with_it(tmp_path, model, monkeypatch):
    monkeypatch.setattr(os, "fsync", raising(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        model.save(tmp_path / "a" / "b" / "model")
    assert not os.listdir(tmp_path)


UNSOUND = {
    "threshold_": 1.5,
    "label_embeddings_": np.ones((3, 5), np.float16),
    "history_": [{}, {}],
    "label_names_": None,
    "_n_features_out": 3,
}


@pytest.mark.parametrize("name", UNSOUND)
def test_what_could_not_be_loaded_is_not_saved(folder, other, model, name):
    vars(other)[name] = UNSOUND[name]
    with pytest.raises(ValueError, match=name):
        other.save(folder)
    assert_same(skxc.load(folder), model)


@pytest.mark.parametrize("name", ["encoder_", "_metadata_request", "epochs", "_ranker"])
def test_fitted_attributes_have_names_of_their_own(folder, name):
    reseal(folder, lambda config: set_in(config, "fitted", name, value="x"))
    with pytest.raises(ValueError, match=f"'{name}' is no name of a fitted attribute"):
        skxc.load(folder)


def test_a_folder_s_name_in_bytes_is_refused_as_that():
    with pytest.raises(TypeError, match=r"folder is b'model'\. Pass a str or a path"):
        skxc.load(b"model")


PATTERNS = {
    "counts": "(?:" * 10 + "a" + "){9,99}" * 10,
    "long": "(?i)" + "[\0-\U0010ffff]" * 200,
}


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_patterns_that_take_long_to_compile_are_refused(folder, pattern):
    encoder = BagOfWordsEncoder(token_pattern=pattern)
    with pytest.raises(ValueError, match=r"token_pattern=.+ at most 1000, and 10000"):
        encoder.fit(TEXTS, seed=0)
    reseal(folder, lambda c: set_in(c, "encoder", "fitted", "token_pattern", value=pattern))
    with pytest.raises(ValueError, match=r"token_pattern=.+ at most 1000, and 10000"):
        skxc.load(folder)


def test_a_pattern_that_could_not_be_loaded_is_refused_before_training():
    with pytest.raises(ValueError, match=r"token_pattern=.+ has 2 groups\. Train with one"):
        BagOfWordsEncoder(token_pattern="(a+)(b+)").check_parameters()


@pytest.mark.parametrize("pattern", ["a+b", "[a-z]+1", r"\w+\.", "[^ ]*x"])
def test_a_loaded_pattern_that_may_try_again_and_again_has_a_limit(folder, pattern):
    reseal(folder, lambda c: set_in(c, "encoder", "fitted", "token_pattern", value=pattern))
    assert isinstance(skxc.load(folder).encoder_.vectorizer_.tokenizer, TimedWords)


def test_the_usual_patterns_need_no_limit(tmp_path):
    for pattern in (r"(?u)\b\w\w+\b", r"\w+", r"\S+", "[a-z]+"):
        encoder = BagOfWordsEncoder(dim=4, min_df=1, token_pattern=pattern)
        clf = ReneeClassifier(encoder, epochs=1).fit(TEXTS, Y)
        assert saved(clf, tmp_path / "model").encoder_.vectorizer_.tokenizer is None


def test_no_longer_n_grams_are_made_than_there_are(folder):
    reseal(folder, lambda c: set_in(c, "encoder", "fitted", "ngram_range", value=[1, 10**6]))
    clf = skxc.load(folder)
    assert clf.encoder_.vectorizer_.ngram_range == (1, 1)
    clf.predict(["lamp " * 5000])


@pytest.mark.parametrize("content", ["[]", '{"classes_": 1}', "null"])
def test_labels_that_are_no_lists_are_told(folder, content):
    (folder / "labels.json").write_text(content)
    reseal(folder)
    with pytest.raises(ValueError, match=r"labels\.json is no object of lists"):
        skxc.load(folder)


# ------------------------------------------------------------------------------ the command line
def test_a_name_that_yaml_would_take_for_an_alias_is_a_name(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder.parent)
    folder.rename("*m")
    assert main(["info", "*m"]) == 0
    assert "ReneeClassifier" in capsys.readouterr().out


def test_the_root_folder_is_refused_in_words(capsys):
    assert main(["fit", "renee", "library-subjects", "--out", "/"]) == 2
    assert "skxc: error: / holds the working directory" in capsys.readouterr().err
