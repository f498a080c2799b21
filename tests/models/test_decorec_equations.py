"""Loss and scores of DeCoRec (eq. 10 to 18), with all modalities, apart and without any, against plain formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from decorec.config.training import StageConfig
from decorec.data.batches import Batch, histories
from decorec.models.decorec import DeCoRec
from tests.support import small


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
