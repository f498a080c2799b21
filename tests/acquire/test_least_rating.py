"""The threshold of ratings: what is left out, and where it cannot be meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from decorec.acquire.histories import histories
from decorec.acquire.ingest import ingest
from decorec.config import load
from decorec.config.datasets import TableDataset
from decorec.config.prepare import FilterConfig
from decorec.errors import DecorecError

SALES = [(f"u{user}", f"i{item}", 100 * item, 4.0) for user in range(3) for item in range(3)]
"""Three users who like three items."""
BEFORE, LOW = [("u0", "i0", -50, 1.0)], [("u1", "i3", 7, 3.5), ("u3", "i0", 8, 2.0)]
"""u0 did not like i0 at first; others liked others less."""


def ingested(folder: Path, rows: list[tuple[Any, ...]], **filter: Any) -> tuple[pl.DataFrame, dict[str, Any], set[str]]:
    """What is kept, the counts, and the users with a history."""
    pl.DataFrame(rows, schema=["user", "item", "timestamp", "rating"], orient="row").write_csv(
        folder / "interactions.csv"
    )
    pl.DataFrame({"item": [f"i{item}" for item in range(4)]}).write_csv(folder / "items.csv")
    settings, section = FilterConfig(kcore=3, **filter), TableDataset(source="table", path=str(folder))
    files = {name: folder / "out" / name for name in ("interactions", "catalogue", "counts", "histories")}
    histories(dataset=section, filter=settings, histories=files.pop("histories"))
    ingest(dataset=section, filter=settings, **files)
    users = set(pl.read_parquet(folder / "out/histories")["user"])
    return pl.read_parquet(files["interactions"]), json.loads(files["counts"].read_text()), users


def test_low_ratings_are_as_if_they_were_not_there(tmp_path: Path) -> None:
    rows = [*BEFORE, *SALES, *LOW]
    kept, counts, users = ingested(tmp_path, rows, least_rating=4, duplicates="pair")
    assert len(kept) == 9 and kept["rating"].to_list() == [4.0] * 9, "the later, better rating of a pair stays"
    assert counts["filter"][0] == {
        "step": "ratings",
        "dropped": {"rated below 4": 3, "rating not known": 0},
        "users": 3,
        "items": 3,
        "interactions": 9,
    }
    assert users == {"u0", "u1", "u2"}
    kept, counts, users = ingested(tmp_path, rows, duplicates="pair")
    assert kept["rating"].min() == 1.0 and "ratings" not in {step["step"] for step in counts["filter"]}
    assert users == {"u0", "u1", "u2", "u3"}


@pytest.mark.parametrize(
    ("rating", "least", "message"),
    [
        (None, 4, r"interactions.csv: expected the rating of every interaction, .* is 4, found none .* of 9 of 9"),
        (
            "4 stars",
            4,
            r"found none or no number of 9 of 9; correct the column rating, or take",
        ),
        (4, 4.5, r"expected ratings of at least 4.5 \(filter.least_rating\), found 4 to 4; lower the key"),
    ],
)
def test_a_threshold_without_ratings_is_refused(rating: Any, least: float, message: str, tmp_path: Path) -> None:
    with pytest.raises(DecorecError, match=message):
        ingested(tmp_path, [(*row[:3], rating) for row in SALES], least_rating=least)


def test_given_splits_have_no_ratings() -> None:
    given = {"given": {"source": "atomic", "path": "x", "name": "Given"}}
    with pytest.raises(DecorecError, match=r"filter\.least_rating is 4, but datasets\.given \(source atomic\)"):
        load({"datasets": given, "filter": {"least_rating": 4}})
    assert "least_rating" not in load({"datasets": given}).filter.model_dump(mode="json"), "tracked as before"
