"""Products and purchases of the sample shop as Amazon-2018 records: one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from decorec.acquire.sample.customers import Purchases
from decorec.acquire.sample.dirt import DUPLICATED_REVIEWS, Dirt, css_title
from decorec.acquire.sample.products import (
    BRANDS,
    COLOURS,
    KINDS,
    MATERIALS,
    PATTERNS,
    STYLES,
    Products,
    identifiers,
)
from decorec.acquire.sample.server import HOST

__all__ = ["meta_lines", "review_lines"]

Record = dict[str, Any]

OPENING = datetime(2015, 6, 1, tzinfo=UTC)
NAMES = ("Amazon Customer", "Kindle Customer", "Ada", "Ben", "Chloe", "D. Moreau", "Erik", "Fay K.", "Gus", "Hana")
SUMMARIES = ("Five Stars", "Just right", "As described", "Would buy again", "Not for me", "Nice gift", "Good value")
OPINIONS = (
    "Exactly what I was looking for.",
    "Arrived on time and well packed.",
    "Smaller than I thought, but I like it.",
    'My daughter says it is "awesome".',
    "It broke after two weeks & nobody answered.",
    "",
)
SIZES = ("Small", "Medium", "Large")
PRAISE = ("Made to last.", "A gift that everybody likes.", "Easy to clean.", "Designed with care in a small studio.")


def _line(record: Record) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _title(products: Products, item: int, rng: np.random.Generator) -> str:
    """A brand always uses the same of several words for a style or a kind."""
    brand = products.brand[item]
    nouns = KINDS[list(KINDS)[products.kind[item]]].nouns
    styles = list(STYLES.values())[products.style[item]]
    words = [BRANDS[brand], styles[brand % len(styles)]]
    if products.tells_colour[item]:
        words.append(COLOURS[products.colour[item]].title())
    if products.tells_pattern[item]:
        words.append(PATTERNS[products.pattern[item]].title())
    words += [MATERIALS[products.material[item]], nouns[brand % len(nouns)]]
    return " ".join(words) + f", {rng.choice(SIZES)}"


def _description(products: Products, item: int, rng: np.random.Generator) -> list[str]:
    style = list(STYLES)[products.style[item]]
    material = MATERIALS[products.material[item]].lower()
    return [f"Part of our {style} collection, with {material} parts.", str(rng.choice(PRAISE))]


def _links(products: Products, item: int, dirt: Dirt, rng: np.random.Generator) -> Record:
    """The fields with the URLs of the pictures, small and large."""
    base = f"http://{HOST}/pictures/{products.asin[item]}"
    if item in dirt["no picture"]:
        return {"imageURL": [], "imageURLHighRes": []}
    if item in dirt["old link field"]:
        return {"imUrl": f"{base}.jpg"}
    if item in dirt["dead first link"]:
        return {"imageURL": [], "imageURLHighRes": [f"{base}-front.jpg", f"{base}.jpg"]}
    broken = any(item in dirt[name] for name in ("dead link", "truncated picture", "html as picture", "placeholder"))
    small = [] if broken or rng.random() < 0.3 else [f"{base}._SS60_.jpg"]
    return {"imageURL": small, "imageURLHighRes": [f"{base}.jpg"]}


def _relations(products: Products, item: int, rng: np.random.Generator) -> Record:
    kit = np.flatnonzero(products.kit == products.kit[item])
    others = rng.integers(0, len(products), 2)
    bought = [products.asin[other] for other in [*kit, *others] if other != item]
    alike = np.flatnonzero(products.kind == products.kind[item])
    viewed = [products.asin[other] for other in rng.permutation(alike)[:5] if other != item]
    return {"also_buy": bought, "also_view": viewed}


def _meta_record(products: Products, item: int, dirt: Dirt, rng: np.random.Generator) -> Record:
    kind = KINDS[list(KINDS)[products.kind[item]]]
    price = float(np.round(np.exp(rng.normal(3.0, 0.6)), 2))
    launched = OPENING + timedelta(days=int(products.launch[item]))
    record: Record = {
        "category": ["Sample Shop", *kind.categories],
        "tech1": "",
        "description": _description(products, item, rng),
        "fit": "",
        "title": _title(products, item, rng),
        **_relations(products, item, rng),
        "tech2": "",
        "brand": BRANDS[products.brand[item]],
        "feature": [f"{MATERIALS[products.material[item]]} parts"] if rng.random() < 0.6 else [],
        "rank": f"{rng.integers(100, 1_000_000):,} in {kind.categories[0]} (",
        "details": {"Shipping Weight:": f"{rng.integers(1, 90) / 10} pounds", "ASIN:": products.asin[item]},
        "main_cat": kind.categories[0],
        "similar_item": "",
        "date": f"{launched:%B} {launched.day}, {launched.year}",
        "price": str(rng.choice(["", f"${price:,.2f}", f"${price:,.2f} - ${2 * price:,.2f}"], p=[0.3, 0.6, 0.1])),
        "asin": products.asin[item],
        **_links(products, item, dirt, rng),
    }
    return record


def _soil(record: Record, item: int, dirt: Dirt) -> Record:
    """``record`` with the defects of this product."""
    suffers = {name for name, products in dirt.items() if item in products}
    if "entities in title" in suffers:
        record["title"] = record["title"].replace("&", "&amp;") + " &quot;Limited&quot;"
    if "tags in title" in suffers:
        record["title"] = f'<span class="title-large">{record["title"]}</span>'
    if "css title" in suffers:
        record["title"] = css_title()
    if "no title" in suffers:
        del record["title"]
    if "no brand" in suffers:
        del record["brand"]
    if "tags in description" in suffers:
        record["description"][0] = f"<p><b>New!</b> {record['description'][0]}</p><br />Home&nbsp;&amp;&nbsp;more"
    if "description is a string" in suffers:
        record["description"] = " ".join(record["description"])
    if "no description" in suffers:
        del record["description"]
    if "category is a string" in suffers:
        record["category"] = record["category"][-1]
    if "css price" in suffers:
        record["price"] = ".price-box{color:#900}#buy-box{display:none}"
    return record


def meta_lines(products: Products, dirt: Dirt, rng: np.random.Generator) -> Iterator[bytes]:
    """Lines of the metadata file: one record per product, plus repeated records and one incomplete line."""
    repeated: list[Record] = []
    for item in range(len(products)):
        record = _soil(_meta_record(products, item, dirt, rng), item, dirt)
        if item in dirt["no metadata"]:
            continue
        yield _line(record)
        if item in dirt["repeated record"]:
            repeated.append(record)
        if item in dirt["repeated record that differs"]:
            repeated.append(record | {"title": "Sample Shop listing", "brand": "Unknown"})
        if item == len(products) // 2:
            yield _line(record)[:60] + b"\n"
    yield from map(_line, repeated)


def _review_record(asin: str, user: str, overall: int, day: int, rng: np.random.Generator) -> Record:
    date = OPENING + timedelta(days=day)
    record: Record = {"overall": float(overall), "verified": bool(rng.random() < 0.9)}
    if rng.random() < 0.05:
        record["vote"] = str(rng.integers(2, 40))
    record |= {"reviewTime": f"{date:%m} {date.day}, {date.year}", "reviewerID": user, "asin": asin}
    if rng.random() < 0.1:
        record["style"] = {"Size:": f" {rng.integers(1, 9)}"}
    record["reviewerName"] = str(NAMES[rng.integers(len(NAMES))])
    opinion = OPINIONS[rng.integers(len(OPINIONS))]
    if opinion:
        record["reviewText"] = opinion
    return record | {"summary": SUMMARIES[rng.integers(len(SUMMARIES))], "unixReviewTime": int(date.timestamp())}


def review_lines(products: Products, purchases: Purchases, users: int, rng: np.random.Generator) -> Iterator[bytes]:
    """Lines of the reviews file: product by product, newest first; some reviews occur twice, one line is incomplete."""
    names = identifiers("A", 13, users, rng)
    order = np.lexsort((np.arange(len(purchases.user)), -purchases.day, purchases.item))
    twice = rng.random(len(order)) < DUPLICATED_REVIEWS
    twice[0] = True
    for position, row in enumerate(order):
        item, user, day = purchases.item[row], purchases.user[row], purchases.day[row]
        line = _line(_review_record(products.asin[item], names[user], int(purchases.overall[row]), int(day), rng))
        yield line
        if twice[position]:
            yield line
        if position == len(order) // 2:
            yield line[:70] + b"\n"
