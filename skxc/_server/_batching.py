"""One thread that has the model, and answers what waits for it together.

A call for 64 texts takes a few times as long as one for a single text. While one call runs, the
requests that arrive wait and make the next: nothing waits for company.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ._limits import RefusalError
from ._model import Served
from ._requests import Question

TEXTS_AT_ONCE = 128  # of several requests; one with more is answered alone
_END = 5.0  # seconds: the interpreter should not end in the middle of a thread's call


@dataclass(eq=False)
class Job:
    """A question that somebody waits for."""

    question: Question
    # makes the answer's bytes of what the model says: the `Best` of each text, or its explanation.
    # The model's thread calls it: the event loop would answer nobody else meanwhile
    written: Callable[[Served, Any], bytes]
    future: asyncio.Future[bytes]


class Batcher:
    """Questions in, answers out, in the event loop; the model's thread is its own.

    Parameters
    ----------
    current : callable
        Gives the model that is to answer.
    max_waiting : int
        Texts that may wait.
    """

    def __init__(self, current: Callable[[], Served], max_waiting: int) -> None:
        self._current, self._max_waiting = current, max_waiting
        self._jobs, self._n_waiting, self._is_over = deque[Job](), 0, False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="skxc-model", daemon=True)

    def start(self) -> None:
        """Answer, until `stop`."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """Answer no more; a call that still runs is waited for, but not for long."""
        with self._changed:
            self._is_over = True
            self._changed.notify()
        self._thread.join(_END)

    # ------------------------------------------------------------------------ in the event loop
    def put(self, question: Question, written: Callable[[Served, Any], bytes]) -> Job:
        """Have a question wait for its answer.

        Raises
        ------
        RefusalError
            If too many wait.
        """
        n = len(question.texts)
        job = Job(question, written, asyncio.get_running_loop().create_future())
        with self._changed:
            if self._n_waiting + n > self._max_waiting:
                raise RefusalError(
                    503,
                    f"{self._n_waiting:,} texts are waiting, and this server lets "
                    f"{self._max_waiting:,} wait. Try again in a second.",
                    {"Retry-After": "1"},
                )
            self._jobs.append(job)
            self._n_waiting += n
            self._changed.notify()
        return job

    def drop(self, job: Job) -> None:
        """Forget a question that nobody waits for any more."""
        if not job.future.cancel():  # it has its answer
            return
        with self._changed:
            if job in self._jobs:
                self._jobs.remove(job)
                self._n_waiting -= len(job.question.texts)

    @property
    def n_waiting(self) -> int:
        """Texts that wait."""
        return self._n_waiting

    # ----------------------------------------------------------------------- in the model's thread
    def _work(self) -> None:
        while jobs := self._taken():
            self._answer(jobs)

    def _taken(self) -> list[Job]:
        """The oldest question, and those that one call can answer with it; none: it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._is_over)
            if self._is_over:
                return []
            taken = [self._jobs.popleft()]
            n = len(taken[0].question.texts)
            while self._jobs and not taken[0].question.is_explained:
                question = self._jobs[0].question
                if question.is_explained or n + len(question.texts) > TEXTS_AT_ONCE:
                    break
                taken.append(self._jobs.popleft())
                n += len(question.texts)
            self._n_waiting -= n
            return taken

    def _answer(self, jobs: list[Job]) -> None:
        """Answer jobs together; if that fails, each alone, so that one cannot spoil the others."""
        served = self._current()  # once: an answer is of one model
        try:
            answers: list[bytes | Exception] = [*answered(served, jobs)]
        except Exception as error:
            if len(jobs) > 1:
                for job in jobs:
                    self._answer([job])
                return
            answers = [error]
        with suppress(RuntimeError):  # the loop was closed: nobody waits
            self._loop.call_soon_threadsafe(_deliver, jobs, answers)


def answered(served: Served, jobs: Sequence[Job]) -> list[bytes]:
    """The model's answers to questions about labels, or to one that wants an explanation."""
    first = jobs[0].question
    if first.is_explained:
        (text,) = first.texts
        return [jobs[0].written(served, served.explanation(text, first.k, first.labels))]
    texts = [text for job in jobs for text in job.question.texts]
    best = iter(served.best(texts, [job.question.k for job in jobs for _ in job.question.texts]))
    return [job.written(served, [*islice(best, len(job.question.texts))]) for job in jobs]


def _deliver(jobs: list[Job], answers: list[bytes | Exception]) -> None:
    for job, answer in zip(jobs, answers, strict=True):
        if job.future.done():  # its asker is gone
            continue
        if isinstance(answer, Exception):
            job.future.set_exception(answer)
        else:
            job.future.set_result(answer)
