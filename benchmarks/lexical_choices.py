"""What the words' weights in UniDEC are worth, and what was tried around them.

    OMP_NUM_THREADS=1 python benchmarks/lexical_choices.py [FOLDER]

Every row changes one thing and is trained at the default setting otherwise. The figures are on a
tenth of the training rows, held out: test rows take no part in choices.
"""

from __future__ import annotations

from functools import partial
from unittest.mock import patch

from _held_out import Variant, main

import skxc._unidec as unidec
from skxc import UniDEC
from skxc.encoders import BagOfWordsEncoder

as_begun = partial(patch.dict, unidec._SCORE_WEIGHTS, dict.fromkeys(unidec._SCORE_WEIGHTS, ()))
to_the_brim = partial(patch.object, unidec, "_RANDOM_PER_LABEL", 1e6)
few_random = partial(patch.object, unidec, "_RANDOM_PER_LABEL", 0.0)

VARIANTS = {
    "as it is": Variant(),
    "no words": Variant({"lexical_learning_rate": 0}),
    "no words, 6 epochs, random labels to the brim": Variant(
        {"lexical_learning_rate": 0, "epochs": 6}, to_the_brim
    ),
    "words' step 1": Variant({"lexical_learning_rate": 1}),
    "words' step 10": Variant({"lexical_learning_rate": 10}),
    "words' step 20": Variant({"lexical_learning_rate": 20}),
    "score's weights as they begin": Variant({}, as_begun),
    "random labels to the brim": Variant({}, to_the_brim),
    "64 random labels": Variant({}, few_random),
    "2 epochs": Variant({"epochs": 2}),
    "4 epochs": Variant({"epochs": 4}),
    "6 epochs": Variant({"epochs": 6}),
    "8 epochs": Variant({"epochs": 8}),
    "batches of 256": Variant({"batch_size": 256}),
    "classifier's rate 0.02": Variant({"classifier_learning_rate": 0.02}),
    "one direction": Variant({"both_directions": False}),
    "one-vs-all classifier": Variant({"classifier_loss": "one-vs-all"}),
    "dropout 0.5": Variant({"dropout": 0.5}),
    "temperature 0.12": Variant({"temperature": 0.12}),
    "128 dimensions": Variant({"encoder": BagOfWordsEncoder(dim=128)}),
    "words in one text kept": Variant({"encoder": BagOfWordsEncoder(min_df=1)}),
    "pairs of words": Variant({"encoder": BagOfWordsEncoder(ngram_range=(1, 2))}),
}

if __name__ == "__main__":
    main(UniDEC, VARIANTS, __doc__.splitlines()[0])
