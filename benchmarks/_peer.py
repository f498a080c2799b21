"""Another tool in an environment and a process of its own, which does one thing when asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["Peer"]


class Peer:
    """The process of a script of this folder, which answers a line with a line that begins with ANSWER."""

    def __init__(self, name: str, python: Path, script: str, arguments: list[str], folder: Path) -> None:
        """Start ``script`` in ``folder``; ``name`` is for messages."""
        if not python.exists():
            sys.exit(f"{python}: expected the interpreter of {name}'s environment, found none; the benchmark's --help")
        self.name = name
        # -P: the files beside the script are called like the tools.
        command = [str(python), "-P", str(Path(__file__).with_name(script)), *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder, text=True)

    def ask(self, what: str) -> Any:
        """The answer to ``what``."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(what, file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith("ANSWER "):
                return json.loads(line.removeprefix("ANSWER "))
        sys.exit(f"{self.name} ended while asked for {what}; its messages are above")

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
