"""A step with sampled negatives reads and changes the rows of a few items, and computes what all items would give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from decorec.config.training import StageConfig
from decorec.data.batches import Batch, training_windows
from decorec.models.sampled import SampledRecommender
from decorec.nn.losses import SampledNegatives
from decorec.nn.sampled_softmax import Sampler, read_items
from decorec.nn.sparse import Propagation
from decorec.training.ema import ExponentialMovingAverage
from decorec.training.loop import train_step
from decorec.training.optimizer import RowAdam, build_optimizer, clip
from tests.support import small

ITEMS = 40
SAMPLED: list[tuple[str, dict[str, Any]]] = [
    ("fit", {"name": "sasrec"}),
    ("fit", {"name": "esasrec"}),
    ("fit", {"name": "gru4rec"}),
    ("fit", {"name": "sasrec-features"}),
    ("fit", {"name": "sasrec-features", "sides": "history"}),
    ("fit", {"name": "hm4sr", "auxiliary": 0.0}),
    ("stage1", {}),
    ("stage1", {"modal_layers": 2}),
    ("stage1", {"cross": False}),
    ("stage1", {"enrich": "raw"}),
    ("stage1", {"modal_layers": 0}),
    ("stage2", {}),
    ("stage2", {"id_layers": 2, "interest_input": "centroid"}),
    ("fit", {"phased": False, "id_layers": 1}),
    ("fit", {"phased": False, "id_enrichment": "mean", "interest_mlp": False}),
    ("fit", {"modalities": []}),
]
by_model = pytest.mark.parametrize(("stage", "options"), SAMPLED, ids=[f"{a} {b}" for a, b in SAMPLED])


def sampled(stage: str, options: dict[str, Any]) -> tuple[SampledRecommender, Batch]:
    """A model in double precision, with two negatives a step, and the sequence of one user with a horizon of two."""
    data = small.sequences(users=5)
    run = small.run(**options)
    model = small.model(data, run, stage).double().train()
    assert isinstance(model, SampledRecommender)
    model.observe(data.training())
    with torch.no_grad():  # several parameters start at zero, where an error would not be seen
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.sampler = Sampler(data.training().items, ITEMS, 2, 0)
    windows = training_windows(data, run.model.length, horizon=2)
    return model, windows.batch(np.arange(1))


def next_draw(model: SampledRecommender) -> SampledNegatives:
    """What the model's next step will draw."""
    assert model.sampler is not None
    state = model.sampler.generator.get_state()
    drawn = model.sampler.draw(torch.device("cpu"))
    model.sampler.generator.set_state(state)
    return drawn


@by_model
def test_loss_and_gradients_are_those_over_all_items(stage: str, options: dict[str, Any]) -> None:
    model, batch = sampled(stage, options)
    expected = model.loss_over(model.item_representations(), batch, next_draw(model))
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    whole = torch.autograd.grad(expected, parameters, allow_unused=True)
    found = model.loss(batch)
    own = torch.autograd.grad(found, parameters, allow_unused=True)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    for gradient, other in zip(own, whole, strict=True):
        assert (gradient is None) == (other is None)
        if gradient is not None and other is not None:
            torch.testing.assert_close(gradient.to_dense(), other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("stage", "options"),
    [
        ("fit", {"name": "sasrec"}),
        ("fit", {"name": "gru4rec"}),
        ("fit", {"name": "sasrec-features"}),
        ("fit", {"name": "hm4sr"}),
        ("stage1", {}),
        ("stage1", {"modal_layers": 0}),
        ("fit", {"phased": False, "id_layers": 1}),
    ],
)
def test_nothing_of_an_item_out_of_reach_is_read(stage: str, options: dict[str, Any]) -> None:
    model, batch = sampled(stage, options)
    items, _, _ = read_items(batch, next_draw(model))
    near = torch.zeros(ITEMS, dtype=torch.bool)
    near[items] = True
    if getattr(model.config, "modal_layers", 0):
        crow, col = model.item_data["graph.crow"], model.item_data["graph.col"]
        adjacent = Propagation(crow, col, torch.ones(len(col)))(torch.eye(ITEMS)) > 0
        near |= adjacent[near].any(0)
    far = torch.nonzero(~near)[:, 0]
    assert len(far)
    with torch.no_grad():
        for table in model.id_tables():
            table[far] = torch.nan
        for name, tensor in model.item_data.tensors().items():
            if name.startswith("features."):
                tensor[far] = torch.nan
    loss = model.loss(batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad.to_dense()).all() for p in model.parameters() if p.grad is not None)


