"""Kills in the middle of the whole chain: the same command goes on, by itself, to the bytes of an undisturbed run.

`make soak` makes more of them (KILLS), and another SEED chooses others.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.support.workplace import REPOSITORY, TINY, Workplace

pytestmark = pytest.mark.workflow
KILLS = int(os.environ.get("KILLS", "8"))
SEED = int(os.environ.get("SEED", "0"))
SETTINGS: dict[str, Any] = TINY | {
    "runs": {"decorec": {}, "sasrec": {"model": {"name": "sasrec", "dim": 8}}},
    "tables": {"main": ["decorec", "sasrec"]},
}
TABLE = "results/tables/main.csv"
COMMAND = [sys.executable, "-m", "snakemake", "--cores", "2", TABLE]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
KINDS = [
    *product(("everything", "snakemake"), SIGNALS),
    *((victim, signum) for signum in SIGNALS for victim in ("a job", "a decoder")),
]
"""What is killed, and how; the first eight stand for the rest."""
OWN = ("cache", "benchmarks", "log.jsonl")
"""Folders of results that are of one run: what it keeps for later, and the seconds that its jobs took."""


def shop(folder: Path) -> Workplace:
    """A workplace as a user has it: with the profile that applies by default."""
    workplace = Workplace(folder, SETTINGS, TABLE)
    shutil.copytree(REPOSITORY / "profiles", folder / "profiles")
    return workplace


def times(folder: str) -> Iterator[tuple[str, int]]:
    """Each file below a folder and when it was written, while steps write and delete them.

    It is asked twenty times a second: objects of ``Path`` would take a tenth of a core.
    """
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.is_dir(follow_symlinks=False):
                    yield from times(entry.path)
                else:
                    yield entry.path, entry.stat().st_mtime_ns


class Running:
    """One call of the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = (folder / "output").open("wb")
        # Python ignores Ctrl-C if this test's own shell has told its background jobs to.
        self.process = subprocess.Popen(
            COMMAND,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": ""},
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
        )
        self.seen = set(self._files())

    def _files(self) -> Iterator[tuple[str, int]]:
        """Files and logs as they stand."""
        for top in ("results", "logs"):
            yield from times(str(self.folder / top))

    def wait(self, events: int, victim: str) -> list[int]:
        """Wait until so many files or lines of logs have been written.

        Returns:
            The process to kill; none if the call has ended.
        """
        new: set[tuple[str, int]] = set()
        crawled = self.folder / "results" / "sample" / "images.parquet"
        while self.process.poll() is None:
            new |= set(self._files()) - self.seen
            if victim == "a decoder" and not crawled.exists():
                if decoders := self._processes(r"from multiprocessing\.forkserver "):
                    return decoders[-1:]
            elif len(new) >= events:
                jobs = self._processes(r"\0-m\0decorec\0") if victim.startswith("a ") else []
                return jobs[-1:] or [self.process.pid]
            time.sleep(0.05)
        return []

    def _processes(self, pattern: str) -> list[int]:
        """Processes of this call by their arguments, the youngest last."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended meanwhile
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
                if os.getsid(int(entry.name)) == self.process.pid and re.search(pattern, words):
                    found.append(int(entry.name))
        return sorted(found)

    def end(self) -> int:
        code = self.process.wait()
        self.log.close()
        return code

    def output(self) -> str:
        return (self.folder / "output").read_text(errors="replace")


def contents(folder: Path) -> dict[str, bytes]:
    """Everything that was computed, by name."""
    results = folder / "results"
    files = (path.relative_to(results) for path in results.rglob("*") if path.is_file())
    return {file.as_posix(): (results / file).read_bytes() for file in files if file.parts[0] not in OWN}


@pytest.mark.timeout(3600 + 600 * KILLS)
def test_kills_anywhere_need_the_same_command_and_nothing_else(tmp_path: Path) -> None:
    undisturbed, killed = shop(tmp_path / "undisturbed").folder, shop(tmp_path / "killed").folder
    first = Running(undisturbed)
    assert first.end() == 0, first.output()
    expected = contents(undisturbed)
    assert TABLE.removeprefix("results/") in expected and sum(name.endswith("ranks.parquet") for name in expected) == 2

    rng = random.Random(SEED)
    plan = (KINDS * (KILLS // len(KINDS) + 1))[:KILLS]
    rng.shuffle(plan)
    done: Counter[str] = Counter()
    while True:
        call, kills = Running(killed), 0
        while plan:
            victim, signum = plan[-1]
            pids = call.wait(rng.randrange(1, 20), victim)
            if not pids:
                break
            try:
                os.killpg(pids[0], signum) if victim == "everything" else os.kill(pids[0], signum)
            except ProcessLookupError:  # it was faster
                continue
            plan.pop()
            kills += 1
            done[f"{signal.Signals(signum).name} to {victim}"] += 1
            if victim != "a decoder":
                break
        code = call.end()
        assert code == 0 or kills, f"a manual step would be needed after {done}: {call.output()}"
        if code == 0:
            found = contents(killed)
            assert set(found) == set(expected), "nothing is missing, and no temporary file is left"
            assert [name for name, body in found.items() if expected[name] != body] == []
            if not plan:
                break
            for name in ("results", "logs", ".snakemake"):
                shutil.rmtree(killed / name)
    print(f"{done.total()} kills, 0 different files, 0 manual steps: {dict(done)}")
