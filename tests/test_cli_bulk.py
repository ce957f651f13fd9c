"""`skxc predict` on large files: formats, going on after a kill."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import threading
from importlib.util import find_spec

import numpy as np
import pytest
from test_cli import LABELS, TINY, failing, matrix, predicted, write_data

import skxc
from skxc._cli import _resuming, main

TEXTS = [f"{word} {i}" for i in range(1250) for word in ("apples", "a car", "", "red pears")]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    data = write_data(folder / "data", "pairs")
    assert main(["fit", "renee", data, "--out", str(folder / "renee"), *TINY]) == 0
    return str(folder / "renee")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS))
    return str(path)


@pytest.fixture(scope="module")
def expected(model, texts, tmp_path_factory):
    """What an undisturbed run writes, by format."""
    folder, files = tmp_path_factory.mktemp("expected"), {}
    for kind in ("jsonl", "tsv", *["parquet"] * (find_spec("pyarrow") is not None)):
        files[kind] = folder / f"labels.{kind}"
        assert main(["predict", model, texts, "--format", kind, "--out", str(files[kind])]) == 0
    return files


def same(path, expected):
    """Whether two files hold the same: bytes, or a table."""
    if path.suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        return parquet.read_table(path).equals(parquet.read_table(expected))
    return path.read_bytes() == expected.read_bytes()


def named(folder):
    return sorted(path.name for path in folder.iterdir())


# ----------------------------------------------------------------------------------------- formats
def write_table(path, columns):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table(columns)
    if path.suffix == ".parquet":
        parquet.write_table(table, path, row_group_size=700)
    else:
        with pa.ipc.new_stream(path, table.schema) as file:
            file.write_table(table, max_chunksize=1000)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.jsonl", "a.jsonl.gz", "a.txt.gz"])
def test_texts_of_every_kind_of_file_have_the_answers_of_lines(
    name, model, expected, tmp_path, capsys
):
    path, columns = tmp_path / name, {"id": ["x"] * len(TEXTS), "text": TEXTS}
    if name in ("a.parquet", "a.arrow"):
        write_table(path, columns)
    else:
        rows = [json.dumps({"id": "x", "text": text}) for text in TEXTS]
        content = "\n".join(rows if "json" in name else TEXTS).encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    options = [] if name == "a.txt.gz" else ["--text=text"]
    assert predicted(capsys, model, path, *options) == expected["jsonl"].read_text()


def test_a_parquet_file_has_the_labels_and_probabilities_of_lines(expected):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(expected["parquet"])
    assert str(table.schema.field("labels").type) == "list<element: string>"
    assert str(table.schema.field("proba").type) == "list<element: float>"
    rows = [json.loads(line) for line in expected["jsonl"].read_text().splitlines()]
    assert table["labels"].to_pylist() == [row["labels"] for row in rows]
    proba = np.array([row["proba"] for row in rows], np.float32)
    np.testing.assert_array_equal(table["proba"].to_pylist(), proba)
    assert parquet.ParquetFile(expected["parquet"]).metadata.num_row_groups == 1


def test_a_parquet_file_is_written_in_row_groups(model, texts, expected, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("skxc._cli._parquet._GROUP_BYTES", 100_000)
    for options in ([], ["--resume"]):
        out = tmp_path / "labels.parquet"
        argv = ["predict", model, texts, "--format=parquet", "--out", str(out), *options]
        assert main(argv) == 0
        assert same(out, expected["parquet"])
        assert parquet.ParquetFile(out).metadata.num_row_groups > 1
        assert named(tmp_path) == ["labels.parquet"]


@pytest.mark.parametrize(
    ("names", "told"), [(None, ["0", "1", "2"]), (["a", "b\ud83d", "c"], ["a", r"b\ud83d", "c"])]
)
def test_every_label_is_a_string_in_a_parquet_file(names, told, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    encoder = skxc.encoders.BagOfWordsEncoder(dim=8)
    clf = skxc.ReneeClassifier(encoder, label_texts=names, epochs=1)
    clf.fit(["red apples", "a car"] * 10, matrix(LABELS)).save(tmp_path / "model")
    for content, n_rows in (b"", 0), (b"car\n\n", 2):
        (tmp_path / "a.txt").write_bytes(content)
        for options in ([], ["--resume"]):
            out = tmp_path / "labels.parquet"
            argv = ["predict", tmp_path / "model", tmp_path / "a.txt", "--format=parquet"]
            assert main([*map(str, argv), "--out", str(out), *options]) == 0
            assert [sorted(row) for row in parquet.read_table(out)["labels"].to_pylist()] == (
                [told] * n_rows
            )


def test_a_pipe_of_texts_is_answered_and_has_no_columns(model, tmp_path, capsys):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"car\nred\n",))
    writer.start()
    assert predicted(capsys, model, pipe).count("\n") == 2
    writer.join()
    for option in ("--text=text", "--workers=2", "--resume"):
        told = failing(capsys, "predict", model, pipe, option, "--out", tmp_path / "out")
        word = option.partition("=")[0]
        assert told == (
            f"{word} is not possible with {pipe}, a pipe or device, as TEXTS. Pass a file.\n"
        )


@pytest.mark.parametrize("option", [(), ("--resume",), ("--workers=2",)])
def test_texts_are_not_replaced_by_their_answers_under_any_name(option, model, tmp_path, capsys):
    texts, link, other = (tmp_path / name for name in ("texts.txt", "link.txt", "hard.txt"))
    texts.write_text("red\n")
    link.symlink_to(texts)
    other.hardlink_to(texts)
    for out in (texts, link, other):
        told = failing(capsys, "predict", model, texts, "--out", out, *option)
        assert told == f"--out {out} is the file of texts. Pass another name.\n"
    assert texts.read_text() == "red\n"
    assert len(named(tmp_path)) == 3


def test_a_file_that_is_standard_input_is_not_replaced(model, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("red\n")
    argv = [sys.executable, "-m", "skxc", "predict", model, "--out", str(texts)]
    with texts.open() as file:
        ended = subprocess.run(argv, stdin=file, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "is the file of texts" in ended.stderr
    assert texts.read_text() == "red\n"


# ------------------------------------------------------------------------------------ wrong inputs
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("- --text=x", "--text is not possible with standard input as TEXTS. Pass a file."),
        ("- --workers=2", "--workers is not possible with standard input"),
        ("- --resume --out={out}", "--resume is not possible with standard input"),
        ("{texts} --resume", "--resume needs --out FILE"),
        ("{texts} --resume --out=/dev/null", "--out /dev/null is no regular file"),
        ("{texts} --resume --out={folder}", "is a folder. Pass the name of a file."),
        ("{texts} --resume --out={folder}/x/y", "is in no folder that exists"),
        ("{texts} --format=parquet", "--format parquet needs --out FILE"),
        ("{texts} --workers=0", "--workers is 0. Pass at least 1."),
        ("{texts} --workers=x", "'x' is not accepted (int, default: 1)"),
        ("{texts} --text=text", "column is 'text', but {texts} is by its name a file of texts"),
        ("{json} --text=texts", "{json} has no column 'texts'. Its columns are 'id', 'text'."),
        ("{json}", "{json} has the columns 'id', 'text'. Choose one as column (--text)."),
        ("{json} --text=id", "{json}, line 1: 'id' is ['x'] of type list, and no text."),
        ("{json} --text=text", "{json}, line 2: 'text' is 3 of type int, and no text."),
        ("{folder}", "is a folder. Pass a file"),
    ],
)
def test_wrong_options_of_large_files_are_told(options, words, model, texts, tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text('{"id": ["x"], "text": "a"}\n{"id": [], "text": 3}\n')
    places = {"texts": texts, "json": tmp_path / "a.jsonl", "folder": tmp_path}
    places["out"] = tmp_path / "out"
    assert main(["predict", model, *options.format(**places).split()]) == 2
    told = capsys.readouterr()
    assert words.format(**places) in told.err
    assert told.err.startswith("skxc: error: ")
    assert told.err.count("\n") == 1
    assert told.out.count("\n") == ("line 2" in words)  # the lines before have their answers
    assert named(tmp_path) == ["a.jsonl"]


def test_without_pyarrow_tables_are_refused(model, texts, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").touch()
    remedy = 'needs the package pyarrow, which is not installed. Install it with pip install "skxc['
    assert remedy in failing(capsys, "predict", model, tmp_path / "a.parquet")
    argv = ["predict", model, texts, "--format=parquet", "--out", tmp_path / "out"]
    assert failing(capsys, *argv).startswith(f"--format parquet {remedy}arrow]")
    assert named(tmp_path) == ["a.parquet"]


# ---------------------------------------------------------------------------------------- resuming
@pytest.fixture(params=["jsonl", "tsv", "parquet"])
def resumed(request, model, texts, tmp_path):
    """The options of a run that goes on."""
    if request.param == "parquet":
        pytest.importorskip("pyarrow")
    out = str(tmp_path / f"labels.{request.param}")
    return ["predict", model, texts, "--format", request.param, "--out", out, "--resume"]


def stopped_after(n_blocks, argv, monkeypatch):
    """Run until so many blocks are written and one less is counted."""
    count, n_counted = _resuming.Part._count, 0

    def stop(part):
        nonlocal n_counted
        n_counted += 1
        if n_counted > n_blocks:
            raise KeyboardInterrupt
        count(part)

    with monkeypatch.context() as patch:
        patch.setattr(_resuming.Part, "_count", stop)
        assert main(argv) == 130


@pytest.mark.parametrize("tail", [b"", b'{"labels": ["fr', b"\n\xff" * 5000])
def test_a_run_goes_on_after_what_is_whole(resumed, tail, expected, tmp_path, capsys, monkeypatch):
    kind, out = resumed[4], tmp_path / f"labels.{resumed[4]}"
    for n_blocks in (3, 2):  # each run counts anew what is there, first
        stopped_after(n_blocks, resumed, monkeypatch)
        assert named(tmp_path) == [f"labels.{kind}.part", f"labels.{kind}.part.json"]
        with (tmp_path / f"labels.{kind}.part").open("ab") as file:
            file.write(tail)
    capsys.readouterr()
    answered, n_texts = skxc.ReneeClassifier.predict_top_k_proba, []
    monkeypatch.setattr(
        skxc.ReneeClassifier,
        "predict_top_k_proba",
        lambda self, X, k: [n_texts.append(len(X)), answered(self, X, k)][1],
    )
    assert main(resumed) == 0
    assert sum(n_texts) == len(TEXTS) - 3 * 1024
    assert capsys.readouterr().err == (f"skxc: {out}.part has 3,072 rows: going on after them\n")
    assert same(out, expected[kind])
    assert named(tmp_path) == [out.name]


@pytest.mark.parametrize("n_blocks", [0, 1])
def test_a_run_that_ends_beside_the_header_goes_on(n_blocks, model, texts, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole.csv", tmp_path / "labels.csv"
    assert main(["predict", model, texts, "--out", str(whole)]) == 0
    argv = ["predict", model, texts, "--out", str(out), "--resume"]
    stopped_after(n_blocks, argv, monkeypatch)
    assert main(argv) == 0
    assert same(out, whole)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_run_that_is_killed_at_any_moment_goes_on_to_the_same_file(resumed, expected, tmp_path):
    out, kill_after = tmp_path / f"labels.{resumed[4]}", random.Random(0)
    for _ in range(12):
        child = os.fork()
        if not child:
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                main(resumed)
            finally:
                os._exit(0)
        killer = threading.Timer(kill_after.uniform(0, 0.5), os.kill, (child, signal.SIGKILL))
        killer.start()
        os.waitpid(child, 0)
        killer.cancel()
        if out.exists():
            assert same(out, expected[resumed[4]])
    assert main(resumed) == 0
    assert same(out, expected[resumed[4]])
    assert named(tmp_path) == [out.name]


def test_a_kill_while_the_table_is_written_loses_no_answer(
    model, texts, expected, tmp_path, monkeypatch
):
    pytest.importorskip("pyarrow")
    out = tmp_path / "labels.parquet"
    argv = ["predict", model, texts, "--format=parquet", "--out", str(out), "--resume"]

    def convert(messages, file):
        file.write(b"PAR1")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("skxc._cli._predict.write_parquet", convert)
        assert main(argv) == 130
    assert named(tmp_path) == ["labels.parquet.part", "labels.parquet.part.json"]
    (tmp_path / "labels.parquet.part.converted").write_bytes(b"PAR1")
    with monkeypatch.context() as patch:
        patch.setattr(skxc.ReneeClassifier, "predict_top_k_proba", None)
        assert main(argv) == 0
    assert same(out, expected["parquet"])
    assert named(tmp_path) == [out.name]


def test_a_run_of_other_inputs_does_not_go_on(model, texts, tmp_path, capsys, monkeypatch):
    (tmp_path / "out").mkdir()
    copy, out = tmp_path / "texts.txt", tmp_path / "out" / "labels"
    copy.write_text("".join(f"{text}\n" for text in TEXTS))
    argv = ["predict", model, str(copy), "--out", str(out), "--resume"]
    stopped_after(2, argv, monkeypatch)
    capsys.readouterr()
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    remedy = f"Delete {out}.part to begin anew, or drop --resume.\n"
    for other, words in [
        ([*argv, "--top-k=3"], "another --top_k: 5, now 3."),
        ([*argv, "--format=tsv"], "another --format: 'jsonl', now 'tsv'."),
        ([*argv, "--device=cpu"], "another --device: None, now 'cpu'."),
        ([*argv[:2], texts, *argv[3:]], f"another file of texts: '{copy}', now '{texts}'."),
    ]:
        assert failing(capsys, *other) == f"{out}.part was begun with {words} {remedy}"
    monkeypatch.setattr(skxc, "__version__", "9")
    assert "another version of skxc: '" in failing(capsys, *argv)
    monkeypatch.undo()
    os.utime(copy)
    assert "another time of change of the file of texts: " in failing(capsys, *argv)
    with copy.open("a") as file:
        file.write("x\n")
    assert "another size of the file of texts: " in failing(capsys, *argv)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert main(argv[:-1]) == 0  # drop --resume
    first = out.read_bytes()
    (tmp_path / "out" / "labels.part").unlink()  # or begin anew
    assert main(argv) == 0
    assert out.read_bytes() == first
    assert named(tmp_path / "out") == ["labels"]


def test_a_run_of_another_model_does_not_go_on(model, texts, tmp_path, capsys, monkeypatch):
    clf, argv = skxc.load(model), ["predict", str(tmp_path / "model"), texts]
    clf.save(tmp_path / "model")
    argv += ["--out", str(tmp_path / "labels"), "--resume"]
    stopped_after(2, argv, monkeypatch)
    capsys.readouterr()
    clf.set_params(top_k=3).save(tmp_path / "model")
    assert "another model (SHA-256 of its config.json): '" in failing(capsys, *argv)


@pytest.mark.parametrize("state", [None, b"", b"[]", b"{}", b'{"rows": 1024}', "longer"])
def test_answers_of_which_nothing_tells_are_not_gone_on_with(
    state, model, texts, tmp_path, capsys, monkeypatch
):
    out, file = tmp_path / "labels", tmp_path / "labels.part.json"
    argv = ["predict", model, texts, "--out", str(out), "--resume"]
    stopped_after(2, argv, monkeypatch)
    capsys.readouterr()
    if state is None:
        file.unlink()
    elif state == "longer":  # as after a power failure
        file.write_text(file.read_text().replace('"bytes": ', '"bytes": 9'))
    else:
        file.write_bytes(state)
    told = failing(capsys, *argv)
    assert f"{file} {'tells of 9' if state == 'longer' else 'does not tell of it'}" in told
    assert told.endswith(f"Delete {out}.part to begin anew, or drop --resume.\n")


def test_a_part_in_use_is_refused(model, texts, tmp_path, capsys):
    argv = ["predict", model, texts, "--out", tmp_path / "labels", "--resume"]
    with (tmp_path / "labels.part").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert failing(capsys, *argv) == (
            f"{tmp_path / 'labels.part'} is in use by another process. Wait for it, or pass "
            f"another --out.\n"
        )
    assert main(list(map(str, argv))) == 0


def test_texts_that_change_while_they_are_read_give_no_file(model, tmp_path, capsys, monkeypatch):
    path, answered = tmp_path / "texts.txt", skxc.ReneeClassifier.predict_top_k_proba
    path.write_text("car\n" * 2000)

    def answer_and_write(self, X, k):
        path.write_text("red\n" * 2001)
        return answered(self, X, k)

    monkeypatch.setattr(skxc.ReneeClassifier, "predict_top_k_proba", answer_and_write)
    argv = ["predict", model, path, "--out", tmp_path / "labels", "--resume"]
    assert "texts.txt has changed while it was read" in failing(capsys, *argv)
    assert not (tmp_path / "labels").exists()
