"""Step report-page: one html file with all tables and figures, which works offline."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl

from decorec.artifacts import layout
from decorec.artifacts.files import read_csv, read_table, read_text, write_text
from decorec.config.stored import read_stored
from decorec.errors import DecorecError
from decorec.figures.registry import FIGURES
from decorec.report.documents import Dropped, Gallery, Losses
from decorec.report.trainings import HEIGHT, WIDTH, trainings
from decorec.tables.labels import short
from decorec.tables.leaderboard import LEADERBOARD
from decorec.tables.render import STYLE, fragment
from decorec.tables.verdict import Verdict, per_thousand

__all__ = ["report_page"]

log = logging.getLogger("decorec")
FAR = 1000
"""Places behind this one are not counted out: nobody looks so far."""


def _drawing(file: Path) -> str:
    """An svg element for use within html; its ids are made different from those of other drawings."""
    element = re.search(r"<svg.*</svg>", read_text(file), re.DOTALL)
    if element is None:
        raise DecorecError(f"{file}: expected an svg file, found another file; run the step figure again")
    named = re.sub(r'(\bid="|\bhref="#|url\(#)', rf"\g<1>{file.stem}-", element[0])
    return re.sub(r' xmlns(:\w+)?="[^"]*"', "", named).replace("xlink:href", "href")


def _dropped(file: Path, step: str) -> list[tuple[str, str, int]]:
    """(step, reason, number) of everything that ``step`` dropped."""
    found = read_stored(file, Losses)
    records = {"interactions": found.interactions, "items": found.items}
    rows = [
        (f"{step}: {kind}", reason, count)
        for kind, part in records.items()
        if isinstance(part, Dropped)
        for reason, count in part.dropped.items()
    ]
    rows += [(f"{step}: {part.step}", reason, count) for part in found.filter for reason, count in part.dropped.items()]
    return [row for row in rows if row[2]]


def _crawled(file: Path) -> list[tuple[str, str, int]]:
    """(status, reason, number) of the picture addresses tried."""
    frame = read_table(file, {"status": pl.String, "error": pl.String})
    counted = frame.with_columns(pl.col("error").fill_null("")).group_by("status", "error").len()
    return list(counted.sort("len", "status", "error", descending=[True, False, False]).iter_rows())


def _losses(counts: Sequence[Path], statistics: Sequence[Path], images: Sequence[Path]) -> dict[str, Any]:
    """Data set -> what was dropped when reading and filtering, and the outcomes of the crawl."""
    losses: dict[str, Any] = {layout.dataset_of(file): {"dropped": [], "crawled": []} for file in statistics}
    for step, files in (("reading", counts), ("splitting", statistics)):
        for file in files:
            losses[layout.dataset_of(file)]["dropped"] += _dropped(file, step)
    for file in images:
        losses[layout.dataset_of(file)]["crawled"] = _crawled(file)
    return losses


def _boards(file: Path) -> dict[str, list[dict[str, Any]]]:
    """Data set -> the models with the history kept, then masked, best first, and where their bars lie (percent)."""
    frame = read_csv(file).cast(pl.Schema(LEADERBOARD))
    boards: dict[str, list[dict[str, Any]]] = {}
    for (dataset, history), part in frame.group_by("dataset", "history", maintain_order=True):
        largest = float(frame.filter(dataset=dataset)["ci_high"].max() or 1.0)  # type: ignore[arg-type]
        rows = [_bar(row, largest) for row in part.iter_rows(named=True)]
        block = {"history": history, "users": part["users"][0], "floor": part["floor"][0], "rows": rows}
        boards.setdefault(str(dataset), []).append(block)
    return boards


def _bar(row: dict[str, Any], largest: float) -> dict[str, Any]:
    """One row of a leaderboard as it is printed."""
    low, high = (100 * row[end] / largest for end in ("ci_low", "ci_high"))
    return {
        **{"place": row["place"], "model": row["model"], "simple": row["simple"]},
        **{"hit": per_thousand(row["hit"]), "ndcg": f"{row['ndcg']:.4f}"},
        **{"left": f"{low:.2f}", "width": f"{high - low:.2f}", "middle": f"{100 * row['hit'] / largest:.2f}"},
        "interval": f"{per_thousand(row['ci_low'])} to {per_thousand(row['ci_high'])}",
        **{name: "" if row[name] is None else f"{row[name]:.4f}" for name in ("p_value", "p_floor")},
    }


def in_words(rank: float) -> str:
    """Where an item stands, as one would say it; a mean place of ties may be a fraction."""
    return f"at place {rank:g}" if rank <= FAR else f"not in the first {FAR:,}"


def report_page(
    *,
    leaderboard: Path,
    reference: str,
    tables: list[Path],
    figures: list[Path],
    histories: list[Path],
    galleries: list[Path],
    verdicts: list[Path],
    counts: list[Path],
    statistics: list[Path],
    images: list[Path],
    page: Path,
) -> None:
    """Write the report: verdicts, models in order, figures, trainings, recommendations, tables, and what was left out.

    Args:
        leaderboard: leaderboard.csv (read).
        reference: run that its tests compare with.
        tables: TABLE.html (read) of each table.
        figures: NAME.svg (read) of each figure.
        histories: RUN/seed-N/STAGE/history.parquet (read) of the trainings whose curves are shown; the seeds of a run
            and stage follow each other.
        galleries: DATASET/gallery.json (read) of the data sets that have one.
        verdicts: DATASET/verdict.json (read) of the data sets that have one.
        counts: DATASET/ingest.json (read) of the data sets that have one.
        statistics: DATASET/statistics.json (read) of all data sets.
        images: DATASET/images.parquet (read) of the data sets that have one.
        page: the report (written), one html file that needs no other file.

    Raises:
        DecorecError: a file is missing or has another content than its step writes.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    template = resources.files("decorec.report").joinpath("page.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals |= {"short": short, "per_thousand": per_thousand, "in_words": in_words}
    text = environment.from_string(template).render(
        style=Markup(STYLE),
        boards=_boards(leaderboard),
        reference=reference,
        tables={file.stem: Markup(fragment(file)) for file in tables},  # escaped already
        figures={file.stem: (Markup(_drawing(file)), FIGURES[file.stem].caption) for file in figures},
        trainings=trainings(histories),
        width=WIDTH,
        height=HEIGHT,
        verdicts={layout.dataset_of(file): read_stored(file, Verdict) for file in verdicts},
        losses=_losses(counts, statistics, images),
        galleries={layout.dataset_of(file): read_stored(file, Gallery) for file in galleries},
    )
    write_text(page, text.rstrip() + "\n")
    log.info("%s: %d tables, %d figures, %d data sets", page, len(tables), len(figures), len(galleries))
