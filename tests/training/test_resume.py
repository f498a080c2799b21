"""A training that was stopped and continues has the bytes of one that was not."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from decorec.artifacts import resume, step_log
from decorec.artifacts.files import write_arrays
from decorec.artifacts.seal import provenance
from decorec.artifacts.step_log import Used
from decorec.config.runs import Run, with_values
from decorec.errors import explain
from decorec.models.registry import MODELS
from decorec.plan.costs import measurement
from decorec.training.gradient_probe import gradient_probe
from decorec.training.steps import train
from tests.support import small
from tests.support.stopped import Stopped, when_logged

WRITTEN = {"model": "model.safetensors", "history": "history.parquet", "config": "config.json"}
SPOILT = {
    "train.learning_rate": 1.0,
    "train.monitor": "loss",
    "train.averaging": 0.0,
    "train.restart": False,
    "train.warmup_epochs": 2.0,
}
"""So fast that the loss grows from the first epoch on, which is the best: its weights have to outlive the kills."""
MODES: list[tuple[str, str, dict[str, Any]]] = [
    ("decorec", "stage2", {"train.negatives": 20}),
    ("decorec", "stage2", {"train.precision": "bf16"}),
    ("decorec", "stage2", {"train.stale_gradients": True, "train.id_learning_rate": 0.0}),
    ("decorec", "stage1", SPOILT),
]
"""What a training may do otherwise than by default, of what it has to remember."""
CASES = [("decorec", "stage1", {}), *((name, "fit", {}) for name in MODELS if name != "decorec"), *MODES]


def noisy(values: dict[str, Any]) -> dict[str, Any]:
    """A section of the model with dropout, wherever it can have some: its random numbers have to continue as well."""
    rates = {key: 0.2 for key in values if key.endswith("dropout")}
    return values | rates | {key: noisy(value) for key, value in values.items() if isinstance(value, dict)}


def run_of(name: str, values: dict[str, Any]) -> Run:
    sections = small.run(name=name).dump()
    return with_values(Run.model_validate({**sections, "model": noisy(sections["model"])}), values)


def arguments(folder: Path, run: Run, stage: str) -> dict[str, Any]:
    """Of the step train: its input files are made, with the stage before."""
    given = {"run": run, "seed": 3, **small.files(folder, small.sequences(), run), "code": "tested"}
    if stage == "stage2":
        train(**given, stage="stage1", **places(folder / "before"))
        given |= {"start": folder / "before/model.safetensors", "start_config": folder / "before/config.json"}
    return given | {"stage": stage}


def places(folder: Path) -> dict[str, Path]:
    return {"state": folder / "state.safetensors", **{name: folder / file for name, file in WRITTEN.items()}}


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder; a training that is done leaves no state behind."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every state is saved."""
    monkeypatch.setattr(resume, "SECONDS", 0.0)
    monkeypatch.setattr(resume, "SHARE", float("inf"))


@pytest.mark.parametrize(("name", "stage", "values"), CASES)
def test_every_model_continues_between_two_batches_and_between_two_epochs(
    name: str, stage: str, values: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture, always: None
) -> None:
    given = arguments(tmp_path, run_of(name, values), stage)
    with pytest.MonkeyPatch.context() as undisturbed:
        undisturbed.setattr(resume, "SECONDS", float("inf"))
        generators = random.getstate(), np.random.get_state()[1].tolist()
        train(**given, **places(tmp_path / "undisturbed"))
        assert (random.getstate(), np.random.get_state()[1].tolist()) == generators, "only torch's are in the state"
    stopped = places(tmp_path / "stopped")
    if name in small.FLOORS:
        train(**given, **stopped)
    else:
        with when_logged(": epoch 0,"), pytest.raises(Stopped):  # the state is that before the last batch
            train(**given, **stopped)
        with when_logged(": epoch 1,", partial(signal.raise_signal, signal.SIGTERM)), pytest.raises(SystemExit) as end:
            train(**given, **stopped)
        assert end.value.code == 128 + signal.SIGTERM
        with when_logged("never"):
            train(**given, **stopped)
        lines = [line.partition("continues in ")[2] for line in caplog.messages if "continues in " in line]
        batches = [line.split()[3] for line in lines]
        assert lines == [f"epoch 0 after {batches[0]} batches", "epoch 2 after 0 batches"]
        assert int(batches[0]) > 1
    assert contents(tmp_path / "stopped") == contents(tmp_path / "undisturbed")
    assert values is not SPOILT or pl.read_parquet(stopped["history"])["best"].to_list() == [True, False, False]


