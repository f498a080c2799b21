"""The mathematics of the models: one pass against windows, causality, scores, freezing, optimizer groups."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from decorec.config.training import StageConfig
from decorec.data.batches import Batch, Windows, histories, training_windows
from decorec.data.sequences import Sequences
from decorec.models import registry
from decorec.models.base import Recommender
from decorec.models.decorec import CentroidInterests, DeCoRec, Enrichment, ModalAdapter
from decorec.models.registry import MODELS as REGISTERED
from decorec.nn import sparse
from decorec.training.loop import train_model
from decorec.training.optimizer import build_optimizer
from tests.support import small

OTHERS = "decorec", "bert4rec", "missrec", "mmmlp", "dimo"
"""DeCoRec has stages; the others read both sides of an item, and are trained on one row per prefix or on masks."""
ONE_PASS = [name for name in registry.MODELS if name not in (*small.FLOORS, *OTHERS)]
"""Models whose every state is trained on in one pass."""
MODELS: list[tuple[str, str, dict[str, Any]]] = [
    *((name, "fit", {"name": name}) for name in ONE_PASS),
    ("gru4rec of two layers", "fit", {"name": "gru4rec", "layers": 2}),
    ("sasrec-features history", "fit", {"name": "sasrec-features", "fusion": "concat", "sides": "history"}),
    ("decorec stage 1", "stage1", {}),
    ("decorec stage 2", "stage2", {}),
    ("decorec with positions", "stage2", {"encoder": {**small.TINY["encoder"], "positions": "learned", "layers": 2}}),
    ("decorec cosine", "stage2", {"similarity": "cosine", "temperature": 0.07, "alpha": 0.4}),
    ("decorec with enriched raw features", "stage2", {"enrich": "raw", "modal_layers": 2}),
    ("decorec with interests from centroids", "stage2", {"interest_input": "centroid"}),
    ("decorec with narrow adapters", "stage1", {"adapter_hidden": 5}),
    ("decorec scored by logits", "stage2", {"scoring": "logits"}),
    ("decorec within each modality", "stage2", {"cross": False}),
    ("decorec with three modalities", "stage2", {"modalities": ["text", "image", "audio"], "alpha": 0.4}),
    ("decorec of ids alone", "fit", {"modalities": []}),
    ("decorec of the released code", "stage2", {"id_enrichment": "mean", "interest_mlp": False, "modal_layers": 0}),
]


def chosen_model(data: Sequences, stage: str, options: dict[str, Any], length: int) -> Recommender:
    tiny = small.TINY_OF.get(options.get("name", ""), small.TINY)
    encoder = tiny.get("encoder", {}) | options.get("encoder", {})
    sized = {"encoder": encoder | {"length": length}} if encoder else {"length": length}
    run = small.run(**(options | sized))
    return small.model(data, run, stage).eval()  # the gate of UniSRec draws noise in training


def explicit_windows(data: Sequences, length: int) -> Windows:
    """One sample per prefix, as the sliding-window augmentation of the literature materialises it."""
    training = data.training()
    start, size = [], []
    for user, count in enumerate(training.lengths):
        for t in range(1, count):
            first = max(0, t - length)
            start.append(training.offsets[user] + first)
            size.append(t - first)
    sizes = np.array(size)
    ends = np.array(start) + sizes + 1
    return Windows(training.items, np.array(start), sizes, sizes - 1, ends, times=training.timestamps)


@pytest.mark.parametrize("length", [50, 4])
@pytest.mark.parametrize(("stage", "options"), [m[1:] for m in MODELS], ids=[m[0] for m in MODELS])
def test_one_pass_equals_explicit_sliding_windows(stage: str, options: dict[str, Any], length: int) -> None:
    data = small.sequences(users=25)
    model = chosen_model(data, stage, options, length).double()
    results = []
    for windows in (training_windows(data, length), explicit_windows(data, length)):
        model.zero_grad()
        loss = model.loss(windows.batch(np.arange(len(windows))))
        loss.backward()
        results.append((loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}))
    (one, ours), (other, theirs) = results
    assert one == pytest.approx(other, rel=1e-9)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 5
    for name, gradient in ours.items():
        error = (gradient - theirs[name]).norm() / theirs[name].norm().clamp_min(1e-30)
        assert error < 1e-9 or theirs[name].norm() < 1e-12, name


@pytest.mark.parametrize(("stage", "options"), [m[1:] for m in MODELS], ids=[m[0] for m in MODELS])
def test_a_later_item_does_not_change_an_earlier_state(stage: str, options: dict[str, Any]) -> None:
    data = small.sequences(users=1, shortest=9, longest=9)
    model = chosen_model(data, stage, options, 50).eval()
    changed = replace(data, items=np.where(np.arange(9) == 5, (data.items + 7) % 40, data.items))
    with torch.no_grad():
        scores = [
            model.scores(training_windows(d, 50).batch(np.arange(1)), model.item_representations())
            for d in (data, changed)
        ]
    torch.testing.assert_close(scores[0][:5], scores[1][:5])
    assert not torch.allclose(scores[0][5], scores[1][5])


@pytest.mark.parametrize(("stage", "options"), [m[1:] for m in MODELS], ids=[m[0] for m in MODELS])
def test_scores_do_not_depend_on_the_batch(stage: str, options: dict[str, Any]) -> None:
    data = small.sequences(users=20)
    model = chosen_model(data, stage, options, 50).eval()
    windows = histories(data, "test", 50)
    with torch.no_grad():
        representations = model.item_representations()
        together = torch.empty(20, 40)
        for chosen, batch in windows.in_order(10_000):
            together[torch.from_numpy(chosen)] = model.scores(batch, representations)
        alone = torch.cat([model.scores(windows.batch(np.array([user])), representations) for user in range(20)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


def reference_states(model: DeCoRec, representation: Tensor, history: Tensor) -> Tensor:
    """Last state of one sequence through torch's own transformer layer with the model's weights."""
    block: Any = model.encoder.blocks[0]
    dim = representation.shape[-1]
    layer = nn.TransformerEncoderLayer(
        dim, block.attention.heads, block.up.out_features, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True
    ).eval()
    layer.load_state_dict(
        {
            "self_attn.in_proj_weight": block.attention.qkv.weight,
            "self_attn.in_proj_bias": block.attention.qkv.bias,
            "self_attn.out_proj.weight": block.attention.out.weight,
            "self_attn.out_proj.bias": block.attention.out.bias,
            "linear1.weight": block.up.weight,
            "linear1.bias": block.up.bias,
            "linear2.weight": block.down.weight,
            "linear2.bias": block.down.bias,
            "norm1.weight": block.attention_norm.weight,
            "norm1.bias": block.attention_norm.bias,
            "norm2.weight": block.output_norm.weight,
            "norm2.bias": block.output_norm.bias,
        }
    )
    mask = nn.Transformer.generate_square_subsequent_mask(len(history))
    out: Tensor = layer(model.encoder.norm(representation[history])[None], src_mask=mask)
    return out[0, -1]


def within_each_modality(model: DeCoRec, batch: Batch) -> tuple[Tensor, Tensor]:
    """Sum over the modalities of the cross-entropy and of the softmax among the items in that modality."""
    whole = model.item_representations()
    loss, scores = torch.zeros(()), torch.zeros(len(batch.predict), whole.shape[1])
    for own in whole:
        states = model.encoder(own[None][:, batch.items], batch)[0]
        logits = states @ own.T / model.config.temperature
        loss = loss + nn.functional.cross_entropy(logits, batch.targets)
        scores = scores + torch.softmax(logits, 1)
    return loss, scores


@pytest.mark.parametrize("modalities", [["text", "image"], ["text", "image", "audio"]], ids=["two", "three"])
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_without_crossing_each_modality_retrieves_among_its_own_items(stage: str, modalities: list[str]) -> None:
    data = small.sequences(users=6)
    run = small.run(cross=False, alpha=0.3, modalities=modalities)
    apart, crossing = (small.model(data, r, stage) for r in (run, small.run(alpha=0.0, modalities=modalities)))
    assert isinstance(apart, DeCoRec)
    for parameter in apart.parameters():
        nn.init.normal_(parameter, std=0.3)
    crossing.load_state_dict(apart.state_dict())
    batch = histories(data, "test", 50).batch(np.arange(6))
    with torch.no_grad():
        loss, scores = within_each_modality(apart.eval(), batch)
        torch.testing.assert_close(apart.loss(batch), loss)
        torch.testing.assert_close(apart.scores(batch, apart.item_representations()), scores)
        other = crossing.eval()
        assert not torch.allclose(other.loss(batch), loss, rtol=0.01), "alpha = 0 is another loss"
        assert not torch.allclose(other.scores(batch, other.item_representations()), scores, rtol=0.01)


def test_without_modalities_the_ids_alone_are_a_plain_softmax() -> None:
    data = small.sequences(users=6)
    run = small.run(modalities=[])
    assert run.stages == ("fit",) and run.needs("fit") == ("graph",)
    assert run.for_stage("fit") == small.run(modalities=[], alpha=0.2, adapter="linear", freeze=False).for_stage("fit")
    alone, joint = (small.model(data, r, "fit").eval() for r in (run, small.run(phased=False, interests=False)))
    assert isinstance(alone, DeCoRec) and isinstance(joint, DeCoRec)
    names = {name for name, _ in joint.named_parameters() if not name.startswith("adapters")}
    assert {name for name, _ in alone.named_parameters()} == names, "the same ids, enrichment and encoder"
    for parameter in alone.parameters():
        nn.init.normal_(parameter, std=0.3)
    batch = histories(data, "test", 50).batch(np.arange(6))
    with torch.no_grad():
        ids, enrich = alone.ids.weight, alone.enrich_ids  # type: ignore[union-attr]
        s, total, hop = torch.stack([alone.graph(column[:, None])[:, 0] for column in torch.eye(40)], 1), ids, ids
        for layer in range(2):  # eq. 2 and 3
            gate = hop @ enrich.from_embedding[layer] + s @ enrich.from_graph[layer] + enrich.bias[layer]
            hop = s @ hop
            total = total + torch.sigmoid(gate) * hop / 2
        torch.testing.assert_close(alone.item_representations(), total[None])
        logits = alone.encoder(total[None][:, batch.items], batch)[0] @ total.T / 2.0
        torch.testing.assert_close(alone.loss(batch), nn.functional.cross_entropy(logits, batch.targets))
        torch.testing.assert_close(alone.scores(batch, total[None]), torch.softmax(logits, 1))
    groups = alone.parameter_groups(StageConfig())
    assert [group["lr"] for group in groups] == [1e-3, 1e-4], "the same rates as with modalities"


@pytest.mark.parametrize(("key", "value"), [("ids", False), ("padding_negative", True)])
def test_without_modalities_and_ids_there_is_nothing_to_recommend_by(key: str, value: bool) -> None:
    with pytest.raises(ValidationError, match=rf"model.modalities is empty, expected model.{key}"):
        small.run(modalities=[], **{key: value})


@pytest.mark.parametrize("cross", [True, False])
def test_eq_17_on_logits(cross: bool) -> None:
    data = small.sequences(users=6)
    model = small.model(data, small.run(scoring="logits", alpha=0.3, cross=cross), "stage2").eval()
    assert isinstance(model, DeCoRec)
    batch = histories(data, "test", 50).batch(np.arange(6))
    with torch.no_grad():
        text, image = whole = model.item_representations()
        of_text, of_image = (model.encoder(own[None][:, batch.items], batch)[0] / 2.0 for own in whole)
        expected = of_text @ text.T + of_image @ image.T
        if cross:
            expected += 0.3 * (of_text @ image.T + of_image @ text.T)
        torch.testing.assert_close(model.scores(batch, whole), expected)
        softmax = small.model(data, small.run(alpha=0.3, cross=cross), "stage2").eval()
        torch.testing.assert_close(softmax.loss(batch), model.loss(batch), rtol=0, atol=0)


def test_alpha_has_no_effect_without_crossing() -> None:
    apart = small.run(cross=False, alpha=0.3)
    for stage in ("stage1", "stage2"):
        assert apart.for_stage(stage) == small.run(cross=False).for_stage(stage)
        assert small.run(alpha=0.3).for_stage(stage).model.alpha == 0.3
    assert "cross" not in small.run().dump()["model"], "the tracked values of runs that had no such key stay the same"


@pytest.mark.parametrize("modalities", [["text", "image"], ["text", "image", "audio"]], ids=["two", "three"])
def test_loss_and_scores_of_decorec_follow_equations_10_to_18(modalities: list[str]) -> None:
    data = small.sequences(users=6)
    run = small.run(alpha=0.3, modalities=modalities)
    model = small.model(data, run, "stage2").eval()
    assert isinstance(model, DeCoRec)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    item_data = model.item_data
    shape = (40, 40)
    graph = torch.sparse_csr_tensor(
        item_data["graph.crow"], item_data["graph.col"], item_data["graph.values"], shape, check_invariants=True
    ).to_dense()

    def enriched(x: Tensor, module: Any) -> Tensor:
        total, hop = x, x
        for layer in range(module.layers):
            gate = torch.sigmoid(
                torch.cat([hop, graph], 1) @ torch.cat([module.from_embedding[layer], module.from_graph[layer]])
                + module.bias[layer]
            )
            hop = graph @ hop
            total = total + gate * hop / module.layers
        return total

    with torch.no_grad():
        assert model.ids is not None and model.interests is not None
        whole = []
        for name in modalities:
            adapter: Any = model.adapters[name]
            modal = enriched(adapter.project(item_data[f"features.{name}"]), adapter.enrich)
            table: Any = model.interests[name]
            interest = table.mlp(table.table.weight)[item_data[f"interests.{name}"]]
            whole.append(modal + enriched(model.ids.weight, model.enrich_ids) + interest)
        torch.testing.assert_close(model.item_representations(), torch.stack(whole), rtol=1e-4, atol=1e-5)
        windows = histories(data, "test", 50)
        for user in range(6):
            batch = windows.batch(np.array([user]))
            expected, loss, target = torch.zeros(40), torch.zeros(()), int(batch.targets)
            for m in range(len(modalities)):
                state = reference_states(model, whole[m], batch.items)
                logits = torch.cat(whole) @ state / 2.0
                softmax = torch.softmax(logits, 0).view(-1, 40)
                weight = torch.full((len(modalities), 1), 0.3).index_fill_(0, torch.tensor(m), 1.0)
                expected += (weight * softmax).sum(0)
                own = weight[:, 0] * logits.view(-1, 40)[:, target]
                loss += torch.logsumexp(logits, 0) - torch.logsumexp(own, 0)
            torch.testing.assert_close(model.loss(batch), loss, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(
                model.scores(batch, model.item_representations())[0], expected, rtol=1e-3, atol=1e-6
            )


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


@pytest.mark.parametrize("slice_size", [1, 40 * 17, 1 << 18])
def test_sparse_product_in_slices_equals_the_dense_one(slice_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "SLICE", slice_size)
    torch.manual_seed(0)
    dense = torch.randn(40, 40).double() * (torch.rand(40, 40) < 0.2)
    matrix = dense.to_sparse_csr()
    propagation = sparse.Propagation(matrix.crow_indices(), matrix.col_indices(), matrix.values())
    x = torch.randn(40, 50, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(40, 50, dtype=torch.float64)
    out = propagation(x)
    torch.testing.assert_close(out, dense @ x)
    (gradient,) = torch.autograd.grad((out * weight).sum(), x)
    torch.testing.assert_close(gradient, dense.T @ weight)


def test_one_stage_trains_ids_interests_and_adapters_together() -> None:
    data = small.sequences()
    model = small.model(data, small.run(phased=False), "fit")
    trainable = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == {"adapters", "encoder", "ids", "enrich_ids", "interests"}


@pytest.mark.parametrize("name", [name for name in REGISTERED if name not in small.FLOORS])
def test_a_section_says_whether_a_step_reads_the_items_before_each_prediction_anew(name: str) -> None:
    """In one pass over a sequence nearly every item that is read has a prediction."""
    data = small.sequences(users=20, shortest=40, longest=40)
    for samples in ("sequences", "prefixes"):
        run = small.run(name=name)
        model = small.model(data, run, run.stages[-1])
        train = run.train.stage(run.stages[-1]).model_copy(update={"samples": samples})
        batches = list(model.samples(data, train).epoch(100, torch.Generator().manual_seed(0)))
        read, predicted = (sum(map(len, each)) for each in zip(*((b.items, b.predict) for b in batches), strict=True))
        expected = run.model.reads_prefixes or samples == "prefixes"
        assert (read > 2 * predicted) == expected, (read, predicted)
