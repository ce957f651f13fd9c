"""Users' own tables: what is read of them, how they are split, and what is refused or told."""

from __future__ import annotations

import csv
import gzip
import json
import re
import sys
import warnings

import numpy as np
import pytest

from skxc.datasets import FileColumn, load_library_subjects, load_table

TITLES = ["Apple pie", "Trout", "Pear tart", "Eel", "Plum cake", "Carp"]
BODIES = ["Peel, cut,\nand bake.", "", 'The "best" one.', "Smoke it.", "", "Fry it."]
LABELS = [["baking", "fruit"], ["fish"], ["baking", "fruit"], ["fish"], ["baking"], []]
NAMES = ["baking", "fish", "fruit"]
TEXTS = [f"{title} {body}".strip() for title, body in zip(TITLES, BODIES, strict=True)]
Y = [[int(name in row) for name in NAMES] for row in LABELS]
KINDS = ["a.csv", "a.csv.gz", "a.tsv", "semicolons.csv", "a.jsonl", "a.jsonl.gz", "a.parquet"]


def columns():
    return {"id": list(map(str, range(6))), "title": TITLES, "body": BODIES, "labels": LABELS}


def write(path):
    """The table as its name says; where cells cannot hold lists, with bars between labels."""
    rows = [dict(zip(columns(), row, strict=True)) for row in zip(*columns().values(), strict=True)]
    if "jsonl" in path.name:
        content = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    elif path.suffix == ".parquet":
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pa.table(columns()), path, row_group_size=2)
    else:
        opened = gzip.open if path.suffix == ".gz" else open
        delimiter = {"a.tsv": "\t", "semicolons.csv": ";"}.get(path.name, ",")
        with opened(path, "wt", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, columns(), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(row | {"labels": " | ".join(row["labels"])} for row in rows)
    return path


def load(path, **options):
    settings = {"text": ["title", "body"], "labels": "labels", "separator": "|", "test_size": 0}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "1 of 6 rows have no label")
        return load_table(path, **settings | options)


