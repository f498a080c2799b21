"""The products of the sample shop: their attributes, their kits and the words of their texts.

Every product has attributes that its text names (style, material, brand), attributes that its picture shows (colour,
pattern, shape), and a kit: a few products of different kinds that are bought together, for a reason that neither text
nor picture shows. The products of a brand are mostly alike, as the variants of real ones are. Each product has its best
day: before and after it, it draws less interest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "BRANDS",
    "COLOURS",
    "DAYS",
    "KINDS",
    "MATERIALS",
    "PATTERNS",
    "STYLES",
    "Kind",
    "Products",
    "draw_products",
]

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

DAYS = 1_200
"""Days that the shop is open."""
KIT = 4
"""Products per kit."""
RANGE = 8
"""Products per brand, on average, until all brands are used."""
OWN = {"kind": 0.95, "style": 0.95, "material": 0.9, "pattern": 0.8}
"""Share of a brand's products that have its own value of an attribute; the others have any."""
SKEW = 1.2
"""Exponent of the popularity: the larger, the more of the interest goes to the first products."""
HEAD = 0.01
"""Share of the products that are about as popular as the first."""


@dataclass(frozen=True)
class Kind:
    """A kind of product: its nouns and its path of categories."""

    nouns: tuple[str, str]
    categories: tuple[str, str]


KINDS = {
    "mug": Kind(("Mug", "Coffee Cup"), ("Kitchen & Dining", "Cups & Mugs")),
    "bottle": Kind(("Bottle", "Water Flask"), ("Kitchen & Dining", "Bottles")),
    "bowl": Kind(("Bowl", "Serving Bowl"), ("Kitchen & Dining", "Bowls")),
    "lamp": Kind(("Table Lamp", "Bedside Lamp"), ("Home & Garden", "Lighting")),
    "vase": Kind(("Vase", "Flower Vase"), ("Home & Garden", "Vases")),
    "cushion": Kind(("Cushion", "Throw Pillow"), ("Home & Garden", "Textiles")),
    "clock": Kind(("Wall Clock", "Clock"), ("Home & Garden", "Clocks")),
    "shirt": Kind(("Shirt", "T-Shirt"), ("Fashion", "Tops")),
    "backpack": Kind(("Backpack", "Daypack"), ("Fashion", "Bags")),
    "camera": Kind(("Camera", "Compact Camera"), ("Electronics", "Cameras")),
    "card": Kind(("Memory Card", "SD Card"), ("Electronics", "Memory Cards")),
    "notebook": Kind(("Notebook", "Journal"), ("Office Products", "Paper")),
}
"""Both text and picture show the kind."""

STYLES = {
    "nordic": ("Nordic", "Scandinavian", "Hygge"),
    "industrial": ("Industrial", "Loft", "Workshop"),
    "bohemian": ("Bohemian", "Boho", "Folk"),
    "vintage": ("Vintage", "Retro", "Antique"),
    "minimal": ("Minimalist", "Plain", "Simple"),
    "rustic": ("Rustic", "Farmhouse", "Country"),
    "maritime": ("Maritime", "Nautical", "Coastal"),
    "futuristic": ("Futuristic", "Modern", "Space Age"),
}
"""Style -> words for it in titles."""

MATERIALS = ("Oak", "Steel", "Bamboo", "Copper", "Cotton", "Leather", "Ceramic", "Glass")
NAMES = (
    "Abbott", "Acton", "Adler", "Alcott", "Ames", "Archer", "Ashby", "Atwood", "Bailey", "Barlow", "Baxter", "Beck",
    "Bishop", "Blake", "Bolton", "Brandt", "Briggs", "Byrne", "Calder", "Carver", "Chase", "Clifton", "Cole",
    "Conway", "Cooper", "Crane", "Dalton", "Darby", "Dawson", "Dixon", "Drake", "Dunn", "Easton", "Ellis",
    "Emerson", "Fairley", "Falk", "Fenton", "Fisher", "Foster", "Fuller", "Garner", "Gibson", "Gower", "Granger",
    "Griffin", "Hale", "Harding", "Harper", "Hayes", "Heath", "Holt", "Hudson", "Hurst", "Irving", "Jarvis",
    "Jensen", "Kemp", "Kendall", "Kirby", "Lambert", "Langley", "Lawson", "Linden", "Lowell", "Marsh", "Mercer",
    "Miles", "Monroe", "Morton", "Nash", "Norton", "Oakley", "Osborn", "Palmer", "Parker", "Pierce", "Porter",
    "Quinn", "Ramsey", "Reed", "Ridley", "Rowe", "Sawyer", "Sharp", "Shelby", "Sloan", "Stanton", "Sutton", "Tate",
    "Thorne", "Tucker", "Turner", "Vance", "Walden", "Ward", "Weaver", "Webster", "Wilder", "York",
)  # fmt: skip
BRANDS = tuple(f"{name} & Co" if number % 8 == 0 else name for number, name in enumerate(NAMES))
COLOURS = (
    "red", "maroon", "orange", "tan", "yellow", "olive", "lime", "green", "mint", "teal",
    "sky", "blue", "navy", "lavender", "purple", "magenta", "pink", "brown", "grey", "black",
)  # fmt: skip
PATTERNS = ("plain", "striped", "dotted", "checked", "zigzag", "ringed")
SHAPES = 3
"""Slim, regular, wide: only pictures show the shape."""


