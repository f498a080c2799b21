"""What differs between a training in one process and one in several (ranks), which share the users of every batch and
divide the items among them.

Every rank has the whole model, draws the same batches and negatives, and makes the same updates. It computes its part
of the loss of a batch, from its share of the users and, where a model's can be divided, its share of the items; the sum
of the parts, and that of their gradients, is what one process computes. Dropout is drawn by each rank for itself.
Validation is shared in the same way, and its figures are the same on all ranks, so that all decide alike. The first
rank alone writes files and messages.

``ALONE`` is the one process: it hands everything through.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from decorec import gpus
from decorec.artifacts import step_log
from decorec.artifacts.resume import Keeper, Resumable
from decorec.artifacts.step_log import Used
from decorec.config.training import StageConfig
from decorec.data.batches import Batch, share
from decorec.data.sequences import Sequences
from decorec.data.transfer import moved
from decorec.errors import DecorecError
from decorec.evaluation.rank_metrics import Ranks as Places
from decorec.models.base import Recommender
from decorec.models.sampled import SampledRecommender
from decorec.nn.division import Division
from decorec.training.allocation import interface_to

__all__ = ["ALONE", "LostError", "Meeting", "Ranks", "SharedKeeper", "SharedRanks", "here", "join"]

Meeting = Path | tuple[str, int]
"""Where ranks find each other: a file that does not exist yet, on one machine; on several, the address and the port of
a server that runs."""

PATIENCE = timedelta(days=30)
"""How long a rank waits for the others. Their end is noticed otherwise (``decorec.training.launch``), and one may take
long, as while it writes a large state."""


class LostError(Exception):
    """The other ranks do not answer: one has ended, and that is the failure to tell of."""


class Ranks:
    """One process."""

    number, count = 0, 1
    """Of this rank, from 0; and of all."""

    def expect_known(self, model: Recommender, config: StageConfig) -> None:
        """Refuse a loss of which the ranks cannot compute shares."""

    def seed(self, seed: int) -> int:
        """The seed of what this rank draws for itself."""
        return seed

    def before_epoch(self, model: Recommender) -> None:
        """The model's work before an epoch, with the same result on all ranks."""
        model.before_epoch()

    def loss(self, model: Recommender, batch: Batch) -> Tensor:
        """This rank's part of the mean loss of a batch: the parts of all add up to it. Without gradient: no part."""
        return model.loss(batch.to(model.item_data.device))

    def whole(self, loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Add up the parts of the loss, which is returned, and of the gradients."""
        return loss.detach()

    def users(self, sequences: Sequences) -> Sequences:
        """Those that this rank ranks items for."""
        return sequences

    def places(self, found: Places, users: int) -> Places:
        """Where the targets of all ``users`` stand, from where those of this rank's users do."""
        return found

    def total(self, value: float) -> float:
        """The sum of the values of all ranks."""
        return value

    def states(self, generators: dict[str, torch.Generator]) -> dict[str, Tensor]:
        """The states of the generators, of all ranks; ``own`` finds those of this one."""
        return {self.own(name): generator.get_state() for name, generator in generators.items()}

    def own(self, name: str) -> str:
        """The name of this rank's state of the generator ``name``."""
        return name

    def keeper(self, path: Path, key: str) -> Keeper:
        """Keeps the state of a training."""
        return Keeper(path, key)


ALONE = Ranks()
_here = ALONE


def here() -> Ranks:
    """What this process is."""
    return _here


class SharedRanks(Ranks):
    """One of several processes."""

    def __init__(self, number: int, count: int, here: int | None = None, told: Sequence[int] = ()) -> None:
        self.number, self.count = number, count
        self.place = number % (here or count)
        """Its number among those on its machine, of which there are ``here``."""
        self.told = told
        """The signals that have asked the job to end; the first rank alone is told (``decorec.training.launch``)."""

    def expect_known(self, model: Recommender, config: StageConfig) -> None:
        """Refuse a loss that is no mean over predictions.

        Raises:
            DecorecError: names key and model.
        """
        if (reason := model.why_not_shared(config)) is not None:
            raise DecorecError(
                f"train.devices: expected 1, the only value that {model.config.name} supports {reason}, found "
                f"{self.count}; remove it from this model's run"
            )

    def seed(self, seed: int) -> int:
        """That of the first rank is the seed itself."""
        return seed if self.number == 0 else int(np.random.SeedSequence((seed, self.number)).generate_state(1)[0])

    def before_epoch(self, model: Recommender) -> None:
        """The first rank does it, with its own random numbers, and the others take over what it has changed."""
        if self.number == 0:
            model.before_epoch()
        parameters = {name for name, _ in model.named_parameters()}
        with _together():
            for name, tensor in model.own_state().items():
                if name not in parameters and not name.startswith("experts."):
                    distributed.broadcast(tensor, 0)

    def loss(self, model: Recommender, batch: Batch) -> Tensor:
        """Of a model whose items can be divided: see ``divided_loss``.

        Otherwise the mean over its share, over all items, weighted by what the share weighs in the batch.
        """
        part, device = share(batch, self.number, self.count), model.item_data.device
        count = model.item_data.item_count
        if isinstance(model, SampledRecommender) and model.can_be_divided and count >= self.count:
            (read,) = moved((torch.unique(batch.items),), device)
            part = _without_targets(batch) if part is None else part
            return model.divided_loss(part.to(device), read, _SharedItems(self.number, self.count, count))
        if part is None:
            model.sampled_negatives()  # drawn as on the other ranks, whose next draw is the same again
            return torch.zeros((), device=device)
        return model.loss(part.to(device)) * (part.weight / batch.weight)

    def whole(self, loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
        """A parameter without a gradient on any rank, which the optimizer leaves as it is, has none.

        Dense gradients are one message, with the loss; of a sparse one the rows of all ranks are brought together.
        """
        rows = self._rows(parameters)
        dense = [parameter for parameter, own in zip(parameters, rows, strict=True) if min(own) < 0]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in dense]
        kind = parameters[0].dtype
        message = torch.cat([*(gradient.flatten() for gradient in gradients), loss.detach().to(kind).view(1)])
        with _together():
            distributed.all_reduce(message)
        *sums, summed = torch.split(message, [*(gradient.numel() for gradient in gradients), 1])
        for parameter, total in zip(dense, sums, strict=True):
            parameter.grad = total.view_as(parameter)
        for parameter, own in zip(parameters, rows, strict=True):
            if max(own) > 0:
                self._bring_together(parameter, own)
        return summed[0]

    def _rows(self, parameters: Sequence[nn.Parameter]) -> list[list[int]]:
        """For each parameter, of each rank: rows of its sparse gradient; -1 for a dense one, 0 for none."""
        found = []
        for parameter in parameters:
            gradient = parameter.grad
            found.append(0 if gradient is None else len(gradient.values()) if gradient.is_sparse else -1)
        own = torch.tensor(found)
        each = [torch.empty_like(own) for _ in range(self.count)]
        with _together():
            distributed.all_gather(each, own)
        return torch.stack(each, 1).tolist()

    def _bring_together(self, parameter: nn.Parameter, counts: Sequence[int]) -> None:
        """Sum the ranks' sparse gradients of a parameter, which have ``counts`` rows."""
        width = parameter.shape[1:]
        indices = torch.zeros(max(counts), dtype=torch.int64, device=parameter.device)  # all of one length
        values = parameter.new_zeros(max(counts), *width)
        if parameter.grad is not None:
            indices[: counts[self.number]] = parameter.grad.indices()[0]
            values[: counts[self.number]] = parameter.grad.values()
        parts: list[Tensor] = []
        for own in (indices, values):
            each = [torch.empty_like(own) for _ in counts]
            with _together():
                distributed.all_gather(each, own)
            parts.append(torch.cat([part[:count] for part, count in zip(each, counts, strict=True)]))
        parameter.grad = torch.sparse_coo_tensor(parts[0][None], parts[1], parameter.shape).coalesce()

    def users(self, sequences: Sequences) -> Sequences:
        """Every ``count``-th."""
        return sequences.of(np.arange(self.number, len(sequences.users), self.count))

    def places(self, found: Places, users: int) -> Places:
        """Each rank fills in its own."""
        both = torch.zeros(2, users, dtype=torch.int64)
        both[:, self.number :: self.count] = torch.from_numpy(np.stack([found.higher, found.equal]))
        with _together():
            distributed.all_reduce(both)
        return Places(*both.numpy())

    def total(self, value: float) -> float:
        """In float64."""
        summed = torch.tensor(value, dtype=torch.float64)
        with _together():
            distributed.all_reduce(summed)
        return float(summed)

    def states(self, generators: dict[str, torch.Generator]) -> dict[str, Tensor]:
        """All ranks have to call it."""
        found: dict[str, Tensor] = {}
        for name, generator in generators.items():
            own = generator.get_state()
            each = [torch.empty_like(own) for _ in range(self.count)]
            with _together():
                distributed.all_gather(each, own)
            found |= {_of(name, number): state for number, state in enumerate(each)}
        return found

    def own(self, name: str) -> str:
        """The first rank's has the name itself."""
        return _of(name, self.number)

    def keeper(self, path: Path, key: str) -> Keeper:
        """One file for all ranks."""
        return SharedKeeper(path, key, self)

    def agreed(self, value: int) -> int:
        """The value of the first rank."""
        said = torch.tensor(value)
        with _together():
            distributed.broadcast(said, 0)
        return int(said)


class _SharedItems(Division):
    """Divided among the ranks."""

    def total(self, x: Tensor) -> Tensor:
        with _together():
            distributed.all_reduce(x)
        return x

    def largest(self, x: Tensor) -> Tensor:
        with _together():
            distributed.all_reduce(x, distributed.ReduceOp.MAX)
        return x


def _without_targets(batch: Batch) -> Batch:
    """A sequence that weighs nothing, for a rank that has none and takes part in what all exchange."""
    first = share(batch, 0, len(batch.items))
    assert first is not None
    return replace(first, targets=torch.full_like(first.targets, -1))


def _of(name: str, number: int) -> str:
    return f"{name}.{number}" if number else name


class SharedKeeper(Keeper):
    """The first rank decides when to save, and writes; all ranks take the same state up again."""

    def __init__(self, path: Path, key: str, ranks: SharedRanks) -> None:
        super().__init__(path, key)
        self.ranks = ranks

    def restore(self, now: Resumable) -> None:
        """The first rank first: it sets a damaged file aside."""
        if self.ranks.number:
            self.ranks.agreed(0)
        super().restore(now)
        if not self.ranks.number:
            self.ranks.agreed(0)

    def _wish(self) -> int | None:
        asked = self.ranks.told[0] if self.ranks.told else super()._wish()
        agreed = self.ranks.agreed(-1 if asked is None else asked)
        return None if agreed < 0 else agreed

    def _write(self, now: Resumable) -> None:
        if self.ranks.number:
            now.arrays()  # the first rank's has the random numbers of all
            self._used()
        else:
            super()._write(now)

    def _used(self) -> Used:
        """Of all ranks, which all have to call it, with what it took to start them."""
        step = step_log.current()
        own = Used.so_far(step.start)
        parent = multiprocessing.parent_process()
        started_by = {parent.pid, os.getppid()} if parent is not None and not self.ranks.place else set()
        processor = own.processor_seconds + sum(step_log.processor_seconds(one) for one in started_by if one)
        return step.earlier + Used(own.seconds, self.ranks.total(processor), self.ranks.total(own.memory))

    def remove(self) -> None:
        """By the first rank."""
        if not self.ranks.number:
            super().remove()


def join(number: int, count: int, here: int, meeting: Meeting, told: Sequence[int] = ()) -> SharedRanks:
    """Make this process a rank; returns when all have come.

    Args:
        number: of the rank.
        count: of all ranks.
        here: number of the ranks on this machine, whose numbers follow each other.
        meeting: of which all ranks know.
        told: where the signals that ask the job to end are noted for the first rank.

    Raises:
        DecorecError: there are GPUs, but fewer than ranks.
    """
    global _here
    backend = "gloo"
    joined = SharedRanks(number, count, here, told)
    if gpus.device().type == "cuda":
        if (there := torch.cuda.device_count()) < here:
            raise DecorecError(
                f"train.devices: expected no more than the GPUs that this job can use, {there}, found {here}; lower "
                "it, or train on processors (CUDA_VISIBLE_DEVICES=)"
            )
        torch.cuda.set_device(joined.place)
        backend = "cpu:gloo,cuda:nccl"
    with _together():
        if isinstance(meeting, Path):
            where: dict[str, Any] = {"init_method": meeting.as_uri()}
            interface = "lo"
        else:
            where = {"store": TCPStore(*meeting, is_master=False, timeout=PATIENCE)}
            interface = interface_to(meeting[0])
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        distributed.init_process_group(backend, rank=number, world_size=count, timeout=PATIENCE, **where)
    if number:
        logging.getLogger("decorec").setLevel(logging.ERROR)  # the first rank speaks for all
    _here = joined
    return _here


@contextmanager
def _together() -> Iterator[Any]:
    """Around what all ranks do at once: torch has one exception for whatever goes wrong there."""
    try:
        yield
    except RuntimeError as error:
        raise LostError(str(error)) from error
