"""The command line: flags from signatures, one clear message for an expected failure, light starts."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from decorec.cli import _split_docstring, main
from decorec.steps import STEPS, step_function

HEAVY = {"torch", "open_clip", "dask", "sklearn", "matplotlib", "numba", "pandas"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "decorec", *arguments], capture_output=True, text=True)


def test_help_lists_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in STEPS)


@pytest.mark.parametrize("step", sorted(STEPS))
def test_every_step_explains_its_flags(step: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([step, "--help"])
    assert stop.value.code == 0
    assert f"usage: decorec {step}" in capsys.readouterr().out


@pytest.mark.parametrize("step", sorted(STEPS))
def test_every_flag_is_described_in_the_order_of_the_parameters(step: str) -> None:
    function = step_function(step)
    description, texts = _split_docstring(inspect.getdoc(function) or "")
    assert list(texts) == list(inspect.signature(function).parameters)
    assert all(texts.values())
    assert description and "Args:" not in description


def test_help_shows_the_description_of_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["figure", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--name STR name of the figure." in shown
    assert "Refused, with exit status 1: there is no such figure, or a table that it needs is missing." in shown
    assert "Raises:" not in shown and "Args:" not in shown


def test_help_says_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["estimate", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "what is known already is used. (default: --measure)" in shown
    assert "by default all of this computer. --measure" in shown, "no default is told twice"


def test_an_unknown_step_is_named() -> None:
    result = run("spilt")
    assert result.returncode == 2
    expected = "decorec: expected a step, found 'spilt' (did you mean split?); `decorec --help` lists them\n"
    assert result.stderr == expected


@pytest.mark.parametrize(
    "call", [("schema", "--output", "schema.json", "--threads", "0"), ("estimate", "--cores", "-1")]
)
def test_no_threads_and_no_cores_are_refused(
    call: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(call)
    assert stop.value.code == 1
    flag, found = call[-2:]
    assert capsys.readouterr().err.endswith(
        f"decorec {call[0]}: {flag}: expected 1 or more, found {found}; correct it\n"
    )
    assert not list(tmp_path.glob("*.json"))


def test_an_answer_stands_on_the_terminal_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").touch()
    assert run("status").stderr == ""
    written = run("schema", "--output", "schema.json")
    assert "decorec: schema: done in " in written.stderr, "what is written elsewhere is told"


def test_an_expected_failure_is_one_message_and_no_output(tmp_path: Path) -> None:
    pl.DataFrame({"index": [0], "item": ["a"]}, schema={"index": pl.Int32, "item": pl.String}).write_parquet(
        tmp_path / "vocab"
    )
    output = tmp_path / "out" / "graph.npz"
    files = ["--vocab", str(tmp_path / "vocab"), "--sequences", str(tmp_path / "missing")]
    result = run("cooccurrence", "--settings", "{}", *files, "--matrix", str(output))
    assert result.returncode == 1
    assert result.stderr.startswith("decorec cooccurrence: ")
    assert str(tmp_path / "missing") in result.stderr
    assert "Traceback" not in result.stderr
    assert not output.parent.exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('{"window": 0}', "window"),
        ('{"windows": 3}', "windows: unknown key; did you mean 'window'?"),
        ("{", "expected JSON"),
        ("no/such/file.json", "no/such/file.json"),
    ],
)
def test_a_wrong_section_is_explained(value: str, message: str, tmp_path: Path) -> None:
    result = run("cooccurrence", "--settings", value, "--vocab", "v", "--sequences", "s", "--matrix", "c")
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


TORCH = {
    "features",
    "train",
    "gradient-probe",
    "evaluate",
    "modality-modes",
    "gallery",
    "tune",
    "embedding-table",
    "gates-table",
    "model-card",
    "recommend",
    "export",
    "add-items",
    "new-items",
    "serve",
}
"""Steps that need torch; loading it takes more than a second."""


@pytest.mark.parametrize("step", sorted(set(STEPS) - TORCH))
def test_steps_that_need_no_torch_do_not_load_it(step: str) -> None:
    code = (
        "import sys; from decorec.steps import step_function; step_function(sys.argv[1]);"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    result = subprocess.run([sys.executable, "-c", code, step], capture_output=True, text=True, check=True)
    assert not HEAVY & set(result.stdout.split())


def test_graph_and_clusters_are_computed_without_torch() -> None:
    code = (
        "import sys, numpy as np; from decorec.config import GraphConfig;"
        "from decorec.prepare.cooccurrence import count_pairs;"
        "from decorec.data.graph import normalise; from decorec.prepare.clustering import enrich, kmeans;"
        "from decorec.data.sequences import Sequences;"
        "sequences = Sequences(['u'], np.array([0, 4]), np.array([0, 1, 2, 0], np.int32));"
        "graph = normalise(count_pairs(sequences, 3, GraphConfig()), 'symmetric');"
        "kmeans(enrich(np.eye(3, dtype=np.float32), graph, 0.5, 1), 2, 0);"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"numba", "sklearn"} <= set(result.stdout.split())
    assert "torch" not in result.stdout.split()
