"""Step report_page: one page with everything, in one file that works offline."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl

from decorec.artifacts import layout
from decorec.artifacts.files import read_json, read_table, read_text, write_text
from decorec.errors import DecorecError
from decorec.figures.registry import FIGURES
from decorec.tables.labels import short
from decorec.tables.render import STYLE, fragment

__all__ = ["report_page"]

log = logging.getLogger("decorec")


def _drawing(file: Path) -> str:
    """An svg element to stand within html, its names made different from those of other drawings."""
    element = re.search(r"<svg.*</svg>", read_text(file), re.DOTALL)
    if element is None:
        raise DecorecError(f"{file}: expected an svg file, found another; run the step figure again")
    named = re.sub(r'(\bid="|\bhref="#|url\(#)', rf"\g<1>{file.stem}-", element[0])
    return re.sub(r' xmlns(:\w+)?="[^"]*"', "", named).replace("xlink:href", "href")


def _dropped(file: Path, step: str) -> list[tuple[str, str, int]]:
    """(where, why, how many) of everything that ``step`` left out."""
    found = read_json(file)
    rows = [
        (f"{step}: {kind}", reason, count)
        for kind in ("interactions", "items")
        if isinstance(found.get(kind), dict)
        for reason, count in found[kind]["dropped"].items()
    ]
    rows += [
        (f"{step}: {part['step']}", reason, count)
        for part in found["filter"]
        for reason, count in part["dropped"].items()
    ]
    return [row for row in rows if row[2]]


def _crawled(file: Path) -> list[tuple[str, str, int]]:
    """(status, reason, how many) of the pictures asked for."""
    frame = read_table(file, {"status": pl.String, "error": pl.String})
    counted = frame.with_columns(pl.col("error").fill_null("")).group_by("status", "error").len()
    return list(counted.sort("len", "status", "error", descending=[True, False, False]).iter_rows())


def _losses(counts: Sequence[Path], statistics: Sequence[Path], images: Sequence[Path]) -> dict[str, Any]:
    """Data set -> what was dropped in reading and in filtering, and the outcome of the crawl."""
    losses: dict[str, Any] = {layout.dataset_of(file): {"dropped": [], "crawled": []} for file in statistics}
    for step, files in (("reading", counts), ("splitting", statistics)):
        for file in files:
            losses[layout.dataset_of(file)]["dropped"] += _dropped(file, step)
    for file in images:
        losses[layout.dataset_of(file)]["crawled"] = _crawled(file)
    return losses


def report_page(
    *,
    tables: list[Path],
    figures: list[Path],
    galleries: list[Path],
    counts: list[Path],
    statistics: list[Path],
    images: list[Path],
    page: Path,
) -> None:
    """Write the page: tables, figures, what was dropped, the crawl, and recommendations to some users.

    tables: NAME.html of each. figures: NAME.svg of each. galleries, statistics: DATASET/gallery.json and
    DATASET/statistics.json of all data sets. counts, images: DATASET/ingest.json and DATASET/images.parquet of those
    that have them.

    Raises:
        DecorecError: a file is missing or is not what its step writes.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    template = resources.files("decorec.report").joinpath("page.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals["short"] = short
    text = environment.from_string(template).render(
        style=Markup(STYLE),
        tables={file.stem: Markup(fragment(file)) for file in tables},  # escaped already
        figures={file.stem: (Markup(_drawing(file)), FIGURES[file.stem].caption) for file in figures},
        losses=_losses(counts, statistics, images),
        galleries={layout.dataset_of(file): read_json(file) for file in galleries},
    )
    write_text(page, text.rstrip() + "\n")
    log.info("%s: %d tables, %d figures, %d data sets", page, len(tables), len(figures), len(galleries))
