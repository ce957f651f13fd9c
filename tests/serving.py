"""A server in a thread or in a process of its own, and what asks it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from skxc._server._limits import Limits
from skxc._server._model import ModelWatch
from skxc._server._run import bound, make_server

ROOT = Path(__file__).parents[1]
JSON = "application/json"


@contextmanager
def serving(
    watch: ModelWatch, limits: Limits | None = None, host: str = "127.0.0.1"
) -> Iterator[int]:
    """The port of a server that runs in a thread."""
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    with bound(host, 0) as listening:
        listening.listen()
        server = make_server(watch, limits or Limits(), listening, host)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def served_process(*words: object) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`skxc serve` in a process of its own, and its port."""
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    command = [sys.executable, "-m", "skxc", "serve", *map(str, words), "--port", "0"]
    # a shell ignores SIGINT for what it runs in the background, and so would the server
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            told = process.stdout.readline()
            found = re.search(r" at http://\S+:(\d+) ", told)
            assert found, told + process.stderr.read()
            yield process, int(found[1])
        finally:
            if process.poll() is None:
                process.kill()


def request(
    port: int,
    method: str,
    path: str,
    body: Any = None,
    kind: str | None = JSON,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer; a body that is no bytes is sent as JSON."""
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        given = {} if kind is None or content is None else {"Content-Type": kind}
        connection.request(method, path, content, given | (headers or {}))
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def asked(port: int, path: str, body: Any = None, **kwargs: Any) -> Any:
    """The JSON of an answer that is no error."""
    method = "GET" if body is None else "POST"
    status, _, content = request(port, method, path, body, **kwargs)
    assert status == 200, content
    return json.loads(content)


def until(is_true: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for what another thread or process brings about."""
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.01)
