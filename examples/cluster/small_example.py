"""A small model and some texts, for the scripts of this folder that are run without arguments."""

from pathlib import Path

import pandas as pd

from skxc import ReneeClassifier
from skxc.datasets import load_library_subjects


def small_example(folder: str) -> list[str]:
    """Paths of a model, of a folder of four Parquet files, and of a folder for the labels."""
    model, texts, labels = (Path(folder, name) for name in ("model", "texts", "labels"))
    data = load_library_subjects()
    clf = ReneeClassifier(epochs=1, random_state=0).fit(data.texts[:2000], data.Y[:2000])
    clf.save(model)
    rows = pd.DataFrame({"id": range(2000), "text": data.test_texts[:2000]})
    texts.mkdir()
    for begin in range(0, 2000, 500):
        rows[begin : begin + 500].to_parquet(texts / f"{begin}.parquet", index=False)
    return [str(model), str(texts), str(labels)]
