"""The interest clusters of a model's items, in words that mean something to a reader."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from decorec.models.added_items import trained_model
from decorec.recommend.trained import TrainedRun
from decorec.serve.bodies import Cluster
from decorec.serve.catalogue import Catalogue

__all__ = ["Clusters"]

PREFIX = "interests."


class Clusters:
    """Those that a run was trained with (eq. 4 to 6), of each modality; none, if its model has no interests."""

    def __init__(self, trained: TrainedRun, catalogue: Catalogue) -> None:
        data = trained_model(trained.model).item_data
        needed = [name for name in trained.run.needs(trained.stage) if name.startswith(PREFIX)]
        self._index = trained.index
        self._of = {name.removeprefix(PREFIX): data[name].cpu().numpy() for name in needed}
        self._sizes = {modality: np.bincount(of) for modality, of in self._of.items()}
        self._words: dict[str, list[list[str]]] = {}
        for modality, of in self._of.items():
            ends = np.cumsum(self._sizes[modality])[:-1]
            groups = np.split(np.argsort(of, kind="stable"), ends)
            self._words[modality] = catalogue.typical([[trained.items[place] for place in group] for group in groups])

    def of(self, item: str, history: Sequence[str]) -> list[Cluster]:
        """The clusters of an item, and which items of the history are in them; none of an item that was added later."""
        place, bought = self._index[item], dict.fromkeys(reversed(history))
        found = []
        for modality, of in self._of.items():
            if place >= len(of):
                continue
            known = [(other, self._index.get(other, len(of))) for other in bought if other != item]
            cluster = int(of[place])
            found.append(
                Cluster(
                    modality=modality,
                    items=int(self._sizes[modality][cluster]),
                    words=self._words[modality][cluster],
                    bought=[other for other, at in known if at < len(of) and of[at] == cluster],
                )
            )
        return found
