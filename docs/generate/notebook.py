"""Tutorials as notebooks: their blocks of Python are cells to run, everything between them is text."""

from __future__ import annotations

import json
import re

from docs.generate import REPOSITORY

__all__ = ["TUTORIALS", "blocks", "notebook", "notebooks"]

TUTORIALS = REPOSITORY / "docs/tutorials"


def blocks(page: str) -> list[str]:
    """The blocks of Python of a page, in their order."""
    return re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def notebooks() -> dict[str, str]:
    """Place in the site -> the notebook, of every tutorial that has Python."""
    pages = {page: page.read_text(encoding="utf-8") for page in sorted(TUTORIALS.glob("*.md"))}
    return {f"tutorials/{page.stem}.ipynb": notebook(text) for page, text in pages.items() if blocks(text)}


def notebook(page: str) -> str:
    """A notebook without outputs (nbformat 4)."""
    cells = []
    for number, part in enumerate(re.split(r"^```python\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)):
        source = part.strip("\n").splitlines(keepends=True)
        if number % 2:
            cells.append({"cell_type": "code", "execution_count": None, "outputs": [], "source": source})
        elif source:
            cells.append({"cell_type": "markdown", "source": source})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    found = {
        "cells": [{"id": f"cell-{number}", "metadata": {}, **cell} for number, cell in enumerate(cells)],
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(found, indent=1) + "\n"
