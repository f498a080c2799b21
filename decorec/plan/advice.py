"""What to do where no rule makes a target, or a file of a data set is not there: Snakemake does not say it."""

from __future__ import annotations

import difflib
import re
from pathlib import Path, PurePath

from decorec.artifacts import layout
from decorec.config.datasets import FolderDataset
from decorec.config.meant import meant
from decorec.plan.plan import Plan

__all__ = ["advised"]

OF_A_DATASET = (layout.VERDICT, layout.STATISTICS, layout.INTERACTIONS, layout.PRODUCTION_CARD, layout.TRIALS_TABLE)
"""What one asks for by name, beside lists, tables, figures and pages."""


def advised(words: str, plan: Plan) -> str:
    """Snakemake's words for a target that no rule makes, or for files that are not there, and what to do."""
    if target := re.match(r"No rule to produce (\S+)", words):
        return f"{words}\n{_for_target(target[1], plan)}"
    files = words.partition("affected files:")[2].split()
    return "\n".join([words, *dict.fromkeys(filter(None, (_for_file(file, plan) for file in files)))])


def _for_target(target: str, plan: Plan) -> str:
    """What may have been meant by a target that no rule makes."""
    close = difflib.get_close_matches(target, _targets(plan), n=3, cutoff=0.8)
    run = re.search(r"/runs/([^/]+)/", target)
    if run and run[1] not in plan.runs:
        return f"No run is called {run[1]!r}: {meant(run[1], plan.runs) or 'expected one of ' + ', '.join(plan.runs)}"
    names = f"The data sets of this configuration: {', '.join(plan.config.datasets)}; --configfile FILE names others."
    return f"Did you mean {' or '.join(close)}? {names}" if close else names


def _for_file(file: str, plan: Plan) -> str:
    """Which key says that a file is to be where it is not; "" where none of a data set does."""
    for name, section in plan.config.datasets.items():
        if isinstance(section, FolderDataset) and PurePath(file).is_relative_to(section.path):
            return f"datasets.{name}.path is {section.path!r}: put the files there, or correct it."
    for name, external in plan.config.external.items():
        if any(external.files_of(dataset, [Path(file)]) for dataset in plan.config.datasets):
            return f"external.{name}.path is {external.path!r}: put the recommendations there, or correct it."
    return ""


def _targets(plan: Plan) -> list[str]:
    """The files that one asks for by name."""
    found = [layout.fill(pattern, dataset=name) for pattern in OF_A_DATASET for name in plan.config.datasets]
    for ending in ("parquet", "csv"):
        found += [layout.fill(layout.RECOMMENDATIONS, dataset=name, ending=ending) for name in plan.config.datasets]
    for pattern in (layout.TABLE, layout.TABLE_MD):
        found += [layout.fill(pattern, table=name) for name in plan.tables()]
    found += [layout.fill(layout.FIGURE_SVG, name=name) for name in plan.figures()]
    return [*found, layout.RESULTS_PAGE, *(layout.fill(layout.PAGE, page=page) for page in ("index", "full"))]
