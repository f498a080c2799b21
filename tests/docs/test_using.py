"""The examples of docs/using.md and the notebook, run on a sample shop as `make main` leaves it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from tests.support.workplace import REPOSITORY, Workplace

OTHER = {"decorec-plus": "decorec"}
"""Runs that the small workplace does not have -> those that stand for them."""


def examples() -> dict[str, str]:
    """The Python of the page and of the notebook."""
    page = (REPOSITORY / "docs/using.md").read_text(encoding="utf-8")
    notebook = json.loads((REPOSITORY / "docs/using.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    found = {"page": "\n".join(re.findall(r"```python\n(.*?)```", page, re.S)), "notebook": "\n".join(cells)}
    for name, other in OTHER.items():
        found = {key: text.replace(name, other) for key, text in found.items()}
    return found


def run_examples(workplace: Workplace) -> None:
    """In one process, which loads torch once; then the commands that the page shows."""
    texts = examples()
    checks = (
        "\nassert len(near) == 5 and vectors.shape[0] == 3\n",
        "\nassert len(found) == 6 and sheet.size == (384, 192) and not set(history) & {one.item for one in found}\n",
    )
    code = "".join(text + check for text, check in zip((texts["page"], texts["notebook"]), checks, strict=True))
    result = subprocess.run([sys.executable, "-c", code], cwd=workplace.folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 5


def test_the_notebook_is_clean() -> None:
    """Its outputs would be of another run than the reader's."""
    notebook = json.loads((REPOSITORY / "docs/using.ipynb").read_text(encoding="utf-8"))
    assert all(cell.get("outputs", []) == [] for cell in notebook["cells"])
    assert notebook["nbformat"] == 4