@dataclass(frozen=True)
class Products:
    """Attributes per product: arrays [items] of indices into the tables above, unless a comment says otherwise."""

    asin: list[str]
    kind: Integers
    style: Integers
    material: Integers
    brand: Integers
    colour: Integers
    pattern: Integers
    shape: Integers
    kit: Integers
    """Number of the kit that the product belongs to."""
    launch: Integers
    """Day from which it is sold."""
    best: Integers
    """Day on which it draws the most interest."""
    popularity: npt.NDArray[np.float64]
    """Probability of being seen; sums to 1."""
    tells_colour: Booleans
    """The title names the colour."""
    tells_pattern: Booleans
    """The title names the pattern."""
    shows_style: Booleans
    """The background of the picture hints at the style."""

    def __len__(self) -> int:
        return len(self.asin)


def identifiers(prefix: str, length: int, count: int, rng: np.random.Generator) -> list[str]:
    """``count`` different identifiers: ``prefix`` and ``length`` random capital letters and digits."""
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    found: dict[str, None] = {}
    while len(found) < count:
        for row in rng.integers(0, len(alphabet), (count, length)):
            found[prefix + "".join(alphabet[index] for index in row)] = None
    return list(found)[:count]


def _kits(kind: Integers, rng: np.random.Generator) -> Integers:
    """Kit number per product: kits of KIT products, mostly of different kinds, otherwise random.

    Products in random order are sorted by kind; a kit takes every n-th product of that order.
    """
    order = rng.permutation(len(kind))
    order = order[np.argsort(kind[order], kind="stable")]
    kits = max(1, len(kind) // KIT)
    kit = np.empty(len(kind), np.int64)
    kit[order] = np.arange(len(kind)) % kits
    return kit


def _popularity(launch: Integers, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Zipf-like probability of being seen; products launched late get less."""
    items = len(launch)
    late = launch > DAYS // 2
    rank = np.empty(items, np.int64)
    rank[np.argsort(rng.random(items) + 0.2 * late, kind="stable")] = np.arange(items)
    weight = (rank + HEAD * items) ** -SKEW
    return np.asarray(weight / weight.sum(), np.float64)


def draw_products(items: int, rng: np.random.Generator) -> Products:
    """Draw ``items`` products.

    A brand has a kind, a style, a material and a pattern of its own; all other attributes are independent.
    """
    brands = min(max(1, items // RANGE), len(BRANDS))
    brand = rng.integers(0, brands, items)

    def of_brand(attribute: str, values: int) -> Integers:
        own = rng.permutation(np.arange(brands) % values)
        return np.where(rng.random(items) < OWN[attribute], own[brand], rng.integers(0, values, items))

    kind = of_brand("kind", len(KINDS))
    launch = np.where(rng.random(items) < 0.3, rng.integers(DAYS // 2, DAYS - 250, items), 0)
    return Products(
        asin=identifiers("B", 9, items, rng),
        kind=kind,
        style=of_brand("style", len(STYLES)),
        material=of_brand("material", len(MATERIALS)),
        brand=rng.permutation(len(BRANDS))[brand],
        colour=rng.integers(0, len(COLOURS), items),
        pattern=of_brand("pattern", len(PATTERNS)),
        shape=rng.integers(0, SHAPES, items),
        kit=_kits(kind, rng),
        launch=launch,
        best=rng.integers(launch, DAYS),
        popularity=_popularity(launch, rng),
        tells_colour=rng.random(items) < 0.5,
        tells_pattern=rng.random(items) < 0.35,
        shows_style=rng.random(items) < 0.5,
    )
