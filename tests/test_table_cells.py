"""Cells of users' own tables: lists that are written out, indicators, and how files are written."""

from __future__ import annotations

import csv
import json
from importlib.util import find_spec

import pytest
from test_tables import read

from skxc.datasets import FileColumn, load_table


# ------------------------------------------------------------------------------------------- labels
@pytest.mark.parametrize(
    ("cells", "options", "names", "matrix"),
    [
        (["a; b", ";b;; a"], {"separator": ";"}, ["a", "b"], [[1, 1], [1, 1]]),
        (["a, b", "b"], {"separator": ","}, ["a", "b"], [[1, 1], [0, 1]]),
        (["a b", "b  a"], {"separator": " "}, ["a", "b"], [[1, 1], [1, 1]]),
        (["a", "a"], {"separator": ";"}, ["a"], [[1], [1]]),
        (["['a', 'b']", '["b", "b"]'], {}, ["a", "b"], [[1, 1], [0, 1]]),
        (["['a' 'b']", "['b']"], {}, ["a", "b"], [[1, 1], [0, 1]]),  # of NumPy
        (["['a'\n 'b']", "[]"], {}, ["a", "b"], [[1, 1], [0, 0]]),
        (["('a', 'b')", "{'b'}"], {}, ["a", "b"], [[1, 1], [0, 1]]),
        (["('a',)", "set()"], {}, ["a"], [[1], [0]]),
        (["['a', None]", "['a', nan]"], {}, ["a"], [[1], [1]]),
        (['["a", null, NaN]', "[None]"], {}, ["a"], [[1], [0]]),
        (["[u'it\\'s', \"b\"]", '["\\ud83d\\ude00"]'], {}, ["b", "it's", "\U0001f600"],
         [[1, 1, 0], [0, 0, 1]]),
        (['["a", "b"]', "b, a"], {"separator": ","}, ["a", "b"], [[1, 1], [1, 1]]),
        (["(a)", "{b}"], {}, ["(a)", "{b}"], [[1, 0], [0, 1]]),
        (['("a b")', "[it's]"], {}, ['("a b")', "[it's]"], [[1, 0], [0, 1]]),
        (["[1 2]", "[2.]"], {}, [1, 2], [[1, 1], [0, 1]]),
        (["[a]", "[b]"], {}, ["[a]", "[b]"], [[1, 0], [0, 1]]),
        (["[1, 2]", "[2]"], {}, [1, 2], [[1, 1], [0, 1]]),
        (["1", "02"], {}, ["02", "1"], [[0, 1], [1, 0]]),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:1 of 2 rows have no label")
def test_a_cell_is_a_label_or_is_cut_or_holds_a_written_list(
    cells, options, names, matrix, tmp_path
):
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text", "labels"], *(["x", cell] for cell in cells)])
    data = load_table(tmp_path / "a.csv", text="text", labels="labels", test_size=0, **options)
    assert data.label_names.tolist() == names
    assert data.Y.toarray().tolist() == matrix


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        ([(1, "x"), (3, "y"), (None, "z")], ["1", "3", "x", "y", "z"]),
        ([(-1, 2.0), (None, None)], ["-1", "2"]),
        ([(3, None), (None, 3)], ["3"]),
        ([(1.5, "x"), (3, "y"), (None, "z")], ["1.5", "3.0", "x", "y", "z"]),
        ([("1.0", "x"), ("1.1", "y"), (None, "z")], ["1.0", "1.1", "x", "y", "z"]),
        ([("1.0", "x"), ("2.0", "y")], ["1.0", "2.0", "x", "y"]),
        ([("v1.0", "x"), (None, "y")], ["v1.0", "x", "y"]),
    ],
)
@pytest.mark.filterwarnings("ignore:. of . rows have no label")
def test_whole_numbers_with_gaps_are_the_labels_that_they_were_before_pandas(
    cells, names, tmp_path
):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(cells, columns=["l1", "l2"]).assign(text="a")
    frame.to_csv(tmp_path / "a.csv", index=False)
    data = load_table(tmp_path / "a.csv", text="text", labels=["l1", "l2"], test_size=0)
    assert data.label_names.tolist() == names
    expected = [{str(x).removesuffix(".0") for x in row if x is not None} for row in cells]
    found = [{str(names[i]).removesuffix(".0") for i in row.indices} for row in data.Y]
    assert found == expected


def test_whole_numbers_with_gaps_are_found_in_a_vocabulary(tmp_path):
    with pytest.warns(UserWarning, match="1 of 3 rows have no label"):
        data = read(tmp_path, "text,labels\na,1.0\nb,\nc,3.0\n", vocabulary={1: "fish", 3: "jam"})
    assert data.Y.toarray().tolist() == [[1, 0], [0, 0], [0, 1]]


