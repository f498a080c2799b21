"""The sample shop has every kind of dirt of the real thing, in the real format."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decorec.acquire.sample.dirt import LOST, PICTURE_DIRT, TEXT_DIRT
from decorec.acquire.sample.records import meta_lines, review_lines
from decorec.acquire.sample.shop import draw_shop
from decorec.config.datasets import SampleDataset
from tests.support.sample_shop import SMALL, Shop, default_shop, parse, write


@pytest.fixture(scope="module")
def shop() -> Shop:
    return default_shop()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("small"))


@pytest.mark.parametrize("items", [60, 800])
def test_every_kind_of_dirt_in_the_records(items: int) -> None:
    products, _, dirt = draw_shop(SampleDataset(source="sample", items=items, users=200))
    assert set(dirt) == PICTURE_DIRT.keys() | TEXT_DIRT.keys()
    assert all(dirt.values())
    records, malformed = parse(meta_lines(products, dirt, np.random.default_rng(0)))
    assert malformed == 1
    asins = Counter(record["asin"] for record in records)
    assert set(products.asin) > set(asins)  # items without metadata
    twice = [[r for r in records if r["asin"] == asin] for asin, count in asins.items() if count > 1]
    assert any(group[0] == group[1] for group in twice)
    assert any(group[0].get("title") != group[-1].get("title") for group in twice)
    titles = [record.get("title", "") for record in records]
    assert any(len(title) > 2_000 and "{" in title for title in titles)
    assert any("&quot;" in title for title in titles) and any("<span" in title for title in titles)
    assert {type(record.get("description")) for record in records} == {list, str, type(None)}
    assert {type(record["category"]) for record in records} == {list, str}
    assert any("<br />" in str(record.get("description")) for record in records)
    assert any("brand" not in record for record in records) and any("title" not in record for record in records)
    prices = [record["price"] for record in records]
    assert any(price.startswith("$") for price in prices) and "" in prices and any("{" in price for price in prices)
    links = [record.get("imageURLHighRes") for record in records]
    assert [] in links and None in links and any(len(urls or ()) == 2 for urls in links)
    assert all(("imUrl" in record) == ("imageURL" not in record) for record in records)


def test_dirt_of_reviews(shop: Shop) -> None:
    products, purchases, _ = shop
    customers = SampleDataset(source="sample").users
    records, malformed = parse(review_lines(products, purchases, customers, np.random.default_rng(0)))
    assert malformed == 1
    rows = Counter(json.dumps(record) for record in records)
    assert 0.01 < sum(count > 1 for count in rows.values()) / len(rows) < 0.03
    assert all(record["unixReviewTime"] % 86_400 == 0 for record in records)
    assert {type(record["overall"]) for record in records} == {float}
    assert any("reviewText" not in record for record in records)
    assert any("vote" in record for record in records) and any("style" in record for record in records)
    assert len({record["reviewerID"] for record in records}) == customers
    # Every purchase comes through, under one name per customer and on its day.
    told = {(record["reviewerID"], record["asin"], record["unixReviewTime"]) for record in records}
    assert len(told) == len(set(zip(purchases.user, purchases.item, purchases.day, strict=True)))
    asins = Counter(products.asin[item] for item in purchases.item.tolist())
    assert set(asins) == {record["asin"] for record in records}


def test_records_have_the_fields_and_types_of_real_ones(small: Path) -> None:
    folder = Path("data/amazon2018_gift_cards")
    if not folder.exists():
        pytest.skip(f"real data not at {folder}")
    for ours, theirs in (("reviews", "Gift_Cards_5"), ("meta", "meta_Gift_Cards")):
        types: dict[str, set[str]] = {}
        with gzip.open(folder / f"{theirs}.json.gz") as lines:
            for record in parse(lines)[0]:
                for name, value in record.items():
                    types.setdefault(name, set()).add(type(value).__name__)
        with gzip.open(small / f"{ours}.json.gz") as lines:
            for record in parse(lines)[0]:
                assert set(record) <= {*types, "imUrl"}
                for name in set(record) - {"imUrl", "description", "category"}:  # these are dirty on purpose
                    assert type(record[name]).__name__ in types[name], name


def test_dirt_of_pictures(small: Path) -> None:
    products, _, dirt = draw_shop(SampleDataset.model_validate(SMALL))
    pictures = small / "pictures"

    def decodes(item: int) -> bool:
        try:
            with Image.open(pictures / f"{products.asin[item]}.jpg") as picture:
                picture.load()
        except OSError:
            return False
        return True

    for item in range(len(products)):
        lost = any(item in dirt[name] for name in LOST)
        assert decodes(item) != lost
    exists = {name: [(pictures / f"{products.asin[i]}.jpg").exists() for i in dirt[name]] for name in PICTURE_DIRT}
    assert all(map(all, (exists["truncated picture"], exists["html as picture"], exists["dead first link"])))
    assert not any(exists["dead link"])
    shared = {(pictures / f"{products.asin[item]}.jpg").read_bytes() for item in dirt["placeholder"]}
    assert len(shared) == 1 and len(dirt["placeholder"]) >= 2


def test_links_in_the_metadata_lead_to_the_files(small: Path) -> None:
    products, _, dirt = draw_shop(SampleDataset.model_validate(SMALL))
    dead = {products.asin[item] for item in dirt["dead link"]}
    prefix = "http://shop.example/"
    with gzip.open(small / "meta.json.gz") as lines:
        for record in parse(lines)[0]:
            urls = [
                *record.get("imageURL", []),
                *record.get("imageURLHighRes", []),
                *filter(None, [record.get("imUrl")]),
            ]
            found = [(small / url.removeprefix(prefix)).is_file() for url in urls]
            assert all(url.startswith(prefix) for url in urls)
            assert any(found) == (record["asin"] not in dead and bool(urls))
