"""The process: a socket, uvicorn, and signals."""

from __future__ import annotations

import asyncio
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
    from uvicorn.protocols.http.h11_impl import RequestResponseCycle

# seconds: longer than proxies keep theirs, which would else send into one that just ends
_KEEP_ALIVE = 75
_CONNECTIONS = 500  # fewer than most systems let a process have open
_SECONDS_TO_ARRIVE = 1  # for the rest of a request, once a signal ends the server


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

    own = host if is_loopback(listening.getsockname()[0]) else None
    bodies = Bodies(limits)
    config = uvicorn.Config(
        make_app(watch, limits, bodies, own),
        http=_timed_protocol(limits.max_seconds, bodies),
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


def _timed_protocol(seconds: float, bodies: Bodies) -> type[asyncio.Protocol]:
    """uvicorn's HTTP, which waits for ever for bytes to come or to be taken, with a time.

    On h11, wherever httptools is installed, too: that one reads heads of any size.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class TimedProtocol(H11Protocol):
        _timer: asyncio.TimerHandle | None = None
        _unread_timer: asyncio.TimerHandle | None = None
        _n_unread = 0

        @property
        def _is_asked(self) -> bool:
            """Whether a head is complete, and its request not answered."""
            return self.cycle is not None and not self.cycle.response_complete

        def _time_head(self) -> None:
            """Let the connection end unless a head is complete in time, from its first byte on."""
            if self._is_asked:
                self._end_timer()
            elif self._timer is None:
                self._timer = self.loop.call_later(seconds, self.transport.close)

        def _end_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            # pause_writing is called for the first byte that the client does not take: a
            # connection that is closed, too, waits for its last one
            transport.set_write_buffer_limits(0)
            super().connection_made(transport)
            self._time_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._time_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._end_timer()
            self._end_unread()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._n_unread = self.transport.get_write_buffer_size()
            bodies.n_bytes += self._n_unread
            self._unread_timer = self.loop.call_later(seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._end_unread()

        def _end_unread(self) -> None:
            """The client has taken all bytes, or has gone."""
            bodies.n_bytes -= self._n_unread
            self._n_unread = 0
            if self._unread_timer is not None:
                self._unread_timer.cancel()
                self._unread_timer = None

        def shutdown(self) -> None:
            super().shutdown()
            if self._is_asked and self.cycle.more_body:
                self.loop.call_later(_SECONDS_TO_ARRIVE, self._leave_unless_whole, self.cycle)

        def _leave_unless_whole(self, cycle: RequestResponseCycle) -> None:
            if cycle.more_body:
                self.transport.close()

    return TimedProtocol


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
