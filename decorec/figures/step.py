"""Step figure: draws one figure from its tables, as svg and pdf; equal tables give equal bytes."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decorec.errors import DecorecError
from decorec.figures.panels import STYLE
from decorec.figures.registry import FIGURES

if TYPE_CHECKING:
    import polars as pl

__all__ = ["figure"]


def _read(file: Path) -> pl.DataFrame:
    """A table, with the user's history kept where it shows both treatments, as in the paper's figures.

    A column without any value is read as numbers (such as the deviation over a single seed).
    """
    import polars as pl

    from decorec.artifacts.files import read_csv

    table = read_csv(file)
    if "history" in table.columns:
        table = table.filter(history="kept").drop("history")
    empty = [name for name in table.columns if table[name].is_null().all()]
    return table.with_columns(pl.col(empty).cast(pl.Float64))


def figure(*, name: str, tables: list[Path], svg: Path, pdf: Path) -> None:
    """Draw one figure from its tables.

    Args:
        name: name of the figure.
        tables: TABLE.csv (read) of each table that the figure shows.
        svg: the figure as svg (written).
        pdf: the figure as pdf (written).

    Raises:
        DecorecError: there is no such figure, or a table that it needs is missing.
    """
    import matplotlib

    from decorec.artifacts.files import atomic_path, write_text

    if name not in FIGURES:
        raise DecorecError(f"figure {name!r}: expected one of {', '.join(FIGURES)}; correct the name")
    drawing = FIGURES[name]
    files = {file.stem: file for file in tables}
    for needed in drawing.tables:
        if needed not in files or not files[needed].is_file():
            raise DecorecError(f"figure {name}: expected the table {needed}.csv, found none; pass it to --tables")
    read = {needed: _read(files[needed]) for needed in drawing.tables}
    settings: Any = dict(matplotlib.rcParamsDefault) | STYLE | {"svg.hashsalt": name, "backend": "agg"}
    with matplotlib.rc_context(settings):
        drawn = drawing.draw(read)
        text = io.StringIO()
        drawn.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        write_text(svg, text.getvalue())
        with atomic_path(pdf) as temporary:
            drawn.savefig(temporary, format="pdf", metadata={"Creator": None, "Producer": None, "CreationDate": None})
    logging.getLogger("decorec").info("%s", svg)
