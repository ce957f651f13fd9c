"""The README's example runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_examples_run_and_answer_in_names():
    codes = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(codes[0], names)
    best = names["clf"].predict_labels(["apple tart", "a trout on the grill"], k=1)
    assert best == [["fruit"], ["fish"]]
    exec(codes[1], names)
    best = names["clf"].predict_labels(["a trout on the grill"], k=2)
    assert set(best[0]) == {"trout", "fish"}
