"""Several processes compute what one does, are ended together, and continue together."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from decorec.artifacts import resume, step_log
from decorec.artifacts.files import read_arrays
from decorec.artifacts.step_log import Used
from decorec.config.runs import Run, with_values
from decorec.data.batches import share
from decorec.errors import DecorecError
from decorec.models.registry import MODELS
from decorec.nn import losses
from decorec.nn.sampled_softmax import Sampler
from decorec.training import launch, members
from decorec.training.ema import ExponentialMovingAverage
from decorec.training.launch import together
from decorec.training.loop import train_step, validate
from decorec.training.optimizer import build_optimizer
from decorec.training.ranks import LostError, Ranks, SharedKeeper, SharedRanks, here
from decorec.training.steps import train
from tests.support import small
from tests.support.stopped import when_logged
from tests.training.test_resume import arguments, contents, places, run_of

BATCH = 14
"""Predictions of a batch: two or three sequences, so that one of three processes has sometimes none."""
EACH: list[tuple[str, str, dict[str, Any]]] = [
    (name, "fit", {}) for name in MODELS if name not in ("decorec", "hm4sr", *small.FLOORS)
]
CASES = [
    ("decorec", "stage1", {}),
    ("decorec", "stage2", {}),
    *EACH,
    ("hm4sr", "fit", {"model.auxiliary": 0.0, "train.negatives": 20}),
    ("sasrec", "fit", {"train.horizon": 3, "train.clip": 0.01}),
    ("decorec", "stage1", {"train.horizon": 4, "train.negatives": 20}),
    (
        "decorec",
        "stage2",
        {"train.stale_gradients": True, "train.id_learning_rate": 0.0},
    ),
    ("decorec", "stage1", {"model.cross": False, "train.samples": "prefixes"}),
    ("decorec", "stage1", {"train.horizon": 4, "model.modal_layers": 2, "model.alpha": 0.3}),
    ("decorec", "stage2", {"train.horizon": 3, "model.freeze": False, "model.similarity": "cosine"}),
]
EVERY = list(range(len(CASES)))
MOST_DIFFERENT = [0, 1, 2, *EVERY[-7:]]
WITHOUT_NOISE = {"unisrec"}
"""Models that draw numbers also without dropout."""


@contextmanager
def no_noise(name: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if name in WITHOUT_NOISE:
            patch.setattr(torch, "randn_like", torch.zeros_like)
        yield


def computed(case: tuple[str, str, dict[str, Any]], ranks: Ranks) -> dict[str, torch.Tensor]:
    """Losses and gradients of an epoch's batches, figures of validation, and what two steps make of the weights."""
    name, stage, values = case
    run = with_values(small.run(name=name), values)
    config, data = run.train.stage(stage), small.sequences(users=13)
    model = small.model(data, run, stage).double()
    if config.negatives != "all":
        model.sampler = Sampler(data.training().items, 40, config.negatives, 0)
    adam = build_optimizer(model, config)
    torch.manual_seed(ranks.seed(0))
    model.observe(data.training())
    ranks.before_epoch(model)
    found: dict[str, torch.Tensor] = {name: tensor.clone() for name, tensor in model.named_buffers()}
    batches = list(islice(model.samples(data, config).epoch(BATCH, torch.Generator().manual_seed(0)), 2))
    single = share(batches[0], 0, 100)  # one sequence: all ranks but one have no part of it
    assert single is not None
    batches.append(single)
    with no_noise(name):
        for number, batch in enumerate(batches):
            found[f"loss {number}"] = train_step(model, batch, adam, config, 0.0, ranks=ranks)
            for key, parameter in model.named_parameters():
                gradient = torch.full((), torch.nan) if parameter.grad is None else parameter.grad.clone()
                if gradient.is_sparse:
                    found[f"rows {number} {key}"], gradient = gradient.indices(), gradient.to_dense()
                found[f"gradient {number} {key}"] = gradient
        for users in (13, 2):
            for key, value in validate(model, data.of(np.arange(users)), "loss", ranks).items():
                found[f"{key} of {users}"] = torch.tensor(value, dtype=torch.float64)
        if model.sampler is not None:
            found["next draw"] = model.sampler.generator.get_state()
        average = ExponentialMovingAverage(model, 0.9)
        for batch in batches:
            train_step(model, batch, adam, config, 1.0, None, average, ranks)
    found |= {f"weights {name}": p.detach() for name, p in model.named_parameters()}
    return found | {f"weights averaged {number}": tensor for number, tensor in enumerate(average.tensors)}


def compute(*, folder: Path, cases: list[int], threads: int) -> None:
    """Some of the cases, in a process of several, where the loss is computed in blocks of a few rows."""
    losses.ROWS_AT_ONCE = 8
    torch.set_num_threads(threads)
    for number in cases:
        torch.save(computed(CASES[number], here()), folder / f"{here().number}.{number}")


