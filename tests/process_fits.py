"""Fits of many kinds, alone or as one of several processes; what they leave goes to files.

    python tests/process_fits.py OUT [CASE ...]
    torchrun --nproc-per-node 2 tests/process_fits.py OUT [CASE ...]
    python tests/process_fits.py

The last one has imported all, and forks such processes for each line of its standard input: they
start in a hundredth of the time. A line has the arguments, and the environment of each process.

Training is in float64: sums in another order then differ by nothing that a later step enlarges.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import nn

from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc._estimator._setup import SetupMixin
from skxc._methods import _dual_encoder
from skxc._methods._heads import Heads
from skxc._methods._unidec import UniDECMethod
from skxc._training import _checkpoint
from skxc._training._loop import _Loop
from skxc.datasets import make_extreme_classification
from skxc.encoders import BagOfWordsEncoder, JoinedEncoder, TransformerEncoder, _pooled

BAG = BagOfWordsEncoder(dim=12, min_df=1)
DATA = make_extreme_classification(253, 125, random_state=0)
TEXTS, Y, LABEL_TEXTS = list(DATA.texts), DATA.Y, list(DATA.label_texts)
FEW = make_extreme_classification(70, 2, random_state=1)
COMMON = {"encoder": BAG, "epochs": 3, "batch_size": 50, "random_state": 0}


def in_float64() -> None:
    """Have all that follows trained in float64."""
    make_setup = SetupMixin._setup
    begin = UniDECMethod.__init__

    def setup(self: Any, *args: Any, **options: Any) -> Any:
        made = make_setup(self, *args, **options)
        made.module.double()
        is_narrow = made.dtype == torch.bfloat16
        return made if is_narrow else replace(made, dtype=torch.float64)

    def init(self: Any, setup: Any, **parts: Any) -> None:
        scale = parts.pop("log_scale")
        log_scale = nn.Parameter(scale.detach().double(), scale.requires_grad)
        heads, rows = parts.pop("heads").double(), parts.pop("classifier").double()
        begin(self, setup, heads=heads, classifier=rows, log_scale=log_scale, **parts)

    def cast(method: Any) -> Any:
        def of_cast(self: Heads, embeddings: Any, *drop: Any) -> Any:
            dtype = embeddings.dtype if self.is_shared else self.of_classifier.weight.dtype
            return method(self, embeddings.to(dtype), *drop)

        return of_cast

    for name in ("label_text_space", "classifier_space"):
        setattr(Heads, name, cast(getattr(Heads, name)))
    of_layer = _pooled._BYTES_A_LAYER
    of_layer[torch.float64] = 2 * of_layer[torch.float32]
    SetupMixin._setup = setup
    UniDECMethod.__init__ = init


def renee(**parameters: Any) -> Any:
    settings = {"label_texts": LABEL_TEXTS, "dropout": 0.2} | COMMON
    return ReneeClassifier(**settings | parameters)


def dual(**parameters: Any) -> Any:
    return DualEncoderXC(**{"label_texts": LABEL_TEXTS, "dropout": 0.2} | COMMON | parameters)


def unidec(**parameters: Any) -> Any:
    return UniDEC(**{"label_texts": LABEL_TEXTS, "dropout": 0.2} | COMMON | parameters)


def all_labels(loss: str, **parameters: Any) -> Any:
    """Two passes over chunks of some labels."""
    _dual_encoder._SCORES_AT_ONCE = 1000
    try:
        return dual(negatives="all", loss=loss, epochs=2, **parameters).fit(TEXTS, Y)
    finally:
        _dual_encoder._SCORES_AT_ONCE = 1 << 23


def weighted() -> Any:
    rng = np.random.default_rng(0)
    exclude = sp.csr_array(rng.random(Y.shape) < 0.02, dtype=np.float32)
    weights = rng.random(len(TEXTS))
    clf = renee(classifier_init="label_texts", augment=False)
    return clf.fit(TEXTS, Y, sample_weight=weights, exclude=exclude)


def again(clf: Any) -> Any:
    """Two fits, the second from the first; labels that the first has not seen."""
    half = sp.csr_array(Y[:130])
    clf.set_params(warm_start=True).fit(TEXTS[:130], half)
    return clf.fit(TEXTS, sp.csr_array(Y))


def stream(clf: Any) -> Any:
    for rows in (slice(0, 120), slice(120, 253)):
        clf.partial_fit(TEXTS[rows], sp.csr_array(Y[rows]))
    return clf


def from_file() -> Any:
    folder = Path(sys.argv[1])
    path = folder / f"texts.{os.getpid()}.txt"
    path.write_text("\n".join(TEXTS), encoding="utf8")
    return unidec().fit(path, Y)


def bert(**parameters: Any) -> Any:
    encoder = TransformerEncoder(model=os.environ["TINY_BERT"], max_length=16)
    return {"encoder": encoder, "learning_rate": 1e-3, "batch_size": 11, "epochs": 1} | parameters


def frozen() -> Any:
    return TransformerEncoder(model=os.environ["TINY_BERT"], max_length=16, trainable=False)


def joined_from_file() -> Any:
    """Words and a transformer's tokens in files, the vectors in a map that all processes share."""
    path = Path(sys.argv[1]) / f"few_texts.{os.getpid()}.txt"
    path.write_text("\n".join(TRANSFORMER_TEXTS), encoding="utf8")
    encoder = JoinedEncoder(frozen(), words=BAG)
    return unidec(encoder=encoder, batch_size=11).fit(path, TRANSFORMER_Y)


