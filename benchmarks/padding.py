"""The padding in batches of texts of similar lengths: what attention without padding could save.

    python benchmarks/padding.py FOLDER [FOLDER ...]

The texts and label texts of each data set, in MiniLM's tokens: the share of padding in an epoch of
random batches and of batches by length, as training makes them with an encoder that pads.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from real_sets import PACKAGE, packaged_model

from skxc._data._batches import epoch_batches, padding_share
from skxc.datasets import load_xc_folder
from skxc.encoders import TransformerEncoder

HEADER = "| data | texts | max_length | tokens a text | batch | random batches | by length |"


def rows(name: str, texts: list[str], encoder: TransformerEncoder) -> None:
    """Print what every batch size leaves, in the shares of all tokens."""
    lengths = encoder.tokenize(texts).lengths
    for batch_size in (64, 512):
        shares = [
            padding_share(
                lengths,
                epoch_batches(lengths, batch_size, np.random.default_rng(0), is_bucketed=by_length),
            )
            for by_length in (False, True)
        ]
        print(
            f"| {name} | {len(texts):,} | {encoder.max_length} | {lengths.mean():.1f} "
            f"| {batch_size} | {shares[0]:.1%} | {shares[1]:.1%} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    folders = parser.parse_args().folders
    print(f"# {PACKAGE}'s tokenizer\n\n{HEADER}\n|---|---|---|---|---|---|---|")
    for folder in folders:
        data = load_xc_folder(folder)
        for max_length in (64, 128):
            encoder = TransformerEncoder(packaged_model(), max_length=max_length).fit([], seed=0)
            rows(f"{folder.name}, texts", list(data.texts), encoder)
            if data.label_texts is not None:
                rows(f"{folder.name}, label texts", list(data.label_texts), encoder)


if __name__ == "__main__":
    main()
