"""What UniDEC's losses, pool, batches and other choices are worth, on the packaged set.

    OMP_NUM_THREADS=1 python benchmarks/unidec_choices.py [FOLDER]

Every row changes one thing and is trained at the default setting otherwise. The figures are on a
tenth of the training rows, held out: test rows take no part in choices.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
from _held_out import Variant, main

import skxc._unidec as unidec
from skxc import UniDEC


def no_random_labels() -> Any:
    return patch.object(unidec, "fill_pool", lambda pool, *_: pool)


def one_cluster_a_batch() -> Any:
    """The code's batches: from `batch_size` texts to twice as many."""

    def batches(self: Any, batch_size: int, rng: np.random.Generator) -> Any:
        if self.clusters is None:
            return None
        if not self.clusters:
            self.clusters = unidec.balanced_clusters(self._embedded, batch_size, rng)
            del self._embedded
        return [self.clusters[i] for i in rng.permutation(len(self.clusters))]

    return patch.object(unidec.UniDECStep, "batches", batches)


VARIANTS = {
    "as it is: decoupled softmax, both views": Variant(),
    "label texts alone": Variant({"dual_weight": 1.0, "dual_score_weight": 1.0}),
    "classifier alone": Variant({"dual_weight": 0.0, "dual_score_weight": 0.0}),
    "trained together, ranked by label texts": Variant({"dual_score_weight": 1.0}),
    "trained together, ranked by the classifier": Variant({"dual_score_weight": 0.0}),
    "equal weights in the score (the paper)": Variant({"dual_score_weight": 0.5}),
    "softmax": Variant({"loss": "softmax"}),
    "balanced softmax": Variant({"loss": "balanced-softmax"}),
    "one-vs-all classifier": Variant({"classifier_loss": "one-vs-all"}),
    "one direction: texts over labels": Variant({"both_directions": False}),
    "no random labels in the pool (the paper)": Variant({}, no_random_labels),
    "mined": Variant({"negatives": "mined"}),
    "clustered batches": Variant({"batches": "clustered"}),
    "clustered, a cluster a batch (the paper)": Variant(
        {"batches": "clustered"}, one_cluster_a_batch
    ),
    "learnt temperature": Variant({"learn_temperature": True}),
    "temperature 1 / 18 (the paper)": Variant({"temperature": 1 / 18}),
    "projections": Variant({"projection_dim": 256}),
    "pool of 1,024": Variant({"pool_size": 1024}),
    "12 epochs": Variant({"epochs": 12}),
}

if __name__ == "__main__":
    main(UniDEC, VARIANTS, __doc__.splitlines()[0])
