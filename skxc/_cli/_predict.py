"""`skxc predict`: texts in blocks, answers in the same order, in constant memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from skxc._persistence import local_folder

from ._answers import Answers, Task, answering, header
from ._errors import InputError, input_checked
from ._parquet import arrow, parquet_file, write_parquet
from ._resuming import check_unchanged, fingerprint, opened_part
from ._streams import (
    TEXTS_AT_ONCE,
    batches,
    check_not_input,
    is_special,
    opened_input,
    opened_output,
    tell,
)
from ._workers import Answering, opened_workers

_FORMATS = {".tsv": "tsv", ".csv": "csv", ".parquet": "parquet"}  # by the ending of --out


def predict(
    *,
    model: str,
    texts: str | None,
    text: list[str] | None,
    encoding: str,
    top_k: int,
    format: str | None,
    out: str | None,
    resume: bool,
    workers: int,
    device: str | None,
) -> None:
    """The best labels of each text, as the texts arrive."""
    path = texts or "-"
    ending = Path(out or "").suffix.lower()
    task = Task(model, device, top_k, format or _FORMATS.get(ending, "jsonl"))
    is_stream = path == "-" or is_special(path)
    check_not_input(out, path)
    _check_options(task, out, workers, resume=resume)
    with ExitStack() as stack:
        if is_stream:
            _check_stream(path, text, encoding, workers, resume=resume)
            blocks = batches(stack.enter_context(opened_input(path)), path)
        else:
            values = _file_column(path, text, encoding)
            blocks = _blocks(values, 0)
        with input_checked():  # of the hub, the same commit for all that is read, by all workers
            task = task._replace(model=local_folder(model))
        if resume and out is not None and not is_stream:
            _predict_on(task, values, out, workers)
            return
        answered = stack.enter_context(_answering(task, workers))
        write = stack.enter_context(_written(out, task))
        for answers in answered(blocks):
            write(answers)


@contextmanager
def text_blocks(path: str, text: list[str] | None, encoding: str) -> Iterator[Iterator[list[str]]]:
    """The texts of a file or of standard input, in blocks."""
    if path == "-" or is_special(path):
        _check_stream(path, text, encoding, 1, resume=False)
        with opened_input(path) as file:
            yield batches(file, path)
    else:
        yield _blocks(_file_column(path, text, encoding), 0)


def _predict_on(task: Task, values: Any, out: str, workers: int) -> None:
    """Go on where an earlier run ended."""
    begun_with = fingerprint(task, values)
    with opened_part(out, begun_with, header(task)) as part:
        if part.n_rows:
            tell(f"skxc: {part.path} has {part.n_rows:,} rows: going on after them\n")
        with _answering(task, workers) as answered:
            if fingerprint(task, values) != begun_with:
                raise InputError(f"{task.model} or {values.path} was just replaced. Start again.")
            for answers in answered(_blocks(values, part.n_rows)):
                part.write(answers)
        check_unchanged(values, begun_with)
        part.finish(write_parquet if task.format == "parquet" else None)


def _check_options(task: Task, out: str | None, workers: int, *, resume: bool) -> None:
    if task.top_k < 1:
        raise InputError(f"--top_k is {task.top_k}. Pass at least 1.")
    if workers < 1:
        raise InputError(f"--workers is {workers}. Pass at least 1.")
    if resume and out is None:
        raise InputError("--resume needs --out FILE, beside which the answers so far are kept.")
    if task.format == "parquet":
        if out is None:
            raise InputError("--format parquet needs --out FILE: it is no format for a stream.")
        arrow()


def _check_stream(path: str, text: Any, encoding: str, workers: int, *, resume: bool) -> None:
    """Raise for options that need a file of texts."""
    named = {
        "--text": text is not None,
        "--encoding": encoding != "utf-8",
        "--workers": workers > 1,
        "--resume": resume,
    }
    for option in (option for option, is_given in named.items() if is_given):
        source = "standard input" if path == "-" else f"{path}, a pipe or device,"
        raise InputError(f"{option} is not possible with {source} as TEXTS. Pass a file.")


def _file_column(path: str, text: list[str] | None, encoding: str) -> Any:
    """Columns of texts, of which one that a row lacks is empty."""
    from skxc.datasets import FileColumn

    try:
        with input_checked():
            names = FileColumn(path, None, encoding).column if text is None else text
            return FileColumn(path, [names] if isinstance(names, str) else names, encoding)
    except ImportError as error:
        raise InputError(str(error)) from error


def _blocks(values: Any, start: int) -> Iterator[list[str]]:
    """The texts of a file from a row on; those before a wrong one, then its error.

    A run that goes on begins at the end of a block, so that its blocks are those of a whole run:
    the last bits of a score may depend on the texts beside it.
    """
    with input_checked():
        rows = values.rows(start)
    n_before, is_over, is_told = start, False, values.column is None
    while not is_over:
        texts, problem = list[str](), None
        try:
            with input_checked():
                texts.extend(islice(rows, TEXTS_AT_ONCE))
        except InputError as error:
            problem = error
        if not is_told and "" in texts:
            is_told = True
            row = n_before + texts.index("")
            warnings.warn(
                f"{values.path}, row {row} (counted from 0): there is no text. This and other such "
                f"rows are answered as empty texts.",
                stacklevel=1,
            )
        n_before += len(texts)
        if texts:
            yield texts
        if problem is not None:
            raise problem
        is_over = len(texts) < TEXTS_AT_ONCE


@contextmanager
def _answering(task: Task, workers: int) -> Iterator[Answering]:
    """What answers blocks of texts, in order: this process, or several others."""
    if workers == 1:
        answered = answering(task)
        yield lambda blocks: map(answered, blocks)
        return
    with opened_workers(task, workers) as answered_by_all:
        yield answered_by_all


@contextmanager
def _written(out: str | None, task: Task) -> Iterator[Callable[[Answers], None]]:
    """What writes answers."""
    with opened_output(out) as file:
        if task.format == "parquet":
            with parquet_file(file) as write:
                yield lambda answers: write(answers.content)
            return

        file.write(header(task))

        def write_lines(answers: Answers) -> None:
            file.write(answers.content)
            file.flush()

        yield write_lines
