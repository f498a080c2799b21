"""The page with everything: recommendations as the models rank, hostile titles, and a real browser that looks at it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from decorec.artifacts.files import read_csv, read_text, write_arrays, write_json, write_table
from decorec.data.sequences import Sequences, write_vocab
from decorec.errors import DecorecError
from decorec.evaluation.full_ranking import rank_by_history
from decorec.models import checkpoint
from decorec.report.gallery import gallery
from decorec.report.step import in_words, report_page
from decorec.tables.labels import short
from decorec.tables.leaderboard import leaderboard_table
from tests.figures.test_figures import draw, tables
from tests.support import browser, small
from tests.support.fabricated_ranks import EVALUATE, USERS, fabricate, main_table, make, write_ranks
from tests.support.small_shop import drawing, store

RANKED = ["decorec", "sasrec", "my-run"]
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


def board(folder: Path) -> Path:
    """The leaderboard of made-up ranks."""
    ranks, _ = fabricate(folder / "ranks")
    file = folder / "leaderboard.csv"
    validation = [
        write_ranks(path.with_name("validation.parquet"), np.tile([3, 0], (USERS, 1)))
        for path in ranks
        if path.parts[-3] == "my-run"
    ]
    arguments = {"ranks": ranks, "validation": validation, "runs": RANKED, "floors": ["my-run"]}
    leaderboard_table(**arguments, reference="decorec", evaluate=EVALUATE, csv=file)
    return file


def bare(folder: Path) -> dict[str, Any]:
    """Arguments of a page with a leaderboard alone."""
    lists = ("tables", "figures", "histories", "galleries", "verdicts", "counts", "statistics", "images")
    return {"leaderboard": board(folder), "reference": "decorec", **{name: [] for name in lists}}


LOSSES = {"my-run/seed-0": [3.0, 2.0, 1.0], "my-run/seed-1": [3.0, 5.0], "sasrec/seed-0": [1.0], "ease/seed-0": [None]}
"""Of two seeds of a training, of another one, and of a floor, which is not trained; the last epoch is the best."""


def histories(folder: Path) -> list[Path]:
    files = []
    for place, losses in LOSSES.items():
        epochs = range(len(losses))
        rows = [(epoch, losses[epoch], 0.25 * epoch, epoch == epochs[-1]) for epoch in epochs]
        schema = {"epoch": pl.Int64, "loss": pl.Float64, "NDCG@10": pl.Float64, "best": pl.Boolean}
        files.append(folder / "shop" / "runs" / place / "fit" / "history.parquet")
        write_table(files[-1], pl.DataFrame(rows, schema, orient="row"))
    return files


def said(sentence: str) -> dict[str, Any]:
    """A verdict."""
    row = {"run": "decorec", "reads": "text and pictures", "mean": {"kept": 0.2, "masked": 0.3}}
    row |= {"difference": {"kept": [0.1, 0.05, 0.15], "masked": [0.1, 0.05, 0.15]}, "seconds": 12.0, "memory": 800.0}
    texts = {"choice": "Take it.", "chosen": "decorec", "hidden": ["something"], "notes": ["how"]}
    return {"sentence": sentence, "answer": "help", "customers": None, "twins": [row], "models": [row], **texts}


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
    make(main_table, fabricate(folder / "ranks")[0], folder)
    write_json(folder / "shop" / "verdict.json", said(f"They help {HOSTILE}."))
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
            leaderboard=board(folder),
            reference="decorec",
            verdicts=[folder / "shop" / "verdict.json"],
            tables=[folder / "table.html"],
            figures=svgs,
            histories=histories(folder),
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
            parts = {"text", "image"} if run == "decorec" else set()
            for history, top in shown["top"].items():
                assert len({entry["item"] for entry in top}) == 10
                scores = [entry["score"] for entry in top]
                assert scores == sorted(scores, reverse=True)
                assert all(set(entry["parts"]) == parts for entry in top)
                if history == "masked":
                    assert not {entry["item"] for entry in top} & set(user["history"]), "bought before"
            if shown["rank"]["kept"] in range(1, 11):
                assert shown["top"]["kept"][int(shown["rank"]["kept"]) - 1]["item"] == user["target"]
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


def test_the_page_starts_with_the_verdict_and_the_models_in_order(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.index('class="verdict help"') < text.index('id="leaderboard"') < text.index('id="gallery"')
    assert text.index('id="gallery"') < text.index('id="tables"') < text.index('id="data"')
    board = text[text.index('id="leaderboard"') : text.index('id="verdicts"')]
    rows = read_csv(page.with_name("leaderboard.csv")).filter(dataset="shop", history="masked")
    shown = board.split("shop, 30 customers, history masked")[1]
    for row in rows.iter_rows(named=True):
        name = f"{row['place']}.&#160;{short(row['model'])}</th><td><strong>{1000 * row['hit']:.0f}</strong>"
        assert name in shown
        assert f"<small>{1000 * row['ci_low']:.0f} to {1000 * row['ci_high']:.0f}</small>" in shown
        assert row["p_floor"] is None or f"<td>{row['p_floor']:.4f}</td></tr>" in shown
    assert list(rows["hit"]) == sorted(rows["hit"], reverse=True)
    assert rows.filter(model="my-run")["p_floor"].to_list() == [None], "the floor itself"
    assert (in_words(12.5), in_words(1000), in_words(1001)) == (
        "at place 12.5",
        "at place 1000",
        "not in the first 1,000",
    )


def test_the_page_has_the_curves_of_every_training(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    section = text[text.index('id="trainings"') : text.index('id="gallery"')]
    mine, other = section.split("<figure>")[1:]
    assert f"<strong>{short('my-run')}</strong>, 3 epochs, best: 3, 2</figcaption>" in mine
    loss, ndcg = mine.split("<svg")[1:]
    assert "loss from 1 to 5" in loss and "NDCG@10 from 0 to 0.5" in ndcg
    # From 4 to 236 across and from 4 down to 86: the first seed falls from the middle, the second one rises.
    assert re.findall(r'points="([^"]*)"', loss) == ["4.0,45.0 120.0,65.5 236.0,86.0", "4.0,45.0 120.0,4.0"]
    assert re.findall(r'cx="([^"]*)" cy="([^"]*)"', ndcg) == [("236.0", "4.0"), ("120.0", "45.0")]
    assert f"<strong>{short('sasrec')}</strong>, 1 epochs" in other, "a floor has no curves"


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "main.html").write_text("<p>")
    with pytest.raises(DecorecError, match=r"main\.html"):
        report_page(**bare(tmp_path) | {"tables": [tmp_path / "main.html"]}, page=tmp_path / "index.html")


def test_a_table_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    ranks, _ = fabricate(tmp_path / "ranks")
    make(main_table, ranks, tmp_path)
    file = tmp_path / "table.html"
    arguments = bare(tmp_path) | {"tables": [file]}
    whole = read_text(file)  # without its seal, which would tell as well
    report_page(**arguments, page=tmp_path / "index.html")
    (tmp_path / "index.html").unlink()
    for length in (0, 40, len(whole) // 2, whole.index("</main>") + 3, len(whole) - 3):
        file.write_text(whole[:length])
        with pytest.raises(DecorecError, match=r"table\.html: .*cut off; delete it and run the step"):
            report_page(**arguments, page=tmp_path / "index.html")
    assert not (tmp_path / "index.html").exists()


def test_damaged_documents_are_named(tmp_path: Path) -> None:
    item = {"title": "a", "clusters": {}, "picture": None}
    user = {"history": [0], "length": 1, "target": 1, "runs": {}}
    nothing = bare(tmp_path)
    for name, argument, found, message in [
        ("gallery", "galleries", [], "valid dictionary"),
        ("gallery", "galleries", {"users": []}, "items: required key is missing"),
        ("gallery", "galleries", {"users": [user], "items": {"0": item}}, "expected item 1 of the users"),
        ("gallery", "galleries", {"users": [{}], "items": {}}, "users.0.history: required key is missing"),
        ("verdict", "verdicts", {"sentence": "x"}, "answer: required key is missing"),
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
    assert set(seen.measured["boards"]) == {0} or width < 1280, "all columns of the leaderboard are in view"
    assert (seen.measured["figures"], seen.measured["loose"]) == (0, 0)
    assert seen.measured["first"] == [True, False], "the history is kept at first"
    assert seen.measured["second"] == [False, True], "the switch needs no script"
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