@pytest.mark.parametrize("separator", [None, ";"])
def test_labels_in_lists_that_hold_a_separator_are_no_joined_ones(separator, tmp_path):
    rows = [["text", "labels"], ["a", '["x;1", "y"]'], ["b", "z"]]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    tables = [tmp_path / "a.csv"]
    if find_spec("pandas"):
        import pandas as pd

        tables.append(pd.DataFrame({"text": ["a", "b"], "labels": [["x;1", "y"], ["z"]]}))
    for table in tables:
        data = load_table(table, text="text", labels="labels", separator=separator, test_size=0)
        assert data.label_names.tolist() == ["x;1", "y", "z"]


def test_cells_that_are_cut_may_still_be_told_as_joined_by_something_else(tmp_path):
    with pytest.warns(UserWarning, match=r"line 3: 'y\|z' looks .* pass '\|' as separator"):
        read(tmp_path, 'text,labels\na,"[""u;v""]"\nb,x;y|z\n', separator=";")


@pytest.mark.parametrize("cell", ["[" + "9" * 5000 + "]", "[" + "9" * 5000 + " 1]"])
def test_a_list_of_a_number_that_python_does_not_read_is_a_text(cell, tmp_path):
    assert read(tmp_path, f"text,labels\na,{cell}\n").label_names.tolist() == [cell]


# -------------------------------------------------------------------------------------- indicators
@pytest.mark.filterwarnings("ignore:1 of 3 rows have no label")
@pytest.mark.parametrize(
    ("no", "yes", "empty"),
    [
        ("0", "1", ""), ("False", "True", ""), ("FALSE", "TRUE", "FALSE"), ("0.0", "1.0", ""),
        ("0", "1.0", "0.0"), ("false", "1", ""), (False, True, None), (0, 1.0, None),
    ],
)  # fmt: skip
def test_columns_of_0_and_1_are_indicators_of_their_own_labels(no, yes, empty, tmp_path):
    rows = [("a", no, yes), ("b", yes, yes), ("c", no, empty)]
    if isinstance(yes, str):
        name, content = "a.csv", "".join(f"{','.join(row)}\n" for row in rows)
        content = f"text,rude,mild\n{content}"
    else:
        objects = [dict(zip(("text", "rude", "mild"), row, strict=True)) for row in rows]
        name, content = "a.jsonl", "".join(f"{json.dumps(row)}\n" for row in objects)
    for more in ({}, {"separator": ";"}):
        data = read(tmp_path, content, name, labels=["rude", "mild"], **more)
        assert data.label_names.tolist() == ["mild", "rude"]
        assert data.Y.toarray().tolist() == [[1, 0], [1, 1], [0, 0]]


@pytest.mark.filterwarnings("ignore:1 of 3 rows have no label")
def test_a_dataframe_and_its_csv_agree_about_indicators(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"text": ["a", "b", "c"], "x": [True, False, False], "y": [1, None, 0], "z": [1, 0, 1]}
    )
    frame.to_csv(tmp_path / "a.csv", index=False)
    for table in (frame, tmp_path / "a.csv"):
        data = load_table(table, text="text", labels=["x", "y", "z"], test_size=0)
        assert data.label_names.tolist() == ["x", "y", "z"]
        assert data.Y.toarray().tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("unknown", ["-1", "-1.0"])
def test_minus_1_among_indicators_is_refused(unknown, tmp_path):
    with pytest.raises(ValueError, match=rf"line 3: '{unknown}' stands beside 0 and 1 in columns"):
        read(tmp_path, f"text,x,y\na,0,1\nb,{unknown},0\n", labels=["x", "y"])


def test_labels_that_look_like_indicators_are_told(tmp_path):
    with pytest.warns(UserWarning, match=r"line 3: '2' stands beside 0 and 1 in columns of"):
        data = read(tmp_path, "text,x,y\na,0,1\nb,2,0\n", labels=["x", "y"])
    assert data.label_names.tolist() == ["0", "1", "2"]
    codes = "text,x,y\na,0,7\nb,5,6\n"  # of which most are neither 0 nor 1
    assert read(tmp_path, codes, labels=["x", "y"]).label_names.tolist() == ["0", "5", "6", "7"]
    with pytest.warns(UserWarning, match="'labels' holds nothing but 'True' and 'False', and"):
        data = read(tmp_path, "text,labels\na,True\nb,False\n")
    assert data.label_names.tolist() == ["False", "True"]
    classes = {"0": "ham", "1": "spam"}
    data = read(tmp_path, "text,labels\na,0\nb,1\n", vocabulary=classes)
    assert data.label_texts == ["ham", "spam"]


@pytest.mark.parametrize(
    ("cell", "separator"),
    [
        ("['a', foo('b')]", None), ("['a' 'b', 'c']", None), ("['a' ... 'z']", None),
        ("{'a': 1}", None), ("[['a'], ['b']]", None), ("[np.str_('a'), np.str_('b')]", None),
        ('["a"; "b"]', ";"), ('["a", 0.5]', None),
    ],
)  # fmt: skip
def test_a_list_of_texts_that_is_none_is_refused_with_its_line(cell, separator, tmp_path):
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text", "labels"], ["x", "a"], ["y", cell]])
    with pytest.raises(ValueError, match=r"a.csv, line 3: 'labels': .* looks like a list of texts"):
        load_table(tmp_path / "a.csv", text="text", labels="labels", separator=separator)


