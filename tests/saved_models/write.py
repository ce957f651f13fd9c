"""Writes the models that every later version must read, and what they predict.

    python tests/saved_models/write.py

makes a folder `format_FORMAT-VERSION` beside this file; tests/test_saved_formats.py finds it.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import scipy.sparse as sp
import torch

import skxc
from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc._persistence._reading import FORMAT_VERSION
from skxc.encoders import BagOfWordsEncoder, JoinedEncoder, TransformerEncoder

LABELS = ["fruit", "red", "vehicle", "zzz", "qqq"]  # no text has the last two
TEXTS = ["red apples", "green pears", "a fast car", "cars and trucks"] * 5
Y = sp.csr_array([[1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 0, 0]] * 5)
ASKED = ["two pears", "my red car", "trucks", ""]


def tiny_transformer(folder: Path) -> str:
    """A random BERT of 8 dimensions that knows the words above."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", *sorted({*" ".join(TEXTS + LABELS).split()})]
    vocabulary = {word: i for i, word in enumerate(words)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]"
    )
    config = BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=8, max_position_embeddings=16, initializer_range=0.5,
    )  # fmt: skip
    torch.manual_seed(0)
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar
        BertModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return str(folder)


def estimators(transformer: str) -> dict[str, Any]:
    """Unfitted, by the names of their folders."""
    bag = BagOfWordsEncoder(dim=4)
    vectors = TransformerEncoder(transformer, trainable=False, max_length=8)
    both = JoinedEncoder(vectors, words=bag)
    few = {"epochs": 3, "random_state": 0}
    return {
        "renee": ReneeClassifier(bag, **few),
        "dual": DualEncoderXC(bag, label_texts=LABELS, **few),
        "unidec": UniDEC(bag, label_texts=LABELS, **few),
        "joined": UniDEC(both, label_texts=LABELS, **few),
    }


def write(folder: Path) -> None:
    """Save each, fitted, below the folder, and what they predict in predictions.json."""
    folder.mkdir()
    predictions: dict[str, Any] = {"texts": ASKED}
    # its path is a parameter: a relative one is the same on every machine
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        for name, unfitted in estimators(tiny_transformer(Path("tiny_bert"))).items():
            model = unfitted.fit(TEXTS, Y)
            model.save(folder / name)
            labels, scores = model.predict_top_k(ASKED)
            proba = model.predict_proba(ASKED).toarray()
            arrays = {"labels": labels, "scores": scores, "proba": proba}
            predictions[name] = {key: array.tolist() for key, array in arrays.items()}
    (folder / "predictions.json").write_text(json.dumps(predictions) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(__file__).parent / f"format_{FORMAT_VERSION}-{skxc.__version__}"
    write(folder)
    print(f"{folder}: {sum(p.stat().st_size for p in folder.rglob('*') if p.is_file()):,} bytes")
