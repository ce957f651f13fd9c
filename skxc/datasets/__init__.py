"""Data sets: readers of the field's layouts, a real set in the wheel, a synthetic generator."""

from ._columns import FileColumn
from ._library_subjects import load_library_subjects
from ._readers import load_xc_folder
from ._synthetic import make_extreme_classification

__all__ = ["FileColumn", "load_library_subjects", "load_xc_folder", "make_extreme_classification"]
