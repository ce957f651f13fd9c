"""What stands between the network and the answers: who asks, sizes and times of bodies."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from ._limits import BODIES_AT_ONCE, Limits, RefusalError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def reply(
    content: Any,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    media_type: str = "application/json",
) -> Response:
    """A response that no cache keeps and no page of another origin reads."""
    from starlette.responses import Response

    body = content if isinstance(content, bytes) else encoded(content)
    return Response(body, status, {**_HEADERS, **(headers or {})}, media_type)


def encoded(content: Any) -> bytes:
    """JSON, with lone surrogates, from a label file, as it escapes them."""
    return json.dumps(content, ensure_ascii=False).encode(errors="backslashreplace")


def refusal(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error in words."""
    return reply({"error": text}, status, headers)


class HostGuard:
    """Answers requests that are meant for this machine alone.

    A page of the web can have its own name mean 127.0.0.1, and would then be of the same origin as
    this server (DNS rebinding). The name is in the header Host, which the page cannot change.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app, self._host = app, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse other names; where there is no header, there is no browser."""
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"host", b"localhost").decode("latin-1")
            name = re.sub(r":\d*$", "", given).strip("[]").lower()
            if name != self._host.lower() and not is_loopback(name):
                refused = refusal(
                    403,
                    f"The request is for the host {given!r:.200}, and this server answers only "
                    f"its own machine. Ask http://localhost, or have a proxy send that as Host.",
                )
                await refused(scope, receive, send)
                return
        await self._app(scope, receive, send)


def is_loopback(host: str) -> bool:
    """Whether a name or an address means this machine alone."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback  # ::ffff:127.0.0.1


def check_origin(request: Request) -> None:
    """Raise for what a page of another origin has its visitor's browser send.

    It could not read the answers, but keep the model busy. A form needs this: JSON no browser
    sends elsewhere without asking first.
    """
    site = request.headers.get("sec-fetch-site", "none")  # programs send no such header
    if site not in ("none", "same-origin"):
        raise RefusalError(403, "The request is of a page of another origin. Ask from a program.")


class Bodies:
    """Bodies of requests and of answers, of which only so much is in memory.

    Parameters
    ----------
    limits : Limits
        Of one request; of all together, `BODIES_AT_ONCE` times as much.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self._most = limits, BODIES_AT_ONCE * limits.max_bytes
        self.n_bytes = 0  # of requests without an answer, and of answers that are not read

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request, which counts until it is answered.

        Raises
        ------
        RefusalError
            If it is too large, or there are too many, or it does not arrive. What is refused for
            its size is read to its end, and dropped: a client that is still sending would not
            read the answer.
        """
        parts, size, n_kept, is_kept = list[bytes](), 0, 0, True
        try:
            async with self._timed():
                async for part in request.stream():
                    size += len(part)
                    is_kept &= size <= self._limits.max_bytes
                    is_kept &= self.n_bytes + len(part) <= self._most
                    if is_kept:
                        parts.append(part)
                        n_kept += len(part)
                        self.n_bytes += len(part)
                    else:
                        parts.clear()
                        self.n_bytes -= n_kept
                        n_kept = 0
            self._check_size(size)
            if not is_kept:
                raise self._full()
            yield b"".join(parts)
        finally:
            self.n_bytes -= n_kept

    def counted(self, response: Response) -> ASGIApp:
        """The response, which counts until the connection has sent all before it.

        Raises
        ------
        RefusalError
            If there have come to be so many answers that are not read that this one may not be.
        """
        if self.n_bytes > self._most:
            raise self._full()

        async def sent(scope: Scope, receive: Receive, send: Send) -> None:
            n = len(response.body)
            self.n_bytes += n
            try:
                await response(scope, receive, send)
            finally:
                self.n_bytes -= n

        return sent

    @asynccontextmanager
    async def _timed(self) -> AsyncIterator[None]:
        seconds = self._limits.max_seconds
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            raise RefusalError(
                408,
                f"The request was not complete after {seconds} s. Send it faster, or less.",
                {"Connection": "close"},
            ) from error

    def _check_size(self, size: int) -> None:
        if size > (most := self._limits.max_bytes):
            raise RefusalError(
                413,
                f"The request has {size:,} bytes, more than this server takes: {most:,}. "
                f"Send the texts in several requests.",
            )

    def _full(self) -> RefusalError:
        return RefusalError(
            503,
            f"The requests that wait and the answers that are not read have {self._most:,} bytes, "
            f"as many as this server keeps. Try again in a second.",
            {"Retry-After": "1"},
        )


def content_type(request: Request) -> str:
    """The type of a body, without parameters."""
    given: str = request.headers.get("content-type", "")
    return given.partition(";")[0].strip().lower()
