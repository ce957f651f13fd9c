"""The site's pages and examples fit the package; Sphinx itself is not needed."""

from __future__ import annotations

import ast
import importlib
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("guide/**/*.md")])
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
CONTENTS = runpy.run_path(str(DOCS / "_ext" / "contents.py"))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_reference_lists_every_public_name_of_every_public_module():
    # the modules by their folders, the names by Python's own `import *`
    folders = {p.parent.name for p in (ROOT / "skxc").glob("[a-z]*/__init__.py")}
    expected = {}
    for module in ["skxc", *(f"skxc.{folder}" for folder in sorted(folders))]:
        names: dict[str, object] = {}
        exec(f"from {module} import *", names)
        expected[module] = sorted(name for name in names if not name.startswith("__"))

    parts = re.split(r"^(\S+)\n-+$", CONTENTS["api_page"](), flags=re.MULTILINE)[1:]
    listed = {
        module: sorted(re.findall(r"^   (\w+)$", table, flags=re.MULTILINE))
        for module, table in zip(parts[::2], parts[1::2], strict=True)
    }
    assert listed == expected


def test_every_public_class_and_function_is_documented_and_every_constant_described():
    for module, names in CONTENTS["public_names"]().items():
        for name in names:
            value = getattr(importlib.import_module(module), name)
            if callable(value):
                assert value.__doc__, name
            else:
                assert f"{module}.{name}" in CONTENTS["CONSTANTS"]


@pytest.mark.parametrize("path", EXAMPLES, ids=relative)
def test_examples_compile_and_begin_with_a_docstring(path):
    code = path.read_text(encoding="utf-8")
    compile(code, str(path), "exec", flags=ast.PyCF_ONLY_AST)
    assert ast.get_docstring(ast.parse(code))


def test_the_gallery_holds_every_plot_example_once_in_its_order():
    plots = {path.stem.removeprefix("plot_") for path in EXAMPLES if path.stem.startswith("plot_")}
    assert sorted(CONTENTS["GALLERY_ORDER"]) == sorted(plots)


@pytest.mark.parametrize("path", [p for p in EXAMPLES if p.stem.startswith("plot_")], ids=relative)
def test_gallery_examples_have_a_heading_and_a_picture(path):
    code = path.read_text(encoding="utf-8")
    assert re.match(r'"""\n.+\n=+\n\n', code)
    assert "plt.show()" in code or "Display" in code


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=relative
)
def test_files_and_pages_that_are_named_exist(path):
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"\b(?:examples|benchmarks|docs|skxc)/[\w/.-]+\.(?:py|md|png)\b", text)
    assert [name for name in named if not (ROOT / name).exists()] == []
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    built = {"api", "auto_examples/index"}  # pages that the build makes
    assert [x for x in links if x not in built and not (path.parent / x).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_headings_that_are_linked_exist(path):
    text = path.read_text(encoding="utf-8")
    for page, heading in re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", text):
        linked = path.parent / page if page else path
        headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), flags=re.MULTILINE)
        anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings]
        assert heading in anchors, f"{page}#{heading}"


def test_every_page_is_in_one_table_of_contents():
    entries = []
    for path in PAGES:
        for block in re.findall(
            r"```{toctree}\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL
        ):
            names = [line for line in block.splitlines() if line and not line.startswith(":")]
            entries += [relative((path.parent / f"{name}.md").resolve()) for name in names]
    built = ["docs/api.md", "docs/auto_examples/index.md"]
    pages = [relative(path) for path in PAGES if path != DOCS / "index.md"]
    assert sorted(entries) == sorted(pages + built)


def test_all_pages_but_the_first_are_in_the_guides_folder():
    assert list(DOCS.glob("*.md")) == [DOCS / "index.md"]
    assert "../" not in (DOCS / "guide" / "index.md").read_text(encoding="utf-8")


def test_the_first_lines_run_and_answer_in_names():
    (code,) = re.findall(
        r"```python\n(.*?)```", (DOCS / "index.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )
    names: dict[str, object] = {}
    exec(code, names)
    best = names["clf"].predict_labels(["apple tart", "a fresh trout"], k=2)
    assert best[0][0] == "fruit"
    assert set(best[1]) == {"fish", "trout"}
