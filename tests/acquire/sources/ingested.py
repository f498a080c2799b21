"""Runs the step ingest on a data set in a folder, as a user's configuration names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import TypeAdapter

from decorec.acquire.ingest import ingest
from decorec.config.datasets import Dataset
from decorec.config.prepare import FilterConfig

__all__ = ["SALES", "ingested"]

SALES = [(f"u{user}", item, 1_600_000_000 + 86_400 * item + user) for user in range(4) for item in range(4)]
"""User, number of the item, seconds: four users who have all bought the four items, in one order."""


def ingested(out: Path, section: dict[str, Any], kcore: int = 3) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Interactions, items and counts of the data set that ``section`` describes."""
    outputs = {name: out / "out" / name for name in ("interactions", "catalogue", "counts")}
    ingest(dataset=TypeAdapter(Dataset).validate_python(section), filter=FilterConfig(kcore=kcore), **outputs)
    tables = [pl.read_parquet(outputs[name]) for name in ("interactions", "catalogue")]
    return tables[0], tables[1], json.loads(outputs["counts"].read_text())
