"""docs/llms.txt, for those who code with an assistant: its code runs, its links exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import skxc
from skxc._cli import main

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "llms.txt").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = "".join(re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)).splitlines()


def test_it_has_the_conventions_parts_in_their_order():
    """A title, a summary in a quotation, and sections of links with a line each."""
    assert re.match(r"# skxc\n\n(> .+\n)+\n", TEXT)
    *_, use, methods, optional = re.split(r"^## .+\n", TEXT, flags=re.MULTILINE)
    for section in (use, methods, optional):
        assert all(re.match(r"(- \[.+\]\(.+\)|  )", x) for x in section.splitlines() if x)


def test_every_page_of_the_guide_is_linked_once_and_exists():
    linked = re.findall(r"\]\(([^)]+)\)", TEXT)
    pages = [f"guide/{path.name}" for path in DOCS.glob("guide/*.md") if path.stem != "index"]
    assert sorted(linked) == sorted(pages)


def test_the_code_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_bert: str, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in PYTHON:
        exec(compile(code.replace("path/to/encoder", tiny_bert), "llms.txt", "exec"), names)
    assert len(PYTHON) >= 6
    assert "errors among" in capsys.readouterr().out


def test_the_shells_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    both = ("apple pie {},with pears,fruit;pies", "grilled trout {},at the lake,fish")
    rows = [row.format(i) for i in range(15) for row in both]
    Path("data.csv").write_text("\n".join(["title,body,subjects", *rows]) + "\n")
    Path("titles.txt").write_text("a pear\n")
    for command in COMMANDS:
        program, *argv = shlex.split(command)
        assert program == "skxc"
        assert main(argv) == 0, command
    assert isinstance(skxc.load("model"), skxc.UniDEC)
    assert capsys.readouterr().out.count('{"') >= 2


@pytest.mark.parametrize("estimator", [skxc.UniDEC, skxc.DualEncoderXC, skxc.ReneeClassifier])
def test_what_it_says_of_labels_texts_and_of_fit_is_so(estimator: type) -> None:
    assert "label_texts" in estimator().get_params()
    with pytest.raises(TypeError, match="label_texts"):
        estimator().fit(["a"], [["b"]], label_texts=["b"])
    assert not hasattr(estimator(sparse_output=True), "decision_function")
