"""Printed cells of a comparison: one metric of several runs on one data set."""

from __future__ import annotations

from collections.abc import Sequence

from decorec.tables.render import Cell, emphasise
from decorec.tables.summary import Summary

__all__ = ["cells"]


def cells(rows: Sequence[Summary]) -> list[Cell]:
    """One metric of one data set: a cell per run."""
    values = [f"{row.mean:.4f}" for row in rows]
    result = []
    for row, value, mark in zip(rows, values, emphasise(values), strict=True):
        spread = "" if row.std is None else f"{row.std:.4f}"
        test = "" if row.p_value is None else f", p = {row.p_value:.4f}"
        result.append(Cell(value, mark, spread, f"[{row.ci_low:.4f}, {row.ci_high:.4f}]{test}"))
    return result
