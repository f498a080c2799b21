"""The page with everything: recommendations as the models rank, hostile titles, and a real browser that looks at it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from decorec.artifacts.files import read_text, write_arrays, write_json
from decorec.data.sequences import Sequences, write_vocab
from decorec.errors import DecorecError
from decorec.evaluation.full_ranking import rank_by_history
from decorec.models import checkpoint
from decorec.report.gallery import gallery
from decorec.report.step import report_page
from tests.figures.test_figures import draw, tables
from tests.support import browser, small
from tests.support.fabricated_ranks import fabricate, main_table, make
from tests.support.small_shop import drawing, store

ITEMS = [f"i{number}" for number in range(40)]
HOSTILE = (
    "<script>alert('x')</script>\"><img src=http://evil.example/x.png onerror=alert(1)>{{ 7*7 }} &amp; " + "W" * 80
)
RUNS = {"decorec": "stage2", "sasrec": "fit", "vstan": "fit"}


def trained(folder: Path, data: Sequences) -> list[Path]:
    files = []
    for run, stage in RUNS.items():
        chosen = small.run(name=run)
        place = folder / "runs" / run / "seed-0" / stage
        model = small.model(data, chosen, stage)
        model.observe(data.training())
        small.save(model, chosen, 0, ITEMS, place / "model.safetensors", place / "config.json")
        files.append(place / "model.safetensors")
    return files


def world(folder: Path, data: Sequences) -> dict[str, Any]:
    """Arguments of the step gallery: every fifth item has no picture, all titles are hostile."""
    files: dict[str, Any] = {name: folder / name for name in ("vocab", "sequences", "catalogue", "images")}
    interests = [folder / "interests" / f"{modality}.safetensors" for modality in ("text", "image")]
    folder.mkdir(parents=True, exist_ok=True)
    write_vocab(files["vocab"], ITEMS)
    data.write(files["sequences"])
    pl.DataFrame({"item": ITEMS, "title": [f"{item} {HOSTILE}" for item in ITEMS], "text": "text"}).write_parquet(
        files["catalogue"]
    )
    random = np.random.default_rng(0)
    pictures = [(item, store(folder / "cache", drawing(i, random)[0])) for i, item in enumerate(ITEMS) if i % 5]
    rows = [(item, "ok", None, sha) for item, sha in pictures] + [("i0", "permanent", HOSTILE, None)]
    schema = ["item", "status", "error", "sha256"]
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(files["images"])
    for file in interests:
        write_arrays(file, {"assignment": np.arange(40) % 7})
    return files | {"interests": interests, "cache": folder / "cache", "models": trained(folder, data), "users": 4}


def make_gallery(folder: Path, **changes: Any) -> dict[str, Any]:
    arguments = {**world(folder, small.sequences()), **changes}
    gallery(**arguments, output=folder / "gallery.json")
    found: dict[str, Any] = json.loads((folder / "gallery.json").read_text())
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with a table, a figure, counts and a gallery of two data sets."""
    folder = tmp_path_factory.mktemp("report")
    make_gallery(folder / "shop")
    make_gallery(folder / "given", images=None)
    ranks, _ = fabricate(folder / "ranks")
    make(main_table, ranks, folder)
    dropped = {"filter": [{"step": "5-core, pass 1", "dropped": {HOSTILE: 3, "unused reason": 0}}]}
    write_json(folder / "shop" / "ingest.json", {"interactions": {"dropped": {"not JSON": 1}}, **dropped})
    for dataset in ("shop", "given"):
        write_json(folder / dataset / "statistics.json", dropped if dataset == "shop" else {"filter": []})
    svgs = []
    for name in ("pareto", "fig9"):
        draw(name, tables(folder), folder)
        svgs.append(folder / f"{name}.svg")
    for output in ("index.html", "again.html"):
        report_page(
            tables=[folder / "table.html"],
            figures=svgs,
            galleries=[folder / "shop" / "gallery.json", folder / "given" / "gallery.json"],
            counts=[folder / "shop" / "ingest.json"],
            statistics=[folder / "shop" / "statistics.json", folder / "given" / "statistics.json"],
            images=[folder / "shop" / "images"],
            page=folder / output,
        )
    return folder / "index.html"


