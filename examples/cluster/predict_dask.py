"""The best labels of many texts, with Dask: from Parquet to Parquet.

    python examples/cluster/predict_dask.py [MODEL TEXTS LABELS]

MODEL is a saved model, TEXTS a folder of Parquet files with the columns id and text, LABELS a
folder to write to. Without arguments, a small example is made and deleted.
"""

import sys
import tempfile

import dask
import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
from dask.distributed import Client
from small_example import small_example

import skxc

COLUMNS = pa.schema(
    {"id": pa.int64(), "labels": pa.list_(pa.int64()), "scores": pa.list_(pa.float32())}
)


def labels_of(rows: pd.DataFrame, model: str) -> pd.DataFrame:
    """The labels of one partition, by default one file."""
    clf = skxc.load(model)  # the maps of one folder share their memory
    labels, scores = clf.predict_top_k(rows["text"].tolist(), k=5)
    return pd.DataFrame({"id": rows["id"], "labels": list(labels), "scores": list(scores)})


def predict(model: str, texts: str, out: str) -> None:
    rows = dd.read_parquet(texts, columns=["id", "text"])
    meta = {"id": "int64", "labels": object, "scores": object}
    labels = rows.map_partitions(labels_of, model, meta=meta)
    labels.to_parquet(out, schema=COLUMNS, write_index=False)
    print(f"Labels of {len(dd.read_parquet(out)):,} texts are in {out}")


if __name__ == "__main__":  # local workers import this file
    with tempfile.TemporaryDirectory() as folder:
        dask.config.set(temporary_directory=folder)
        # on a cluster: client = Client("tcp://the-scheduler:8786")
        client = Client(n_workers=2, threads_per_worker=1)
        with client:
            predict(*(sys.argv[1:] or small_example(folder)))