def propagation(random: np.random.Generator) -> tuple[Propagation, Tensor]:
    dense = torch.from_numpy(np.where(random.random((ITEMS, ITEMS)) < 0.04, random.random((ITEMS, ITEMS)), 0.0))
    matrix = dense.to_sparse_csr()
    return Propagation(matrix.crow_indices(), matrix.col_indices(), matrix.values()), dense


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_a_part_of_the_graph_gives_the_rows_of_the_whole(hops: int) -> None:
    random = np.random.default_rng(hops)
    graph, dense = propagation(random)
    items = torch.tensor([3, 4, 17, 30])
    around, part = graph.around(items, hops)
    assert around[: len(items)].tolist() == items.tolist()
    assert len(around) < ITEMS
    assert len(set(around.tolist())) == len(around)
    x = torch.from_numpy(random.normal(size=(ITEMS, 5)))
    whole, own = x, x[around]
    for _ in range(hops):
        whole, own = dense @ whole, part(own)
        torch.testing.assert_close(own[: len(items)], whole[items], rtol=1e-12, atol=1e-14)


def test_an_item_without_neighbours_is_a_part_of_its_own() -> None:
    empty = torch.zeros(3, 3, dtype=torch.float64).to_sparse_csr()
    graph = Propagation(empty.crow_indices(), empty.col_indices(), empty.values())
    around, part = graph.around(torch.tensor([1]), 2)
    assert around.tolist() == [1]
    assert part(torch.ones(1, 2, dtype=torch.float64)).tolist() == [[0.0, 0.0]]


def test_read_items_numbers_everything_anew() -> None:
    batch = training_windows(small.sequences(users=4), 50, horizon=3).batch(np.arange(2))
    assert (batch.targets < 0).any()
    drawn = SampledNegatives(torch.tensor([0, 39]), torch.tensor([0.5, 0.25]))
    items, moved, chosen = read_items(batch, drawn)
    there = batch.targets >= 0
    assert items.tolist() == sorted({*batch.items.tolist(), *batch.targets[there].tolist(), 0, 39})
    assert torch.equal(items[moved.items], batch.items)
    assert torch.equal(torch.where(there, items[moved.targets.clamp_min(0)], -1), batch.targets)
    assert torch.equal(moved.targets < 0, ~there)
    assert torch.equal(items[chosen.items], drawn.items)
    assert torch.equal(chosen.log_expected, drawn.log_expected)


def sparse_gradient(rows: list[int], values: Tensor, size: tuple[int, ...]) -> Tensor:
    return torch.sparse_coo_tensor(torch.tensor([rows]), values, size, check_invariants=True).coalesce()


