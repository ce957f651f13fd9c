"""Several processes, as torchrun starts them: the model of one, and one end for all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from process_failures import REFUSED
from process_fits import CASES

import skxc
from skxc._cli import main

TESTS = Path(__file__).parent
# seconds: tests run beside others on few cores
PATIENCE = 300


NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}


def run(script, *arguments, n=1, timeout=PATIENCE, on_gpus=False, **environment):
    """One process, or `n` of them under torchrun; all of them end with the call."""
    launcher = []
    if n > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n)]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV"))}
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS.parent)} | environment
    own |= {} if on_gpus else NO_GPU
    process = subprocess.Popen(
        [sys.executable, *launcher, *map(str, (script, *arguments))],
        env=inherited | own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def forked():
    """As `run` for fits, but no launcher ends the others: codes, errors, seconds between ends."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS.parent)} | NO_GPU
    with subprocess.Popen(
        [sys.executable, TESTS / "process_fits.py"], env=environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as server:  # fmt: skip

        def forked(folder, *cases, n=2, of_each=({}, {}), **environment):
            folder.mkdir(exist_ok=True)
            errors = [folder / f"stderr.{rank}" for rank in range(n)]
            ranks = [environment | {"STDERR": str(path)} for path in errors]
            if n > 1:
                common = {"WORLD_SIZE": str(n), "LOCAL_WORLD_SIZE": str(n), "MASTER_ADDR":
                          "127.0.0.1", "MASTER_PORT": str(free_port()),
                          "TORCHELASTIC_RUN_ID": "none"}  # fmt: skip
                for rank in range(n):
                    ranks[rank] |= common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            for rank, own in zip(ranks, of_each, strict=False):
                rank |= own
            watchdog = threading.Timer(PATIENCE, os.killpg, (server.pid, signal.SIGKILL))
            watchdog.start()
            print(json.dumps([[str(folder), *cases], ranks]), file=server.stdin, flush=True)
            codes, ends = zip(*json.loads(server.stdout.readline()), strict=True)
            watchdog.cancel()
            told = [path.read_text() for path in errors]
            for path in errors:
                path.unlink()
            return list(codes), told, ends[0] - ends[-1]

        yield forked


@pytest.fixture(scope="module")
def fits(forked):
    def fits(folder, *cases, n=1, **environment):
        codes, errors, _ = forked(folder, *cases, n=n, **environment)
        assert codes == [0] * n, "".join(errors)[-3000:]

    return fits


def left(folder, case, rank=0):
    """What a fit left in a process."""
    number = list(CASES).index(case)
    with np.load(folder / f"{number}.{rank}.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def assert_close(found, wanted, case, tolerance=1e-5):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        if array.dtype.kind in "US":
            assert (found[name] == array).all()
            continue
        np.testing.assert_allclose(
            found[name].astype(np.float64), array.astype(np.float64), rtol=tolerance,
            atol=tolerance, err_msg=f"{case}: {name}",
        )  # fmt: skip


def assert_same(found, wanted, case):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=f"{case}: {name}")


@pytest.fixture(scope="module")
def bert(tiny_bert, tmp_path_factory):
    """Without dropout: each process draws its own, where one process draws others."""
    folder = tmp_path_factory.mktemp("bert") / "without_dropout"
    shutil.copytree(tiny_bert, folder)
    config = json.loads((folder / "config.json").read_text())
    none = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    (folder / "config.json").write_text(json.dumps(config | none))
    return str(folder)


UNDISTURBED = [case for case in CASES if "checkpoint" not in case]
# of three processes: shares that are no halves, in each method; sparser than the processes; a rest
THREE = [
    "renee, momentum, early stopping", "renee, two labels", "renee, a stream", "renee, soft top-k",
    "renee, softmax, two labels",
    "dual, mined", "dual, all labels", "dual, two labels", "dual, a transformer, few labels",
    "unidec, mined and clustered", "unidec, two labels", "unidec, a file", "unidec, hosts apart",
]  # fmt: skip


def test_many_processes_give_the_model_of_one(fits, bert, tmp_path):
    """Two and three, of 253 texts and 125 labels, and of two labels: nothing divides them."""
    fits(tmp_path / "1", TINY_BERT=bert)
    for n, cases in ((2, UNDISTURBED), (3, THREE)):
        fits(tmp_path / f"{n}", *cases, n=n, TINY_BERT=bert)
        for case in cases:
            first = left(tmp_path / f"{n}", case)
            assert_close(first, left(tmp_path / "1", case), f"{n} processes, {case}")
            for rank in range(1, n):
                assert_same(left(tmp_path / f"{n}", case, rank), first, f"{n} processes, {case}")


CHECKPOINTED = [case for case in CASES if "checkpoint" in case]


def test_killed_fits_of_two_processes_go_on_in_any_number_of_them(forked, fits, tmp_path):
    for i, case in enumerate(CHECKPOINTED):
        codes, *_ = forked(
            tmp_path, case, KILL=f"{i % 2}:{9 + i}", CHECKPOINT_DIR=str(tmp_path / "checkpoints")
        )
        assert codes[i % 2] == -signal.SIGKILL
        assert codes[1 - i % 2] == 1
        assert not list(tmp_path.glob("*.npz"))  # the other one has ended, too
    for n in ("one", "two"):
        shutil.copytree(tmp_path / "checkpoints", tmp_path / f"of_{n}")
    fits(tmp_path / "whole", *CHECKPOINTED, n=2, CHECKPOINT_DIR=str(tmp_path / "of_whole"))
    fits(tmp_path / "two", *CHECKPOINTED, n=2, CHECKPOINT_DIR=str(tmp_path / "of_two"))
    fits(tmp_path / "one", *CHECKPOINTED, CHECKPOINT_DIR=str(tmp_path / "of_one"))
    assert not list((tmp_path / "of_two").rglob("checkpoint.safetensors"))
    for case in CHECKPOINTED:
        wanted = left(tmp_path / "whole", case)
        for rank in range(2):
            assert_same(left(tmp_path / "two", case, rank), wanted, case)
        assert_close(left(tmp_path / "one", case), wanted, case)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of two processes found, by case."""
    folder = tmp_path_factory.mktemp("failures")
    code, output = run(TESTS / "process_failures.py", folder, n=2)
    assert code == 0, output[-3000:]
    return [
        {line["case"]: line for line in map(json.loads, path.read_text().splitlines())}
        for path in sorted(folder.glob("found.*"))
    ]


@pytest.mark.parametrize(
    ("case", "error", "words"),
    [
        ("bad text", "ValueError", "X[3] is None"),
        ("bad parameter", "ValueError", "epochs=-5 is too small"),
        ("missing file", "FileNotFoundError", "none.txt"),
        ("step", "RuntimeError", "the second process broke"),
        ("memory", "ValueError", "Training needs more memory than cpu has free"),
        ("Ctrl-C", "KeyboardInterrupt", ""),
    ],
)
def test_what_one_process_raises_the_others_raise_within_seconds(found, case, error, words):
    first, second = (of_one[case] for of_one in found)
    assert second["error"] == error
    assert words in second["words"]
    assert first["error"] == "OtherProcessError"
    assert first["words"].startswith(f"process 1 of 2: {error}: ")
    assert words in first["words"]
    assert first["seconds"] < 30


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("other texts", "The processes' fits differ: X."),
        ("other parameter", "epochs (in one process 5, in another 3)"),
    ],
)
def test_fits_that_differ_are_refused_in_all_processes(found, case, words):
    for of_one in found:
        assert of_one[case]["error"] == "ValueError"
        assert words in of_one[case]["words"]


@pytest.mark.parametrize("case", ["thread", "workers"])
def test_a_fit_that_cannot_wait_for_the_others_is_refused(found, case):
    for of_one in found:
        assert of_one[case]["error"] == "RuntimeError"
        assert "Run searches and cross-validation with n_jobs=1" in of_one[case]["words"]


@pytest.mark.parametrize("case", ["search", "no seed", "fit"])
def test_after_failures_all_processes_have_one_model(found, case):
    """Of one search, without a seed, and at last."""
    assert found[0][case]["value"] == found[1][case]["value"]


def test_the_first_process_alone_warns_and_logs(found):
    assert found[0]["told once"]["value"] == [2, 1]
    assert found[1]["told once"]["value"] == [0, 0]


def test_the_first_processs_callbacks_see_the_model_and_end_the_fit_of_all(found):
    """Whatever they do with it; they cannot fit another."""
    pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks since 1.9")
    assert [of_one["callback"].get("value") for of_one in found] == [[2, [REFUSED] * 2], [2, []]]


def test_all_processes_may_save_one_model(found):
    assert all(of_one["saved"].get("value") is True for of_one in found)


def test_a_dead_process_is_told_where_no_launcher_ends_the_others(forked, tmp_path):
    """Killed by the system, say: it leaves no words."""
    codes, errors, seconds = forked(
        tmp_path, "renee, from a checkpoint", KILL="1:5", CHECKPOINT_DIR=str(tmp_path)
    )
    assert codes == [1, -signal.SIGKILL]
    assert "OtherProcessError: another process ended, or is out of reach" in errors[0]
    assert seconds < 60


def test_a_signal_to_one_process_while_it_writes_ends_all_after_that(forked, tmp_path):
    codes, errors, _ = forked(
        tmp_path, "renee, from a checkpoint", TERMINATE="3", CHECKPOINT_DIR=str(tmp_path)
    )
    assert codes == [-signal.SIGTERM] * 2
    assert [error.count("Interrupted. The same fit goes on from") for error in errors] == [1, 0]
    assert len(list(tmp_path.rglob("checkpoint.safetensors"))) == 1


def test_a_checkpoint_that_one_process_does_not_see_is_refused(forked, tmp_path):
    folders = [{"CHECKPOINT_DIR": str(tmp_path / name)} for name in ("first", "second")]
    case = "dual, from a checkpoint"
    codes, *_ = forked(tmp_path, case, TERMINATE="3", **folders[0])
    assert codes == [-signal.SIGTERM] * 2
    codes, errors, _ = forked(tmp_path, case, of_each=folders)
    assert codes == [1, 1]
    assert all("is not the same folder for all processes" in error for error in errors)


def test_the_command_line_trains_in_many_processes_and_saves_once(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "trn_X.txt").write_text("red round apple\nblue square box\n" * 30)
    (data / "tst_X.txt").write_text("red\nblue\n")
    (data / "Y.txt").write_text("fruit\nthing\n")
    (data / "trn_X_Y.txt").write_text("60 2\n" + "0:1\n1:1\n" * 30)
    (data / "tst_X_Y.txt").write_text("2 2\n0:1\n1:1\n")
    options = ["--encoder", "bag", "--epochs", "3", "--random-state", "0"]
    fit = ["fit", "unidec", str(data), *options, "--out"]
    assert main([*fit, str(tmp_path / "model1")]) == 0
    code, output = run("--module", "skxc", *fit, tmp_path / "model2", n=2)
    assert code == 0, output[-3000:]
    assert output.count("Saved UniDEC") == 1
    one, two = (skxc.load(tmp_path / f"model{n}") for n in (1, 2))
    np.testing.assert_allclose(two.label_embeddings_, one.label_embeddings_, atol=1e-4)
    assert two.predict_labels(["a red apple"], k=1) == [["fruit"]]


def test_processes_that_share_a_gpu_or_find_none_are_refused(monkeypatch):
    from skxc._validation import _parameters, resolve_device

    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert _parameters._local_rank() == 2
    for device in ("auto", "cuda"):
        with pytest.raises(ValueError, match=r"torchrun started process 2 on a host with 2 GPUs"):
            resolve_device(device)
    assert resolve_device("cpu").type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_give_the_model_of_one(bert, tmp_path):
    cases = [case for case in CASES if case.count(",") < 2 and "checkpoint" not in case]
    for n in (1, 2):
        folder = tmp_path / str(n)
        folder.mkdir()
        script = TESTS / "process_fits.py"
        code, output = run(script, folder, *cases, n=n, on_gpus=True, TINY_BERT=bert)
        assert code == 0, output[-3000:]
    for case in cases:
        assert_close(left(tmp_path / "2", case), left(tmp_path / "1", case), case, 1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() != 1, reason="needs one GPU alone")
def test_two_processes_on_one_gpu_are_refused(tmp_path):
    code, output = run(TESTS / "process_fits.py", tmp_path, "renee", n=2, on_gpus=True)
    assert code != 0
    assert "is that of 2 processes" in output
