"""The benchmark against the peers: every peer runs, nothing is chosen on test rows, it resumes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import f1_score
from sklearn.utils import Bunch

from skxc.datasets import make_extreme_classification

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import against_peers
from _peers import NearestNeighbours, OneVsRest, Resources, Rows
from _peers_methods import METHODS
from _peers_report import markdown, medians_by_set
from _peers_run import Job, Run, measure, write_rows

N_TEST = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with a text without words, a row without labels, an unseen label and filter files."""
    data = make_extreme_classification(360, 20, random_state=0)
    path: Path = tmp_path_factory.mktemp("sets") / "tiny"
    path.mkdir()
    Y = data.Y.tolil()
    Y[0] = 0
    Y[: 360 - N_TEST, 19] = 0
    texts = list(data.texts)
    texts[1] = "!"
    texts[-1] = "nobody knows these words"
    _write_lines(path / "Y.txt", data.label_texts)
    for name, rows in (("trn", slice(0, 360 - N_TEST)), ("tst", slice(360 - N_TEST, 360))):
        _write_lines(path / f"{name}_X.txt", texts[rows])
        part = Y[rows].tocsr()
        lines = [" ".join(f"{label}:1" for label in row.indices) for row in part]
        _write_lines(path / f"{name}_X_Y.txt", [f"{part.shape[0]} 20", *lines])
        pairs = [f"{row} {label}" for row, label in ((0, 3), (2, 4), (2, 5))]
        _write_lines(path / f"{name}_filter_labels.txt", pairs)
    return path


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _benchmark(folder: Path, results: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run the script on one set; the lines that it has written."""
    common = [str(folder), "--no-packaged", "--results", str(results)]
    against_peers.main([*common, *arguments])
    lines = (results / "against_peers.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


# one of our three: they have one wrapper
@pytest.mark.parametrize(
    "method", ["ReneeClassifier", *(name for name, entry in METHODS.items() if not entry.is_ours)]
)
def test_every_method_fits_predicts_and_saves_a_tiny_set(method, folder, tmp_path):
    entry = METHODS[method]
    reason = against_peers.reason_to_skip(entry, against_peers.load(str(folder))[1], None)
    if reason is not None:
        pytest.skip(f"{method} {reason}")
    [row] = _benchmark(folder, tmp_path, "--repeats", "1", "--methods", method)
    assert row["status"] == "ok", row
    assert row["P@1"] > 30  # 20 labels; each text holds a word of each of its labels
    assert row["disk_mib"] > 0
    assert row["fit_cpu_s"] > 0
    assert row["versions"]["numpy"] == np.__version__
    assert f"| {method} |" in (tmp_path / "against_peers.md").read_text(encoding="utf-8")
    assert (tmp_path / "against_peers.png").stat().st_size > 0


def test_held_out_rows_are_training_rows_and_no_test_row_is_looked_at():
    class Blind(Bunch):
        def __getattr__(self, name: str) -> Any:
            assert "test" not in name
            return super().__getattr__(name)

    Y = sp.csr_matrix(np.eye(50, 7, dtype=np.float32))
    texts = [f"text {i}" for i in range(50)]
    data = Blind(texts=texts, Y=Y, exclude=Y > 2, label_texts=None, test_texts=["x"], Y_test=Y[:1])
    split = against_peers.held_out(data)
    assert len(split.test_texts) == 5
    assert sorted(split.texts + split.test_texts) == sorted(texts)
    for part, labels in ((split.texts, split.Y), (split.test_texts, split.Y_test)):
        rows = [texts.index(text) for text in part]
        np.testing.assert_array_equal(labels.toarray(), Y[rows].toarray())


def test_a_cut_set_has_the_most_frequent_training_labels_and_the_rows_of_these():
    Y = sp.csr_matrix([[1, 0, 0, 1], [0, 0, 1, 1], [0, 1, 0, 0], [1, 0, 0, 0]])
    Y_test = sp.csr_matrix([[0, 1, 1, 0], [0, 0, 0, 1]])
    exclude = sp.csr_matrix((4, 4)) + sp.csr_matrix(([1], ([3], [3])), shape=(4, 4))
    data = Bunch(
        texts=list("abcd"), Y=Y, test_texts=list("ef"), Y_test=Y_test,
        label_texts=["one", "two", "three", "four"], exclude=exclude, test_exclude=None,
    )  # fmt: skip
    name, cut = against_peers.most_frequent("set", data, 2)
    assert (name, cut.label_texts) == ("set, 2 labels", ["one", "four"])
    assert (cut.texts, cut.test_texts) == (["a", "b", "d"], ["f"])
    assert cut.Y.toarray().tolist() == [[1, 1], [0, 1], [1, 0]]
    assert cut.Y_test.toarray().tolist() == [[0, 1]]
    assert cut.exclude.toarray().tolist() == [[0, 0], [0, 0], [0, 1]]
    assert cut.test_exclude is None


def test_a_method_never_gets_the_labels_of_the_test_rows(folder, tmp_path):
    data = against_peers.load(str(folder))[1]
    write_rows(tmp_path, data)
    assert {path.name for path in tmp_path.iterdir()} == {
        "texts.json",
        "label_texts.json",
        "test_texts.json",
        "Y.npz",
        "exclude.npz",
    }
    np.testing.assert_array_equal(sp.load_npz(tmp_path / "Y.npz").toarray(), data.Y.toarray())


def test_choosing_tries_every_setting_of_the_grid(folder, capsys):
    method = "scikit-learn one-vs-rest"
    against_peers.main([str(folder), "--no-packaged", "--choose", "--methods", method])
    said = capsys.readouterr().out
    assert said.count('| {"C"') == len(METHODS[method].grid["C"])
    assert 'best: {"C": ' in said


def test_a_run_goes_on_where_it_stopped_and_measures_anew_when_asked(folder, tmp_path):
    method = ("--methods", "TF-IDF nearest neighbours")
    assert [r["repeat"] for r in _benchmark(folder, tmp_path, *method, "--repeats", "1")] == [0]
    assert [r["repeat"] for r in _benchmark(folder, tmp_path, *method, "--repeats", "2")] == [0, 1]
    rows = _benchmark(folder, tmp_path, *method, "--repeats", "1", "--again")
    assert [row["repeat"] for row in rows] == [0, 1, 0]


def test_a_method_that_fails_has_a_row_that_says_why_and_stops_no_other(folder, tmp_path):
    knn = "TF-IDF nearest neighbours"
    _benchmark(folder, tmp_path, "--methods", knn, "--repeats", "1")
    rows = _benchmark(
        folder,
        tmp_path,
        "--methods",
        knn,
        f"{knn}, label texts",
        "--repeats",
        "2",
        "--timeout",
        "0",
    )
    assert [row["status"] for row in rows] == ["ok", "failed", "failed", "failed"]
    assert rows[1]["reason"] == "not done after 0 s"
    page = (tmp_path / "against_peers.md").read_text(encoding="utf-8")
    assert f"- {knn}, label texts: failed, not done after 0 s" in page


def test_what_a_method_said_last_is_the_reason_of_its_failure(folder, tmp_path):
    write_rows(tmp_path, against_peers.load(str(folder))[1])
    job = Job("TF-IDF nearest neighbours", {"neighbours": 3, "power": "high"}, 0, 1, 5)
    run = measure(tmp_path, job, sys.executable, 60)
    assert run.scores is None
    assert run.failure.startswith("TypeError: ufunc 'power'")


def test_excluded_pairs_leave_before_the_cut_so_more_labels_are_asked_for():
    Y = sp.csr_matrix([[0, 0, 1.0, 0], [0, 1, 0, 0]])
    exclude = sp.csr_matrix(np.array([[1, 1, 0, 0], [0, 0, 0, 0]], dtype=bool))
    data = Bunch(Y=Y, Y_test=Y, test_exclude=exclude)
    assert against_peers.labels_asked(data) == 10 + 2
    scores = sp.csr_matrix([[9.0, 8, 7, 6], [6, 9, 8, 7]])
    run = Run(scores, None, {}, None)
    assert against_peers.accuracies(data, run)["P@1"] == 100
    assert against_peers.accuracies(Bunch(**data | {"test_exclude": None}), run)["P@1"] == 50


def test_f1_is_scikit_learns_without_the_excluded_pairs():
    rng = np.random.default_rng(0)
    true, decided, exclude = rng.random((3, 30, 7)) < 0.3
    true[:, 3] = False  # no test text has it
    data = Bunch(Y_test=sp.csr_matrix(true), test_exclude=sp.csr_matrix(exclude))
    found = against_peers.f1_scores(data, sp.csr_matrix(decided))
    true, decided = true & ~exclude, decided & ~exclude
    micro = f1_score(true, decided, average="micro")
    macro = f1_score(true, decided, average="macro", labels=[0, 1, 2, 4, 5, 6])
    assert found["micro-F1"] == pytest.approx(100 * micro, abs=1e-3)
    assert found["macro-F1"] == pytest.approx(100 * macro, abs=1e-3)


def test_one_vs_rest_decides_as_scikit_learn_predicts(folder, tmp_path):
    data = against_peers.load(str(folder))[1]
    method = OneVsRest(Resources(tmp_path, 1, 0))
    method.fit(Rows(data.texts, data.Y, None, None))
    expected = method.model.predict(method.vectorizer.transform(data.test_texts))
    decided = method.decide(data.test_texts)[:, method.seen]
    np.testing.assert_array_equal(decided.toarray(), expected.toarray())


def test_nearest_neighbours_equal_the_dense_computation(tmp_path):
    data = make_extreme_classification(80, 9, random_state=1)
    new = make_extreme_classification(20, 9, random_state=1).texts
    rows = Rows(data.texts, data.Y, None, data.label_texts)
    model = NearestNeighbours(
        Resources(tmp_path, 1, 0), neighbours=7, power=2, label_weight=3, min_df=1
    )
    model.fit(rows)
    tfidf = TfidfVectorizer(sublinear_tf=True).fit(data.texts)
    X, Z, Q = (tfidf.transform(texts).toarray() for texts in (data.texts, data.label_texts, new))
    similar = Q @ X.T
    places = np.argsort(-similar, axis=1)[:, 7:]
    np.put_along_axis(similar, places, 0, axis=1)
    expected = similar**2 @ data.Y.toarray() + 3 * Q @ Z.T
    np.testing.assert_allclose(model.predict(new, 9).toarray(), expected, rtol=1e-5, atol=1e-6)
    best = model.predict(new, 2).toarray()
    assert (np.count_nonzero(best, axis=1) <= 2).all()
    np.testing.assert_array_equal(best.argmax(1), expected.argmax(1))


def _row(method: str, repeat: int, p1: float, **changes: Any) -> dict[str, Any]:
    """A line as the script writes it."""
    row = {
        "set": "some set",
        "labels": 1000,
        "train_rows": 10,
        "test_rows": 5,
        "method": method,
        "short": METHODS[method].short,
        "is_ours": METHODS[method].is_ours,
        "parameters": {},
        "repeat": repeat,
        "threads": 1,
        "machine": "a machine",
        "date": "2000-01-01",
        "status": "ok",
        **dict.fromkeys(("P@3", "P@5", "nDCG@5", "PSP@1", "PSP@5"), 20.0),
        "P@1": p1,
        **dict.fromkeys(("fit_s", "fit_cpu_s", "predict_s", "predict_cpu_s"), 1.5),
        **dict.fromkeys(("rows_per_s", "peak_mib", "disk_mib"), 7.0),
        "versions": {"numpy": "2.0"},
    }
    return row | changes


def test_the_page_shows_medians_bold_bests_and_what_is_missing():
    skipped = {"status": "skipped", "reason": "is not installed: pip install napkinxc"}
    rows = [
        *(_row("UniDEC", i, p1) for i, p1 in enumerate((10.0, 50.0, 40.0))),
        *(_row("omikuji Bonsai", i, p1) for i, p1 in enumerate((30.0, 35.0, 60.0))),
        _row("napkinXC PLT", 0, 0.0, **skipped),
    ]
    assert medians_by_set(rows)["some set"]["UniDEC"]["P@1"] == 40
    page = markdown(rows)
    assert "| UniDEC | **40.00** | **20.00** |" in page
    assert "| omikuji Bonsai | 35.00 | **20.00** |" in page
    assert "| some set | UniDEC | **40.00** / 35.00 (Bonsai) |" in page
    assert "- napkinXC PLT: skipped, is not installed: pip install napkinxc" in page


def test_the_median_is_over_runs_of_one_setting():
    old = [_row("UniDEC", i, 90.0, parameters={"epochs": 1}) for i in range(3)]
    rows = [*old, _row("UniDEC", 0, 10.0)]
    assert medians_by_set(rows)["some set"]["UniDEC"]["P@1"] == 10


def test_unknown_methods_and_empty_results_are_refused(tmp_path):
    with pytest.raises(SystemExit, match="no methods"):
        against_peers.main(["--methods", "Bonsai", "--results", str(tmp_path)])
    with pytest.raises(SystemExit, match="holds no result"):
        against_peers.main(["--render", "--results", str(tmp_path)])
