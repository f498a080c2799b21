"""What is planned for a configuration: files, tables and figures; and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from decorec.artifacts import layout
from decorec.config import load
from decorec.errors import DecorecError
from decorec.plan.plan import Plan
from tests.support.planned import plan
from tests.support.workplace import REPOSITORY


def test_tables_and_figures_follow_the_runs_that_there_are() -> None:
    small = plan(tables={"main": ["decorec"]}, runs={"decorec": {}})
    optional = {
        "external",
        "ablations",
        "retrieval",
        "fusion",
        "readings",
        "curves",
        "alpha",
        "tau",
        "clusters",
        "gradients",
        "embedding",
        "advantages",
        "gates",
        "newitems",
    }
    assert not optional & set(small.tables())
    assert small.figures() == ["fig9", "pareto"]
    assert small.shown_models("shop") == ["results/shop/runs/decorec/seed-0/stage2/model.safetensors"]
    runs = {"decorec": {}, "sasrec": {"model": {"name": "sasrec"}}, "no-cluster": {"model": {"interests": False}}}
    tables = {name: ["decorec", "no-cluster"] for name in ("ablations", "retrieval", "fusion", "readings")}
    runs["naive"] = {"model": {"phased": False}}
    tables |= {"gradients": ["naive"], "embedding": ["no-cluster", "decorec"]}
    whole = plan(tables={"main": ["decorec", "sasrec"], **tables}, runs=runs, seeds=[3])
    assert whole.figures() == ["fig2", "fig3", "fig4", "fig6", "fig7", "fig8", "fig9", "pareto"]
    assert not {"curves", "gradients", "embedding"} & set(whole.printed_tables())
    assert whole.last_models(whole.config.tables.embedding) == [
        f"results/shop/runs/{run}/seed-3/stage2/model.safetensors" for run in ("no-cluster", "decorec")
    ]
    assert plan(tables={**tables, "gates": ["decorec"]}, runs=runs, seeds=[3, 5]).table_files("gates") == {
        "models": [f"results/shop/runs/decorec/seed-{seed}/stage2/model.safetensors" for seed in (3, 5)]
    }
    assert whole.histories() == [
        "results/shop/runs/sasrec/seed-3/fit/history.parquet",
        "results/shop/runs/decorec/seed-3/stage1/history.parquet",
    ]
    floor, own = runs | {"ease": {"model": {"name": "ease"}}}, "results/shop/runs/sasrec/seed-3/fit/history.parquet"
    for reference in ("ease", "sasrec"):  # it has no stage of modalities alone
        main = {"main": ["ease", "sasrec"], "reference": reference}
        assert plan(tables=main, runs=floor, seeds=[3]).histories() == [own], "once, whatever it is besides"
    assert whole.models(["decorec", "no-cluster"]) == [
        "results/shop/runs/decorec/seed-3/stage1/model.safetensors",
        "results/shop/runs/decorec/seed-3/stage2/model.safetensors",
        "results/shop/runs/no-cluster/seed-3/stage2/model.safetensors",
    ]


def test_a_floor_has_one_seed_and_no_values_of_training() -> None:
    runs = {"decorec": {}, "popularity": {"model": {"name": "popularity"}}, "sasrec": {"model": {"name": "sasrec"}}}
    sections = {"tables": {"main": ["decorec", "popularity"]}, "runs": runs, "seeds": [3, 4]}
    found, longer = plan(**sections), plan(**sections, train={"epochs": 7, "fit": {"patience": 2}, "cold_ids": "mean"})
    assert found.run("popularity", "fit") == longer.run("popularity", "fit")
    assert found.run("sasrec", "fit") != longer.run("sasrec", "fit")
    floor, trained = ([layout.fill(layout.RUN, dataset="shop", run="popularity", seed=3)], ["3", "4"])
    for files in (
        found.of_runs(["popularity"]),
        found.models(["popularity"]),
        found.last_models(["popularity"], seeds=None),
    ):
        assert [file.rsplit("/seed-3/")[0] + "/seed-3" for file in files] == floor
    assert [layout.wildcards_of(Path(file), layout.RANKS)["seed"] for file in found.of_runs(["sasrec"])] == trained


def test_a_split_that_requires_nothing_waits_for_no_features() -> None:
    assert plan(filter={"require": []}).required_features("shop") == []
    assert plan(filter={"require": ["text"]}).required_features("shop") == ["results/shop/features/text.safetensors"]


def test_claims_about_gradients_train_nothing_for_a_single_seed() -> None:
    runs = {"decorec": {}, "naive-fusion": {"model": {"phased": False}}, "sasrec": {"model": {"name": "sasrec"}}}
    tables: dict[str, Any] = {"main": ["decorec"], "gradients": ["naive-fusion"]}
    one = plan(tables=tables, runs=runs, seeds=[3, 4]).table_files("claims")
    assert (one["gradients"], one["histories"]) == ([], []), "sasrec is compared with nothing"
    assert plan(tables={**tables, "gradient_seeds": 2}, runs=runs, seeds=[3]).table_files("claims")["gradients"] == []
    tables |= {"gradient_seeds": 2, "fusion": ["sasrec", "decorec"]}
    found = plan(tables=tables, runs=runs, seeds=[3, 4, 5]).table_files("claims")
    place = "results/shop/runs/naive-fusion/seed-{}/gradients.parquet"
    assert found["gradients"] == [place.format(3), place.format(4)]
    assert len(found["ranks"]) == len(found["histories"]) == 2 * 3


def test_the_table_of_costs_waits_for_every_job_that_it_measures() -> None:
    runs = {"decorec": {}, "no-cluster": {"model": {"interests": False}}, "sasrec": {"model": {"name": "sasrec"}}}
    found = plan(tables={"main": list(runs)}, runs=runs, seeds=[3, 4])
    waited = {file for files in found.table_files("cost").values() for file in files}
    for run in runs:
        for seed in (3, 4):
            assert f"results/shop/runs/{run}/seed-{seed}/ranks.parquet" in waited, "measured, so it has to be over"
    assert "ranks.parquet" not in found.table_call("cost"), "the step does not read them"


VERDICT: dict[str, Any] = {
    "runs": {
        "decorec": {"model": {"id_layers": 1}},
        "no-modalities": {"model": {"modalities": [], "id_layers": 1}},
        "text-only": {"model": {"modalities": ["text"]}},
        "ease": {"model": {"name": "ease"}},
    },
    "tables": {"main": ["decorec", "ease"], "verdict": "decorec"},
}


def test_the_page_shows_what_the_same_call_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder: what was asked for beside it, and a gallery of models that the main table trains anyway."""
    monkeypatch.chdir(tmp_path)
    found = plan(tables={"verdict": "decorec"})
    alone = found.page_files("index")
    assert [Path(file).name for file in alone["tables"]] == ["main.html"]
    assert (alone["galleries"], alone["verdicts"], alone["figures"]) == (["results/shop/gallery.json"], [], [])
    asked = {"results/shop/verdict.md", "results/tables/beyond.csv", "results/figures/pareto.svg", "all"}
    both = found.page_files("index", asked)
    assert {Path(file).name for file in both["tables"]} == {"main.html", "beyond.html"}
    assert both["verdicts"] == ["results/shop/verdict.json"]
    assert both["figures"] == ["results/figures/pareto.svg"]
    runs = {"decorec": {}, "other": {"model": {"name": "sasrec"}}}
    more = plan(runs=runs, tables={"main": ["decorec"]}, report={"runs": list(runs)})
    assert more.page_files("index")["galleries"] == [], "the table does not train the other one"


