"""`skxc fit`, `predict` and `evaluate` on users' own tables and on Annif's corpora."""

from __future__ import annotations

import csv
import json
import re
import warnings

import numpy as np
import pytest
from test_cli import failing, write_data

import skxc
from skxc._cli import main
from skxc._cli._fit_parser import fit_parser
from skxc._cli._parsing import parsed
from skxc.datasets import load_table
from skxc.metrics import ranking_metrics

TEXTS = ["red apples", "green pears", "a fast car", "cars, and trucks", "a red\ncar"]
LABELS = [["fruit", "red"], ["fruit"], ["vehicle"], ["vehicle"], ["red", "vehicle"]]
TINY = ["--epochs=2", "--bag.dim=8", "--random-state=0", "--verbose=0"]
COLUMNS = ["--text=title,note", "--labels=subjects", "--separator=;"]


def write_table(path, n_times, *, extra=()):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "title", "note", "subjects"])
        for i in range(n_times):
            for text, labels in zip(TEXTS, LABELS, strict=True):
                writer.writerow([i, text, f"number {i}", "; ".join([*labels, *extra])])
    return str(path)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("table") / "data.csv", 20)


@pytest.fixture(scope="module")
def model(table, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("model") / "unidec")
    assert main(["fit", table, "--out", folder, *COLUMNS, *TINY]) == 0
    return folder


def test_fit_takes_unidec_and_learns_what_the_estimator_would_of_label_lists(
    model, table, tmp_path, capsys
):
    out = tmp_path / "model"
    assert main(["fit", table, "--out", str(out), *COLUMNS, *TINY]) == 0
    data = load_table(table, text=["title", "note"], labels="subjects", separator=";")
    lists = [data.label_names[row.indices].tolist() for row in data.Y]
    encoder = skxc.encoders.BagOfWordsEncoder(dim=8)
    expected = skxc.UniDEC(encoder, epochs=2, random_state=0).fit(data.texts, lists)
    loaded = skxc.load(out)
    assert isinstance(loaded, skxc.UniDEC)
    assert loaded.classes_.tolist() == expected.classes_.tolist()
    np.testing.assert_array_equal(loaded.label_embeddings_, expected.label_embeddings_)
    told = capsys.readouterr()
    assert told.err == ""
    saved, described, *rows = told.out.splitlines()
    assert f"Saved UniDEC (labels: 3, training texts: 90, epochs: 2) to {out}" in saved
    assert described == data.DESCR
    metrics = ranking_metrics(data.Y_test, loaded.predict_proba(data.test_texts), [1, 3])
    shown = [f"{100 * metrics[f'P@{k}']:.2f}" for k in (1, 3)]
    assert rows[1].split()[:3] == ["P", *shown]


def test_all_rows_are_trained_on_where_none_is_held_out(table, tmp_path, capsys):
    argv = ["fit", "renee", table, "--out", str(tmp_path / "m"), *COLUMNS, *TINY, "--test-size=0"]
    assert main(argv) == 0
    told = capsys.readouterr().out
    assert "training texts: 100" in told
    assert told.endswith("; no row held out\n")
    assert skxc.load(tmp_path / "m").label_names_.tolist() == ["fruit", "red", "vehicle"]


@pytest.mark.filterwarnings("always")
def test_the_labels_of_a_table_are_found_by_their_names(model, tmp_path, capsys):
    path = tmp_path / "test.jsonl"
    rows = [
        {"title": text, "note": "", "subjects": labels}
        for text, labels in zip(TEXTS, LABELS, strict=True)
    ]
    rows[1]["subjects"] = ["strange", "fruit"]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    argv = ["evaluate", model, str(path), "--text=title", "--labels=subjects", "--json"]
    assert main(argv) == 0
    told = capsys.readouterr()
    assert "has labels that the model does not know (1, such as 'strange')" in told.err
    assert "in 1 of 5 rows" in told.err
    metrics = json.loads(told.out)
    clf = skxc.load(model)
    names = [*clf.label_names_.tolist(), "strange"]
    Y = np.array([[name in row["subjects"] for name in names] for row in rows], dtype=float)
    proba = clf.predict_proba([row["title"] for row in rows]).toarray()
    expected = ranking_metrics(Y, np.pad(proba, ((0, 0), (0, 1))), [1, 3])
    for name in ("P@1", "P@3", "R@3", "nDCG@3"):
        assert metrics[name] == pytest.approx(expected[name], abs=1e-6)
    assert metrics["R@3"] < 1  # the strange one is not found