@pytest.mark.parametrize(("count", "cases"), [(2, EVERY), (3, MOST_DIFFERENT)])
def test_loss_and_gradients_of_a_batch_are_those_of_one_process(count: int, cases: list[int], tmp_path: Path) -> None:
    together(compute, count, {"folder": tmp_path, "cases": cases, "threads": count})
    for number in cases:
        case, alone = CASES[number], computed(CASES[number], Ranks())
        first, *others = (torch.load(tmp_path / f"{rank}.{number}") for rank in range(count))
        for other in others:
            assert [name for name, x in first.items() if not torch.equal(other[name], x) and not x.isnan().all()] == []
        for name, expected in alone.items():
            if not name.startswith("weights"):  # Adam makes steps of rounding where a gradient is zero
                found = first[name].to(expected.dtype)
                assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12, equal_nan=True), (case, name)


def test_shares_of_a_batch_are_the_batch() -> None:
    data = small.sequences()
    model = small.model(data, run := small.run(name="sasrec"), "fit")
    config = run.train.stage("fit").model_copy(update={"horizon": 3})
    for batch in model.samples(data, config).epoch(40, torch.Generator().manual_seed(0)):
        shares = [part for number in range(3) if (part := share(batch, number, 3)) is not None]
        assert sum(part.weight for part in shares) == pytest.approx(batch.weight)
        for column in ("items", "targets", "times", "users"):
            whole, parts = getattr(batch, column), torch.cat([getattr(part, column) for part in shares])
            assert sorted(whole.tolist()) == sorted(parts.tolist())
        assert {group.width for part in shares for group in part.groups} <= set(range(1, 13))


WHOLE = [
    ("decorec", "stage1", {"model.padding_negative": True}, 2),
    ("sasrec-features", "fit", {"model.fusion": "concat", "model.sides": "history"}, 2),
    ("sasrec", "fit", {}, 41),
]


@pytest.mark.parametrize(("name", "stage", "values", "count"), WHOLE)
def test_items_that_cannot_be_divided_are_whole_in_every_rank(
    name: str, stage: str, values: dict[str, Any], count: int
) -> None:
    """There is no other process here: an exchange would fail."""
    run, data = with_values(small.run(name=name), values), small.sequences()
    model = small.model(data, run, stage)
    (batch, *_) = model.samples(data, run.train.stage(stage)).epoch(400, torch.Generator().manual_seed(0))
    part = share(batch, 1, count)
    assert part is not None
    with torch.no_grad():
        assert SharedRanks(1, count).loss(model, batch) == model.loss(part) * (part.weight / batch.weight)


REFUSED = [
    ("hm4sr", {}, "the only value that hm4sr supports with model.auxiliary above 0, found 2"),
    ("missrec", {"train.horizon": 2}, "the only value that missrec supports with train.horizon above 1, found 2"),
    ("dimo", {"train.horizon": 2}, "the only value that dimo supports with train.horizon above 1, found 2"),
]


@pytest.mark.parametrize(("name", "values", "message"), REFUSED)
def test_a_loss_that_cannot_be_shared_is_refused(name: str, values: dict[str, Any], message: str) -> None:
    run = with_values(small.run(name=name), values)
    model = small.model(small.sequences(), run, "fit")
    with pytest.raises(DecorecError, match=re.escape(f"train.devices: expected 1, {message}")):
        SharedRanks(1, 2).expect_known(model, run.train.stage("fit"))


def disturbed(*, text: str, number: int, target: str, threads: int, **given: Any) -> None:
    """The step train, in which the second rank sends a signal, to itself or to the step's process."""
    resume.SECONDS, resume.SHARE = 0.0, float("inf")
    parent = multiprocessing.parent_process()
    assert parent is not None and parent.pid is not None
    process = os.getpid() if target == "rank" else parent.pid
    heeded = text if here().number == 1 else "never"
    with when_logged(heeded, partial(os.kill, process, number)):
        train(**given, threads=threads)


def test_a_killed_rank_ends_the_job_and_the_next_one_has_the_bytes_of_an_undisturbed_one(tmp_path: Path) -> None:
    run = run_of("decorec", {"train.devices": 2, "train.averaging": 0.9})
    given = arguments(tmp_path, run, "stage1") | {"threads": 2}
    train(**given, **places(tmp_path / "undisturbed"))
    stopped = given | places(tmp_path / "stopped")
    step_log.begun("train").start -= 1_000  # as if the step had begun long before its ranks
    kill = {"text": ": epoch 0,", "number": signal.SIGKILL, "target": "rank"}
    with pytest.raises(
        DecorecError, match=r"train\.devices: expected 2 .* found rank 1 \(process \d+\) killed by SIGKILL"
    ):
        together(disturbed, 2, stopped | kill)
    assert [path.name for path in (tmp_path / "stopped").iterdir()] == ["state.safetensors"]
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        together(disturbed, 2, stopped | {"text": ": epoch 1,", "number": signal.SIGTERM, "target": "step"})
    assert end.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    kept = json.loads(read_arrays(stopped["state"])[1]["facts"])["used"]
    entry = step_log.begun("train")
    train(**stopped)
    assert entry.earlier == Used(**kept) and entry.earlier.seconds > 1_000
    assert contents(tmp_path / "stopped") == contents(tmp_path / "undisturbed")