def test_the_twins_of_the_verdict_differ_in_their_modalities_alone() -> None:
    found = plan(**VERDICT, seeds=[3, 4])
    assert found.twins("shop") == {
        "decorec": ["text", "image"],
        "decorec-text-alone": ["text"],  # text-only has other id_layers
        "decorec-image-alone": ["image"],
        "no-modalities": [],
    }
    whole, alone = (json.loads(found.whole_run(run)) for run in ("decorec", "decorec-text-alone"))
    assert alone["model"].pop("modalities") == ["text"] and whole["model"].pop("modalities") and alone == whole
    assert found.last_stage("no-modalities") == "fit"
    needed = found.training("shop", "no-modalities", "fit")
    assert (needed["features"], needed["interests"]) == ([], []) and needed["cooccurrence"]
    assert found.verdict_files("shop")["ranks"] == [
        f"results/shop/runs/{run}/seed-{seed}/ranks.parquet"
        for run in ("decorec", "decorec-text-alone", "decorec-image-alone", "no-modalities", "ease")
        for seed in ((3,) if run == "ease" else (3, 4))
    ]
    assert json.loads(found.verdict_reads("shop")) == {"decorec": ["image", "text"], "ease": []}
    stages = json.loads(found.verdict_stages("shop"))
    assert list(stages) == found.verdict_runs("shop")
    assert stages["decorec"] == {"stage1": "decorec", "stage2": "decorec"} and stages["ease"] == {"fit": "ease"}
    assert list(stages["no-modalities"]) == ["fit"], "no stage 1 without modalities"
    tuned = {"shop": {"no-modalities": {"model": {"temperature": 1.0}}}}
    assert "decorec-ids-alone" in plan(**VERDICT, tuned=tuned).twins("shop"), "its values differ on one data set"