def test_a_table_without_any_of_the_models_labels_is_refused(model, tmp_path, capsys):
    (tmp_path / "a.csv").write_text("text,labels\na,x\nb,y\n")
    told = failing(capsys, "evaluate", model, tmp_path / "a.csv", "--text=text", "--labels=labels")
    assert "None of the 2 labels of" in told


@pytest.mark.filterwarnings("always")
def test_labels_are_also_found_by_the_texts_that_fit_found_them_by(tmp_path, capsys):
    rows = [f"{text.split()[-1]} {i},u{i % 2}\n" for i in range(10) for text in TEXTS[:2]]
    table, other = tmp_path / "a.csv", tmp_path / "b.csv"
    table.write_text("".join(["text,labels\n", *rows]))
    other.write_text(table.read_text().replace("u0", "zero things").replace("u1", "one; u1"))
    (tmp_path / "v.tsv").write_text("u0\tzero things\nu1\tone\nu2\ttwo\nu3\ttwo\n")
    argv = ["--text=text", "--labels=labels", "--separator=;"]
    model = str(tmp_path / "m")
    vocabulary = f"--vocabulary={tmp_path / 'v.tsv'}"
    assert main(["fit", str(table), vocabulary, "--out", model, *argv, *TINY]) == 0
    capsys.readouterr()
    told = []
    for path in (table, other):
        assert main(["evaluate", model, str(path), *argv, "--json"]) == 0
        told.append(capsys.readouterr())
    assert told[0] == told[1]
    assert told[0].err == ""
    other.write_text("text,labels\npears,two\npears,one\n")  # "two" is a text of two labels
    assert main(["evaluate", model, str(other), *argv]) == 0
    assert "labels that the model does not know (1, such as 'two')" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------- predict
def answers(capsys, *argv):
    assert main(["predict", *argv]) == 0
    return capsys.readouterr().out


def test_a_table_is_answered_row_by_row(model, table, tmp_path, capsys):
    lines = tmp_path / "texts.txt"
    data = load_table(table, text=["title", "note"], labels="subjects", separator=";", test_size=0)
    lines.write_text("".join(f"{text.replace(chr(10), ' ')}\n" for text in data.texts))
    expected = answers(capsys, model, str(lines))
    assert answers(capsys, model, table, "--text=title,note") == expected
    assert answers(capsys, model, table, "--column=[title,note]") == expected


def test_csv_has_a_label_and_a_number_in_each_cell(model, table, tmp_path, capsys):
    out = tmp_path / "labels.csv"
    assert answers(capsys, model, table, "--text=title", "--out", str(out), "--top-k=9") == ""
    assert out.read_bytes().startswith(b"\xef\xbb\xbflabel_1,proba_1,label_2,proba_2,label_3,proba")
    with out.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    objects = answers(capsys, model, table, "--text=title", "--top-k=9").splitlines()
    for row, answer in zip(rows, map(json.loads, objects), strict=True):
        assert [row[f"label_{i}"] for i in (1, 2, 3)] == answer["labels"]
        assert [float(row[f"proba_{i}"]) for i in (1, 2, 3)] == answer["proba"]


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_a_row_without_a_text_is_answered_as_an_empty_one_and_told_once(
    name, model, tmp_path, capsys
):
    rows = [{"id": "1", "title": "red apples"}, {"id": "2", "title": None}, {"id": "3"}] * 500
    path = tmp_path / name
    if name == "a.jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    elif name == "a.csv":
        path.write_text("id,title\n" + "".join(f"{x['id']},{x.get('title') or ''}\n" for x in rows))
    else:
        pa = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pa.Table.from_pylist(rows), path)
    assert main(["predict", model, str(path), "--text=title"]) == 0
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert f"{name}, row 1 (counted from 0): there is no text" in told.err
    lines = tmp_path / "texts.txt"
    lines.write_text("".join(f"{row.get('title') or ''}\n" for row in rows))
    assert answers(capsys, model, str(lines)) == told.out


def test_labels_with_carriage_returns_keep_the_rows_of_a_csv(tmp_path, capsys):
    names = ["a\rb", 'c"\nd', "e, f", "=1+1"]
    texts = ["red apples", "green pears", "a fast car", "trucks"]
    clf = skxc.ReneeClassifier(skxc.encoders.BagOfWordsEncoder(dim=8), epochs=1, random_state=0)
    clf.fit(texts * 3, [[name] for name in names] * 3).save(tmp_path / "m")
    (tmp_path / "a.txt").write_text("".join(f"{text}\n" for text in texts))
    out = tmp_path / "labels.csv"
    answers(capsys, str(tmp_path / "m"), str(tmp_path / "a.txt"), "--out", str(out), "--top-k=4")
    with out.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    for row in rows:
        assert {row[f"label_{i}"] for i in (1, 2, 3, 4)} == set(names)
    assert b'"a\rb"' in out.read_bytes()  # which a reader that ends rows at it needs


