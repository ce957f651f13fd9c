"""The best labels of texts by an exported model, without skxc: one line of JSON each.

    python examples/onnx/predict.py FOLDER < texts.txt

FOLDER is what `export_onnx` wrote. It needs onnxruntime; for words also regex (`words.py`), for a
transformer's tokens also tokenizers.
"""

import json
import sys
import unicodedata
from pathlib import Path

import numpy as np
import onnxruntime
from words import make_reader


def make_token_reader(folder):
    """From texts to a transformer's inputs."""
    from tokenizers import Tokenizer

    rule = json.loads((folder / "tokens.json").read_bytes())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))  # it cuts long texts itself

    def read(texts):
        texts = [unicodedata.normalize("NFC", rule["prompt"] + text) for text in texts]
        rows = [e.ids or [rule["pad_token_id"]] for e in tokenizer.encode_batch(texts)]
        shape = len(rows), max([1, *map(len, rows)])
        ids, mask = np.full(shape, rule["pad_token_id"], np.int64), np.zeros(shape, np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)], mask[i, : len(row)] = row, 1
        return {"input_ids": ids, "attention_mask": mask}

    return read


def make_predictor(folder):
    """From texts to labels, best first, and their probabilities."""
    folder = Path(folder)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    names = json.loads((folder / "labels.json").read_bytes().decode("utf8", "surrogatepass"))
    readers = []
    if (folder / "words.json").exists():
        readers.append(make_reader(folder / "words.json"))
    if (folder / "tokens.json").exists():
        readers.append(make_token_reader(folder))

    def predict(texts):
        inputs = {name: array for read in readers for name, array in read(texts).items()}
        labels, proba = session.run(["labels", "proba"], inputs)
        return [
            {"labels": [names[i] for i in row], "proba": values.tolist()}
            for row, values in zip(labels, proba, strict=True)
        ]

    return predict


if __name__ == "__main__":
    predict = make_predictor(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(predict([line.rstrip("\n")])[0], ensure_ascii=False))
