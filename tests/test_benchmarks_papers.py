"""The benchmark of the papers' findings: its measures and intervals are right, it resumes."""

from __future__ import annotations

import shutil
import sys
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import compress

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.utils import Bunch

from skxc.datasets import make_extreme_classification
from skxc.metrics import propensities, ranking_metrics

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import papers
from _papers_report import SetResults, report
from _papers_variants import FINDINGS, VARIANTS
from _true_ranks import Difference, text_values, true_ranks


@pytest.fixture(scope="module")
def data() -> Bunch:
    """Labels of 40 texts, one text without any, and scores with excluded pairs."""
    rng = np.random.default_rng(0)
    is_true = rng.random((40, 30)) < 0.1
    is_true[3] = False
    Y = sp.csr_array(is_true, dtype=np.float32)
    exclude = sp.csr_array(rng.random(Y.shape) < 0.05, dtype=np.float32)
    exclude = sp.csr_array(exclude - exclude.multiply(Y))  # pairs that are no labels
    return Bunch(Y_test=Y, test_exclude=exclude, test_texts=["a"] * 40, scores=rng.random(Y.shape))


def ranks(data: Bunch) -> np.ndarray:
    def predict_top_k(texts: Any, k: int, exclude: Any) -> tuple[np.ndarray, np.ndarray]:
        scores = np.where(exclude.toarray() > 0, -np.inf, data.scores)
        return np.argsort(-scores, axis=1)[:, :k], -np.sort(-scores, axis=1)[:, :k]

    return true_ranks(SimpleNamespace(predict_top_k=predict_top_k), data)


@pytest.mark.parametrize("measure", ["P@1", "P@5", "R@5", "R@100", "PSP@1", "PSP@5"])
def test_measures_from_the_ranks_are_those_of_the_metrics(data: Bunch, measure: str) -> None:
    weights = propensities(data.Y_test)
    values = text_values(ranks(data), data.Y_test, 1 / weights, measure)
    ks = (1, 5, 100)
    wanted = ranking_metrics(
        data.Y_test, data.scores, ks, propensities=weights, exclude=data.test_exclude
    )
    assert values.mean() == pytest.approx(100 * wanted[measure])
    assert len(values) == 40


def test_an_interval_is_as_wide_as_that_of_a_mean() -> None:
    rng = np.random.default_rng(1)
    better = {seed: rng.normal(1.0, 4.0, 2000) for seed in range(3)}
    found = Difference.of(better, {seed: np.zeros(2000) for seed in range(4)})
    assert found.n_seeds == 3
    assert found.mean == pytest.approx(np.mean([*better.values()]))
    standard_error = 4.0 / np.sqrt(3 * 2000)
    width = (found.high - found.low) / 2
    assert 1.5 * standard_error < width < 4 * standard_error  # of the seeds, too
    assert found.verdict == "holds"
    none = dict.fromkeys(range(3), np.zeros(2000))
    assert Difference.of(none, better).verdict == "does not"
    assert Difference.of(better, none, margin=2.0).verdict == "does not"
    assert Difference.of({0: better[0]}, none).verdict == "one seed"
    noise = {seed: rng.normal(0, 4, 2000) for seed in range(3)}
    assert Difference.of(noise, none).verdict == "undecided"


def test_what_is_not_sampled_is_excluded() -> None:
    Y = sp.csr_array(np.eye(6, 20) + np.eye(6, 20, 3), dtype=np.float32)
    exclude = papers.all_but_sampled(Y, 4, seed=0).toarray()
    assert not (exclude * Y.toarray()).any()
    assert (exclude == 0).sum(1).tolist() == [6] * 6  # two of its own, four others


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set of 60 training and 30 test texts."""
    made = make_extreme_classification(90, 12, random_state=0)
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name, rows in (("trn", slice(0, 60)), ("tst", slice(60, 90))):
        (folder / f"{name}_X.txt").write_text("\n".join(made.texts[rows]) + "\n")
        sp.save_npz(folder / f"Y.{name}.npz", sp.csr_matrix(made.Y[rows]))
    (folder / "Y.txt").write_text("\n".join(made.label_texts) + "\n")
    return folder


def test_a_run_goes_on_where_it_broke_off(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[str] = []

    def in_this_process(function: Any, job: papers.Job) -> Any:
        fitted.append(job.variant)
        return function(job)

    monkeypatch.setattr(papers, "RESULTS", tmp_path / "papers.jsonl")
    monkeypatch.setattr(papers, "in_a_process", in_this_process)
    arguments = [str(folder), "--encoder", "bag", "--seeds", "1", "--texts", "50",
                 "--work", str(tmp_path / "work"), "--only", "UniDEC", "Renee, warm"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["papers.py", *arguments])
    papers.main()
    assert fitted == ["DEXML, in-batch", "UniDEC", "Renee, warm"]  # the start is a fit of its own
    lines = papers.RESULTS.read_text().splitlines()
    table = papers.RESULTS.with_suffix(".md").read_text()
    assert "## tiny, bag: 50 training texts" in table
    assert table.count("| 1 |\n") == 3
    papers.main()
    assert len(fitted) == 3
    assert papers.RESULTS.read_text().splitlines() == lines
    papers.RESULTS.write_text("\n".join(lines[:-1]) + "\n")  # as if killed in the last fit
    papers.main()
    assert fitted[3:] == ["Renee, warm"]
    shutil.rmtree(tmp_path / "work")  # another machine: it has the results alone
    papers.main()
    assert len(fitted) == 4
    papers.RESULTS.write_text("\n".join(lines[:-1]) + "\n")
    papers.main()
    assert fitted[4:] == ["DEXML, in-batch", "Renee, warm"]


def test_findings_are_of_variants_that_there_are(data: Bunch) -> None:
    for finding in FINDINGS:
        assert {finding.better, finding.worse} <= set(VARIANTS)
    packed = b64encode(compress(ranks(data).tobytes())).decode()
    rows = [
        {"key": ["a set", "bag", name, 0, 9, 40, {}, False], "fit CPU s": 1.0, "MiB": 2,
         "ranks": packed, **dict.fromkeys(papers.MEASURES, 3.0)}
        for name in VARIANTS
    ]  # fmt: skip
    results = SetResults(rows, data.Y_test, {0: 1 / propensities(data.Y_test)})
    text = report({"a set": results}, ["a machine"])
    for finding in FINDINGS:
        assert f"| {finding.claim} |" in text
    assert text.count("+0.00 [+0.00, +0.00]") == sum(len(f.measures) for f in FINDINGS)
    assert "| Renee, warm | 3.00 | 3.00 | 3.00 | 3.00 | 3.00 | 3.00 | 2 | 2 | 1 |" in text
