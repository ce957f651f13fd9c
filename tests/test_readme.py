"""The README's example runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_ten_line_example_runs_and_answers_in_names():
    code = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[0]
    names: dict[str, object] = {}
    exec(code, names)
    best = names["clf"].predict_labels(["apple tart", "a trout on the grill"], k=1)
    assert best == [["fruit"], ["fish"]]
