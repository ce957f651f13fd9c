"""Memory of a fit against the number of its texts: in memory, and read from files.

    OMP_NUM_THREADS=1 python benchmarks/larger_than_memory.py [--most 1000000] [--labels 5000]

Synthetic texts (`make_extreme_classification`) of 9 words and 3 labels, one epoch, the embedded
encoder at 32 dimensions, so that the model is small beside the texts. "memory": a list of str and a
sparse matrix, which are not counted. "files": a text file, a text a line, and the matrix as .npz;
nothing of them is held before the fit. Each fit is a process of its own. "peak MiB" is the highest
resident memory that belongs to no file (Linux: RssAnon), beyond what the process held before; its
growth between the two largest sizes is "bytes a text". "tokens" is the size of the token files.
"seconds" are those of the whole fit. Expected: from files, less than 200 bytes a text.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import scipy.sparse as sp
from _measuring import OwnMemory, in_a_process, print_row

import skxc
from skxc.datasets import make_extreme_classification
from skxc.encoders import BagOfWordsEncoder

ESTIMATORS = ("ReneeClassifier", "DualEncoderXC", "UniDEC")
DIM = 32


def write(folder: str, n_texts: int, n_labels: int) -> list[str]:
    """Write the data; returns the label texts."""
    data = make_extreme_classification(
        n_texts, n_labels, labels_per_text=3, words_per_text=9, random_state=0
    )
    Path(folder, "X.txt").write_text("\n".join(data.texts) + "\n", encoding="utf8")
    sp.save_npz(Path(folder, "Y.npz"), data.Y)
    return list(data.label_texts)


def run(estimator: str, folder: str, label_texts: list[str], is_read: bool) -> dict[str, Any]:
    """One fit."""
    warnings.simplefilter("ignore", UserWarning)
    logging.disable()
    path = Path(folder, "X.txt")
    X: Any = path if not is_read else path.read_text(encoding="utf8").split("\n")[:-1]
    Y: Any = Path(folder, "Y.npz") if not is_read else sp.load_npz(Path(folder, "Y.npz"))
    parameters = {"augment": False} if estimator == "ReneeClassifier" else {}
    clf = getattr(skxc, estimator)(
        BagOfWordsEncoder(dim=DIM), label_texts=label_texts, epochs=1, batch_size=1024,
        random_state=0, checkpoint_dir=Path(folder, "tokens"), keep_checkpoint=True, **parameters,
    )  # fmt: skip
    # what compiled loops take once is no part of it
    warm = make_extreme_classification(2000, 50, random_state=0)
    type(clf)(BagOfWordsEncoder(dim=DIM), label_texts=warm.label_texts, epochs=1).fit(
        warm.texts, warm.Y
    )
    began = time.perf_counter()
    with OwnMemory() as memory:
        clf.fit(X, Y)
    tokens = sum(p.stat().st_size for p in Path(folder, "tokens").glob("tokens.*"))
    for part in Path(folder, "tokens").iterdir():
        part.unlink()
    return {
        "peak": memory.added,
        "tokens": tokens,
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--labels", type=int, default=5_000)
    parser.add_argument("--sources", nargs="+", default=("memory", "files"))
    parser.add_argument("--estimators", nargs="+", default=ESTIMATORS)
    args = parser.parse_args()
    sources = [source == "memory" for source in args.sources]
    counts = (args.most // 10, args.most // 2, args.most)
    peaks: dict[tuple[str, bool], list[int]] = {}
    is_first = True
    for n_texts in counts:
        with tempfile.TemporaryDirectory() as folder:
            label_texts = in_a_process(write, folder, n_texts, args.labels)
            for estimator in args.estimators:
                for is_read in sources:
                    found = in_a_process(run, estimator, folder, label_texts, is_read)
                    mine = peaks.setdefault((estimator, is_read), [])
                    mine.append(found["peak"])
                    growth = (
                        (mine[-1] - mine[-2]) / (n_texts - counts[1])
                        if n_texts == counts[2]
                        else None
                    )
                    row = {
                        "estimator": estimator,
                        "texts": f"{n_texts:,}",
                        "from": "memory" if is_read else "files",
                        "peak MiB": round(found["peak"] / 2**20),
                        "bytes a text": "" if growth is None else round(growth),
                        "tokens MiB": round(found["tokens"] / 2**20),
                        "seconds": round(found["seconds"], 1),
                    }
                    print_row(row, is_first=is_first)
                    is_first = False


if __name__ == "__main__":
    main()
