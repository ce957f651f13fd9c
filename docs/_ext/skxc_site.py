"""Our own Sphinx extension: links, summaries, members and formulas."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from contents import CONSTANTS, api_page, pages
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.addnodes import pending_xref
from sphinx.ext.autosummary import Autosummary
from sphinx.transforms import SphinxTransform

# between log, cos, ... and a letter, a number or an index: the converter leaves no space there
_BESIDE_FUNCTION = (
    r"(?:(?<=</m[in]>)|(?<=</msu[bp]>))(?=<mi>[a-z]{2,}</mi>)|(?<=[a-z]{2}</mi>)(?=<m[inrsu])"
)


class SummaryTable(Autosummary):
    """A table of names and summaries, without the citations in the summaries."""

    def get_items(self, names: list[str]) -> list[tuple[str, str | None, str, str]]:
        """Name, signature, summary and full name of each."""
        return [
            (name, signature, re.sub(r"\.? \[R[^]]*\]_", "", summary), full_name)
            for name, signature, summary, full_name in super().get_items(names)
        ]


class LinkedNames(SphinxTransform):
    """Make inline code of a Markdown page a link to the reference if it is a public name.

    So the pages need no syntax that only Sphinx understands.
    """

    default_priority = 200

    def apply(self, **kwargs: Any) -> None:
        """Link each such name, except in headings and in other links."""
        if Path(self.env.doc2path(self.env.docname)).suffix != ".md":
            return  # in a docstring, such a name may be a parameter
        known = pages()
        for node in list(self.document.findall(nodes.literal)):
            target = known.get(node.astext())
            is_plain = not isinstance(node.parent, (nodes.reference, nodes.title, pending_xref))
            if target is not None and is_plain:
                link = pending_xref(
                    refdomain="py", reftype="obj", reftarget=target, refexplicit=True
                )
                node.replace_self(link)
                link += node


def skip_foreign_member(
    app: Any, kind: str, name: str, member: Any, skip: bool, options: Any
) -> bool | None:
    """Skip members that come from scikit-learn: their docstrings link to scikit-learn's pages."""
    member = getattr(member, "fget", member)
    return None if (getattr(member, "__module__", None) or "").startswith("skxc") else True


def describe_constant(
    app: Any, kind: str, name: str, member: Any, options: Any, lines: list[str]
) -> None:
    """Describe a constant, which has no docstring of its own."""
    if name in CONSTANTS:
        lines[:] = [CONSTANTS[name]]


def visit_math(translator: Any, node: nodes.Element) -> None:
    """Write formulas as MathML, which browsers show without scripts and without the network."""
    is_block = isinstance(node, nodes.math_block)
    mathml = convert(node.astext(), display="block" if is_block else "inline")
    mathml = re.sub(_BESIDE_FUNCTION, '<mspace width="0.167em"/>', mathml)
    translator.body.append(f'<div class="math">{mathml}</div>' if is_block else mathml)
    raise nodes.SkipNode


def write_api_page(app: Any, config: Any) -> None:
    """Write the page before Sphinx looks for pages; leave an unchanged one as it is."""
    path, text = Path(app.srcdir) / "api.rst", api_page()
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def copy_markdown(app: Any, error: Exception | None) -> None:
    """Put the guide's sources beside its pages: llms.txt links to them."""
    if error is None and app.builder.name == "html":
        for page in Path(app.srcdir, "guide").glob("*.md"):
            shutil.copyfile(page, Path(app.outdir, "guide", page.name))


def setup(app: Any) -> dict[str, bool]:
    """Register the extension."""
    app.connect("config-inited", write_api_page)
    app.add_directive("autosummary", SummaryTable, override=True)
    app.add_transform(LinkedNames)
    app.connect("autodoc-skip-member", skip_foreign_member)
    app.connect("autodoc-process-docstring", describe_constant)
    app.connect("build-finished", copy_markdown)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    return {"parallel_read_safe": True}
