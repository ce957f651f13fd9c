"""The command line: mostly in this process, through `main`; pipes and signals in real ones."""

from __future__ import annotations

import errno
import gzip
import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import yaml

import skxc
from skxc import _ESTIMATORS
from skxc._cli import main
from skxc._cli._fit_parser import fit_parser
from skxc._cli._parsing import parsed
from skxc._cli._streams import batches
from skxc.datasets import load_xc_folder
from skxc.metrics import propensities, ranking_metrics

TEXTS = ["red apples", "green pears", "a fast car", "cars and trucks", "a red car"] * 4
LABELS = [[0, 1], [0], [2], [2], [1, 2]] * 4
NAMES = ["fruit", "red", "vehicle"]
TEST_TEXTS = ["apples", "my car", "red", "pears"]
TEST_LABELS = [[0], [2], [0, 1, 2], [1]]  # the last one is wrong: not all metrics are to be 1
TINY = ["--epochs=2", "--bag.dim=8", "--random-state=0", "--verbose=0"]


def matrix(labels):
    rows = np.repeat(np.arange(len(labels)), list(map(len, labels)))
    return sp.csr_matrix((np.ones(len(rows)), (rows, np.concatenate(labels))), (len(labels), 3))


def lines(texts):
    return "".join(f"{text}\n" for text in texts)


def write_data(folder: Path, layout: str, *, label_texts: bool = True, exclude: bool = False):
    """The same data set in one of the three layouts."""
    (folder / "raw").mkdir(parents=True)
    parts = [("trn", TEXTS, LABELS), ("tst", TEST_TEXTS, TEST_LABELS)]
    text_folder = folder / "raw" if layout == "npz" else folder
    for name, texts, labels in parts:
        if layout == "json":
            rows = zip(texts, labels, strict=True)
            objects = [{"title": t, "content": "", "target_ind": ids} for t, ids in rows]
            content = lines(map(json.dumps, objects))
            (folder / f"{name}.json.gz").write_bytes(gzip.compress(content.encode()))
            continue
        (text_folder / f"{name}_X.txt").write_text(lines(texts))
        if layout == "npz":
            sp.save_npz(folder / f"Y.{name}.npz", matrix(labels))
        else:
            pairs = lines(" ".join(f"{label}:1" for label in ids) for ids in labels)
            (folder / f"{name}_X_Y.txt").write_text(f"{len(labels)} 3\n{pairs}")
    if layout == "json":
        content = lines(json.dumps({"title": name}) for name in NAMES)
        (folder / "lbl.json.gz").write_bytes(gzip.compress(content.encode()))
    elif label_texts:
        (text_folder / "Y.txt").write_text(lines(NAMES))
    if exclude:
        assert layout == "pairs"
        (folder / "trn_filter_labels.txt").write_text("0 1\n")
        (folder / "tst_filter_labels.txt").write_text("2 1\n")
    return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data") / "pairs", "pairs")


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("model") / "renee")
    assert main(["fit", "renee", data, "--out", folder, *TINY]) == 0
    return folder


@pytest.fixture
def stdin(monkeypatch):
    def set_to(content: bytes):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return set_to


