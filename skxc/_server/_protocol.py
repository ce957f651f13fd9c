"""uvicorn's HTTP, which waits for ever for bytes to come or to be taken, with a time."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from ._guard import Bodies

_SECONDS_TO_ARRIVE = 1  # for the rest of a request, once a signal ends the server


class TimedProtocol(H11Protocol):
    """One connection.

    On h11, wherever httptools is installed, too: that one reads heads of any size.

    uvicorn makes one of a class: each server has a class of its own, with these two.
    """

    seconds: ClassVar[float]  # in which a head must be complete, and an answer be taken
    bodies: ClassVar[Bodies]  # counts what is not taken

    _timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _n_unread = 0

    @property
    def _is_asked(self) -> bool:
        """Whether a head is complete, and its request not answered."""
        return self.cycle is not None and not self.cycle.response_complete

    # ------------------------------------------------------------------------------ bytes to come
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # pause_writing is called for the first byte that the client does not take: a connection
        # that is closed, too, waits for its last one
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

    def _time_head(self) -> None:
        """Let the connection end unless a head is complete in time, from its first byte on."""
        if self._is_asked:
            self._end_timer()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.seconds, self.transport.close)

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -------------------------------------------------------------------------- bytes to be taken
    def pause_writing(self) -> None:
        super().pause_writing()
        self._n_unread = self.transport.get_write_buffer_size()
        self.bodies.n_bytes += self._n_unread
        self._unread_timer = self.loop.call_later(self.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_unread()

    def _end_unread(self) -> None:
        """The client has taken all bytes, or has gone."""
        self.bodies.n_bytes -= self._n_unread
        self._n_unread = 0
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    # ------------------------------------------------------------------------------------ the end
    def shutdown(self) -> None:
        super().shutdown()
        if self._is_asked and self.cycle.more_body:
            self.loop.call_later(_SECONDS_TO_ARRIVE, self._leave_unless_whole, self.cycle)

    def _leave_unless_whole(self, cycle: RequestResponseCycle) -> None:
        if cycle.more_body:
            self.transport.close()