def test_values_chosen_on_data_sets_that_are_not_configured_add_no_run() -> None:
    """An overlay that narrows decorec and declares its text-only run keeps what was tuned for the sets it left out."""
    elsewhere = {"away": {"decorec": {"model": {"dim": 16, "id_layers": 2, "temperature": 1.0}}}}
    own = {"text-only": {"model": {"modalities": ["text"], "id_layers": 1}}}
    sections = VERDICT | {"runs": VERDICT["runs"] | own}
    here, tuned = plan(**sections), plan(**sections, tuned=elsewhere)
    assert tuned.twins("shop") == here.twins("shop")
    assert set(tuned.twins("shop")) == {"decorec", "text-only", "decorec-image-alone", "no-modalities"}
    tables = {"main": ["decorec"], "alpha": [0.25]}
    swept = {"runs": {"decorec": {}, "mild": {"model": {"alpha": 0.25}}}, "tables": tables}
    values = {"away": {"decorec": {"model": {"alpha": 0.75, "temperature": 2.0}}}}
    values["away"]["mild"] = {"model": {"temperature": 1.0}}
    assert "mild" in plan(**swept).config.sensitivity("alpha")
    assert plan(**swept, tuned=values).config.sensitivity("alpha") == plan(**swept).config.sensitivity("alpha")