def failing(capsys, *argv, code=2):
    """The message of a command that fails: one line, nothing on stdout."""
    assert main([str(word) for word in argv]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("skxc: error: ")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("skxc: error: ")


def predicted(capsys, *argv):
    assert main(["predict", *map(str, argv)]) == 0
    return capsys.readouterr().out


# -------------------------------------------------------------------------------------------- fit
@pytest.mark.parametrize("layout", ["npz", "pairs", "json"])
@pytest.mark.parametrize("name", list(_ESTIMATORS))
def test_fit_saves_what_the_estimator_would_have_learnt(name, layout, tmp_path, capsys):
    folder = write_data(tmp_path / "data", layout)
    out = tmp_path / "new" / "model"
    assert main(["fit", name, folder, "--out", str(out), *TINY]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert f"{_ESTIMATORS[name]} (labels: 3, training texts: 20, epochs: 2) to {out}" in told.out
    encoder = skxc.encoders.BagOfWordsEncoder(dim=8)
    make = getattr(skxc, _ESTIMATORS[name])
    expected = make(encoder, label_texts=NAMES, epochs=2, random_state=0).fit(TEXTS, matrix(LABELS))
    loaded = skxc.load(out)
    np.testing.assert_array_equal(loaded.label_embeddings_, expected.label_embeddings_)
    assert loaded.predict_labels(["car"], k=3) == expected.predict_labels(["car"], k=3)


def test_training_leaves_out_the_pairs_of_the_filter_file(tmp_path):
    folder = write_data(tmp_path / "data", "pairs", exclude=True)
    assert main(["fit", "renee", folder, "--out", str(tmp_path / "model"), *TINY]) == 0
    read = load_xc_folder(folder)
    assert read.exclude.nnz == 1
    encoder = skxc.encoders.BagOfWordsEncoder(dim=8)
    clf = skxc.ReneeClassifier(encoder, label_texts=NAMES, epochs=2, random_state=0)
    table = skxc.load(tmp_path / "model").label_embeddings_
    np.testing.assert_array_equal(
        table, clf.fit(TEXTS, read.Y, exclude=read.exclude).label_embeddings_
    )
    assert (table != clf.fit(TEXTS, read.Y).label_embeddings_).any()


@pytest.mark.parametrize("name", list(_ESTIMATORS))
def test_every_parameter_is_an_option_with_the_estimators_default(name):
    estimator = getattr(skxc, _ESTIMATORS[name])
    options = parsed(fit_parser(name, estimator), ["data", "--out", "model"])
    for parameter in inspect.signature(estimator).parameters.values():
        if parameter.name in ("label_texts", "warm_start"):  # the data's; nothing to go on from
            assert parameter.name not in options
        elif parameter.name != "verbose":
            assert options[parameter.name] == parameter.default
    assert options["verbose"] == 1
    made = skxc.encoders.BagOfWordsEncoder(**options["bag"])
    assert repr(made) == repr(skxc.encoders.BagOfWordsEncoder())


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--epochs 3", "epochs", 3),
        ("--epochs null", "epochs", None),
        ("--learning-rate 1e-3", "learning_rate", 1e-3),
        ("--learning_rate=1", "learning_rate", 1),
        ("--early-stopping", "early_stopping", True),
        ("--no-augment", "augment", False),
        ("--label-chunk-size 100", "label_chunk_size", 100),
        ("--label-chunk-size auto", "label_chunk_size", "auto"),
        ("--sparse-output false", "sparse_output", False),
        ("--device cuda:1", "device", "cuda:1"),
        ("--classifier-init label_texts", "classifier_init", "label_texts"),
        ("--bag.ngram-range [1,2]", "bag.ngram_range", (1, 2)),
        ("--bag.min-df 3", "bag.min_df", 3),
        ("--bag.min-df 0.5", "bag.min_df", 0.5),
        ("--transformer.max-length 9", "transformer.max_length", 9),
    ],
)
def test_option_values_have_the_types_of_the_parameters(words, name, value):
    parser = fit_parser("renee", skxc.ReneeClassifier)
    options = parsed(parser, ["data", "--out", "model", *words.split()])
    for part in name.split("."):
        options = options[part]
    assert options == value
    assert type(options) is type(value)


def test_help_shows_the_docstring_without_markup_and_the_choices(capsys):
    with pytest.raises(SystemExit) as done:
        main(["fit", "unidec", "--help"])
    assert done.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "--pool_size POOL_SIZE Labels picked a step, at most. None: 2048" in told
    assert "--batches {random,clustered}" in told
    assert "``" not in told
    assert "]_" not in told


def test_a_pretrained_encoder_is_named_by_its_folder(data, tiny_bert, tmp_path, stdin, capsys):
    out = str(tmp_path / "model")
    options = ["--encoder", tiny_bert, "--transformer.max-length=8", "--transformer.pooling=cls"]
    options += ["--epochs=1", "--verbose=0"]
    assert main(["fit", "dual-encoder", data, "--out", out, *options]) == 0
    encoder = skxc.load(out).encoder
    assert (encoder.model, encoder.max_length, encoder.pooling) == (tiny_bert, 8, "cls")
    capsys.readouterr()
    stdin(b"a red car")
    assert sorted(json.loads(predicted(capsys, out))["labels"]) == NAMES


def test_options_of_the_other_encoder_are_refused(data, tmp_path, capsys):
    told = failing(
        capsys, "fit", "renee", data, "--out", tmp_path / "m", "--transformer.pooling=cls"
    )
    assert told.startswith("--transformer.pooling is no parameter of --encoder bag.")
    told = failing(
        capsys, "fit", "renee", data, "--out", tmp_path / "m", "--encoder=any", "--bag.dim=8"
    )
    assert told.startswith("--bag.dim is no parameter of --encoder any.")


def test_fit_refuses_a_folder_in_use_before_it_trains(data, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(skxc.ReneeClassifier, "fit", None)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").touch()
    (tmp_path / "file").touch()
    for out, words in [
        (model, "holds a model"),
        (tmp_path / "used", "is not empty"),
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "model", "cannot be written to"),
    ]:
        assert words in failing(capsys, "fit", "renee", data, "--out", out)
    told = failing(capsys, "fit", "renee", data, "--out", tmp_path / "used", "--overwrite")
    assert "is not empty" in told
    assert (tmp_path / "used" / "thesis.txt").exists()


def test_overwrite_replaces_a_model_and_an_empty_folder_is_free(data, tmp_path):
    fit = ["fit", "renee", data, "--out", str(tmp_path), *TINY]
    assert main(fit) == 0
    assert main([*fit, "--epochs=1"]) == 2
    assert main([*fit, "--epochs=1", "--overwrite"]) == 0
    assert skxc.load(tmp_path).n_iter_ == 1


