"""A headless Chromium that is driven over a pipe: pages are opened, asked, and photographed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 60.0


def chromium() -> str:
    """Return the browser of this machine; skips the test, with a word, if there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    return found


class Browser:
    """One browser process and one tab in it, by the DevTools protocol (JSON, NUL between)."""

    def __init__(self, process: subprocess.Popen[bytes], to: int, of: int) -> None:
        self._process, self._to, self._of = process, to, of
        self._next, self._left = 0, b""
        self.events: list[dict[str, Any]] = []
        target = self._ask("Target.createTarget", {"url": "about:blank"})
        answer = self._ask(
            "Target.attachToTarget", {"targetId": target["targetId"], "flatten": True}
        )
        self._session = answer["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command to the tab, and return its answer."""
        return self._ask(method, parameters, session=self._session)

    def open(self, url: str) -> None:
        """Open a page, and wait until its checks have run."""
        self.events.clear()
        self.ask("Page.navigate", url=url)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            here = self.value(
                "location.href + ' ' + (document.documentElement?.dataset.state ?? '')"
            )
            if here.startswith(f"{url} ") and here != f"{url} ":
                return
            time.sleep(0.02)
        raise TimeoutError(f"{url}: its checks did not end in {SECONDS} s")

    def value(self, expression: str) -> Any:
        """Return what an expression of JavaScript is in the page."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def state(self) -> str:
        """Return good, bad or open: how the page's checks came out."""
        return str(self.value("document.documentElement.dataset.state"))

    def checks(self) -> list[tuple[str, str]]:
        """Return each check of the page: good, bad or open, and its line."""
        found = self.value(
            "Array.from(document.querySelectorAll('#checks li'),"
            " (li) => [li.className, li.textContent])"
        )
        return [(name, text) for name, text in found]

    def requests(self) -> list[str]:
        """Return the URLs that were asked for since the page was opened, its own left out."""
        asked = [
            one["params"]["request"]["url"]
            for one in self.events
            if one.get("method") == "Network.requestWillBeSent"
        ]
        return asked[1:]

    def complaints(self) -> list[str]:
        """Return what the page's console and the browser's log say since it was opened."""
        wanted = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return [json.dumps(one["params"]) for one in self.events if one.get("method") in wanted]

    def photograph(self, path: Path, *, width: int, dark: bool = False) -> None:
        """Write a picture of the whole page as somebody with such a screen sees it."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.ask("Emulation.setEmulatedMedia", features=scheme)
        screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **screen)
        picture = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))

    def _ask(
        self, method: str, parameters: dict[str, Any], session: str | None = None
    ) -> dict[str, Any]:
        self._next += 1
        message = {"id": self._next, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._next:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            more = os.read(self._of, 1 << 20)
            assert more, f"the browser ended: {self._process.poll()}"
            self._left += more
        one, _, self._left = self._left.partition(b"\0")
        answer: dict[str, Any] = json.loads(one)
        return answer


@contextmanager
def browsing(home: Path) -> Iterator[Browser]:
    """Yield a browser that keeps everything below `home`; it is ended when this ends."""
    program = chromium()
    ours, theirs = os.pipe(), os.pipe()  # what we write, what it writes

    def as_3_and_4() -> None:
        # The protocol's two descriptors; dup2 makes them survive the exec.
        read, written = os.dup(ours[0]), os.dup(theirs[1])
        os.dup2(read, 3)
        os.dup2(written, 4)

    process = subprocess.Popen(
        [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            f"--user-data-dir={home}",
            "--remote-debugging-pipe",
        ],
        env={**os.environ, "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=as_3_and_4,
        close_fds=False,
        start_new_session=True,
    )
    os.close(ours[0])
    os.close(theirs[1])
    try:
        yield Browser(process, ours[1], theirs[0])
    finally:
        os.close(ours[1])
        os.close(theirs[0])
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
