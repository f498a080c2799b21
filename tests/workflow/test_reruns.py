"""Files outside of the rule graph: a changed picture, copy or weights file runs what reads it, nothing else."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from decorec.artifacts import layout, step_log
from decorec.config import AmazonDataset
from decorec.plan.call import Call
from tests.support import category
from tests.support.small_shop import drawing
from tests.support.workplace import TINY, Workplace

pytestmark = pytest.mark.workflow
ITEMS, USERS = 40, 60
SHOP: dict[str, Any] = TINY | {"datasets": {"shop": {"source": "table", "path": "data"}}, "filter": {"kcore": 3}}
VOCAB = layout.fill(layout.VOCAB, dataset="shop")
REVIEWS = layout.fill(layout.RAW_REVIEWS, dataset="gifts")
LARGE = ("--max-checksum-file-size", "0")
"""With files as large as those of a real shop, of which Snakemake itself compares the times alone."""


def write_shop(folder: Path) -> None:
    """Tables of a shop, and pictures beside them."""
    folder.mkdir()
    random = np.random.default_rng(0)
    with (folder / "items.csv").open("w", newline="") as handle:
        items = csv.writer(handle)
        items.writerow(["item", "title", "image"])
        for number in range(ITEMS):
            picture, text = drawing(number, random)
            picture.save(folder / f"{number}.jpg")
            items.writerow([f"i{number}", text, f"{number}.jpg"])
    with (folder / "interactions.csv").open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["user", "item", "timestamp"])
        for user in range(USERS):
            for day, item in enumerate(random.permutation(ITEMS)[:8]):
                rows.writerow([f"u{user}", f"i{item}", 1_500_000_000 + 86_400 * day])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A shop of one's own, read, crawled, encoded and split."""
    workplace = Workplace(tmp_path_factory.mktemp("shop") / "work", SHOP, VOCAB)
    workplace.options = LARGE
    write_shop(workplace.folder / "data")
    result = workplace.snakemake("--show-failed-logs", "--", VOCAB)
    assert result.returncode == 0, result.stdout + result.stderr
    return workplace


@pytest.fixture
def shop(prepared: Workplace) -> Iterator[Workplace]:
    """The same; its files are put back afterwards."""
    kept = prepared.folder / "kept"
    shutil.copytree(prepared.folder / "data", kept)
    yield prepared
    shutil.rmtree(prepared.folder / "data")
    kept.rename(prepared.folder / "data")


def steps(workplace: Workplace) -> list[str]:
    """The steps that have run in a workplace, in their order."""
    return [record["step"] for record in step_log.read(workplace.folder / layout.STEP_LOG)[0]]


AFTER_A_PICTURE = {"crawl": 1, "features": 1, "split": 1, "total": 3}


def test_nothing_is_planned_where_nothing_changed(shop: Workplace) -> None:
    assert shop.planned() == {}


def test_the_same_bytes_with_other_times_run_nothing(shop: Workplace) -> None:
    data, copied = shop.folder / "data", shop.folder / "copied"
    shutil.copytree(data, copied, copy_function=shutil.copyfile)
    shutil.rmtree(data)
    copied.rename(data)
    for name in ("items.csv", "1.jpg"):
        os.utime(data / name, (1_000_000_000, 1_000_000_000))
    assert shop.planned() == {}


def test_a_replaced_picture_is_crawled_again_and_what_follows(shop: Workplace) -> None:
    shutil.copy(shop.folder / "data/1.jpg", shop.folder / "data/0.jpg")
    assert shop.planned() == AFTER_A_PICTURE


def test_a_deleted_picture_is_crawled_again_and_what_follows(shop: Workplace) -> None:
    (shop.folder / "data/0.jpg").unlink()
    assert shop.planned() == AFTER_A_PICTURE


def test_a_file_that_no_item_names_runs_nothing(shop: Workplace) -> None:
    shutil.copy(shop.folder / "data/1.jpg", shop.folder / "data/unused.jpg")
    (shop.folder / "data/notes.txt").write_text("mine")
    assert shop.planned() == {}


def test_the_key_reproducible_encodes_again_and_crawls_nothing(prepared: Workplace) -> None:
    prepared.configure(SHOP | {"reproducible": True})
    assert prepared.planned() == {"features": 1, "split": 1, "total": 2}
    prepared.configure(SHOP)


def test_another_table_of_interactions_runs_ingest_and_what_follows(shop: Workplace) -> None:
    with (shop.folder / "data/interactions.csv").open("a") as handle:
        handle.write("u0,i39,1600000000\n")
    assert shop.planned() == {"ingest": 1, "crawl": 1, "features": 1, "split": 1, "total": 4}, "at most: see below"


