"""What each departure of ReneeClassifier from the paper is worth, on the packaged set.

    OMP_NUM_THREADS=1 python benchmarks/renee_choices.py [FOLDER]

Every row changes one thing and is trained at the default setting otherwise. The figures are on a
tenth of the training rows, held out: test rows take no part in choices.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch.nn.functional as F
from _held_out import Variant, main

from skxc import ReneeClassifier

DEFAULT_RATE = ReneeClassifier._defaults["classifier_learning_rate"]


def zero_log_odds(rows: Any, fitted: Any = None) -> np.ndarray:
    return np.zeros(rows.Y.shape[1], np.float32)


def no_intercept(embeddings: Any) -> Any:
    return F.pad(embeddings, (0, 1), value=0.0)


def patched(**names: Any) -> Any:
    return partial(patch.multiple, "skxc._renee", **names)


VARIANTS = {
    "as it is": Variant(),
    "no intercept (the paper)": Variant(
        {}, patched(_log_odds=zero_log_odds, _with_intercept=no_intercept)
    ),
    "intercept begun at 0": Variant({}, patched(_log_odds=zero_log_odds)),
    "momentum 0.9, a tenth of the rate (the paper)": Variant(
        {"momentum": 0.9, "classifier_learning_rate": DEFAULT_RATE / 10}
    ),
    "momentum 0.9, the same rate": Variant({"momentum": 0.9}),
    "no label-text augmentation": Variant({"augment": False}),
    "rows begun at the label texts": Variant({"classifier_init": "label_texts"}),
    "bfloat16 weights": Variant({"precision": "bfloat16"}),
}

if __name__ == "__main__":
    main(ReneeClassifier, VARIANTS, __doc__.splitlines()[0])