@pytest.mark.parametrize("momentum", [True, False])
def test_a_row_takes_the_steps_of_adam_with_one_second_moment(momentum: bool) -> None:
    random = np.random.default_rng(0)
    table = torch.nn.Parameter(torch.from_numpy(random.normal(size=(5, 3))))
    plain = torch.nn.Parameter(torch.from_numpy(random.normal(size=4)))
    twin = torch.nn.Parameter(plain.detach().clone())
    adam = RowAdam([{"params": [table, plain], "lr": 0.1}], betas=(0.9, 0.99), weight_decay=0.01)
    adam.row_momentum = momentum
    beta = 0.9 if momentum else 0.0
    usual = torch.optim.Adam([twin], lr=0.1, betas=(0.9, 0.99), weight_decay=0.01)
    expected = table.detach().numpy().copy()
    first, second, steps = np.zeros((5, 3)), np.zeros(5), np.zeros(5)
    for rows in ([0, 2], [2, 3], [2], [0, 3]):
        gradient = random.normal(size=(len(rows), 3))
        table.grad = sparse_gradient(rows, torch.from_numpy(gradient), (5, 3))
        plain.grad = torch.from_numpy(random.normal(size=4))
        twin.grad = plain.grad.clone()
        adam.step()
        usual.step()
        for row, own in zip(rows, gradient, strict=True):
            own = own + 0.01 * expected[row]
            steps[row] += 1
            first[row] = beta * first[row] + (1 - beta) * own
            second[row] = 0.99 * second[row] + 0.01 * (own**2).mean()
            length = np.sqrt(second[row] / (1 - 0.99 ** steps[row])) + 1e-8
            expected[row] -= 0.1 * first[row] / (1 - beta ** steps[row]) / length
    assert ("exp_avg" in adam.state[table]) == momentum
    np.testing.assert_allclose(table.detach().numpy(), expected, rtol=1e-12)
    assert torch.equal(plain, twin)


def test_gradients_are_clipped_by_their_common_norm() -> None:
    random = np.random.default_rng(0)
    gradients = [torch.from_numpy(random.normal(size=size)) for size in ((6, 3), (4,))]
    parameters = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for largest in (0.5, 100.0):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        torch.nn.utils.clip_grad_norm_(parameters, largest)
        expected = [parameter.grad for parameter in parameters]
        parameters[0].grad, parameters[1].grad = gradients[0].to_sparse(1).coalesce(), gradients[1].clone()
        clip(parameters, largest)
        for parameter, other in zip(parameters, expected, strict=True):
            assert parameter.grad is not None and other is not None
            assert torch.equal(parameter.grad.to_dense(), other)


def test_rows_that_were_not_read_are_averaged_later() -> None:
    """The same steps with dense gradients, of which most rows are zero and do not move, give the same average."""
    random = np.random.default_rng(0)
    start = torch.from_numpy(random.normal(size=(6, 2)))
    module = torch.nn.Embedding.from_pretrained(start.clone(), freeze=False)
    average = ExponentialMovingAverage(module, 0.9)
    expected: Tensor | None = None
    for step, rows in enumerate(([1, 2], [2], [2, 5], [1], [2])):
        module.weight.grad = sparse_gradient(rows, torch.ones(len(rows), 2, dtype=torch.float64), (6, 2))
        average.catch_up()
        with torch.no_grad():
            module.weight[rows] += torch.from_numpy(random.normal(size=(len(rows), 2)))
        average.update()
        own = module.weight.detach().clone()
        expected = own if expected is None else 0.9 * expected + 0.1 * own
        if step in (2, 4):
            with average.applied():
                torch.testing.assert_close(module.weight.detach(), expected, rtol=1e-12, atol=1e-14)
            assert torch.equal(module.weight, own)


@pytest.mark.parametrize(("stage", "options"), [("fit", {"name": "sasrec"}), ("fit", {"phased": False})])
def test_a_step_moves_the_rows_that_it_reads_and_no_others(stage: str, options: dict[str, Any]) -> None:
    model, batch = sampled(stage, options)
    config = small.run(**options).train.stage(stage)
    items, _, _ = read_items(batch, next_draw(model))
    (table,) = model.id_tables()
    before = table.detach().clone()
    train_step(model, batch, build_optimizer(model, config), config, 1.0)
    moved = torch.nonzero((table != before).any(1))[:, 0]
    assert set(items.tolist()) <= set(moved.tolist())
    assert len(moved) < ITEMS


def test_gradients_that_pile_up_are_refused_beside_sampled_negatives() -> None:
    with pytest.raises(ValidationError, match="stale_gradients: expected false with negatives"):
        StageConfig(stale_gradients=True, negatives=20)
