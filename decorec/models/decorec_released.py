"""What the authors' released code computes instead of the paper's equations; ``method: released`` switches it on.

Each part replaces one equation of ``decorec.models.decorec`` and is chosen by one key of the model section.

Shapes: M modalities, I items, N some of them, D width, P predictions, K interests.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decorec.nn.attention import SelfAttention
from decorec.nn.sparse import Propagation, table_rows

__all__ = [
    "InterestTable",
    "MeanOfHops",
    "largest_logit",
    "padding_row",
    "shared_exponentials",
    "start_attention_as_torch_does",
]


class MeanOfHops(nn.Module):
    """``id_enrichment: mean``, for eq. 2 and 3 of the ids: the plain mean over 0 to L hops, without a gate."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor, graph: Propagation, items: Tensor | None = None) -> Tensor:
        """[I, D] -> [I, D]; with ``items`` [N] for these alone, over which ``graph`` is then."""
        total, hop = x, x
        for _ in range(self.layers):
            hop = graph(hop)
            total = total + hop
        return total / (self.layers + 1)


class InterestTable(nn.Module):
    """``interest_mlp: false``, for eq. 6: a table of cluster embeddings without MLP, which starts at zero."""

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(count, dim)
        nn.init.zeros_(self.table.weight)

    def forward(self, assignment: Tensor, few: bool = False) -> Tensor:
        """[I] cluster numbers -> [I, D]; ``few`` items: with a sparse gradient."""
        return table_rows(self.table.weight, assignment) if few else self.table.weight.index_select(0, assignment)


def padding_row(adapters: nn.ModuleDict, widths: dict[str, int], device: torch.device) -> Tensor:
    """``padding_negative: true``, for the denominator of eq. 15: the adapters' output for zero features, [M, 1, D]."""
    return torch.stack(
        [adapter(torch.zeros(1, widths[name], device=device), None) for name, adapter in adapters.items()]
    )


def largest_logit(logits: Tensor, modalities: int) -> Tensor:
    """The largest of a user's ``logits`` [M * P, M * N] in all modalities, [M * P], M times the same."""
    return logits.view(modalities, -1, logits.shape[1]).amax((0, 2)).repeat(modalities)


def shared_exponentials(logits: Tensor, modalities: int, largest: Tensor | None = None) -> Tensor:
    """``scoring: exponentials``, for eq. 16: exponentials divided by one common constant instead of a softmax per user.

    Args:
        logits: [M * P, M * N]; overwritten.
        modalities: M.
        largest: ``largest_logit`` over all items; None: these are all.
    """
    largest = largest_logit(logits, modalities) if largest is None else largest
    return logits.sub_(largest[:, None]).exp_()


def start_attention_as_torch_does(encoder: nn.Module) -> None:
    """``initialisation: torch``, for the transformer of eq. 9: torch's own initial values of the input projections."""
    for module in encoder.modules():
        if isinstance(module, SelfAttention):
            nn.init.xavier_uniform_(module.qkv.weight)
