"""The scripts of `examples/cluster`: two workers give what one process gives, and leave nothing."""

from __future__ import annotations

import importlib.util
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import joblib
import numpy as np
import psutil
import pytest
from sklearn.base import clone

import skxc
from skxc.datasets import load_library_subjects

SCRIPTS = Path(__file__).parents[1] / "examples" / "cluster"
SECONDS = 240  # by then, a script hangs; alone, it takes 10 to 30
NEEDS = {"dask": ["dask", "distributed"], "ray": ["ray"], "spark": ["pyspark"]}


def engine(name: str):
    """A parameter, skipped in words where the engine is not installed."""
    lacking = [module for module in NEEDS[name] if importlib.util.find_spec(module) is None]
    if name == "spark" and not ("JAVA_HOME" in os.environ or shutil.which("java")):
        lacking.append("Java")
    skip = pytest.mark.skipif(bool(lacking), reason=f"not installed: {', '.join(lacking)}")
    return pytest.param(name, marks=skip)


@pytest.fixture
def run(tmp_path):
    """Runs a script, and checks that it leaves no process and no temporary file."""
    with tempfile.TemporaryDirectory() as folder:  # Ray's sockets need a short path

        def run(script: str, *argv: object) -> str:
            mark = uuid.uuid4().hex  # all processes that the script starts have it
            env = os.environ | {
                "SKXC_TEST": mark,
                "TMPDIR": folder,
                "OMP_NUM_THREADS": "1",
                "RAY_AUTH_TOKEN": mark,  # else Ray writes one to the home folder
                "RAY_USAGE_STATS_ENABLED": "0",
            }
            command = [sys.executable, SCRIPTS / script, *argv]
            try:
                result = subprocess.run(
                    command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS
                )
            finally:
                alive = psutil.wait_procs(started_with(mark), 20)[1]
                for process in alive:
                    process.kill()
            assert result.returncode == 0, result.stderr
            assert alive == []
            assert os.listdir(folder) == []
            return result.stdout

        yield run


def started_with(mark: str) -> list[psutil.Process]:
    """The processes that have it in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("SKXC_TEST") == mark:
                found.append(process)
        except psutil.Error:  # it has ended, or is another user's
            continue
    return found


@pytest.mark.parametrize("name", [engine("dask"), engine("ray")])
def test_a_search_by_two_workers_gives_the_results_of_a_serial_one(name, run, tmp_path):
    told = run(f"search_{name}.py", tmp_path / "search.joblib")
    assert told.startswith("Workers: 2\n")
    search = joblib.load(tmp_path / "search.joblib")

    data = load_library_subjects()
    serial = clone(search).fit(data.texts[:2000], data.Y[:2000])
    score = "mean_test_score"
    np.testing.assert_array_equal(search.cv_results_[score], serial.cv_results_[score])
    assert len(set(serial.cv_results_[score])) > 1
    assert search.best_params_ == serial.best_params_
    assert str(serial.best_params_) in told


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The scripts' own example, made in this process: its model's and its texts' folder."""
    script = runpy.run_path(str(SCRIPTS / "small_example.py"))
    return script["small_example"](str(tmp_path_factory.mktemp("example")))[:2]


@pytest.mark.parametrize("name", [engine("ray"), engine("dask"), engine("spark")])
def test_predictions_by_two_workers_are_those_of_this_process(name, run, example, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "labels"
    told = run(f"predict_{name}.py", *example, out)
    assert told.endswith(f"Labels of 2,000 texts are in {out}\n")

    model, texts = example
    rows = parquet.read_table(texts).sort_by("id")
    labels, scores = skxc.load(model).predict_top_k(rows["text"].to_pylist(), k=5)
    written = parquet.read_table(out).sort_by("id")
    assert written["id"].equals(rows["id"])
    np.testing.assert_array_equal(written["labels"].to_pylist(), labels)
    # a score's last bits may depend on the batch
    np.testing.assert_allclose(written["scores"].to_pylist(), scores, rtol=1e-5)
