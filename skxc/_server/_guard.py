"""What stands between the network and the answers: names of hosts, sizes and times of bodies."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from ._limits import Limits, RefusalError

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

    if media_type == "application/json":
        # lone surrogates, from a label file, as JSON escapes them
        content = json.dumps(content, ensure_ascii=False).encode(errors="backslashreplace")
    return Response(content, status, {**_HEADERS, **(headers or {})}, media_type)


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
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def body_of(request: Request, limits: Limits) -> bytes:
    """The body of a request.

    Raises
    ------
    RefusalError
        If it is too large, or does not arrive. What is too large is read to its end, and dropped:
        a client that is still sending would not read the answer.
    """
    parts, size = list[bytes](), 0
    try:
        async with asyncio.timeout(limits.max_seconds):
            async for part in request.stream():
                size += len(part)
                if size <= limits.max_bytes:
                    parts.append(part)
                else:
                    parts.clear()
    except TimeoutError as error:
        raise RefusalError(
            408,
            f"The request was not complete after {limits.max_seconds} s. Send it faster, or less.",
            {"Connection": "close"},
        ) from error
    if size > limits.max_bytes:
        raise RefusalError(
            413,
            f"The request has {size:,} bytes, more than this server takes: {limits.max_bytes:,}. "
            f"Send the texts in several requests.",
        )
    return b"".join(parts)


def content_type(request: Request) -> str:
    """The type of a body, without parameters."""
    given: str = request.headers.get("content-type", "")
    return given.partition(";")[0].strip().lower()
