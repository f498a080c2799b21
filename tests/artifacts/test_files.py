"""Tables that change their types only as they are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from decorec.artifacts.files import read_table, write_table
from decorec.data.id_codes import ids


@pytest.mark.parametrize("rows", [0, 3, 131_073, 300_001])
def test_the_bytes_are_those_of_a_table_with_these_types(tmp_path: Path, rows: int) -> None:
    frame = pl.DataFrame({"user": np.arange(rows) % 1000, "time": np.arange(rows)}).cast({"user": pl.String})
    write_table(tmp_path / "whole", frame)
    write_table(tmp_path / "parts", frame.cast({"user": ids()}), {"user": pl.String})
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()
    read = read_table(tmp_path / "parts", {"user": (kind := ids())}, only=True)
    assert read["user"].dtype == kind and read["user"].cast(pl.String).equals(frame["user"])