@pytest.mark.parametrize("end", ["csv", "tsv", "jsonl", "txt", "CSV"])
def test_the_ending_of_out_tells_the_format(end, model, table, tmp_path, capsys):
    out = tmp_path / f"labels.{end}"
    format = "jsonl" if end == "txt" else end.lower()
    answers(capsys, model, table, "--text=title", "--out", str(out))
    expected = answers(capsys, model, table, "--text=title", "--format", format)
    assert out.read_bytes().decode() == expected
    answers(capsys, model, table, "--text=title", "--out", str(out), "--format=tsv")
    assert out.read_text() == answers(capsys, model, table, "--text=title", "--format=tsv")


def test_a_csv_goes_on_after_what_a_killed_run_has_written(model, tmp_path, capsys, monkeypatch):
    from skxc._cli import _resuming

    table, out = write_table(tmp_path / "long.csv", 500), tmp_path / "labels.csv"
    argv = [model, table, "--text=title,note", "--out", str(out)]
    answers(capsys, *argv)
    expected = out.read_bytes()
    out.unlink()
    write, written = _resuming.Part.write, []

    def killed(part, block):
        if written:
            raise KeyboardInterrupt
        written.append(write(part, block))

    monkeypatch.setattr(_resuming.Part, "write", killed)
    assert main(["predict", *argv, "--resume"]) == 130
    monkeypatch.undo()
    capsys.readouterr()
    assert main(["predict", *argv, "--resume"]) == 0
    assert "has 1,024 rows: going on after them" in capsys.readouterr().err
    assert out.read_bytes() == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.csv", "long.csv"]


# -------------------------------------------------------------------------------------------- annif
def test_a_corpus_is_trained_on_by_its_vocabulary(tmp_path, capsys):
    uris = {name: f"http://x.org/{name[0]}" for name in ("fruit", "red", "vehicle", "zoo")}
    corpus, vocabulary = tmp_path / "corpus.tsv", tmp_path / "subjects.csv"
    lines = [
        f"{' '.join(text.split())} {i}\t{' '.join(f'<{uris[name]}>' for name in names)}\n"
        for i in range(8)
        for text, names in zip(TEXTS, LABELS, strict=True)
    ]
    corpus.write_text("".join(lines))
    rows = [f"{uri},{name},f-{name}\n" for name, uri in uris.items()]
    vocabulary.write_text("".join(["uri,label_en,label_fi\n", *rows]))
    model = str(tmp_path / "m")
    argv = ["fit", str(corpus), "--vocabulary", str(vocabulary), "--out", model, *TINY]
    assert "has 2 languages. Choose one as language: 'en', 'fi'" in failing(capsys, *argv)
    assert main([*argv, "--language=en"]) == 0
    assert "corpus.tsv: 36 training rows, 4 labels" in capsys.readouterr().out
    clf = skxc.load(tmp_path / "m")
    assert clf.label_names_.tolist() == list(uris.values())
    assert clf.label_texts_.tolist() == list(uris)
    assert clf.is_seen_.tolist() == [True, True, True, False]
    assert main(["evaluate", str(tmp_path / "m"), str(corpus)]) == 0
    assert capsys.readouterr().out.startswith("%")
    told = failing(capsys, "fit", corpus, "--out", tmp_path / "n", "--separator=;")
    assert "--separator is for tables, and" in told
    told = failing(capsys, "fit", corpus, "--out", tmp_path / "n", *TINY)
    assert "has labels such as 'http://x.org/f' and no label texts, which UniDEC needs" in told
    assert "Pass --vocabulary FILE" in told


# ------------------------------------------------------------------------------------- wrong inputs
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "is a table with the columns 'id', 'title', 'note', 'subjects'. Name those to read"),
        ("--text=title", "--labels is missing"),
        ("--labels=subjects", "--text is missing"),
        ("--text=titel --labels=subjects", "has no column 'titel'.*Did you mean 'title'\\?"),
        ("--text=title --labels=note,subject", "has no column 'subject'"),
        ("--text=title --labels=subjects --encoding=x", "encoding is 'x', which is not known"),
        (
            "--text=title --labels=subjects --separator=; --test-size=2.5",
            "test_size=2.5 cannot be held out",
        ),
        ("--text=title --labels=subjects --layout=json", "--layout is for data sets in the field"),
        ("--text=title --labels=subjects --language=en", "there is no vocabulary"),
        ("--text=title --labels=subjects --vocabulary=no.csv", "no.csv: No such file"),
    ],
)
def test_wrong_options_of_a_table_are_told_in_one_line(words, message, table, tmp_path, capsys):
    told = failing(capsys, "fit", table, "--out", tmp_path / "model", *words.split())
    assert re.search(message, told), told