def test_a_shop_without_pictures_gets_a_verdict_on_its_texts(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item,title\na,A\n")
    shop = {"source": "table", "path": str(tmp_path)}
    sections = VERDICT | {"datasets": {"shop": shop}, "filter": {"require": ["text"]}}
    sections["tables"] = {"main": ["ease"], "reference": "ease", "verdict": "decorec"}
    found = plan(**sections, features={"encoder": "clip"})
    assert found.twins("shop") == {"decorec-text-alone": ["text"], "no-modalities": []}
    assert found.verdict_files("shop")["features"] == ["results/shop/features/text.safetensors"]
    nothing = plan(**sections | {"filter": {"require": []}}, features={"encoder": "fit", "text": "encoder"})
    with pytest.raises(DecorecError, match=r"verdict\.md: expected tables.verdict .* \(none\), found decorec"):
        nothing.twins("shop")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"tables": {"main": ["decorec"], "verdict": "sasrec"}}, "tables.verdict.*'sasrec'; expected a run of decorec"),
        ({"tables": {"main": ["decorec"], "verdict": "absent"}}, "tables.verdict names 'absent'"),
        (
            {
                "tables": {"main": ["decorec"], "verdict": "plus"},
                "runs": {"decorec": {}, "plus": {"experts": {"floor": {"name": "content-ease"}, "weight": 1}}},
            },
            "found experts that read some",
        ),
        (
            {"tables": {"main": ["decorec"], "verdict": "decorec"}, "model": {"ids": False}},
            r"expected model.ids: true, found false[\s\S]*tables: \{verdict: null\}",
        ),
        ({"tables": {"main": ["decorec"], "alpha": [1.5]}}, "tables.alpha"),
        ({"tables": {"main": ["decorec"], "tau": [4]}, "runs": {"decorec": {}, "tau-4": {}}}, "runs.tau-4"),
        ({"tables": {"main": ["sasrec"], "reference": "sasrec", "clusters": [0.2], "alpha": [0.5]}}, "model.alpha"),
        ({"tables": {"main": ["decorec"], "gradients": ["decorec"]}}, "tables.gradients.*phased"),
        ({"tables": {"main": ["decorec"], "gradients": ["sasrec"]}}, "tables.gradients.*'sasrec'"),
        ({"tables": {"main": ["decorec"], "embedding": ["sasrec"]}}, "tables.embedding.*'sasrec'"),
        ({"tables": {"main": ["decorec"], "gates": ["sasrec"]}}, "tables.gates.*'sasrec'"),
        ({"tables": {"main": ["decorec"], "embedding": ["absent"]}}, "tables.embedding.*'absent'"),
    ],
)
def test_tables_that_their_runs_cannot_fill_are_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(DecorecError, match=message):
        plan(**sections)


def test_a_third_modality_is_one_more_file_of_the_runs_that_use_it() -> None:
    shop = {"source": "atomic", "path": "folder", "name": "Shop", "features": {"audio": "featAudio"}}
    runs = {"decorec": {}, "with-audio": {"model": {"modalities": ["text", "image", "audio"]}}}
    found = Plan(load({"datasets": {"shop": shop}, "runs": runs, "tables": {"main": ["decorec"]}}))
    assert found.given_features("shop", "audio") == ["folder/Shop.item2index", "folder/Shop.featAudio"]
    assert found.given_features("shop", "text") == ["folder/Shop.item2index", "folder/Shop.feat1CLS"]
    with pytest.raises(DecorecError, match=r"video.*datasets\.shop\.features"):
        found.given_features("shop", "video")
    before = Plan(load({"datasets": {"shop": {key: shop[key] for key in ("source", "path", "name")}}}))
    assert found.given_splits("shop") == before.given_splits("shop") == before.dataset("shop")
    for modality in ("text", "image"):
        assert found.given_modality("shop", modality) == before.dataset("shop"), "what is trained stays as it is"
    assert json.loads(found.given_modality("shop", "audio"))["features"]["audio"] == "featAudio"
    files = {run: found.training("shop", run, "stage2") for run in runs}
    for kind in ("features", "interests"):
        assert [Path(file).stem for file in files["decorec"][kind]] == ["text", "image"]
        assert [Path(file).stem for file in files["with-audio"][kind]] == ["text", "image", "audio"]
    assert [Path(file).stem for file in found.compared_features("shop")] == ["text", "image"], "as in the paper"


def test_a_run_that_needs_a_modality_which_a_data_set_lacks_is_refused() -> None:
    runs = {"decorec": {"model": {"modalities": ["text", "audio"]}}}
    with pytest.raises(DecorecError, match=r"runs\.decorec.*'shop'.*text, image.*found audio"):
        plan(runs=runs, tables={"main": ["decorec"]})


