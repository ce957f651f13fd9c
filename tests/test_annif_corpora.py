"""Document corpora and vocabularies of Annif, in every form that its documentation gives."""

from __future__ import annotations

import csv
import gzip
import json
import sys

import pytest

from skxc.datasets import load_annif_corpus
from skxc.datasets._annif import is_annif_corpus

URIS = [f"http://www.yso.fi/onto/yso/p{i}" for i in range(3)]
WORDS = ["fruit", "fish", "baking"]
TEXTS = ["An apple pie", "Grilled \u00e5l", "A plum"]
SUBJECTS = [[0, 2], [1], [0]]
Y = [[1, 0, 1], [0, 1, 0], [1, 0, 0]]
CORPORA = ["a.tsv", "a.tsv.gz", "a.csv", "a.csv.gz", "a.jsonl", "a.jsonl.gz", "texts", "objects"]


def write(path):
    """The corpus in the form that its name says."""
    rows = [(text, [URIS[i] for i in ids]) for text, ids in zip(TEXTS, SUBJECTS, strict=True)]
    objects = [
        {"document_id": text, "text": text, "subjects": [{"uri": uri} for uri in uris]}
        for text, uris in rows
    ]
    opened = gzip.open if path.suffix == ".gz" else open
    if path.name == "texts":
        path.mkdir()
        for i, (text, uris) in enumerate(rows):
            (path / f"{i}.txt").write_text(text)
            lines = [f"<{uri}>\t{WORDS[URIS.index(uri)]}\n" for uri in uris]
            (path / f"{i}.tsv").write_text("".join(lines))
    elif path.name == "objects":
        path.mkdir()
        for i, document in enumerate(objects):
            (path / f"{i}.json").write_text(json.dumps(document))
    elif ".csv" in path.name:
        with opened(path, "wt", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["document_id", "text", "subject_uris"])
            writer.writerows([i, text, " ".join(uris)] for i, (text, uris) in enumerate(rows))
    else:
        lines = [f"{text}\t{' '.join(f'<{uri}>' for uri in uris)}" for text, uris in rows]
        lines = list(map(json.dumps, objects)) if "jsonl" in path.name else lines
        with opened(path, "wt", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
    return path


def write_vocabulary(path):
    if path.suffix == ".tsv":
        lines = [f"<{uri}>\t{word}\n" for uri, word in zip(URIS, WORDS, strict=True)]
        path.write_text("".join([*lines, "<http://www.yso.fi/onto/yso/p9>\n"]))  # deprecated
    elif path.suffix == ".csv":
        rows = [f"{uri},,,{word}\n" for uri, word in zip(URIS, WORDS, strict=True)]
        path.write_text("".join(["uri,notation,label_fi,label_en\n", *rows, f"{URIS[0]}9,,,\n"]))
    else:
        concepts = [
            f'<{uri}> a skos:Concept ; skos:prefLabel "{word}"@en, "{word}-fi"@fi .\n'
            for uri, word in zip(URIS, WORDS, strict=True)
        ]
        deprecated = (
            f'<{URIS[0]}9> a skos:Concept ; skos:prefLabel "old"@en ; owl:deprecated true .'
        )
        prefixes = [
            "@prefix skos: <http://www.w3.org/2004/02/skos/core#> .\n",
            "@prefix owl: <http://www.w3.org/2002/07/owl#> .\n",
        ]
        path.write_text("".join([*prefixes, *concepts, deprecated]))
    return path


def rdf(entity, label):
    """RDF/XML with entities for namespaces, as Protégé writes them, and another."""
    return f"""<?xml version="1.0"?>
<!DOCTYPE rdf:RDF [
  <!ENTITY rdf "http://www.w3.org/1999/02/22-rdf-syntax-ns#"> <!ENTITY a "{"a" * 9}">
  <!ENTITY skos "http://www.w3.org/2004/02/skos/core#"> {entity}
]>
<rdf:RDF xmlns:rdf="&rdf;" xmlns:skos="&skos;"><rdf:Description rdf:about="{URIS[0]}">
  <rdf:type rdf:resource="&skos;Concept"/><skos:prefLabel xml:lang="en">{label}</skos:prefLabel>
</rdf:Description></rdf:RDF>"""


@pytest.mark.filterwarnings("ignore:.*(not in the vocabulary|have no label)")
def test_namespaces_may_be_entities(tmp_path):
    pytest.importorskip("rdflib", reason="SKOS is read by rdflib")
    (tmp_path / "v.rdf").write_text(rdf("", "fruit &a;"))
    data = load_annif_corpus(write(tmp_path / "a.tsv"), vocabulary=tmp_path / "v.rdf", test_size=0)
    assert data.label_texts == ["fruit aaaaaaaaa"]


@pytest.mark.parametrize("name", CORPORA)
def test_every_form_of_corpus_gives_the_same_texts_and_subjects(name, tmp_path):
    path = write(tmp_path / name)
    assert is_annif_corpus(path)
    data = load_annif_corpus(path, test_size=0)
    assert data.texts == TEXTS
    assert data.label_names.tolist() == URIS
    assert data.label_texts is None
    assert data.Y.toarray().tolist() == Y


@pytest.mark.parametrize("name", ["v.tsv", "v.csv", "v.ttl"])
def test_every_form_of_vocabulary_gives_the_same_label_texts(name, tmp_path):
    if name == "v.ttl":
        pytest.importorskip("rdflib", reason="SKOS is read by rdflib")
    vocabulary = write_vocabulary(tmp_path / name)
    language = None if name == "v.tsv" else "en"
    corpus = write(tmp_path / "a.tsv")
    data = load_annif_corpus(corpus, vocabulary=vocabulary, language=language, test_size=0)
    assert data.label_names.tolist() == URIS
    assert data.label_texts == WORDS
    assert data.Y.toarray().tolist() == Y
    if name != "v.tsv":
        with pytest.raises(
            ValueError,
            match=r"has 2 languages. Choose one as language: 'en', 'fi'|"
            r"has 2 languages. Choose one as language: 'fi', 'en'",
        ):
            load_annif_corpus(corpus, vocabulary=vocabulary)
        with pytest.raises(ValueError, match="has no labels in 'sv'"):
            load_annif_corpus(corpus, vocabulary=vocabulary, language="sv")


def test_a_subject_without_a_label_in_the_language_has_one_in_another(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text(
        f"uri,label_fi,label_en\n{URIS[0]},hedelmä,\n{URIS[1]},kala,fish\n{URIS[2]},x,y\n"
    )
    data = load_annif_corpus(write(tmp_path / "a.tsv"), vocabulary=path, language="en", test_size=0)
    assert data.label_texts == ["hedelmä", "fish", "y"]


def test_subjects_may_be_named_by_their_labels(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for i, (text, ids) in enumerate(zip(TEXTS, SUBJECTS, strict=True)):
        (folder / f"{i}.txt").write_text(text)
        (folder / f"{i}.key").write_text("".join(f"{WORDS[j]}\n" for j in ids))
    assert is_annif_corpus(folder)
    alone = load_annif_corpus(folder, test_size=0)
    assert alone.label_names.tolist() == alone.label_texts == sorted(WORDS)
    vocabulary = write_vocabulary(tmp_path / "v.tsv")
    data = load_annif_corpus(folder, vocabulary=vocabulary, test_size=0)
    assert data.label_names.tolist() == URIS
    assert data.Y.toarray().tolist() == Y


@pytest.mark.parametrize(
    "content",
    [
        "a text without a tab\nb\t\nc\t<http://x.org/1> http://x.org/2\n",
        "a\t<urn:nbn:1>\nb\turn:nbn:2\n",
        "a\t<x>\nb\tURN:NBN:2\n",
    ],
)
def test_a_corpus_is_known_by_the_uris_of_its_first_lines(content, tmp_path):
    (tmp_path / "a.tsv").write_text(content)
    assert is_annif_corpus(tmp_path / "a.tsv")


def test_subjects_of_objects_are_uris_without_brackets_or_else_labels(tmp_path):
    subjects = [{"uri": "<http://x.org/1>", "label": "cat"}, {"uri": None, "label": "dog"}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "a", "subjects": subjects}))
    data = load_annif_corpus(tmp_path / "a.jsonl", test_size=0)
    assert data.label_names.tolist() == ["dog", "http://x.org/1"]


def test_texts_without_subjects_are_left_out_and_told(tmp_path):
    path = write(tmp_path / "a.tsv")
    path.write_text(f"no tab\n{path.read_text()}nothing\t\n")
    with pytest.warns(UserWarning, match=r"2 of 5 rows have no label and are left out.*line 1\.$"):
        assert load_annif_corpus(path, test_size=0).texts == TEXTS
    folder = write(tmp_path / "texts")
    (folder / "1.tsv").unlink()
    with pytest.warns(UserWarning, match=r"1 of 3 rows have no label and are left out.*1\.txt\.$"):
        assert load_annif_corpus(folder, test_size=0).texts == [TEXTS[0], TEXTS[2]]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.tsv", "one\ntwo\n", "2 of 2 rows have no label, and none is left"),
        ("a.tsv", b"a\t<http://x>\nb\xe9\t<http://x>\n", "a.tsv, line 2: byte 0xe9 is not UTF-8"),
        (
            "a.csv",
            b"text,subject_uris\nb\xe9,<http://x>\n",
            "a.csv, line 2: byte 0xe9 is not UTF-8",
        ),
        ("a.csv", "text,subjects\na,b\n", "a.csv has no column 'subject_uris'"),
        ("a.jsonl", '{"text": "a", "subjects": ["b"]}', "a.jsonl, line 1: 'b' is no subject"),
        ("a.jsonl", '{"text": 3, "subjects": []}', "a.jsonl, line 1: 'text' is 3"),
    ],
)
def test_wrong_corpora_are_refused_with_their_line(name, content, words, tmp_path):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=words):
        load_annif_corpus(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("v.csv", b"uri,label\nx,\xe9\n", "Convert the file to UTF-8."),
        ("v.tsv", b"x\t\xe9\n", "Convert the file to UTF-8."),
        ("v.tsv", "a label\n", "v.tsv, line 1: 'a label' has no tab"),
        ("v.csv", "id,name\n1,a\n", "v.csv has the columns 'id', 'name'. It needs uri, and"),
        ("v.csv", "uri,label_en\nu,a\nu,b\n", "names 'u' twice: 'a' and 'b'"),
        ("v.csv", "uri,label_en\nu,\n", "has no label with a text"),
        ("v.ttl", "no turtle", "cannot be read as RDF"),
        ("v.docx", "", "has no name of a vocabulary"),
        ("v.jsonld", '{"@context": "http://127.0.0.1/"}', "has no name of a vocabulary"),
        ("v.rdf", "<r", "cannot be read as RDF"),
        ("v.rdf", rdf('<!ENTITY b "&a;&a;">', "&b;"), "v.rdf .*the entity 'b' is more than a"),
        ("v.xml", rdf(f'<!ENTITY b "{"x" * 1001}">', "&b;"), "the entity 'b' is more than a"),
        ("v.rdf", rdf('<!ENTITY b SYSTEM "v.txt">', "&b;"), "the entity 'b' is more than a"),
        ("v.rdf", rdf("<!ENTITY % b \"<!ENTITY c '&#38;a;'>\"> %b;", "&c;"), "the entity 'b' is"),
    ],
)
def test_wrong_vocabularies_are_refused(name, content, words, tmp_path):
    if name.endswith((".ttl", ".rdf", ".xml")):
        pytest.importorskip("rdflib", reason="SKOS is read by rdflib")
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=words):
        load_annif_corpus(write(tmp_path / "a.tsv"), vocabulary=tmp_path / name)


