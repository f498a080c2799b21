"""GRU4Rec (Hidasi et al., ICLR 2016), re-implemented: full cross-entropy, back-propagation through the whole window.

As in the authors' code: one table of items for input and output, a bias for every item in the output, dropout of the
input and after every layer, Xavier weights gate by gate. Otherwise here: the loss is over all items after every item of
a window, the gradient passes through all of its steps, and Adam trains it; the authors' code draws 2,048 negatives per
step, cuts the gradient after one step and uses Adagrad over parallel sessions.

Shapes: I items, N some of them, T tokens, B sequences, L positions, P predictions, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decorec.config.contenders import Gru4recConfig
from decorec.data.batches import Batch
from decorec.models.item_data import ItemData
from decorec.models.tied import TiedRecommender
from decorec.nn.dropout import Dropout
from decorec.nn.sparse import rows_of, table_rows

__all__ = ["GRU4Rec", "GruEncoder"]


class GruEncoder(nn.Module):
    """Dropout, GRU layers with dropout after each; every sequence starts from a state of zeros."""

    def __init__(self, config: Gru4recConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.GRU(config.dim, config.dim, batch_first=True) for _ in range(config.layers))
        self.dropout = Dropout(config.dropout)
        for name, parameter in self.layers.named_parameters():
            for gate in parameter.detach().chunk(3):
                if "bias" in name:
                    nn.init.zeros_(gate)
                else:
                    nn.init.xavier_uniform_(gate)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """States after the tokens whose next item is predicted, [1, T, D] -> [1, P, D]."""
        x = self.dropout(x[0])
        parts = torch.split(x, [group.end - group.begin for group in batch.groups])
        states = []
        for part, group in zip(parts, batch.groups, strict=True):
            # Left-aligned: what fills a short sequence up comes after its last token and changes none of its states.
            sequences = len(group.lengths)
            laid_out = part.new_zeros(sequences * group.width, x.shape[1]).index_copy(0, group.slots, part)
            hidden = laid_out.view(sequences, group.width, -1)
            for layer in self.layers:
                hidden = self.dropout(layer(hidden)[0])
            states.append(hidden.flatten(0, 1).index_select(0, group.slots))
        return torch.cat(states).index_select(0, batch.predict)[None]


class GRU4Rec(TiedRecommender):
    """Item embeddings, GRU layers, dot product with the item embeddings plus a bias of the item."""

    def __init__(self, config: Gru4recConfig, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        self.encoder = GruEncoder(config)
        self.bias = nn.Parameter(torch.zeros(item_data.item_count, 1))

    def item_representations(self) -> Tensor:
        """Item embeddings with the output bias as an additional column, [1, I, D + 1]."""
        return torch.cat([self.items.weight, self.bias], 1)[None]

    def representations_of(self, items: Tensor) -> Tensor:
        """The same of some items, [1, N, D + 1]."""
        return torch.cat([super().representations_of(items), table_rows(self.bias, items)[None]], 2)

    def id_tables(self) -> list[Tensor]:
        """The item embeddings and the output bias."""
        return [*super().id_tables(), self.bias]

    def _states(self, batch: Batch, representations: Tensor) -> Tensor:
        """States with a column of ones for the bias, [1, P, D + 1]."""
        states = self.encoder(rows_of(representations, batch.items)[..., :-1], batch)
        return torch.cat([states, torch.ones_like(states[..., :1])], -1)