def test_fit_saves_to_the_working_directory(data, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    fit = ["fit", "renee", data, "--out", ".", *TINY]
    assert main(fit) == 0
    assert main(fit) == 2
    assert main([*fit, "--epochs=1", "--overwrite"]) == 0
    assert skxc.load(".").n_iter_ == 1


def test_fit_needs_a_folder_that_it_can_write_to(data, tmp_path, capsys, monkeypatch):
    here = tmp_path / "here"
    (here / "model").mkdir(parents=True)
    (tmp_path / "link").symlink_to(here / "model")
    monkeypatch.setattr(skxc.ReneeClassifier, "fit", None)
    mkdir = os.mkdir

    def refuse_in(folder):
        def refusing(path, *args, **kwargs):
            if Path(path).parent == folder:
                raise PermissionError(errno.EACCES, "Permission denied")
            mkdir(path, *args, **kwargs)

        monkeypatch.setattr(os, "mkdir", refusing)

    refuse_in(here)
    for out in (here / "model", here / "new" / "model", tmp_path / "link"):
        told = failing(capsys, "fit", "renee", data, "--out", out)
        words = f"--out {out}: {here} cannot be written to (Permission denied)."
        assert told == f"{words} Pass another folder.\n"
    monkeypatch.chdir(here / "model")  # which can be written to itself, and that is enough
    assert "NoneType" in failing(capsys, "fit", "renee", data, "--out", ".", code=1)
    refuse_in(here / "model")
    assert "model cannot be written" in failing(capsys, "fit", "renee", data, "--out", ".")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--dropout 2", "dropout=2 is out of range"),
        ("--device nowhere", "device='nowhere' is not available"),
        ("--epochs x", "--epochs: 'x' is not accepted (int, default: None)"),
        ("--precision float8", "--precision: 'float8' is not accepted ({\"auto\", "),
        ("--bag.ngram-range 2", "--bag.ngram_range: '2' is not accepted (tuple of (int, int), "),
        ("--epoch 3", "--epoch 3"),
        ("--label-texts x", "--label_texts x"),
        ("--layout zip", "--layout: 'zip' is not accepted"),
        ("--fields body", '--fields: \'body\' is not accepted ("title", "content" or'),
        ("--fields [title,body]", 'is not accepted ("title", "content" or a list'),
        ("--fields [title,title]", "names a field twice"),
        ("--fields []", "fields=[] is empty"),
        ("--config nowhere.yaml", "nowhere.yaml"),
    ],
)
def test_wrong_options_are_told_before_the_data_are_read(words, message, tmp_path, capsys):
    argv = ["fit", "renee", "no-data", "--out", tmp_path / "model", *words.split()]
    assert message in failing(capsys, *argv)


def test_wrong_data_are_told(tmp_path, capsys):
    out = tmp_path / "model"
    assert "no-data: No such file or" in failing(capsys, "fit", "renee", "no-data", "--out", out)
    folder = write_data(tmp_path / "data", "pairs", label_texts=False)
    told = failing(capsys, "fit", "unidec", folder, "--out", out)
    assert "has no label texts, which UniDEC needs" in told
    assert main(["fit", "renee", folder, "--out", str(out), *TINY]) == 0


@pytest.mark.parametrize("words", ["title", "[title]", '["title"]'])
def test_fields_of_json_files_are_chosen_for_fit_and_evaluate(words, tmp_path, capsys):
    folder, out = write_data(tmp_path / "data", "json"), tmp_path / "model"
    plain = write_data(tmp_path / "plain", "json")
    for name, content in ("trn", "trucks"), ("tst", "pears"), ("lbl", "noise"):
        path = Path(folder, f"{name}.json.gz")
        rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        rows = lines(json.dumps({**row, "content": content}) for row in rows)
        path.write_bytes(gzip.compress(rows.encode()))
    assert main(["fit", "unidec", folder, "--out", str(out), *TINY, "--fields", words]) == 0
    assert main(["fit", "unidec", plain, "--out", str(tmp_path / "other"), *TINY]) == 0
    first, second = skxc.load(out), skxc.load(tmp_path / "other")
    assert first.label_names_.tolist() == NAMES
    scores = [clf.predict_top_k(TEXTS, 3)[1] for clf in (first, second)]
    np.testing.assert_array_equal(*scores)
    capsys.readouterr()
    told = []
    for data, options in (folder, ["--fields", words]), (plain, []):
        assert main(["evaluate", str(out), data, "--json", *options]) == 0
        told.append(capsys.readouterr())
    assert told[0] == told[1]
    assert told[0].err == ""


@pytest.mark.parametrize("layout", ["npz", "pairs", "packaged"])
def test_fields_of_a_recipe_change_nothing_in_whole_texts_and_are_warned_of(
    layout, tmp_path, capsys
):
    is_packaged = layout == "packaged"
    folder = "library-subjects" if is_packaged else write_data(tmp_path / "data", layout)
    (tmp_path / "recipe.yaml").write_text("fields: [title]\nepochs: 1\n")
    out = str(tmp_path / "model")
    options = ["--config", str(tmp_path / "recipe.yaml"), "--bag.dim=8", "--verbose=0"]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["fit", "renee", folder, "--out", out, *options]) == 0
    told = capsys.readouterr().err
    assert told.startswith(f"skxc: warning: --fields title is not used: {folder} holds whole")
    assert told.count("\n") == 1