def test_without_rdflib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdflib", None)
    vocabulary = write_vocabulary(tmp_path / "v.ttl")
    with pytest.raises(ImportError, match=r'pip install "skxc\[skos\]"'):
        load_annif_corpus(write(tmp_path / "a.tsv"), vocabulary=vocabulary)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,labels\na,b\n"),
        ("a.csv", "caf\u00e9,labels\na,b\n".encode("cp1252")),
        ("a.csv", "text,subject_uris\na,b\n".encode("utf-16")),
        ("a.tsv", "caf\u00e9\tna\u00efve\n".encode("cp1252")),
        ("a.tsv", "text\tlabels\na\tb\n"),
        ("a.tsv", "text\turl\na\thttp://x.org\n"),
        ("a.tsv", "a\tb\n"),
        ("a.tsv", "no tab\n"),
        ("a.jsonl", '{"text": "a", "labels": ["b"]}\n'),
        ("a.txt", "a\n"),
        ("trn.json", '{"title": "a", "target_ind": [0]}\n'),
        ("config.json", '{"class": "UniDEC"}'),
        ("labels.json", "[1]"),
    ],
)
def test_other_files_are_no_corpora(name, content, tmp_path):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert not is_annif_corpus(tmp_path if name.endswith(".json") else tmp_path / name)
