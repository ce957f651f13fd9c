"""What the choices of an estimator are worth: losses, negatives, words, starts, sizes.

    OMP_NUM_THREADS=1 python benchmarks/choices.py UniDEC [FOLDER] [--seeds 3] [--only NAME ...]
        [--frozen MODEL]

For UniDEC, DualEncoderXC and ReneeClassifier. Every row changes one thing and is trained at the
default setting otherwise, but without the second stage, which hides differences: `second_stage.py`
tells what that is worth. The figures are means over the seeds, on a tenth of the training rows,
held out: test rows take no part in choices. The last column is the difference of P@1 from the first
row, with its interval of 95 per cent by bootstrap over seeds and rows. FOLDER is any that
`skxc.datasets.load_xc_folder` reads; without it, the packaged set. "The paper" marks what an
estimator does otherwise than its paper. The paper says of DualEncoderXC's "one-vs-all" that it does
not train a dual encoder.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from _measuring import print_row
from _true_ranks import Difference, text_values, true_pairs, true_ranks
from against_peers import held_out, load
from numpy.typing import NDArray
from sklearn.utils import Bunch

import skxc
from skxc._methods import _unidec
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder
from skxc.metrics import propensities


class Variant(NamedTuple):
    """What differs from the default setting."""

    parameters: Mapping[str, Any] = {}
    patch: AbstractContextManager[Any] = nullcontext()


def patched(place: str, **names: Any) -> AbstractContextManager[Any]:
    """Other functions or constants in a module or class of `skxc._methods`."""
    patcher: AbstractContextManager[Any] = patch.multiple(f"skxc._methods.{place}", **names)
    return patcher


def one_cluster_a_batch(self: Any, batch_size: int, rng: np.random.Generator) -> Any:
    """The batches of UniDEC's code: from `batch_size` texts to twice as many."""
    if self.clusters is None:
        return None
    if not self.clusters:
        self.clusters = _unidec.balanced_clusters(self._embedded, batch_size, rng)
        del self._embedded
    return [self.clusters[i] for i in rng.permutation(len(self.clusters))]


def zero_log_odds(rows: Any, fitted: Any = None) -> np.ndarray:
    return np.zeros(rows.Y.shape[1], np.float32)


RENEE_RATE = skxc.ReneeClassifier._defaults["always"]["classifier_learning_rate"]
FULL_POOL = patched("_unidec", _RANDOM_PER_LABEL=1e6)

CHOICES: Mapping[str, Mapping[str, Variant]] = {
    "ReneeClassifier": {
        "default": Variant(),
        "no intercept (the paper)": Variant({"fit_intercept": False}),
        "intercept initialised to 0": Variant(
            {}, patched("_renee_start", initial_log_odds=zero_log_odds)
        ),
        "momentum 0.9, a tenth of the rate (the paper)": Variant(
            {"momentum": 0.9, "classifier_learning_rate": RENEE_RATE / 10}
        ),
        "momentum 0.9, the same rate": Variant({"momentum": 0.9}),
        "softmax": Variant({"loss": "softmax"}),
        "decoupled softmax": Variant({"loss": "decoupled-softmax"}),
        "soft top-5": Variant({"loss": "soft-top-k"}),
        "no label-text augmentation": Variant({"augment": False}),
        "rows initialised to the label texts": Variant({"classifier_init": "label_texts"}),
        "bfloat16 weights": Variant({"precision": "bfloat16"}),
        "bfloat16 weights, momentum 0.9, a tenth of the rate": Variant(
            {
                "precision": "bfloat16",
                "momentum": 0.9,
                "classifier_learning_rate": RENEE_RATE / 10,
            }
        ),
    },
    "DualEncoderXC": {
        "default: decoupled softmax, in-batch": Variant(),
        "softmax": Variant({"loss": "softmax"}),
        "soft top-5": Variant({"loss": "soft-top-k"}),
        "soft top-1": Variant({"loss": "soft-top-k", "k": 1}),
        "soft top-5, alpha 2 (the paper)": Variant({"loss": "soft-top-k", "alpha": 2.0}),
        "soft top-100": Variant({"loss": "soft-top-k", "k": 100}),
        "one-vs-all": Variant({"loss": "one-vs-all"}),
        "one positive a text (the paper's code)": Variant({"positives_per_text": 1}),
        "in-batch without random labels": Variant({"pool_size": 0}),
        "mined": Variant({"negatives": "mined"}),
        "all (the paper)": Variant({"negatives": "all"}),
        "temperature 0.05 (the paper)": Variant({"temperature": 0.05}),
        "no dropout": Variant({"dropout": 0.0}),
        "dropout 0.5": Variant({"dropout": 0.5}),
        "128 dimensions": Variant({"encoder": BagOfWordsEncoder(dim=128)}),
        "512 dimensions": Variant({"encoder": BagOfWordsEncoder(dim=512)}),
        "16 epochs": Variant({"epochs": 16}),
    },
    "UniDEC": {
        "default": Variant(),
        "label texts alone": Variant({"dual_weight": 1.0, "dual_score_weight": 1.0}),
        "classifier alone": Variant({"dual_weight": 0.0, "dual_score_weight": 0.0}),
        "trained together, ranked by label texts": Variant({"dual_score_weight": 1.0}),
        "trained together, ranked by the classifier": Variant({"dual_score_weight": 0.0}),
        "equal weights in the score (the paper)": Variant({"dual_score_weight": 0.5}),
        "score's weights as they begin": Variant({}, patched("_unidec_score", _GRIDS={})),
        "softmax": Variant({"loss": "softmax"}),
        "balanced softmax": Variant({"loss": "balanced-softmax"}),
        "one-vs-all classifier": Variant({"classifier_loss": "one-vs-all"}),
        "one direction": Variant({"both_directions": False}),
        "no words": Variant({"lexical_learning_rate": 0}),
        "no words, 6 epochs, full pool": Variant(
            {"lexical_learning_rate": 0, "epochs": 6}, FULL_POOL
        ),
        "words' step 1": Variant({"lexical_learning_rate": 1}),
        "words' step 10": Variant({"lexical_learning_rate": 10}),
        "words' step 20": Variant({"lexical_learning_rate": 20}),
        "words in one text kept": Variant({"encoder": BagOfWordsEncoder(min_df=1)}),
        "pairs of words": Variant({"encoder": BagOfWordsEncoder(ngram_range=(1, 2))}),
        "no random labels in the pool (the paper)": Variant({"paper": {"random_labels": False}}),
        "64 random labels": Variant({}, patched("_unidec", _RANDOM_PER_LABEL=0.0)),
        "full pool": Variant({}, FULL_POOL),
        "pool of 1,024": Variant({"pool_size": 1024}),
        "mined": Variant({"negatives": "mined"}),
        "clustered batches": Variant({"batches": "clustered"}),
        "clustered, a cluster a batch (the paper)": Variant(
            {"batches": "clustered"}, patched("_unidec.UniDECMethod", batches=one_cluster_a_batch)
        ),
        "batches of 256": Variant({"batch_size": 256}),
        "mined, from the first 12 (the paper)": Variant(
            {"negatives": "mined", "paper": {"shortlist_size": 12}}
        ),
        "row dropout 0.1 (the paper)": Variant({"paper": {"row_dropout": 0.1}}),
        "row dropout 0.2 (the paper)": Variant({"paper": {"row_dropout": 0.2}}),
        "dropout 0.1 of the label texts, too (the paper)": Variant(
            {"dropout": 0.0, "paper": {"head_dropout": 0.1}}
        ),
        "dropout 0.1 of the label texts beside the default": Variant(
            {"paper": {"head_dropout": 0.1}}
        ),
        "heads at twice the encoder's rate, decay 0.05 (the paper)": Variant(
            {"paper": {"head_learning_rate": 2e-3, "head_weight_decay": 0.05}}
        ),
        "heads' decay 0.05": Variant({"paper": {"head_weight_decay": 0.05}}),
        "linear schedule (the paper)": Variant({"paper": {"schedule": "linear"}}),
        "Adam's epsilon 1e-6 (the paper)": Variant({"paper": {"adam_epsilon": 1e-6}}),
        "one-vs-all added to the classifier's loss (the paper)": Variant(
            {"paper": {"one_vs_all_weight": 1.0}}
        ),
        "learnt temperature": Variant({"learn_temperature": True}),
        "temperature 1 / 18 (the paper)": Variant({"temperature": 1 / 18}),
        "temperature 0.12": Variant({"temperature": 0.12}),
        "classifier's rate 0.02": Variant({"classifier_learning_rate": 0.02}),
        "dropout 0.5": Variant({"dropout": 0.5}),
        "projections": Variant({"projection_dim": 256}),
        "128 dimensions": Variant({"encoder": BagOfWordsEncoder(dim=128)}),
        **{f"{n} epochs": Variant({"epochs": n}) for n in (2, 4, 6, 8, 12)},
    },
}


