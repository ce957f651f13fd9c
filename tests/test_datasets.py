"""Readers, the packaged set and the generator: what they promise, on tiny and on real data."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer

import skxc
from skxc.datasets import load_library_subjects, load_xc_folder, make_extreme_classification

SHARED = Path(__file__).parents[2] / "shared" / "data"
PACKAGED = Path(skxc.__file__).parent / "datasets" / "data"

# Characters at which str.splitlines would split; only \n may.
TEXTS = ["a\rb", "c\u2028d\x85e", "", "f"]
TEST_TEXTS = ["g\x0bh\x0c\u2029", "\r"]
LABEL_TEXTS = ["one\u2028", "two", "thr\ree"]
Y = np.array([[0.5, 0, 1], [0, 0, 0], [0, 0.25, 0], [1, 1, 1]], dtype=np.float32)
Y_TEST = np.array([[0, 1, 0], [0, 0, 0.75]], dtype=np.float32)
MASK = [(3, 2), (0, 1), (3, 2)]
TEST_MASK = [(1, 0)]


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes("".join(line + "\n" for line in lines).encode())


def write_mask(path: Path, pairs: list[tuple[int, int]]) -> None:
    write_lines(path, [f"{row} {label}" for row, label in pairs])


def write_json(path: Path, rows: list[Any]) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(lines.encode()))


def write_npz_layout(folder: Path) -> None:
    for name, lines in ("trn_X", TEXTS), ("tst_X", TEST_TEXTS), ("Y", LABEL_TEXTS):
        write_lines(folder / "raw" / f"{name}.txt", lines)
    sp.save_npz(folder / "Y.trn.npz", sp.csr_matrix(Y))
    sp.save_npz(folder / "Y.tst.npz", sp.csr_matrix(Y_TEST))
    write_mask(folder / "filter_labels_train.txt", MASK)
    write_mask(folder / "filter_labels_test.txt", TEST_MASK)


def write_pairs_layout(folder: Path) -> None:
    for name, lines in ("trn_X", TEXTS), ("tst_X", TEST_TEXTS), ("Y", LABEL_TEXTS):
        write_lines(folder / f"{name}.txt", lines)
    # Out of order, with a zero and with duplicates, the largest neither first nor last.
    write_lines(
        folder / "trn_X_Y.txt",
        ["4 3", "2:1 0:0.25 0:0.5 0:0.125 1:0", "", "  1:0.25 ", "0:1\t1:1 2:1e0"],
    )
    write_lines(folder / "tst_X_Y.txt", ["2 3", "1:1", "2:0.75"])
    write_mask(folder / "trn_filter_labels.txt", MASK)
    write_mask(folder / "tst_filter_labels.txt", TEST_MASK)


def json_rows(texts: list[str], Y: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "uid": f"row{i}",
            "title": text,
            "content": "",
            "target_ind": np.flatnonzero(row)[::-1].tolist(),
            "target_rel": row[row > 0][::-1].tolist(),
        }
        for i, (text, row) in enumerate(zip(texts, Y, strict=True))
    ]


def write_json_layout(folder: Path) -> None:
    write_json(folder / "trn.json.gz", json_rows(TEXTS, Y))
    write_json(folder / "tst.json.gz", json_rows(TEST_TEXTS, Y_TEST))
    write_json(folder / "lbl.json.gz", [{"uid": text, "title": text} for text in LABEL_TEXTS])
    write_mask(folder / "filter_labels_train.txt", MASK)
    write_mask(folder / "filter_labels_test.txt", TEST_MASK)


WRITERS: dict[str, Callable[[Path], None]] = {
    "npz": write_npz_layout,
    "pairs": write_pairs_layout,
    "json": write_json_layout,
}


@pytest.fixture(params=list(WRITERS))
def layout(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def pairs_folder(tmp_path: Path) -> Path:
    write_pairs_layout(tmp_path)
    return tmp_path


@pytest.fixture
def json_folder(tmp_path: Path) -> Path:
    write_json_layout(tmp_path)
    return tmp_path


@pytest.fixture
def npz_folder(tmp_path: Path) -> Path:
    write_npz_layout(tmp_path)
    return tmp_path


def assert_is_label_matrix(matrix: sp.csr_matrix) -> None:
    assert sp.issparse(matrix)
    assert matrix.format == "csr"
    assert matrix.dtype == np.float32
    assert matrix.indices.dtype == np.int32
    assert matrix.has_canonical_format
    assert (matrix.data > 0).all()
    assert (matrix.data <= 1).all()


def assert_raises_at(folder: Path, place: str, what: str, **options: Any) -> None:
    """Loading fails with a message that begins with the place and holds `what`."""
    with pytest.raises(ValueError, match=re.escape(str(folder / place))) as error:
        load_xc_folder(folder, **options)
    assert what in str(error.value)


# ---------------------------------------------------------------- readers: what they return


def test_each_layout_gives_what_was_written(tmp_path: Path, layout: str) -> None:
    WRITERS[layout](tmp_path)
    (tmp_path / "README.md").write_text("A tiny set.", encoding="utf-8")
    data = load_xc_folder(tmp_path)
    assert data.texts == TEXTS
    assert data.test_texts == TEST_TEXTS
    assert data.label_texts == LABEL_TEXTS
    assert data.DESCR == "A tiny set."
    for matrix, expected in (data.Y, Y), (data.Y_test, Y_TEST):
        assert_is_label_matrix(matrix)
        np.testing.assert_array_equal(matrix.toarray(), expected)
    for mask, expected, pairs in (data.exclude, Y, MASK), (data.test_exclude, Y_TEST, TEST_MASK):
        assert mask.format == "csr"
        assert mask.dtype == bool
        assert mask.shape == expected.shape
        assert set(zip(*(i.tolist() for i in mask.nonzero()), strict=True)) == set(pairs)
        assert mask.nnz == len(set(pairs))


def test_folder_can_be_given_as_text(pairs_folder: Path) -> None:
    assert load_xc_folder(str(pairs_folder)).texts == TEXTS


def test_optional_files_may_be_absent(tmp_path: Path, layout: str) -> None:
    WRITERS[layout](tmp_path)
    for path in [*tmp_path.glob("*filter*"), tmp_path / "Y.txt", tmp_path / "raw" / "Y.txt"]:
        path.unlink(missing_ok=True)
    data = load_xc_folder(tmp_path)
    assert data.exclude is None
    assert data.test_exclude is None
    assert data.DESCR == ""
    assert data.label_texts == (LABEL_TEXTS if layout == "json" else None)


def test_an_empty_filter_file_excludes_nothing(pairs_folder: Path) -> None:
    (pairs_folder / "tst_filter_labels.txt").write_bytes(b"")
    mask = load_xc_folder(pairs_folder).test_exclude
    assert mask.shape == Y_TEST.shape
    assert mask.nnz == 0


def test_the_last_line_needs_no_end(pairs_folder: Path) -> None:
    for name in ["trn_X.txt", "trn_X_Y.txt", "trn_filter_labels.txt"]:
        path = pairs_folder / name
        path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    data = load_xc_folder(pairs_folder)
    assert data.texts == TEXTS
    np.testing.assert_array_equal(data.Y.toarray(), Y)


def test_windows_line_ends_and_byte_order_mark_are_no_text(pairs_folder: Path) -> None:
    (pairs_folder / "trn_X.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\rc\r\n\r\nd")
    for name in ["trn_X_Y.txt", "trn_filter_labels.txt"]:
        path = pairs_folder / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    data = load_xc_folder(pairs_folder)
    assert data.texts == ["a", "b\rc", "", "d"]
    np.testing.assert_array_equal(data.Y.toarray(), Y)


def test_a_carriage_return_at_the_end_of_some_lines_is_text(pairs_folder: Path) -> None:
    (pairs_folder / "trn_X.txt").write_bytes(b"a\r\nb\nc\r\nd\n")
    assert load_xc_folder(pairs_folder).texts == ["a\r", "b", "c\r", "d"]


def test_title_and_content_are_joined_by_a_space(json_folder: Path) -> None:
    rows = [
        {"title": "a", "content": "b c", "target_ind": [0]},
        {"title": "", "content": "b", "target_ind": []},
        {"title": "a", "content": "", "target_ind": [1, 2]},
        {"content": "d", "target_ind": [0]},
    ]
    write_json(json_folder / "trn.json.gz", rows)
    data = load_xc_folder(json_folder)
    assert data.texts == ["a b c", "b", "a", "d"]
    np.testing.assert_array_equal(data.Y.toarray(), [[1, 0, 0], [0, 0, 0], [0, 1, 1], [1, 0, 0]])


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64, np.float64])
@pytest.mark.parametrize("convert", [sp.coo_matrix, sp.csc_matrix, sp.csr_array, sp.bsr_matrix])
def test_npz_of_any_format_and_real_dtype_is_read(
    npz_folder: Path, convert: Callable[..., Any], dtype: type
) -> None:
    sp.save_npz(npz_folder / "Y.trn.npz", convert((Y > 0).astype(dtype)))
    matrix = load_xc_folder(npz_folder).Y
    assert isinstance(matrix, sp.csr_matrix)
    assert_is_label_matrix(matrix)
    np.testing.assert_array_equal(matrix.toarray(), Y > 0)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo"])
def test_npz_duplicates_are_merged_and_zeros_dropped(npz_folder: Path, kind: str) -> None:
    rows, labels = np.array([0, 0, 0, 0, 2, 3, 3, 3]), np.array([2, 0, 0, 1, 1, 2, 1, 0])
    values = np.array([1, 0.5, 0.25, 0, 0.25, 1, 1, 1])
    if kind == "coo":
        matrix = sp.coo_matrix((values, (rows, labels)), shape=(4, 3))
    elif kind == "csr":
        matrix = sp.csr_matrix((values, labels, [0, 4, 4, 5, 8]), shape=(4, 3))
    else:
        order = np.argsort(labels, kind="stable")
        matrix = sp.csc_matrix((values[order], rows[order], [0, 3, 6, 8]), shape=(4, 3))
    sp.save_npz(npz_folder / "Y.trn.npz", matrix)
    read = load_xc_folder(npz_folder).Y
    assert_is_label_matrix(read)
    np.testing.assert_array_equal(read.toarray(), Y)


def test_random_duplicates_are_merged_as_by_a_dense_maximum(pairs_folder: Path) -> None:
    rng = np.random.default_rng(0)
    expected = np.zeros((4, 3), dtype=np.float32)
    lines = ["4 3"]
    for row in range(4):
        labels, values = rng.integers(3, size=11), rng.random(11).astype(np.float32)
        np.maximum.at(expected[row], labels, values)
        lines.append(" ".join(f"{i}:{v}" for i, v in zip(labels, values, strict=True)))
    write_lines(pairs_folder / "trn_X_Y.txt", lines)
    np.testing.assert_array_equal(load_xc_folder(pairs_folder).Y.toarray(), expected)


def test_a_test_part_may_be_empty(tmp_path: Path, layout: str) -> None:
    WRITERS[layout](tmp_path)
    (tmp_path / "raw").mkdir(exist_ok=True)
    for folder in (tmp_path, tmp_path / "raw"):
        if (folder / "tst_X.txt").exists():
            (folder / "tst_X.txt").write_bytes(b"")
    if layout == "npz":
        sp.save_npz(tmp_path / "Y.tst.npz", sp.csr_matrix((0, 3)))
    elif layout == "pairs":
        write_lines(tmp_path / "tst_X_Y.txt", ["0 3"])
    else:
        write_json(tmp_path / "tst.json.gz", [])
    for path in tmp_path.glob("*filter*"):
        path.unlink()
    data = load_xc_folder(tmp_path)
    assert data.test_texts == []
    assert data.Y_test.shape == (0, 3)


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0, 0)])
def test_training_data_of_no_rows_or_no_labels_are_refused(
    tmp_path: Path, layout: str, shape: tuple[int, int]
) -> None:
    WRITERS[layout](tmp_path)
    what = f"has {shape[0]} rows and {shape[1]} labels"
    if layout == "npz":
        sp.save_npz(tmp_path / "Y.trn.npz", sp.csr_matrix(shape))
        assert_raises_at(tmp_path, "Y.trn.npz", what)
    elif layout == "pairs":
        write_lines(tmp_path / "trn_X_Y.txt", [f"{shape[0]} {shape[1]}"] + [""] * shape[0])
        assert_raises_at(tmp_path, "trn_X_Y.txt", what)
    elif shape[1]:
        write_json(tmp_path / "trn.json.gz", [])
        assert_raises_at(tmp_path, "trn.json.gz", what)
    else:
        write_json(tmp_path / "lbl.json.gz", [])
        assert_raises_at(tmp_path, "lbl.json.gz", "has no rows")


# ---------------------------------------------------------------- readers: which layout


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(f"{tmp_path / 'no'} is not a folder")):
        load_xc_folder(tmp_path / "no")


def test_a_folder_without_layout_lists_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no complete layout") as error:
        load_xc_folder(tmp_path)
    for file in "raw/trn_X.txt", "Y.tst.npz", "tst_X_Y.txt", "lbl.json.gz":
        assert file in str(error.value)


@pytest.mark.parametrize(
    ("layout", "file"),
    [
        ("npz", "raw/tst_X.txt"),
        ("npz", "Y.trn.npz"),
        ("pairs", "trn_X_Y.txt"),
        ("pairs", "tst_X.txt"),
        ("json", "lbl.json.gz"),
        ("json", "trn.json.gz"),
    ],
)
def test_a_missing_file_is_named(tmp_path: Path, layout: str, file: str) -> None:
    WRITERS[layout](tmp_path)
    (tmp_path / file).unlink()
    message = re.escape(f"lacks {file} of the layout '{layout}'")
    for asked in "auto", layout:
        with pytest.raises(FileNotFoundError, match=message):
            load_xc_folder(tmp_path, layout=asked)


def test_a_layout_that_is_not_there_is_refused(json_folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"lacks raw/trn_X\.txt, Y\.trn\.npz"):
        load_xc_folder(json_folder, layout="npz")


def test_of_several_layouts_one_must_be_named(pairs_folder: Path) -> None:
    write_json_layout(pairs_folder)
    write_json(pairs_folder / "tst.json.gz", json_rows(["of", "json"], Y_TEST))
    found = "'pairs': trn_X.txt, trn_X_Y.txt, tst_X.txt, tst_X_Y.txt; 'json': trn.json.gz"
    with pytest.raises(ValueError, match=re.escape("['pairs', 'json']: pass one")) as error:
        load_xc_folder(pairs_folder)
    assert found in str(error.value)
    assert load_xc_folder(pairs_folder, layout="json").test_texts == ["of", "json"]
    assert load_xc_folder(pairs_folder, layout="pairs").test_texts == TEST_TEXTS


def test_an_unknown_layout_is_refused(pairs_folder: Path) -> None:
    with pytest.raises(ValueError, match=re.escape("Pass one of 'auto', 'npz', 'pairs'")):
        load_xc_folder(pairs_folder, layout="svmlight")


# ---------------------------------------------------------------- readers: the names of files

OTHER_NAMES = [
    ("trn_X.txt", "X.trn.txt"),
    ("trn_X.txt", "trn.raw.txt"),
    ("trn_X.txt", "raw/trn_X.txt"),
    ("trn_X.txt", "raw_data/train.raw.txt"),
    ("trn_X.txt", "train_raw_texts.txt"),
    ("tst_X.txt", "X.tst.txt"),
    ("tst_X.txt", "raw_data/test.raw.txt"),
    ("tst_X.txt", "test_raw_texts.txt"),
    ("trn_X_Y.txt", "raw/trn_lbl_mat.txt"),
    ("Y.txt", "raw/Y.txt"),
    ("Y.txt", "output-items.txt"),
    ("Y.txt", "label_map.txt"),
    ("Y.txt", "lbl.raw.txt"),
    ("Y.txt", "raw_data/label.raw.txt"),
    ("Y.txt", "raw/lbl_X.txt"),
    ("trn_filter_labels.txt", "filter_labels_train.txt"),
    ("tst_filter_labels.txt", "filter_labels_test.txt"),
    ("tst_filter_labels.txt", "filter_labels_text.txt"),
    ("tst_filter_labels.txt", "raw_data/tst_filter_labels.txt"),
]


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize(("name", "other"), OTHER_NAMES)
def test_a_file_is_read_under_each_of_its_names(
    pairs_folder: Path, name: str, other: str, is_compressed: bool
) -> None:
    content = (pairs_folder / name).read_bytes()
    (pairs_folder / name).unlink()
    path = pairs_folder / (other + ".gz" * is_compressed)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(content) if is_compressed else content)
    assert_holds_all(load_xc_folder(pairs_folder))


def assert_holds_all(data: Any) -> None:
    """The data are those that the writers of this file write."""
    assert data.texts == TEXTS
    assert data.test_texts == TEST_TEXTS
    assert data.label_texts == LABEL_TEXTS
    np.testing.assert_array_equal(data.Y.toarray(), Y)
    np.testing.assert_array_equal(data.Y_test.toarray(), Y_TEST)
    for mask, pairs in (data.exclude, MASK), (data.test_exclude, TEST_MASK):
        assert set(zip(*(i.tolist() for i in mask.nonzero()), strict=True)) == set(pairs)


def test_every_layout_reads_the_filters_of_the_others(tmp_path: Path, layout: str) -> None:
    WRITERS[layout](tmp_path)
    for path in tmp_path.glob("*filter*"):
        path.unlink()
    for names in (
        ("trn_filter_labels.txt", "tst_filter_labels.txt"),
        ("filter_labels_train.txt", "filter_labels_test.txt"),
    ):
        for name, pairs in zip(names, (MASK, TEST_MASK), strict=True):
            write_mask(tmp_path / name, pairs)
        assert_holds_all(load_xc_folder(tmp_path))
        for name in names:
            (tmp_path / name).unlink()


@pytest.mark.parametrize(
    ("name", "other", "line"),
    [
        ("trn_X", "raw_data/train.raw", "B00{}->a text"),
        ("tst_X", "raw_data/test.raw", "{}->a text"),
        ("Y", "raw_data/label.raw", "{}->"),
        ("Y", "label_map", "{}\ta text"),
    ],
)
def test_ids_before_texts_are_refused(pairs_folder: Path, name: str, other: str, line: str) -> None:
    path = pairs_folder / f"{name}.txt"
    n_lines = path.read_bytes().count(b"\n")
    path.unlink()
    write_lines(pairs_folder / f"{other}.txt", [line.format(i) for i in range(n_lines)])
    what = f"{line.format(0)!r} is an id and a text"
    assert_raises_at(pairs_folder, f"{other}.txt, line 1", what)


def test_pecos_and_oaks_folders_have_the_layout_npz(npz_folder: Path) -> None:
    for name, other in ("trn_X", "X.trn"), ("tst_X", "X.tst"), ("Y", "output-items"):
        (npz_folder / "raw" / f"{name}.txt").rename(npz_folder / f"{other}.txt")
    write_lines(npz_folder / "Y.trn.txt", ["0,2", "", "1", "0,1,2"])  # the labels again
    assert_holds_all(load_xc_folder(npz_folder))
    for part in "trn", "tst":
        (npz_folder / f"Y.{part}.npz").rename(npz_folder / f"{part}_X_Y.npz")
    (npz_folder / "Y.trn.txt").unlink()
    assert_holds_all(load_xc_folder(npz_folder))


@pytest.mark.parametrize("name", ["{}.json.gz", "{}.raw.json.gz", "{}.json", "raw/{}.json"])
def test_json_files_are_read_under_each_of_their_names(json_folder: Path, name: str) -> None:
    for part in "trn", "tst", "lbl":
        path, other = json_folder / f"{part}.json.gz", json_folder / name.format(part)
        content = path.read_bytes()
        path.unlink()
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(content if name.endswith(".gz") else gzip.decompress(content))
    assert_holds_all(load_xc_folder(json_folder))


@pytest.mark.parametrize("name", ["Yf.txt", "Y.txt", "raw/Y.txt"])
def test_json_rows_without_json_labels_have_a_text_file_of_them(
    json_folder: Path, name: str
) -> None:
    (json_folder / "lbl.json.gz").unlink()
    write_lines(json_folder / name, LABEL_TEXTS)
    assert_holds_all(load_xc_folder(json_folder))


def test_two_files_for_one_role_are_refused_unless_they_are_equal(
    tmp_path: Path, layout: str
) -> None:
    WRITERS[layout](tmp_path)
    write_mask(tmp_path / "tst_filter_labels.txt", TEST_MASK)
    write_mask(tmp_path / "filter_labels_test.txt", TEST_MASK)
    content = (tmp_path / "filter_labels_test.txt").read_bytes()
    (tmp_path / "filter_labels_test.txt.gz").write_bytes(gzip.compress(content))
    assert_holds_all(load_xc_folder(tmp_path))
    write_mask(tmp_path / "tst_filter_labels.txt", [])
    what = f"and {tmp_path / 'tst_filter_labels.txt'} are both the test filter"
    assert_raises_at(tmp_path, "filter_labels_test.txt", what)


@pytest.mark.parametrize(
    "name",
    [
        "filter_labels.txt",
        "Filter_Labels_Test.txt",
        "filter_labels_test.npz",
        "tst_filter_labels.txt.bak",
        "trn_filter.txt",
        "raw/reciprocal_pairs.txt",
        "exclude.txt",
        "val_X.txt",
        "Y.val.npz",
        "dev.json.gz",
        "raw_data/validation.raw.txt",
        "testset.csv",
        "XTrain.txt",
        "labels.txt",
        "LABELS.CSV",
        "y.txt",
        "lbl.txt",
        "Raw/Y.txt",
    ],
)
def test_a_file_that_looks_like_data_and_is_not_read_is_named(
    tmp_path: Path, layout: str, name: str
) -> None:
    WRITERS[layout](tmp_path)
    write_lines(tmp_path / name, ["x"])
    write_lines(tmp_path / "also_a_filter.txt", ["x"])
    with pytest.warns(UserWarning, match="but are not read: ") as warned:
        load_xc_folder(tmp_path)
    [warning] = warned
    assert warning.filename == __file__
    named = str(warning.message).split("not read: ")[1].split(". Rename")[0]
    assert sorted(named.split(", ")) == sorted([name, "also_a_filter.txt"])
    assert "test filter: filter_labels_test.txt, tst_filter_labels.txt" in str(warning.message)


@pytest.mark.parametrize(
    "name",
    [
        *("trn_X_Xf.txt", "tst_X_Xf.txt.gz", "lbl_X_Xf.txt", "X.trn.npz", "Xf.txt", "Yf.txt"),
        *("train.txt", "test.txt", "label_raw_ids.txt", "raw/trn_X.bert-base-uncased_32.dat"),
        *("trn_doc_input_ids.npy", "inv_prop.txt", "README.md", ".trn_X.txt.swp", "train.log"),
        *("latest.txt", "values.txt", "evaluation.json", "recipe.yaml"),
    ],
)
def test_features_and_other_files_are_passed_over_in_silence(
    tmp_path: Path, layout: str, name: str
) -> None:
    WRITERS[layout](tmp_path)
    write_lines(tmp_path / name, ["x"])
    load_xc_folder(tmp_path)


def test_the_repositorys_two_downloads_may_be_in_one_folder(json_folder: Path) -> None:
    for name in "trn_X_Xf", "tst_X_Xf", "lbl_X_Xf", "trn_X_Y", "tst_X_Y", "Xf", "Yf":
        write_lines(json_folder / f"{name}.txt", ["x"])
    assert_holds_all(load_xc_folder(json_folder))
    (json_folder / "trn_X_Xf.txt").unlink()  # then trn_X_Y.txt may be anything
    with pytest.warns(UserWarning, match=r"not read: trn_X_Y.txt\."):
        load_xc_folder(json_folder)


def test_an_incomplete_layout_beside_the_given_one_is_named(pairs_folder: Path) -> None:
    write_json(pairs_folder / "tst.json.gz", [])
    with pytest.warns(UserWarning, match=r"not read: tst.json.gz\."):
        load_xc_folder(pairs_folder, layout="pairs")


def test_a_missing_files_other_names_are_told(npz_folder: Path) -> None:
    (npz_folder / "raw" / "trn_X.txt").rename(npz_folder / "train_texts.txt")
    with pytest.raises(FileNotFoundError, match=r"lacks raw/trn_X\.txt of .*X\.trn\.txt, trn\.raw"):
        load_xc_folder(npz_folder)


# ---------------------------------------------------------------- readers: fields of JSON


@pytest.fixture
def fields_folder(json_folder: Path) -> Path:
    rows = [{"title": f"t{i}", "content": f"c{i}", "target_ind": [i]} for i in range(3)]
    for part in "trn", "tst", "lbl":
        write_json(json_folder / f"{part}.json.gz", rows)
    for path in json_folder.glob("*filter*"):
        path.unlink()
    return json_folder


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (("title", "content"), ["t0 c0", "t1 c1", "t2 c2"]),
        (["content", "title"], ["c0 t0", "c1 t1", "c2 t2"]),
        (["title"], ["t0", "t1", "t2"]),
        ("title", ["t0", "t1", "t2"]),
        ("content", ["c0", "c1", "c2"]),
    ],
)
def test_texts_and_label_texts_are_the_fields_in_their_order(
    fields_folder: Path, fields: Any, expected: list[str]
) -> None:
    data = load_xc_folder(fields_folder, fields=fields)
    assert data.texts == data.test_texts == data.label_texts == expected


@pytest.mark.parametrize(
    ("fields", "error", "what"),
    [
        ("body", ValueError, "fields='body' is unknown. Pass one of 'title', 'content'"),
        (["title", "uid"], ValueError, "fields='uid' is unknown"),
        ("", ValueError, "fields='' is unknown"),
        ([], ValueError, "fields=[] is empty. Pass one or both"),
        (("title", "title"), ValueError, "names a field twice"),
        (None, TypeError, "fields is None. Pass a list, such as ['title']"),
        ({"title"}, TypeError, "fields is {'title'}. Pass a list"),
    ],
)
def test_wrong_fields_are_refused(
    fields_folder: Path, fields: Any, error: type[Exception], what: str
) -> None:
    with pytest.raises(error, match=re.escape(what)):
        load_xc_folder(fields_folder, fields=fields)


@pytest.mark.parametrize("layout", ["npz", "pairs"])
def test_a_layout_without_fields_refuses_them(tmp_path: Path, layout: str) -> None:
    WRITERS[layout](tmp_path)
    what = re.escape(f"has the layout '{layout}', whose lines of text have no fields. Leave")
    with pytest.raises(ValueError, match=what):
        load_xc_folder(tmp_path, fields=["title"])
    assert_holds_all(load_xc_folder(tmp_path, fields=["title", "content"]))


@pytest.mark.parametrize("part", ["trn", "tst", "lbl"])
def test_a_row_without_the_field_is_found(fields_folder: Path, part: str) -> None:
    rows = [{"title": "t", "content": "c", "target_ind": [i]} for i in range(3)]
    del rows[1]["content"]
    write_json(fields_folder / f"{part}.json.gz", rows)
    load_xc_folder(fields_folder, fields="title")
    place = f"{part}.json.gz, line 2"
    assert_raises_at(fields_folder, place, "no string as content", fields=["content"])
    rows[1]["content"] = None
    write_json(fields_folder / f"{part}.json.gz", rows)
    assert_raises_at(fields_folder, place, "(content is null)", fields="content")


def test_null_counts_as_absent(json_folder: Path) -> None:
    rows = [
        {"title": "a", "content": None, "target_ind": [0], "target_rel": None},
        {"title": None, "content": "b", "target_ind": [1]},
    ]
    write_json(json_folder / "trn.json.gz", rows)
    (json_folder / "filter_labels_train.txt").unlink()
    data = load_xc_folder(json_folder)
    assert data.texts == ["a", "b"]
    np.testing.assert_array_equal(data.Y.toarray(), [[1, 0, 0], [0, 1, 0]])


# ---------------------------------------------------------------- readers: odd bytes


def test_a_byte_order_mark_is_no_part_of_any_file(tmp_path: Path, layout: str) -> None:
    WRITERS[layout](tmp_path)
    (tmp_path / "README.md").write_text("A tiny set.")
    mark = b"\xef\xbb\xbf"
    for path in tmp_path.rglob("*"):
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress(mark + gzip.decompress(path.read_bytes())))
        elif path.suffix in (".txt", ".md"):
            path.write_bytes(mark + path.read_bytes())
    data = load_xc_folder(tmp_path)
    assert_holds_all(data)
    assert data.DESCR == "A tiny set."


def test_joined_files_may_each_begin_with_a_byte_order_mark(json_folder: Path) -> None:
    for part in "trn", "lbl":
        path = json_folder / f"{part}.json.gz"
        lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
        path.write_bytes(b"".join(gzip.compress(b"\xef\xbb\xbf" + line) for line in lines))
    pairs = b"\xef\xbb\xbf1 0\n\xef\xbb\xbf1 0\n"
    (json_folder / "filter_labels_test.txt").write_bytes(pairs)
    assert_holds_all(load_xc_folder(json_folder))


@pytest.mark.parametrize("name", ["trn.json.gz", "tst.json.gz", "lbl.json.gz", "tst.json"])
def test_a_json_file_of_no_bytes_is_refused(json_folder: Path, name: str) -> None:
    (json_folder / f"{name.removesuffix('.gz')}.gz").unlink()
    (json_folder / name).write_bytes(b"")
    assert_raises_at(json_folder, name, "has 0 bytes")


@pytest.mark.parametrize("name", ["trn_X.txt", "Y.txt", "tst_filter_labels.txt"])
def test_a_compressed_text_file_of_no_bytes_is_refused(pairs_folder: Path, name: str) -> None:
    (pairs_folder / name).unlink()
    (pairs_folder / f"{name}.gz").write_bytes(b"")
    assert_raises_at(pairs_folder, f"{name}.gz", "has 0 bytes")


@pytest.mark.parametrize("n_labels", [2**31, 10**20])
def test_more_labels_than_can_be_are_refused(
    tmp_path: Path, npz_folder: Path, n_labels: int
) -> None:
    arrays = dict(np.load(npz_folder / "Y.trn.npz"))
    if n_labels == 2**31:
        np.savez(npz_folder / "Y.trn.npz", **{**arrays, "shape": np.array([4, n_labels])})
        assert_raises_at(npz_folder, "Y.trn.npz", "has the shape (4, 2147483648). At most")
    (tmp_path / "pairs").mkdir()
    write_pairs_layout(tmp_path / "pairs")
    write_lines(tmp_path / "pairs" / "trn_X_Y.txt", [f"4 {n_labels}", *[""] * 4])
    place = "trn_X_Y.txt, line 1: the header announces"
    assert_raises_at(tmp_path / "pairs", place, f"announces {n_labels} labels. At most 2147483647")


def test_rows_that_a_matrix_only_announces_take_no_memory(npz_folder: Path) -> None:
    arrays = {"row": [0, 1], "col": [0, 1], "data": [1.0, 1.0], "format": b"coo"}
    np.savez(npz_folder / "Y.trn.npz", **arrays, shape=np.array([10**15, 3]))
    what = f"there are {10**15} rows in {npz_folder / 'Y.trn.npz'}"
    assert_raises_at(npz_folder, "raw/trn_X.txt has 4 lines", what)


@pytest.mark.parametrize("shape", ["(10**15,)", f"({10**15},)", f"({10**30},)", "(-1,)", "(2,"])
def test_an_array_of_an_absurd_size_is_refused(npz_folder: Path, shape: str) -> None:
    path = npz_folder / "Y.trn.npz"
    arrays = dict(np.load(path))
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name in arrays.keys() - {"data"}:
            with archive.open(f"{name}.npy", "w") as file:
                np.save(file, arrays[name])
        archive.writestr("data.npy", b"\x93NUMPY\x01\x00v\x00" + header.encode() + bytes(8))
    assert_raises_at(npz_folder, "Y.trn.npz", "is not a sparse matrix")


# ---------------------------------------------------------------- readers: errors in files


@pytest.mark.parametrize(
    ("name", "n_lines", "of_what"),
    [("trn_X", 3, "4 rows"), ("tst_X", 3, "2 rows"), ("Y", 2, "3 labels")],
)
@pytest.mark.parametrize("layout", ["npz", "pairs"])
def test_too_few_or_many_lines_are_counted(
    tmp_path: Path, layout: str, name: str, n_lines: int, of_what: str
) -> None:
    WRITERS[layout](tmp_path)
    file = f"raw/{name}.txt" if layout == "npz" else f"{name}.txt"
    write_lines(tmp_path / file, ["x"] * n_lines)
    assert_raises_at(tmp_path, f"{file} has {n_lines} lines", f"there are {of_what}")


@pytest.mark.parametrize("layout", ["npz", "pairs"])
def test_train_and_test_must_have_the_same_labels(tmp_path: Path, layout: str) -> None:
    WRITERS[layout](tmp_path)
    if layout == "npz":
        sp.save_npz(tmp_path / "Y.tst.npz", sp.csr_matrix(np.ones((2, 5))))
    else:
        write_lines(tmp_path / "tst_X_Y.txt", ["2 5", "0:1", "4:1"])
    file = "Y.trn.npz" if layout == "npz" else "trn_X_Y.txt"
    assert_raises_at(tmp_path, f"{file} has 3 labels", "has 5")


def test_invalid_utf8_is_found(pairs_folder: Path) -> None:
    # The mark at the beginning must not shift the count.
    (pairs_folder / "trn_X.txt").write_bytes(b"\xef\xbb\xbfa\n\xe4\nc\nd\n")
    assert_raises_at(pairs_folder, "trn_X.txt, line 2", "byte 0xe4 is not UTF-8")


@pytest.mark.parametrize(
    "header", ["", "4", "4 3 2", "4 three", "-4 3", "4 -3", "4.0 3", "0:1 1:1", "4 1_000", "4_0 3"]
)
def test_a_wrong_header_is_shown(pairs_folder: Path, header: str) -> None:
    write_lines(pairs_folder / "trn_X_Y.txt", [header, "0:1", "", "1:1", "2:1"])
    assert_raises_at(pairs_folder, "trn_X_Y.txt, line 1", f"{header!r} is not a header")


def test_an_empty_file_of_pairs_has_no_header(pairs_folder: Path) -> None:
    (pairs_folder / "trn_X_Y.txt").write_bytes(b"")
    assert_raises_at(pairs_folder, "trn_X_Y.txt, line 1", "'' is not a header")


def test_a_header_with_another_number_of_rows_is_refused(pairs_folder: Path) -> None:
    write_lines(pairs_folder / "trn_X_Y.txt", ["5 3", "0:1", "", "1:1", "2:1"])
    assert_raises_at(pairs_folder, "trn_X_Y.txt, line 1", "announces 5 rows, but 4 lines follow")


@pytest.mark.parametrize(
    "line",
    [
        "1",
        "1:",
        ":1",
        "1:1:1",
        "1:1 2",
        "1 2:1:1",
        "a:1",
        "1:b",
        "0.5:1",
        "1;1",
        "1:1,2:1",
        "\xe4:1",
        f"{10**30}:1",
        "1_0:1",
        "1:0_1",
    ],
)
def test_a_malformed_pair_is_shown(pairs_folder: Path, line: str) -> None:
    write_lines(pairs_folder / "trn_X_Y.txt", ["4 3", "0:1", "", line, "2:1"])
    assert_raises_at(pairs_folder, "trn_X_Y.txt, line 4", f"{line!r} is not a row of pairs")


def test_halves_of_a_pair_on_two_lines_are_malformed(pairs_folder: Path) -> None:
    write_lines(pairs_folder / "trn_X_Y.txt", ["4 3", "0:1", "1:", "1 2:1", "2:1"])
    assert_raises_at(pairs_folder, "trn_X_Y.txt, line 3", "'1:' is not a row of pairs")


@pytest.mark.parametrize("label", [-1, 3, 2**40])
def test_a_label_out_of_range_is_found(tmp_path: Path, layout: str, label: int) -> None:
    WRITERS[layout](tmp_path)
    what = f"label {label} is out of range. There are 3 labels"
    if layout == "npz":
        matrix = sp.csr_matrix(Y)
        matrix.indices = matrix.indices.astype(np.int64)
        matrix.indices[2] = label
        sp.save_npz(tmp_path / "Y.trn.npz", matrix)
        assert_raises_at(tmp_path, "Y.trn.npz is not a sparse matrix", "must be")  # SciPy's words
    elif layout == "pairs":
        write_lines(tmp_path / "trn_X_Y.txt", ["4 3", "0:1", "", f"1:1 {label}:1", ""])
        assert_raises_at(tmp_path, "trn_X_Y.txt, line 4", what)
    else:
        rows = json_rows(TEXTS, Y)
        rows[3]["target_ind"][1] = label
        write_json(tmp_path / "trn.json.gz", rows)
        assert_raises_at(tmp_path, "trn.json.gz, line 4", what)


@pytest.mark.parametrize("value", [-0.5, 1.5, 2, np.nan, np.inf, -np.inf, 1e300])
def test_a_value_outside_0_1_is_found(tmp_path: Path, layout: str, value: float) -> None:
    WRITERS[layout](tmp_path)
    if layout == "npz":
        matrix = sp.csr_matrix(Y_TEST.astype(float))
        matrix.data[1] = value
        sp.save_npz(tmp_path / "Y.tst.npz", matrix)
        place = "Y.tst.npz, row 2"
    elif layout == "pairs":
        write_lines(tmp_path / "tst_X_Y.txt", ["2 3", "1:1", f"2:{value}"])
        place = "tst_X_Y.txt, line 3"
    else:
        rows = json_rows(TEST_TEXTS, Y_TEST)
        rows[1]["target_rel"] = [value]  # json writes NaN and Infinity, and reads them
        write_json(tmp_path / "tst.json.gz", rows)
        place = "tst.json.gz, line 2"
    assert_raises_at(tmp_path, place, f"label 2 has the value {float(value)}")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"{", "property name"),
        (b"", "Expecting value"),
        (b'{"title": "a", "target_ind": []} {}', "Extra data"),
        (b"[1]", "'[1]' is not an object"),
        (b'{"title": "\xff", "target_ind": []}', "'utf-8' codec can't decode byte 0xff"),
        (b'{"target_ind": [0]}', "no string as title or content among the keys ['target_ind']"),
        (b'{"title": null, "target_ind": [0]}', "['title', 'target_ind'] (title is null)"),
        (b'{"title": null, "content": null, "target_ind": []}', "content is null)"),
        (b'{"title": 5, "content": "a", "target_ind": []}', "(title is 5, content is"),
        (b'{"title": "a", "target_ind": null}', "target_ind is None, not a list"),
        (b"[" * 100_000, "recursion"),
        (b'{"title": "a"}', "target_ind is None, not a list of whole numbers"),
        (b'{"title": "a", "target_ind": 1}', "target_ind is 1, not a list"),
        (b'{"title": "a", "target_ind": ["1"]}', "target_ind is ['1'], not a list"),
        (b'{"title": "a", "target_ind": [1.0]}', "target_ind is [1.0], not a list"),
        (b'{"title": "a", "target_ind": [true]}', "target_ind is [True], not a list"),
        (b'{"title": "a", "target_ind": [1' + b"0" * 30 + b"]}", "int too"),
        (b'{"title": "a", "target_ind": [1], "target_rel": ["1"]}', "target_rel is ['1']"),
        (b'{"title": "a", "target_ind": [1], "target_rel": 1}', "target_rel is 1"),
        (
            b'{"title": "a", "target_ind": [1], "target_rel": [1, 1]}',
            "target_ind has 1 entries, target_rel has 2",
        ),
    ],
)
def test_a_wrong_json_line_is_found(json_folder: Path, line: bytes, what: str) -> None:
    path = json_folder / "trn.json.gz"
    lines = gzip.decompress(path.read_bytes()).split(b"\n")
    lines[2] = line
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    assert_raises_at(json_folder, "trn.json.gz, line 3", what)


def test_a_wrong_json_label_is_found(json_folder: Path) -> None:
    write_json(json_folder / "lbl.json.gz", [{"title": "a"}, {"uid": "b"}])
    assert_raises_at(json_folder, "lbl.json.gz, line 2", "no string as title or content")


@pytest.mark.parametrize("damage", [lambda c: b"text", lambda c: c[:-12], lambda c: b""])
def test_a_damaged_gzip_file_is_named(json_folder: Path, damage: Callable[[bytes], bytes]) -> None:
    path = json_folder / "lbl.json.gz"
    path.write_bytes(damage(path.read_bytes()))
    if path.read_bytes():
        assert_raises_at(json_folder, "lbl.json.gz", "is not a whole gzip file")
    else:
        assert_raises_at(json_folder, "lbl.json.gz", "has 0 bytes. Download")


def test_a_damaged_npz_file_is_named(npz_folder: Path) -> None:
    path = npz_folder / "Y.trn.npz"
    whole = path.read_bytes()
    arrays = dict(np.load(path))
    for content in b"", b"text", whole[:100], whole[:-30]:
        path.write_bytes(content)
        assert_raises_at(npz_folder, "Y.trn.npz", "is not a sparse matrix")
    np.savez(path, **{**arrays, "indptr": np.array([0, 5, 2, 3, 6])})
    assert_raises_at(npz_folder, "Y.trn.npz", "is not a sparse matrix")
    np.savez(path, Y=Y)
    assert_raises_at(npz_folder, "Y.trn.npz", "is not a sparse matrix")
    with path.open("wb") as file:
        np.save(file, Y)
    assert_raises_at(npz_folder, "Y.trn.npz", "is not a sparse matrix")


def test_pickled_objects_in_an_npz_file_are_not_executed(npz_folder: Path, tmp_path: Path) -> None:
    witness = tmp_path / "executed"

    class Attack:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return (Path.touch, (witness,))

    arrays = dict(np.load(npz_folder / "Y.trn.npz"))
    arrays["data"] = np.array([Attack()] * len(arrays["data"]), dtype=object)
    np.savez(npz_folder / "Y.trn.npz", **arrays)
    assert_raises_at(npz_folder, "Y.trn.npz", "allow_pickle=False")
    assert not witness.exists()


def test_an_npz_file_of_complex_numbers_is_refused(npz_folder: Path) -> None:
    sp.save_npz(npz_folder / "Y.trn.npz", sp.csr_matrix(Y.astype(complex)))
    assert_raises_at(npz_folder, "Y.trn.npz", "dtype complex128")


@pytest.mark.parametrize("line", ["", "1", "1 2 3", "1:2", "a 1", "0.0 1", f"0 {10**30}", "0 0_1"])
def test_a_malformed_filter_pair_is_shown(pairs_folder: Path, line: str) -> None:
    write_lines(pairs_folder / "trn_filter_labels.txt", ["0 0", line])
    assert_raises_at(
        pairs_folder, "trn_filter_labels.txt, line 2", f"{line!r} is not a pair 'row label'"
    )


@pytest.mark.parametrize(("row", "label"), [(4, 0), (-1, 0), (0, 3), (0, -1), (10**18, 0)])
def test_a_filter_pair_out_of_range_is_found(
    tmp_path: Path, layout: str, row: int, label: int
) -> None:
    WRITERS[layout](tmp_path)
    file = "trn_filter_labels.txt" if layout == "pairs" else "filter_labels_train.txt"
    write_mask(tmp_path / file, [(0, 0), (3, 2), (row, label)])
    assert_raises_at(tmp_path, f"{file}, line 3", f"row {row}, label {label} is out of range")


# ---------------------------------------------------------------- readers: the real sets

# Rows, test rows, labels, labels a row (to two decimals) and filter pairs, as each README says.
REAL = {
    "Cooking-736": (12404, 3000, 736, 2.31, None),
    "LF-Finna-3K": (59401, 14633, 3000, 1.74, None),
    "LF-Tate-16K": (36948, 9237, 16184, 6.51, None),
    "LF-Tibkat-79K": (5584, 1396, 78741, 2.11, None),
    "LF-WordNet-106K": (84994, 21248, 106242, 3.07, (84994, 21248)),
}


@pytest.mark.parametrize("name", list(REAL))
def test_real_sets_agree_with_their_readme(name: str) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"{SHARED / name} is not there")
    n_samples, n_test, n_labels, labels_per_row, n_masked = REAL[name]
    data = load_xc_folder(SHARED / name)
    assert len(data.texts) == n_samples
    assert len(data.test_texts) == n_test
    assert len(data.label_texts) == n_labels
    assert data.Y.shape == (n_samples, n_labels)
    assert data.Y_test.shape == (n_test, n_labels)
    for matrix in data.Y, data.Y_test:
        assert_is_label_matrix(matrix)
    n_pairs = data.Y.nnz + data.Y_test.nnz
    assert n_pairs / (n_samples + n_test) == pytest.approx(labels_per_row, abs=0.06)
    masks = None if data.exclude is None else (data.exclude.nnz, data.test_exclude.nnz)
    assert masks == n_masked
    assert data.DESCR.startswith(f"# {name}")


# ---------------------------------------------------------------- the packaged set


def test_library_subjects_are_as_documented() -> None:
    data = load_library_subjects()
    assert len(data.texts) == 9683
    assert len(data.test_texts) == 2270
    assert len(data.label_texts) == len(set(data.label_texts)) == 1500
    assert data.Y.shape == (9683, 1500)
    assert data.Y_test.shape == (2270, 1500)
    assert data.exclude is None
    assert data.test_exclude is None
    for matrix in data.Y, data.Y_test:
        assert_is_label_matrix(matrix)
        assert (matrix.data == 1).all()
        assert np.diff(matrix.indptr).min() == 2
        assert matrix.nnz / matrix.shape[0] == pytest.approx(3.2, abs=0.05)
    counts = np.bincount(data.Y.indices, minlength=1500)
    assert (counts.min(), np.median(counts), counts.max()) == (4, 19, 49)
    assert (np.bincount(data.Y_test.indices, minlength=1500) == 0).sum() == 29
    words = [len(text.split()) for text in data.texts]
    assert np.mean(words) == pytest.approx(9.6, abs=0.05)


def test_library_subjects_share_no_text_between_train_and_test() -> None:
    data = load_library_subjects()
    texts, test_texts = set(data.texts), set(data.test_texts)
    assert len(texts) == len(data.texts)
    assert len(test_texts) == len(data.test_texts)
    assert not texts & test_texts
    folded = [{text.casefold() for text in part} for part in (texts, test_texts)]
    assert len(folded[0] & folded[1]) == 5


def test_library_subjects_carry_their_attribution() -> None:
    for text in load_library_subjects().DESCR, (PACKAGED / "LICENSE.md").read_text("utf-8"):
        flat = " ".join(text.split())
        for words in "National Library of Finland", "CC BY 4.0", "CC0 1.0", "Ontology YSO":
            assert words in flat


def test_library_subjects_are_small_and_reproducible_files() -> None:
    paths = list(PACKAGED.iterdir())
    assert sum(path.stat().st_size for path in paths) < 600_000
    packed = [path for path in paths if path.suffix == ".gz"]
    assert len(packed) == 3
    for path in packed:
        assert path.read_bytes()[4:8] == bytes(4)  # gzip's modification time


def test_library_subjects_can_be_learnt() -> None:
    """The nearest label text, and the nearest training text, do as well as the README says."""
    data = load_library_subjects()
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    X = vectorizer.fit_transform(data.texts)
    X_test = vectorizer.transform(data.test_texts)
    rows = np.arange(len(data.test_texts))
    nearest_label = (X_test @ vectorizer.transform(data.label_texts).T).toarray().argmax(axis=1)
    assert np.asarray(data.Y_test[rows, nearest_label]).mean() == pytest.approx(0.300, abs=0.01)
    nearest = data.Y[(X_test @ X.T).toarray().argmax(axis=1)]
    first = nearest.indices[nearest.indptr[:-1]]
    assert np.asarray(data.Y_test[rows, first]).mean() == pytest.approx(0.140, abs=0.01)


# ---------------------------------------------------------------- the generator


def read_words(data: Any) -> sp.csr_matrix:
    """Labels of the words in each text, by looking them up in the label texts."""
    owner = {word: i for i, text in enumerate(data.label_texts) for word in text.split()}
    pairs = {
        (row, owner[word])
        for row, text in enumerate(data.texts)
        for word in text.split()
        if word in owner
    }
    rows, labels = np.array(sorted(pairs)).T
    return sp.csr_matrix((np.ones(len(rows)), (rows, labels)), shape=data.Y.shape)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"n_samples": 1, "n_labels": 1},
        {"n_samples": 7, "n_labels": 5000, "random_state": 3},
        {"n_labels": 3, "labels_per_text": 9.5},
        {"words_per_text": 1, "words_per_label": 1, "labels_per_text": 4},
        {"n_background_words": 0, "words_per_label": 5},
        {"zipf_exponent": 0, "n_labels": 1000},
        {"zipf_exponent": 2.5, "labels_per_text": 1},
    ],
)
def test_a_reader_of_the_words_recovers_every_label(parameters: dict[str, Any]) -> None:
    data = make_extreme_classification(**{"random_state": 0, **parameters})
    assert_is_label_matrix(data.Y)
    assert len(data.texts) == data.Y.shape[0]
    assert len(data.label_texts) == data.Y.shape[1]
    np.testing.assert_array_equal(data.Y.toarray(), read_words(data).toarray())
    np.testing.assert_array_equal(data.Y.toarray(), data.Y_clean.toarray())
    assert np.diff(data.Y.indptr).min() >= 1


def test_flips_change_y_but_not_the_words() -> None:
    data = make_extreme_classification(500, 40, flip_y=0.3, random_state=0)
    np.testing.assert_array_equal(data.Y_clean.toarray(), read_words(data).toarray())
    assert abs(data.Y - data.Y_clean).nnz > 0
    assert np.diff(data.Y.indptr).min() >= 1
    assert_is_label_matrix(data.Y)


def test_flipped_labels_have_the_documented_probabilities() -> None:
    flip_y = 0.3
    data = make_extreme_classification(
        50_000, 6, labels_per_text=2.5, words_per_text=3, flip_y=flip_y, random_state=0
    )
    Y, Z = data.Y.toarray(), data.Y_clean.toarray()
    n_clean = Z.sum(axis=1)
    p = data.label_proba
    for c in 1, 2, 3:
        for is_clean in False, True:
            chosen = (n_clean == c)[:, None] & (is_clean == (Z > 0))
            observed = np.where(chosen, Y, 0).sum(axis=0) / chosen.sum(axis=0)
            if is_clean:
                expected = 1 - flip_y * (1 - p) * (1 - flip_y * p) ** (c - 1)
            else:
                expected = 1 - (1 - flip_y * p) ** c
            deviation = np.sqrt(expected * (1 - expected) / chosen.sum(axis=0))
            assert (np.abs(observed - expected) < 4.5 * deviation).all()


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_labels_have_zipf_frequencies(exponent: float) -> None:
    data = make_extreme_classification(
        20_000, 50, labels_per_text=1, zipf_exponent=exponent, words_per_text=2, random_state=0
    )
    expected = np.arange(1, 51) ** -exponent
    expected /= expected.sum()
    np.testing.assert_allclose(np.sort(data.label_proba)[::-1], expected)
    observed = np.bincount(data.Y.indices, minlength=50) / 20_000
    deviation = np.sqrt(data.label_proba / 20_000)
    assert (np.abs(observed - data.label_proba) < 4.5 * deviation).all()


def test_a_label_number_says_nothing_about_its_frequency() -> None:
    proba = make_extreme_classification(1, 10_000, random_state=0).label_proba
    assert abs(np.corrcoef(np.arange(10_000), np.argsort(np.argsort(proba)))[0, 1]) < 0.04


def test_texts_have_the_words_asked_for() -> None:
    data = make_extreme_classification(
        2000, 500, labels_per_text=3, words_per_text=4, words_per_label=3, random_state=0
    )
    n_words = np.array([len(text.split(" ")) for text in data.texts])
    np.testing.assert_array_equal(n_words, np.maximum(4, np.diff(data.Y.indptr)))
    label_words = [text.split(" ") for text in data.label_texts]
    assert all(len(words) == 3 for words in label_words)
    assert len({word for words in label_words for word in words}) == 1500
    # Each of a label's words is used, and drawn labels are about as many as asked for.
    assert len({word for text in data.texts for word in text.split()} & set(label_words[0])) > 0
    assert data.Y.nnz / 2000 == pytest.approx(3, abs=0.3)


def test_words_survive_a_tfidf_vectorizer() -> None:
    data = make_extreme_classification(300, 3000, random_state=0)
    vectorizer = TfidfVectorizer(stop_words="english").fit([*data.label_texts, *data.texts])
    words = {word for text in [*data.label_texts, *data.texts] for word in text.split()}
    assert words == set(vectorizer.vocabulary_)
    assert not words & ENGLISH_STOP_WORDS


def test_the_same_seed_gives_the_same_data() -> None:
    first, second, other = (
        make_extreme_classification(50, 20, flip_y=0.2, random_state=seed)
        for seed in (7, np.random.RandomState(7), 8)
    )
    assert first.texts == second.texts
    assert first.label_texts == second.label_texts
    np.testing.assert_array_equal(first.Y.toarray(), second.Y.toarray())
    np.testing.assert_array_equal(first.Y_clean.toarray(), second.Y_clean.toarray())
    assert first.texts != other.texts


def test_the_generator_leaves_the_global_random_state() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    make_extreme_classification(5, 5, random_state=0)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_samples": 0},
        {"n_labels": 0},
        {"labels_per_text": 0.5},
        {"words_per_text": 0},
        {"words_per_label": 0},
        {"n_background_words": -1},
        {"zipf_exponent": -1},
        {"flip_y": 1.5},
        {"flip_y": -0.1},
    ],
)
def test_generator_parameters_out_of_range_are_refused(parameters: dict[str, Any]) -> None:
    [(name, value)] = parameters.items()
    with pytest.raises(ValueError, match=rf"^{name} == {re.escape(str(value))}, must be"):
        make_extreme_classification(**parameters)


def test_generator_parameters_of_a_wrong_kind_are_refused() -> None:
    with pytest.raises(TypeError, match="n_samples must be an instance of"):
        make_extreme_classification(10.0)
