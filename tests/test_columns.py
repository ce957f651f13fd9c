"""Columns of files: what they hold, from any row, again and again, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import sys

import pytest

from skxc.datasets import FileColumn

N = 2500  # more than are made Python values at once
TEXTS = [f"text {i} \u00e9\u2028x" for i in range(N)]
LABELS = [[f"label {j}" for j in range(i % 3)] for i in range(N)]
IDS = [list(range(i % 4)) for i in range(N)]
COLUMNS = {"text": TEXTS, "labels": LABELS, "ids": IDS}
TABLES = ["a.parquet", "one group.parquet", "a.ipc", "a.feather", "a.arrow", "packed.feather"]
JSON = ["a.jsonl", "a.ndjson", "a.jsonl.gz", "a.ndjson.gz"]
LINES = ["a.txt", "a.txt.gz", "a.md", "a"]


def write(path, columns):
    """The file of these columns, as its name says."""
    if path.name in JSON:
        rows = zip(*columns.values(), strict=True)
        objects = (json.dumps(dict(zip(columns, row, strict=True))) for row in rows)
        write_bytes(path, "".join(f"{row}\n" for row in objects).encode())
    elif path.name in LINES:
        write_bytes(path, "".join(f"{text}\n" for text in columns["text"]).encode())
    else:
        write_table(path, columns)
    return path


def write_bytes(path, content):
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_table(path, columns):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet

    table = pa.table(columns)
    if path.suffix == ".parquet":
        parquet.write_table(table, path, row_group_size=N if "one" in path.name else 700)
    elif "packed" in path.name:
        feather.write_feather(table, path, compression="zstd")
    else:
        new = pa.ipc.new_stream if path.suffix == ".arrow" else pa.ipc.new_file
        with new(path, table.schema) as file:
            file.write_table(table, max_chunksize=1100)


# ------------------------------------------------------------------------------------------ values
@pytest.mark.parametrize("name", [*TABLES, *JSON, *LINES])
def test_a_column_gives_its_values_from_any_row_as_often_as_asked(name, tmp_path):
    path = write(tmp_path / name, COLUMNS)
    for column, values in COLUMNS.items() if name not in LINES else [(None, TEXTS)]:
        read = FileColumn(path, column)
        assert list(read) == list(read) == values
        assert len(read) == N
        for start in (1, 699, 700, 1100, 1999, N - 1, N, N + 1):
            assert list(read.rows(start)) == values[start:]
        assert sum(1 for _ in zip(read, read, strict=True)) == N  # two passes at once


@pytest.mark.parametrize("name", [*TABLES, *JSON, *LINES])
def test_a_column_is_pickled_as_the_files_name(name, tmp_path):
    read = FileColumn(write(tmp_path / name, {"text": TEXTS}))
    assert read.column == (None if name in LINES else "text")  # the only one
    content = pickle.dumps(read)
    assert len(content) < 1000
    assert list(pickle.loads(content)) == TEXTS
    shown = "" if name in LINES else ", column='text'"
    assert repr(read) == f"FileColumn({str(tmp_path / name)!r}{shown})"


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"\n", [""]),
        (b"car", ["car"]),
        (b"car\n\napples\n", ["car", "", "apples"]),
        (b"car\r\nred\r", ["car", "red"]),
        (b"\xef\xbb\xbfcar\n\xef\xbb\xbfred\n", ["car", "red"]),
        (b"a\rb\n" + b"x" * 200_000 + b"\nlast", ["a\rb", "x" * 200_000, "last"]),
    ],
)
def test_only_a_line_feed_ends_a_text(name, content, texts, tmp_path):
    write_bytes(tmp_path / name, content)
    read = FileColumn(tmp_path / name)
    assert list(read) == texts
    assert len(read) == len(texts)
    for start in range(len(texts) + 2):
        assert list(read.rows(start)) == texts[start:]


@pytest.mark.parametrize("name", [*TABLES, "a.jsonl", "a.txt"])
def test_a_file_without_rows_gives_none(name, tmp_path):
    if name in TABLES:
        pa = pytest.importorskip("pyarrow")
        read = FileColumn(write(tmp_path / name, {"text": pa.array([], pa.string())}))
    else:
        (tmp_path / name).touch()
        read = FileColumn(tmp_path / name)
    assert list(read) == []
    assert len(read) == 0


def test_texts_of_every_type_of_arrow_are_read(tmp_path):
    pa = pytest.importorskip("pyarrow")
    texts = ["a", "b", "a"]
    dictionary = pa.dictionary(pa.int8(), pa.string())
    for kind in (pa.string(), pa.large_string(), pa.string_view(), dictionary):
        write_table(tmp_path / "a.ipc", {"text": pa.array(texts, kind)})
        assert list(FileColumn(tmp_path / "a.ipc")) == texts
    for kind in (pa.large_list(pa.string()), pa.list_(pa.string(), 1)):
        write_table(tmp_path / "a.arrow", {"labels": pa.array([["a"], ["b"]], kind)})
        assert list(FileColumn(tmp_path / "a.arrow")) == [["a"], ["b"]]


def test_files_of_polars_are_read(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pytest.importorskip("polars").DataFrame(COLUMNS)
    frame.write_ipc(tmp_path / "a.arrow")
    frame.write_parquet(tmp_path / "a.parquet")
    for column, values in COLUMNS.items():
        for name in ("a.arrow", "a.parquet"):
            assert list(FileColumn(tmp_path / name, column)) == values


# ------------------------------------------------------------------------------------ wrong inputs
@pytest.mark.parametrize("name", ["a.parquet", "a.ipc", "a.arrow", "a.jsonl"])
def test_a_column_is_chosen_among_several(name, tmp_path):
    path = write(tmp_path / name, COLUMNS)
    with pytest.raises(ValueError, match=r"the columns 'text', 'labels', 'ids'. Choose one"):
        FileColumn(path)
    with pytest.raises(ValueError, match=r"has no column 'texts'. Its columns are 'text', 'label"):
        FileColumn(path, "texts")


def test_lines_of_text_have_no_columns(tmp_path):
    with pytest.raises(ValueError, match=r"column is 'text', but .*a.txt is by its name a file of"):
        FileColumn(write(tmp_path / "a.txt", COLUMNS), "text")


def test_columns_of_other_types_are_refused(tmp_path):
    path = tmp_path / "a.parquet"
    for values, kind in [([0.5], "double"), ([b"x"], "binary"), ([3], "int64"), ([[0.5]], "list<")]:
        write_table(path, {"text": TEXTS[:1], "x": values})
        with pytest.raises(ValueError, match=f"column 'x' holds {kind}.*Pass one of texts, or of"):
            FileColumn(path, "x")
    pa = pytest.importorskip("pyarrow")
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["x", "x"])
    with pa.ipc.new_file(tmp_path / "a.ipc", table.schema) as file:
        file.write_table(table)
    with pytest.raises(ValueError, match="has 2 columns 'x'"):
        FileColumn(tmp_path / "a.ipc", "x")


@pytest.mark.parametrize("name", ["a.parquet", "a.ipc", "a.arrow"])
def test_nulls_are_refused_with_their_row(name, tmp_path):
    for values, shown in [
        ([*TEXTS[:1200], None], "'x' is null"),
        ([["a"]] * 1200 + [None], "'x' is null"),
        ([["a"]] * 1200 + [["b", None]], "'x' is \\['b', None\\]"),
    ]:
        read = FileColumn(write(tmp_path / name, {"x": values}))
        match = rf"{name}, row 1200 \(counted from 0\): {shown}. Each row needs a text, or a list"
        with pytest.raises(ValueError, match=match):
            list(read)
        with pytest.raises(ValueError, match=match):
            list(read.rows(1200))


@pytest.mark.parametrize("value", [None, 3, 0.5, True, {"a": 1}, ["a", 1], [True], [None], [[1]]])
def test_other_values_of_json_are_refused_with_their_line(value, tmp_path):
    rows = [{"text": "a", "n": 1}, {"text": value}]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    read = FileColumn(tmp_path / "a.jsonl", "text")
    with pytest.raises(ValueError, match=r"a.jsonl, line 2: 'text' is .*\. Each row needs a text"):
        list(read)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "Expecting property name"),
        (b"[1]", "[1] is no JSON object"),
        (b'{"text": "a", "n": ' + b"9" * 5000 + b"}", "line 2: a number has thousands of digits."),
        (b'{"title": "a"}', "there is no field 'text'. The fields are 'title'."),
        (b'{"text": "\xff"}', "byte 0xff is not UTF-8"),
        (b"[" * 100_000, "line 2: "),
    ],
)
def test_lines_that_are_no_objects_are_refused(line, words, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}\n' + line + b'\n{"text": "b"}\n')
    with pytest.raises(ValueError, match=r"a.jsonl, line 2: ") as told:
        list(FileColumn(tmp_path / "a.jsonl", "text"))
    assert words in str(told.value)
    assert len(str(told.value)) < 500


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_texts_that_are_no_utf_8_are_refused_with_their_line(name, tmp_path):
    write_bytes(tmp_path / name, b"car\nb\xffd\n")
    read = FileColumn(tmp_path / name)
    for start in (0, 1):
        with pytest.raises(ValueError, match=rf"{name}, line 2: byte 0xff is not UTF-8"):
            list(read.rows(start))


@pytest.mark.parametrize("name", ["a.parquet", "a.ipc", "a.arrow"])
def test_texts_of_tables_that_are_no_utf_8_are_refused_with_their_row(name, tmp_path):
    pa = pytest.importorskip("pyarrow")
    buffers = pa.array([b"ok", b"b\xffd", b"c"]).buffers()
    write_table(tmp_path / name, {"x": pa.StringArray.from_buffers(3, *buffers[1:])})
    with pytest.raises(ValueError, match=rf"{name}, row 1 .*: 'x' is damaged or no UTF-8"):
        list(FileColumn(tmp_path / name))


@pytest.mark.parametrize("name", ["a.parquet", "a.ipc", "a.arrow", "a.txt.gz", "a.jsonl.gz"])
@pytest.mark.parametrize("damage", ["cut", "empty", "foreign"])
def test_files_that_are_not_whole_are_refused(name, damage, tmp_path):
    content = write(tmp_path / name, {"text": TEXTS}).read_bytes()
    content = {"cut": content[: len(content) // 2], "empty": b"", "foreign": b"x" * 300}[damage]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} (is no|has 0)"):
        list(FileColumn(tmp_path / name))


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.txt"):
        FileColumn(tmp_path / "nowhere.txt")
    with pytest.raises(ValueError, match=r"is a folder. Pass a file"):
        FileColumn(tmp_path)
    with pytest.raises(
        ValueError, match=r"is no regular file. Pass a file, which can be read again"
    ):
        FileColumn(os.devnull)
    with pytest.raises(TypeError, match=r"path is b'a.txt'"):
        FileColumn(b"a.txt")
    with pytest.raises(TypeError, match="column is 3"):
        FileColumn(write(tmp_path / "a.txt", COLUMNS), 3)
    with pytest.raises(ValueError, match="start is -1"):
        FileColumn(tmp_path / "a.txt").rows(-1)


def test_a_file_that_changes_between_passes_is_refused(tmp_path):
    path = write(tmp_path / "a.txt", COLUMNS)
    read = FileColumn(path)
    assert len(list(read)) == N
    status = path.stat()
    with path.open("a") as file:
        file.write("one more\n")
    for act in (iter, len, pickle.loads(pickle.dumps(read)).rows):
        with pytest.raises(ValueError, match=r"a.txt has changed since FileColumn was made"):
            act(read) if act in (iter, len) else act()
    write(path, COLUMNS)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert list(read) == TEXTS
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(ValueError, match=r"or was written again. Make a new FileColumn"):
        iter(read)


def test_without_pyarrow_tables_are_refused_and_lines_are_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name in ("a.parquet", "a.arrow"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ImportError, match=r'pip install "skxc\[arrow\]"') as told:
            FileColumn(tmp_path / name, "text")
        assert str(told.value).startswith(f"Reading {tmp_path / name} needs the package pyarrow")
    assert list(FileColumn(write(tmp_path / "a.jsonl", COLUMNS), "text")) == TEXTS
