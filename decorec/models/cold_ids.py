"""Ids of cold items, which have no interaction in the training part.

Such a row was drawn at random before training, and since then the loss has only pushed it away as a wrong answer.
``train.cold_ids: mean`` gives all of them the mean of the other rows, in every table and for every model alike. So what
a model knows of the content decides between cold items, and a model that knows only ids scores all of them equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from decorec.models.base import Recommender

__all__ = ["mean_ids"]


@contextmanager
def mean_ids(model: Recommender, cold: Tensor) -> Iterator[None]:
    """Within the context, the ``cold`` [I] (bool) rows of all tables of ids are the mean of the other rows.

    Afterwards they are what they were, bit for bit, so that the training goes on as without it.
    """
    rows = torch.nonzero(cold)[:, 0].to(model.item_data.device)
    warm = torch.nonzero(~cold)[:, 0].to(rows.device)
    with torch.no_grad():
        before = [(table, table[rows].clone()) for table in model.id_tables()]
        for table, _ in before:
            table[rows] = table[warm].mean(0)
        try:
            yield
        finally:
            for table, own in before:
                table[rows] = own
