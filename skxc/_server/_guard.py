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
    """Bodies of requests, of which only so much is in memory.

    Parameters
    ----------
    limits : Limits
        Of one; of all together, `BODIES_AT_ONCE` times as much.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self._n_bytes = limits, 0

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
        parts, size, n_kept, most = list[bytes](), 0, 0, BODIES_AT_ONCE * self._limits.max_bytes
        is_kept = True
        try:
            async with self._timed():
                async for part in request.stream():
                    size += len(part)
                    is_kept &= size <= self._limits.max_bytes
                    is_kept &= self._n_bytes + len(part) <= most
                    if is_kept:
                        parts.append(part)
                        n_kept += len(part)
                        self._n_bytes += len(part)
                    else:
                        parts.clear()
                        self._n_bytes -= n_kept
                        n_kept = 0
            self._check(size, is_kept=is_kept)
            yield b"".join(parts)
        finally:
            self._n_bytes -= n_kept

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

    def _check(self, size: int, *, is_kept: bool) -> None:
        if size > (most := self._limits.max_bytes):
            raise RefusalError(
                413,
                f"The request has {size:,} bytes, more than this server takes: {most:,}. "
                f"Send the texts in several requests.",
            )
        if not is_kept:
            raise RefusalError(
                503,
                f"The requests that wait have {BODIES_AT_ONCE * most:,} bytes, as many as this "
                f"server keeps. Try again in a second.",
                {"Retry-After": "1"},
            )


def content_type(request: Request) -> str:
    """The type of a body, without parameters."""
    given: str = request.headers.get("content-type", "")
    return given.partition(";")[0].strip().lower()
