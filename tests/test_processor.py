"""The key reproducible: the same bytes whatever instructions the processor has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from decorec import processor
from decorec.errors import DecorecError
from decorec.plan import commands
from decorec.steps import STEPS
from tests.support import small
from tests.support.planned import plan
from tests.support.small_shop import step_files, write_shop

POORER = {
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3,X86_V4,AVX512_ICL,AVX512_SPR",
}
"""The libraries take this machine for one without AVX."""
SETTINGS = {"encoder": "fit", "epochs": 1, "batch_size": 32, "device": "cpu"}
needs_avx2 = pytest.mark.skipif(
    not processor.flags() >= processor.NEEDED, reason="needs Linux on an x86-64 processor with AVX2 and FMA"
)


def prepare(folder: Path) -> list[list[str]]:
    """Inputs under ``folder``; returns the arguments of the two steps that depend on the processor the most."""
    write_shop(folder, 40)
    run = small.run(name="sasrec", dim=64)
    (folder / "run.json").write_text(json.dumps(run.dump()))
    files = small.files(folder / "data", small.sequences(), run)
    files |= {name: folder / f"{name}.out" for name in ("model", "history", "config")}
    encode = ["features", "--settings", json.dumps(SETTINGS)]
    fit = [
        "train",
        "--run",
        str(folder / "run.json"),
        "--stage",
        "fit",
        "--seed",
        "0",
        "--code",
        "",
        "--state",
        str(folder / "state"),
    ]
    for command, given in ((encode, step_files(folder)), (fit, files)):
        for name, value in given.items():
            command += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return [encode, fit]


@needs_avx2
def test_poorer_processors_give_the_same_bytes_if_pinned_and_others_if_not(tmp_path: Path) -> None:
    """Each kind is a process of its own, because the libraries look at the processor when they are loaded."""
    code = "import json, sys; from decorec.cli import main; [main(step) for step in json.loads(sys.argv[1])]"
    flag, started = ["--reproducible"], {}
    for kind, flags, variables in (
        ("free", [], {}),
        ("free, poorer", [], POORER),
        ("pinned", flag, {}),
        ("pinned, poorer", flag, POORER),
    ):
        encode, fit = prepare(tmp_path / kind)
        steps = json.dumps([[*step, *flags] for step in ([encode, fit] if flags else [fit])])
        started[kind] = subprocess.Popen([sys.executable, "-c", code, steps], env={**os.environ, **variables})
    assert {kind: process.wait() for kind, process in started.items()} == dict.fromkeys(started, 0)

    def same(one: str, other: str, file: Path) -> bool:
        return (tmp_path / one / file).read_bytes() == (tmp_path / other / file).read_bytes()

    model, features = Path("model.out"), Path("features")
    assert all(same("pinned", "pinned, poorer", features / f"{name}.safetensors") for name in ("text", "image"))
    assert same("pinned", "pinned, poorer", model)
    assert not same("free", "free, poorer", model), "otherwise the test could not fail"


def test_the_key_reaches_every_step_whose_result_may_change_and_no_other() -> None:
    pinned, free = plan(reproducible=True), plan()
    for name, step in STEPS.items():
        assert (pinned.code(name) != free.code(name)) is not step.exact, "what is tracked"
        assert ("--reproducible" in commands.step(name, reproducible=True)) is not step.exact
        assert "--reproducible" not in commands.step(name, reproducible=False)
    assert "--reproducible" in pinned.table_call("main") and "--reproducible" not in free.table_call("main")


def test_a_processor_that_lacks_the_instructions_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poor = tmp_path / "cpuinfo"
    poor.write_text("processor\t: 0\nflags\t\t: fpu sse4_2 avx\n")
    monkeypatch.setattr(processor, "CPUINFO", poor)
    with pytest.raises(DecorecError, match="without avx2 and fma; compute on another machine, or set reproducible"):
        processor.pin()
    assert not processor.pinned()
