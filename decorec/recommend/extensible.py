"""A trained run to which new items can be added: what ``decorec.load`` gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from decorec.artifacts import layout
from decorec.artifacts.seal import sources_agree
from decorec.data.sequences import Sequences
from decorec.errors import DecorecError
from decorec.models.added_items import WithAddedItems
from decorec.models.checkpoint import Checkpoint
from decorec.recommend import trained
from decorec.recommend.histories import own_histories
from decorec.recommend.item_tables import NewItems, own_features, read_new_items
from decorec.recommend.new_items import with_new_items
from decorec.recommend.trained import TrainedRun

__all__ = ["ExtensibleRun", "load"]


class ExtensibleRun(TrainedRun):
    """A trained run that can also read a table of new items, with their texts and pictures.

    It stands apart from ``TrainedRun`` because it needs the code that fetches and encodes: the steps that only
    recommend do not run again when that code changes.
    """

    def __init__(self, trained: Checkpoint, folder: Path | None = None, new: NewItems | None = None) -> None:
        super().__init__(trained, folder)
        self.new = new
        """The items that were just added, and which of their pictures could not be used."""

    def add_items(
        self,
        table: Path | str,
        *,
        exposure: float = 1.0,
        features: Sequence[Path | str] | None = None,
        encoder: Path | str | None = None,
        histories: Sequences | None = None,
        threads: int = 1,
    ) -> ExtensibleRun:
        """A run that recommends the new items of a table as well, without training (``decorec.models.added_items``).

        The order of the items that were known does not change. Items of the table that are known are passed over.

        Args:
            table: of items (csv, tsv, parquet): item, and any of title, brand, category, description and image (an
                address, or a file relative to the folder of the table).
            exposure: how often new items stand in the first ten places of the customers' lists, on average, divided by
                their share of all items.
            features: MODALITY.safetensors of the known items, or vectors of one's own of known and new ones (parquet:
                item, vector); None: those of the run's data set in results/.
            encoder: encoder.safetensors that these were made with; None: that of the run's data set.
            histories: what customers bought, of the known items; None: that of the data set.
            threads: number of threads for pictures and texts.

        Raises:
            DecorecError: an input is missing or damaged, no item of the table is new, items were added already, or
                ``exposure`` is no number above 0.
        """
        if not 0 < exposure < math.inf:
            raise DecorecError(f"exposure: expected a number above 0, such as 1, found {exposure}; correct it")
        folder = self.folder or Path()
        if isinstance(self.model, WithAddedItems):
            raise DecorecError(
                f"{folder}: expected a trained run, found one with added items; add all new items to the trained run"
            )
        given = [Path(file) for file in features] if features is not None else own_features(folder)
        with sources_agree():
            new = read_new_items(
                Path(table),
                self.items,
                given,
                Path(encoder) if encoder is not None else layout.existing(folder, layout.ENCODER),
                layout.of_dataset(folder, layout.CACHE),
                threads,
            )
        users = histories if histories is not None else own_histories(folder, self.items)
        if users is None:
            raise DecorecError(
                "histories: expected what customers bought, to which the places of the new items are fitted, found "
                "none; give it, or a run that lies in results/"
            )
        extended = with_new_items(self.checkpoint, new.ids, new.features, users, exposure)
        return ExtensibleRun(extended, self.folder, new)


def load(folder: Path | str) -> ExtensibleRun:
    """A trained run from its folder; see ``decorec.recommend.trained.load``."""
    found = trained.load(folder)
    return ExtensibleRun(found.checkpoint, found.folder)
