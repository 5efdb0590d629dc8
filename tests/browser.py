"""A headless browser for the tests of pages, over the protocol of Chromium's developer tools.

    @pytest.mark.browser
    def test_the_title(browser_page):
        browser_page.visit("file:///...")
        assert browser_page.run("document.title") == "..."

It needs an installed Chromium or Chrome and nothing else. Tests that use it are marked `browser`, and skipped where
none is found.
"""

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
DEADLINE = 60.0


def program():
    """The path of a browser, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """A tab of the browser.

    Attributes:
        errors: what was logged as an error or a warning, and exceptions, since the last visit.
        requests: the addresses that were asked for since the last visit.
    """

    def __init__(self, address):
        self._socket = WebSocket(address)
        self._number = 0
        self.errors, self.requests, self._events = [], [], []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self):
        """End the connection to the browser."""
        self._socket.close()

    def call(self, method, **parameters):
        """Call a method of the protocol, and return its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while (message := json.loads(self._socket.receive())).get("id") != self._number:
            self._note(message)
        assert "error" not in message, message
        return message["result"]

    def visit(self, address):
        """Open an address and wait until it is loaded."""
        self.errors, self.requests, self._events = [], [], []
        self.call("Page.navigate", url=address)
        self.wait(lambda: "Page.loadEventFired" in self._events)

    def wait(self, holds):
        """Wait until a condition holds."""
        until = time.monotonic() + DEADLINE
        while not holds():
            assert time.monotonic() < until, f"nothing came: {self.errors}"
            self.call("Runtime.evaluate", expression="0")
            time.sleep(0.01)

    def run(self, script):
        """Evaluate JavaScript in the page, promises awaited, and return its value as plain data."""
        more = {"returnByValue": True, "awaitPromise": True}
        found = self.call("Runtime.evaluate", expression=script, **more)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def size(self, width, height, *, dark=False):
        """Set the size of the window in pixels, and light or dark colours."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def move(self, x, y):
        """Move the pointer to a place in the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x, y):
        """Click at a place in the window."""
        self.move(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key):
        """Press a key, such as ArrowRight, Tab or Enter."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def type(self, text):
        """Type a text where the focus is."""
        for letter in text:
            self.call("Input.dispatchKeyEvent", type="char", text=letter)

    def screenshot(self, path, *, whole=True):
        """Write a picture of the window, or of the whole page, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]))

    def _note(self, message):
        method, parameters = message.get("method", ""), message.get("params", {})
        self._events.append(method)
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.errors.append(str(parameters["args"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.errors.append(str(parameters["entry"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])


class WebSocket:
    """As much of RFC 6455 as the protocol needs: text messages to and from this machine."""

    def __init__(self, address):
        host, _, path = address.removeprefix("ws://").partition("/")
        name, port = host.split(":")
        self._connection = socket.create_connection((name, int(port)), timeout=DEADLINE)
        key = base64.b64encode(os.urandom(16)).decode()
        head = f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self._connection.sendall(f"{head}Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        self._file = self._connection.makefile("rb")
        while self._file.readline().strip():
            pass

    def close(self):
        self._file.close()
        self._connection.close()

    def send(self, text):
        data = text.encode()
        size = len(data)
        length = bytes([size | 128]) if size < 126 else b"\xfe" + size.to_bytes(2) if size < 65536 else None
        head = b"\x81" + (length or b"\xff" + size.to_bytes(8))
        # a mask of zeros leaves the text as it is
        self._connection.sendall(head + bytes(4) + data)

    def receive(self):
        parts, last = [], False
        while not last:
            first, size = self._file.read(2)
            last = bool(first & 128)
            if size in (126, 127):
                size = int.from_bytes(self._file.read(2 if size == 126 else 8))
            parts.append(self._file.read(size))
        return b"".join(parts).decode()


@contextlib.contextmanager
def opened():
    """Start a browser of its own, and yield a page of it."""
    # the folder may be in use for a moment after the browser has ended
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home,
        socket.create_server(("127.0.0.1", 0)) as free,
    ):
        port = free.getsockname()[1]
        free.close()
        words = [program(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        words += ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--mute-audio"]
        words += ["--hide-scrollbars", f"--remote-debugging-port={port}", f"--user-data-dir={home}", "about:blank"]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with contextlib.closing(Page(_address(port, process))) as page:
                yield page
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(port, process):
    """The address of the first tab, once the browser has opened it."""
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until and process.poll() is None:
        with (
            contextlib.suppress(OSError, ValueError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer,
        ):
            pages = [each for each in json.load(answer) if each["type"] == "page"]
            if pages:
                return pages[0]["webSocketDebuggerUrl"]
        time.sleep(0.05)
    raise AssertionError("the browser did not start")
