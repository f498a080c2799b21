"""A real browser, without further Python packages: what it says, asks for and measures of a page."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CHROMIUM", "Browser", "Visit", "visit"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MEASURE = """<!DOCTYPE html><title>waiting</title><iframe src="%s" style="width:%dpx;height:900px;border:0"></iframe>
<script>
document.querySelector("iframe").onload = event => {
  const inner = event.target.contentDocument, root = inner.documentElement, look = inner.defaultView.getComputedStyle;
  const wide = [...inner.body.querySelectorAll("*")].filter(e => !e.closest(".scroll *") && !e.matches(".skip") &&
    e.getBoundingClientRect().right > root.clientWidth + 1).map(e => e.tagName + "." + e.className);
  const item = inner.querySelector("ol.items li"), found = { width: root.clientWidth, content: root.scrollWidth, wide };
  if (item) {
    const details = item.querySelector(".details");
    found.hidden = look(details).display;
    inner.defaultView.focus(); item.focus();
    found.focused = look(details).display;
    found.broken = [...inner.images].filter(i => !i.complete || !i.naturalWidth).length;
  }
  const seen = name => [...inner.querySelectorAll("main ." + name)].filter(e => e.getClientRects().length).length;
  const boards = [...inner.querySelectorAll(".board")].filter(e => e.getClientRects().length);
  found.boards = boards.map(e => e.scrollWidth - e.clientWidth);
  found.figures = boards.flatMap(e => [...e.querySelectorAll("td:nth-child(2)")])
    .filter(e => e.getClientRects().length && e.getBoundingClientRect().right > root.clientWidth).length;
  found.loose = [...inner.querySelectorAll("table")]
    .filter(e => !e.closest(".scroll") || look(e.closest(".scroll")).overflowX !== "auto").length;
  const choice = inner.getElementById("history-masked");
  if (choice) {
    found.first = [seen("kept") > 0, seen("masked") > 0];
    choice.click();
    found.second = [seen("kept") > 0, seen("masked") > 0];
  }
  document.title = JSON.stringify(found);
};
</script>
"""


@dataclass(frozen=True)
class Visit:
    """What came of looking at a page."""

    console: list[str]
    requested: list[str]
    """Addresses other than files and data."""
    measured: dict[str, object]
    """width and content: of the view and of what stands in it; wide: elements that stick out; hidden and focused:
    display of an item's details before and with focus; broken: pictures that do not show; boards: pixels that each
    leaderboard is too wide; figures: first figures of it that are out of view; loose: tables that do not scroll; first
    and second: whether anything of the history kept, and masked, shows at first and after the switch."""


def visit(page: Path, width: int, folder: Path) -> Visit:
    """Open ``page`` at ``width`` pixels."""
    assert CHROMIUM is not None
    folder.mkdir(parents=True, exist_ok=True)
    outer, log = folder / "outer.html", folder / "net.json"
    outer.write_text(MEASURE % (page.as_uri(), width))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += ["--disable-background-networking", "--disable-component-update", "--no-first-run", "--disable-sync"]
    command += ["--allow-file-access-from-files", "--enable-logging=stderr", f"--log-net-log={log}"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND"]  # nothing leaves the machine, whatever is asked for
    command += [f"--window-size={max(width, 600) + 40},1000", "--dump-dom", outer.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True)
    title = re.search(r"<title>(\{.*?\})</title>", result.stdout)
    assert title is not None, result.stdout[:500] + result.stderr[-2000:]
    console = [line for line in result.stderr.splitlines() if ":CONSOLE" in line]
    urls = {event["params"]["url"] for event in _events(log) if "url" in event.get("params", {})}
    outside = sorted(url for url in urls if not url.startswith(("file:", "data:")))
    return Visit(console, outside, json.loads(title[1].replace("&gt;", ">").replace("&amp;", "&")))


def _events(log: Path) -> list[dict[str, dict[str, str]]]:
    """Requests that the page made; what the browser asks for itself (updates, accounts) has no initiator of its own."""
    text = log.read_text()
    events = json.loads(text if text.rstrip().endswith("}") else text.rstrip().rstrip(",") + "]}")["events"]
    return [event for event in events if event.get("params", {}).get("initiator", "not an origin") != "not an origin"]


class Browser:
    """A page from a server on loopback, driven by keys and scripts through Chromium's debugging pipe."""

    def __init__(self, folder: Path, width: int) -> None:
        """Start; ``width`` of the view in pixels."""
        assert CHROMIUM is not None
        folder.mkdir(parents=True, exist_ok=True)
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
        command += ["--disable-background-networking", "--disable-component-update", "--no-first-run", "--disable-sync"]
        command += ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--remote-debugging-pipe"]
        pipes = [os.pipe(), os.pipe()]
        (theirs_in, self._out), (self._in, theirs_out) = pipes
        child = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]

        def place() -> None:  # where Chromium looks for them
            os.dup2(child[0], 3)
            os.dup2(child[1], 4)

        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "about:blank"], stdout=log, stderr=log, pass_fds=(3, 4), preexec_fn=place
            )
        for end in (theirs_in, theirs_out, *child):
            os.close(end)
        self._waiting, self._number, self._session = b"", 0, None
        self.said: list[str] = []
        """What the page wrote to the console, and its errors."""
        self.requested: list[str] = []
        target = next(t for t in self.do("Target.getTargets")["targetInfos"] if t["type"] == "page")["targetId"]
        self._session = self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.do(f"{domain}.enable")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.do("Emulation.setDeviceMetricsOverride", **size)

    def do(self, method: str, **values: Any) -> Any:
        """One command of the protocol; what happens meanwhile is noted."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": values}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (found := self._next()).get("id") != self._number:
            self._note(found)
        assert "error" not in found, found
        return found["result"]

    def ask(self, script: str) -> Any:
        """The value of an expression, also of a promise."""
        found = self.do("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression is true."""
        look = f"new Promise(done => {{ const look = () => ({condition}) ? done() : setTimeout(look, 20); look(); }})"
        self.ask(look)

    def press(self, key: str) -> None:
        """A key, such as Tab or Enter."""
        code = {"Tab": 9, "Enter": 13, " ": 32}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.do("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)

    def type(self, words: str) -> None:
        """Words, into what has the focus."""
        self.do("Input.insertText", text=words)

    def close(self) -> None:
        """End."""
        self.do("Browser.close") if self._process.poll() is None else None
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._waiting:
            part = os.read(self._in, 1 << 16)
            assert part, "Chromium has ended"
            self._waiting += part
        message, _, self._waiting = self._waiting.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        kind, values = event.get("method"), event.get("params", {})
        if kind == "Network.requestWillBeSent":
            self.requested.append(values["request"]["url"])
        elif kind in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
            self.said.append(json.dumps(values))