MEASURES = ("P@1", "P@3", "P@5", "PSP@5", "R@100")


def measured(
    estimator: str, variant: Variant, data: Bunch, seed: int, encoder: Any
) -> dict[str, NDArray[np.float64]]:
    """What each held-out text adds to the measures, in per cent."""
    parameters = {"encoder": encoder, "rerank_weight": 0, **variant.parameters}
    with variant.patch:
        clf = getattr(skxc, estimator)(
            label_texts=data.label_texts, random_state=seed, **parameters
        )
        clf.fit(data.texts, data.Y, exclude=data.exclude)
        ranks = true_ranks(clf, data)
    weights = 1 / propensities(data.Y)
    return {measure: text_values(ranks, data.Y_test, weights, measure) for measure in MEASURES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("estimator", choices=CHOICES)
    parser.add_argument("folder", nargs="?", help="None: the packaged set")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--frozen", metavar="MODEL", help="its vectors, not the bag of words")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="variants; default: all")
    args = parser.parse_args()
    variants = CHOICES[args.estimator]
    chosen = args.only or list(variants)
    if unknown := [name for name in chosen if name not in variants]:
        parser.error(f"{unknown} are no variants. Pass some of {list(variants)}.")
    data, encoder = held_out(load(args.folder)[1]), "bag"
    data.Y_test = true_pairs(data.Y_test, data.test_exclude)
    if args.frozen:
        cache = Path(tempfile.gettempdir()) / "skxc-vectors"
        encoder = TransformerEncoder(args.frozen, trainable=False, cache_dir=cache)
    print(f"means over {args.seeds} seeds, {len(data.test_texts)} held-out rows\n")
    warnings.simplefilter("ignore", UserWarning)  # labels with one text, or none that is known
    of_first: dict[int, NDArray[np.float64]] = {}
    for i, name in enumerate(chosen):
        began = time.process_time()
        rows = [
            measured(args.estimator, variants[name], data, s, encoder) for s in range(args.seeds)
        ]
        seconds = (time.process_time() - began) / args.seeds
        means = {m: f"{np.mean([row[m] for row in rows]):.2f}" for m in MEASURES}
        of_first_measure = {seed: row["P@1"] for seed, row in enumerate(rows)}
        of_first = of_first or of_first_measure
        gain = str(Difference.of(of_first_measure, of_first)) if i else ""
        row = {"variant": name, **means, "CPU s": f"{seconds:.0f}", "P@1 beside the first": gain}
        print_row(row, is_first=i == 0)


if __name__ == "__main__":
    main()