def run_step(given: dict[str, Any], text: str, number: signal.Signals) -> None:
    """The step in a process that sends a signal to itself."""
    resume.SECONDS, resume.SHARE = 0.0, float("inf")
    with when_logged(text, lambda: os.kill(os.getpid(), number)):
        train(**given)


def test_a_killed_process_is_continued_by_another_one(tmp_path: Path) -> None:
    given = arguments(tmp_path, run_of("decorec", {}), "stage1")
    train(**given, **places(tmp_path / "undisturbed"))
    given |= places(tmp_path / "stopped")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    codes = []
    for text, number in ((": epoch 0,", signal.SIGKILL), (": epoch 1,", signal.SIGTERM), ("never", signal.SIGKILL)):
        process = context.Process(target=run_step, args=(given, text, number))
        process.start()
        process.join()
        codes.append(process.exitcode)
    assert codes == [-signal.SIGKILL, 143, 0]
    assert contents(tmp_path / "stopped") == contents(tmp_path / "undisturbed")


def test_the_cost_of_a_training_that_continues_is_that_of_all_its_starts(
    tmp_path: Path, always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = arguments(tmp_path, run_of("sasrec", {}), "fit") | places(tmp_path / "stopped")
    for text, took in ((": epoch 0,", Used(10, 20, 300)), (": epoch 1,", Used(5, 6, 400)), ("never", Used(1, 2, 100))):
        monkeypatch.setattr(Used, "so_far", lambda start, took=took: took)
        entry = step_log.begun("train")
        entry.log = Path("logs/shop/runs/sasrec/seed-3/fit.log")
        with when_logged(text), suppress(Stopped):
            train(**given)
    entry.write("done")
    assert measurement("shop/runs/sasrec/seed-3/fit") == {"s": 16, "cpu_time": 28, "max_rss": 400}


@pytest.fixture
def stopped(tmp_path: Path, always: None) -> dict[str, Any]:
    """Arguments of a training that was stopped at the end of its epoch 1."""
    given = arguments(tmp_path, run_of("sasrec", {}), "fit") | places(tmp_path / "stopped")
    with when_logged(": epoch 1,"), pytest.raises(Stopped):
        train(**given)
    return given


def other_sequences(given: dict[str, Any]) -> dict[str, Any]:
    small.sequences(seed=1).write(given["sequences"])
    return {}


CHANGES: dict[str, Any] = {
    "code": lambda given: {"code": "edited"},
    "seed": lambda given: {"seed": 4},
    "a value": lambda given: {"run": with_values(given["run"], {"train.learning_rate": 0.01})},
    "an input": other_sequences,
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_state_of_another_training_is_not_used(
    change: str, stopped: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    stopped |= CHANGES[change](stopped)
    with when_logged(": epoch 0,"), pytest.raises(Stopped):
        train(**stopped)
    assert "of other values, inputs or code: it is not used, and the training starts over" in caplog.text


def split(sequences: Path, digit: str) -> None:
    """The sequences, made from a file with a digest of this digit."""
    with provenance() as step:
        step.digests["shop/interactions.parquet"] = 32 * digit
        small.sequences().write(sequences)


def sealed(folder: Path) -> dict[str, Any]:
    """Arguments of a training that was stopped, with all files in their places under results/."""
    given = arguments(folder / "results/shop", run_of("sasrec", {}), "fit")
    given |= {name: folder / "results/shop/runs/sasrec/seed-3/fit" / file for name, file in WRITTEN.items()}
    given |= {"state": folder / "results/cache/training/shop/runs/sasrec/seed-3/fit.safetensors"}
    split(given["sequences"], "0")
    with when_logged(": epoch 1,"), pytest.raises(Stopped), provenance():
        train(**given)
    return given


def test_a_state_is_used_where_its_inputs_were_made_from_other_files_and_hold_the_same(
    tmp_path: Path, always: None, caplog: pytest.LogCaptureFixture
) -> None:
    given = sealed(tmp_path)
    before = given["sequences"].read_bytes()
    split(given["sequences"], "1")
    assert given["sequences"].read_bytes() != before, "its seal names them"
    with when_logged(": epoch 1,"), pytest.raises(Stopped), provenance():
        train(**given)
    assert ": the training continues in epoch 1 after " in caplog.text


def test_the_state_of_other_inputs_is_not_taken_for_a_damaged_one(
    tmp_path: Path, always: None, caplog: pytest.LogCaptureFixture
) -> None:
    given = sealed(tmp_path)
    small.sequences(seed=1).write(given["sequences"])
    with when_logged(": epoch 0,"), pytest.raises(Stopped), provenance():
        train(**given)
    assert "of other values, inputs or code: it is not used, and the training starts over" in caplog.text
    assert [path.name for path in given["state"].parent.iterdir()] == ["fit.safetensors"]


def flip(state: Path) -> None:
    content = bytearray(state.read_bytes())
    content[-5] ^= 1  # a bit of a tensor
    state.write_bytes(content)


DAMAGES: dict[str, Any] = {
    "changed": flip,
    "cut": lambda state: state.write_bytes(state.read_bytes()[:-1]),
    "empty": lambda state: state.write_bytes(b""),
    "something else": lambda state: write_arrays(state, {"x": np.zeros(3)}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_set_aside(damage: str, stopped: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    state = stopped["state"]
    DAMAGES[damage](state)
    damaged = state.read_bytes()
    with when_logged(": epoch 0,"), pytest.raises(Stopped):
        train(**stopped)
    assert "it is now state.safetensors.damaged, and the training starts over" in caplog.text
    assert state.with_name("state.safetensors.damaged").read_bytes() == damaged


def test_a_probe_continues_with_what_it_has_measured(tmp_path: Path, always: None) -> None:
    joint = {"model.phased": False, "model.modal_layers": 0, "model.id_layers": 0, "model.interests": False}
    given = arguments(tmp_path, run_of("decorec", joint), "fit") | {"every": 2}
    del given["stage"]
    one, other = ({"gradients": tmp_path / name, "state": tmp_path / "state"} for name in ("one", "other"))
    gradient_probe(**given, **one)
    with when_logged(": epoch 1,", partial(signal.raise_signal, signal.SIGINT)), pytest.raises(SystemExit) as end:
        gradient_probe(**given, **other)
    assert end.value.code == 128 + signal.SIGINT
    gradient_probe(**given, **other)
    assert other["gradients"].read_bytes() == one["gradients"].read_bytes()
    assert not other["state"].exists()


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (epoch, value) of what TensorBoard shows of a folder."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_curves_change_nothing_and_have_every_epoch_once_also_of_a_training_that_continues(
    tmp_path: Path, always: None
) -> None:
    given = arguments(tmp_path, run_of("sasrec", {}), "fit")
    plain, drawn, late = (places(tmp_path / name) for name in ("plain", "drawn", "late"))
    train(**given, **plain)
    events = {"tensorboard": tmp_path / "curves"}
    with when_logged(": epoch 1,"), pytest.raises(Stopped):  # the state is that before the last batch
        train(**given, **drawn, **events)
    assert [epoch for epoch, _ in curves(tmp_path / "curves")["loss"]] == [0, 1]
    train(**given, **drawn, **events)
    with when_logged(": epoch 1,"), pytest.raises(Stopped):
        train(**given, **late)
    train(**given, **late, tensorboard=tmp_path / "switched on")
    history = pl.read_parquet(plain["history"])
    for name in ("drawn", "late"):
        assert contents(tmp_path / name) == contents(tmp_path / "plain")
    for shown in (curves(tmp_path / "curves"), curves(tmp_path / "switched on")):
        seconds = shown.pop("seconds")
        assert set(shown) == {"loss", *(f"validation/{name}" for name in history.columns[2:-1])}
        for tag, values in shown.items():
            column = history[tag.removeprefix("validation/")]
            assert [epoch for epoch, _ in values] == history["epoch"].to_list()
            assert np.allclose([value for _, value in values], column.to_numpy(), rtol=1e-6)
        assert all(value > 0 for _, value in seconds)
    assert [epoch for epoch, _ in seconds] == [1, 2], "nobody knows what an epoch took before the curves"
    train(**given, **places(tmp_path / "again"), **events)
    assert len(list((tmp_path / "curves").iterdir())) == 1, "those of a training that starts over are removed"


def test_curves_without_the_package_are_refused_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if "tensorboard" in name or name == "decorec.training.curves"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    given = arguments(tmp_path, run_of("sasrec", {}), "fit") | places(tmp_path / "outputs")
    with pytest.raises(ModuleNotFoundError) as missing:
        train(**given, tensorboard=tmp_path)
    assert re.search(r"package tensorboard, .* run: pip install '.*tensorboard", str(explain(missing.value, "")))