def on_hosts_apart() -> Any:
    """As if each process were on a host of its own: tables and tokens go from one to the other."""
    node = platform.node
    platform.node = lambda: f"host {os.environ.get('RANK')}"
    try:
        return from_file()
    finally:
        platform.node = node


PAPER = {
    "schedule": "linear", "adam_epsilon": 1e-6, "head_dropout": 0.1, "row_dropout": 0.1,
    "head_learning_rate": 0.002, "head_weight_decay": 0.05, "random_labels": False,
    "one_vs_all_weight": 1.0,
}  # fmt: skip
TRANSFORMER_TEXTS, TRANSFORMER_Y = TEXTS[:60], sp.csr_array(Y[:60])
# batches of which no text has a label
OF_FEW = TRANSFORMER_TEXTS, sp.vstack([Y[:10], sp.csr_array((50, Y.shape[1]))], format="csr")
CASES = {
    "renee": lambda: renee().fit(TEXTS, Y),
    "renee, momentum, early stopping": lambda: renee(
        momentum=0.9, early_stopping=True, n_iter_no_change=2, epochs=6, rerank_weight=0
    ).fit(TEXTS, Y),
    "renee, two labels": lambda: renee(label_texts=None, batch_size=2).fit(FEW.texts, FEW.Y),
    "renee, weights and excluded pairs": weighted,
    "renee, classes": lambda: renee(label_texts=None).fit(TEXTS, np.arange(253) % 7),
    "renee, bfloat16": lambda: renee(precision="bfloat16", momentum=0.9).fit(TEXTS, Y),
    "renee, no intercept": lambda: renee(fit_intercept=False, momentum=0.9).fit(TEXTS, Y),
    "renee, decoupled softmax": lambda: renee(loss="decoupled-softmax", momentum=0.9).fit(TEXTS, Y),
    "renee, soft top-k": lambda: renee(loss="soft-top-k", label_chunk_size=20).fit(TEXTS, Y),
    "renee, softmax, two labels": lambda: renee(
        label_texts=None, batch_size=2, epochs=1, loss="softmax"
    ).fit(FEW.texts, FEW.Y),
    "renee, twice": lambda: again(renee()),
    "renee, a stream": lambda: stream(renee(momentum=0.9)),
    "renee, a transformer": lambda: renee(**bert(encode_batch_size=4)).fit(
        TRANSFORMER_TEXTS, TRANSFORMER_Y
    ),
    "dual": lambda: dual().fit(TEXTS, Y),
    "dual, mined": lambda: dual(
        negatives="mined", pool_size=60, mining_interval=1, positives_per_text=1
    ).fit(TEXTS, Y),
    "dual, all labels": lambda: all_labels("decoupled-softmax"),
    "dual, all labels, softmax": lambda: all_labels("softmax"),
    "dual, all labels, soft top-k": lambda: all_labels("soft-top-k"),
    "dual, all labels, as many as positives": lambda: all_labels("soft-top-k", k="n_positives"),
    "dual, all labels, one-vs-all": lambda: all_labels("one-vs-all"),
    "dual, all labels, one drawn": lambda: all_labels("softmax", positives_per_text=1),
    "dual, two labels": lambda: dual(
        label_texts=list(FEW.label_texts), batch_size=2, negatives="all"
    ).fit(FEW.texts, FEW.Y),
    "dual, a transformer, few labels": lambda: dual(**bert(batch_size=2)).fit(*OF_FEW),
    "unidec, a transformer, few labels": lambda: unidec(
        **bert(batch_size=2), lexical_learning_rate=0
    ).fit(*OF_FEW),
    "dual, a transformer": lambda: dual(**bert()).fit(TRANSFORMER_TEXTS, TRANSFORMER_Y),
    "dual, frozen": lambda: dual(encoder=frozen(), learning_rate=1e-3, batch_size=11).fit(
        TRANSFORMER_TEXTS, TRANSFORMER_Y
    ),
    "renee, joined": lambda: renee(
        encoder=JoinedEncoder(frozen(), words=BAG), batch_size=11
    ).fit(TRANSFORMER_TEXTS, TRANSFORMER_Y),
    "unidec, joined, from a file": joined_from_file,
    "unidec": lambda: unidec().fit(TEXTS, Y),
    "unidec, mined and clustered": lambda: unidec(
        negatives="mined", batches="clustered", mining_interval=1, pool_size=70, projection_dim=5,
        learn_temperature=True, early_stopping=True, both_directions=True,
    ).fit(TEXTS, Y),
    "unidec, one-vs-all": lambda: unidec(classifier_loss="one-vs-all", epochs=2).fit(TEXTS, Y),
    "unidec, the paper's details": lambda: unidec(paper=PAPER, projection_dim=5).fit(TEXTS, Y),
    "unidec, two labels": lambda: unidec(
        label_texts=list(FEW.label_texts), batch_size=2, epochs=1
    ).fit(FEW.texts, FEW.Y),
    "unidec, twice": lambda: again(unidec()),
    "unidec, a stream": lambda: stream(unidec()),
    "unidec, a file": from_file,
    "unidec, hosts apart": on_hosts_apart,
}  # fmt: skip


