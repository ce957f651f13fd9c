"""Vocabularies: which labels there are, and the text of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from xml.parsers.expat import ParserCreate

from numpy.typing import NDArray

from skxc._validation import as_classes, short

from ._delimited import DelimitedTable
from ._files import read_lines
from ._line_columns import listed
from ._tables import suffix_of

# rdflib's names of the formats; not JSON-LD, which may name contexts to be downloaded
_RDF = {".ttl": "turtle", ".rdf": "xml", ".nt": "nt", ".n3": "n3", ".xml": "xml"}
_LONGEST_ENTITY = 1000  # characters; they stand for namespaces
_PREFIX = "label_"  # of the columns of a CSV file; a language follows


class Vocabulary(NamedTuple):
    """Labels in an order of their own."""

    texts: dict[Any, str]  # by label

    def names(self) -> NDArray[Any]:
        return as_classes(list(self.texts))

    def places(self) -> Callable[[Any], int | None]:
        """What finds a label by its name, also where one is a number, or else by its text."""
        by_text = {text: names[0] for text, names in self._by_text().items() if len(names) == 1}
        by_name = {name: place for place, name in enumerate(self.texts)}
        by_written = {str(name).strip(): place for name, place in by_name.items()}

        def place(label: Any) -> int | None:
            found = by_name.get(label, by_written.get(str(label)))
            return by_name.get(by_text.get(label)) if found is None else found

        return place

    def same_text(self) -> dict[str, list[Any]]:
        """The names of labels whose text is another's, too, by this text."""
        return {text: names for text, names in self._by_text().items() if len(names) > 1}

    def _by_text(self) -> dict[str, list[Any]]:
        names_of = dict[str, list[Any]]()
        for name, text in self.texts.items():
            names_of.setdefault(text.strip(), []).append(name)
        return names_of


def as_vocabulary(given: Any, language: str | None) -> Vocabulary | None:
    """The vocabulary in a file or a mapping; None where there is none.

    Raises
    ------
    ValueError
        If it holds no label, or the language has to be chosen.
    TypeError
        If it is neither a file nor a mapping.
    """
    if given is None:
        if language is not None:
            raise ValueError(f"language is {language!r}, but there is no vocabulary. Pass one.")
        return None
    if isinstance(given, str | os.PathLike):
        return _read(Path(given), language)
    texts = given.to_dict() if hasattr(given, "to_dict") else given  # a Series
    if not isinstance(texts, Mapping):
        raise TypeError(
            f"vocabulary is {short(given)} of type {type(given).__name__}. Pass a dict of each "
            f"label's text, or the path of a file."
        )
    for label, text in texts.items():
        if not isinstance(text, str):
            raise TypeError(f"vocabulary[{label!r}] is {short(text)}, and no text. Pass texts.")
    if not texts:
        raise ValueError("vocabulary has no label. Pass a dict of each label's text.")
    return Vocabulary(dict(texts))


def bare(uri: str) -> str:
    """A URI without the angle brackets around it."""
    return uri[1:-1] if uri.startswith("<") and uri.endswith(">") else uri


def _read(path: Path, language: str | None) -> Vocabulary:
    """The labels of a file that have a text; those without one are deprecated."""
    path.stat()  # raise if there is none
    suffix = suffix_of(path)
    if suffix == ".csv":
        pairs = _csv_pairs(path, language)
    elif suffix in _RDF:
        pairs = _rdf_pairs(path, language)
    elif suffix in (".tsv", ".txt"):
        pairs = _tsv_pairs(path)
    else:
        raise ValueError(
            f"{path} has no name of a vocabulary: .csv, .tsv or one of {', '.join(_RDF)}."
        )
    texts = dict[Any, str]()
    for name, text in pairs:
        if text and texts.setdefault(name, text) != text:
            raise ValueError(
                f"{path} names {name!r} twice: {texts[name]!r} and {text!r}. Keep one of them."
            )
    if not texts:
        raise ValueError(f"{path} has no label with a text. Pass another file.")
    return Vocabulary(texts)


