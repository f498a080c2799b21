"""A real browser, without further Python packages: what it says, asks for and measures of a page on disk."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CHROMIUM", "Visit", "visit"]

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