def test_a_state_holds_what_all_ranks_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here another rank took as much as this one; earlier starts were counted when their state was kept."""
    step_log.begun("train").continues(Used(10, 20, 1500))
    monkeypatch.setattr(Used, "so_far", lambda start: Used(5, 6, 700))
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: SimpleNamespace(pid=-1))
    monkeypatch.setattr(os, "getppid", lambda: -2)
    monkeypatch.setattr(step_log, "processor_seconds", {-1: 0.5, -2: 1.5}.__getitem__)
    monkeypatch.setattr(SharedRanks, "total", lambda ranks, value: 2 * value)
    first, second = (SharedKeeper(tmp_path / "state", "key", SharedRanks(number, 2)) for number in (0, 1))
    assert first._used() == Used(15, 20 + 2 * (6 + 0.5 + 1.5), 1500)
    assert second._used() == Used(15, 20 + 2 * 6, 1500), "those that started the ranks count once"


def failing(*, error: Exception, threads: int) -> None:
    """The second rank fails, while the first waits for it."""
    ranks = here()
    assert isinstance(ranks, SharedRanks)
    if ranks.number:
        raise error
    ranks.agreed(0)
    ranks.total(1.0)
    ranks.total(1.0)


@pytest.mark.parametrize("error", [DecorecError("x: expected y, found z"), ValueError("a defect")])
def test_the_failure_of_a_rank_is_that_of_the_step(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)) as raised:
        together(failing, 2, {"error": error, "threads": 1})
    assert re.search(r"in rank 1 of 2:\nTraceback .*, in failing\n", str(raised.value.__cause__), re.DOTALL)


class Ended:
    """A process that is gone, of which the system tells later than that its channel is closed."""

    pid, exitcode = 1, -signal.SIGKILL

    def __init__(self, after: float) -> None:
        self.sentinel, self._end = os.pipe()
        self._told = threading.Timer(after, self._tell)
        self._told.daemon = True
        self._told.start()

    def _tell(self) -> None:
        os.close(self._end)

    def is_alive(self) -> bool:
        return self._told.is_alive()


def test_a_killed_rank_is_told_of_although_another_one_tells_first_that_it_is_lost() -> None:
    ranks: list[Any] = []
    for after in (60.0, 0.3):
        ours, theirs = multiprocessing.Pipe()
        if not ranks:
            theirs.send(members.Answer(1, LostError("no answer")))
        theirs.close()
        ranks.append(launch._Rank(f"rank {len(ranks)} of 2", Ended(after), ours, len(ranks), 2, ""))
    with pytest.raises(DecorecError, match=r"found rank 1 \(process 1\) killed by SIGKILL"):
        members.wait(ranks)
    ranks[0].process._told.cancel()


@contextmanager
def started(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path, Path]]:
    """The step train with two ranks after its first epoch, in a session of its own; its log, and the state."""
    run: Run = run_of("sasrec", {"train.devices": 2, "train.epochs": 400, "train.patience": 400})
    given = arguments(folder, run, "fit") | places(folder / "stopped")
    flags = [sys.executable, "-m", "decorec", "train", "--threads", "2", "--run", run.model_dump_json()]
    for name, value in given.items():
        if name != "run":
            flags += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    log = folder / "log"
    with log.open("wb") as stream, subprocess.Popen(flags, stderr=stream, start_new_session=True) as process:
        while ": epoch 0," not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield process, log, given["state"]


def test_a_signal_to_the_whole_job_keeps_the_state_and_the_command_continues(tmp_path: Path) -> None:
    """As from a scheduler, which sends its SIGTERM to every process of the job."""
    with started(tmp_path) as (process, log, state):
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait() == 143, log.read_text()
    assert log.read_text().count("stopped by SIGTERM; the same command continues here") == 1
    assert "Traceback" not in log.read_text()
    assert state.is_file()


def test_the_ranks_of_a_step_that_is_killed_end_with_it(tmp_path: Path) -> None:
    with started(tmp_path) as (process, _, _):
        ranks = living(process.pid) - {process.pid}
        assert len(ranks) >= 2
        process.kill()
        process.wait()
        while living(process.pid):
            time.sleep(0.05)


def living(session: int) -> set[int]:
    """The processes of a session that have not ended."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, _, _, own = stat.read_text().rpartition(")")[2].split()[:4]
            if int(own) == session and state != "Z":
                found.add(int(stat.parent.name))
    return found
