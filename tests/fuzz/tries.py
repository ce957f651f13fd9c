"""Counting what becomes of random tries: right, a clear error, or a fault.

A try is right where its result is checked and as it should be; a clear error is one that skxc (or
scikit-learn's validation of parameters) raises on purpose, for the user; all else is a fault, and
fails the test: another exception, a wrong result, a crash, and what takes longer than a minute.

In the short form each door is tried a fixed number of times with fixed seeds. SKXC_FUZZ_SECONDS=600
tries each door that long, with new seeds; SKXC_FUZZ_REPORT=counts.json writes the counts there.
"""

from __future__ import annotations

import faulthandler
import functools
import os
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import sklearn
from hypothesis import HealthCheck, Phase

import skxc

SECONDS = float(os.environ.get("SKXC_FUZZ_SECONDS", 0))  # a test; 0: the short form
HANGS_AFTER = 60  # seconds: the process is ended with a traceback
_CLEAR = (ValueError, TypeError, OSError)
_OURS = str(Path(skxc.__file__).parent)
_SKLEARN = str(Path(sklearn.__file__).parent)

counts: dict[str, Counter[str]] = defaultdict(Counter)  # by door: right, clear error, fault


class FaultError(AssertionError):
    """A try that went wrong."""


@contextmanager
def tried(door: str, *clear: type[BaseException]) -> Iterator[None]:
    """One try: count it; let a clear error pass, and raise `FaultError` for any other.

    `clear` are errors that are right here besides those that users can expect everywhere.
    """
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        if isinstance(error, clear) or is_clear(error):
            counts[door]["clear error"] += 1
            return
        counts[door]["fault"] += 1
        raise FaultError(f"{door}: {type(error).__name__}: {error}") from error
    else:
        counts[door]["right"] += 1
    finally:
        faulthandler.cancel_dump_traceback_later()


def is_clear(error: BaseException) -> bool:
    """Whether the error was raised on purpose, in a sentence, where input is checked."""
    if isinstance(error, AssertionError) or not isinstance(error, _CLEAR):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    raised_in = frames[-1].filename
    return raised_in.startswith((_OURS, _SKLEARN)) and len(str(error).split()) > 3


def fuzzed(n_short: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A property that hypothesis tries `n_short` times, or for SKXC_FUZZ_SECONDS.

    Put it above ``@given``.
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        phases = [Phase.explicit, Phase.generate, Phase.shrink]
        common: dict[str, Any] = {
            "deadline": None,
            "database": None,
            "suppress_health_check": list(HealthCheck),
            "phases": phases,
        }
        if not SECONDS:
            settings = hypothesis.settings(max_examples=n_short, derandomize=True, **common)
            return settings(test)
        once = hypothesis.settings(max_examples=100, **common)(test)

        @functools.wraps(once)
        def for_long(*args: Any, **kwargs: Any) -> None:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                seed = int.from_bytes(os.urandom(4))
                hypothesis.seed(seed)(once)(*args, **kwargs)

        return for_long

    return decorate