def _tsv_pairs(path: Path) -> Iterator[tuple[str, str]]:
    """Of lines of a name, a tab and a text; a notation may follow."""
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        name, *others = line.split("\t")
        if number == 1 and not others:
            raise ValueError(
                f"{path}, line 1: {short(line)} has no tab. Each line is a label, a tab and the "
                f"label's text."
            )
        yield bare(name.strip()), others[0].strip() if others else ""


def _csv_pairs(path: Path, language: str | None) -> Iterator[tuple[str, str]]:
    table = DelimitedTable(path)
    names = table.names()
    if "uri" not in names:
        raise ValueError(
            f"{path} has the columns {listed(names)}. It needs uri, and label_en or another "
            f"language's column, or label."
        )
    languages = [name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)]
    if "label" in names and language is None:
        columns = ["label"]
    else:
        chosen = _chosen(path, language, languages)
        columns = [_PREFIX + one for one in (chosen, *languages)]
    for _, (uri, *texts) in table.rows(["uri", *columns]):
        # a label without a text in this language has its text in another one
        yield bare(uri.strip()), next((text for text in map(str.strip, texts) if text), "")


def _rdf_pairs(path: Path, language: str | None) -> Iterator[tuple[str, str]]:
    """Concepts of SKOS, but the deprecated ones: preferred labels, or else RDFS's."""
    rdflib, format = _rdflib(path), _RDF[suffix_of(path)]
    from rdflib.namespace import OWL, RDF, RDFS, SKOS

    graph = rdflib.Graph()
    try:
        if format == "xml":
            _check_entities(path)
        graph.parse(str(path), format=format)
    except Exception as error:  # each of its parsers has its own kinds
        raise ValueError(f"{path} cannot be read as RDF: {error}") from error
    deprecated = set(graph.subjects(OWL.deprecated, rdflib.Literal(True)))
    concepts = sorted(set(graph.subjects(RDF.type, SKOS.Concept)) - deprecated)
    labels = {
        concept: [*graph.objects(concept, SKOS.prefLabel), *graph.objects(concept, RDFS.label)]
        for concept in concepts
    }
    languages = {label.language for of_one in labels.values() for label in of_one} - {None}
    chosen = _chosen(path, language, sorted(languages)) if languages or language else None
    for concept, of_one in labels.items():
        order = sorted(of_one, key=lambda label: (chosen, None).index(label.language)
                       if label.language in (chosen, None) else 2)  # fmt: skip
        yield str(concept), str(order[0]).strip() if order else ""


def _check_entities(path: Path) -> None:
    """Raise for entities in XML that may grow without bounds, or name another file."""
    is_over = False

    def check(name: str, is_parameter: bool, value: str | None, *_: object) -> None:
        if is_parameter or value is None or "&" in value or len(value) > _LONGEST_ENTITY:
            raise ValueError(
                f"the entity {name!r} is more than a short text. Write out what it stands for."
            )

    def end(*_: object) -> None:
        nonlocal is_over
        is_over = True

    parser = ParserCreate()
    parser.EntityDeclHandler, parser.StartElementHandler = check, end
    with path.open("rb") as file:
        while not is_over and (part := file.read(2**16)):
            parser.Parse(part)


def _chosen(path: Path, language: str | None, languages: list[str]) -> str:
    """The language, or the only one there is."""
    if language is None and len(languages) == 1:
        return languages[0]
    if language not in languages:
        what = f"no labels in {language!r}" if language else f"{len(languages)} languages"
        raise ValueError(f"{path} has {what}. Choose one as language: {listed(languages)}.")
    return language


def _rdflib(path: Path) -> Any:
    try:
        import rdflib
    except ImportError as error:
        raise ImportError(
            f"Reading {path} needs the package rdflib, which is not installed. Install it with "
            f'pip install "skxc[skos]".'
        ) from error
    return rdflib