# ------------------------------------------------------------------------------------------- files
@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("text,labels\n\n  \na,x\n\t\nb,y\n   \n", "a.csv"),
        ("text\tlabels\na\tx\n   \nb\ty\n", "a.tsv"),
        ("sep=;\ntext;labels\na;x\nb;y\n", "a.csv"),
        ('"sep=,"\r\ntext,labels\r\na,x\r\nb,y\r\n', "a.csv"),
        ("\ufeffsep=\t\ntext\tlabels\na\tx\nb\ty\n", "a.csv"),
        ('"an, odd,\none,";text;labels\n1;a;x\n2;b;y\n', "a.csv"),
        ("\ntext;labels\na;x\nb;y\n", "a.csv"),
        ("text,labels\na,x\nb,y\n", "DATA.CSV"),
        ("text\tlabels\na\tx\nb\ty\n", "Data.TSV"),
        ('{"text": "a", "labels": "x"}\n\n  \n{"text": "b", "labels": "y"}\n\n', "a.jsonl"),
    ],
)
def test_tables_are_read_as_spreadsheets_and_people_write_them(content, name, tmp_path):
    data = read(tmp_path, content, name)
    assert (data.texts, data.label_names.tolist()) == (["a", "b"], ["x", "y"])
    for column in ("text", ["text"]):
        texts = FileColumn(tmp_path / name, column)
        assert len(texts) == 2
        assert [list(texts.rows(start)) for start in (0, 1, 2)] == [["a", "b"], ["b"], []]


@pytest.mark.parametrize(("end", "n_rows"), [("\n", 3), ("\r\n", 3), ("\n", 3000)])
def test_a_blank_cell_between_quotation_marks_is_a_row(end, n_rows, tmp_path):
    cells = [["a", " ", "", "b\n ", "\n"][i % 5] for i in range(n_rows)]
    lines = ["text", *(f'"{cell}"{end}  ' for cell in cells)]  # and a blank line after each
    (tmp_path / "a.csv").write_bytes(end.join(lines).encode())
    texts = FileColumn(tmp_path / "a.csv", "text")
    assert len(texts) == n_rows
    assert list(texts) == cells
    assert list(texts.rows(n_rows - 1)) == cells[-1:]


@pytest.mark.parametrize("content", ["text,labels\ra,x\rb,y\r", '"text","labels"\r"a","x"\r'])
def test_lines_that_end_in_a_carriage_return_alone_are_told_as_such(content, tmp_path):
    match = r"a.csv, line 1: a carriage return stands alone. If all lines end in one, save the file"
    with pytest.raises(ValueError, match=match) as told:
        read(tmp_path, content)
    assert "universal" not in str(told.value)


@pytest.mark.filterwarnings("ignore:1 of 3 rows have no label")
def test_cells_that_a_row_lacks_at_its_end_are_empty_and_told_once(tmp_path):
    with pytest.warns(UserWarning, match=r"a.csv, line 3: the row has 1 cells, but .* names 3"):
        data = read(tmp_path, "text,labels,id\na,x,1\nb\nc,y\n")
    assert data.texts == ["a", "b", "c"]
    assert data.Y.toarray().tolist() == [[1, 0], [0, 0], [0, 1]]
    with pytest.warns(UserWarning, match="line 3") as told:
        assert list(FileColumn(tmp_path / "a.csv", "labels")) == ["x", "", "y"]
    assert len(told) == 1


@pytest.mark.parametrize("n_rows", [2, 3000])
@pytest.mark.parametrize("wrong", [b"b\xe9d,y\n", b"a,b,c\n"])
def test_rows_before_a_wrong_one_are_given_first(wrong, n_rows, tmp_path):
    rows = "".join(f"text {i},x\n" for i in range(n_rows))
    (tmp_path / "a.csv").write_bytes(b"text,labels\n" + rows.encode() + wrong)
    given = FileColumn(tmp_path / "a.csv", "text").rows()
    assert [next(given) for _ in range(n_rows)] == [f"text {i}" for i in range(n_rows)]
    with pytest.raises(ValueError, match=rf"a\.csv, line {n_rows + 2}: "):
        next(given)


def test_a_quotation_mark_that_takes_in_rows_is_told(tmp_path):
    content = 'text\tlabels\na\tx\n"Oh no\tx\nfine\ty\nscreen of 12"\tz\n'
    with pytest.warns(
        UserWarning, match=r"a.tsv, line 3: a cell that begins with a quotation mark"
    ):
        data = read(tmp_path, content, "a.tsv")
    assert len(data.texts) == 2
    data = read(tmp_path, 'text\tlabels\n"a\tb\n\tc\n\td"\tx\n', "a.tsv")
    assert data.texts == ["a\tb\n\tc\n\td"]  # no row is as long as that
    (tmp_path / "b.tsv").write_text('text\n"a\nb"\n')
    assert list(FileColumn(tmp_path / "b.tsv", "text")) == ["a\nb"]
