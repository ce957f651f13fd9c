"""Estimate what the recipes need on a GPU, by the formulas of docs/guide/methods.md.

    python examples/recipes/memory.py

Prints a Markdown table: GB (1e9 bytes) of the GPU's and the host's memory, and PFLOP per epoch.
Texts are counted at their greatest length, so these are upper bounds without the memory of drivers
and of PyTorch's allocator. Nothing here was measured on a GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml

HERE = Path(__file__).parent
# Bytes that autograd keeps of a token, a layer and a number of its width, under autocast to
# bfloat16 with fused attention: tests/test_recipes.py counts them on a CPU.
KEPT = 45
CHUNK = 1 << 28  # bytes, of label_chunk_size="auto" on a GPU
SCORES_AT_ONCE = 1 << 23  # of a dual encoder's step
LABEL_TOKENS = 32  # of a label's text, at most


class DataSet(NamedTuple):
    n_texts: int
    n_labels: int
    has_label_texts: bool = True


class Model(NamedTuple):
    n_layers: int
    dim: int
    n_parameters: int
    n_looked_up: int  # of them in tables of words and positions, which no product reads


DATA_SETS = {
    "eurlex-4k": DataSet(15_449, 3_956),
    "lf-amazontitles-131k": DataSet(294_805, 131_073),
    "lf-amazon-131k": DataSet(294_805, 131_073),
    "lf-wikiseealso-320k": DataSet(693_082, 312_330),
    "lf-wikipedia-500k": DataSet(1_813_391, 501_070),
    "lf-amazontitles-1.3m": DataSet(2_248_619, 1_305_265),
    "amazontitles-670k": DataSet(485_176, 670_091, False),
    "amazon-670k": DataSet(490_449, 670_091, False),
    "amazontitles-3m": DataSet(1_712_536, 2_812_281, False),
    "amazon-3m": DataSet(1_717_899, 2_812_281, False),
    "wiki-500k": DataSet(1_779_881, 501_070, False),
}
_DISTILBERT = Model(6, 768, 66_362_880, 23_834_112)
MODELS = {
    "distilbert-base-uncased": _DISTILBERT,
    "sentence-transformers/msmarco-distilbert-base-v4": _DISTILBERT,
    "sentence-transformers/paraphrase-distilroberta-base-v2": Model(6, 768, 81_527_808, 38_999_040),
    "sentence-transformers/all-roberta-large-v1": Model(24, 1024, 354_310_144, 51_998_720),
}


class Cost(NamedTuple):
    labels: int  # bytes on the GPU that grow with labels or pool
    activations: int  # bytes on the GPU
    encoder: int  # bytes on the GPU
    host: int  # bytes
    epoch: float  # floating-point operations


def cost(estimator: str, p: dict[str, Any]) -> Cost:
    """What a recipe takes; `p` are its lines, the data set among them as "data"."""
    of = {"renee": _renee, "dual-encoder": _dual_encoder, "unidec": _unidec}
    return of[estimator](p, p["data"], MODELS[p["encoder"]])


def _renee(p: dict[str, Any], data: DataSet, model: Model) -> Cost:
    n_weights = data.n_labels * _rounded_up(model.dim + 1)
    rows = 2 * (1 + (p["momentum"] > 0)) * n_weights  # bfloat16, and momentum in it
    n_documents = data.n_labels if data.has_label_texts else 0
    n_passes = 4 if p.get("encode_batch_size", p["batch_size"]) < p["batch_size"] else 3
    epoch = n_passes * (data.n_texts * _forward(p, model) + n_documents * _forward_label(p, model))
    epoch += 6 * (data.n_texts + n_documents) * n_weights
    n_at_once = min(p.get("encode_batch_size", p["batch_size"]), p["batch_size"])
    return Cost(rows + CHUNK, *_encoder(p, model, n_at_once), 4 * n_weights, epoch)


def _dual_encoder(p: dict[str, Any], data: DataSet, model: Model) -> Cost:
    batch_size, table = p["batch_size"], 4 * data.n_labels * model.dim
    scores = min(batch_size * data.n_labels, SCORES_AT_ONCE)
    n_at_once = min(p["encode_batch_size"], batch_size + data.n_labels)
    # every label is embedded twice, once of them with a gradient, and scored twice
    step = data.n_labels * (4 * _forward_label(p, model) + 8 * batch_size * model.dim)
    epoch = 3 * data.n_texts * _forward(p, model) + _n_steps(p, data) * step
    return Cost(table + 16 * scores, *_encoder(p, model, n_at_once), table, epoch)


def _unidec(p: dict[str, Any], data: DataSet, model: Model) -> Cost:
    batch_size, pool_size, dim = p["batch_size"], p["pool_size"], p["projection_dim"]
    table = 2 * 4 * data.n_labels * dim
    n_at_once = min(p["encode_batch_size"], batch_size + pool_size)
    n_passes = 3 if n_at_once == batch_size + pool_size else 4
    of_pool = n_passes * _forward_label(p, model) + 12 * batch_size * dim
    mining = data.n_texts * _forward(p, model) + data.n_labels * _forward_label(p, model)
    mining += 4 * data.n_texts * data.n_labels * dim
    epoch = n_passes * data.n_texts * _forward(p, model) + _n_steps(p, data) * pool_size * of_pool
    # rows and their two moments, on the GPU; both halves, and both joined, when labels are searched
    return Cost(
        7 * table // 2 + 16 * batch_size * pool_size,
        *_encoder(p, model, n_at_once),
        2 * table,
        epoch + mining / p["mining_interval"],
    )


def _encoder(p: dict[str, Any], model: Model, n_texts: int) -> tuple[int, int]:
    """What autograd keeps of texts embedded at once; weights, gradients and AdamW's moments."""
    n_tokens = n_texts * p["transformer"]["max_length"]
    return KEPT * model.n_layers * model.dim * n_tokens, 16 * model.n_parameters


def _forward(p: dict[str, Any], model: Model, n_tokens: int | None = None) -> float:
    """Operations of embedding one text."""
    n_tokens = n_tokens or p["transformer"]["max_length"]
    in_products = 2.0 * (model.n_parameters - model.n_looked_up) * n_tokens
    return in_products + 4 * model.n_layers * model.dim * n_tokens**2


def _forward_label(p: dict[str, Any], model: Model) -> float:
    return _forward(p, model, min(p["transformer"]["max_length"], LABEL_TOKENS))


def _n_steps(p: dict[str, Any], data: DataSet) -> int:
    return -(-data.n_texts // p["batch_size"])


def _rounded_up(dim: int) -> int:
    """Rows of Renee's table begin 8 numbers apart, or a multiple of it."""
    return -(-dim // 8) * 8


def read(recipe: Path) -> dict[str, Any]:
    """A recipe's lines, and its data set as "data"."""
    parameters = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    return parameters | {"data": DATA_SETS[recipe.stem.removesuffix("-soft-top-5")]}


def main() -> None:
    print("| recipe | GPU | of it labels | activations | host | PFLOP an epoch |")
    print("|---|---|---|---|---|---|")
    for recipe in sorted(HERE.glob("*/*.yaml")):
        of = cost(recipe.parent.name, read(recipe))
        on_gpu = of.labels + of.activations + of.encoder
        values = [f"{v / 1e9:.1f}" for v in (on_gpu, of.labels, of.activations, of.host)]
        name = f"{recipe.parent.name}/{recipe.stem}"
        print(f"| {name} | {' | '.join(values)} | {of.epoch / 1e15:,.0f} |")


if __name__ == "__main__":
    main()
