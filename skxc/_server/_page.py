"""The page, and the policy under which a browser runs it."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path


@cache
def page() -> tuple[bytes, dict[str, str]]:
    """The page's bytes and headers."""
    return with_policy(Path(__file__).with_name("page.html").read_bytes())


def with_policy(content: bytes) -> tuple[bytes, dict[str, str]]:
    """A page's bytes and headers.

    The browser is told to run the page's own script and style, by their digests, and nothing
    else, and to send nothing elsewhere: a text or a label's name that looks like HTML stays text.
    """
    content = re.sub(rb"\r\n?", b"\n", content)  # as the browser reads it before it takes digests
    policy = {
        "default-src": "'none'",
        "script-src": _digest(content, b"script"),
        "style-src": _digest(content, b"style"),
        "img-src": "data:",  # the empty icon: without one, browsers ask for a file
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }
    text = "; ".join(f"{name} {value}" for name, value in policy.items())
    return content, {"Content-Security-Policy": text}


def _digest(content: bytes, element: bytes) -> str:
    (inner,) = re.findall(rb"<%s>(.*?)</%s>" % (element, element), content, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(inner).digest()).decode()}'"
