"""Benchmarks still run: those that are short with little data, which call steps and models as the workflow does."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import daily, gpu
from benchmarks._gpu import PARTS, SIZES, Part, WrongResultError
from decorec.data.sequences import Sequences
from decorec.models.registry import MODELS
from tests.support import small

SMALL = {
    "cooccurrence": "--interactions 20000 --compared 5000 --rounds 1",
    "filtering": "--interactions 20000 --rounds 1",
    "ingest": "--reviews 5000 --rounds 1",
    "memory": "--interactions 20000",
    "million": "--items 300 --targets 2000 --users 4 --negatives 100",
    "ranking": "--users 200 --items 300 --checked 10",
    "recommend": "--customers 100 --items 50 --width 8 --python /nowhere",
    "sample": "--drawn 1",
    "seeds": "--sizes sample --models sasrec --steps 1",
    "statistics": "--users 300 --runs 2 --seeds 1",
}


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_runs(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [name, *SMALL[name].split()])
    importlib.import_module(f"benchmarks.{name}").main()
    said = capsys.readouterr().out.splitlines()
    assert len(said) >= 2, "the machine or the data, and a figure"


def test_days_of_the_calendar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They end at midnight after the last purchase; one without a customer to ask is passed over."""
    data, tiny = small.sequences(users=20), {"dim": 8, "encoder": {"layers": 1, "feed_forward": 8}}
    assert data.timestamps is not None
    times = data.timestamps.copy()
    times[times >= np.quantile(times, 0.8)] += 30 * daily.DAY  # and nothing for a month before these
    small.files(tmp_path, Sequences(data.users, data.offsets, data.items, times), small.run())
    flags = ["--folder", str(tmp_path), "--model", "sasrec", "--every", "7", "--output", str(tmp_path / "daily.json")]
    difference = {"model": tiny, "train": {"epochs": 1}}
    monkeypatch.setattr(sys, "argv", ["daily", *flags, "--difference", json.dumps(difference)])
    daily.main()
    cuts = daily.mornings(times, 10, 0.3, 7)
    assert set(np.diff(cuts)) == {7 * daily.DAY}
    assert cuts[-1] % daily.DAY == 0 and cuts[-1] - daily.DAY <= times.max() < cuts[-1]
    found = json.loads((tmp_path / "daily.json").read_text())
    inside = [day for day in range(10) if ((cuts[day] <= times) & (times < cuts[day + 1])).any()]
    assert [day["day"] for day in found["days"]] == inside != list(range(10))
    assert found["difference"] == difference


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_the_gpu_benchmark_runs_on_the_processor(name: str) -> None:
    found = PARTS[name].measure(torch.device("cpu"), SIZES["small"], 60.0)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    if name == "equality":
        assert {label.split()[0] for label in found["models"]} == set(MODELS)
        assert all(row["share_of_equal_ranks"] == 1 for row in found["models"].values()), "it is the same device"
    if name == "waits":
        assert found["null"] and all(row["per_step"] is None for row in found["models"].values())


def test_the_gpu_benchmark_goes_on_after_a_part_that_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def right(*_: object) -> dict[str, Any]:
        print("a library says something")
        return {"rate": 1.5}

    def wrong(*_: object) -> dict[str, Any]:
        raise WrongResultError("too far apart", {"rate": 2.5})

    def broken(*_: object) -> dict[str, Any]:
        raise ValueError("no such thing")

    calls = {"broken": broken, "wrong": wrong, "dead": lambda *_: os._exit(3), "endless": lambda *_: time.sleep(600)}
    parts = {name: Part(call, 0.2 if name == "endless" else 60) for name, call in {**calls, "right": right}.items()}
    monkeypatch.setattr(gpu, "PARTS", parts)
    out = tmp_path / "gpu.json"
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--out", str(out)])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 1
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads(out.read_text())
    errors = {name: report[name].get("error") for name in parts}
    assert errors == {
        "broken": "ValueError: no such thing",
        "wrong": "too far apart",
        "dead": "its process ended with status 3",
        "endless": "not done within 0.2 s",
        "right": None,
    }
    assert (report["right"]["rate"], report["wrong"]["rate"]) == (1.5, 2.5)
