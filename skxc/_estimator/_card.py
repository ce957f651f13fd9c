"""The model card: what a repository of the hub says of its model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml

from skxc._validation import check_real

from ._fitted import FittedModel

Metrics = Mapping[str, float]

_N_LABELS, _LONGEST = 10, 80  # that are shown; characters of a name
_NOT_TOLD = "Not told."


def model_card(
    model: FittedModel,
    repo_id: str,
    *,
    licence: str | None,
    data: str | None,
    metrics: Metrics | None,
) -> str:
    """The card as Markdown, with its header for the hub."""
    name = repo_id.partition("/")[2]
    header = yaml.safe_dump(
        _header(name, licence, data, metrics), allow_unicode=True, sort_keys=False
    )
    sections = {
        "How to use it": _usage(repo_id),
        "What it is": _facts(model),
        "Labels": _labels(model),
        "Training data": data or _NOT_TOLD,
        "Metrics": _table(metrics) if metrics else _NOT_TOLD,
        "Limits": _limits(model),
        "Licence": licence or _NOT_TOLD,
    }
    parts = [f"## {title}\n\n{text.strip()}" for title, text in sections.items()]
    return "\n\n".join([f"---\n{header}---", f"# {name}", *parts]) + "\n"


def check_told(licence: Any, data: Any, metrics: Any) -> None:
    """Raise unless this can be written into a card."""
    for name, value in (("licence", licence), ("data", data)):
        if not isinstance(value, str | None):
            raise TypeError(f"{name} must be a str or None, got {value!r:.100}.")
    if metrics is None:
        return
    if not isinstance(metrics, Mapping) or not all(isinstance(key, str) for key in metrics):
        raise TypeError(
            f"metrics must be a dict of numbers by name, as skxc.metrics.ranking_metrics gives it, "
            f"got {metrics!r:.100}."
        )
    for name, value in metrics.items():
        check_real(f"metrics[{name!r}]", value, low=-np.inf)


def _header(
    name: str, licence: str | None, data: str | None, metrics: Metrics | None
) -> dict[str, Any]:
    """What the hub reads: it lists and finds models by it."""
    header: dict[str, Any] = {
        "library_name": "skxc",
        "pipeline_tag": "text-classification",
        "tags": ["skxc", "multi-label", "extreme-classification"],
    }
    if licence is not None:
        header["license"] = licence
    if metrics:
        found = [{"type": key, "value": float(value)} for key, value in metrics.items()]
        told = " ".join(data.split())[:_LONGEST] if data else "not told"
        header["model-index"] = [
            {
                "name": name,
                "results": [
                    {
                        "task": {"type": "text-classification"},
                        "dataset": {"type": "other", "name": told},
                        "metrics": found,
                    }
                ],
            }
        ]
    return header


def _usage(repo_id: str) -> str:
    return f"""
```bash
pip install skxc
```

```python
import skxc

clf = skxc.load("hf://{repo_id}")
clf.predict_labels(["a text"], k=5)  # names, best first
```

Loading executes nothing of this repository. For the very same model later on, name the commit:
`hf://{repo_id}@COMMIT`. On the command line: `skxc predict hf://{repo_id} texts.txt`.
"""


def _facts(model: FittedModel) -> str:
    encoder = " ".join(repr(model.encoder_).split())
    return "\n".join(
        [
            f"- `{type(model).__name__}` of skxc, extreme multi-label "
            f"text classification: it gives a text the best of all its labels.",
            f"- Encoder: `{encoder.replace('`', '')}`",
            f"- Labels: {model.n_labels_:,}",
            f"- Training texts: {model.n_samples_seen_:,}; epochs: {model.n_iter_:,}",
        ]
    )


def _labels(model: FittedModel) -> str:
    """The most frequent ones."""
    best = np.argsort(-model.label_counts_, kind="stable")[:_N_LABELS]
    names, counts = model.label_names_[best].tolist(), model.label_counts_[best].tolist()
    rows = [f"| {_plain(name)} | {n:,} |" for name, n in zip(names, counts, strict=True)]
    return "\n".join(
        ["The most frequent ones:", "", "| label | training texts |", "|---|---:|", *rows]
    )


def _plain(name: Any) -> str:
    """A name in one line, whose characters are no markup."""
    text = " ".join(str(name).split())
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&$-])", r"\\\1", text)


def _table(metrics: Metrics) -> str:
    """A row for each kind of metric, a column for each cut."""
    parts = [name.partition("@") for name in metrics]
    kinds = list(dict.fromkeys(kind for kind, _, _ in parts))
    cuts = list(dict.fromkeys(at + cut for _, at, cut in parts))
    lines = ["| |" + "".join(f" {_plain(cut)} |" for cut in cuts), "|---|" + "---:|" * len(cuts)]
    for kind in kinds:
        cells = (f"{metrics[kind + cut]:.4f}" if kind + cut in metrics else "" for cut in cuts)
        lines.append(f"| {_plain(kind)} |" + "".join(f" {cell} |" for cell in cells))
    return "\n".join(lines)


def _limits(model: FittedModel) -> str:
    n_unseen = int((~model.is_seen_).sum())
    return (
        "It knows the labels above and no others, and the kind of text it was trained on. "
        "A probability says how often such a label was right on texts like those, not more."
        + (f" {n_unseen:,} of the labels have no training text." if n_unseen else "")
    )
