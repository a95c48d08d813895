"""A real browser for tests: headless Chromium, spoken to over its debugging pipe.

The protocol is JSON with a NUL behind each message, on file descriptors 3 and 4 of the browser: no
port is opened and no library needed. Everything that a page asks for, says or throws is kept.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import platform
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OWN = ROOT / ".venv" / "chromium"
"""Where `make browser` puts one."""
NAMES = ("chromium-headless-shell", "chrome-headless-shell", "chromium", "chromium-browser",
         "google-chrome", "google-chrome-stable", "chrome")  # fmt: skip
MISSING = "needs Chromium: make browser, or apt-get install chromium-headless-shell"
PATIENCE_S = 60.0
"""For one answer: only a browser that hangs ever takes so long."""

# Takes what it is given to where Chromium expects it, and becomes Chromium.
LAUNCH = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find() -> Path | None:
    """$CHROMIUM, that of `make browser`, or the first on the PATH."""
    named = os.environ.get("CHROMIUM")
    if named:
        return Path(named)
    if (OWN / "chromium").exists() and platform.machine() == "x86_64":
        return OWN / "chromium"
    return next((Path(found) for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One browser process. Tabs are independent of each other."""

    def __init__(self, binary: Path, profile: Path) -> None:
        ours, theirs = _pipe(), _pipe()
        arguments = [
            str(binary),
            "--headless",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
            "--no-sandbox",  # root has none
            "--no-first-run",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
        ]
        environment = dict(os.environ)
        if binary.parent == OWN:  # it brings its libraries
            environment["LD_LIBRARY_PATH"] = str(OWN / "lib")
        self.errors = (profile / "stderr").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(ours[0]), str(theirs[1]), *arguments],
            pass_fds=(ours[0], theirs[1]),
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
            env=environment,
        )
        os.close(ours[0])
        os.close(theirs[1])
        self._write, self._read = ours[1], theirs[0]
        self._buffer = b""
        self._count = 0
        self.events: list[dict[str, Any]] = []

    def command(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Ask, and wait for the answer. AssertionError if the browser refuses."""
        self._count += 1
        number = self._count
        message = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == number:
                assert "error" not in found, f"{method}: {found['error']}"
                return found["result"]
            self.events.append(found)

    def wait(self, session: str, method: str) -> dict[str, Any]:
        """The next such event, or one that came already."""
        for found in self.events:
            if found.get("sessionId") == session and found.get("method") == method:
                self.events.remove(found)
                return found["params"]
        while True:
            found = self._next()
            if found.get("sessionId") == session and found.get("method") == method:
                return found["params"]
            self.events.append(found)

    def close(self) -> None:
        with contextlib.suppress(OSError, AssertionError):
            self.command("Browser.close")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._write)
        os.close(self._read)
        self.errors.close()

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE_S
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(until - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            read = os.read(self._read, 1 << 20)
            assert read, f"the browser is gone: {Path(self.errors.name).read_text()[-500:]}"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


class Tab:
    """One page, with a record of what it asked for and what it said."""

    def __init__(self, browser: Browser, *, width: int = 1400, height: int = 900) -> None:
        self.browser = browser
        target = browser.command("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.command("Target.attachToTarget", targetId=target, flatten=True)
        self.target, self.session = target, attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.command(f"{domain}.enable")
        self.size(width, height)

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.browser.command(method, self.session, **parameters)

    def size(self, width: int, height: int = 900) -> None:
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def prefers(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", features=features)

    def open(self, path: Path) -> None:
        self.command("Page.navigate", url=path.resolve().as_uri())
        self.browser.wait(self.session, "Page.loadEventFired")

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page, as a person at the console would."""
        found = self.command("Runtime.evaluate", expression=expression, returnByValue=True,
                             awaitPromise=True)  # fmt: skip
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def key(self, key: str, code: int) -> None:
        """A key, as from the keyboard, to whatever has the focus."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        common = {"key": key, "windowsVirtualKeyCode": code, "code": "Space" if key == " " else key}
        self.command("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.command("Input.dispatchKeyEvent", type="keyUp", **common)

    def click(self, selector: str) -> None:
        """With the mouse, in the middle of the first that matches."""
        at = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.command("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1],
                         button="left", clickCount=1)  # fmt: skip

    def requests(self) -> list[str]:
        """Every address that was asked for, the page's own included."""
        self.run("0")  # what was on its way has come when this is answered
        return [
            event["params"]["request"]["url"] for event in self._of("Network.requestWillBeSent")
        ]

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, exceptions, and what the policy refused."""
        self.run("0")
        logged = [event["params"]["entry"]["text"] for event in self._of("Log.entryAdded")]
        thrown = [json.dumps(event["params"]) for event in self._of("Runtime.exceptionThrown")]
        said = [
            json.dumps(event["params"]["args"]) for event in self._of("Runtime.consoleAPICalled")
        ]
        return [*logged, *thrown, *said]

    def _of(self, method: str) -> list[dict[str, Any]]:
        return [
            event
            for event in self.browser.events
            if event.get("sessionId") == self.session and event["method"] == method
        ]

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        found = self.command("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self) -> bytes:
        found = self.command("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        return base64.b64decode(found["data"])

    def close(self) -> None:
        self.browser.command("Target.closeTarget", targetId=self.target)


def _pipe() -> tuple[int, int]:
    """Out of the way of 3 and 4, which the browser is to have."""
    made = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in made)
    for end in made:
        os.close(end)
    return moved[0], moved[1]
