"""The customers of the sample shop: their tastes and their purchases.

The next purchase depends on the last two (another piece of the same kit, of the same brand, a match, a substitute,
a replacement) and on tastes that change with time. A purchase by taste works like browsing: some products are seen, the
popular ones more often, and one that fits the taste is bought.

The numbers here and in ``products`` were chosen so that the shop is like real data sets in its counts and in what
popularity, co-occurrence and content tell of the next item on validation: docs/explanation/sample-shop.md. No
trained model was looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from decorec.acquire.sample.products import DAYS, SHAPES, Products

__all__ = ["Purchases", "draw_purchases"]

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

BROWSED = 400
"""Products that a customer sees before buying one."""
BLOCK = 10_000
"""Customers drawn at a time, which limits the memory."""
MOST = 40
"""Largest number of purchases of a customer."""
BASKET = 0.5
"""Share of purchases on the day of the one before."""
HALVES = 100
"""Days from a product's best day until it draws half the interest, and half of that after as many more."""
MOTIVES = {
    "kit": 0.08,
    "older kit": 0.02,
    "brand": 0.33,
    "match": 0.1,
    "substitute": 0.25,
    "replacement": 0.01,
    "fashion": 0.02,
}
"""Share of purchases by motive; all others are by taste."""
LIKENESS: dict[str, dict[str, float]] = {
    "brand": {"brand": 9.0},
    "match": {"colour": 5.0, "pattern": 4.0},
    "substitute": {"kind": 5.0, "style": 5.0},
    "fashion": {},
}
"""Motive -> weight of each attribute that a product shares with the last purchase. Texts name brand and style; pictures
show colour and pattern; "fashion" depends on popularity only."""
DRIFT = 0.05
"""Probability that a taste changes, per purchase and attribute."""
TASTES = {
    "brand": (3, 4.0),
    "kind": (2, 4.0),
    "style": (2, 3.5),
    "colour": (3, 2.0),
    "pattern": (2, 1.0),
    "shape": (1, 0.5),
}
"""Attribute -> (number of values liked, weight of a liked value in the score)."""


@dataclass(frozen=True)
class Purchases:
    """One row per purchase, customer by customer, oldest first: arrays [purchases]."""

    user: Integers
    item: Integers
    day: Integers
    overall: Integers


def _lengths(users: int, rng: np.random.Generator) -> Integers:
    """Purchases per customer: one customer in twelve has 1 to 4, the others have 5 or more; the mean is about 7."""
    regular = 5 + rng.negative_binomial(0.7, 0.22, users)
    return np.minimum(np.where(rng.random(users) < 1 / 12, rng.integers(1, 5, users), regular), MOST)


