"""What a machine and a folder lack is said in a line; the exit status follows what the configuration needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from decorec.artifacts import layout
from decorec.cli import main
from decorec.config import Config, load
from decorec.plan import folder, machine
from decorec.plan.costs import Size
from tests.support.loopback import Loopback


def config(dataset: Mapping[str, Any], **sections: Any) -> Config:
    return load({"datasets": {"shop": dataset}, **sections})


SAMPLE = {"source": "sample"}
TABLE = {"source": "table", "path": "tables"}


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_versions_are_compared_with_their_bounds() -> None:
    required, bounds = machine.requirements()
    assert machine.python(required).state == "ok" and any(line.startswith("torch>=") for line in bounds)
    old = machine.python(">=3.11", "3.9.2")
    assert (old.state, old.text) == ("missing", "expected >=3.11, found 3.9.2; install it, and the packages there")
    lines = ["numpy>=2.0", "polars>=999", "no-such-package>=1", "other-absent>=1; extra == 'dev'"]
    assert [(finding.state, finding.text) for finding in machine.packages(lines)] == [
        ("ok", "1 of 3 are within their bounds"),
        *(
            ("missing", f"expected {name}, found {found}; python -m pip install '{name}'")
            for name, found in (("polars>=999", __import__("polars").__version__), ("no-such-package>=1", "none"))
        ),
    ]
    assert len(machine.packages(lines, ["dev"])) == 4, "and those of an extra that the configuration needs"


def test_what_the_machine_is(tmp_path: Path) -> None:
    assert machine.processor(True, {"avx2", "fma"}).state == "ok"
    assert machine.processor(False, {"fma"}).state == "warning"
    lacking = machine.processor(True, {"fma"})
    assert lacking.state == "missing" and "without avx2, which the key reproducible needs" in lacking.text
    info = tmp_path / "meminfo"
    for gigabytes, cores, state, said in (
        (16, 8, "ok", "16.0 GB"),
        (4, 8, "warning", "--cores 2"),
        (1, 1, "warning", "end"),
    ):
        info.write_text(f"MemTotal: 99000000 kB\nMemAvailable: {gigabytes * 1_000_000} kB\n")
        found = machine.memory(cores, info)
        assert found.state == state and said in found.text
    (disk,) = machine.disk(tmp_path, 1e9)
    assert disk.state == "missing" and "the results take about 1000000000.0 GB; free some space" in disk.text
    (disk,) = machine.disk(tmp_path, 0.0, ["shop", "other"])
    assert disk.state in ("ok", "warning") and disk.text.endswith(
        f"{tmp_path}; the size of shop, other is not known yet"
    )
    one = config(SAMPLE, seeds=[0], tables={"main": ["decorec"], "verdict": None})
    needed, unknown = machine.disk_needed(one, {"shop": Size(1e6, 1e5, 1e7, ""), "other": None})
    assert unknown == ["other"] and needed == pytest.approx(1e5 * 35e3 / 1e9 + 0.01 + 0.5)


def test_programs_are_asked_where_they_are(tmp_path: Path) -> None:
    nothing = str(tmp_path / "nothing")
    assert machine.gpu(False, nothing).state == "ok" and machine.gpu(True, nothing).state == "missing"
    assert machine.slurm(nothing).text == "not here: jobs run on this machine"
    assert "dot (make docs/rulegraph.svg; install graphviz), uv" in machine.programs(nothing).text
    assert machine.programs(nothing).state == "ok", "no call needs them"
    here = tmp_path / "bin"
    program(here, "nvidia-smi", "echo 'H200, 143771 MiB, 570.1'")
    found = machine.gpu(False, str(here), lambda: True)
    assert (found.state, found.text) == ("ok", "H200, 143771 MiB, driver 570.1")
    assert machine.gpu(False, str(here), lambda: False).state == "warning"
    assert machine.gpu(True, str(here), lambda: False).state == "missing"
    program(here, "squeue", "exit 1")
    assert machine.slurm(str(here)).text.startswith("sbatch is not here")
    program(here, "sbatch", "exit 0")
    assert machine.slurm(str(here)).text.startswith("squeue does not answer")
    program(here, "squeue", "exit 0")
    assert machine.slurm(str(here)).state == "ok"
    for name in ("dot", "uv", "chromium-browser"):
        program(here, name, "")
    assert machine.programs(str(here)).state == "ok"


def test_the_configuration_is_read_as_snakemake_reads_it(tmp_path: Path) -> None:
    empty = folder.configuration(tmp_path, [])[1]
    assert empty.state == "missing" and empty.text.endswith(
        "config.yaml: expected a YAML file, found none; start in the folder that has it; decorec init NAME makes one"
    )
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"datasets": {"shop": SAMPLE}, "seeds": [0, 1]}))
    overlay = tmp_path / "over.yaml"
    overlay.write_text(yaml.safe_dump({"datasets": {"mine": SAMPLE}}))
    found, finding = folder.configuration(tmp_path, [overlay])
    assert found is not None and list(found.datasets) == ["mine"] and found.seeds == [0, 1]
    assert finding.state == "ok" and finding.text.endswith("is valid: mine; 2 runs, 2 seeds")
    for text, said in (("seeds: [0, 0]", "more than once"), ("- 1", "expected keys and values"), ("{", "YAML file")):
        overlay.write_text(text)
        found, finding = folder.configuration(tmp_path, [overlay])
        assert found is None and finding.state == "missing" and said in finding.text
    overlay.unlink()
    assert folder.configuration(tmp_path, [overlay])[1].text.endswith("found none; correct --configfile")


def test_files_of_the_data_sets_and_of_the_encoder_are_looked_for(tmp_path: Path) -> None:
    mine = config(TABLE)
    (lacking,) = folder.sources(mine, tmp_path)
    assert (
        lacking.state == "missing"
        and "tables/interactions.csv, tables/items.csv; correct datasets.shop" in lacking.text
    )
    (tmp_path / "tables").mkdir()
    for name in ("interactions.csv", "items.csv"):
        (tmp_path / "tables" / name).touch()
    assert [finding.state for finding in folder.sources(mine, tmp_path)] == ["ok"]
    wrong = config({"source": "amazon2018", "category": "Ofice_Products"})
    assert "did you mean Office_Products" in folder.sources(wrong, tmp_path)[0].text

    def told(**features: Any) -> tuple[str, str]:
        found = folder.weights(config(SAMPLE, features=features), tmp_path, home=tmp_path)
        return found.state, found.text

    assert told(encoder="fit")[0] == "ok"
    assert told(encoder="mine.safetensors") == (
        "missing",
        f"expected {tmp_path}/mine.safetensors, found nothing there; correct the section features",
    )
    state, text = told(encoder="clip")
    assert state == "warning" and "ViT-B-32.pt" in text
    kept = tmp_path / ".cache" / "clip" / "ViT-B-32.pt"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert told(encoder="clip")[0] == "ok"
    assert told(encoder="clip", weights="opnai")[0] == "missing"
    assert told(encoder="clip", weights="opnai.pt")[0] == "missing"
    (tmp_path / "opnai.pt").touch()
    assert told(encoder="clip", weights="opnai.pt") == ("ok", f"{tmp_path}/opnai.pt")
    assert told(encoder="fit", image="mine.parquet")[0] == "missing"
    (tmp_path / "mine.parquet").touch()
    assert told(encoder="fit", image="mine.parquet") == ("ok", f"{tmp_path}/mine.parquet")
    texts = {"text": "open_clip", "text_model": "ViT-B-32"}
    state, text = told(encoder="clip", **texts, text_weights="opnai")
    assert state == "missing" and "correct features.text_weights" in text, "the worse of two"
    assert told(encoder="clip", **texts, text_weights="laion2b_s34b_b79k")[0] == "warning"
    assert told(encoder="fit", **texts, text_weights="opnai.pt") == ("ok", f"{tmp_path}/opnai.pt")
    state, text = told(encoder="fit", text="sentence-transformers", text_model="tiny")
    assert state == "warning" and text.startswith("sentence-transformers/tiny: not on this machine")


def test_servers_are_asked_unless_their_files_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    category = {"source": "amazon2018", "category": "Prime_Pantry"}
    with Loopback({"/categoryFiles/Prime_Pantry.json.gz": b"reviews"}) as server:
        there = config(category | {"base_url": server.url})
        gone = config(category | {"base_url": f"{server.url}/elsewhere"})
        assert [finding.state for finding in folder.network(there)] == ["ok"]
        (absent,) = folder.network(gone)
        assert absent.state == "missing" and "answers with status 404; try later, or set datasets.shop" in absent.text
    (silent,) = folder.network(there)
    assert silent.state == "missing" and "does not answer (ConnectionError)" in silent.text
    checksums = Path(layout.fill(layout.CHECKSUMS, dataset="shop"))
    checksums.parent.mkdir(parents=True)
    checksums.touch()
    assert folder.network(there)[0].text == "no server is needed"


def test_the_exit_status_is_that_of_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    Path("config.yaml").write_text(yaml.safe_dump({"datasets": {"shop": SAMPLE}, "features": {"encoder": "fit"}}))
    main(["doctor"])
    said = capsys.readouterr().out
    assert "missing  " not in said and "lock: none: nothing runs in this folder" in said
    assert said.endswith(": nothing that a call needs is missing\n")
    Path("over.yaml").write_text(yaml.safe_dump({"datasets": {"shop": TABLE}}))
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--configfile", "over.yaml"])
    assert end.value.code == 1
    said = capsys.readouterr().out
    assert "missing  data set shop: cannot be read: tables/interactions.csv" in said
    assert said.endswith(", 1 missing: a call needs what is missing\n")
