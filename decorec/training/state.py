"""Everything that changes during a training, so that another process can continue it.

A state is taken before a batch: after the work at the start of its epoch, and never between the last batch of an epoch
and the validation. Whatever follows is then the same, bit for bit, in this process and in another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from decorec.config.training import StageConfig
from decorec.data.batches import Batch, Samples
from decorec.models.base import Recommender
from decorec.training.early_stopping import Best
from decorec.training.ema import ExponentialMovingAverage
from decorec.training.optimizer import build_optimizer
from decorec.training.ranks import ALONE, Ranks

__all__ = ["TrainingState"]

Arrays = dict[str, npt.NDArray[Any]]
FACTS = ("epoch", "batch", "step", "weight", "history")


class TrainingState:
    """A training at one of its batches.

    All random numbers of a training come from torch: from its global generators (dropout, clusters), from ``order``
    (order of the samples, masks) and from the generator of the model's sampler. Of several processes that train
    together, each has global generators of its own; everything else is the same in all of them.
    """

    def __init__(self, model: Recommender, config: StageConfig, seed: int, ranks: Ranks = ALONE) -> None:
        self.model, self.config, self.ranks = model, config, ranks
        self.adam = build_optimizer(model, config)
        self.average = ExponentialMovingAverage(model, config.averaging) if config.averaging else None
        self.order = torch.Generator().manual_seed(seed)
        self.best = Best(-1, -np.inf, {})
        self.history: list[dict[str, Any]] = []
        self.epoch = -1
        """The epoch that has begun; -1 before the first one."""
        self.batch = self.step = 0
        """Batches of this epoch and steps of all epochs that are done."""
        self.weight = 0.0
        """What the predictions of this epoch weigh together (``Batch.weight``)."""
        self.total = torch.zeros((), device=model.item_data.device)
        """Sum of their losses, each with its weight."""
        self._order_at_start = self.order.get_state()

    def begin(self, epoch: int) -> None:
        """Do what comes before the first batch of an epoch."""
        if self.config.restart and epoch:
            self.adam = build_optimizer(self.model, self.config)
        self.ranks.before_epoch(self.model)
        self.epoch, self.batch, self.weight = epoch, 0, 0.0
        self.total = torch.zeros_like(self.total)
        self._order_at_start = self.order.get_state()

    def batches(self, samples: Samples) -> Iterator[Batch]:
        """The batches of this epoch that are not done yet; those that are done are drawn again and left out."""
        return islice(samples.epoch(self.config.batch_size, self.order), self.batch, None)

    def count(self, batch: Batch, loss: Tensor) -> None:
        """Note that a step with ``batch`` is done; ``loss`` is its mean loss."""
        self.total += batch.weight * loss
        self.weight += batch.weight
        self.batch += 1
        self.step += 1

    def arrays(self) -> Arrays:
        """The tensors of the state; on the CPU they are not copied."""
        groups: dict[str, Mapping[Any, Tensor]] = {
            "model": self.model.own_state(),
            "best": self.best.weights,
            "average": dict(enumerate(self.average.tensors if self.average is not None else ())),
            "seen": self.average.seen if self.average is not None else {},
            "adam": {
                f"{index}.{name}": tensor
                for index, moments in self.adam.state_dict()["state"].items()
                for name, tensor in moments.items()
            },
            "gradient": {index: p.grad for index, p in enumerate(self._never_cleared()) if p.grad is not None},
            "random": self.ranks.states(self._generators()),
            "epoch": {"loss": self.total, "order": self._order_at_start},
        }
        return {
            f"{group}.{name}": tensor.detach().cpu().numpy()
            for group, tensors in groups.items()
            for name, tensor in tensors.items()
        }

    def facts(self) -> dict[str, Any]:
        """The rest of the state, as values for JSON."""
        return {name: getattr(self, name) for name in FACTS} | {"best": [self.best.epoch, self.best.value]}

    def restore(self, arrays: Arrays, facts: Mapping[str, Any]) -> None:
        """Become the state with these ``arrays`` and ``facts``; this one is the same training, not begun."""
        groups: dict[str, dict[str, Tensor]] = {}
        for name, array in arrays.items():
            group, _, rest = name.partition(".")
            groups.setdefault(group, {})[rest] = torch.from_numpy(array)
        for name in FACTS:
            setattr(self, name, facts[name])
        own = self.model.own_state()
        self.model.load_state_dict({name: _like(own[name], x) for name, x in groups["model"].items()}, strict=False)
        epoch, value = facts["best"]
        self.best = Best(epoch, value, {name: _like(own[name], x) for name, x in groups.get("best", {}).items()})
        if self.average is not None and "average" in groups:
            parameters = enumerate(self.average.parameters)
            self.average.tensors = [_like(p, groups["average"][str(index)]) for index, p in parameters]
            self.average.seen = {
                int(index): seen.to(self.total.device) for index, seen in groups.get("seen", {}).items()
            }
            self.average.updates = self.step
        self._restore_adam(groups.get("adam", {}))
        for index, parameter in enumerate(self._never_cleared()):
            if (gradient := groups.get("gradient", {}).get(str(index))) is not None:
                parameter.grad = _like(parameter, gradient)
        self.total = _like(self.total, groups["epoch"]["loss"])
        self._order_at_start = groups["epoch"]["order"]
        for name, generator in self._generators().items():
            generator.set_state(groups["random"][self.ranks.own(name)])
        self.order.set_state(self._order_at_start)

    def _parameters(self) -> list[nn.Parameter]:
        """In the order in which the optimizer numbers them."""
        return [parameter for group in self.adam.param_groups for parameter in group["params"]]

    def _never_cleared(self) -> list[nn.Parameter]:
        """Parameters whose gradients pile up over the steps (see ``train_step``)."""
        stale = [group for group in self.adam.param_groups if self.config.stale_gradients and not group["base_lr"]]
        return [parameter for group in stale for parameter in group["params"]]

    def _generators(self) -> dict[str, torch.Generator]:
        """Those whose numbers depend on the steps done; ``order`` is drawn from again instead (see ``batches``)."""
        found = {"cpu": torch.default_generator}
        if self.total.device.type == "cuda":
            found["cuda"] = torch.cuda.default_generators[torch.cuda.current_device()]
        if self.model.sampler is not None:
            found["negatives"] = self.model.sampler.generator
        return found

    def _restore_adam(self, tensors: Mapping[str, Tensor]) -> None:
        state = self.adam.state_dict()
        parameters = self._parameters()
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            index, _, kind = name.partition(".")
            parameter = parameters[int(index)]
            of_elements = tensor.shape == parameter.shape  # others are of the whole parameter, or of its rows
            moments.setdefault(int(index), {})[kind] = _like(parameter, tensor) if of_elements else tensor
        self.adam.load_state_dict({**state, "state": moments})


def _like(target: Tensor, values: Tensor) -> Tensor:
    """A new tensor with ``values``, with the shape, the layout in memory, the type and the device of ``target``."""
    return torch.empty_like(target).copy_(values.reshape(target.shape))
