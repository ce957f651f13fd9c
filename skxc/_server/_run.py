"""The process: a socket, uvicorn, and signals."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from ._app import make_app
from ._guard import Bodies, is_loopback
from ._limits import Limits
from ._model import ModelWatch

if TYPE_CHECKING:
    import uvicorn

# seconds: longer than proxies keep theirs, which would else send into one that just ends
_KEEP_ALIVE = 75
_CONNECTIONS = 500  # fewer than most systems let a process have open


def check_installed() -> None:
    """Raise, before a model is loaded, if the extra is missing."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "skxc serve needs the packages starlette and uvicorn, which are not installed. Install "
            'them with pip install "skxc[serve]".'
        ) from error


def bound(host: str, port: int) -> socket.socket:
    """A socket at the address, which nobody can connect to yet.

    Raises
    ------
    OSError
        If the address is in use, or none of this machine.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"--port is {port}. Pass 1 to 65535, or 0: a free one.")
    found = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
        # with the protocol's number: only then asyncio has answers sent at once (TCP_NODELAY), and
        # not after the 40 ms for which the client may keep back that it has their first part
        found = socket.socket(family, kind, protocol)
        if os.name == "posix":  # elsewhere, another process could take the port as well
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except (OSError, UnicodeError) as error:
        if found is not None:
            found.close()
        why = getattr(error, "strerror", None) or str(error)
        raise OSError(
            f"--host {host} --port {port} cannot be served: {why}. Pass another --port (0: a free "
            f"one), or an address of this machine."
        ) from error
    return found


def make_server(
    watch: ModelWatch, limits: Limits, listening: socket.socket, host: str
) -> uvicorn.Server:
    """What `run` runs; `host` is how the user calls the socket's address."""
    import uvicorn

    from ._protocol import TimedProtocol

    own = host if is_loopback(listening.getsockname()[0]) else None
    unanswered = Bodies(limits)

    class Protocol(TimedProtocol):
        seconds, bodies = limits.max_seconds, unanswered

    config = uvicorn.Config(
        make_app(watch, limits, unanswered, own),
        http=Protocol,
        log_config=None,
        access_log=False,
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=limits.max_seconds + 1,
        limit_concurrency=_CONNECTIONS,
    )
    return uvicorn.Server(config)


def run(watch: ModelWatch, limits: Limits, listening: socket.socket, host: str) -> None:
    """Serve until a signal ends the process; it is raised again once the last answers are sent."""
    server = make_server(watch, limits, listening, host)
    with _ended_by_hangup(server):
        server.run(sockets=[listening])


@contextmanager
def _ended_by_hangup(server: uvicorn.Server) -> Iterator[None]:
    """Have a closed terminal end the server as SIGTERM does: uvicorn knows that and Ctrl-C."""
    number = getattr(signal, "SIGHUP", None)
    is_main = threading.current_thread() is threading.main_thread()
    if number is None or not is_main or signal.getsignal(number) is signal.SIG_IGN:  # nohup
        yield
        return
    caught = list[int]()

    def end(signal_number: int, _: FrameType | None) -> None:
        caught.append(signal_number)
        server.should_exit = True

    before = signal.signal(number, end)
    try:
        yield
    finally:
        signal.signal(number, before)
    if caught:
        signal.raise_signal(number)
