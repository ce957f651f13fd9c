"""Document corpora of Annif: texts, and the URIs or labels of their subjects."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

from sklearn.utils import Bunch

from skxc._validation import short
from skxc._validation._texts import is_address

from ._delimited import DelimitedTable
from ._files import read_text
from ._held_out import data_set
from ._labelled_rows import LabelledRows, Place
from ._line_columns import JsonTable, checked_columns, json_object, numbered_lines
from ._lines import line_text
from ._tables import suffix_of, wrong_text
from ._vocabulary import as_vocabulary, bare

_SUBJECT_FILES = (".tsv", ".key")  # beside a text, in the order in which they are looked for
_CSV_COLUMNS = ["text", "subject_uris"]
_JSON_COLUMNS = ["text", "subjects"]
_FIRST_LINES = 100  # that tell whether a file is a corpus: all subjects are URIs

_Rows = Iterator[tuple[int, str, list[str]]]


def load_annif_corpus(
    path: str | os.PathLike[str],
    *,
    vocabulary: Any = None,
    language: str | None = None,
    test_size: float = 0.1,
    random_state: Any = 0,
) -> Bunch:
    r"""Read a document corpus of Annif [1]_, and hold out a part of it.

    A corpus is one of these, all in UTF-8:

    ``.tsv``, ``.tsv.gz``
        A text, a tab, and the URIs of its subjects between spaces; no header.
    ``.csv``, ``.csv.gz``
        A table with the columns ``text`` and ``subject_uris`` (between spaces).
    ``.jsonl``, ``.jsonl.gz``
        Objects with ``text`` and ``subjects``, a list of objects with ``uri`` or ``label``.
    a folder
        A file ``.txt`` a text, with a file of its subjects beside, ``.tsv`` or ``.key``: a subject
        a line, as ``<URI>`` or as a label. Files ``.json`` are objects as in ``.jsonl``.

    Parameters
    ----------
    path : str or path-like
        The file or folder.
    vocabulary : str, path-like or mapping, default=None
        The subjects, all of which become labels, in the vocabulary's order: a file of Annif's,
        or a dict of each subject's text by its URI. In UTF-8, ``.tsv``: URI, tab, label; ``.csv``:
        columns ``uri`` and ``label_en`` or those of other languages; SKOS in ``.ttl``, ``.rdf``,
        ``.nt`` and other forms of RDF (``pip install "skxc[skos]"``). A subject without a label is
        deprecated and left out. None: the subjects that there are, without texts where they are
        URIs.
    language : str, default=None
        Of the vocabulary's labels; needed where there are several. A subject that has no label in
        this language has its label in another one.
    test_size : float or int, default=0.1
        Share, or number, of the texts to hold out, as :func:`load_table` does it; 0 for none.
    random_state : int, RandomState instance or None, default=0
        Source of randomness of this choice.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        As :func:`load_table` returns it. `label_names` are the URIs (labels, where the corpus has
        them and there is no vocabulary), `label_texts` the vocabulary's labels.

    Raises
    ------
    OSError
        If there is no such file or folder.
    ImportError
        If the vocabulary needs rdflib, and it is not installed.
    ValueError
        If a file is not as above; the message names the file and line.

    Warns
    -----
    UserWarning
        As for :func:`load_table`, but texts without a subject are left out, as in Annif.

    References
    ----------
    .. [1] O. Suominen. Annif: DIY automated subject indexing using multiple algorithms.
       LIBER Quarterly 29, 2019. https://github.com/NatLibFi/Annif/wiki/Document-corpus-formats

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skxc.datasets import load_annif_corpus
    >>> with TemporaryDirectory() as folder:
    ...     corpus, subjects = Path(folder, "corpus.tsv"), Path(folder, "subjects.tsv")
    ...     _ = corpus.write_text("apple pie\t<http://x.org/1>\n"
    ...                           "grilled trout\t<http://x.org/2> <http://x.org/3>\n")
    ...     _ = subjects.write_text("<http://x.org/1>\tbaking\n<http://x.org/2>\tfish\n"
    ...                             "<http://x.org/3>\tgrilling\n")
    ...     data = load_annif_corpus(corpus, vocabulary=subjects, test_size=0)
    >>> data.label_names.tolist(), data.label_texts
    (['http://x.org/1', 'http://x.org/2', 'http://x.org/3'], ['baking', 'fish', 'grilling'])
    >>> data.Y.toarray()
    array([[1., 0., 0.],
           [0., 1., 1.]], dtype=float32)
    """
    path = Path(path)
    path.stat()  # raise if there is none
    subjects = as_vocabulary(vocabulary, language)
    place, documents = _documents(path)
    rows = LabelledRows(place).gather(documents, needs_label=True)
    return data_set(rows, str(path), subjects, test_size, random_state)


def is_annif_corpus(path: Path) -> bool:
    """Whether a file or folder looks like one; its content decides where names do not."""
    suffix = suffix_of(path)
    if path.is_dir():
        names = {entry.name for entry in path.iterdir()}
        texts = [name.removesuffix(".txt") for name in names if name.endswith(".txt")]
        if any(text + end in names for text in texts for end in _SUBJECT_FILES):
            return True
        return any(map(_is_document, sorted(path.glob("*.json"))[:1]))
    if suffix == ".csv":
        with suppress(ValueError):  # a table in another encoding
            return {*_CSV_COLUMNS} <= {*DelimitedTable(path).names()}
        return False
    if suffix in (".jsonl", ".ndjson"):
        return {*_JSON_COLUMNS} <= {*JsonTable(path).names()}
    if suffix != ".tsv":
        return False
    lines = islice(numbered_lines(path), _FIRST_LINES)
    subjects = [line.partition(b"\t")[2].decode(errors="replace").split() for _, line in lines]
    return any(subjects) and all(
        bare(name) != name or is_address(name) for name in chain.from_iterable(subjects)
    )


def _is_document(path: Path) -> bool:
    """Whether a JSON file is one, and not a model's or another program's."""
    try:
        return {"text", "subjects"} <= {*json_object(str(path), read_text(path))}
    except ValueError:
        return False


def _documents(path: Path) -> tuple[Place, _Rows]:
    """What tells where a document is, and the number, text and subjects of each."""
    suffix = suffix_of(path)
    if path.is_dir():
        files = sorted([*path.glob("*.txt"), *path.glob("*.json")])
        return lambda number: str(files[number]), _of_files(files)
    if suffix == ".csv":
        table = DelimitedTable(path)
        return table.place, _of_csv(table)
    if suffix in (".jsonl", ".ndjson"):
        objects = JsonTable(path)
        return objects.place, _of_objects(objects)
    return lambda number: f"{path}, line {number}", _of_tsv(path)


def _of_tsv(path: Path) -> _Rows:
    for number, line in numbered_lines(path):
        text, _, subjects = line_text(line, str(path), number).partition("\t")
        yield number, text, [bare(uri) for uri in subjects.split()]


def _of_csv(table: DelimitedTable) -> _Rows:
    checked_columns(_CSV_COLUMNS, table.path, table.names())
    for number, (text, subjects) in table.rows(_CSV_COLUMNS):
        yield number, text, [bare(uri) for uri in subjects.split()]


def _of_objects(table: JsonTable) -> _Rows:
    for number, (text, subjects) in table.rows(_JSON_COLUMNS):
        yield number, *_of_object(table.place(number), text, subjects)


def _of_files(files: Sequence[Path]) -> _Rows:
    for number, file in enumerate(files):
        if file.suffix == ".json":
            content = read_text(file)
            if not content.strip():
                continue
            document = json_object(str(file), content)
            yield number, *_of_object(str(file), document.get("text"), document.get("subjects"))
            continue
        beside = (file.with_suffix(end) for end in _SUBJECT_FILES)
        found = next((path for path in beside if path.is_file()), None)
        subjects = read_text(found).splitlines() if found else []
        yield number, read_text(file), [name for line in subjects if (name := _subject(line))]


def _of_object(place: str, text: Any, subjects: Any) -> tuple[str, list[str]]:
    """Text and subjects of a JSON document, either of which may be absent."""
    subjects = [] if subjects is None else subjects
    names = list[str]()
    for subject in subjects if isinstance(subjects, list) else [subjects]:
        name = None
        if isinstance(subject, dict):
            name = subject.get("uri") or subject.get("label")
        if not isinstance(name, str):
            raise ValueError(
                f"{place}: {short(subject)} is no subject. Each is an object with uri or label."
            )
        names.append(bare(name.strip()))
    if text is not None and not isinstance(text, str):
        raise wrong_text(place, "text", text)
    return text or "", names


def _subject(line: str) -> str:
    """The URI between angle brackets in a line, or else its first cell: a label."""
    cells = [cell.strip() for cell in line.split("\t")]
    uris = [bare(cell) for cell in cells if bare(cell) != cell]
    return uris[0] if uris else next(filter(None, cells), "")