def read(tmp_path, content, name="a.csv", **options):
    """What is read of a file with the columns `text` and `labels`."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_table(path, **{"text": "text", "labels": "labels", "test_size": 0} | options)


# ------------------------------------------------------------------------------------------ values
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_table_gives_the_same_texts_and_labels(name, tmp_path):
    data = load(write(tmp_path / name))
    assert data.texts == TEXTS
    assert data.label_names.tolist() == data.label_texts == NAMES
    assert data.Y.toarray().tolist() == Y
    assert data.Y.dtype == np.float32
    assert data.Y.has_canonical_format
    assert data.test_texts == []
    assert data.Y_test.shape == (0, 3)


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_a_dataframe_is_a_table(package):
    module = pytest.importorskip(package)
    frame = module.DataFrame(columns())
    assert load(frame).texts == TEXTS
    assert load(frame).Y.toarray().tolist() == Y
    joined = module.DataFrame(columns() | {"labels": list(map("|".join, LABELS))})
    assert load(joined).Y.toarray().tolist() == Y
    with pytest.raises(ValueError, match=r"The DataFrame has no column 'label'.*mean 'labels'\?"):
        load(frame, labels="label")


def test_pandas_missing_values_are_no_texts_and_no_labels():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"title": ["a", None, "c"], "body": [None, "b", None], "labels": [7, 8, None]}
    )
    with pytest.warns(UserWarning, match=r"1 of 3 rows have no label.*row 2 \(counted from 0\)"):
        data = load(frame, separator=None)
    assert data.texts == ["a", "b", "c"]
    assert data.label_names.tolist() == [7, 8]  # which pandas has made floats of
    assert data.label_texts is None
    assert data.Y.toarray().tolist() == [[1, 0], [0, 1], [0, 0]]


@pytest.mark.parametrize("package", ["polars", "pandas"])
def test_parquet_is_read_without_pyarrow_where_another_package_reads_it(
    package, tmp_path, monkeypatch
):
    path = write(tmp_path / "a.parquet")
    module = pytest.importorskip(package)
    frame = module.read_parquet(path)
    if package == "pandas":
        monkeypatch.setitem(sys.modules, "polars", None)
        monkeypatch.setattr(module, "read_parquet", lambda _: frame)  # by fastparquet
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert load(path).texts == TEXTS
    assert load(path).Y.toarray().tolist() == Y


def test_without_any_of_the_packages_the_extra_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet")
    for package in ("pyarrow", "polars", "pandas"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r'pip install "skxc\[arrow\]"'):
        load(path)


def test_several_columns_of_labels_are_put_together(tmp_path):
    data = read(tmp_path, "text,l1,l2\na,x,y; z\nb,,y\n", labels=["l1", "l2"], separator=";")
    assert data.label_names.tolist() == ["x", "y", "z"]
    assert data.Y.toarray().tolist() == [[1, 1, 1], [0, 1, 0]]


def test_a_field_that_an_object_lacks_is_empty(tmp_path):
    content = '{"text": "a"}\n{"text": "b", "labels": ["x"], "body": "c"}\n'
    with pytest.warns(UserWarning, match=r"1 of 2 rows have no label.*a.jsonl, line 1"):
        data = read(tmp_path, content, "a.jsonl", text=["text", "body"])
    assert data.texts == ["a", "b c"]


def test_a_text_may_be_longer_than_the_csv_module_takes_by_itself(tmp_path):
    csv.field_size_limit(1000)  # as another module of the process may set it
    data = read(tmp_path, f"text,labels\n{'x' * 300_000},a\n")
    assert len(data.texts[0]) == 300_000


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-16", "utf-16-le", "utf-16-be"])
def test_other_encodings_are_read_where_they_are_named(encoding, mark, tmp_path):
    mark = mark if encoding.startswith("utf") else ""
    data = read(tmp_path, f"{mark}text,labels\nné,à\n".encode(encoding), encoding=encoding)
    assert (data.texts, data.label_names.tolist()) == (["né"], ["à"])


# ------------------------------------------------------------------------------------- vocabularies
@pytest.mark.filterwarnings("ignore:1 of 3 rows have no label")
def test_a_vocabulary_gives_the_labels_their_order_and_their_texts(tmp_path):
    texts = {"u3": "grilled things", "u1": "sweet things", "u2": "things from the sea"}
    content = "text,labels\na,u1\nb,things from the sea\nc,u9\n"
    with pytest.warns(UserWarning, match="1 of 3 labels are not in the vocabulary") as told:
        data = read(tmp_path, content, vocabulary=texts)
    assert data.label_names.tolist() == list(texts)
    assert data.label_texts == list(texts.values())
    assert data.Y.toarray().tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert "'u9'" in str(told[0].message)
    assert "a.csv, line 4" in str(told[0].message)


def test_a_vocabulary_of_numbers_fits_numbers_and_their_texts(tmp_path):
    data = read(tmp_path, '{"text": "a", "labels": [7]}\n', "a.jsonl", vocabulary={"7": "seven"})
    assert data.label_names.tolist() == ["7"]
    assert data.Y.toarray().tolist() == [[1]]


@pytest.mark.parametrize("vocabulary", [{2: "two", 1: "one"}, {"2 ": "two", " 1": "one "}])
def test_a_vocabularys_names_are_found_as_a_table_writes_them(vocabulary, tmp_path):
    data = read(tmp_path, "text,labels\na,1\nb, 2\nc,one\n", vocabulary=vocabulary)
    assert data.label_names.tolist() == list(vocabulary)
    assert data.Y.toarray().tolist() == [[0, 1], [1, 0], [0, 1]]


@pytest.mark.filterwarnings("ignore:1 of 3 rows have no label")
def test_a_text_of_two_labels_names_neither(tmp_path):
    vocabulary = {"u1": "bank", "u2": "bank", "u3": "sea"}
    with pytest.warns(UserWarning, match=r"'bank' \(.*line 3\), the text of both 'u1' and 'u2'"):
        data = read(tmp_path, "text,labels\na,u2\nb,bank\nc,sea\n", vocabulary=vocabulary)
    assert data.Y.toarray().tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("vocabulary", "error", "words"),
    [
        ({"q": "x"}, ValueError, "The vocabulary has none of the 1 labels of .*'u' .*line 2"),
        ({}, ValueError, "vocabulary has no label"),
        ({"u": None}, TypeError, "vocabulary\\['u'\\] is None, and no text"),
        (["u"], TypeError, "vocabulary is \\['u'\\] of type list"),
        ("nowhere.csv", FileNotFoundError, "nowhere.csv"),
    ],
)
def test_wrong_vocabularies_are_refused(vocabulary, error, words, tmp_path):
    with pytest.raises(error, match=words):
        read(tmp_path, "text,labels\na,u\n", vocabulary=vocabulary)


def test_names_that_are_numbers_or_addresses_are_no_texts(tmp_path):
    for labels in (["12", "13"], ["http://x.org/1", "http://x.org/2"], ["urn:x:1", "urn:x:2"]):
        data = read(tmp_path, "text,labels\n" + "".join(f"a,{label}\n" for label in labels))
        assert data.label_names.tolist() == labels
        assert data.label_texts is None


# ------------------------------------------------------------------------------------------- splits
def test_a_part_is_held_out_at_random_in_the_tables_order(tmp_path):
    subjects = load_library_subjects()
    names = np.array(subjects.label_texts, dtype=object)
    rows = zip(subjects.texts[:2000], subjects.Y[:2000], strict=True)
    content = [{"text": text, "labels": names[y.indices].tolist()} for text, y in rows]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in content))
    data, again, other = (
        load_table(tmp_path / "a.jsonl", text="text", labels="labels", random_state=seed)
        for seed in (0, 0, 1)
    )
    assert (len(data.texts), len(data.test_texts)) == (1800, 200)
    assert (data.texts, data.test_texts) == (again.texts, again.test_texts)
    assert data.test_texts != other.test_texts
    order = {text: row for row, text in enumerate(subjects.texts[:2000])}
    for texts, matrix in ((data.texts, data.Y), (data.test_texts, data.Y_test)):
        assert [order[text] for text in texts] == sorted(order[text] for text in texts)
        for text, y in zip(texts, matrix, strict=True):
            expected = names[subjects.Y[[order[text]]].indices]
            assert set(data.label_names[y.indices]) == set(expected)
    assert abs(data.Y_test.nnz / 200 - data.Y.nnz / 1800) < 0.4  # no part is of rare labels
    n_trained, n_held_out = (np.asarray(y.sum(axis=0)).ravel() for y in (data.Y, data.Y_test))
    assert not ((n_trained == 0) & (n_held_out > 1)).any()
    n_unseen = np.count_nonzero(n_trained == 0)
    assert f"1,800 training rows, {len(data.label_names):,} labels" in data.DESCR
    assert f"200 rows held out, 3.4 labels a row, {n_unseen} labels in no" in data.DESCR


@pytest.mark.parametrize("seed", range(20))
def test_a_label_of_two_rows_has_one_to_be_trained_on(seed, tmp_path):
    rng = np.random.default_rng(seed)
    rows = [";".join(map(str, rng.choice(30, 3))) for _ in range(30)]
    content = "text,labels\n" + "".join(f"text {i},{row}\n" for i, row in enumerate(rows))
    data = read(tmp_path, content, separator=";", test_size=10, random_state=seed)
    assert len(data.texts) == 20
    assert len(data.test_texts) == 10
    n_trained, n_held_out = (np.asarray(y.sum(axis=0)).ravel() for y in (data.Y, data.Y_test))
    assert not ((n_trained == 0) & (n_held_out > 1)).any()


@pytest.mark.filterwarnings("ignore:.*rows are held out, not")
@pytest.mark.parametrize("n_shared", [1, 2])
def test_a_larger_share_holds_out_the_same_rows_and_more(n_shared, tmp_path):
    rows = [f"text {i},{';'.join(f'l{(i + j) // 2}' for j in range(n_shared))}" for i in range(60)]
    content = "\n".join(["text,labels", *rows])
    before = set()
    for test_size in (0.1, 0.3, 0.4, 0.6, 0.9):
        test = set(read(tmp_path, content, separator=";", test_size=test_size).test_texts)
        assert before <= test
        assert len(test) == min(60 * test_size, 30) or (n_shared == 2 and len(test) >= 20)
        before = test


def test_fewer_rows_than_asked_for_are_told(tmp_path):
    content = "text,labels\n" + "".join(f"text {i},l{i // 2}\n" for i in range(20))
    with pytest.warns(UserWarning, match=r"a.csv: 10 of 20 rows are held out, not 18: each other"):
        data = read(tmp_path, content, test_size=0.9)
    assert len(data.test_texts) == 10
    assert data.Y.sum(axis=0).tolist() == [[1] * 10]


@pytest.mark.parametrize("test_size", [-1, 1.5, 6, 7, True])
def test_sizes_that_leave_nothing_are_refused(test_size, tmp_path):
    with pytest.raises((ValueError, TypeError), match="test_size"):
        load(write(tmp_path / "a.csv"), test_size=test_size)


def test_texts_on_both_sides_are_told(tmp_path):
    with pytest.warns(UserWarning, match="2 of 2 held-out texts are also training texts"):
        read(tmp_path, "text,labels\na,x\na,x\na,y\na,y\n", test_size=0.5)


# ----------------------------------------------------------------------------------- what is told
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("text,labels\n,x\n  ,y\na,z\n", "a.csv: 2 of 3 rows have no text and are left out. The"),
        ("text,labels\na,\nb,y\n", "1 of 2 rows have no label. They are kept, as texts to which"),
        ("text,labels\na,x;y\nb,z\n", "a.csv, line 2: 'x;y' looks like several labels in one"),
        ("text,labels\na,x|y\nb,z\n", "pass '|' as separator."),
    ],
)
def test_odd_rows_are_told_in_one_line_with_the_first(content, words, tmp_path):
    with pytest.warns(UserWarning, match=re.escape(words)) as told:
        read(tmp_path, content)
    assert len(told) == 1
    assert "\n" not in str(told[0].message)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "a.csv is empty. Pass a file whose first row names the columns."),
        ("\n\n", "a.csv is empty."),
        ("text,labels\n", "a.csv has no rows."),
        ("text,labels\n\"a\nb\",x\n\nb,y,z\n", "a.csv, line 5: the row has 3 cells, but the"),
        ('text,labels\na,x\n"b,y\nc,z\n', "a.csv, line 3: unexpected end of data. A cell that"),
        ('text,labels\n"a"b,x\n', "a.csv, line 2: ',' expected after"),
        ("text,labels\ra,x\rb,y", "a.csv, line 1: "),
        (b"text,labels\na,x\nb\xe9,y\n", "a.csv, line 3: byte 0xe9 is not utf-8"),
        ("text,labels\na,x\n".encode("utf-16"), "line 1: byte 0xff .* pass its .*'utf-16'."),
        ("Text,labels\na,x\n", "a.csv has no column 'text'. Its columns are 'Text', 'labels'."),
        ("a book,fish\nb,dog\n", "a.csv has no column 'text'. Its columns are 'a book', 'fish'."),
        ("text,labels,labels\na,x,y\n", "a.csv has 2 columns 'labels'"),
        ("text,labels\n,x\n,y\n", "a.csv: 2 of 2 rows have no text, and none is left."),
        ("text,labels\na,\nb,\n", "a.csv has no label in any of its 2 rows."),
        ('{"text": 3, "labels": ["x"]}', "a.jsonl, line 1: 'text' is 3 of type int, and no text."),
        ('{"text": "a", "labels": [1.5]}', "a.jsonl, line 1: 'labels': 1.5 of type float is no"),
        ('{"text": "a", "labels": [["x"]]}', "a.jsonl, line 1: 'labels': \\['x'\\] of type list"),
        (
            '{"text": "a", "labels": [1]}\n{"text": "b", "labels": ["x"]}',
            "a.jsonl, line 2: the label 'x' is of type str, but 1 \\(.*line 1\\) of type int.",
        ),
    ],
)  # fmt: skip
def test_wrong_tables_are_refused_with_their_line(content, words, tmp_path):
    is_json = isinstance(content, str) and content.startswith("{")
    with pytest.raises(ValueError, match=words) as told:
        read(tmp_path, content, "a.jsonl" if is_json else "a.csv")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"text": []}, TypeError, "text is \\[\\]"),
        ({"labels": None}, TypeError, "labels is None"),
        ({"separator": ""}, ValueError, "separator is ''"),
        ({"encoding": "none such"}, ValueError, "encoding is 'none such', which is not known"),
        ({"encoding": "utf-16"}, ValueError, "a.csv is not utf-16"),
        ({"language": "en"}, ValueError, "language is 'en', but there is no vocabulary"),
    ],
)
def test_wrong_options_are_refused(options, error, words, tmp_path):
    with pytest.raises(error, match=words):
        read(tmp_path, "text,labels\na,x\n", **options)


def test_what_is_no_table_is_refused(tmp_path):
    (tmp_path / "a.xlsx").touch()
    for table, error, words in [
        (tmp_path / "nowhere.csv", FileNotFoundError, "nowhere.csv"),
        (tmp_path, ValueError, "is a folder"),
        (tmp_path / "a.xlsx", ValueError, "has no name of a table: .*Save the sheet as CSV"),
        ([1], TypeError, "table is \\[1\\] of type list"),
    ]:
        with pytest.raises(error, match=words):
            load_table(table, text="text", labels="labels")


# -------------------------------------------------------------------------------- columns of tables
@pytest.mark.parametrize("name", KINDS)
def test_several_columns_are_one_text_from_any_row(name, tmp_path):
    read = FileColumn(write(tmp_path / name), ["title", "body"])
    assert len(read) == 6
    for start in range(8):
        assert list(read.rows(start)) == TEXTS[start:]
    assert read.column == ["title", "body"]


def test_a_table_of_delimited_cells_needs_a_column_by_name(tmp_path):
    (tmp_path / "a.csv").write_text("red apples\ngreen pears\n")
    with pytest.raises(ValueError, match=r"has the columns 'red apples', as its first line says"):
        FileColumn(tmp_path / "a.csv")
    assert list(FileColumn(tmp_path / "a.csv", "red apples")) == ["green pears"]
    (tmp_path / "a.jsonl").write_text('{"text": "a", "n": 1}\n')
    with pytest.raises(ValueError, match=r"a.jsonl, line 1: 'n' is 1 of type int, and no text"):
        list(FileColumn(tmp_path / "a.jsonl", ["text", "n"]))
    with pytest.raises(ValueError, match="encoding is 'cp1252', but only CSV and TSV files have"):
        FileColumn(tmp_path / "a.jsonl", "text", "cp1252")