def test_a_table_of_the_size_and_with_the_time_of_the_old_one_is_read_again(shop: Workplace) -> None:
    table = shop.folder / "data/interactions.csv"
    facts = table.stat()
    table.write_bytes(table.read_bytes().replace(b"1500000000", b"1500000001", 1))
    os.utime(table, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert table.stat().st_size == facts.st_size
    assert shop.planned()["ingest"] == 1


def test_a_rule_of_ones_own_that_makes_a_table_runs_before_ingest(shop: Workplace) -> None:
    """Files that rules make count as those of the workflow do."""
    (shop.folder / "fetched.csv").write_text((shop.folder / "data/interactions.csv").read_text())
    rule = (
        'rule fetch:\n    input: "fetched.csv"\n    output: "data/interactions.csv"\n    shell: "cp {input} {output}"\n'
    )
    (shop.folder / "own.smk").write_text(f'include: "Snakefile"\n{rule}')
    result = shop.snakemake("--dry-run", "--quiet", "host", "--snakefile", "own.smk", "--", VOCAB)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Input files updated by another job: data/interactions.csv" in result.stdout + result.stderr


def test_tables_that_are_read_again_run_only_what_their_content_changes(prepared: Workplace, tmp_path: Path) -> None:
    workplace = prepared.copy(tmp_path / "work", SHOP)
    before = len(steps(workplace))
    with (workplace.folder / "data/interactions.csv").open("a") as handle:
        handle.write("u0,i39,1600000000\n")
    result = workplace.snakemake("--show-failed-logs", "--", VOCAB)
    assert result.returncode == 0, result.stdout + result.stderr
    assert steps(workplace)[before:] == ["ingest", "split"], "the same items: nothing to fetch and to encode"
    call = Call.read(workplace.folder / ".snakemake")
    assert call is not None
    unneeded = sorted(job.step for job in call.of("unneeded"))  # Snakemake plans jobs in no order
    assert unneeded == ["crawl", "features"], "what was planned is not left waiting"
    assert workplace.planned() == {}


def test_a_replaced_weights_file_encodes_again_and_crawls_nothing(prepared: Workplace, tmp_path: Path) -> None:
    from decorec import gpus
    from decorec.features.clip import SMALL_CLIP, build_clip

    encoder = build_clip(SMALL_CLIP.stem, None, "fp32", gpus.device("cpu"))
    weights = {name: tensor.numpy() for name, tensor in encoder.model.state_dict().items()}
    features = {"encoder": "clip", "model": SMALL_CLIP.stem, "weights": "weights.safetensors"}
    workplace = prepared.copy(tmp_path / "work", SHOP | {"features": features})
    file = workplace.folder / "weights.safetensors"
    save_file(weights, file)
    result = workplace.snakemake("--show-failed-logs", "--", VOCAB)
    assert result.returncode == 0, result.stdout + result.stderr
    assert workplace.planned() == {}
    (workplace.folder / "other.safetensors").write_bytes(file.read_bytes())
    later = file.stat().st_mtime + 60
    os.utime(file, (later, later))
    assert workplace.planned() == {}, "another file, and another time"
    save_file(weights | {"logit_scale": np.asarray(weights["logit_scale"] + 1)}, file)
    assert workplace.planned() == {"features": 1, "split": 1, "total": 2}


def test_a_replaced_copy_is_downloaded_again(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    dataset = {"source": "amazon2018", "category": "Gift_Cards", "base_url": f"file:{copy}"}
    assert AmazonDataset.model_validate(dataset)
    reviews = category.write(copy / "Gift_Cards.json.gz", category.reviews())
    category.write(copy / "meta_Gift_Cards.json.gz", category.metadata())
    workplace = Workplace(tmp_path / "work", TINY | {"datasets": {"gifts": dataset}}, REVIEWS)
    workplace.options = LARGE
    result = workplace.snakemake("--show-failed-logs", "--", REVIEWS)
    assert result.returncode == 0, result.stdout + result.stderr
    assert workplace.planned() == {}
    category.write(copy / "Software.json.gz", category.reviews())
    later = reviews.stat().st_mtime + 60
    os.utime(reviews, (later, later))
    assert workplace.planned() == {}, "another category, and another time"
    category.write(reviews, category.reviews()[1:])
    assert workplace.planned() == {"download": 1, "total": 1}
    reviews.unlink()
    assert "expected a file, found none" in workplace.snakemake("--force", "--show-failed-logs", "--", REVIEWS).stderr
