"""Benchmarks still run: those that are short with little data, which call steps and models as the workflow does."""

from __future__ import annotations

import importlib
import sys

import pytest

SMALL = {
    "cooccurrence": "--interactions 20000 --compared 5000 --rounds 1",
    "filtering": "--interactions 20000 --rounds 1",
    "ingest": "--reviews 5000 --rounds 1",
    "memory": "--interactions 20000",
    "million": "--items 300 --targets 2000 --users 4 --negatives 100",
    "ranking": "--users 200 --items 300 --checked 10",
    "recommend": "--customers 100 --items 50 --width 8 --python /nowhere",
    "sample": "--drawn 1",
}


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_runs(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [name, *SMALL[name].split()])
    importlib.import_module(f"benchmarks.{name}").main()
    said = capsys.readouterr().out.splitlines()
    assert len(said) >= 2, "the machine or the data, and a figure"
