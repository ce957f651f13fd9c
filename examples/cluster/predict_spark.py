"""The best labels of many texts, with Spark: from Parquet to Parquet.

    python examples/cluster/predict_spark.py [MODEL TEXTS LABELS]

MODEL is a saved model, TEXTS a Parquet file or a folder of them with the columns id and text,
LABELS a folder to write to. Without arguments, a small example is made and deleted.
"""

import os
import sys
import tempfile
from collections.abc import Iterator

import pandas as pd
from pyspark.sql import SparkSession
from small_example import small_example

import skxc

COLUMNS = "id long, labels array<long>, scores array<float>"


def predict(spark: SparkSession, model: str, texts: str, out: str) -> None:
    def labels_of(parts: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        clf = skxc.load(model)  # once a partition; the maps of one folder share their memory
        for rows in parts:
            labels, scores = clf.predict_top_k(rows["text"].tolist(), k=5)
            yield pd.DataFrame({"id": rows["id"], "labels": list(labels), "scores": list(scores)})

    spark.read.parquet(texts).mapInPandas(labels_of, COLUMNS).write.parquet(out)
    print(f"Labels of {spark.read.parquet(out).count():,} texts are in {out}")


if __name__ == "__main__":
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else Spark takes python3 of PATH
    builder = SparkSession.builder.config("spark.ui.enabled", False)
    # on a cluster: builder = builder.master("spark://the-master:7077")
    builder = builder.master("local[2]")
    with tempfile.TemporaryDirectory() as folder, builder.getOrCreate() as spark:
        predict(spark, *(sys.argv[1:] or small_example(folder)))
