"""The sample shops that the tests look at: the default one as numbers, a small one as files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from decorec.acquire.sample.customers import Purchases
from decorec.acquire.sample.dirt import Dirt
from decorec.acquire.sample.products import Products
from decorec.acquire.sample.shop import draw_shop, sample
from decorec.config.datasets import SampleDataset

Shop = tuple[Products, Purchases, Dirt]
SMALL = {"source": "sample", "items": 60, "users": 80}


def parse(lines: Iterable[bytes]) -> tuple[list[dict[str, Any]], int]:
    """(records, number of lines that are no JSON)."""
    records, malformed = [], 0
    for line in lines:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            malformed += 1
    return records, malformed


def write(folder: Path, **values: int) -> Path:
    dataset = SampleDataset.model_validate(SMALL | values)
    sample(
        dataset=dataset,
        reviews=folder / "reviews.json.gz",
        meta=folder / "meta.json.gz",
        pictures=folder / "pictures",
    )
    return folder


@lru_cache
def default_shop() -> Shop:
    """The shop of the default configuration."""
    return draw_shop(SampleDataset(source="sample"))
