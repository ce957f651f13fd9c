"""Data sets: users' own tables, the field's layouts, a real set in the wheel, synthetic data."""

from ._annif import load_annif_corpus
from ._columns import FileColumn
from ._library_subjects import load_library_subjects
from ._load_table import load_table
from ._readers import load_xc_folder
from ._synthetic import make_extreme_classification

__all__ = [
    "FileColumn",
    "load_annif_corpus",
    "load_library_subjects",
    "load_table",
    "load_xc_folder",
    "make_extreme_classification",
]
