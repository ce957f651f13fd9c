"""Models that were kept are read: of every format, and of every release, one an estimator."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

import skxc
from skxc._persistence._reading import FORMAT_VERSION

KEPT = Path(__file__).parent / "saved_models"
FORMATS = sorted(KEPT.glob("format_*"))
MODELS = sorted(config.parent for config in KEPT.glob("format_*/*/config.json"))


def test_there_are_three_models_at_least_of_every_format():
    names = {folder.name.removeprefix("format_").split("-")[0] for folder in FORMATS}
    assert names == {str(number) for number in range(1, FORMAT_VERSION + 1)}
    for folder in FORMATS:
        assert {"renee", "dual", "unidec"} <= {path.name for path in folder.iterdir()}


def test_there_are_models_of_this_version_if_it_is_a_release():
    # `python tests/saved_models/write.py` writes them
    if "dev" not in skxc.__version__:
        assert (KEPT / f"format_{FORMAT_VERSION}-{skxc.__version__}").is_dir()


def test_they_are_small():
    assert sum(path.stat().st_size for path in FORMATS[-1].rglob("*") if path.is_file()) < 100_000


@pytest.mark.parametrize("folder", MODELS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_model_that_was_kept_predicts_as_it_did(folder):
    predictions = json.loads((folder.parent / "predictions.json").read_text())
    expected = predictions | predictions[folder.name]
    model = skxc.load(folder)
    labels, scores = model.predict_top_k(expected["texts"])
    np.testing.assert_array_equal(labels, expected["labels"])
    np.testing.assert_allclose(scores, expected["scores"], rtol=1e-5, atol=1e-6)
    proba = model.predict_proba(expected["texts"]).toarray()
    np.testing.assert_allclose(proba, expected["proba"], rtol=1e-4, atol=1e-7)


def test_the_script_writes_models_that_are_read_and_predict_the_same(tmp_path):
    write = runpy.run_path(str(KEPT / "write.py"))["write"]
    write(tmp_path / "again")
    predictions = json.loads((tmp_path / "again" / "predictions.json").read_text())
    for name in predictions.keys() - {"texts"}:
        model = skxc.load(tmp_path / "again" / name)
        labels, _ = model.predict_top_k(predictions["texts"])
        np.testing.assert_array_equal(labels, predictions[name]["labels"])


@pytest.mark.parametrize("folder", MODELS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_it_is_saved_in_the_present_format_and_trained_on(folder, tmp_path):
    model = skxc.load(folder)
    assert model.is_seen_.tolist() == [True, True, True, False, False]
    model.save(tmp_path / "model")
    again = skxc.load(tmp_path / "model")
    texts = ["red pears", "a red truck"]
    np.testing.assert_array_equal(again.predict_top_k(texts)[1], model.predict_top_k(texts)[1])
    again.partial_fit(texts, np.array([[1, 1, 0, 0, 0], [0, 1, 0, 1, 0]]))
    assert again.is_seen_.tolist() == [True, True, True, True, False]