def going_on(make: Any, **parameters: Any) -> Any:
    """Writes a checkpoint after every batch.

    KILL="rank:step" ends a process by SIGKILL; TERMINATE="n" asks the one that writes to end, while
    it writes the n-th checkpoint.
    """
    folder = f"{os.environ['CHECKPOINT_DIR']}/{make.__name__}"
    rank, _, number = os.environ.get("KILL", ":").partition(":")
    run_step, steps = _Loop.run_step, []

    def killed(self: Any, *args: Any, **options: Any) -> Any:
        steps.append(1)
        if rank == os.environ.get("RANK", "0") and len(steps) == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        return run_step(self, *args, **options)

    write, writes = _checkpoint.write_tensors, []

    def interrupted(*args: Any, **options: Any) -> Any:
        writes.append(1)
        if str(len(writes)) == os.environ.get("TERMINATE"):
            os.kill(os.getpid(), signal.SIGTERM)
        return write(*args, **options)

    _Loop.run_step, _checkpoint.write_tensors = killed, interrupted
    clf = make(checkpoint_dir=folder, checkpoint_interval=1e-6, **parameters)
    try:
        return clf.fit(TEXTS, Y)
    finally:
        _Loop.run_step, _checkpoint.write_tensors = run_step, write


MINED = {"negatives": "mined", "mining_interval": 1, "pool_size": 70}
CASES |= {
    "renee, from a checkpoint": lambda: going_on(
        renee, momentum=0.9, early_stopping=True, rerank_weight=0
    ),
    "dual, from a checkpoint": lambda: going_on(dual, **MINED),
    "unidec, from a checkpoint": lambda: going_on(
        unidec, **MINED, batches="clustered", projection_dim=5, learn_temperature=True
    ),
}


def arrays_of(value: Any, name: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """All numbers in it."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from arrays_of(part, f"{name}/{key}")
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from arrays_of(part, f"{name}/{i}")
    elif isinstance(value, np.ndarray | float | int) and not name.endswith("seconds"):
        array = np.asarray(value)
        if array.dtype != object:
            yield name, array


def main() -> None:
    folder, *chosen = sys.argv[1:]
    in_float64()
    torch.set_num_threads(1)
    rank = os.environ.get("RANK", "0")
    for number, (case, fit) in enumerate(CASES.items()):
        if case not in chosen if chosen else "checkpoint" in case:
            continue
        clf = fit()
        parts = vars(clf) | {"encoder_": clf.encoder_.weights_}
        found = dict(arrays_of(parts))
        labels, scores = clf.predict_top_k(TEXTS[:50], k=5)
        np.savez(f"{folder}/{number}.{rank}.npz", labels=labels, scores=scores, **found)


def fork_fits() -> None:
    """Once the processes of a line have ended, tell their exit codes and the times of the ends."""
    import transformers.models.bert.modeling_bert  # noqa: F401  # once, not in each of them

    for line in sys.stdin:
        arguments, environments = json.loads(line)
        ranks = dict[int, int]()
        for rank, environment in enumerate(environments):
            process = os.fork()
            if not process:
                os.environ |= environment
                sys.argv[1:] = arguments
                os.dup2(os.open(environment["STDERR"], os.O_WRONLY | os.O_CREAT), 2)
                os.dup2(2, 1)
                return main()
            ranks[process] = rank
        ends = dict[int, tuple[int, float]]()
        while len(ends) < len(ranks):
            process, status = os.wait()
            ends[ranks[process]] = os.waitstatus_to_exitcode(status), time.monotonic()
        print(json.dumps([ends[rank] for rank in sorted(ends)]), flush=True)


if __name__ == "__main__":
    main() if len(sys.argv) > 1 else fork_fits()
