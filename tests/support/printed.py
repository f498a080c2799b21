"""Compares the files of a table with the rows that they have to hold."""

from __future__ import annotations

import csv
import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]


def mistakes(file: Path, expected: list[Row], tolerance: float = 1.1e-6) -> list[str]:
    """Cells of a csv file that are not what they have to be; every cell of every row is compared."""
    with file.open(newline="") as handle:
        found = list(csv.DictReader(handle))
    if len(found) != len(expected):
        return [f"{len(found)} rows, expected {len(expected)}"]
    wrong = []
    for number, (row, wanted) in enumerate(zip(found, expected, strict=True)):
        if set(row) != set(wanted):
            return [f"columns {sorted(row)}, expected {sorted(wanted)}"]
        for name, cell in wanted.items():
            if not _same(row[name], cell, tolerance):
                wrong.append(f"row {number} {name}: {row[name]!r}, expected {cell!r}")
    return wrong


def _same(text: str, cell: Any, tolerance: float) -> bool:
    if cell is None:
        return text == ""
    if isinstance(cell, bool | str):
        return text == (str(cell).lower() if isinstance(cell, bool) else cell)
    if isinstance(cell, int | np.integer):
        return text == str(cell)
    return text != "" and abs(float(text) - float(cell)) <= tolerance


NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")


def strangers(file: Path) -> list[str]:
    """Numbers in the printed html and tex of a table that are no rounding of one in its csv."""
    with file.open(newline="") as handle:
        known = [float(cell) for row in csv.DictReader(handle) for cell in row.values() if _is_number(cell)]
    body = ElementTree.fromstring(file.with_suffix(".html").read_text().removeprefix("<!DOCTYPE html>"))
    lines = [["".join(cell.itertext()) for cell in row.findall("td")] for row in body.findall(".//tbody/tr")]
    rows = file.with_suffix(".tex").read_text().partition(r"\midrule")[2].split(r"\bottomrule")[0].splitlines()
    for row in rows:
        if "&" in row:
            lines.append(row.split(" & ")[1:])
    # A row without any number says in words why.
    cells = [cell for line in lines if NUMBER.search(" ".join(line)) for cell in line]
    printed = [number for cell in cells for number in NUMBER.findall(re.sub(r"\d+ of \d+", "", cell))]
    assert len(printed) > len(cells) // 4 if known else not printed, "numbers were found, unless there are none"
    return [number for number in printed if not _rounds(number, known)]


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _rounds(number: str, known: list[float]) -> bool:
    decimals = len(number.partition(".")[2])
    return any(abs(float(number.replace(",", "")) - cell) <= 0.5 * 10**-decimals + 1e-6 for cell in known)
