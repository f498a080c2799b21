"""The sample shop: the same bytes for the same seed, structure worth learning, every kind of dirt."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decorec.acquire.sample.dirt import LOST
from decorec.acquire.sample.pictures import CREAM, PAPER, RGB, SILHOUETTES, STYLE_BACKDROPS, TRIM, draw_picture
from decorec.acquire.sample.products import COLOURS, KINDS, MATERIALS, PATTERNS, STYLES
from decorec.acquire.sample.records import meta_lines
from decorec.acquire.sample.shop import draw_shop
from decorec.config.datasets import SampleDataset
from tests.support.sample_shop import SMALL, Shop, default_shop, parse, write


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def shop() -> Shop:
    return default_shop()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def sequences(shop: Shop) -> list[list[int]]:
    """Histories after the picture filter and the 5-core."""
    return core(shop)


def core(shop: Shop) -> list[list[int]]:
    _, purchases, dirt = shop
    lost = frozenset().union(*(dirt[name] for name in LOST))
    rows = [(u, i) for u, i in zip(purchases.user.tolist(), purchases.item.tolist(), strict=True) if i not in lost]
    while True:
        users, items = Counter(u for u, _ in rows), Counter(i for _, i in rows)
        kept = [(u, i) for u, i in rows if users[u] >= 5 and items[i] >= 5]
        if len(kept) == len(rows):
            break
        rows = kept
    histories: dict[int, list[int]] = {}
    for user, item in rows:
        histories.setdefault(user, []).append(item)
    return list(histories.values())


# Bytes


def test_same_seed_gives_the_same_bytes_in_every_process(small: Path, tmp_path: Path) -> None:
    flags = [f"--{name}={tmp_path / file}" for name, file in (("reviews", "reviews.json.gz"), ("meta", "meta.json.gz"))]
    command = [sys.executable, "-m", "decorec", "sample", "--dataset", json.dumps(SMALL), *flags]
    subprocess.run(
        [*command, f"--pictures={tmp_path / 'pictures'}"],
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "77"},
        stderr=subprocess.DEVNULL,
    )
    assert digests(tmp_path) == digests(small)
    assert len(digests(small)) > 60


def test_another_seed_gives_another_shop(small: Path, tmp_path: Path) -> None:
    other = digests(write(tmp_path, seed=1))
    assert not set(other.values()) & {digests(small)[name] for name in ("reviews.json.gz", "meta.json.gz")}


def test_gzip_header_holds_no_time_and_no_name(small: Path) -> None:
    for name in ("reviews.json.gz", "meta.json.gz"):
        assert (small / name).read_bytes()[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"


def test_pictures_of_an_earlier_shop_are_replaced(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "pictures" / "old.jpg").write_bytes(b"")
    write(tmp_path)
    assert not (tmp_path / "pictures" / "old.jpg").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["meta.json.gz", "pictures", "reviews.json.gz"]


# Structure


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_size_after_the_filters(seed: int) -> None:
    histories = core(draw_shop(SampleDataset(source="sample", seed=seed)))
    lengths = [len(history) for history in histories]
    assert 140 <= len({item for history in histories for item in history}) <= 200
    assert 290 <= len(histories) <= 450
    assert 6.9 <= np.mean(lengths) <= 7.5
    assert max(lengths) <= 40


def test_popularity_is_skewed_and_many_items_are_cold(sequences: list[list[int]]) -> None:
    counts = np.array(sorted(Counter(item for history in sequences for item in history).values(), reverse=True))
    assert counts[: len(counts) // 10].sum() > 0.28 * counts.sum()
    assert 0.3 < np.mean(counts <= 8) < 0.5


def test_late_items_are_bought_only_after_their_launch(shop: Shop) -> None:
    products, purchases, _ = shop
    assert np.all(purchases.day >= products.launch[purchases.item])
    assert 0.2 < np.mean(products.launch > 0) < 0.4


def test_histories_are_ordered_with_ties_and_repeats(shop: Shop, sequences: list[list[int]]) -> None:
    _, purchases, _ = shop
    gaps = np.diff(purchases.day)[np.diff(purchases.user) == 0]
    assert gaps.min() == 0
    assert 0.4 < np.mean(gaps == 0) < 0.6
    assert 0.02 < np.mean([len(set(history)) < len(history) for history in sequences]) < 0.1


def test_kits_show_in_co_purchases_and_nowhere_else(shop: Shop, sequences: list[list[int]]) -> None:
    products, _, _ = shop
    steps = np.array([pair for history in sequences for pair in pairwise(history)])
    together = products.kit[steps[:, 0]] == products.kit[steps[:, 1]]
    assert 0.05 < together[steps[:, 0] != steps[:, 1]].mean() < 0.15
    mates = np.triu(np.equal.outer(products.kit, products.kit), 1)
    assert np.bincount(products.kit).max() <= 5
    for name, values in (("style", STYLES), ("colour", COLOURS), ("pattern", PATTERNS), ("material", MATERIALS)):
        value = getattr(products, name)
        assert abs(np.equal.outer(value, value)[mates].mean() - 1 / len(values)) < 0.05
    assert np.equal.outer(products.kind, products.kind)[mates].mean() < 0.02  # across kinds


@pytest.mark.parametrize(
    ("name", "factor"), [("brand", 6.0), ("style", 3.0), ("colour", 1.3), ("pattern", 2.0), ("kind", 3.5)]
)
def test_tastes_and_likeness_show_in_what_follows(
    shop: Shop, sequences: list[list[int]], name: str, factor: float
) -> None:
    """Brands are told by texts, colours are shown by pictures: both tell more about the next item than chance."""
    value = getattr(shop[0], name)
    same = [value[one] == value[two] for history in sequences for one, two in pairwise(history)]
    shares = np.bincount(value[[item for history in sequences for item in history]]) / sum(map(len, sequences))
    assert np.mean(same) > factor * (shares**2).sum()


def test_products_of_a_brand_are_mostly_alike(shop: Shop) -> None:
    products = shop[0]
    mates = np.triu(np.equal.outer(products.brand, products.brand), 1)
    for name, least in (("kind", 0.8), ("style", 0.8), ("material", 0.7), ("pattern", 0.5)):
        value = getattr(products, name)
        assert np.equal.outer(value, value)[mates].mean() > least
    assert np.equal.outer(products.colour, products.colour)[mates].mean() < 0.1, "variants differ in their colour"


def test_interest_in_a_product_fades_before_and_after_its_best_day(shop: Shop) -> None:
    products, purchases, _ = shop
    away = np.abs(purchases.day - products.best[purchases.item])
    anyhow = np.abs(purchases.day - products.best[np.random.default_rng(0).permutation(purchases.item)])
    assert np.mean(away < 200) > 1.3 * np.mean(anyhow < 200)


def test_text_and_picture_each_tell_what_the_other_does_not(shop: Shop) -> None:
    products, _, dirt = shop
    records, _ = parse(meta_lines(products, dirt, np.random.default_rng(0)))
    titles = {
        record["asin"]: record["title"] for record in records[::-1] if len(record.get("title", "")) in range(1, 200)
    }
    told = np.array([any(word in titles.get(asin, "") for word in map(str.title, COLOURS)) for asin in products.asin])
    assert 0.4 < told.mean() < 0.6
    styled = [
        any(word in titles[asin] for word in list(STYLES.values())[products.style[item]])
        for item, asin in enumerate(products.asin)
        if asin in titles and item not in dirt["repeated record that differs"]
    ]
    assert np.mean(styled) == 1.0
    assert 0.4 < products.shows_style.mean() < 0.6


def test_pictures_show_the_colour(shop: Shop) -> None:
    """The commonest colour in the middle, backdrop, cream and trim aside, is the product's: better than one in 20."""
    products, right = shop[0], 0
    others = [*STYLE_BACKDROPS, PAPER, CREAM, TRIM]
    palette = np.array([*(RGB[name] for name in COLOURS), *others], float)
    for item in range(100):
        with Image.open(io.BytesIO(draw_picture(products, item, np.random.default_rng(item)))) as picture:
            assert min(picture.size) >= 224 and max(picture.size) <= 300
            pixels = np.asarray(picture.resize((48, 48), Image.Resampling.NEAREST)).reshape(-1, 1, 3).astype(float)
        nearest = np.linalg.norm(pixels - palette, axis=2).argmin(axis=1)
        right += np.bincount(nearest, minlength=len(palette))[: len(COLOURS)].argmax() == products.colour[item]
    assert right > 80


def test_every_kind_has_a_silhouette() -> None:
    assert set(SILHOUETTES) == set(KINDS)
