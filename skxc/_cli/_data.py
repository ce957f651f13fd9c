"""DATA of `fit` and `evaluate`: a data set, a table, or a document corpus of Annif."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ._errors import InputError

if TYPE_CHECKING:
    from sklearn.utils import Bunch

PACKAGED = "library-subjects"


class Source(NamedTuple):
    """DATA, and the options that tell how it is read."""

    data: str
    layout: str
    fields: str | list[str]
    text: list[str] | None
    labels: list[str] | None
    separator: str
    vocabulary: str | None
    language: str | None
    encoding: str


def is_data(word: str) -> bool:
    """Whether a word of the command line names data."""
    return word == PACKAGED or Path(word).exists()


def read(source: Source, test_size: float | None, default: float = 0.1) -> Bunch:
    """The data set; of a table or corpus, a part is held out: `default`, if it is not told."""
    from skxc.datasets._readers import checked_fields

    checked_fields(source.fields)
    is_of_layout = _is_of_layout(source)
    _check_unused(source, test_size, is_of_layout=is_of_layout)
    if is_of_layout:
        return _data_set(source)
    from skxc.datasets import load_annif_corpus, load_table

    options: dict[str, Any] = {
        "vocabulary": source.vocabulary,
        "language": source.language,
        "test_size": default if test_size is None else test_size,
    }
    try:
        if source.text is None:
            return load_annif_corpus(source.data, **options)
        return load_table(
            source.data,
            text=source.text,
            labels=source.labels or [],
            separator={"": None, "\\t": "\t"}.get(source.separator, source.separator),
            encoding=source.encoding,
            **options,
        )
    except ImportError as error:
        raise InputError(str(error)) from error


def _is_of_layout(source: Source) -> bool:
    """Whether DATA is in one of the field's layouts, and no table or corpus.

    Raises
    ------
    InputError
        If it is a table of which columns have to be named.
    """
    from skxc.datasets._annif import is_annif_corpus
    from skxc.datasets._tables import TABLES, file_table, suffix_of

    if source.data == PACKAGED:
        return True
    path = Path(source.data)
    path.stat()  # raise if there is none
    if (source.text is None) != (source.labels is None):
        lacking = "--labels" if source.labels is None else "--text"
        raise InputError(f"{lacking} is missing: of a table, name the columns of both.")
    if source.text is not None or is_annif_corpus(path):
        return False
    if path.is_file() and suffix_of(path) in TABLES:
        table = file_table(path, source.encoding)
        names = ", ".join(map(repr, table.names())) if table else ""
        raise InputError(
            f"{path} is a table with the columns {names}. Name those to read: --text COLUMN "
            f"--labels COLUMN."
        )
    return True


def _check_unused(source: Source, test_size: float | None, *, is_of_layout: bool) -> None:
    """Raise for options that have no effect on DATA of this kind."""
    layouts, tables, corpora = "data sets in the field's layouts", "tables", "corpora of Annif"
    options = {
        "--layout": (source.layout != "auto", (layouts,)),
        "--text": (source.text is not None, (tables,)),
        "--separator": (source.separator != "", (tables,)),
        "--encoding": (source.encoding != "utf-8", (tables,)),
        "--vocabulary": (source.vocabulary is not None, (tables, corpora)),
        "--language": (source.language is not None, (tables, corpora)),
        "--test-size": (test_size is not None, (tables, corpora)),
    }
    kind = layouts if is_of_layout else corpora if source.text is None else tables
    for option, (is_given, kinds) in options.items():
        if is_given and kind not in kinds:
            raise InputError(
                f"{option} is for {' and '.join(kinds)}, and {source.data} is none of them. Leave "
                f"it out."
            )


def _data_set(source: Source) -> Bunch:
    """A data set in the field's layouts; `fields`, which a recipe may set, is for JSON alone."""
    from skxc.datasets import load_library_subjects, load_xc_folder
    from skxc.datasets._names import find_layout
    from skxc.datasets._readers import FIELDS, checked_fields

    data, layout, fields = source.data, source.layout, checked_fields(source.fields)
    is_packaged = data == PACKAGED
    if not is_packaged and find_layout(Path(data), layout) == "json":
        return load_xc_folder(data, layout=layout, fields=fields)
    if fields != FIELDS:
        warnings.warn(
            f"--fields {','.join(fields)} is not used: {data} holds whole texts, not fields. Make "
            f"sure that they are what --fields asks for.",
            stacklevel=1,
        )
    return load_library_subjects() if is_packaged else load_xc_folder(data, layout=layout)
