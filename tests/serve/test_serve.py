"""A real server on loopback: its answers, refusals, counters and page; what waits is one call of the model."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import faiss
import numpy as np
import pytest

from decorec import load
from decorec.export.forward import plain
from decorec.export.onnx_file import onnx_bytes, onnx_scorer
from decorec.export.parity import padded
from decorec.recommend.score_parts import ScoreParts
from decorec.recommend.trained import TrainedRun
from decorec.serve.bodies import MOST_BYTES, MOST_HISTORY, Recommend, Similar
from decorec.serve.meters import Meters
from decorec.serve.reload import load_warm
from decorec.serve.worker import BusyError, Worker
from tests.support import browser, small
from tests.support.service import HOSTILE, ITEMS, UNKNOWN, Service, listed, shown
from tests.support.small_shop import drawing

REASONS = ("parts", "modalities", "clusters")


def test_the_answers_are_those_of_the_library(service: Service, trained: TrainedRun) -> None:
    history = [ITEMS[3], "unknown", ITEMS[9], ITEMS[3]]
    red = [item for number, item in enumerate(ITEMS) if number % 8 == 0]
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {}),
        ({"k": 40, "exclude": "nothing"}, {"k": 40, "exclude": "nothing"}),
        ({"exclude_items": ITEMS[:20]}, {"exclude_items": ITEMS[:20]}),
        ({"only": ITEMS[5:11], "k": 3}, {"only": ITEMS[5:11], "k": 3}),
        ({"category": "red"}, {"only": red}),
        ({"category": "red", "only": ITEMS[:17]}, {"only": [ITEMS[0], ITEMS[8], ITEMS[16]]}),
        ({"category": "red", "exclude_items": [ITEMS[8]]}, {"only": red, "exclude_items": [ITEMS[8]]}),
    ]
    for body, arguments in cases:
        for asked in (history, [], ["unknown"]):
            assert shown(service.recommend(asked, **body)) == listed(trained.recommend(asked, **arguments)), body
    wide = {"exclude_items": [f"{ITEMS[5]} "], "only": [f" {item}" for item in ITEMS[4:9]], "clusters": True}
    narrow = {"exclude_items": [ITEMS[5]], "only": ITEMS[4:9], "clusters": True}
    blanks = [f" {item} " for item in history]
    assert service.recommend(blanks, explain=True, **wide) == service.recommend(history, explain=True, **narrow)
    assert service.recommend(["unknown"], fallback="none") == []
    (first,) = service.recommend(history, k=1, explain=True)
    assert first["score"] == pytest.approx(trained.recommend(history, 1)[0].score)
    cosines = {item: float(trained.embed([item])[0] @ trained.embed([first["item"]])[0]) for item in history[::2]}
    nearest = max(cosines, key=cosines.__getitem__)
    assert first["because"]["item"] == nearest
    assert first["because"]["cosine"] == pytest.approx(cosines[nearest], abs=1e-6)
    answer = service.ask("/similar", {"item": ITEMS[4], "k": 5})
    assert shown(answer.json()["items"]) == listed(trained.similar(ITEMS[4], 5))
    assert service.ask("/similar", {"item": f" {ITEMS[4]}", "k": 5}).json() == answer.json()


def test_reasons_are_those_of_the_model(service: Service, trained: TrainedRun) -> None:
    history = [ITEMS[3], "unknown", ITEMS[9], ITEMS[8], ITEMS[3]]
    found = service.recommend(history, k=40, exclude="nothing", parts=True, clusters=True)
    expected = ScoreParts(trained).of(history, [each["item"] for each in found], "nothing")
    sums = []
    for each, parts in zip(found, expected, strict=True):
        assert parts is not None and set(each["parts"]) == {"text", "image", "ids", "interests"}
        assert each["parts"] == pytest.approx(parts.log_odds, abs=1e-6)
        assert each["modalities"] == pytest.approx(parts.modalities, abs=1e-6)
        sums.append(sum(each["parts"].values()))
    assert np.ptp(np.log([each["score"] for each in found]) - sums) < 1e-5
    texts = [drawing(number, np.random.default_rng(0))[1] for number in range(40)]
    for each in found:
        assert [cluster["modality"] for cluster in each["clusters"]] == ["text", "image"]
        for cluster in each["clusters"]:
            of = trained.model.item_data[f"interests.{cluster['modality']}"].tolist()
            own = [ITEMS[place] for place in range(40) if of[place] == of[trained.index[each["item"]]]]
            assert cluster["items"] == len(own)
            newest = [ITEMS[3], ITEMS[8], ITEMS[9]]
            assert cluster["bought"] == [item for item in newest if item in own and item != each["item"]]
            shown_by = [[word in texts[trained.index[item]] for item in own] for word in cluster["words"]]
            assert all(sum(there) > 1 for there in shown_by)
    assert any(cluster["words"] for each in found for cluster in each["clusters"])
    assert all(each[name] == type(each[name])() for each in service.recommend(history) for name in REASONS)
    popular = service.recommend(["unknown"], parts=True, clusters=True)
    assert not any(each["parts"] or each["modalities"] for each in popular)
    assert all(len(each["clusters"]) == 2 for each in popular)


def test_library_server_and_export_give_the_same_lists(service: Service, trained: TrainedRun) -> None:
    """A thousand histories: over HTTP, in onnxruntime, and from candidates of a FAISS index that are ranked again."""
    data = small.sequences(users=1_000)
    histories = [[ITEMS[item] for item in data.items[a:b]] for a, b in pairwise(data.offsets)]
    model, length = plain(trained), int(trained.run.model.length)
    asked = padded(data, np.arange(1_000), length)
    scores = onnx_scorer(onnx_bytes(model, "scores"))(*asked).numpy()
    vectors = np.ascontiguousarray(model.vectors().items.numpy())
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    candidates = index.search(np.ascontiguousarray(model.queries(*asked).numpy()), 36)[1]
    place = {item: number for number, item in enumerate(ITEMS)}
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(service.recommend, histories))
    library = trained.recommend_many(histories)
    for number, (history, own, answer) in enumerate(zip(histories, library, answers, strict=True)):
        row = scores[number].copy()
        row[[place[item] for item in history]] = -np.inf
        lists = [[place[each["item"]] for each in answer], np.argsort(-row, kind="stable")[:12]]
        # In the order of the library, but for items whose scores are the same up to rounding.
        assert all(np.allclose(row[[place[each.item] for each in own]], row[found], rtol=1e-5) for found in lists)
    again = [
        trained.recommend(history, only=[ITEMS[item] for item in found])
        for history, found in zip(histories[:100], candidates[:100], strict=True)
    ]
    pairs = [(each.item, found) for own, found in zip(library, again, strict=False) for each in own]
    assert sum(item in {each.item for each in found} for item, found in pairs) > 0.95 * len(pairs)


def test_refusals_say_why(service: Service) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "history: required key is missing"),
        ({"history": "item 1"}, "history: Input should be a valid list"),
        ({"history": [1]}, "history.0: Input should be a valid string"),
        ({"history": [ITEMS[0]] * (MOST_HISTORY + 1)}, f"at most {MOST_HISTORY} items"),
        ({"history": [], "k": 0}, "k: Input should be greater than or equal to 1, found 0"),
        ({"history": [], "k": 1001}, "k: Input should be less than or equal to 1000, found 1001"),
        ({"history": [], "k": "12"}, "k: Input should be a valid integer"),
        ({"history": [], "exclude": "all"}, "exclude: Input should be 'bought' or 'nothing', found 'all'"),
        ({"history": [], "histroy": []}, "histroy: unknown key"),
        ({"history": ["x" * 257]}, "at most 256 characters"),
        ({"history": [" "]}, "at least 1 character"),
        ({"history": [], "only": ["unknown"]}, "candidates: expected items of the model's 40"),
        ({"history": [], "exclude_items": ITEMS}, "candidates: expected items of the model's 40"),
        ({"history": [], "category": "hats"}, "category: expected one of 9, such as 'all', found 'hats'"),
        ({"history": [ITEMS[0]], "times": []}, "times: expected one for each of 1 items, found 0"),
        ({"history": ITEMS[:2], "times": [2, 1]}, "times: expected the oldest first"),
        ({"history": [ITEMS[0]], "times": [10**30]}, "times.0: Input should be less than or equal to 253402300799"),
    ]
    for body, words in cases:
        answer = service.ask("/recommend", body)
        assert answer.status_code == 422, body
        (line,) = answer.json()["detail"]
        assert words in line
        assert len(line) < 400, "what is found is shortened"
    unknown = service.ask("/similar", {"item": "unknown"})
    assert (unknown.status_code, "item 'unknown'" in unknown.json()["detail"][0]) == (422, True)
    post = service.session.post
    for content, words in (
        ("{", "body: expected JSON, found something else ("),
        ("[]", "body: expected a JSON object with the header Content-Type: application/json"),
        ("null", "body: expected a JSON object with the header Content-Type: application/json"),
        ('{"history": [NaN]}', "history.0: Input should be a valid string"),
        ('{"history": ["\\ud800"]}', "history.0: Input should be a valid string"),
        ("[" * 100_000, "body: expected JSON"),
        ('{"history": ["caf\xe9"]}'.encode("latin-1"), "body: expected JSON in UTF-8"),
    ):
        refused = post(f"{service.address}/recommend", content, headers={"Content-Type": "application/json"})
        (line,) = refused.json()["detail"]
        assert 400 <= refused.status_code < 500 and words in line, content[:20]
    (line,) = post(f"{service.address}/recommend", '{"history": []}').json()["detail"]
    assert "with the header Content-Type: application/json" in line, "as curl sends it without a header"
    (line,) = service.session.get(f"{service.address}/recommend").json()["detail"]
    assert line == "/recommend: expected another method than GET; see GET /docs"
    large = post(f"{service.address}/recommend", b" " * (MOST_BYTES + 1))
    assert (large.status_code, "at most" in large.json()["detail"][0]) == (413, True)
    parts = post(f"{service.address}/recommend", iter([b" " * MOST_BYTES] * 2))
    assert parts.status_code == 413, "also where the length is not announced"
    for path in ("/picture/item 1", "/picture/..%2F..%2Fshop%2Fitems.parquet", "/nothing"):
        assert service.get(path).status_code == 404


def test_health_counters_and_interface(service: Service) -> None:
    health = service.get("/health").json()
    assert (health["model"], health["items"], health["vectors"], health["reload_error"]) == ("decorec", 40, True, None)
    before = service.counted("decorec_requests_total")
    service.recommend([])
    assert service.counted("decorec_requests_total") >= before + 2
    assert service.counted("decorec_model_items") == 40
    assert {"/recommend", "/similar", "/health", "/metrics"} <= service.get("/openapi.json").json()["paths"].keys()
    for path in ("/", "/docs", "/page.css"):
        page = service.get(path)
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//|url\(", page.text), "nothing comes from elsewhere"
    assert "exclude_items" in service.get("/docs").text
    assert service.get("/picture/item 2").content[:2] == b"\xff\xd8"


def test_products_that_the_model_knows_are_found_first(service: Service) -> None:
    def found(words: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = service.get(f"/search?q={quote(words)}").json()["items"]
        return items

    (unknown,) = found(UNKNOWN)
    assert not unknown["known"]
    alike = found(unknown["title"])
    assert [product["item"] for product in alike if not product["known"]] == [UNKNOWN]
    assert alike[0]["title"] == unknown["title"] and alike[-1]["item"] == UNKNOWN


@pytest.mark.skipif(browser.CHROMIUM is None, reason="needs Chromium")
def test_the_page_in_a_browser(service: Service, tmp_path: Path, trained: TrainedRun) -> None:
    page = browser.Browser(tmp_path, 390)
    page.do("Page.navigate", url=service.address)
    page.until("document.querySelectorAll('#next li').length === 12")
    assert page.ask("document.querySelector('#next .note').textContent") == "popular in this shop"
    page.ask("document.querySelector('#words').focus()")
    page.type("green circ")
    page.until("document.querySelector('#products li')")
    first = page.ask("document.querySelector('#products li').dataset.item")
    page.press("Tab")
    page.press("Enter")
    page.until("document.querySelector('#next .note').textContent.startsWith('nearest')")
    assert page.ask("[...document.querySelectorAll('#basket li')].map(row => row.dataset.item)") == [first]
    listed = page.ask("[...document.querySelectorAll('#next li')].map(row => row.dataset.item)")
    assert listed == [each.item for each in trained.recommend([first])]
    # The reasons of an item, by keys alone, without a word that sticks out.
    page.ask("document.querySelector('#next button').focus()")
    page.press("Tab")
    assert page.ask("document.activeElement.matches('#next summary')")
    page.press("Enter")
    page.until("document.querySelector('#next details').open")
    for words in ("times as likely as an average product", "Of what you bought, its text counts", "Group by picture: "):
        assert words in page.ask("document.querySelector('#next details').innerText")
    assert page.ask("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.ask(
        "document.querySelector('#words').value = 'script alert'; document.querySelector('#words')"
        ".dispatchEvent(new Event('input'))"
    )
    page.until("document.querySelector('#products li')?.dataset.item === 'item 7'")
    assert page.ask("document.querySelector('#products .title').textContent") == HOSTILE
    assert not page.ask("document.querySelectorAll('main script, main img[onerror]').length")
    page.until("[...document.images].every(image => image.complete && image.naturalWidth)")
    assert page.ask("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    # Bought from the list, and taken back, by keys alone: the focus stays where one works.
    page.ask("document.querySelector('#next button').focus()")
    page.press("Enter")
    page.until("document.querySelectorAll('#basket li').length === 2 && document.activeElement.closest('#next')")
    page.ask("document.querySelector('#basket button').focus()")
    page.press("Enter")
    page.until("document.querySelectorAll('#basket li').length === 1 && document.activeElement.closest('#basket')")
    assert not page.said
    assert {url for url in page.requested if not url.startswith((service.address, "data:"))} == set()
    page.close()


def test_what_waits_is_one_call_of_the_model(folder: Path) -> None:
    loaded, meters = load_warm(folder), Meters()
    trained, worker = load(folder), Worker(loaded, meters)
    bodies = [Recommend(history=[ITEMS[n]], k=n, exclude_items=ITEMS[: n % 3]) for n in range(1, 31)]
    answers = [worker.ask(body) for body in bodies]
    other = worker.ask(Recommend(history=[ITEMS[1]], only=ITEMS[:5]))
    near, bad = worker.ask(Similar(item=ITEMS[1])), worker.ask(Similar(item="unknown"))
    gone = worker.ask(Recommend(history=[]))
    gone.cancel()
    worker.start()
    for body, answer in zip(bodies, answers, strict=True):
        expected = trained.recommend(body.history, body.k, exclude_items=body.exclude_items)
        assert [(each.item, each.reason) for each in answer.result()] == listed(expected)
    assert {each.item for each in other.result()} <= set(ITEMS[:5])
    assert len(near.result()) == 12
    assert "unknown" in str(bad.exception())
    worker.stop()
    read = meters.registry.get_sample_value
    assert read("decorec_batch_requests_count") == 4, "thirty together, the other candidates, and two similar items"
    assert read("decorec_batch_requests_sum") == 33
    idle = Worker(loaded, Meters())
    for _ in range(2_048):
        idle.ask(bodies[0])
    with pytest.raises(BusyError):
        idle.ask(bodies[0])
