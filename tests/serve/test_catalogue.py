"""What the server knows of the products, without a server: the search, the words of groups, and clusters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from decorec import load
from decorec.artifacts.files import write_table
from decorec.recommend.new_items import with_new_items
from decorec.recommend.trained import TrainedRun
from decorec.serve.catalogue import Catalogue, Tables
from decorec.serve.clusters import Clusters
from tests.support import small
from tests.support.service import ITEMS, train


def test_new_items_and_other_models_have_no_clusters(tmp_path: Path, trained: TrainedRun) -> None:
    features = np.random.default_rng(0).normal(size=(len(ITEMS) + 1, 8)).astype(np.float32)
    more = TrainedRun(with_new_items(trained.checkpoint, ["new"], [features], small.sequences()))
    clusters = Clusters(more, Catalogue())
    assert clusters.of("new", ITEMS) == []
    (_, image) = clusters.of(ITEMS[0], ["new", *ITEMS])
    assert (image.words, len(image.bought)) == ([], image.items - 1), "no words without a catalogue"
    train(tmp_path, stage="fit", name="sasrec")
    assert Clusters(load(tmp_path), Catalogue()).of(ITEMS[0], ITEMS) == []


def test_words_of_a_group_are_those_that_others_have_less(tmp_path: Path) -> None:
    texts = ["the red wool coat 12", "the red wool hat 12", "the red hat", "the blue coat", "the blue hat", "the", ""]
    write_table(tmp_path / "items.parquet", pl.DataFrame({"item": ITEMS[:7], "text": texts}))
    catalogue = Catalogue(Tables(tmp_path / "items.parquet"))
    groups = [ITEMS[:3], ITEMS[3:5], ITEMS[:1], [ITEMS[6], "unknown"], []]
    assert catalogue.typical(groups) == [["red", "wool"], ["blue"], ["coat", "wool", "red"], [], []]


def test_an_item_with_several_rows_is_found_by_its_first(tmp_path: Path) -> None:
    items, texts = ["a", "a", "b", None, "c"], ["red hat", "blue coat", "green scarf", "grey sock", "white shoe"]
    write_table(tmp_path / "items.parquet", pl.DataFrame({"item": items, "text": texts}))
    catalogue = Catalogue(Tables(tmp_path / "items.parquet"))
    found = {word: catalogue.search(word, 5) for word in ("hat", "coat", "scarf", "sock", "shoe")}
    assert found == {"hat": ["a"], "coat": [], "scarf": ["b"], "sock": [], "shoe": ["c"]}


def test_words_of_a_group_are_spelt_as_in_most_texts(tmp_path: Path) -> None:
    """The search takes й for и and é for e; what is shown does not."""
    texts = ["чайник cafe\u0301 resume", "Чайник café résumé", "чайник resume", "шарф", "шарф red", "hat", "hat"]
    write_table(tmp_path / "items.parquet", pl.DataFrame({"item": ITEMS[:7], "text": texts}))
    catalogue = Catalogue(Tables(tmp_path / "items.parquet"))
    assert catalogue.typical([ITEMS[:3], ITEMS[3:5]]) == [["resume", "чайник", "café"], ["шарф"]]
    assert catalogue.search("чаиник", 5) == catalogue.search("чайник", 5)
    assert set(catalogue.search("чайник", 5)) == set(ITEMS[:3])