@pytest.mark.parametrize(
    "option",
    [
        *("--text=a --labels=b", "--separator=;", "--vocabulary=v.csv", "--vocabulary="),
        *("--language=", "--test-size=0.2", "--test-size=0"),
    ],
)
def test_options_of_tables_are_refused_for_other_data(option, tmp_path, capsys):
    folder = write_data(tmp_path / "data", "pairs")
    told = failing(capsys, "fit", "renee", folder, "--out", tmp_path / "m", *option.split())
    name = option.split("=")[0]
    assert f"{name} is for tables" in told or "is a folder" in told


@pytest.mark.parametrize(
    ("word", "separator"),
    [("|", "|"), (",", ","), (" ", " "), (";", ";"), ("\\t", "\\t"), ("#", "#"), ("null", "null")],
)
def test_every_separator_is_a_text(word, separator):
    options = parsed(fit_parser("unidec", skxc.UniDEC), ["a", "--out=m", f"--separator={word}"])
    assert options["separator"] == separator


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("a,b", ["a", "b"]), ("a, b", ["a", "b"]), ("[a,b]", ["a", "b"]), ('["a,b"]', ["a,b"]),
        ("Main text", ["Main text"]), ("null", ["null"]), ("~", ["~"]), ("&a", ["&a"]),
        ("- x", ["- x"]), ("2020", ["2020"]), ("[a", ["[a"]), ("[*a]", ["[*a]"]),
        ('["null"]', ["null"]),
    ],
)  # fmt: skip
def test_columns_stand_between_commas_or_in_a_list(value, names):
    options = parsed(fit_parser("unidec", skxc.UniDEC), ["a", "--out=m", f"--text={value}"])
    assert options["text"] == names


@pytest.mark.parametrize(
    ("value", "names"),
    [("a,b", ["a", "b"]), ('"null"', ["null"]), ("null", None), ('[a, "b,c"]', ["a", "b,c"])],
)
def test_a_config_names_columns_as_the_command_line_does(value, names, tmp_path):
    (tmp_path / "fit.yaml").write_text(f"text: {value}\n")
    argv = ["a", "--out=m", f"--config={tmp_path / 'fit.yaml'}"]
    assert parsed(fit_parser("unidec", skxc.UniDEC), argv)["text"] == names


@pytest.mark.parametrize("value", ["2020", "[a, 1]", "{a: b}"])
def test_what_is_no_name_in_a_config_is_refused(value, tmp_path, capsys):
    (tmp_path / "fit.yaml").write_text(f"text: {value}\n")
    told = failing(capsys, "fit", "unidec", "a", "--out=m", f"--config={tmp_path / 'fit.yaml'}")
    assert "--text: " in told
    assert "holds no names. Write each between quotation marks." in told


def test_a_printed_config_trains_on_the_same_table(table, tmp_path, capsys):
    out = str(tmp_path / "model")
    assert main(["fit", table, "--out", out, *COLUMNS, *TINY]) == 0
    first = skxc.load(out).label_embeddings_
    capsys.readouterr()
    argv = ["fit", table, "--out", out, *COLUMNS, *TINY, "--print-config"]
    with pytest.raises(SystemExit):
        main(argv)
    (tmp_path / "fit.yaml").write_text(capsys.readouterr().out)
    assert main(["fit", "--config", str(tmp_path / "fit.yaml"), "--overwrite"]) == 0
    np.testing.assert_array_equal(skxc.load(out).label_embeddings_, first)


def test_a_file_in_another_encoding_is_named_with_the_line_and_read_as_told(tmp_path, capsys):
    table = tmp_path / "data.csv"
    rows = ["title,subjects\n"] + [f"caf\u00e9 {i},bars\ntea {i},shops\n" for i in range(10)]
    table.write_bytes("".join(rows).encode("cp1252"))
    argv = ["fit", table, "--text=title", "--labels=subjects", "--out", tmp_path / "m", *TINY]
    told = failing(capsys, *argv)
    assert "data.csv, line 2: byte 0xe9 is not utf-8" in told
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main([*map(str, argv), "--encoding=cp1252"]) == 0
    argv = [str(tmp_path / "m"), str(table), "--text=title", "--encoding=cp1252"]
    assert len(answers(capsys, *argv).splitlines()[-20:]) == 20
