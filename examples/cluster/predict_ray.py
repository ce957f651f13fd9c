"""The best labels of many texts, with Ray Data: from Parquet to Parquet.

    python examples/cluster/predict_ray.py [MODEL TEXTS LABELS]

MODEL is a saved model, TEXTS a Parquet file or a folder of them with the columns id and text,
LABELS a folder to write to. Without arguments, a small example is made and deleted.
"""

import sys
import tempfile

import pyarrow as pa
import ray
from small_example import small_example

import skxc


class Predictor:
    """A worker: it loads the model once. The maps of one folder share their memory."""

    def __init__(self, model: str) -> None:
        self.clf = skxc.load(model)

    def __call__(self, rows: pa.Table) -> pa.Table:
        labels, scores = self.clf.predict_top_k(rows["text"].to_pylist(), k=5)
        return pa.table({"id": rows["id"], "labels": list(labels), "scores": list(scores)})


def predict(model: str, texts: str, out: str) -> None:
    # small files are read as one block, which one worker would take
    rows = ray.data.read_parquet(texts).repartition(target_num_rows_per_block=1024)
    labels = rows.map_batches(
        Predictor,
        fn_constructor_args=[model],
        compute=ray.data.ActorPoolStrategy(size=2),  # workers
        num_cpus=1,  # cores and threads of a worker
        batch_size=1024,
        batch_format="pyarrow",
    )
    labels.write_parquet(out)
    print(f"Labels of {ray.data.read_parquet(out).count():,} texts are in {out}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        paths = sys.argv[1:] or small_example(folder)
        # on a cluster: cluster = ray.init("auto")
        cluster = ray.init(num_cpus=3, include_dashboard=False, _temp_dir=folder)  # one reads
        with cluster:
            predict(*paths)
