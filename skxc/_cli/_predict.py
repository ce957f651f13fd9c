"""`skxc predict`."""

from __future__ import annotations

from ._answers import best, json_line, loaded, tab_separated_line
from ._errors import InputError
from ._streams import batches, opened_input, opened_output


def predict(
    *, model: str, texts: str | None, top_k: int, format: str, out: str | None, device: str | None
) -> None:
    """One line of labels for each line of text, as they arrive."""
    if top_k < 1:
        raise InputError(f"--top_k is {top_k}. Pass at least 1.")
    line = json_line if format == "jsonl" else tab_separated_line
    path = texts or "-"
    with opened_input(path) as source:
        clf = loaded(model, device)
        with opened_output(out) as output:
            for batch in batches(source, path):
                lines = [line(*row) for row in best(clf, batch, top_k)]
                # lone surrogates, from a label file, as JSON escapes them
                output.write("".join(lines).encode(errors="backslashreplace"))
                output.flush()
