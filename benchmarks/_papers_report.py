"""What follows from the ranks of the true labels: measures, differences, intervals, tables."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from zlib import decompress

import numpy as np
import scipy.sparse as sp
from _papers_variants import FINDINGS, VARIANTS, Finding
from numpy.typing import NDArray

MEASURES = ("P@1", "P@5", "R@5", "R@100", "PSP@1", "PSP@5")
_DRAWS = 2000


def text_values(
    ranks: NDArray[np.uint8],  # of the true pairs in the order of CSR, from 1; 0: not found
    Y: sp.csr_array,
    weights: NDArray[np.float64],  # (n_labels,) inverse propensities
    measure: str,
) -> NDArray[np.float64]:  # (n_texts,) per cent; their mean is the measure
    """What each text adds to a measure."""
    name, _, k = measure.partition("@")
    is_found = (ranks > 0) & (ranks <= int(k))
    n_true, n_texts = np.diff(Y.indptr), Y.shape[0]
    rows = np.repeat(np.arange(n_texts), n_true)
    values = weights[Y.indices] if name == "PSP" else np.ones(Y.nnz)
    found = np.bincount(rows, is_found * values, n_texts)
    if name == "P":
        return 100 * found / int(k)
    if name == "R":
        return 100 * found / n_true.clip(1)
    # of the best ranking that there could be: the labels of the largest weights
    order = np.lexsort((-values, rows))
    places = np.arange(Y.nnz) - np.repeat(Y.indptr[:-1], n_true)
    best = np.bincount(rows, values[order] * (places < int(k)), n_texts)
    return 100 * found / best.mean()


class Difference(NamedTuple):
    """Of two variants, in points, with its interval of 95 per cent."""

    mean: float
    low: float
    high: float
    n_seeds: int
    margin: float = 0.0

    @classmethod
    def of(cls, better: Values, worse: Values, margin: float = 0.0) -> Difference:
        """By bootstrap over the seeds that both have, and over the test texts, at once."""
        seeds = sorted(better.keys() & worse.keys())
        gains = np.stack([better[seed] - worse[seed] for seed in seeds])  # (n_seeds, n_texts)
        rng, n_seeds, n_texts = np.random.default_rng(0), *gains.shape
        means = np.empty(_DRAWS)
        for i in range(_DRAWS):
            drawn = gains[rng.integers(n_seeds, size=n_seeds)].mean(0)
            means[i] = drawn[rng.integers(n_texts, size=n_texts)].mean()
        low, high = np.quantile(means, [0.025, 0.975])
        return cls(float(gains.mean()), float(low), float(high), n_seeds, margin)

    def __str__(self) -> str:
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"

    @property
    def verdict(self) -> str:
        """Whether the finding holds here."""
        if self.low > self.margin:
            return "holds"
        return "does not" if self.high < self.margin else "undecided"


Values = Mapping[int, NDArray[np.float64]]  # of each text, by seed


class SetResults:
    """All fits on one set with one encoder."""

    def __init__(
        self,
        rows: list[dict[str, Any]],  # lines of the results
        Y_test: sp.csr_array,
        weights: Mapping[int, NDArray[np.float64]],  # inverse propensities, by seed
    ) -> None:
        self.rows, self.Y_test, self.weights = rows, Y_test, weights

    def of(self, variant: str) -> dict[int, dict[str, Any]]:
        """The lines of a variant, by seed."""
        return {row["key"][3]: row for row in self.rows if row["key"][2] == variant}

    def values(self, variant: str, measure: str) -> Values:
        """What each test text adds, by seed."""
        return {
            seed: text_values(
                np.frombuffer(decompress(b64decode(row["ranks"])), np.uint8),
                self.Y_test,
                self.weights[seed],
                measure,
            )
            for seed, row in self.of(variant).items()
        }

    def variants(self) -> Iterator[list[str]]:
        """Rows of the table of variants."""
        for name in VARIANTS:
            rows = list(self.of(name).values())
            if not rows:
                continue
            start = VARIANTS[name].start
            before = 0.0 if start is None else _mean(self.of(start).values(), "fit CPU s")
            cells = [f"{_mean(rows, measure):.2f}" for measure in MEASURES]
            seconds = _mean(rows, "fit CPU s") + before
            yield [name, *cells, f"{seconds:.0f}", f"{_mean(rows, 'MiB'):.0f}", str(len(rows))]

    def findings(self) -> Iterator[tuple[Finding, str, Difference]]:
        """Those that both variants have been fitted for."""
        for finding in FINDINGS:
            if self.of(finding.better).keys() & self.of(finding.worse).keys():
                for measure in finding.measures:
                    parts = (self.values(v, measure) for v in (finding.better, finding.worse))
                    yield finding, measure, Difference.of(*parts, finding.margin)


def _mean(rows: Any, name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def table(heads: list[str], rows: list[list[str]], n_words: int = 1) -> list[str]:
    """A Markdown table, whose first columns are words and the others numbers."""
    ruler = ["---"] * n_words + ["---:"] * (len(heads) - n_words)
    return [f"| {' | '.join(cells)} |" for cells in (heads, ruler, *rows)]


def report(sets: Mapping[str, SetResults], machines: list[str]) -> str:
    """All tables."""
    lines = [
        "# The papers' findings, here",
        "",
        "Made by `benchmarks/papers.py` from `papers.jsonl`; not written by hand.",
        "",
        f"- Machine: {'; '.join(machines)}, one thread a fit",
        "- A difference is a mean over seeds and test texts, in points; its interval of 95 per",
        "  cent is by bootstrap over both. holds: the interval is above 0 (or, where a finding",
        "  leaves a point, above -1); does not: below it; else undecided.",
        "- Seconds are the CPU's, of the fit, and of the encoder that a warm start begins from;",
        "  MiB: the fit's peak beside the data.",
    ]
    for name, results in sets.items():
        lines += ["", f"## {name}", ""]
        heads = ["variant", *MEASURES, "fit CPU s", "MiB", "seeds"]
        lines += [*table(heads, list(results.variants())), ""]
        rows = [
            [
                f.paper,
                f.claim,
                f"{f.better} - {f.worse}",
                measure,
                str(d),
                str(d.n_seeds),
                d.verdict,
            ]
            for f, measure, d in results.findings()
        ]
        heads = ["paper", "finding", "difference", "measure", "points", "seeds", "here"]
        lines += table(heads, rows, n_words=4)
    return "\n".join(lines) + "\n"
