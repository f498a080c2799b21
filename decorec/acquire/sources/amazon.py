"""Categories and URLs of the Amazon reviews of 2018 and 2023."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from decorec.acquire.addresses import without_passwords
from decorec.config.datasets import AmazonDataset
from decorec.errors import DecorecError

__all__ = ["RELEASES", "Release", "local_path", "urls"]


@dataclass(frozen=True)
class Release:
    """One release of the data: base URL, paths below it ({} is the category), names of the categories."""

    base_url: str
    reviews: Mapping[str, str]
    """Key ``reviews`` of the data set -> path. full: all ratings of the category; 5-core: the publisher's 5-core."""
    meta: str
    categories: tuple[str, ...]


SHARED = (
    "All_Beauty", "Appliances", "Arts_Crafts_and_Sewing", "Automotive", "Books", "CDs_and_Vinyl",
    "Cell_Phones_and_Accessories", "Clothing_Shoes_and_Jewelry", "Digital_Music", "Electronics", "Gift_Cards",
    "Grocery_and_Gourmet_Food", "Home_and_Kitchen", "Industrial_and_Scientific", "Kindle_Store",
    "Magazine_Subscriptions", "Movies_and_TV", "Musical_Instruments", "Office_Products", "Patio_Lawn_and_Garden",
    "Pet_Supplies", "Software", "Sports_and_Outdoors", "Tools_and_Home_Improvement", "Toys_and_Games", "Video_Games",
)  # fmt: skip
"""Categories that both releases have."""

RELEASES = {
    "amazon2018": Release(
        base_url="https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2",
        reviews={"full": "categoryFiles/{}.json.gz", "5-core": "categoryFilesSmall/{}_5.json.gz"},
        meta="metaFiles2/meta_{}.json.gz",
        categories=(*SHARED, "AMAZON_FASHION", "Luxury_Beauty", "Prime_Pantry"),
    ),
    "amazon2023": Release(
        base_url="https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023",
        reviews={"full": "raw/review_categories/{}.jsonl.gz"},
        meta="raw/meta_categories/meta_{}.jsonl.gz",
        categories=(
            *SHARED, "Amazon_Fashion", "Baby_Products", "Beauty_and_Personal_Care", "Handmade_Products",
            "Health_and_Household", "Health_and_Personal_Care", "Subscription_Boxes", "Unknown",
        ),
    ),
}  # fmt: skip


def local_path(url: str) -> Path | None:
    """The file that a file URL names (file:///absolute or file:relative); None for other URLs.

    Raises:
        DecorecError: the file URL names a host.
    """
    parts = urlsplit(url)
    if parts.scheme != "file":
        return None
    if parts.netloc not in ("", "localhost"):
        raise DecorecError(
            f"{without_passwords(url)}: expected file:///absolute/path or file:relative/path, found the host"
            f" {parts.hostname!r};"
            " add a slash, or leave the two slashes out"
        )
    return Path(unquote(parts.path))


def _place(base_url: str, path: str) -> str:
    """URL of ``path`` under ``base_url``; in a local copy all files may also be in one folder."""
    base = base_url.rstrip("/")
    folder, name = local_path(base), path.rpartition("/")[2]
    if folder is not None and not (folder / path).exists() and (folder / name).exists():
        return f"{base}/{name}"
    return f"{base}/{path}"


def urls(dataset: AmazonDataset) -> tuple[str, str]:
    """URLs of the category's reviews and metadata.

    Raises:
        DecorecError: the release has no such category or no such reviews file, or ``base_url`` is no usable URL.
    """
    release, category = RELEASES[dataset.source], dataset.category
    if category not in release.categories:
        lower = {name.lower(): name for name in release.categories}
        close = [lower[name] for name in difflib.get_close_matches(category.lower(), lower, n=3)]
        expected = f"did you mean {' or '.join(close)}?" if close else f"expected one of {sorted(release.categories)}"
        raise DecorecError(f"category {category!r}: {dataset.source} has no such category; {expected}")
    if dataset.reviews not in release.reviews:
        raise DecorecError(
            f"reviews: expected one of {list(release.reviews)} for {dataset.source}, found {dataset.reviews!r};"
            " remove the key to take the full file"
        )
    base_url = dataset.base_url or release.base_url
    if urlsplit(base_url).scheme not in ("http", "https", "file"):
        found = without_passwords(base_url)
        raise DecorecError(
            f"base_url: expected a URL that begins with http://, https:// or file:, found {found!r};"
            f" for a local folder write file:{found}"
        )
    return _place(base_url, release.reviews[dataset.reviews].format(category)), _place(
        base_url, release.meta.format(category)
    )
