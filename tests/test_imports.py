"""What imports, and fits that do not need it, do not load: it is slow, or not installed."""

from __future__ import annotations

import subprocess
import sys

SLOW = ["torch", "transformers", "matplotlib"]
COMPILER = ["sympy", "torch._dynamo", "torch.fx.experimental.symbolic_shapes"]
FIT = "{name}({options}epochs=1, label_texts=names).fit(['a b', 'c d'] * 30, [['x'], ['y']] * 30)"
# one after the other in one process: what a step may load comes in those after it
STEPS = [
    ("import skxc; assert 'load' in dir(skxc)", SLOW),
    ("import skxc.metrics", SLOW),
    ("import skxc.model_selection", SLOW),
    ("import skxc.datasets; assert skxc.datasets.load_library_subjects().Y.shape[1] == 1500", SLOW),
    (
        "from skxc.encoders._transformer import TransformerEncoder\n"
        "TransformerEncoder('x').get_params()",
        ["transformers"],
    ),
    (
        "from skxc import DualEncoderXC, ReneeClassifier, UniDEC; names = ['x', 'y']\n"
        + FIT.format(name="ReneeClassifier", options="rerank_weight=0, ")
        + ".predict(['a'])",
        ["numba", *COMPILER],
    ),
    # half a second of every process, and more of a small fit
    *(
        (FIT.format(name=name, options=""), COMPILER)
        for name in ("UniDEC", "DualEncoderXC", "ReneeClassifier")
    ),
]


def test_nothing_is_imported_before_it_is_needed():
    shown = "\nprint([name for name in {names} if name in sys.modules])\n"
    code = "import sys\n" + "".join(step + shown.format(names=names) for step, names in STEPS)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert dict(zip([step for step, _ in STEPS], done.stdout.splitlines(), strict=True)) == {
        step: "[]" for step, _ in STEPS
    }
    assert done.stderr == ""
