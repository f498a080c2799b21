"""Content-kNN: what is like the history in text and picture."""

from __future__ import annotations

from torch import Tensor

from decorec.data.batches import Batch
from decorec.models.floors import Floor, content_scores, item_features
from decorec.nn.sparse import weighted_histories

__all__ = ["ContentKnn"]


class ContentKnn(Floor):
    """Score: mean cosine of text and picture to the items of the history, summed with their weights.

    No item scores itself: an item of the history has its score from the other items of the history.
    """

    reads_content_alone = True

    def item_representations(self) -> Tensor:
        """Text and picture side by side, [1, I, text + image width]."""
        return item_features(self.item_data, self.config.features)[None]

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """Sums over the history, [P, I]; one prediction per sequence, after its last item."""
        history = weighted_histories(batch, representations.shape[1], self.config.decay)
        return content_scores(history, representations[0])
