"""Which recommendations are made for the customers of a data set."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from decorec.config.base import Distinct, Section

__all__ = ["Exclude", "Fallback", "RecommendConfig"]

Exclude = Literal["bought", "nothing"]
Fallback = Literal["popular", "none"]


class RecommendConfig(Section):
    """Which recommendations are made for the customers of a data set."""

    run: str | None = None
    """The run whose model is used, trained with the first seed; null: tables.reference."""
    production: bool = False
    """Use the model that is trained on all interactions, in production/, in place of the one that is evaluated."""
    k: int = Field(12, ge=1, le=1_000)
    """Number of items that each customer gets, or all candidates, if there are fewer."""
    exclude: Exclude = "bought"
    """bought: no item of the customer's own history; nothing: these are candidates as well."""
    exclude_items: str | None = None
    """File of items that nobody gets: one id per line, or a table (csv, tsv, parquet) with a column item."""
    only: str | None = None
    """File of the only candidates, such as what is in stock; as for exclude_items."""
    categories: Distinct[str] = []
    """Only items that are in one of these categories, as items.parquet has them."""
    fallback: Fallback = "popular"
    """What customers get of whose history the model knows no item: the items with the most training interactions, or no
    list."""