@pytest.mark.parametrize("agent", ["käse/1.0", "agent\n", " agent", "", "агент"])
def test_a_user_agent_that_no_header_can_carry_is_refused(agent: str) -> None:
    with pytest.raises(DecorecError, match=r"crawl\.user_agent"):
        plan(crawl={"user_agent": agent})


def test_the_model_for_production_is_made_from_everything() -> None:
    """Its graph, interests, stage 1 and sequences are its own; the epochs are those of the twin's stages."""
    runs = {"decorec": {}, "plain": {"graph": {"window": 2}, "train": {"stage2": {"epochs": 3}}}}
    chosen = {"recommend": {"run": "plain", "production": True}, "tables": {"main": ["decorec"]}}
    found = plan(runs=runs, seeds=[4, 5], **chosen)
    files = found.production_training("shop", "stage2")
    ours = "results/shop/production"
    assert files["sequences"] == f"{ours}/sequences.parquet"
    assert files["cooccurrence"] == f"{ours}/graph/cooccurrence.npz"
    assert files["interests"] == [f"{ours}/interests/{name}.safetensors" for name in ("text", "image")]
    assert files["start"] == f"{ours}/stage1/model.safetensors"
    assert files["features"] == [f"results/shop/features/{name}.safetensors" for name in ("text", "image")]
    assert files["epochs_of"] == "results/shop/runs/plain/seed-4/stage2/history.parquet"
    assert json.loads(found.production_section("shop", "graph"))["window"] == 2
    assert found.recommended("shop")["model"] == [
        f"{ours}/stage2/{name}" for name in ("model.safetensors", "config.json")
    ]
    assert found.recommended_folder("shop") == f"{ours}/stage2", "another stage may be left of an earlier run"
    shared = plan(runs=runs | {"plain": {"model": {"id_layers": 0}}}, **chosen)
    first = shared.production_training("shop", "stage1")
    assert first["epochs_of"] == "results/shop/runs/decorec/seed-0/stage1/history.parquet", "stage 1 is shared"
    assert first["start"] == []


def test_given_splits_cannot_be_divided_by_time() -> None:
    given = {"source": "atomic", "path": "data", "name": "Given"}
    with pytest.raises(DecorecError, match=r"temporal, but datasets.given \(source atomic\) has given splits without"):
        plan(datasets={"given": given}, split={"protocol": "temporal"})


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"filter": {"kcore": 10}}, "filter.kcore is 10, but the splits and features of given"),
        (
            {"filter": {"duplicates": "pair", "require": ["text"]}},
            r"duplicates is pair, filter.require is \['text'\], but",
        ),
        ({"features": {"encoder": "fit", "text": "own/v.parquet"}}, r"features.text is own/v\.parquet, but .*of given"),
        ({"features": {"image": "timm", "image_model": "resnet18"}}, r"features.image is timm, but .*\.features"),
        ({"features": {"length": 10}}, r"features.length is 10.0, but .*, and length beside it"),
    ],
)
def test_what_no_data_set_heeds_is_refused(sections: dict[str, Any], message: str) -> None:
    """Otherwise a table without the change would be taken for one with it."""
    given = {"given": {"source": "atomic", "path": "data", "name": "Given"}}
    with pytest.raises(DecorecError, match=message):
        plan(datasets=given, **sections)
    plan(datasets=given | {"shop": {"source": "sample"}}, **sections)
    plan(datasets=given, features={"encoder": "fit"})


def test_the_overlay_of_the_split_by_time_holds_for_every_run() -> None:
    overlay = yaml.safe_load((REPOSITORY / "config/temporal.yaml").read_text())
    config = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    before, after = Plan(load(config)), Plan(load(config | overlay))
    assert after.config.split.protocol == "temporal" and before.config.split.protocol == "leave-one-out"
    assert {run.train.stage(stage).cold_ids for run in after.runs.values() for stage in run.stages} == {"mean"}
    assert "cold_ids" not in before.run("decorec", "stage2"), "the tracked values are those from before the key existed"