def test_a_filter_has_one_effect_under_each_of_its_names(model, data, tmp_path, capsys):
    folder, told = Path(write_data(tmp_path / "data", "pairs")), []
    for name in "tst_filter_labels.txt", "filter_labels_test.txt", "raw/filter_labels_text.txt":
        (folder / name).write_text("0 0\n3 0\n")
        assert main(["evaluate", model, str(folder), "--json"]) == 0
        told.append(capsys.readouterr().out)
        (folder / name).unlink()
    assert main(["evaluate", model, data, "--json"]) == 0
    assert len(set(told)) == 1
    assert capsys.readouterr().out not in told


def test_a_file_that_is_not_read_is_warned_of(tmp_path, capsys):
    folder = write_data(tmp_path / "data", "pairs")
    Path(folder, "filter_labels.txt").write_text("0 0\n")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["fit", "renee", folder, "--out", str(tmp_path / "model"), *TINY]) == 0
    told = capsys.readouterr().err
    assert told.startswith(f"skxc: warning: {folder} holds files that look like")
    assert "are not read: filter_labels.txt." in told


def test_a_failure_in_training_is_exit_code_1_and_saves_nothing(data, tmp_path, capsys):
    out = tmp_path / "model"
    options = ["--classifier-learning-rate=1e15", "--verbose=0"]
    told = failing(capsys, "fit", "renee", data, "--out", out, *options, code=1)
    assert "diverged" in told
    assert list(tmp_path.iterdir()) == []


def test_a_defect_is_one_line_unless_a_traceback_is_asked_for(data, tmp_path, capsys, monkeypatch):
    def broken(*_, **__):
        raise KeyError("oops")

    monkeypatch.setattr(skxc.ReneeClassifier, "fit", broken)
    fit = ["fit", "renee", data, "--out", str(tmp_path / "model")]
    assert failing(capsys, *fit, code=1).startswith("KeyError: 'oops' (SKXC_DEBUG=1")
    monkeypatch.setenv("SKXC_DEBUG", "1")
    with pytest.raises(KeyError, match="oops"):
        main(fit)


def test_epochs_are_logged_where_stderr_is_no_terminal(data, tmp_path, capsys):
    fit = ["fit", "renee", data, "--bag.dim=8", "--epochs=2", "--out"]
    assert main([*fit, str(tmp_path / "a"), "--verbose=1"]) == 0
    assert [line[:18] for line in capsys.readouterr().err.splitlines()[-2:]] == [
        "skxc: epoch 1 of 2",
        "skxc: epoch 2 of 2",
    ]
    assert main([*fit, str(tmp_path / "b"), "--verbose=0"]) == 0
    assert capsys.readouterr().err == ""


def test_warnings_are_one_line(data, tmp_path, capsys, monkeypatch):
    def warning(self, *_, **__):
        warnings.warn("two\nlines", UserWarning, stacklevel=1)
        raise ValueError("enough")

    monkeypatch.setattr(skxc.ReneeClassifier, "fit", warning)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["fit", "renee", data, "--out", str(tmp_path / "model")]) == 1
    assert capsys.readouterr().err == "skxc: warning: two lines\nskxc: error: enough\n"


# ----------------------------------------------------------------------------------- config files
def test_a_printed_config_trains_the_same_model(data, tmp_path, capsys):
    fit = ["fit", "unidec", data, "--batches=clustered", "--bag.ngram-range=[1,2]", *TINY]
    with pytest.raises(SystemExit) as done:
        main([*fit, "--out", str(tmp_path / "a"), "--print-config"])
    assert done.value.code == 0
    config = capsys.readouterr().out
    assert yaml.safe_load(config)["bag"]["ngram_range"] == [1, 2]
    (tmp_path / "fit.yaml").write_text(config)
    assert main(["fit", "unidec", "--config", str(tmp_path / "fit.yaml")]) == 0
    assert main([*fit, "--out", str(tmp_path / "b")]) == 0
    a, b = (skxc.load(tmp_path / name) for name in "ab")
    np.testing.assert_array_equal(a.label_embeddings_, b.label_embeddings_)
    assert a.batches == "clustered"


