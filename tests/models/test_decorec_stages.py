"""What each stage of DeCoRec has and trains, and at which rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from decorec.config.training import StageConfig
from decorec.data.batches import Batch, training_windows
from decorec.data.sequences import Sequences
from decorec.models.decorec import DeCoRec
from decorec.training.loop import train_model
from decorec.training.optimizer import build_optimizer
from tests.support import small


def test_interests_of_centroids_are_trained_in_stage_2_at_the_rate_of_interests() -> None:
    data, run = small.sequences(), small.run(interest_input="centroid")
    assert [name for name in run.needs("stage2") if "centroids" in name] == ["centroids.text", "centroids.image"]
    assert run.for_stage("stage1") == small.run().for_stage("stage1"), "stage 1 is shared with the default"
    assert small.run(interests=False, interest_input="centroid").for_stage("stage2") == (
        small.run(interests=False).for_stage("stage2")
    )
    assert "interest_input" not in small.run().dump()["model"]
    model = small.model(data, run, "stage2")
    stage = run.train.stage("stage2")
    slow = [group for group in model.parameter_groups(stage) if group["lr"] == stage.id_learning_rate]
    of_interests = {id(p) for name, p in model.named_parameters() if name.startswith("interests.")}
    assert len(of_interests) == 8 and of_interests <= {id(p) for group in slow for p in group["params"]}
    with pytest.raises(
        ValueError, match=r"interest_input is centroid, expected model\.interest_mlp: true, found false"
    ):
        small.run(interest_input="centroid", interest_mlp=False)


def first_batch(data: Sequences) -> Batch:
    windows = training_windows(data, 50)
    return windows.batch(np.arange(len(windows)))


def test_frozen_adapters_stay_and_everything_else_moves() -> None:
    data = small.sequences()
    run = small.run()
    first = small.model(data, run, "stage1")
    train_model(first, data, run.train.stage("stage1"), 0)
    second = small.model(data, run, "stage2", seed=5)
    assert isinstance(second, DeCoRec)
    second.start_from(first.state_dict())
    before = {name: parameter.detach().clone() for name, parameter in second.named_parameters()}
    for name, parameter in first.named_parameters():
        assert torch.equal(before[name], parameter), name
    adam = build_optimizer(second, run.train.stage("stage2"))
    second.train()
    for _ in range(3):
        adam.zero_grad()
        second.loss(first_batch(data)).backward()
        adam.step()
    for name, parameter in second.named_parameters():
        frozen = name.startswith("adapters.")
        assert parameter.requires_grad != frozen
        assert torch.equal(before[name], parameter) == frozen, name


def test_stage_1_has_neither_ids_nor_interests() -> None:
    data = small.sequences()
    names = [name for name, _ in small.model(data, small.run(), "stage1").named_parameters()]
    assert not [name for name in names if name.split(".")[0] in ("ids", "enrich_ids", "interests")]


class Forgetful(DeCoRec):
    """A model whose groups leave out the ids, as the released code's do."""

    def parameter_groups(self, train: StageConfig) -> list[dict[str, Any]]:
        return super().parameter_groups(train)[:1]


def test_an_optimizer_that_forgets_a_parameter_is_refused() -> None:
    data = small.sequences()
    run = small.run()
    with pytest.raises(ValueError, match="exactly once"):
        build_optimizer(Forgetful(run.model, small.item_data(data, run), "stage2"), run.train.stage("stage2"))


def test_one_stage_trains_ids_interests_and_adapters_together() -> None:
    data = small.sequences()
    model = small.model(data, small.run(phased=False), "fit")
    trainable = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == {"adapters", "encoder", "ids", "enrich_ids", "interests"}
