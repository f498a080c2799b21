"""histories.parquet: what every customer of a source bought, also those that the filter drops."""

from __future__ import annotations

import polars as pl

__all__ = ["HISTORIES"]

HISTORIES = {"user": pl.String, "item": pl.String, "timestamp": pl.Int64}
"""One row per interaction, in the order of the source, or of time where the source's times are finer than a second;
timestamp: seconds since 1970."""