def _days(lengths: Integers, rng: np.random.Generator) -> Integers:
    """Day per customer and purchase [users, longest], non-decreasing."""
    users, longest = len(lengths), int(lengths.max())
    gaps = np.where(rng.random((users, longest)) < BASKET, 0, rng.geometric(1 / 30, (users, longest)))
    gaps[:, 0] = 0
    elapsed = gaps.cumsum(axis=1)
    total = elapsed[np.arange(users), lengths - 1]
    span = np.minimum(total, DAYS - 1)
    start = (rng.random(users) ** 0.7 * (DAYS - span)).astype(np.int64)
    return np.asarray(start[:, None] + elapsed * span[:, None] // np.maximum(total, 1)[:, None], np.int64)


class _Shopping:
    """State of all customers while their purchases are drawn: one purchase of each customer at a time."""

    def __init__(self, products: Products, days: Integers, rng: np.random.Generator) -> None:
        self.products, self.days, self.rng = products, days, rng
        self.bought = np.full(days.shape, -1, np.int64)
        self.attention = np.cumsum(products.popularity)
        self.mates = _mates(products.kit)
        self.values = {name: int(getattr(products, name).max()) + 1 for name in TASTES} | {"shape": SHAPES}
        self.tastes = {name: self._draw_taste(name, len(days)) for name in TASTES}

    def _draw_taste(self, name: str, count: int) -> Floats:
        """Weight per customer and value of one attribute [count, values]."""
        liked, weight = TASTES[name]
        order = self.rng.random((count, self.values[name])).argsort(axis=1)
        return np.asarray(weight * (order < liked), np.float64)

    def _drift(self, active: Integers) -> None:
        for name, taste in self.tastes.items():
            changed = active[self.rng.random(len(active)) < DRIFT]
            taste[changed] = self._draw_taste(name, len(changed))

    def _fit(self, active: Integers, offered: Integers) -> Floats:
        """Scores of the products ``offered`` [active, n] by taste."""
        values = {name: getattr(self.products, name)[offered] for name in self.tastes}
        return np.asarray(sum(self.tastes[name][active[:, None], value] for name, value in values.items()))

    def _pick(self, active: Integers, step: int, offered: Integers, scores: Floats) -> Integers:
        """Draw one product per customer from softmax(scores) of those on sale and not yet bought; -1 if none."""
        refused = (offered < 0) | (self.products.launch[offered] > self.days[active, step][:, None])
        for earlier in range(step):
            refused |= offered == self.bought[active, earlier][:, None]
        noisy = np.where(refused, -np.inf, scores + self.rng.gumbel(size=scores.shape))
        best = noisy.argmax(axis=1)
        rows = np.arange(len(active))
        return np.where(refused[rows, best], -1, offered[rows, best])

    def _browse(self, active: Integers, step: int, motive: npt.NDArray[np.str_]) -> Integers:
        """The product that each customer picks among those seen; -1 if none of them can be bought."""
        products = self.products
        seen = np.searchsorted(self.attention, self.rng.random((len(active), BROWSED))).clip(max=len(products) - 1)
        scores = self._fit(active, seen)
        if step:
            last = self.bought[active, step - 1]
            for name, weights in LIKENESS.items():
                rows = motive == name
                scores[rows] = 0.0
                for attribute, weight in weights.items():
                    value = getattr(products, attribute)
                    scores[rows] += weight * (value[seen[rows]] == value[last[rows]][:, None])
        scores -= np.log(2) / HALVES * np.abs(products.best[seen] - self.days[active, step][:, None])
        return self._pick(active, step, seen, scores)

    def step(self, active: Integers, step: int) -> None:
        """Draw purchase number ``step`` of the customers ``active``."""
        self._drift(active)
        chances = list(MOTIVES.values())
        motive = self.rng.choice([*MOTIVES, "taste"], len(active), p=[*chances, 1.0 - sum(chances)])
        choice = self._browse(active, step, motive)
        for name, back in (("kit", 1), ("older kit", 2)):
            if step >= back:
                mates = self.mates[self.bought[active, step - back]]
                mate = self._pick(active, step, mates, np.zeros(mates.shape))
                choice = np.where((motive == name) & (mate >= 0), mate, choice)
        if step:
            again = self.bought[active, self.rng.integers(0, step, len(active))]
            choice = np.where((motive == "replacement") | (choice < 0), again, choice)
        # A first purchase of which no product seen is on sale yet: the oldest product.
        self.bought[active, step] = np.where(choice < 0, int(self.products.launch.argmin()), choice)


def _mates(kit: Integers) -> Integers:
    """The other products of each product's kit [items, largest kit - 1], -1 where there are fewer."""
    width = int(np.bincount(kit).max()) - 1
    members = [np.flatnonzero(kit == number) for number in range(int(kit.max()) + 1)]
    mates = np.full((len(kit), max(width, 1)), -1, np.int64)
    for item, number in enumerate(kit):
        others = members[number][members[number] != item]
        mates[item, : len(others)] = others
    return mates


def draw_purchases(products: Products, users: int, rng: np.random.Generator) -> Purchases:
    """Draw the histories of ``users`` customers."""
    lengths = _lengths(users, rng)
    days = _days(lengths, rng)
    bought = np.empty_like(days)
    for begin in range(0, users, BLOCK):
        block = slice(begin, begin + BLOCK)
        shopping = _Shopping(products, days[block], rng)
        for step in range(int(lengths[block].max())):
            shopping.step(np.flatnonzero(lengths[block] > step), step)
        bought[block] = shopping.bought
    kept = np.arange(days.shape[1])[None, :] < lengths[:, None]
    user, _ = np.nonzero(kept)
    overall = rng.choice(5, size=len(user), p=[0.05, 0.05, 0.1, 0.2, 0.6]) + 1
    return Purchases(user=user, item=bought[kept], day=days[kept], overall=overall)
