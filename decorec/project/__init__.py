"""Where the workflow and its configuration lie: beside the package in a clone, inside it where it is installed."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["home", "package_path"]

PACKAGE = Path(__file__).parent.parent


def home() -> Path:
    """The folder that contains ``workflow/``, ``config/``, ``config.yaml``, ``envs/`` and ``profiles/``."""
    installed = Path(__file__).parent
    return installed if (installed / "workflow").is_dir() else PACKAGE.parent


def package_path(state: Path) -> Path:
    """A folder for PYTHONPATH in which this package is found, for jobs in environments that do not have it.

    In a clone it is the clone. Where the package is installed, its folder has all other packages as well, which must
    not stand before those of the job's environment: a link in ``state`` leads to this package alone.

    Args:
        state: a folder of this run for such things: ``.snakemake``.
    """
    if home() == PACKAGE.parent:
        return home()
    folder = (state / "package").absolute()
    link = folder / PACKAGE.name
    if not link.exists() or not link.samefile(PACKAGE):
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / f"{PACKAGE.name}.{os.getpid()}"
        fresh.symlink_to(PACKAGE)
        fresh.replace(link)  # jobs of the same run evaluate the workflow at the same time
    return folder
