"""The counts of all doors, at the end of the run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tries import counts

_OUTCOMES = ("right", "clear error", "fault")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A table of what was tried."""
    if not counts:
        return
    terminalreporter.section("random tries")
    rows = {door: [sum(c.values()), *(c[o] for o in _OUTCOMES)] for door, c in counts.items()}
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    for door, row in [("door", ["tried", *_OUTCOMES]), *rows.items()]:
        terminalreporter.write_line(f"{door:<24}" + "".join(f"{cell:>13}" for cell in row))
    if report := os.environ.get("SKXC_FUZZ_REPORT"):
        Path(report).write_text(json.dumps({d: dict(c) for d, c in counts.items()}, indent=1))
