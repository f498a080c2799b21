"""The parts of DeCoRec by hand: enrichment and its gates (eq. 2 and 3), interests (eq. 6), adapters (eq. 7 and 8)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from decorec.models.decorec import CentroidInterests, DeCoRec, Enrichment, ModalAdapter
from decorec.nn import sparse
from tests.support import small


def path_of_three() -> sparse.Propagation:
    """The graph 0 - 1 - 2 with weights 1 and 0.5."""
    matrix = torch.tensor([[0, 1, 0], [1, 0, 0.5], [0, 0.5, 0]]).to_sparse_csr()
    return sparse.Propagation(matrix.crow_indices(), matrix.col_indices(), matrix.values())


def adapter_of(weights: tuple[Tensor, Tensor], **model: Any) -> ModalAdapter:
    """An adapter from 2 to 4 values over three items, with given weights and without biases."""
    config = small.run(**{"dim": 4, "gate": 0.5, **model}).model
    adapter = ModalAdapter(config, 2, 3)
    with torch.no_grad():
        project: Any = adapter.project
        for layer, weight in zip((project[0], project[2]), weights, strict=True):
            assert layer.weight.shape == weight.shape
            layer.weight.copy_(weight)
            layer.bias.zero_()
    return adapter


def test_eq_3_before_or_after_the_adapter() -> None:
    features = torch.tensor([[1.0, 2.0], [-1.0, 0.0], [3.0, -4.0]])
    weights = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]), torch.eye(4)
    found = {}
    for order in ("adapted", "raw"):
        with torch.no_grad():
            found[order] = adapter_of(weights, enrich=order)(features, path_of_three())
    # The adapter gives max(0, x), max(0, -x), max(0, y), max(0, -y); half of the neighbours' sum is added.
    # After: (1, 0, 2, 0), (0, 1, 0, 0), (3, 0, 0, 4) + 0.5 * the rows 1; 0 + 0.5 * 2; 0.5 * 1.
    after = [[1, 0.5, 2, 0], [0 + 0.5 * (1 + 1.5), 1, 0.5 * 2, 0.5 * 2], [3, 0.25, 0, 4]]
    # Before: (1, 2) + 0.5 (-1, 0); (-1, 0) + 0.5 ((1, 2) + 0.5 (3, -4)); (3, -4) + 0.25 (-1, 0).
    before = [[0.5, 0, 2, 0], [-1 + 0.5 * 2.5, 0, 0, 0], [2.75, 0, 0, 4]]
    torch.testing.assert_close(found["adapted"], torch.tensor(after))
    torch.testing.assert_close(found["raw"], torch.tensor(before))


def test_gates_of_raw_features_are_as_wide_as_these_and_frozen_with_the_adapters() -> None:
    data = small.sequences()
    run = small.run(enrich="raw")
    first, second = (small.model(data, run, stage) for stage in ("stage1", "stage2"))
    gates = {name: p for name, p in first.named_parameters() if name.endswith("enrich.from_embedding")}
    assert {tuple(gate.shape) for gate in gates.values()} == {(1, 12, 1)} and len(gates) == 2
    second.start_from(first.state_dict())
    assert not any(p.requires_grad for name, p in second.named_parameters() if name in gates)
    without = small.run(enrich="raw", modal_layers=0).for_stage("stage1")
    assert without == small.run(modal_layers=0).for_stage("stage1"), "nothing is enriched"
    assert "enrich" not in small.run().dump()["model"]


def test_gates_by_hand() -> None:
    """Eq. 2 on a graph: sigmoid of 2 times the hop before, plus the row of S times (1, 0, 4), plus a bias."""
    config = small.run(dim=4).model
    enrichment = Enrichment(config, 2, 3, 1)
    with torch.no_grad():
        enrichment.from_embedding.fill_(2.0)
        enrichment.from_graph.copy_(torch.tensor([1.0, 0, 4])[None, :, None])
        enrichment.bias.copy_(torch.tensor([0.5, -1.0]))
        x = torch.tensor([[1.0], [-1.0], [2.0]])
        gates = enrichment.gates(x, path_of_three())
        enriched = enrichment(x, path_of_three())
    # Hops: 1, -1, 2; then -1, 1 + 0.5 * 2, -0.5; then 2, -1 + 0.5 * -0.5, 1. S times (1, 0, 4): 0, 1 + 0.5 * 4, 0.
    inner = torch.tensor([[2 + 0.5, -2 + 3 + 0.5, 4 + 0.5], [-2 - 1.0, 4 + 3 - 1.0, -1 - 1.0]])
    torch.testing.assert_close(gates, torch.sigmoid(inner))
    hops = torch.tensor([[-1.0, 2.0, -0.5], [2.0, -1.25, 1.0]])
    torch.testing.assert_close(enriched[:, 0], x[:, 0] + (gates * hops).sum(0) / 2)
    fixed = Enrichment(small.run(dim=4, gate=0.25).model, 2, 3, 1).gates(x, path_of_three())
    assert fixed.tolist() == [[0.25] * 3] * 2


def test_a_model_has_the_gates_of_what_it_enriches() -> None:
    data = small.sequences()

    def shapes(stage: str, **options: Any) -> dict[str, tuple[int, ...]]:
        model = small.model(data, small.run(**options), stage)
        assert isinstance(model, DeCoRec)
        return {name: tuple(gates.shape) for name, gates in model.gates().items()}

    assert shapes("stage2") == {"text": (1, 40), "image": (1, 40), "ids": (2, 40)}
    assert shapes("stage1", modal_layers=2, enrich="raw") == {"text": (2, 40), "image": (2, 40)}
    assert shapes("stage2", id_enrichment="mean", modal_layers=0) == {}, "a mean has no gates"


def test_eq_8_with_a_hidden_layer_narrower_than_the_representation() -> None:
    weights = torch.tensor([[1.0, -1], [0, 2]]), torch.tensor([[1.0, 0], [0, 1], [1, 1], [1, -1]])
    adapter = adapter_of(weights, adapter_hidden=2, modal_layers=0)
    with torch.no_grad():
        found = adapter(torch.tensor([[3.0, 1.0], [1.0, 2.0], [0.0, -1.0]]), None)
    # Hidden: max(0, x - y), max(0, 2 y) = (2, 2), (0, 4), (1, 0).
    assert found.tolist() == [[2, 2, 4, 0], [0, 4, 4, -4], [1, 0, 1, 1]]
    wide, narrow = (small.model(small.sequences(), small.run(**h), "stage1") for h in ({}, {"adapter_hidden": 5}))
    assert narrow.item_representations().shape == wide.item_representations().shape
    linear = small.run(adapter="linear", adapter_hidden=5)
    assert linear.for_stage("stage1") == small.run(adapter="linear").for_stage("stage1"), "it has no hidden layer"


def test_eq_6_of_centroids() -> None:
    interests = CentroidInterests(torch.tensor([[1.0, 2.0], [-3.0, 0.0], [0.5, -1.0]]), 2)
    first, second = interests.mlp[0], interests.mlp[2]
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, 0.0]]))
        first.bias.copy_(torch.tensor([0.0, 0.5]))
        second.weight.copy_(torch.tensor([[2.0, 0.0], [1.0, -1.0]]))
        second.bias.copy_(torch.tensor([0.25, 0.0]))
        found = interests(torch.tensor([1, 0, 2, 1]))
    # The hidden layer of the three: max(0, (3, -0.5)), max(0, (-3, 3.5)), max(0, (-0.5, 0)).
    rows = {0: [2 * 3 + 0.25, 3.0], 1: [0.25, -3.5], 2: [0.25, 0.0]}
    assert found.tolist() == [rows[cluster] for cluster in (1, 0, 2, 1)]
    assert [name for name, _ in interests.named_parameters()] == [
        "mlp.0.weight",
        "mlp.0.bias",
        "mlp.2.weight",
        "mlp.2.bias",
    ]
