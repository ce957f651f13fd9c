"""What follows from the ranks of the true labels: measures, differences, intervals, tables."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any
from zlib import decompress

import numpy as np
import scipy.sparse as sp
from _papers_variants import FINDINGS, VARIANTS, Finding
from _true_ranks import Difference, Values, text_values
from numpy.typing import NDArray

MEASURES = ("P@1", "P@5", "R@5", "R@100", "PSP@1", "PSP@5")


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
    known = [row[name] for row in rows if row[name] is not None]  # not where a fit was resumed
    return float(np.mean(known)) if known else np.nan


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
        "  leaves a point, above -1); does not: below it; else undecided. Of one seed there is no",
        "  verdict: its interval knows the texts alone. One interval in twenty is wrong by chance.",
        "- Seconds are the CPU's, of the fit, and of the encoder that a warm start begins from;",
        "  MiB: the fit's peak beside the data.",
    ]
    for name, results in sets.items():
        lines += ["", f"## {name}", ""]
        heads = ["variant", *MEASURES, "fit CPU s", "MiB", "seeds"]
        lines += [*table(heads, list(results.variants())), ""]
        rows = [
            [f.paper, f.claim, measure, str(d), str(d.n_seeds), d.verdict]
            for f, measure, d in results.findings()
        ]
        heads = ["paper", "finding", "measure", "points", "seeds", "here"]
        lines += table(heads, rows, n_words=3)
    return "\n".join(lines) + "\n"
