"""Section of the recommendations that other programs have made."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter
from typing import Literal

from pydantic import RootModel, field_validator

from decorec.config.base import Section

__all__ = ["ExternalConfig", "ExternalRuns"]

PLACEHOLDERS = {"dataset", "seed"}


class ExternalConfig(Section):
    """Recommendations that another program has made for the test users, to be compared with the runs of the main
    table."""

    path: str
    """File (csv, tsv, parquet, or a folder of parquet files) of lists, with the columns user, item, and rank or score,
    or of places, with the columns user, target and rank. {dataset} and {seed} stand for the data set and for each of
    the seeds; without {seed} there is one file."""
    history: Literal["masked", "kept"] = "masked"
    """Whether the items of a user's history were left out (masked), as most programs do, or were candidates (kept).
    Lists with the history kept are compared in both ways."""
    columns: dict[Literal["user", "item", "rank", "score", "target"], str] = {}
    """Our name of a column (user, item, target, rank, score) -> its name in the file, where they differ."""

    @field_validator("path")
    @classmethod
    def _placeholders(cls, value: str) -> str:
        try:
            found = {name for _, name, _, _ in Formatter().parse(value) if name is not None}
        except ValueError as error:
            raise ValueError(f"expected a path, found {value!r} ({error})") from None
        if found - PLACEHOLDERS:
            raise ValueError(
                f"expected a path with no braces but {{dataset}} and {{seed}}, found {value!r}; correct it"
            )
        return value

    @property
    def names(self) -> dict[str, str]:
        """``columns``, with keys of any text."""
        return dict(self.columns.items())

    @property
    def seeded(self) -> bool:
        """Whether there is a file for each seed."""
        return "{seed}" in self.path

    def file(self, dataset: str, seed: int) -> str:
        """The file of a data set and seed."""
        return self.path.format(dataset=dataset, seed=seed)

    def files_of(self, dataset: str, files: list[Path]) -> dict[int, Path]:
        """Seed -> file, of those ``files`` that are of a data set; 0 where there is one file for all seeds."""
        pattern = re.escape(str(Path(self.path)))
        pattern = pattern.replace(r"\{dataset\}", re.escape(dataset)).replace(r"\{seed\}", "([0-9]+)")
        found = ((re.fullmatch(pattern, str(file)), file) for file in files)
        return {int(match[1]) if self.seeded else 0: file for match, file in found if match is not None}


class ExternalRuns(RootModel[dict[str, ExternalConfig]]):
    """The section: what the recommendations are called -> where they are."""