def test_the_command_line_wins_over_config_files_wherever_they_stand(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("data: a\nout: b\nepochs: 1\nmomentum: 0.5\nbag: {dim: 8}\n")
    second.write_text("epochs: 2\nbatch_size: 2\n")
    words = ["mine", "--batch-size=3", f"--config={first}", "--config", str(second)]
    options = parsed(fit_parser("renee", skxc.ReneeClassifier), words)
    told = [options[name] for name in ("data", "out", "epochs", "batch_size", "momentum")]
    assert told == ["mine", "b", 2, 3, 0.5]
    assert options["bag"]["dim"] == 8
    assert options["bag"]["min_df"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epochss: 1", "epochss"),
        ("bag: {dimm: 1}", "dimm"),
        ("epochs: x", "--epochs: 'x' is not accepted"),
        ("epochs: [", "config"),
        ("encoder: {class_path: calendar.Calendar}", "--encoder"),
        ("device: {class_path: antigravity.x}", "--device"),
    ],
)
def test_wrong_config_files_are_told_and_import_nothing(content, message, tmp_path, capsys):
    (tmp_path / "fit.yaml").write_text(content)
    argv = ["fit", "renee", "data", "--out", "x", "--config", tmp_path / "fit.yaml"]
    assert message in failing(capsys, *argv)
    assert "antigravity" not in sys.modules


def test_predict_and_evaluate_take_config_files(model, data, tmp_path, capsys, stdin):
    (tmp_path / "predict.yaml").write_text("top_k: 1\nformat: tsv\n")
    stdin(b"car\n")
    told = predicted(capsys, model, "--config", tmp_path / "predict.yaml")
    assert told.count("\t") == 1
    (tmp_path / "evaluate.yaml").write_text("ks: [2]\njson: true\n")
    assert main(["evaluate", model, data, "--config", str(tmp_path / "evaluate.yaml")]) == 0
    assert "P@2" in json.loads(capsys.readouterr().out)


# ---------------------------------------------------------------------------------------- predict
def test_predict_gives_names_and_probabilities_of_predict_proba(model, tmp_path, capsys):
    (tmp_path / "texts.txt").write_text(lines(TEST_TEXTS))
    told = predicted(capsys, model, tmp_path / "texts.txt", "--top-k=2").splitlines()
    clf = skxc.load(model)
    proba = clf.set_params(top_k=2).predict_proba(TEST_TEXTS)
    for i, line in enumerate(map(json.loads, told)):
        assert line["labels"] == clf.predict_labels(TEST_TEXTS, k=2)[i]
        columns = [NAMES.index(name) for name in line["labels"]]
        assert np.float32(line["proba"]).tolist() == proba[i].toarray()[0, columns].tolist()
    assert len(told) == len(TEST_TEXTS)


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"car", ["car"]),
        (b"car\n\napples\n", ["car", "", "apples"]),
        (b"car\r\nred\r\n", ["car", "red"]),
        (b"\xef\xbb\xbfcar\n\xef\xbb\xbfred\n", ["car", "red"]),
        ("caf\u00e9\u2028car\u0085red\n".encode(), ["caf\u00e9\u2028car\u0085red"]),
        (b"car\n" * 3000, ["car"] * 3000),
        (b"car " * 50_000, ["car " * 50_000]),
    ],
    ids=["nothing", "empty", "no end", "gap", "CRLF", "BOM", "unicode", "many", "long"],
)
def test_a_line_in_is_a_line_out(content, texts, model, stdin, capsys):
    assert [text for batch in batches(io.BytesIO(content), "-") for text in batch] == texts
    stdin(content)
    told = predicted(capsys, model, "-")
    assert told.count("\n") == len(texts)
    expected = skxc.load(model).predict_labels(texts, k=5) if texts else []
    assert [json.loads(line)["labels"] for line in told.splitlines()] == expected


def test_lines_that_are_no_utf_8_are_told_after_the_lines_before(model, stdin, tmp_path, capsys):
    stdin(b"car\nred\nb\xffd\ncar\n")
    assert main(["predict", model]) == 2
    told = capsys.readouterr()
    assert told.out.count("\n") == 2
    assert told.err.startswith("skxc: error: standard input, line 3: byte 0xff is not UTF-8")
    assert told.err.count("\n") == 1
    (tmp_path / "texts.txt").write_bytes(b"\xff\xfec\x00")
    told = failing(capsys, "predict", model, tmp_path / "texts.txt")
    assert "texts.txt, line 1: byte 0xff" in told


def test_tab_separated_names_are_escaped(tmp_path, stdin, capsys):
    names = ["a\tb", "c\\d", "e\nf\r"]
    encoder = skxc.encoders.BagOfWordsEncoder(dim=8)
    clf = skxc.ReneeClassifier(encoder, label_texts=names, epochs=1).fit(TEXTS, matrix(LABELS))
    clf.save(tmp_path / "model")
    stdin(b"car\n")
    cells = predicted(capsys, tmp_path / "model", "--format=tsv").removesuffix("\n").split("\t")
    assert sorted(cells[::2]) == [r"a\tb", r"c\\d", r"e\nf\r"]
    assert cells[1::2] == sorted(cells[1::2], key=float, reverse=True)