def test_a_floor_is_computed_once_for_all_seeds() -> None:
    runs = {name: {"model": {"name": name}} for name in ("decorec", "ease")}
    found = plan(runs=runs, tables={"main": list(runs)}, seeds=[3, 4])
    ranks = [
        f"results/shop/runs/{run}/seed-{n}/ranks.parquet" for run, n in (("decorec", 3), ("decorec", 4), ("ease", 3))
    ]
    assert found.table_files("main") == {"ranks": ranks}
    assert found.models(["ease"]) == ["results/shop/runs/ease/seed-3/fit/model.safetensors"]


def test_a_training_starts_from_an_earlier_checkpoint(tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    runs = {
        "decorec": {"train": {"start": str(earlier)}},
        "sasrec": {"model": {"name": "sasrec"}, "train": {"start": str(earlier)}},
        "anew": {"model": {"name": "sasrec"}},
        "popularity": {"model": {"name": "popularity"}, "train": {"start": str(earlier)}},
    }
    found = plan(runs=runs, tables={"main": ["decorec"]}, recommend={"run": "decorec"})
    files = {"start": f"{earlier}/stage2/model.safetensors", "start_config": f"{earlier}/stage2/config.json"}
    for asked in (found.training("shop", "decorec", "stage2"), found.production_training("shop", "stage2")):
        assert {name: asked[name] for name in files} == files, "in place of stage 1"
    assert found.training("shop", "decorec", "stage1")["start"] == f"{earlier}/stage1/model.safetensors"
    assert found.training("shop", "anew", "fit")["start"] == found.training("shop", "popularity", "fit")["start"] == []
    assert f'"start": "{earlier}"' in found.run("sasrec", "fit")
    assert '"start"' not in found.run("anew", "fit") and '"start"' not in found.run("popularity", "fit")
    earlier.mkdir()
    (earlier / "model.safetensors").touch()
    assert found.training("shop", "sasrec", "fit")["start"] == f"{earlier}/model.safetensors"
    assert found.code_of_training("shop", "anew", "fit") == found.code_of_run("train", "anew")
    (earlier / "stage2").mkdir()
    (earlier / "model.safetensors").rename(earlier / "stage2/model.safetensors")
    found = plan(runs=runs, tables={"main": ["decorec"]})
    assert found.training("shop", "decorec", "stage1")["start"] == files["start"], (
        "the run has the stage 1 of another one"
    )
    for place in ("results/shop/runs/decorec/seed-0", "results/shop/production"):
        with pytest.raises(DecorecError, match=r"runs\.decorec\.train\.start: expected an earlier checkpoint, .* copy"):
            plan(runs={"decorec": {"train": {"start": place}}}, tables={"main": ["decorec"]})
    other = {"train": {"start": "results/shop/runs/decorec/seed-0"}}
    plan(runs={"decorec": {}, "longer": other}, tables={"main": ["decorec"]})


def test_the_verdict_compares_trainings_from_nothing() -> None:
    warm = plan(**VERDICT | {"runs": VERDICT["runs"] | {"decorec": {"train": {"start": "earlier"}}}})
    twins = warm.twins("shop")
    assert "decorec" not in twins and twins["decorec-text-image-alone"] == ["text", "image"]
    assert not any('"start"' in warm.run(run, warm.last_stage(run)) for run in twins)


def test_planning_loads_no_library_of_the_steps_and_no_text_of_the_schema() -> None:
    """Every job of a cluster reads the Snakefile anew. What is read of a source for its texts stays in linecache."""
    code = "import decorec.plan.plan, linecache, sys; print(*{name.split('.')[0] for name in sys.modules})"
    code += "; print(*linecache.cache, sep='\\n')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, *sources = result.stdout.splitlines()
    assert not {"numpy", "polars", "matplotlib", "torch"} & set(modules.split())
    assert not [source for source in sources if "decorec" in source]
