"""Answers of several processes, each with the model, in the order of the texts."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context, resource_tracker
from queue import SimpleQueue
from typing import Any, NamedTuple

from ._answers import Answers, Task, answering
from ._errors import InputError, one_line
from ._streams import tell

_ENDING = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
_SECONDS = 10  # for a process that has closed its pipe to end


class _Reply(NamedTuple):
    """What a worker gives for a block of texts."""

    answers: Answers | None
    problem: str | None
    is_input_error: bool
    trace: str  # of the problem
    warned: list[str]


# ------------------------------------------------------------------------------ in the main process
Answering = Callable[[Iterable[list[str]]], Iterator[Answers]]


@contextmanager
def opened_workers(task: Task, n_workers: int) -> Iterator[Answering]:
    """What has processes answer blocks of texts, in order; they end when it does."""
    free, workers = SimpleQueue[_Worker](), [_Worker(task, n_workers) for _ in range(n_workers)]

    def ask(texts: list[str]) -> Answers:
        worker = free.get()
        try:
            return worker.ask(texts)
        finally:
            free.put(worker)

    def answered(blocks: Iterable[list[str]]) -> Iterator[Answers]:
        pending, problems = deque[Future[Answers]](), list[InputError]()
        for texts in _until_problem(blocks, problems):
            if len(pending) == 2 * n_workers:  # one in work and one that waits, for each
                yield pending.popleft().result()
            pending.append(threads.submit(ask, texts))
        while pending:
            yield pending.popleft().result()
        if problems:
            raise problems[0]

    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(n_workers))
        stack.callback(_end, workers)  # before it is waited for the threads, which wait for these
        _start(workers)
        for worker in workers:
            worker.receive()  # it has loaded the model
            free.put(worker)
        yield answered


def _until_problem(blocks: Iterable[list[str]], problems: list[InputError]) -> Iterator[list[str]]:
    """The blocks before an error in the texts, which is kept until these are answered."""
    try:
        yield from blocks
    except InputError as error:
        problems.append(error)


class _Worker:
    """A process and the pipe to it."""

    def __init__(self, task: Task, n_workers: int) -> None:
        context = get_context("spawn")
        self._pipe, self._other_end = context.Pipe()
        self.process = context.Process(
            target=_work, args=(self._other_end, task, n_workers), daemon=True
        )

    def start(self) -> None:
        self.process.start()
        self._other_end.close()  # so that the pipe ends with the process

    def ask(self, texts: list[str]) -> Answers:
        try:
            self._pipe.send(texts)
        except OSError as error:
            raise self._death() from error
        answers = self.receive()
        assert answers is not None
        return answers

    def receive(self) -> Answers | None:
        try:
            reply: _Reply = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error
        for text in reply.warned:
            warnings.warn(text, stacklevel=1)
        if reply.problem is not None:
            if os.environ.get("SKXC_DEBUG"):
                tell(reply.trace)
            raise InputError(reply.problem) if reply.is_input_error else OSError(reply.problem)
        return reply.answers

    def _death(self) -> OSError:
        self.process.join(_SECONDS)
        code = self.process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return OSError(
            f"A worker process has ended ({how}). Where memory is short, the system kills: pass "
            f"fewer --workers."
        )


def _start(workers: list[_Worker]) -> None:
    """Start all; a Ctrl-C meanwhile is for this process."""
    resource_tracker.ensure_running()  # which would let through what is held back here
    before = _mask_signals("SIG_BLOCK", _ENDING)  # which the processes inherit
    try:
        for worker in workers:
            worker.start()
    finally:
        _mask_signals("SIG_SETMASK", before)


def _mask_signals(how: str, numbers: Iterable[int]) -> Iterable[int]:
    """Change which signals wait, and return which did before; Windows has no such thing."""
    if not hasattr(signal, "pthread_sigmask"):
        return ()
    return signal.pthread_sigmask(getattr(signal, how), numbers)


def _end(workers: list[_Worker]) -> None:
    """End all at once: they hold nothing that would be lost."""
    started = [worker.process for worker in workers if worker.process.pid is not None]
    for process in started:
        process.kill()
    for process in started:
        process.join()


# ------------------------------------------------------------------------------------- in workers
def _work(pipe: Any, task: Task, n_workers: int) -> None:
    """Answer blocks of texts until the main process ends, which alone obeys signals."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    _mask_signals("SIG_UNBLOCK", _ENDING)
    answered: Any = None

    def load() -> None:
        nonlocal answered
        import torch

        torch.set_num_threads(max(1, torch.get_num_threads() // n_workers))
        answered = answering(task)

    try:
        pipe.send(_reply(load))
        while answered is not None:
            texts = pipe.recv()
            pipe.send(_reply(lambda: answered(texts)))  # noqa: B023
    except (EOFError, OSError):  # the main process has ended
        sys.exit()


def _reply(act: Callable[[], Answers | None]) -> _Reply:
    """What an action gives, or its error, and its warnings."""
    problem, is_input_error, trace, answers = None, False, "", None
    with warnings.catch_warnings(record=True) as caught:
        try:
            answers = act()
        except Exception as error:
            problem, is_input_error = one_line(error), isinstance(error, InputError)
            trace = traceback.format_exc()
    return _Reply(answers, problem, is_input_error, trace, [str(w.message) for w in caught])
