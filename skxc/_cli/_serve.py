"""`skxc serve`: a saved model over HTTP."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ._errors import InputError, input_checked
from ._streams import tell, tell_done


def serve(*, model: str, host: str, port: int, device: str | None, **limits: int) -> None:
    """Answer requests until a signal ends it."""
    from skxc._server._guard import is_loopback
    from skxc._server._limits import Limits
    from skxc._server._model import ModelWatch
    from skxc._server._run import bound, check_installed, run

    try:
        check_installed()
    except ImportError as error:
        raise InputError(str(error)) from error
    accepted = Limits(**limits)
    with input_checked():
        accepted.check()
        listening = bound(host, port)
    with listening, _logged():
        with input_checked():
            watch = ModelWatch(model, device)
            listening.listen()
        address, used = listening.getsockname()[:2]
        if not is_loopback(address):
            tell(
                f"skxc: warning: {address} can be reached from other machines: whoever can reach "
                f"it can ask the model. There is no password and no encryption.\n"
            )
        name = f"[{address}]" if ":" in address else address
        tell_done(f"Serving {watch.current} at http://{name}:{used} (Ctrl-C ends)\n")
        run(watch, accepted, listening, host)


@contextmanager
def _logged() -> Iterator[None]:
    """On stderr: which model is served, and errors; uvicorn's warnings are what strangers send."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("skxc: %(message)s"))
    levels = {"skxc": logging.INFO, "uvicorn.error": logging.ERROR, "asyncio": logging.WARNING}
    loggers = {logging.getLogger(name): level for name, level in levels.items()}
    before = {logger: (logger.level, logger.propagate) for logger in loggers}
    for logger, level in loggers.items():
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, (level, propagates) in before.items():
            with suppress(ValueError):
                logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagates
