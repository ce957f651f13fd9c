"""The tables of a run of `benchmarks/gpu.sh`: what ran, the steps, the estimators beside a CPU's.

    python benchmarks/gpu_summary.py OUT [--cpu FILE]

Reads what `gpu.sh` has left in OUT, also where it was stopped, prints the tables and writes them to
OUT/summary.md. FILE has the lines that `gpu_estimators.py` wrote on a machine without a GPU.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

CPU = Path(__file__).parent / "results" / "gpu_estimators_cpu.jsonl"
KEY = ("estimator", "set", "encoder", "texts", "labels", "epochs", "set to")
MEANINGS = {0: "", 124: "stopped at its limit", 137: "killed: at its limit, or for lack of memory"}


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join('' if x is None else str(x) for x in row)} |" for row in lines)


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def parts(out: Path) -> str:
    """What ran, how it ended and how long it took."""
    rows = []
    for line in lines_of(out / "parts.tsv"):
        name, status, seconds, limit = line.split("\t")
        log = "tests.txt" if name == "tests" else "log.txt"
        note = MEANINGS.get(int(status), f"FAILED: see {log}")
        if int(limit) <= 0:
            note = "no time was left"
        if name == "tests":
            is_count = re.compile(r"\d+ (passed|failed|error|skipped)").search
            counts = [text for text in lines_of(out / "tests.txt") if is_count(text)]
            note = " ".join([note, *counts[-1:]]).strip(" =")
        rows.append((name, status, seconds, limit, note))
    return table(("part", "exit", "s", "at most", ""), rows)


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def read(path: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The rows of estimators; a row's two lines are joined. Half a line is left out."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in lines_of(path):
        try:
            row = json.loads(line)
        except ValueError:
            print(f"{path}: not read: {line[:60]} ...")
            continue
        rows[key_of(row)] = rows.get(key_of(row), {}) | row
    return rows


def estimators(out: Path, cpu: Path) -> str:
    """Accuracy, seconds and memory, beside those of a CPU where the same was run there."""
    on_cpu = read(cpu)
    header = (
        "estimator", "set", "encoder", "texts", "epochs", "card", "P@1 / 3 / 5",
        "on a CPU", "fit s", "on a CPU", "step ms", "texts/s", "on a CPU", "peak / estimate MiB",
        "estimate / peak", "GPU busy",
    )  # fmt: skip
    rows = []
    for key, row in read(out / "estimators.jsonl").items():
        other, peak = on_cpu.get(key, {}), row["peak MiB"]
        memory = ratio = None
        if peak:
            memory = f"{peak:,} / {row['estimate MiB']:,}"
            ratio = f"{row['estimate MiB'] / peak:.2f}"
        rows.append((
            *(row[name] for name in ("estimator", "set", "encoder", "texts", "epochs", "card")),
            precisions(row), precisions(other), row["fit s"], other.get("fit s"),
            row.get("step ms"), row["texts/s"], other.get("texts/s"), memory, ratio,
            row.get("GPU busy"),
        ))  # fmt: skip
    return table(header, rows)


def precisions(row: dict[str, Any]) -> str | None:
    return " / ".join(f"{row[name]:.2f}" for name in ("P@1", "P@3", "P@5")) if row else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--cpu", type=Path, default=CPU)
    args = parser.parse_args()
    texts = [parts(args.out), "\n".join(lines_of(args.out / "gpu.md"))]
    texts.append(estimators(args.out, args.cpu))
    texts.append("\n".join(lines_of(args.out / "compiled.md")))
    text = "\n\n".join(filter(None, texts))
    (args.out / "summary.md").write_text(text + "\n", encoding="utf-8")
    print("\n" + text)


if __name__ == "__main__":
    main()
