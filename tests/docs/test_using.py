"""The examples of docs/how-to/using.md and of the tutorials, run on a sample shop as `make main` leaves it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.generate.notebook import TUTORIALS, blocks, notebooks
from tests.support.followed import follow
from tests.support.workplace import REPOSITORY, TINY, WHOLE, Workplace

OTHER = {"decorec-plus": "decorec"}
"""Runs that the small workplace does not have -> those that stand for them."""


def examples() -> dict[str, str]:
    """The Python of both pages."""
    found = {}
    for page in ("how-to/using", "tutorials/first-table"):
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


def follow_your_shop(finished: Workplace, folder: Path) -> None:
    """Beside a sample shop that is there. The first look is at one model, with and without text and pictures."""
    tables = {"main": ["decorec-plus"], "reference": "decorec-plus", "verdict": "decorec-plus"}
    runs = {"decorec-plus": {"train": {"horizon": 3}}}
    place = _as_a_reader(finished, folder, TINY | {"runs": runs, "tables": tables})
    (place / "config").mkdir()
    (place / "config/quick.yaml").write_text(yaml.safe_dump({"seeds": [0]}))
    follow("your-shop", place)


def follow_an_experiment(whole: Workplace, folder: Path) -> None:
    """From a run whose two seeds are there."""
    runs = WHOLE["runs"] | {"no-frozen": {"model": {"freeze": False}}}
    follow("experiment", _as_a_reader(whole, folder, WHOLE | {"runs": runs}))


def _as_a_reader(workplace: Workplace, folder: Path, config: dict[str, Any]) -> Path:
    """All that has been computed, where calls of Snakemake have the options that they have in a clone."""
    place = workplace.copy(folder, config).folder
    shutil.copytree(REPOSITORY / "profiles", place / "profiles")
    return place


@pytest.mark.parametrize("page", sorted(TUTORIALS.glob("*.md")), ids=lambda page: page.stem)
def test_the_notebook_is_the_tutorial(page: Path) -> None:
    """Every block is a cell; there are no outputs, which would be of another run than the reader's."""
    text = page.read_text(encoding="utf-8")
    cells = json.loads(notebooks()[f"tutorials/{page.stem}.ipynb"])["cells"]
    assert [f"{''.join(cell['source'])}\n" for cell in cells if cell["cell_type"] == "code"] == blocks(text)
    assert all(cell.get("outputs", []) == [] for cell in cells) and len(cells) > len(blocks(text)) >= 2
    words = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert "\n## 1. " in words and "```python" not in words