def test_half_a_character_in_a_name_is_escaped_as_json_has_it(tmp_path, stdin, capsys):
    encoder = skxc.encoders.BagOfWordsEncoder(dim=8)
    names = ["fruit", "red\ud83d", "vehicle"]
    clf = skxc.ReneeClassifier(encoder, label_texts=names, epochs=1).fit(TEXTS, matrix(LABELS))
    clf.save(tmp_path / "model")
    stdin(b"car\n")
    assert sorted(json.loads(predicted(capsys, tmp_path / "model"))["labels"]) == names


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (matrix(LABELS), [0, 1, 2]),
        (matrix(LABELS).toarray(), [0, 1, 2]),
        (["fruit" if 0 in row else "vehicle" for row in LABELS], ["fruit", "vehicle"]),
        ([[NAMES[i] for i in row] for row in LABELS], NAMES),
    ],
    ids=["sparse", "dense", "classes", "lists"],
)
def test_models_trained_in_python_predict_whatever_y_was(y, names, tmp_path, stdin, capsys):
    encoder = skxc.encoders.BagOfWordsEncoder(dim=8)
    clf = skxc.ReneeClassifier(encoder, epochs=1, random_state=0).fit(TEXTS, y)
    clf.save(tmp_path / "model")
    stdin(b"red car\n")
    told = json.loads(predicted(capsys, tmp_path / "model"))
    assert sorted(told["labels"]) == names
    proba = clf.predict_proba(["red car"])
    proba = np.sort((proba.toarray() if sp.issparse(proba) else proba)[0])[::-1]
    np.testing.assert_allclose(told["proba"], proba, rtol=1e-6)


def test_predictions_go_to_a_file_that_is_whole_or_as_it_was(model, tmp_path, capsys):
    texts, out = tmp_path / "texts.txt", tmp_path / "labels.jsonl"
    texts.write_text("car\nred\n")
    assert predicted(capsys, model, texts, "--out", out) == ""
    before = out.read_text()
    assert before.count("\n") == 2
    texts.write_bytes(b"car\n\xff\n")
    assert "line 2" in failing(capsys, "predict", model, texts, "--out", out)
    assert out.read_text() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["labels.jsonl", "texts.txt"]


def test_wrong_arguments_of_predict_are_told(model, tmp_path, capsys):
    texts = tmp_path / "texts.txt"
    texts.write_text("car\n")
    assert "nowhere" in failing(capsys, "predict", "nowhere", texts)
    assert "nowhere: No such file" in failing(capsys, "predict", model, "nowhere")
    assert "--top_k is 0" in failing(capsys, "predict", model, texts, "--top-k=0")
    assert "'xml' is not accepted" in failing(capsys, "predict", model, texts, "--format=xml")
    assert "is a folder" in failing(capsys, "predict", model, texts, "--out", tmp_path)
    out = tmp_path / "nowhere" / "file"
    assert "in no folder" in failing(capsys, "predict", model, texts, "--out", out)
    told = failing(capsys, "predict", model, texts, "--device=nowhere")
    assert "'nowhere' is not available" in told


def test_more_labels_than_there_are_give_all(model, stdin, capsys):
    stdin(b"car\n")
    assert len(json.loads(predicted(capsys, model, "--top-k=99"))["labels"]) == 3


# --------------------------------------------------------------------------------------- evaluate
def test_evaluate_equals_the_metrics_of_the_library(tmp_path, capsys):
    folder = write_data(tmp_path / "data", "pairs", exclude=True)
    out = str(tmp_path / "model")
    assert main(["fit", "renee", folder, "--out", out, *TINY, "--top-k=1"]) == 0
    capsys.readouterr()
    options = ["--json", "--ks=[2,1]", "--propensity=amazon"]
    assert main(["evaluate", out, folder, *options]) == 0
    read, clf = load_xc_folder(folder), skxc.load(out)
    expected = ranking_metrics(
        read.Y_test,
        clf.set_params(top_k=3).predict_proba(read.test_texts, exclude=read.test_exclude),
        ks=(1, 2),
        propensities=propensities(read.Y, 0.6, 2.6),
        exclude=read.test_exclude,
    )
    assert json.loads(capsys.readouterr().out) == pytest.approx(expected)


