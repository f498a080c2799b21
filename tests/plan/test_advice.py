"""What to do is told where Snakemake says only what is not there."""

from __future__ import annotations

from decorec.config import load
from decorec.plan.advice import advised
from decorec.plan.plan import Plan

NO_RULE = "No rule to produce {} (if you use input functions make sure that they don't raise unexpected exceptions)."
NAMES = "The data sets of this configuration: shop, own; --configfile FILE names others."


def plan() -> Plan:
    datasets = {"shop": {"source": "sample"}, "own": {"source": "table", "path": "export/july"}}
    return Plan(load({"datasets": datasets, "external": {"als": {"path": "als/{dataset}-{seed}.csv"}}}))


def test_a_target_that_no_rule_makes_is_told_with_what_was_meant() -> None:
    def told(target: str) -> str:
        words = NO_RULE.format(target)
        assert advised(words, plan()).startswith(f"{words}\n")
        return advised(words, plan()).removeprefix(f"{words}\n")

    assert told("results/tables/man.csv").startswith("Did you mean results/tables/main.csv")
    assert told("result/report/index.html") == f"Did you mean results/report/index.html? {NAMES}"
    assert told("results/shp/recommendations.csv").startswith("Did you mean results/shop/recommendations.csv or ")
    assert told("everything") == NAMES
    ranks = "results/shop/runs/{}/seed-0/ranks.parquet"
    assert told(ranks.format("sasrek")) == "No run is called 'sasrek': did you mean 'sasrec'?"
    assert told(ranks.format("xyz")) == "No run is called 'xyz': expected one of decorec, sasrec"


def test_a_file_of_a_data_set_that_is_not_there_is_told_with_its_key() -> None:
    words = (
        "Missing input files for rule ingest:\n    affected files:\n        export/july/{}.csv\n        other/{}.csv"
    )
    shown = advised(words.format("items", "items"), plan())
    assert shown == words.format("items", "items") + (
        "\ndatasets.own.path is 'export/july': put the files there, or correct it."
    )
    words = "Missing input files for rule table:\n    affected files:\n        als/own-3.csv"
    assert advised(words, plan()).endswith(
        "\nexternal.als.path is 'als/{dataset}-{seed}.csv': put the recommendations there, or correct it."
    )
    assert advised("Missing input files for rule train:\n    affected files:\n        gone", plan()).endswith("gone")
