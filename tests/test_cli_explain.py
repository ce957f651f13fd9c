"""`skxc explain`: what the estimator's `explain` says, as lines, JSON or a page."""

from __future__ import annotations

import io
import json
import sys

import pytest
from test_cli import TEXTS, TINY, failing, write_data

import skxc
from skxc._cli import main
from skxc._cli._parsers import explain_parser
from skxc._cli._parsing import parsed


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    data = write_data(folder / "data", "pairs")
    assert main(["fit", "unidec", data, "--out", str(folder / "unidec"), *TINY]) == 0
    return str(folder / "unidec")


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("red apples\na fast car\n")
    return str(path)


def explained(capsys, *argv):
    capsys.readouterr()
    assert main(["explain", *map(str, argv)]) == 0
    return capsys.readouterr().out


def test_lines_and_json_are_what_the_estimator_explains(model, texts, capsys):
    expected = skxc.load(model).explain(["red apples", "a fast car"], k=2)
    shown = explained(capsys, model, texts, "--top-k", 2)
    assert shown == "".join(f"{explanation}\n\n" for explanation in expected)
    lines = explained(capsys, model, texts, "--top-k", 2, "--format", "jsonl").splitlines()
    assert [json.loads(line) for line in lines] == [e.to_dict() for e in expected]


def test_a_page_is_written_when_all_is_read(model, texts, tmp_path, capsys):
    out = tmp_path / "why.HTML"
    expected = skxc.load(model).explain(["red apples", "a fast car"]).to_html()
    assert explained(capsys, model, texts, "--format", "html", "--out", tmp_path / "why.txt") == ""
    assert explained(capsys, model, texts, "--out", out) == ""  # as its name ends
    assert out.read_text() == (tmp_path / "why.txt").read_text() == expected


def test_labels_are_named_one_by_one(model, texts, capsys):
    argv = (model, texts, "--label", "red", "--label", "fruit", "--format", "jsonl")
    for line in explained(capsys, *argv).splitlines():
        assert {label["label"] for label in json.loads(line)["labels"]} == {"red", "fruit"}
    assert "Did you mean 'fruit'?" in failing(capsys, "explain", model, texts, "--label", "fruits")


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        ('["true", "1"]', ["true", "1"]),
        ('["[", "null"]', ["[", "null"]),
        ('"1"', ["1"]),
        ("null", None),
    ],
)
def test_labels_of_a_config_are_read_as_they_are_written(written, labels, tmp_path):
    (tmp_path / "explain.yaml").write_text(f"label: {written}\n")
    argv = [f"--config={tmp_path / 'explain.yaml'}", "m"]
    assert parsed(explain_parser(), argv)["label"] == labels
    assert parsed(explain_parser(), [*argv, "--label=z"])["label"] == [*(labels or []), "z"]


def test_a_printed_config_explains_the_same_labels(model, texts, tmp_path, capsys):
    argv = [model, texts, "--label", "red", "--label", "fruit"]
    expected = explained(capsys, *argv)
    with pytest.raises(SystemExit):
        main(["explain", *argv, "--print-config"])
    (tmp_path / "explain.yaml").write_text(capsys.readouterr().out)
    assert explained(capsys, "--config", tmp_path / "explain.yaml") == expected


def test_texts_are_not_replaced_by_their_explanations(model, texts, capsys):
    assert "is the file of texts" in failing(capsys, "explain", model, texts, "--out", texts)


def test_labels_that_are_numbers_are_named_by_them(tmp_path, texts, capsys):
    clf = skxc.ReneeClassifier(epochs=1).fit(TEXTS, [[7], [8], [9], [9], [8]] * 4)
    clf.save(tmp_path / "numbers")
    argv = (tmp_path / "numbers", texts, "--label", "8", "--format", "jsonl")
    first = json.loads(explained(capsys, *argv).splitlines()[0])
    assert [label["label"] for label in first["labels"]] == [8]


def test_standard_input_is_explained_as_it_arrives(model, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"red\n")))
    [line] = explained(capsys, model, "--format", "jsonl").splitlines()
    assert json.loads(line)["text"] == "red"


def test_wrong_use_is_one_line(model, texts, capsys):
    assert "--top_k is 0" in failing(capsys, "explain", model, texts, "--top-k", "0")
    assert "no_such" in failing(capsys, "explain", model, "no_such.txt")
    assert "no_model" in failing(capsys, "explain", "no_model", texts)
    told = failing(capsys, "explain", model, "-", "--text", "title")
    assert "--text is not possible with standard input" in told
