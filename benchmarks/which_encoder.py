"""Which encoder: a bag, a bag with vectors, frozen, joined, trained, adapted; and none trained.

    SKXC_PRETRAINED=FOLDER_OF_WHEELS OMP_NUM_THREADS=1 python benchmarks/which_encoder.py \
        [FOLDER ...] [--rows 12000] [--encoders "bag" "minilm, frozen" ...] [--again]

Each encoder on each set is fitted and measured in a process of its own, and is a line in
``benchmarks/results/which_encoder.jsonl``; the tables in ``which_encoder.md`` are made from it. The
packaged set comes first; a FOLDER is any that `skxc.datasets.load_xc_folder` reads. With --rows, a
set keeps so many random training rows, and a quarter as many test rows; all labels stay. Nothing is
chosen on the test rows. Pretrained weights: see `_pretrained`.

Seconds are the CPU's. "embed s" is what a frozen transformer takes for the training texts and the
labels, once: measured where the vectors' cache (``--cache``) did not have them yet. "fit s" is the
fit with the vectors found there. Memory is the process's peak less what it held before the fit.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _measuring import in_a_process, peak_bytes, resident_bytes
from _pretrained import pretrained_folder
from against_peers import load, machine
from sklearn.utils import Bunch

from skxc.encoders import BagOfWordsEncoder, JoinedEncoder, TransformerEncoder
from skxc.metrics import propensities, ranking_metrics

RESULTS = Path(__file__).parent / "results" / "which_encoder.jsonl"
MEASURES = ("P@1", "P@3", "P@5", "PSP@5")
TRAINED = {"epochs": 3}  # hours on one core, with more


def _frozen(model: str, cache: str) -> TransformerEncoder:
    return TransformerEncoder(pretrained_folder(model), trainable=False, cache_dir=cache)


# by what the tables call it: the estimator, and its parameters with the vectors' cache
Made = tuple[str, Callable[[str], dict[str, Any]]]
ENCODERS: dict[str, Made] = {
    "bag": ("UniDEC", lambda cache: {}),
    "bag, vectors of words (wordllama)": (
        "UniDEC",
        lambda cache: {"encoder": BagOfWordsEncoder(init=pretrained_folder("wordllama"))},
    ),
    "bag, vectors of words (e5)": (
        "UniDEC",
        lambda cache: {"encoder": BagOfWordsEncoder(init=_frozen("e5", cache))},
    ),
}
for _model in ("minilm", "e5"):
    ENCODERS |= {
        f"{_model}, nothing trained": (
            "DualEncoderXC",
            lambda cache, m=_model: {
                "encoder": _frozen(m, cache), "epochs": 0, "rerank_weight": 0
            },
        ),
        f"{_model}, second stage alone": (
            "DualEncoderXC", lambda cache, m=_model: {"encoder": _frozen(m, cache), "epochs": 0}
        ),
        f"{_model}, frozen": ("UniDEC", lambda cache, m=_model: {"encoder": _frozen(m, cache)}),
        f"bag + {_model}": (
            "UniDEC", lambda cache, m=_model: {"encoder": JoinedEncoder(_frozen(m, cache))}
        ),
        f"{_model}, trained": (
            "UniDEC", lambda cache, m=_model: {"encoder": pretrained_folder(m)} | TRAINED
        ),
        f"{_model}, adapters (LoRA)": (
            "UniDEC",
            lambda cache, m=_model: {
                "encoder": TransformerEncoder(
                    pretrained_folder(m), lora_rank=8, gradient_checkpointing=True
                ),
                "learning_rate": 5e-4,
            } | TRAINED,
        ),
    }  # fmt: skip


def cut(data: Bunch, n_rows: int | None) -> Bunch:
    """So many random training rows, and a quarter as many test rows."""
    if n_rows is None:
        return data
    rng = np.random.default_rng(0)
    for texts, Y, exclude, n in (
        ("texts", "Y", "exclude", n_rows),
        ("test_texts", "Y_test", "test_exclude", n_rows // 4),
    ):
        rows = np.sort(rng.permutation(len(data[texts]))[:n])
        data[texts], data[Y] = [data[texts][i] for i in rows], data[Y][rows]
        if data[exclude] is not None:
            data[exclude] = data[exclude][rows]
    return data


def measured(encoder: str, folder: str | None, n_rows: int | None, cache: str) -> dict[str, Any]:
    """Fit and evaluate."""
    import skxc

    name, data = load(folder)
    data = cut(data, n_rows)
    estimator, parameters = ENCODERS[encoder]
    model = getattr(skxc, estimator)(
        label_texts=data.label_texts, random_state=0, **parameters(cache)
    )
    seconds = _embedding(getattr(model, "encoder", None), data)
    loaded = resident_bytes()
    began = time.process_time()
    model.fit(data.texts, data.Y, exclude=data.exclude)
    fit_seconds = time.process_time() - began
    peak = peak_bytes() - loaded
    proba = model.predict_proba(data.test_texts, exclude=data.test_exclude)
    found = ranking_metrics(
        data.Y_test, proba, propensities=propensities(data.Y), exclude=data.test_exclude
    )
    return {
        "set": name,
        "encoder": encoder,
        "estimator": estimator,
        "rows": len(data.texts),
        "labels": model.n_labels_,
        **{measure: 100 * found[measure] for measure in MEASURES},
        "embed s": seconds,
        "fit s": fit_seconds,
        "MiB": peak / 2**20,
        "machine": machine(),
    }


def _embedding(encoder: Any, data: Bunch) -> float | None:
    """Seconds that embedding the texts and labels took; None where they were known."""
    encoder = getattr(encoder, "vectors", encoder)
    if not isinstance(encoder, TransformerEncoder) or encoder.trainable:
        return None
    from skxc._estimator._vectors import embedded

    fitted = encoder.fit([], seed=0)
    module, computed = fitted.build_module(), [0]
    compute = module._computed
    module._computed = lambda tokens: (computed.append(len(tokens)), compute(tokens))[1]
    began = time.process_time()
    for tokens in (fitted.tokenize(data.texts), fitted.tokenize_labels(data.label_texts)):
        import torch

        embedded(module, tokens, torch.float32, None, at_once=None, what="texts", is_verbose=False)
    n_texts = len(data.texts) + len(data.label_texts)
    return time.process_time() - began if sum(computed) > 0.5 * n_texts else None


def report(rows: list[dict[str, Any]]) -> str:
    """The tables, one a set."""
    lines = [
        "# Which encoder",
        "",
        "Made by `benchmarks/which_encoder.py` from `which_encoder.jsonl`; not written by hand.",
        "",
        f"- Machine: {'; '.join(sorted({row['machine'] for row in rows}))}",
        "- One thread; every fit in a process of its own, seed 0; accuracy on the test rows, in",
        "  percent; defaults, but epochs=3 where a transformer is trained",
        "- minilm: all-MiniLM-L6-v2, 22.7 M weights; e5: multilingual-e5-small, 118 M, from 4",
        "  bits a weight; wordllama: 32,000 vectors of 256 numbers",
        "- UniDEC; DualEncoderXC with epochs=0 where nothing, or the second stage alone, is",
        "  trained",
        "- Seconds are the CPU's: of embedding all texts and labels once, where that is needed,",
        "  and of the fit with these vectors; MiB: the fit's peak beside the data",
    ]
    for name, n_rows in dict.fromkeys((row["set"], row["rows"]) for row in rows):
        part = {r["encoder"]: r for r in rows if (r["set"], r["rows"]) == (name, n_rows)}
        labels = next(iter(part.values()))["labels"]
        lines += ["", f"## {name}: {n_rows:,} training texts, {labels:,} labels", ""]
        heads = [*MEASURES, "embed s", "fit s", "MiB"]
        lines += ["| encoder | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
        known = {e.split(",")[0].removeprefix("bag + "): r["embed s"] for e, r in part.items()
                 if r["embed s"] is not None}  # fmt: skip
        for encoder in (e for e in ENCODERS if e in part):
            row = part[encoder]
            model, _, how = encoder.removeprefix("bag + ").partition(", ")
            embed = known.get(model) if how not in ("trained", "adapters (LoRA)") else None
            cells = [f"{row[m]:.2f}" for m in MEASURES]
            cells.append("-" if embed is None else f"{embed:.0f}")
            cells += [f"{row['fit s']:.0f}", f"{row['MiB']:.0f}"]
            lines.append(f"| {encoder} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", metavar="FOLDER")
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=[*ENCODERS])
    parser.add_argument("--rows", type=int, help="so many training rows, drawn at random")
    parser.add_argument("--no-packaged", action="store_true", help="leave out the packaged set")
    parser.add_argument("--cache", default=str(Path(tempfile.gettempdir()) / "skxc-vectors"))
    parser.add_argument("--again", action="store_true", help="measure anew what is there already")
    parser.add_argument("--report", action="store_true", help="make the tables alone")
    args = parser.parse_args()
    folders = args.folders if args.no_packaged else [None, *args.folders]
    for folder in [] if args.report else folders:
        for encoder in args.encoders:
            name, data = load(folder)
            n_rows = len(cut(data, args.rows).texts)
            key = name, n_rows, encoder
            rows = _rows()
            if not args.again and any(key == _key(row) for row in rows):
                continue
            row = in_a_process(measured, encoder, folder, args.rows, args.cache)
            print(json.dumps(row), flush=True)
            rows = [r for r in _rows() if _key(r) != key] + [row]
            RESULTS.write_text("".join(json.dumps(r) + "\n" for r in rows))
    RESULTS.with_suffix(".md").write_text(report(_rows()))


def _rows() -> list[dict[str, Any]]:
    if not RESULTS.is_file():
        return []
    return [json.loads(line) for line in RESULTS.read_text().splitlines()]


def _key(row: dict[str, Any]) -> tuple[str, int, str]:
    return row["set"], row["rows"], row["encoder"]


if __name__ == "__main__":
    main()