def test_the_gallery_shows_what_the_models_rank(tmp_path: Path) -> None:
    found = make_gallery(tmp_path)
    data = small.sequences()
    histories = [data.items[a:b].tolist() for a, b in zip(data.offsets[:-1], data.offsets[1:], strict=True)]
    for file, run in zip(trained(tmp_path, data), RUNS, strict=True):
        ranks = rank_by_history(checkpoint.load(file, file.with_name("config.json")).model, data, "test")
        for user in found["users"]:
            number = histories.index([*user["history"], user["target"]])
            shown = user["runs"][run]
            assert shown["rank"] == {history: found.mean_rank()[number] for history, found in ranks.items()}
            assert len({entry["item"] for entry in shown["top"]}) == 10
            scores = [entry["score"] for entry in shown["top"]]
            assert scores == sorted(scores, reverse=True)
            if shown["rank"]["kept"] in range(1, 11):
                assert shown["top"][int(shown["rank"]["kept"]) - 1]["item"] == user["target"]
            assert all(set(e["parts"]) == ({"text", "image"} if run == "decorec" else set()) for e in shown["top"])
    assert found["items"]["1" if "1" in found["items"] else "2"]["picture"].startswith("data:image/jpeg;base64,")
    assert all((int(i) % 5 == 0) == (item["picture"] is None) for i, item in found["items"].items())
    assert all(item["clusters"]["text"] == int(i) % 7 for i, item in found["items"].items())


def test_a_model_of_other_items_is_refused(tmp_path: Path) -> None:
    arguments = world(tmp_path, small.sequences())
    write_vocab(arguments["vocab"], [*ITEMS[:-1], "other"])
    with pytest.raises(DecorecError, match=r"model\.safetensors"):
        gallery(**arguments, output=tmp_path / "gallery.json")


def test_the_page_is_one_file_without_requests_or_markup_from_outside(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == page.with_name("again.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "{{ 7*7 }}" in text, "titles are no templates"
    targets = re.findall(r'\s(?:src|href|action)="([^"]*)"', text)
    assert targets
    assert all(target.startswith(("data:", "#")) for target in targets)
    identifiers = re.findall(r'\sid="([^"]*)"', text)
    assert len(identifiers) == len(set(identifiers))
    assert "reading: interactions" in text
    assert "unused reason" not in text, "what dropped nothing is not listed"
    assert text.count("<h1") == 1


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "main.html").write_text("<p>")
    nothing: dict[str, Any] = {name: [] for name in ("figures", "galleries", "counts", "statistics", "images")}
    with pytest.raises(DecorecError, match=r"main\.html"):
        report_page(tables=[tmp_path / "main.html"], **nothing, page=tmp_path / "index.html")


def test_a_table_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    ranks, _ = fabricate(tmp_path / "ranks")
    make(main_table, ranks, tmp_path)
    file = tmp_path / "table.html"
    nothing: dict[str, Any] = {name: [] for name in ("figures", "galleries", "counts", "statistics", "images")}
    whole = read_text(file)  # without its seal, which would tell as well
    report_page(tables=[file], **nothing, page=tmp_path / "index.html")
    (tmp_path / "index.html").unlink()
    for length in (0, 40, len(whole) // 2, whole.index("</main>") + 3, len(whole) - 3):
        file.write_text(whole[:length])
        with pytest.raises(DecorecError, match=r"table\.html: .*cut off; delete it and run the step"):
            report_page(tables=[file], **nothing, page=tmp_path / "index.html")
    assert not (tmp_path / "index.html").exists()


def test_damaged_documents_are_named(tmp_path: Path) -> None:
    item = {"title": "a", "clusters": {}, "picture": None}
    user = {"history": [0], "length": 1, "target": 1, "runs": {}}
    nothing: dict[str, Any] = {
        name: [] for name in ("tables", "figures", "galleries", "counts", "statistics", "images")
    }
    for name, argument, found, message in [
        ("gallery", "galleries", [], "valid dictionary"),
        ("gallery", "galleries", {"users": []}, "items: required key is missing"),
        ("gallery", "galleries", {"users": [user], "items": {"0": item}}, "expected item 1 of the users"),
        ("gallery", "galleries", {"users": [{}], "items": {}}, "users.0.history: required key is missing"),
        ("statistics", "statistics", {}, "filter: required key is missing"),
        ("statistics", "statistics", {"filter": [{"step": "x"}]}, "filter.0.dropped: required key"),
    ]:
        file = tmp_path / "shop" / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(found))
        with pytest.raises(DecorecError, match=rf"{name}\.json[\s\S]*{message}[\s\S]*delete the file"):
            report_page(**nothing | {argument: [file]}, page=tmp_path / "index.html")


needs_chromium = pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium (apt-get install chromium)")


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_finds_nothing_wrong(page: Path, width: int, tmp_path: Path) -> None:
    seen = browser.visit(page, width, tmp_path)
    assert seen.console == []
    assert seen.requested == []
    assert seen.measured["wide"] == []
    assert seen.measured["content"] == seen.measured["width"]
    assert seen.measured["broken"] == 0
    assert (seen.measured["hidden"], seen.measured["focused"]) == ("none", "block")


@needs_chromium
def test_the_browser_would_find_it(tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text('<script>console.error("x")</script><img src="http://a.example/b.png"/><div style="width:2000px">.')
    seen = browser.visit(bad, 390, tmp_path / "visit")
    assert len(seen.console) >= 1
    assert seen.requested == ["http://a.example/b.png"]
    assert seen.measured["content"] == 2000 + 8
    assert seen.measured["wide"]
