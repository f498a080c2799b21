"""The examples of docs/how-to/using.md and of the tutorial, run on a sample shop as `make main` leaves it."""

from __future__ import annotations

import json
import subprocess
import sys

from docs.generate.notebook import blocks, notebook
from tests.support.workplace import REPOSITORY, Workplace

OTHER = {"decorec-plus": "decorec"}
"""Runs that the small workplace does not have -> those that stand for them."""


def examples() -> dict[str, str]:
    """The Python of both pages."""
    found = {}
    for page in ("how-to/using", "tutorial"):
        text = (REPOSITORY / f"docs/{page}.md").read_text(encoding="utf-8")
        for name, other in OTHER.items():
            text = text.replace(name, other)
        found[page] = "\n".join(blocks(text))
    return found


def run_examples(workplace: Workplace) -> None:
    """In one process, which loads torch once; then the commands that the page shows."""
    texts = examples()
    checks = (
        "\nassert len(near) == 5 and vectors.shape[0] == 3\n",
        "\nassert len(found) == 6 and sheet.size == (384, 192) and not set(history) & {one.item for one in found}\n",
    )
    code = "".join(text + check for text, check in zip(texts.values(), checks, strict=True))
    result = subprocess.run([sys.executable, "-c", code], cwd=workplace.folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 5


def test_the_notebook_is_the_tutorial() -> None:
    """Every block is a cell; there are no outputs, which would be of another run than the reader's."""
    page = (REPOSITORY / "docs/tutorial.md").read_text(encoding="utf-8")
    cells = json.loads(notebook(page))["cells"]
    assert [f"{''.join(cell['source'])}\n" for cell in cells if cell["cell_type"] == "code"] == blocks(page)
    assert all(cell.get("outputs", []) == [] for cell in cells) and len(cells) > len(blocks(page)) > 5
    text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert "## 1. Compute a table" in text
