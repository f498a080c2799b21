"""A page of docs/tutorials/ as a reader follows it: its blocks are run in their order, and show what comes out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path

from tests.support.workplace import REPOSITORY

BLOCK = re.compile(r"^```(sh|python|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
REFUSED = "# is refused\n"
"""Ends a block of commands whose last one fails."""
PLANNED = re.compile(r"\w+ \d+|Training .*")
"""Lines of a plan: what they count does not depend on the size of a shop."""
VARYING = re.compile(r"\b[AB][0-9A-Z]{9,13}\b|(?:[-+]?\b\d+(?:[.,:][-+]?\d+)*\b(?: (?:s|min|h)\b)? ?)+")
"""Ids of products and customers, numbers, and spans of time."""


def follow(page: str, folder: Path) -> None:
    """Run the blocks of a page in a folder, those in Python in one process as in a session of ``python``.

    A block ``text`` is what the block before it has printed: ids and numbers may be others, but for those of a plan,
    and "..." stands for what is left out, in a line or as a line.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder)}
    names: dict[str, object] = {"__name__": "__main__"}
    printed = ""
    for language, block in _blocks(page):
        if language == "text":
            assert _expected(block).fullmatch(_shape(printed)), f"{page} shows:\n{block}\nwhat came out:\n{printed}"
        elif language == "sh":
            call = ["bash", "-e", "-c", block]
            joined = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            result = subprocess.run(call, cwd=folder, env=environment, text=True, **joined)
            printed = result.stdout
            assert (result.returncode != 0) == block.endswith(REFUSED), f"{block}\n{printed}"
        else:
            with chdir(folder), redirect_stdout(StringIO()) as output:
                exec(compile(block, page, "exec"), names)
            printed = output.getvalue()


def _blocks(page: str) -> Iterator[tuple[str, str]]:
    text = (REPOSITORY / f"docs/tutorials/{page}.md").read_text(encoding="utf-8")
    found = BLOCK.findall(text)
    assert len(re.findall("^```", text, re.MULTILINE)) == 2 * len(found), f"{page}: a block that is not followed"
    assert {"sh", "python", "text"} == {language for language, _ in found}
    yield from found


def _expected(block: str) -> re.Pattern[str]:
    lines = (re.escape(line).replace(r"\.\.\.", ".*") for line in _shape(block).splitlines())
    return re.compile("".join(r"(?:.*\n)*?" if line == ".*" else f"{line}\n" for line in lines))


def _shape(text: str) -> str:
    """Without blanks, ids and numbers that may be others."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "".join(f"{line if PLANNED.fullmatch(line) else VARYING.sub('#', line)}\n" for line in lines)
