"""Typical defects of real catalogues: which products have which defect, and what it looks like."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

__all__ = ["DUPLICATED_REVIEWS", "LOST", "PICTURE_DIRT", "TEXT_DIRT", "Dirt", "choose_dirt", "css_title", "html_page"]

Dirt = Mapping[str, frozenset[int]]
"""Kind of defect -> the products that have it."""

PICTURE_DIRT = {
    "no metadata": 0.01,
    "no picture": 0.03,
    "dead link": 0.02,
    "dead first link": 0.02,
    "truncated picture": 0.01,
    "html as picture": 0.005,
    "placeholder": 0.015,
    "old link field": 0.02,
}
"""Share of products with each defect; no product has two of these."""
LOST = ("no metadata", "no picture", "dead link", "truncated picture", "html as picture")
"""Those of them that leave a product without metadata or without a picture."""

TEXT_DIRT = {
    "css title": 0.006,
    "no title": 0.004,
    "entities in title": 0.08,
    "tags in title": 0.03,
    "no brand": 0.06,
    "no description": 0.12,
    "tags in description": 0.2,
    "description is a string": 0.06,
    "category is a string": 0.01,
    "css price": 0.01,
    "repeated record": 0.02,
    "repeated record that differs": 0.01,
}
"""Share of products with each defect; each one is drawn independently."""

DUPLICATED_REVIEWS = 0.015
"""Share of reviews that occur twice."""


def _count(share: float, items: int, least: int = 1) -> int:
    return max(least, math.ceil(share * items))


def choose_dirt(items: int, rng: np.random.Generator) -> Dirt:
    """Choose the products with each defect; every defect occurs, the shared placeholder at least twice."""
    dirt: dict[str, frozenset[int]] = {}
    order = rng.permutation(items).tolist()
    for name, share in PICTURE_DIRT.items():
        count = _count(share, items, 2 if name == "placeholder" else 1)
        dirt[name], order = frozenset(order[:count]), order[count:]
    for name, share in TEXT_DIRT.items():
        dirt[name] = frozenset(rng.permutation(items)[: _count(share, items)].tolist())
    return dirt


def css_title() -> str:
    """A title that is the style sheet of its web page: more than 2,000 characters."""
    rules = (f"#product-{n} .box-{n}{{margin:{n}px 0;padding:0 {n}px;border:1px solid #ddd}}" for n in range(40))
    return "var pageStart = (new Date()).getTime(); .title-box{display:block} " + " ".join(rules)


def html_page() -> bytes:
    """A page that some servers send in place of a picture, with status 200."""
    return b"<!DOCTYPE html><html><head><title>Sorry</title></head><body>This picture has moved.</body></html>\n"
