"""Ids of items without a training interaction: they decide nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from decorec.data.batches import histories
from decorec.evaluation.full_ranking import rank_users
from decorec.models.cold_ids import mean_ids
from decorec.models.registry import MODELS
from decorec.training.loop import train_model
from tests.support import small

TRAINED = [name for name in MODELS if name not in small.FLOORS]
ITEMS = 40


@pytest.mark.parametrize("name", TRAINED)
def test_the_noise_of_a_cold_id_decides_nothing(name: str) -> None:
    """Noise in every row of a cold item changes no score, except in what begins as content (DIMO's embeddings)."""
    everyone = small.by_time(small.sequences())
    data = everyone.having("test")
    stage = "stage2" if name == "decorec" else "fit"
    run = small.run(name=name)
    model = small.model(everyone, run, stage).eval()
    cold = torch.from_numpy(np.bincount(everyone.training().items, minlength=ITEMS) == 0)
    assert 3 < cold.sum() < 20
    batch = histories(data, "test", 50).batch(np.arange(len(data.users)))
    found = []
    with torch.no_grad():
        for seed in range(2):
            generator = torch.Generator().manual_seed(seed)
            for key, parameter in model.named_parameters():
                if parameter.dim() and parameter.shape[0] in (ITEMS, ITEMS + 1) and key != "modal":
                    noise = torch.randn(int(cold.sum()), *parameter.shape[1:], generator=generator)
                    parameter[:ITEMS][cold] = noise
            before = {key: parameter.clone() for key, parameter in model.named_parameters()}
            with mean_ids(model, cold):
                found.append(model.scores(batch, model.item_representations()).clone())
            assert all(torch.equal(before[key], parameter) for key, parameter in model.named_parameters())
        noisy = model.scores(batch, model.item_representations())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[1], noisy), "the ids of these items count"
    ties = found[0][:, cold]
    ids_alone = name == "mmmlp" or not any(need.startswith("features.") for need in run.needs(stage))
    assert bool((ties == ties[:, :1]).all()) is ids_alone, "equal where candidates are ids alone, as those of MMMLP are"


def test_the_weights_that_are_ranked_are_the_ones_that_are_kept() -> None:
    data = small.by_time(small.sequences())
    run = small.run(name="sasrec")
    stage = run.train.stage("fit").model_copy(update={"cold_ids": "mean"})
    model = small.model(data, run, "fit")
    history = train_model(model, data, stage, 0)
    cold = np.bincount(data.training().items, minlength=ITEMS) == 0
    (table,) = model.id_tables()
    assert torch.equal(table[cold], table[~cold].mean(0).expand(int(cold.sum()), -1))
    validated = data.having("valid")
    ranks = rank_users(model, validated, "valid")
    hits = np.clip((10 - ranks.higher) / (ranks.equal + 1), 0, 1)
    assert history.filter("best")["Hit@10"].item() == pytest.approx(hits.mean())
