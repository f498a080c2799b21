"""The Python of pages about files of one's own, on small files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from decorec.acquire.crawl.fetch import CLASSES, NAMES
from decorec.acquire.crawl.step import crawl
from decorec.acquire.sources.table import opened
from decorec.artifacts.schemas.images import IMAGES
from decorec.artifacts.seal import provenance
from decorec.config import load
from decorec.config.acquire import CrawlConfig
from decorec.config.datasets import AtomicDataset, TableDataset
from decorec.data.item_features import FeatureFile
from decorec.data.sequences import read_vocab, write_vocab
from decorec.errors import DecorecError
from decorec.features.atomic import atomic_features
from decorec.features.given import GivenVectors
from decorec.prepare.atomic import atomic
from docs.generate.notebook import blocks
from tests.support.fabricated_ranks import fabricate, main_table, make
from tests.support.workplace import REPOSITORY


def follow(page: str, part: slice = slice(None), dataset: str = "sample", kind: str = "how-to") -> None:
    """The Python of one page, or some of its blocks, in the working directory; ``dataset`` in place of the sample."""
    code = blocks((REPOSITORY / f"docs/{kind}/{page}.md").read_text(encoding="utf-8"))[part]
    exec("\n".join(code).replace("sample", dataset), {})


def test_the_layout_of_mmrec_becomes_tables_and_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("baby.inter").write_text("userID\titemID\trating\ttimestamp\tx_label\n0\t11\t5.0\t1370000000\t0\n")
    for modality, width in (("text", 2), ("image", 3)):
        np.save(f"{modality}_feat.npy", np.arange(12.0)[:, None] * np.ones(width))
    follow("sources", slice(1))
    source = opened(TableDataset(source="table", path="."))
    found, _ = source.read_interactions()
    assert found.rows.select(pl.col("user", "item").cast(pl.String)).rows() == [("0", "11")]
    assert source.items.read_items().ids.to_list() == [str(number) for number in range(12)]
    for modality, width in (("text", 2), ("image", 3)):
        x, present = GivenVectors.read(Path(f"{modality}.parquet")).of(["11", "0", "3"])
        assert x.tolist() == [[11.0] * width, [0.0] * width, [3.0] * width], "the row is that of the number"
        assert present.tolist() == [True, False, True]


def test_a_split_of_ones_own_becomes_atomic_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bought = {"train": "u,007\nv,1\nu,2\n", "valid": "v,2\nu,1\n", "test": "u,007\nv,007\n"}
    for part, rows in bought.items():
        Path(f"{part}.csv").write_text(f"user,item\n{rows}")
    Path("items.csv").write_text('item,title\n2,"A ""red""\tshoe"\n007,\n1,Hat\n')
    for modality, width in (("text", 2), ("image", 3)):
        np.save(f"{modality}.npy", np.arange(1.0, 4)[:, None] * np.ones(width))
    follow("sources", slice(1, 2))
    section = AtomicDataset.model_validate(
        {"source": "atomic", "path": ".", "name": "Own", "width": {"text": 2, "image": 3}}
    )
    files = {name: Path("out", name) for name in ("catalogue", "vocab", "sequences", "statistics")}
    atomic(dataset=section, **files)
    names, found = read_vocab(files["vocab"]), pl.read_parquet(files["sequences"])
    assert names == ["2", "007", "1"]
    assert {user: [names[item] for item in items] for user, items in found.select("user", "items").rows()} == {
        "u": ["007", "2", "1", "007"],
        "v": ["1", "2", "007"],
    }
    assert pl.read_parquet(files["catalogue"])["text"].to_list() == ['A "red" shoe', "", "Hat"]
    atomic_features(dataset=section, modality="image", features=Path("out/image.safetensors"))
    assert FeatureFile.read(Path("out/image.safetensors")).aligned(["1", "2"])[0].tolist() == [[3.0] * 3, [1.0] * 3]
    Path("valid.csv").write_text("user,item\nu,1\nu,1\nv,2\n")
    with pytest.raises(AssertionError, match=r"valid.csv: expected one row for each user"):
        follow("sources", slice(1, 2))


def test_an_array_is_written_with_its_ids_and_refused_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vectors").mkdir()
    Path("vectors/ids.txt").write_text("b\na\n")
    np.save("vectors/image.npy", np.array([[1.0, 2.0], [3.0, 4.0]]))
    follow("encoders")
    assert GivenVectors.read(Path("vectors/image.parquet")).of(["a", "b"])[0].tolist() == [[3, 4], [1, 2]]
    shop = {"datasets": {"shop": {"source": "sample"}}}
    for key in ("text", "image"):
        message = rf"features\.{key}: expected vectors with the ids of their items .*found 'vectors/image.npy', whose"
        with pytest.raises(DecorecError, match=message):
            load(shop | {"features": {key: "vectors/image.npy"}})


def test_pictures_are_found_and_crawled_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("results/sample").mkdir(parents=True)
    rows = [{"item": "a", "url": "a.jpg", "status": "ok", "sha256": "12" * 32}]
    rows += [{"item": name, "url": "x", "status": "permanent", "error": "not-an-image"} for name in "bc"]
    pl.DataFrame(rows, schema=IMAGES).write_parquet("results/sample/images.parquet")
    follow("pictures")
    assert f"results/cache/images/12/{'12' * 32}.jpg"[:30] in capsys.readouterr().out, "the stored file is not there"
    Image.new("RGB", (64, 64), "red").save("mine/red.png")
    outputs = {"cache": Path("mine/cache"), "images": Path("mine/images.parquet")}
    section = TableDataset(source="table", path="mine")
    crawl(dataset=section, settings=CrawlConfig(rate=5), catalogue=Path("mine/items.parquet"), **outputs)
    found = pl.read_parquet("mine/images.parquet")
    assert found.select("url", "error").rows() == [
        ("red.png", None),
        ("blue.png", "missing-file"),
        ("old/blue.jpg", "missing-file"),
    ]
    assert len([*Path("mine/cache/images").rglob("*.jpg")]) == 1


def test_the_page_of_pictures_has_every_failure() -> None:
    page = (REPOSITORY / "docs/how-to/pictures.md").read_text(encoding="utf-8")
    folder = REPOSITORY / "decorec/acquire/crawl"
    raised = re.findall(
        r'(?:PictureError\(|Outcome\("\w+", |raise job.failure or PictureError\()"([a-z-]+)"',
        "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py")),
    )
    names = {*raised, *NAMES.values(), *(name for _, name, _ in CLASSES), "truncated", "unreadable", "server-error"}
    assert len(names) > 35
    assert not [name for name in sorted(names) if f"`{name}`" not in page]


def test_a_table_is_followed_to_what_it_was_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files, _ = fabricate(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("results/tables").mkdir()
    with provenance():  # as each step has it
        make(main_table, files, Path("results/tables"))
    Path("results/tables/table.csv.seal").rename("results/tables/main.csv.seal")
    follow("reproducibility", kind="explanation")
    first, *others = capsys.readouterr().out.splitlines()
    assert first == "tables/main.csv.seal"
    assert sorted(others) == sorted(file.relative_to(tmp_path / "results").as_posix() for file in files)


def test_results_are_read_with_pandas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files, _ = fabricate(tmp_path)
    make(main_table, files, tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("results/tables").mkdir()
    Path("table.csv").rename("results/tables/main.csv")
    write_vocab(Path("results/shop/vocab.parquet"), [f"0{number}" for number in range(30)])
    follow("report", dataset="shop")
    assert "my-run" in capsys.readouterr().out
    written = pl.read_csv("places.csv", infer_schema=False)
    ranks = pl.read_parquet("results/shop/runs/decorec/seed-0/ranks.parquet")
    assert written["target"].to_list() == [f"0{number}" for number in ranks["target"]], "ids keep their zeros"
    assert (written["worst place"].cast(int) - written["best place"].cast(int)).to_list() == ranks["equal"].to_list()
