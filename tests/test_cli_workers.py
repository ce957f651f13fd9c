"""`skxc predict` with several processes: the answers of one, and an end without strays."""

# ruff: noqa: F811 - fixtures are imported, and named again where they are used
from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import subprocess
from contextlib import suppress

import psutil
import pytest
from test_cli import started
from test_cli_bulk import TEXTS, expected, model, named, texts  # noqa: F401

from skxc._cli import main
from skxc._cli._answers import Task, answering
from skxc._cli._errors import InputError
from skxc._cli._streams import TEXTS_AT_ONCE
from skxc._cli._workers import opened_workers

SECONDS = 60  # by then, a process hangs


def in_blocks(texts):
    """As the command has them: a score's last bits may depend on the batch."""
    return [texts[i : i + TEXTS_AT_ONCE] for i in range(0, len(texts), TEXTS_AT_ONCE)]


def with_wrong_end(blocks):
    yield from blocks
    raise InputError("wrong")


def workers():
    """Those of this process; joblib's, of other tests, are children of it, too."""
    ours = multiprocessing.get_context("spawn").Process
    return [child for child in multiprocessing.active_children() if isinstance(child, ours)]


def test_several_processes_give_what_one_gives_and_the_errors_it_gives(model, expected):
    told = []
    with opened_workers(Task(model, None, 5, "jsonl"), 2) as answered:
        with pytest.raises(InputError, match="wrong"):
            told.extend(answered(with_wrong_end(in_blocks(TEXTS))))
        assert b"".join(answers.content for answers in told) == expected["jsonl"].read_bytes()
        assert sum(answers.n_rows for answers in told) == len(TEXTS)
        with pytest.raises(OSError, match=r"X\[1\] is 3"):
            list(answered([["car", 3]]))
        assert [answers.n_rows for answers in answered([["car"]])] == [1]  # they go on
        workers()[0].kill()
        with pytest.raises(OSError, match=r"A worker process has ended \(signal 9\)"):
            list(answered(in_blocks(TEXTS)))
    assert workers() == []


def test_what_a_worker_cannot_load_is_the_error_of_one_process(tmp_path):
    task = Task(str(tmp_path / "nowhere"), None, 5, "jsonl")
    with pytest.raises(InputError) as first:
        answering(task)
    with pytest.raises(InputError, match=re.escape(str(first.value))), opened_workers(task, 1):
        pass


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "large.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS) * 8)
    return str(path)


def is_over(process):
    """Whether it ends within a moment."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(0.05)
    return process.returncode is not None


def started_by(process):
    """The processes that a command with two workers has started, once it has, oldest first."""
    while True:
        children = psutil.Process(process.pid).children()
        if sum("spawn_main" in " ".join(command(child)) for child in children) == 2:
            return sorted(children, key=lambda child: child.create_time())
        assert not is_over(process)


def command(process):
    try:
        return process.cmdline()
    except psutil.Error:  # it has just ended
        return []


def has_counted_rows(state):
    with suppress(FileNotFoundError):
        return json.loads(state.read_text())["rows"] > 0
    return False


def test_a_killed_run_of_several_processes_leaves_none_and_goes_on(model, large, tmp_path):
    out, part = tmp_path / "labels", tmp_path / "labels.part.json"
    argv = ["predict", model, large, "--out", str(out), "--resume", "--workers=2"]
    with started(*argv, stderr=subprocess.PIPE) as process:
        children = started_by(process)
        while not (has_counted_rows(part) or is_over(process)):
            pass
        process.kill()
        assert psutil.wait_procs(children, SECONDS)[1] == []
        assert process.stderr.read() == b""
    assert main(argv[:-1]) == 0
    assert main([*argv[:3], "--out", str(tmp_path / "whole")]) == 0
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGINT, 130, b"interrupted"), (signal.SIGTERM, 143, b"terminated")],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_signal_to_all_processes_ends_them_without_a_word_more(
    number, code, words, model, large, tmp_path
):
    argv = ["predict", model, large, "--out", str(tmp_path / "labels"), "--workers=2"]
    with started(*argv, stderr=subprocess.PIPE, start_new_session=True) as process:
        children = started_by(process)
        os.killpg(process.pid, number)
        assert process.stderr.read() == b"skxc: " + words + b"\n"
        assert psutil.wait_procs(children, SECONDS)[1] == []
    assert process.returncode == code
    assert named(tmp_path) == ["large.txt"]


def test_a_worker_that_dies_is_an_error_in_one_line(model, large, tmp_path):
    argv = ["predict", model, large, "--out", str(tmp_path / "labels"), "--workers=2"]
    with started(*argv, stderr=subprocess.PIPE) as process:
        children = started_by(process)
        for child in children[-2:]:
            child.kill()
        assert process.stderr.read() == (
            b"skxc: error: A worker process has ended (signal 9). Where memory is short, the "
            b"system kills: pass fewer --workers.\n"
        )
        assert psutil.wait_procs(children, SECONDS)[1] == []
    assert process.returncode == 1
    assert named(tmp_path) == ["large.txt"]
