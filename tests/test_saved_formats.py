"""Models that earlier versions saved are read: one folder an estimator and format is kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import skxc

FORMATS = sorted(Path(__file__).parent.glob("saved_models/format_*"))
NAMES = ("renee", "dual", "unidec")


def test_there_is_a_folder_of_the_first_format():
    assert [folder.name for folder in FORMATS][:1] == ["format_1"]


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_an_earlier_format_predicts_as_it_did(folder, name):
    expected = json.loads((folder / "predictions.json").read_text())
    model = skxc.load(folder / name)
    labels, scores = model.predict_top_k(expected["texts"])
    np.testing.assert_array_equal(labels, expected[name]["labels"])
    np.testing.assert_allclose(scores, expected[name]["scores"], rtol=1e-5, atol=1e-6)
    proba = model.predict_proba(expected["texts"]).toarray()
    np.testing.assert_allclose(proba, expected[name]["proba"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("name", NAMES)
def test_it_is_saved_in_the_present_format_and_trained_on(folder, name, tmp_path):
    model = skxc.load(folder / name)
    assert model.is_seen_.tolist() == [True, True, True, False, False]
    model.save(tmp_path / "model")
    again = skxc.load(tmp_path / "model")
    texts = ["red pears", "a red truck"]
    np.testing.assert_array_equal(again.predict_top_k(texts)[1], model.predict_top_k(texts)[1])
    again.partial_fit(texts, np.array([[1, 1, 0, 0, 0], [0, 1, 0, 1, 0]]))
    assert again.is_seen_.tolist() == [True, True, True, True, False]
