"""``train.start``: a training that begins with the parameters of an earlier checkpoint, of other items or not.

Parameters are taken, whole or row by row: a row of a table over the items goes by the id of its item, and what is new
keeps its initial value. Buffers are not: graph, counts and clusters are those of the new data.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from decorec.artifacts.seal import place_in, provenance
from decorec.data.id_codes import codes_in
from decorec.errors import DecorecError
from decorec.models import checkpoint
from decorec.models.base import Recommender
from decorec.models.checkpoint import Checkpoint

__all__ = ["start_warm"]

log = logging.getLogger("decorec")
REMEDY = "name a checkpoint of this run, or take train.start out"


def start_warm(model: Recommender, items: list[str], weights: Path, config: Path, holds_out: bool) -> None:
    """Give ``model`` the parameters of an earlier checkpoint of the same model.

    Args:
        model: freshly initialised, of any of its stages.
        items: its item ids in the order of their index.
        weights: model.safetensors of the checkpoint (read): of the same stage, or of the last one.
        config: config.json of the checkpoint (read).
        holds_out: whether interactions are held out of this training for validation and test.

    Raises:
        DecorecError: another model, other shapes, none of the items, features by another encoder, or a checkpoint that
            has seen what is held out.
    """
    if holds_out and "/production/" in place_in(weights):
        raise DecorecError(
            f"{weights}: expected a model whose training held out each customer's last purchases, found the model for "
            "production, which has seen them: no metric of this run would be true; name the folder of the run"
        )
    with provenance():  # of its own: an earlier checkpoint was made from earlier files
        earlier = checkpoint.load(weights, config)
    _expect_same_model(model, earlier, weights)
    positions = torch.tensor(codes_in(pl.Series(items), pl.Series(earlier.items)))
    known = int((positions >= 0).sum())
    if not known:
        raise DecorecError(f"{weights}: expected a model of the same shop, found none of its items in it; {REMEDY}")
    _expect_same_features(model, earlier, positions, weights)
    own, other = dict(model.named_parameters()), dict(earlier.model.named_parameters())
    rows = model.counterparts(earlier.model, positions)
    _expect_same_shapes(own, other, rows, weights)
    with torch.no_grad():
        for name, parameter in own.items():
            axis, places = rows.get(name, (0, torch.arange(len(parameter) if parameter.ndim else 0)))
            _take(parameter, other[name], axis, places)
    log.info("%s: %d of %d items start as they are there, the others anew", weights, known, len(items))


def _take(parameter: Tensor, source: Tensor, axis: int, places: Tensor) -> None:
    """Copy row ``places[i]`` along ``axis`` of ``source`` to row i; rows with place -1 stay."""
    if not parameter.ndim:
        parameter.copy_(source)
        return
    rows = torch.nonzero(places >= 0)[:, 0]
    found = source.index_select(axis, places[rows]).to(parameter.device)
    parameter.index_copy_(axis, rows.to(parameter.device), found)


def _expect_same_model(model: Recommender, earlier: Checkpoint, weights: Path) -> None:
    found = earlier.run.model.name
    if found != model.config.name:
        raise DecorecError(f"{weights}: expected a checkpoint of {model.config.name}, found one of {found}; {REMEDY}")
    stages = dict.fromkeys((model.stage, earlier.run.stages[-1]))
    if earlier.stage not in stages:
        raise DecorecError(
            f"{weights}: expected a checkpoint of {' or '.join(stages)}, found one of {earlier.stage}; {REMEDY}"
        )


def _expect_same_features(model: Recommender, earlier: Checkpoint, positions: Tensor, weights: Path) -> None:
    """Refuse features of another encoder; a few items may have got another text or picture."""
    rows = torch.nonzero(positions >= 0)[:, 0]
    then = earlier.model.item_data
    for name, features in model.item_data.tensors().items():
        if not name.startswith("features.") or name not in then or then[name].shape[1] != features.shape[1]:
            continue
        changed = (features.cpu()[rows] != then[name][positions[rows]]).any(1)
        if changed.float().mean() > 0.5:
            raise DecorecError(
                f"{weights}: expected a model that knows the {name} of its items, found other ones for "
                f"{int(changed.sum())} of {len(rows)} items: another encoder has made them; pin the encoder "
                "(features.encoder: a copy of results/DATASET/encoder.safetensors), or take train.start out"
            )


def _expect_same_shapes(
    own: Mapping[str, Tensor], other: Mapping[str, Tensor], rows: Mapping[str, tuple[int, Tensor]], weights: Path
) -> None:
    """All parameters of this model are in the earlier one, with the same shape but for the number of rows."""
    wrong = []
    for name, parameter in own.items():
        if name not in other:
            wrong.append(f"{name} (not there)")
            continue
        here, there = list(parameter.shape), list(other[name].shape)
        if name in rows:
            axis = rows[name][0]
            here, there = here[:axis] + here[axis + 1 :], there[:axis] + there[axis + 1 :]
        if here != there:
            wrong.append(f"{name} ({list(other[name].shape)} there, {list(parameter.shape)} here)")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise DecorecError(
            f"{weights}: expected the parameters of this run, found a difference in {', '.join(wrong[:3])}{more}; "
            "give the run the values of the section model that the checkpoint was trained with, or take train.start out"
        )
