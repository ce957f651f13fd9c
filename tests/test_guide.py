"""The guide's code runs, and its tables name what there is."""

from __future__ import annotations

import ast
import json
import re
import shlex
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import skxc
from skxc._cli import main
from skxc._training._row_adam import RowAdam
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "guide"
PAGES = sorted(GUIDE.glob("*.md"))
_BLOCK = re.compile(r"(<!-- peer -->\n)?```python\n(.*?)```", re.DOTALL)


def blocks(page: Path) -> list[tuple[bool, str]]:
    """Whether a block is another library's, and its code."""
    return [(bool(peer), code) for peer, code in _BLOCK.findall(page.read_text(encoding="utf-8"))]


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder that holds the repository's examples."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda page: page.stem)
def test_a_pages_code_runs_from_top_to_bottom(page: Path, in_tmp: Path, tiny_bert: str) -> None:
    names: dict[str, object] = {}
    for is_peer, code in blocks(page):
        if not is_peer:
            code = code.replace("path/to/encoder", tiny_bert)
            exec(compile(code, page.name, "exec"), names)


def test_the_other_libraries_code_runs_where_they_are_installed(
    in_tmp: Path, tiny_bert: str
) -> None:
    page, names, n_run = GUIDE / "coming_from.md", dict[str, object](), 0
    for is_peer, code in blocks(page):
        code = code.replace("path/or/id", tiny_bert)
        try:
            with warnings.catch_warnings():
                if is_peer:  # theirs are not ours to mend
                    warnings.simplefilter("ignore")
                exec(compile(code, page.name, "exec"), names)
        except ModuleNotFoundError:
            assert is_peer
            continue
        n_run += is_peer
    assert n_run >= 2  # scikit-learn's


_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def assert_shown(shown: str, printed: str) -> None:
    """The same words, and numbers that another processor's rounding may move a little."""
    assert _NUMBER.sub("0", shown) == _NUMBER.sub("0", printed)
    pairs = zip(_NUMBER.findall(shown), _NUMBER.findall(printed), strict=True)
    for old, new in pairs:
        assert float(new.replace(",", "")) == pytest.approx(float(old.replace(",", "")), rel=0.03)


def test_the_pages_of_the_program_and_the_server_show_what_they_answer(
    in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (GUIDE / "command_line.md").read_text(encoding="utf-8")
    parts = [page.split(f"\n## {name}\n")[1] for name in ("From data to labels", "Evaluation")]
    shown = "".join(re.search(r"```console\n(.*?)```", part, re.DOTALL)[1] for part in parts)
    steps = [step.split("\n", 1) for step in re.split(r"^\$ ", shown, flags=re.MULTILINE)[1:]]
    assert [command.split()[1] for command, _ in steps] == [
        "fit", "titles.txt", "predict", "evaluate", "info", "evaluate",
    ]  # fmt: skip
    for command, output in steps:
        (program, *words), *pipe = (shlex.split(part) for part in command.split(" | "))
        if program == "cat":
            Path(words[0]).write_text(output, encoding="utf-8")
            continue
        assert main(words) == 0
        printed = capsys.readouterr().out
        if pipe and pipe[0][0] == "head":
            printed = "".join(printed.splitlines(keepends=True)[: -int(pipe[0][1])])
        elif pipe:  # json.tool
            printed = json.dumps(json.loads(printed), indent=4) + "\n"
        if words[0] != "fit":  # says on stderr how long it took
            assert_shown(output, printed)
    served = re.search(
        r'({"text": .*?})\' .*/predict\n(.*?)\n', (GUIDE / "serve.md").read_text(encoding="utf-8")
    )
    asked, answer = json.loads(served[1]), json.loads(served[2])
    Path("text.txt").write_text(asked["text"], encoding="utf-8")
    assert main(["predict", "model", "text.txt", "--top-k", str(asked["k"])]) == 0
    assert_shown(json.dumps(answer["results"][0]), capsys.readouterr().out.strip())


def mapping_rows(heading: str) -> list[tuple[str, str]]:
    """A section's table in from_research_code.md: our parameters, and their defaults."""
    text = (GUIDE / "from_research_code.md").read_text(encoding="utf-8")
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.split("\n") if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return [(row[2], row[3]) for row in cells]


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("Renee's flags", "ReneeClassifier"),
        ("DEXML's configuration", "DualEncoderXC"),
        ("UniDEC's configuration", "UniDEC"),
    ],
)
def test_the_parameters_of_the_research_tables_have_the_defaults_they_say(
    heading: str, name: str
) -> None:
    estimator = getattr(skxc, name)()
    own, of_encoder = estimator.get_params(), TransformerEncoder("any").get_params()
    n_checked = 0
    for ours, defaults in mapping_rows(heading):
        parameters = of_encoder if "encoder's" in ours else own
        for parameter, value in re.findall(r"`(\w+)(?:=([^`]+))?`", ours):
            if parameter in ("predict_top_k", "TransformerEncoder"):
                continue
            assert parameter in parameters, parameter
            if value:
                estimator.set_params(**{parameter: ast.literal_eval(value)}).check_parameters()
        named = re.fullmatch(r"(?:encoder's )?`(\w+)`", ours)
        values = [parsed(value) for value in defaults.strip("`").split(", ")]
        if named is None or None in values:
            continue
        default = parameters[named[1]]
        if default is None and len(values) == 2:
            of_bag, pretrained = (
                estimator._default_values(encoder)[named[1]]
                for encoder in (BagOfWordsEncoder(), TransformerEncoder("path/or/id"))
            )
            default = (of_bag[0] if isinstance(of_bag, range) else of_bag, pretrained)
        expected = tuple(v for (v,) in values) if len(values) == 2 else values[0][0]
        assert default == expected, named[1]
        n_checked += 1
    assert n_checked >= 8


def parsed(text: str) -> tuple[object] | None:
    """A literal or a fraction, boxed; None: prose."""
    try:
        numerator, slash, denominator = text.strip("`").partition("/")
        value = ast.literal_eval(numerator)
        return (value / ast.literal_eval(denominator) if slash else value,)
    except (SyntaxError, ValueError):
        return None


def test_a_fitted_label_takes_the_bytes_that_the_methods_page_says(tiny_bert: str) -> None:
    dim, n_labels, texts = 32, 50, ["red guitar", "steel knife"] * 8
    per_label = {
        "ReneeClassifier": 4 * (dim + 1),
        "DualEncoderXC": 4 * dim,
        "UniDEC": 4 * dim + 8 * dim,  # rows, and both halves of the table
    }
    Y = sp.csr_array(([1], ([0], [0])), shape=(len(texts), n_labels))
    for name, expected in per_label.items():
        clf = getattr(skxc, name)(TransformerEncoder(tiny_bert, max_length=16), device="cpu")
        clf.set_params(label_texts=[f"red {i}" for i in range(n_labels)], epochs=1).fit(texts, Y)
        tables = [clf.label_embeddings_, getattr(clf, "classifier_weights_", np.empty(0))]
        assert sum(table.size * 4 for table in tables) == n_labels * expected, name


def test_a_row_in_training_takes_the_bytes_that_the_methods_page_says() -> None:
    n_labels, dim = 50, 32
    table = torch.zeros(n_labels, dim)
    state = RowAdam([table], lr=0.1).state[table]
    per_row = [tensor for tensor in (table, *state.values()) if len(tensor.shape)]
    assert sum(tensor.nbytes for tensor in per_row) == n_labels * (12 * dim + 16)
