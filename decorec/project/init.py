"""Step ``init``: a folder of one's own, in which the installed workflow runs."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from decorec.artifacts import layout
from decorec.errors import DecorecError
from decorec.project import home

__all__ = ["init"]

TEMPLATE = Path(__file__).parent / "template"
TEMPLATES = {
    "Snakefile": "Snakefile",
    "README.md": "README.md",
    "shop.yaml": "shop.yaml",
    ".gitignore": "gitignore",
}
"""File in the new folder -> file of the template."""
COPIES = ("config.yaml", "config", "profiles", layout.GUIDE, "workflow/schemas")
"""What is copied as it is, at the same place: what a user edits, and what explains it."""


def init(folder: Path) -> None:
    """Write Snakefile, config.yaml, the files to lay over it, profiles and a README into a folder.

    The workflow itself stays in the installed package: a newer version of it is used at once, and Snakemake runs the
    steps again whose code has changed. The folder may exist; nothing in it is overwritten.

    Args:
        folder: such as ``shop``; it is made if it does not exist.

    Raises:
        DecorecError: a file to be written is there already; nothing has been written.
    """
    source = home()
    files = {folder / name: TEMPLATE / template for name, template in TEMPLATES.items()}
    for name in COPIES:
        below = [source / name] if (source / name).is_file() else sorted((source / name).rglob("*"))
        files |= {folder / path.relative_to(source): path for path in below if path.is_file()}
    taken = [path for path in files if path.exists()]
    if taken:
        raise DecorecError(
            f"{taken[0]}: expected a folder without the {len(files)} files that init writes, found {len(taken)} of"
            " them; name another folder, or move these files away"
        )
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(content, path)
    print(f"{folder}: {len(files)} files written. The first table, from a small shop that is part of the package:\n")
    print(f"    cd {folder}\n    snakemake --cores all results/tables/main.csv\n")
    print("README.md there says how to go on with data of your own.")
    if find_spec("snakemake") is None:
        print("The workflow needs more packages than are installed here; run: pip install 'decorec[workflow]'")
