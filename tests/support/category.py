"""A small category in raw form, for tests: complete baskets of users and items, in the formats of both years."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Record = dict[str, Any]

DAY = 1_500_000_000 // 86_400 * 86_400


def reviews(users: int = 6, items: int = 6) -> list[Record]:
    """Every user has reviewed every item, one a day; 2018 format."""
    return [
        {
            "overall": 5.0,
            "reviewerID": f"U{user}",
            "asin": f"B{(item + user) % items}",
            "reviewTime": "07 14, 2017",
            "style": {"Size:": " L"},
            "unixReviewTime": DAY + 86_400 * item,
        }
        for user in range(users)
        for item in range(items)
    ]


def metadata(items: int = 6) -> list[Record]:
    """2018 format."""
    return [
        {
            "asin": f"B{item}",
            "title": f"Thing {item}",
            "brand": "Acme",
            "category": ["Tools", "Things"],
            "description": ["A thing.", "Useful."],
            "imageURL": [f"http://shop.example/{item}._SX38_.jpg"],
            "imageURLHighRes": [f"http://shop.example/{item}.jpg"],
        }
        for item in range(items)
    ]


def write(path: Path, records: Iterable[Record | bytes]) -> Path:
    """Gzipped JSON lines; bytes are written as they are."""
    lines = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
    path.write_bytes(gzip.compress(b"\n".join(lines) + b"\n"))
    return path


def review_2023(record: Record) -> Record:
    """A review of 2018 in the format of 2023: children of a product with ids of their own, milliseconds."""
    return {
        "rating": record["overall"],
        "title": record["summary"],
        "text": record.get("reviewText", ""),
        "images": [],
        "asin": f"{record['asin']}-{'XL'[len(record['summary']) % 2]}",
        "parent_asin": record["asin"],
        "user_id": record["reviewerID"],
        "timestamp": record["unixReviewTime"] * 1_000 + 987,
        "helpful_vote": int(record.get("vote", 0)),
        "verified_purchase": record["verified"],
    }


def metadata_2023(record: Record) -> Record:
    """Metadata of 2018 in the format of 2023: dicts of one picture in three sizes, nulls, a store for a brand."""
    large = [*record.get("imageURLHighRes", []), *([record["imUrl"]] if "imUrl" in record else [])]
    return {
        "main_category": record["main_cat"],
        "title": record.get("title"),
        "average_rating": 4.2,
        "rating_number": 17,
        "features": record["feature"],
        "description": record.get("description", []),
        "price": None,
        "images": [
            {"thumb": f"{url}?40", "large": url, "variant": f"PT{number:02d}" if number else "MAIN", "hi_res": None}
            for number, url in enumerate(large)
        ],
        "videos": [{"title": "Video", "url": "https://shop.invalid/vse", "user_id": ""}],
        "store": record.get("brand"),
        "categories": record["category"],
        "details": {"Manufacturer": record.get("brand", "")},
        "parent_asin": record["asin"],
        "bought_together": None,
    }