def test_the_table_is_in_percent_and_fits_a_narrow_terminal(model, data, capsys):
    assert main(["evaluate", model, data, "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert main(["evaluate", model, data]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["%", "@1", "@3", "@5"]
    assert max(map(len, rows)) <= 30
    for row in rows[1:]:
        kind, *values = row.split()
        assert values == [f"{100 * metrics[f'{kind}@{k}']:.2f}" for k in (1, 3, 5)]
    assert [row.split()[0] for row in rows[1:]] == ["P", "nDCG", "R", "MRR", "PSP", "PSnDCG"]


def test_another_number_of_labels_is_refused_and_other_names_are_warned_of(
    model, data, tmp_path, capsys
):
    encoder = skxc.encoders.BagOfWordsEncoder(dim=8)
    clf = skxc.ReneeClassifier(encoder, epochs=1).fit(TEXTS, matrix(LABELS)[:, :2])
    clf.save(tmp_path / "two")
    told = failing(capsys, "evaluate", tmp_path / "two", data)
    assert f"{data} has 3 labels, but the model 2." in told
    other = write_data(tmp_path / "other", "pairs")
    Path(other, "Y.txt").write_text("fruit\nrouge\nvehicle\n")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["evaluate", model, other]) == 0
    told = capsys.readouterr().err
    assert told.startswith("skxc: warning: 1 of the 3 labels have another name in ")
    assert "such as label 1: 'rouge', 'red'" in told


def test_wrong_cuts_are_refused(model, data, capsys):
    assert "--ks is [0]" in failing(capsys, "evaluate", model, data, "--ks=[0]")
    assert "'x' is not accepted" in failing(capsys, "evaluate", model, data, "--ks=x")


# ------------------------------------------------------------------------------------------- info
def test_info_tells_what_was_saved(model, capsys):
    assert main(["info", model]) == 0
    pairs = [re.split(" {2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    told = {pair[0]: pair[-1] for pair in pairs}
    assert told["class"] == "ReneeClassifier"
    assert (told["labels"], told["epochs"], told["random_state"]) == ("3", "2", "0")
    assert told["training texts"] == "20"
    assert told["saved by"] == f"skxc {skxc.__version__}"
    assert told["encoder"].startswith("BagOfWordsEncoder(dim=8, ")
    assert "ngram_range=(1, 1)" in told["encoder"]


def test_info_of_anything_else_is_an_error(tmp_path, capsys):
    assert "no folder" in failing(capsys, "info", "nowhere")
    assert "config.json is missing" in failing(capsys, "info", tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert "not written by skxc" in failing(capsys, "info", tmp_path)


# ----------------------------------------------------------------------------------- the top level
@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["fit", "--help"], ["fit"]])
def test_help_lists_commands_and_examples(argv, capsys):
    assert main(argv) == 0
    told = capsys.readouterr().out
    assert told.startswith("usage: skxc")
    assert "examples:" in told
    assert max(map(len, told.splitlines())) <= 100


def test_unknown_commands_are_errors(capsys):
    assert "'' is no command" in failing(capsys)
    assert "'train' is no command. Pass one of fit, predict, " in failing(capsys, "train")
    told = failing(capsys, "fit", "svm")
    assert "'svm' is no estimator (renee, dual-encoder, unidec), and there is no file or" in told


def test_the_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"skxc {skxc.__version__}\n"


# ------------------------------------------------------------------------------- in real processes
@contextmanager
def started(*argv, redirected="", environment=None, **settings):
    """A process of its own, which ends even if what is claimed of it is wrong."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} | (environment or {})
    # a process that was itself started in the background ignores Ctrl-C, and so would this one
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-m", "skxc", *argv]
    if redirected:
        command = ["sh", "-c", f'exec "$@" {redirected}', "sh", *command]
    with subprocess.Popen(command, env=environment, **settings) as process:
        signal.signal(signal.SIGINT, before)
        watchdog = threading.Timer(120, process.kill)
        watchdog.start()
        try:
            yield process
            process.wait()
        finally:
            watchdog.cancel()
            process.kill()


def ran(*argv, redirected="", **environment):
    """Exit code, stdout and stderr of a command, whose streams a shell redirects."""
    with started(
        *argv,
        redirected=redirected,
        environment=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        told, error = process.communicate()
    return process.returncode, told, error


ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii:strict"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "utf-8": {"PYTHONIOENCODING": "utf-8:strict"},
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_character_fails_a_command(encoding, data, tmp_path):
    out = os.fsdecode(os.fsencode(tmp_path) + b"/mod\xe8le")  # no UTF-8
    pattern, settings = "[a-z\u00e4]+", ENCODINGS[encoding]
    fit = ["fit", "renee", data, "--out", out, *TINY, f"--bag.token-pattern={pattern}"]
    if encoding == "C":  # whose files have another encoding, too
        code, told, error = ran(*fit, **settings)
        assert (code, error) == (0, b"")
        assert b"mod\\udce8le" in told
    else:
        assert main(fit) == 0
    code, told, error = ran("info", out, **settings)
    assert (code, error) == (0, b"")
    # in the C locale arguments are bytes, which Python keeps as lone surrogates
    kept = {"utf-8": b"a-z\xc3\xa4", "ascii": b"a-z\\xe4", "C": b"a-z\\udcc3\\udca4"}
    assert kept[encoding] in told
    code, told, error = ran("info", f"{out}2", **settings)
    assert code == 2
    assert b"mod\\udce8le2 is no folder" in error


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_printed_config_means_the_same_in_every_encoding(encoding, tmp_path, data, monkeypatch):
    out = 'mod\u00e8le \\xe8 "\U0001f600'
    with (tmp_path / "fit.yaml").open("w", encoding=encoding, errors="strict") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as done:
            main(["fit", "renee", data, "--out", out, "--print-config"])
    assert done.value.code == 0
    parser = fit_parser("renee", skxc.ReneeClassifier)
    assert parsed(parser, ["--config", str(tmp_path / "fit.yaml")])["out"] == out


UNWRITABLE = {
    "closed": ">&-",
    "full": "> /dev/full",
    "error closed": "2>&-",
    "error full": "2> /dev/full",
}


def test_a_saved_model_is_no_failure_though_nothing_can_be_told(data, tmp_path):
    out = str(tmp_path / "model")
    fit = ["fit", "renee", data, "--out", out, "--epochs=1", "--bag.dim=8"]
    assert ran(*fit, redirected="> /dev/full 2> /dev/full")[0] == 0
    assert skxc.load(out).n_iter_ == 1


TELL = """
from skxc._cli._streams import prepare_output, tell, tell_done
prepare_output()
tell("epoch 1\\n")
tell_done("Saved\\n")
"""


@pytest.mark.parametrize("streams", UNWRITABLE)
def test_what_was_done_is_told_where_it_can_be(streams):
    command = ["sh", "-c", f'exec "$@" {UNWRITABLE[streams]}', "sh", sys.executable, "-c", TELL]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0
    if streams in ("closed", "full"):
        words = b"epoch 1\nskxc: warning: all is done, but stdout cannot be written to"
        assert done.stderr.startswith(words)
    else:
        assert (done.stdout, done.stderr) == (b"Saved\n", b"")


LOST = {
    "predict": ["predict", "MODEL", "TEXTS"],
    "evaluate": ["evaluate", "MODEL", "DATA"],
    "info": ["info", "MODEL"],
    "--help": ["--help"],
    "print-config": ["fit", "renee", "DATA", "--out", "model", "--print-config"],
}


@pytest.fixture
def lost(request, model, data, tmp_path):
    (tmp_path / "texts.txt").write_text("car\n")
    named = {"MODEL": model, "DATA": data, "TEXTS": str(tmp_path / "texts.txt")}
    return [named.get(word, word) for word in LOST[request.param]]


def assert_is_told_as_lost(code, error, streams):
    assert code in (1, 2)
    words = {"closed": "stdout: it is closed. Send it", "full": "No space left on device"}
    assert error.startswith(f"skxc: error: {words[streams]}")


@pytest.mark.parametrize("lost", LOST, indirect=True)
@pytest.mark.parametrize("streams", ["closed", "full"])
def test_output_that_is_lost_is_a_failure(lost, streams, monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full if streams == "full" else None)
        code = main(lost)
        assert_is_told_as_lost(code, capsys.readouterr().err, streams)


# the interpreter writes what is left when it ends
@pytest.mark.parametrize(
    ("lost", "streams"),
    [("predict", "full"), ("info", "full"), ("info", "closed"), ("--help", "full")],
    indirect=["lost"],
)
def test_output_that_is_lost_is_told_once(lost, streams):
    code, told, error = ran(*lost, redirected=UNWRITABLE[streams])
    assert told == b""
    assert error.count(b"\n") == 1
    assert_is_told_as_lost(code, error.decode(), streams)


def test_a_reader_that_left_before_the_last_line_is_no_failure():
    command = [sys.executable, "-c", TELL]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        told = process.stderr.read()
    assert b"all is done, but stdout cannot be written to (Broken pipe)" in told
    assert process.returncode == 0


def test_standard_input_that_is_closed_is_told(model):
    code, told, error = ran("predict", model, redirected="<&-")
    assert (code, told) == (2, b"")
    assert error == b"skxc: error: Standard input is closed. Pass a file of texts.\n"


@pytest.mark.parametrize("argv", [["--help"], ["fit", "--help"], ["info"], ["predict", "--help"]])
def test_help_needs_neither_torch_nor_scikit_learn(argv, model):
    words = [*argv, model] if argv == ["info"] else argv
    code = f"""
import sys
from skxc._cli import main
try:
    main({words!r})
except SystemExit:
    pass
assert not {{"torch", "sklearn", "transformers"}} & set(sys.modules), "slow imports"
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_a_pipe_gets_each_line_as_it_comes(model):
    with started("predict", model, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        for text in (b"car", b"apples", "\u00e9t\u00e9".encode()):
            process.stdin.write(text + b"\n")
            process.stdin.flush()
            assert len(json.loads(process.stdout.readline())["labels"]) == 3
        process.stdin.close()
        assert process.stdout.read() == b""
    assert process.returncode == 0


def test_a_reader_that_leaves_ends_the_work_silently(model, tmp_path):
    (tmp_path / "texts.txt").write_text("car\n" * 50_000)
    arguments = ("predict", model, str(tmp_path / "texts.txt"))
    with started(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_ctrl_c_in_training_leaves_nothing_behind(data, tmp_path):
    out = tmp_path / "model"
    fit = ("fit", "renee", data, "--out", str(out), "--epochs=1000000", "--bag.dim=8")
    with started(*fit, stderr=subprocess.PIPE) as process:
        while b"epoch 1 of" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.stderr.read().splitlines()[-1] == b"skxc: interrupted"
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []
