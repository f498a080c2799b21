"""The seal of every kind of artifact: damage, exchange and mixture are refused, and the right file is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse

from decorec.artifacts import files
from decorec.artifacts.layout import place_of
from decorec.artifacts.seal import provenance
from decorec.errors import DecorecError

FRAME = pl.DataFrame({"user": ["a", "b", "c"], "rank": [1.0, 2.0, 3.5]})
ARRAYS = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "items": np.frombuffer(b"a\nb", dtype=np.uint8)}
KINDS: dict[str, tuple[Callable[[Path], None], Callable[[Path], Any]]] = {
    "ranks.parquet": (lambda path: files.write_table(path, FRAME), files.read_table),
    "text.safetensors": (lambda path: files.write_arrays(path, ARRAYS, {"model": "m"}), files.read_arrays),
    "graph.npz": (lambda path: files.write_sparse(path, scipy.sparse.eye_array(3, format="csr")), files.read_sparse),
    "metrics.json": (lambda path: files.write_json(path, {"users": 3, "test": {"Hit@10": 0.5}}), files.read_json),
    "main.csv": (lambda path: files.write_csv(path, FRAME), files.read_csv),
    "main.html": (lambda path: files.write_text(path, "<html></html>\n"), files.read_text),
    "fig2.svg": (lambda path: files.write_text(path, "<svg></svg>\n"), files.read_text),
}


def place(folder: Path, name: str, dataset: str = "shop") -> Path:
    return folder / "results" / dataset / name


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_was_written_is_read_without_the_seal(tmp_path: Path, kind: str) -> None:
    write, read = KINDS[kind]
    file = place(tmp_path, kind)
    write(file)
    found = read(file)
    match kind.rpartition(".")[2]:
        case "parquet" | "csv":
            assert found.equals(FRAME)
        case "safetensors":
            assert found[1] == {"model": "m"} and np.array_equal(found[0]["x"], ARRAYS["x"])
        case "npz":
            assert np.array_equal(found.toarray(), np.eye(3))
        case "json":
            assert found == {"users": 3, "test": {"Hit@10": 0.5}}
        case "html" | "svg" as name:
            assert found == f"<{name}></{name}>\n"
    again = place(tmp_path / "again", kind)
    write(again)
    assert again.read_bytes() == file.read_bytes(), "equal content in the same place gives equal bytes"


def test_no_byte_can_be_changed_or_lost(tmp_path: Path, kind: str) -> None:
    write, read = KINDS[kind]
    file = place(tmp_path, kind)
    write(file)
    content = file.read_bytes()
    every = range(0, len(content), 3)
    damaged = [content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] for at in every]
    damaged += [*(content[:length] for length in every), content + b"\0", content + content]
    refused = rf"^{file}: expected .* snakemake --cores 1 --force results/shop/{kind}$"
    for wrong in damaged:
        file.write_bytes(wrong)
        with pytest.raises(DecorecError, match=refused):
            read(file)
    file.write_bytes(content)
    read(file)


def test_a_file_of_another_place_is_refused(tmp_path: Path, kind: str) -> None:
    write, read = KINDS[kind]
    one, other = place(tmp_path, kind), place(tmp_path, kind, "other-shop")
    write(one)
    other.parent.mkdir()
    for file in one.parent.iterdir():
        shutil.copy(file, other.parent / file.name)
    with pytest.raises(
        DecorecError, match=rf"^{other}: expected the file that was written there, found results/shop/{kind}"
    ):
        read(other)
    elsewhere = tmp_path / "copied"
    shutil.copytree(one.parent, elsewhere)
    read(elsewhere / kind)


def test_files_without_a_seal_are_read_outside_of_results_only(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "own.parquet")
    assert files.read_table(tmp_path / "own.parquet").equals(FRAME)
    (tmp_path / "results").mkdir()
    shutil.copy(tmp_path / "own.parquet", tmp_path / "results/own.parquet")
    with pytest.raises(DecorecError, match="found no seal"):
        files.read_table(tmp_path / "results/own.parquet")


def made(folder: Path, users: int) -> None:
    """A vocabulary, and two files that are made from it."""
    vocab = place(folder, "vocab.parquet")
    files.write_table(vocab, pl.DataFrame({"index": range(users)}))
    for name in ("one.json", "two.json"):
        with provenance():
            files.read_table(vocab)
            files.write_json(place(folder, name), {"name": name})


def test_files_of_one_step_have_to_be_made_from_the_same_sources(tmp_path: Path) -> None:
    made(tmp_path / "now", 3)
    made(tmp_path / "before", 4)
    vocab, one, two = (place(tmp_path / "now", name) for name in ("vocab.parquet", "one.json", "two.json"))
    for order in ((vocab, one, two), (two, one, vocab)):
        with provenance():
            for file in order:
                (files.read_table if file == vocab else files.read_json)(file)
    shutil.copy(place(tmp_path / "before", "one.json"), one)
    stale = rf"^{one}: expected a file that was made from results/shop/vocab\.parquet as it is, .*shop/one\.json$"
    for order in ((vocab, one), (one, vocab)):
        with provenance(), pytest.raises(DecorecError, match=stale):
            for file in order:
                (files.read_table if file == vocab else files.read_json)(file)
    with (
        provenance(),
        pytest.raises(DecorecError, match=r"made from two different ones.*one\.json results/shop/two\.json"),
    ):
        files.read_json(two)
        files.read_json(one)


def test_equal_content_has_an_equal_digest_whatever_it_was_made_from(tmp_path: Path) -> None:
    made(tmp_path / "now", 3)
    made(tmp_path / "before", 4)
    texts = [place(tmp_path / when, "one.json").read_text() for when in ("now", "before")]
    assert texts[0] != texts[1]
    assert len({text.partition("decorec-seal:")[2][:32] for text in texts}) == 1


def test_every_output_names_what_was_read_and_written_before_it(tmp_path: Path) -> None:
    made(tmp_path, 3)
    for name in ("one.json", "two.json"):
        assert "shop/vocab.parquet=" in place(tmp_path, name).read_text()
    with provenance():
        files.read_json(place(tmp_path, "one.json"))
        files.write_json(place(tmp_path, "first.json"), {})
        files.write_json(place(tmp_path, "second.json"), {})
    text = place(tmp_path, "second.json").read_text()
    assert "shop/one.json=" in text and "shop/first.json=" in text and "vocab" not in text


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("results/shop/vocab.parquet", "shop/vocab.parquet"),
        ("copies/results/older/results/shop/runs/x/seed-0/ranks.parquet", "shop/runs/x/seed-0/ranks.parquet"),
        ("results/cache/features/1.safetensors", ""),
        ("elsewhere/shop/vocab.parquet", ""),
        ("results", ""),
    ],
)
def test_places(path: str, found: str) -> None:
    assert place_of(Path(path)) == found
