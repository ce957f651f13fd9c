"""How Sphinx builds the site: ``sphinx-build -W --keep-going -b html docs docs/_build/html``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import skxc

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "skxc"
author = copyright = "The skxc developers"
release = version = skxc.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "skxc_site",
]
exclude_patterns = ["_build", "_ext", "_templates"]
templates_path = ["_templates"]
nitpicky = True
# scikit-learn's pages are on the network; the build does not use it
nitpick_ignore_regex = [(r"py:.*", r"sklearn\..*")]
default_role = "code"
smartquotes = False  # default="auto" is code
toc_object_entries_show_parents = "hide"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"skxc {release}"
html_static_path = ["_static"]
html_css_files = ["skxc.css"]
html_extra_path = ["llms.txt"]
html_copy_source = False
html_use_index = html_domain_indices = False  # the search is better
html_math_renderer = "mathml"

autosummary_generate = True
autosummary_ignore_module_all = False
autosummary_context = {
    "method_pages": {
        "ReneeClassifier": "guide/renee",
        "DualEncoderXC": "guide/dual_encoder",
        "UniDEC": "guide/unidec",
    }
}
autodoc_typehints = "none"  # numpydoc's Parameters name the types
autodoc_preserve_defaults = True
numpydoc_show_class_members = False  # the class template lists the members

# The page of pretrained encoders runs only if its weights are given: a build downloads nothing.
_runs = "/plot_" if "SKXC_PRETRAINED" in os.environ else "/plot_(?!pretrained)"
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": _runs,
    "ignore_pattern": "^(?!plot_)",  # command-line scripts
    "within_subsection_order": "contents.gallery_place",
    "doc_module": ("skxc",),
    "backreferences_dir": "generated/backreferences",
    "reference_url": {"skxc": None},
    "image_srcset": ["2x"],
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "write_computation_times": False,
    "abort_on_example_error": True,
}
