"""The product of experts: every part against a computation by hand, around any model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

from decorec.config.experts import ExpertsConfig
from decorec.data.batches import Batch, histories
from decorec.data.sequences import Sequences, read_vocab
from decorec.evaluation.full_ranking import rank_by_history
from decorec.models.base import Recommender
from decorec.models.experts import ProductOfExperts, repeat_rate
from decorec.models.inputs import ModelInputs
from decorec.models.item_data import ItemData
from decorec.models.registry import MODELS
from tests.support import small

TRAINED = [name for name in MODELS if name not in small.FLOORS]


def at_test(data: Sequences, user: int) -> Batch:
    return histories(data, "test", 50).batch(np.array([user]))


def pair(data: Sequences, name: str, experts: dict[str, Any]) -> tuple[Recommender, Recommender]:
    """A model without and with experts, with the same weights."""
    found = []
    for section in ({}, experts):
        run = small.run(section, name=name)
        model = small.model(data, run, run.stages[-1]).eval()
        model.before_epoch()
        model.observe(data.training())
        found.append(model)
    plain, product = found
    product.load_state_dict(plain.own_state(), strict=False)
    return plain, product


def shares(model: Recommender, batch: Batch) -> torch.Tensor:
    """What the model gives each item of one, by the definition of its loss."""
    scores = model.scores(batch, model.item_representations())[0].double()
    if model.config.name == "decorec":
        return scores / scores.sum()
    if model.config.name == "unisrec":
        scores = scores / model.config.temperature
    return torch.exp(scores) / torch.exp(scores).sum()


@pytest.mark.parametrize("name", TRAINED)
def test_shares_are_multiplied_by_what_was_counted(name: str) -> None:
    data = small.sequences(users=6)
    experts = {"floor": {"name": "ease", "ridge": 2.0}, "weight": 0.7, "neighbourhood": 3.0}
    plain, product = pair(data, name, experts)
    ease = small.model(data, small.run(name="ease", ridge=2.0), "fit")
    ease.observe(data.training())
    item_data = product.item_data
    graph = torch.sparse_csr_tensor(
        item_data["graph.crow"], item_data["graph.col"], item_data["graph.values"], (40, 40), check_invariants=True
    ).to_dense()
    with torch.no_grad():
        for user in range(6):
            batch = at_test(data, user)
            ages = torch.arange(len(batch.items), 0, -1.0)
            near = (graph[batch.items] / ages[:, None]).sum(0)
            linear = ease.scores(batch, ease.item_representations())[0].numpy()
            z = torch.from_numpy((linear - linear.mean()) / linear.std())
            expected = shares(plain, batch) * (1 + 3 * near / near[near > 0].mean()) * torch.exp(0.7 * z)
            found = torch.softmax(product.ranking(batch, product.item_representations())["kept"][0], 0)
            torch.testing.assert_close(found, (expected / expected.sum()).float(), rtol=1e-3, atol=1e-7)
            assert (near == 0).any() and (near > 0).any()


def test_a_history_without_neighbours_and_a_floor_that_knows_nothing_change_nothing() -> None:
    data = small.sequences(users=1)
    plain, product = pair(data, "sasrec", {"floor": {"name": "popularity"}, "neighbourhood": 3.0})
    assert product.experts is not None and product.experts.graph is not None and product.experts.floor is not None
    product.experts.graph.values.zero_()
    product.experts.floor.counts.fill_(7)
    with torch.no_grad():
        batch = at_test(data, 0)
        expected = torch.log_softmax(plain.scores(batch, plain.item_representations()), 1)
        torch.testing.assert_close(product.ranking(batch, product.item_representations())["masked"], expected)


@pytest.mark.parametrize("name", ["decorec", "gru4rec"])
def test_repeats_have_the_share_that_they_had_in_training(name: str) -> None:
    data = small.sequences(users=12)
    items = data.items.copy()
    items[data.offsets[:4] + 2] = items[data.offsets[:4]]  # four users come back to their first item
    data = Sequences(data.users, data.offsets, items)
    plain, product = pair(data, name, {"repeats": "counted"})
    training = data.training()
    seen: list[bool] = []
    for first, last in zip(training.offsets, training.offsets[1:], strict=False):
        past = training.items[first:last].tolist()
        seen += [item in past[:t] for t, item in enumerate(past) if t]
    rate = (sum(seen) + 1) / (len(seen) + 2)
    assert sum(seen) >= 4 and repeat_rate(training, 40, 50) == rate
    for user in range(12):
        batch = at_test(data, user)
        with torch.no_grad():
            before = shares(plain, batch)
            after = torch.exp(product.ranking(batch, product.item_representations())["kept"][0])
        past = torch.zeros(40, dtype=torch.bool).index_fill_(0, batch.items, True)
        torch.testing.assert_close(after.sum(), torch.tensor(1.0))
        torch.testing.assert_close(after[past].sum(), torch.tensor(rate))
        for side in (past, ~past):
            torch.testing.assert_close(after[side] / after[side].sum(), (before[side] / before[side].sum()).float())


@pytest.mark.parametrize(("length", "repeats"), [(1, 1), (2, 3), (3, 3), (4, 4)])
def test_a_repeat_is_of_an_item_that_the_model_still_reads(length: int, repeats: int) -> None:
    items = np.array([5, 1, 5, 5, 2, 1, 1, 2, 1], dtype=np.int32)
    training = Sequences(["u", "v"], np.array([0, 6, 9]), items)
    assert repeat_rate(training, 40, length) == (repeats + 1) / (7 + 2)


@pytest.mark.parametrize("gap", [1.0, 16.0, 40.0])
def test_repeats_have_their_share_where_nearly_all_shares_are_those_of_the_history(gap: float) -> None:
    """Or nearly none: in float32, 1 - 0.99999998 is 0."""
    data = Sequences(["u"], np.array([0, 3]), np.array([0, 1, 2], dtype=np.int32))
    section = ExpertsConfig(repeats="counted")
    experts = ProductOfExperts(section, ItemData(6, {}), None)
    experts.observe(data.training(), 6, 50)
    rate = repeat_rate(data.training(), 6, 50)
    for history in (gap, -gap):
        logs = torch.log_softmax(torch.tensor([[history, history - 1, 0, -1, -2, -3]]), 1)
        product = experts(logs.clone(), at_test(data, 0))["kept"].double().exp()[0]
        assert product[:2].sum() == pytest.approx(rate, rel=1e-5)
        assert product[2:].sum() == pytest.approx(1 - rate, rel=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_tells_its_experts_what_was_in_training(name: str) -> None:
    """A floor counts for itself as well."""
    data = small.sequences(users=12)
    run = small.run({"floor": {"name": "popularity"}, "repeats": "counted"}, name=name)
    model = small.model(data, run, run.stages[-1])
    model.observe(data.training())
    experts = model.experts
    assert isinstance(experts, ProductOfExperts) and experts.repeat_rate is not None and experts.floor is not None
    assert float(experts.repeat_rate) == pytest.approx(repeat_rate(data.training(), 40, model.config.length))
    assert experts.floor.counts.tolist() == data.training().counts(40).tolist()  # type: ignore[operator]


def test_counted_repeats_change_no_rank_where_the_history_is_masked() -> None:
    data = small.sequences(users=30)
    plain, product = (rank_by_history(model, data, "valid") for model in pair(data, "sasrec", {"repeats": "counted"}))
    assert plain["masked"] == product["masked"]
    assert plain["kept"] != product["kept"]


def test_experts_belong_to_the_last_stage_and_their_needs_to_the_run() -> None:
    run = small.run({"floor": {"name": "content-ease"}, "neighbourhood": 1}, name="sasrec")
    assert run.needs("fit") == ("graph", "features.text", "features.image")
    two = small.run({"floor": {"name": "ease"}})
    data = small.sequences()
    assert small.model(data, two, "stage1").experts is None
    assert small.model(data, two, "stage2").experts is not None
    assert two.for_stage("stage1") == small.run().for_stage("stage1")


@pytest.mark.parametrize("floor", ["item-knn", "hybrid-knn"])
def test_a_floor_of_co_occurrence_has_the_normalisation_that_it_names(floor: str, tmp_path: Path) -> None:
    data = small.sequences()
    run = small.run({"floor": {"name": floor, "normalisation": "row"}}, name="sasrec")
    files = small.files(tmp_path, data, run)
    given = ModelInputs.of(files["features"], files["interests"], files["cooccurrence"])
    found = given.item_data(run, "fit", read_vocab(files["vocab"]))
    counted = scipy.sparse.load_npz(files["cooccurrence"]).toarray().astype(np.float64)
    expected = counted / counted.sum(1, keepdims=True)
    np.testing.assert_allclose(found["graph.values"], expected[counted > 0], rtol=1e-6)


def test_model_and_floor_with_two_normalisations_are_refused() -> None:
    row = {"floor": {"name": "item-knn", "normalisation": "row"}}
    with pytest.raises(ValueError, match=r"experts\.floor\.normalisation: expected symmetric.*found row"):
        small.run(row)
    assert small.run(row, normalisation="row").normalisation == "row"
    assert small.run().normalisation == "symmetric"


def test_a_floor_that_has_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValueError, match="rigde"):
        small.run({"floor": {"name": "ease", "rigde": 3}}, name="sasrec")
