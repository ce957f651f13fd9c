"""The recipe for MLflow, where it is installed."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

import skxc

ROOT = Path(__file__).parents[1]


def test_the_recipe_logs_loads_and_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    page = (ROOT / "docs" / "guide" / "sharing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"<!-- peer -->\n```python\n(.*?)```", page, re.DOTALL)
    (code,) = (block for block in blocks if "import mlflow" in block)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # mlflow-skinny has no other
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    texts = ["apple pie", "grilled trout", "pear tart"] * 10
    clf = skxc.UniDEC(random_state=0).fit(texts, [["fruit", "baking"], ["fish"], ["fruit"]] * 10)
    names: dict[str, object] = {"clf": clf}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's are not ours to mend
        mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
        exec(code, names)
        loaded = names["loaded"]
        assert loaded.predict(texts[:3]) == clf.predict_labels(texts[:3])
    files = {path.suffix for path in (tmp_path / "mlruns").rglob("*") if path.is_file()}
    assert ".pkl" not in files
