"""A headless Chromium that tests drive through a pipe, in the DevTools protocol."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-pipe",  # descriptors 3 and 4
)


class Page:
    """A tab."""

    def __init__(self, commands: Any, answers: Any) -> None:
        self._commands, self._answers, self._numbers = commands, answers, count(1)
        self._session: dict[str, str] = {}
        self.errors: list[str] = []  # what the console was told of
        (target,) = (
            found["targetId"]
            for found in self.call("Target.getTargets")["targetInfos"]
            if found["type"] == "page"
        )
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of a command."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **self._session}
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while True:
            answer = json.loads(self._read())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.errors.append(json.dumps(answer["params"]))

    def _read(self) -> bytes:
        parts = []
        while (part := self._answers.read(1)) != b"\0":
            assert part, "Chromium has ended"
            parts.append(part)
        return b"".join(parts)

    def run(self, script: str) -> Any:
        """The value of an expression; of a promise, once it is kept."""
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, condition: str, seconds: int = 20) -> None:
        """Wait until an expression is true."""
        self.run(
            f"new Promise((kept, broken) => {{ const end = Date.now() + {1000 * seconds};"
            f"const look = () => {{ if ({condition}) kept(true); else if (Date.now() > end) "
            f"broken(document.body.innerText); else setTimeout(look, 20); }}; look(); }})"
        )

    def open(self, address: str) -> None:
        """Go to an address, until it is loaded."""
        self.call("Page.navigate", url=address)
        self.wait(f"location.href === {json.dumps(address)} && document.readyState === 'complete'")

    def resize(self, width: int, height: int, *, is_phone: bool) -> None:
        """Have a window, or a phone's screen, of this size in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=is_phone,
        )

    def type(self, text: str) -> None:
        """Put text where the focus is, as an input method does."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, modifiers: int = 0) -> None:
        """Press a key; 2 is Ctrl."""
        codes = {"Enter": 13, "Tab": 9}
        for kind in ("rawKeyDown", "char", "keyUp") if key == "Enter" else ("rawKeyDown", "keyUp"):
            text = {"text": "\r"} if kind == "char" else {}
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=codes[key],
                modifiers=modifiers,
                **text,
            )

    def click(self, selector: str) -> None:
        """Click the middle of an element, whatever lies on top of it."""
        box = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            f"e.scrollIntoView({{block: 'center', behavior: 'instant'}}); "
            f"const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; "
            f"}})()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            place = {"x": box[0], "y": box[1]}
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)


@contextmanager
def opened_browser(folder: Path) -> Iterator[Page]:
    """Chromium, which keeps its files in the folder."""
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    if binary is None:
        pytest.skip("there is no Chromium on this machine")
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    script = f'exec "$0" "$@" 3<&{to_read} 4>&{from_write}'
    command = ["bash", "-c", script, binary, *_FLAGS, f"--user-data-dir={folder}", "about:blank"]
    process = subprocess.Popen(
        command,
        pass_fds=(to_read, from_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(from_write)
    with open(to_write, "wb") as commands, open(from_read, "rb") as answers, process:
        try:
            yield Page(commands, answers)
        finally:
            process.terminate()
