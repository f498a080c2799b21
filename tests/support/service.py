"""A small trained run with its catalogue and pictures, and a server of it in a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import requests

from decorec.artifacts.files import write_table
from decorec.artifacts.seal import provenance
from decorec.recommend.trained import Recommendation
from tests.support import small
from tests.support.small_shop import drawing, store

ITEMS = [f"item {number}" for number in range(40)]
UNKNOWN = "never sold"
HOSTILE = '<script>alert(1)</script>"><img src=http://evil.example/x.png onerror=alert(1)>{{ 7*7 }} &amp; ' + "W" * 80


def train(
    folder: Path, seed: int = 0, stage: str = "stage2", experts: Mapping[str, Any] | None = None, **model: Any
) -> None:
    """Write a checkpoint that is trained on nothing, with what its experts count."""
    data, chosen = small.sequences(), small.run(experts, **model)
    made = small.model(data, chosen, stage, seed)
    made.observe(data.training())
    with provenance():
        small.save(made, chosen, seed, ITEMS, folder / stage / "model.safetensors", folder / stage / "config.json")


def shop(results: Path) -> Path:
    """A run in results/shop, and its folder.

    One of the products has an id and a title that try to be markup. One is like another, and the run does not know it.
    """
    folder = results / "shop" / "runs" / "decorec" / "seed-0"
    train(folder)
    random = np.random.default_rng(0)
    texts = [drawing(number, random) for number in range(40)]
    titles = [HOSTILE if number == 7 else "" if number == 8 else text for number, (_, text) in enumerate(texts)]
    kinds = [["all", text.split()[0]] for _, text in texts]
    columns = {"item": ITEMS, "title": titles, "categories": kinds, "text": [text for _, text in texts]}
    known = pl.DataFrame(columns)
    unknown = known[2].with_columns(item=pl.lit(UNKNOWN))
    write_table(results / "shop" / "items.parquet", pl.concat([unknown, known]))
    rows = [(ITEMS[number], "ok", store(results / "cache", texts[number][0])) for number in range(0, 40, 2)]
    rows.append((ITEMS[1], "ok", "../../shop/items"))
    write_table(
        results / "shop" / "images.parquet", pl.DataFrame(rows, schema=["item", "status", "sha256"], orient="row")
    )
    return folder


class Service:
    """A running server."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.lines = process, []
        self._reader = threading.Thread(target=self._read)
        self._known = threading.Event()
        self._reader.start()
        self._known.wait()
        found = [re.search(r"serving at (\S+)", line) for line in self.lines]
        addresses = [match[1] for match in found if match]
        assert addresses, "".join(self.lines)
        self.address = addresses[0]
        self.session = requests.Session()
        self.session.trust_env = False

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if "serving at" in line:
                self._known.set()
        self._known.set()

    def get(self, path: str) -> requests.Response:
        return self.session.get(self.address + path)

    def ask(self, path: str, body: Any) -> requests.Response:
        return self.session.post(self.address + path, json=body)

    def recommend(self, history: list[str], **more: Any) -> list[dict[str, Any]]:
        answer = self.ask("/recommend", {"history": history, **more})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["items"]
        return found

    def counted(self, name: str) -> float:
        """The sum over all labels of a counter."""
        values = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", self.get("/metrics").text, re.MULTILINE)
        return sum(map(float, values))

    def end(self) -> int:
        """Its exit status after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        self._reader.join()
        return self.process.wait()


@contextmanager
def serving(folder: Path, *flags: str) -> Iterator[Service]:
    """A server of the run in ``folder`` at a free port."""
    command = [sys.executable, "-m", "decorec", "serve", "--run", str(folder), "--port", "0", *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield Service(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def listed(found: list[Recommendation]) -> list[tuple[str, str]]:
    """Items and reasons, as the library gives them."""
    return [(each.item, each.reason) for each in found]


def shown(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The same, as the server answers them."""
    return [(each["item"], each["reason"]) for each in found]
