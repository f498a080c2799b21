"""The workflow as a user runs it: a tiny shop through the whole chain, then what a change makes run again."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from decorec.artifacts import layout, step_log
from decorec.config import load
from decorec.plan.plan import Plan
from decorec.plan.tables import TABLES
from decorec.steps import STEPS, step_function
from tests.docs.test_using import follow_an_experiment, follow_your_shop, run_examples
from tests.support.corruption import corrupt_everything
from tests.support.printed import mistakes, strangers
from tests.support.traced.tables import TABLES as TRACED
from tests.support.traced.world import World
from tests.support.workplace import EVERYTHING, INDEX, PAGE, REPOSITORY, SETTINGS, TARGETS, WHOLE, Workplace

pytestmark = pytest.mark.workflow
RULES = sorted((REPOSITORY / "workflow" / "rules").glob("*.smk"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A workplace in which everything has been computed."""
    workplace = Workplace(tmp_path_factory.mktemp("first") / "shop", SETTINGS, *TARGETS)
    result = workplace.snakemake("--show-failed-logs", "--verbose", "--", *TARGETS)
    assert result.returncode == 0, result.stdout + result.stderr
    return workplace


@pytest.fixture
def workplace(finished: Workplace) -> Any:
    """The finished workplace, put back as it was afterwards."""
    yield finished
    finished.restore(SETTINGS)


@pytest.fixture(scope="module")
def whole(finished: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A workplace that goes on from the finished one to the page with everything."""
    workplace = finished.copy(tmp_path_factory.mktemp("whole") / "shop", WHOLE)
    result = workplace.snakemake("--show-failed-logs", "--", *EVERYTHING)
    assert result.returncode == 0, result.stdout + result.stderr
    return workplace


def changed(**sections: Any) -> dict[str, Any]:
    return {**SETTINGS, **sections}


def test_the_chain_gives_every_table_and_leaves_logs_and_benchmarks(finished: Workplace) -> None:
    results = finished.folder / "results"
    for target in TARGETS:
        for suffix in (".csv", ".tex", ".html", ".md"):
            assert (finished.folder / target).with_suffix(suffix).stat().st_size > 50
    lines = (results / "tables/main.csv").read_text().splitlines()
    assert lines[0] == "dataset,history,metric,model,mean,std,seeds,ci_low,ci_high,paper,p_value"
    assert len(lines) == 1 + 2 * 2 * 6
    assert (results / "tables/ablations.csv").read_text().startswith("dataset,history,metric,variant,")
    for step in ("sample", "download", "ingest", "crawl", "features", "split", "cooccurrence", "cluster-text"):
        assert (finished.folder / f"logs/sample/{step}.log").exists()
        assert (results / f"benchmarks/sample/{step}.tsv").stat().st_size > 0
    assert not list(results.rglob("*.part"))
    steps, damaged = step_log.read(finished.folder / layout.STEP_LOG)
    assert damaged == 0 and {step["outcome"] for step in steps} == {"done"}
    assert len(steps) == len(list((results / "benchmarks").rglob("*.tsv"))), "one line for every job"


def test_the_scheduler_looks_at_the_jobs_when_one_has_ended_and_not_every_second(finished: Workplace) -> None:
    """With Snakemake's limit of jobs in a second it does both, and in every second once for each job that has ended."""
    log = min((finished.folder / ".snakemake/log").glob("*.log")).read_text(encoding="utf-8")
    assert 0 < log.count("Ready jobs: ") <= log.count("Finished jobid: ") + 1


def test_the_examples_of_the_page_on_use_and_of_the_notebook_run(finished: Workplace) -> None:
    run_examples(finished)


def test_the_tutorial_of_a_shop_is_true(finished: Workplace, tmp_path: Path) -> None:
    follow_your_shop(finished, tmp_path / "reader")


def test_the_tutorial_of_an_experiment_is_true(whole: Workplace, tmp_path: Path) -> None:
    follow_an_experiment(whole, tmp_path / "reader")


def test_a_second_run_does_nothing(workplace: Workplace) -> None:
    assert workplace.planned() == {}
    assert "Nothing to be done" in workplace.snakemake("--", *TARGETS).stderr


def test_another_split_fetches_and_encodes_nothing_again(workplace: Workplace) -> None:
    workplace.configure(changed(split={"protocol": "temporal"}))
    planned = workplace.planned()
    assert planned["split"] == 1 and planned["evaluate"] == 4
    assert not {"sample", "download", "ingest", "crawl", "features"} & set(planned)


def test_changing_one_run_runs_that_run_alone(workplace: Workplace) -> None:
    workplace.configure(changed(runs=SETTINGS["runs"] | {"sasrec": {"model": {"name": "sasrec", "dim": 12}}}))
    assert workplace.planned() == {"fit": 1, "evaluate": 1, "table": 1, "total": 3}
    assert workplace.planned("results/tables/ablations.csv") == {}


def test_values_chosen_on_a_data_set_train_those_runs_alone_and_there_alone(workplace: Workplace) -> None:
    faster = {"train": {"learning_rate": 0.002}}
    workplace.configure(changed(tuned={"sample": {"sasrec": faster}, "elsewhere": {"decorec": faster}}))
    assert workplace.planned() == {"fit": 1, "evaluate": 1, "table": 1, "total": 3}
    workplace.configure(changed(tuned={"elsewhere": {"sasrec": faster}}))
    assert workplace.planned() == {}


def test_changing_an_ablation_runs_that_ablation_alone(workplace: Workplace) -> None:
    workplace.configure(
        changed(runs=SETTINGS["runs"] | {"no-cluster": {"model": {"interests": False, "freeze": False}}})
    )
    assert workplace.planned() == {"stage2": 1, "evaluate": 1, "table": 1, "total": 3}
    assert workplace.planned("results/tables/main.csv") == {}


def test_variants_that_differ_in_stage_2_share_stage_1(finished: Workplace) -> None:
    runs = finished.folder / "results/sample/runs"
    assert sorted(path.parts[-4] for path in runs.glob("*/seed-0/stage1/model.safetensors")) == [
        "decorec",
        "other-graph",
    ]


def test_changing_epochs_runs_no_feature_graph_or_cluster_again(workplace: Workplace) -> None:
    workplace.configure(changed(train={"epochs": 3, "patience": 1}))
    assert workplace.planned() == {
        "stage1": 2,
        "stage2": 3,
        "fit": 1,
        "evaluate": 4,
        "table": 2,
        "total": 12,
    }


def test_changing_stage_2_keeps_stage_1(workplace: Workplace) -> None:
    workplace.configure(changed(train={"epochs": 2, "patience": 1, "stage2": {"epochs": 3}}))
    planned = workplace.planned()
    assert planned["stage2"] == 3
    assert not {"stage1", "fit"} & set(planned)


def test_editing_the_co_occurrence_code_runs_the_graph_and_what_follows(workplace: Workplace) -> None:
    workplace.edit("prepare/cooccurrence.py")
    planned = workplace.planned()
    assert planned["cooccurrence"] == 2
    assert planned["cluster"] == 4, "two graphs, two modalities"
    assert planned["stage1"] == 2
    assert not {"sample", "download", "ingest", "crawl", "features", "split", "fit"} & set(planned)


def test_editing_the_crawler_does_not_download_again(workplace: Workplace) -> None:
    workplace.edit("acquire/crawl/step.py")
    planned = workplace.planned()
    assert planned["crawl"] == 1
    assert not {"sample", "download", "ingest"} & set(planned)


def test_editing_a_model_trains_the_runs_of_that_model_alone(workplace: Workplace) -> None:
    workplace.edit("models/dimo.py")
    workplace.edit("models/experts.py")
    assert workplace.planned() == {}, "no run here is one of DIMO, and none has experts"
    workplace.edit("models/sasrec.py")
    assert workplace.trained() == {("sasrec", "fit")}
    assert workplace.planned() == {"fit": 1, "evaluate": 1, "table": 1, "total": 3}
    workplace.restore(SETTINGS)
    workplace.edit("models/decorec_released.py")
    assert {stage for _, stage in workplace.trained()} == {"stage1", "stage2"}


def test_naming_another_model_or_asking_for_curves_runs_nothing(workplace: Workplace) -> None:
    workplace.edit("models/registry.py")
    workplace.edit("config/baselines.py")
    workplace.configure(changed(train=SETTINGS["train"] | {"tensorboard": True}))
    assert workplace.planned() == {}


def test_editing_the_values_of_the_paper_makes_the_tables_that_print_them(workplace: Workplace) -> None:
    workplace.edit("tables/paper.yaml")
    assert workplace.planned() == {"table": 3, "total": 3}


def test_editing_the_small_encoder_encodes_again_and_crawls_nothing(workplace: Workplace) -> None:
    workplace.edit("features/small-clip.json", "\n")
    planned = workplace.planned()
    assert planned["features"] == planned["split"] == 1
    assert not {"sample", "download", "ingest", "crawl"} & set(planned)


def test_editing_the_template_makes_the_page_alone(whole: Workplace) -> None:
    whole.edit("report/page.html.jinja", "<!-- an edit -->\n")
    try:
        assert whole.planned(PAGE) == {"report_page": 1, "total": 1}
    finally:
        whole.restore(WHOLE)


def test_one_more_seed_trains_that_seed_alone(workplace: Workplace) -> None:
    workplace.configure(changed(seeds=[0, 1]))
    planned = workplace.planned("results/tables/main.csv")
    assert planned == {"stage1": 1, "stage2": 1, "fit": 1, "evaluate": 2, "table": 1, "total": 6}


def test_the_page_shows_what_is_there_and_follows_the_tables_that_it_shows(finished: Workplace, tmp_path: Path) -> None:
    shop = finished.copy(tmp_path / "shop", SETTINGS)
    assert shop.planned(INDEX) == {"drawn_table": 1, "gallery": 1, "report_page": 1, "total": 3}
    asked = shop.snakemake("-n", "--printshellcmds", "--", INDEX, "results/tables/cost.csv").stdout
    (command,) = (line for line in asked.splitlines() if "decorec report-page" in line)
    assert "results/tables/cost.html" in command, "it waits for what the same call makes"
    assert shop.snakemake("--", INDEX).returncode == 0
    text = (shop.folder / INDEX).read_text(encoding="utf-8")
    for name in ("main", "ablations", "statistics"):
        assert f'id="table-{name}"' in text
    assert 'id="table-cost"' not in text and 'id="pareto"' not in text
    assert shop.planned(INDEX) == {}
    for kind in ("csv", "tex", "html", "md"):
        shutil.copy(shop.folder / f"results/tables/main.{kind}", shop.folder / f"results/tables/coldstart.{kind}")
    assert shop.planned(INDEX) == {"report_page": 1, "total": 1}, "one more table is there"
    shop.configure(SETTINGS | {"evaluate": {"bootstrap": 500}})
    again = {"drawn_table": 1, "table": 2, "report_page": 1, "total": 4}
    assert shop.planned(INDEX) == again, "tables that it shows are made again first, and nothing is trained"


def test_the_page_trains_nothing_again(workplace: Workplace) -> None:
    planned = workplace.planned(PAGE)
    assert not {"stage1", "stage2", "fit", "evaluate", "crawl", "features"} & set(planned)
    assert planned["modality_modes"] == planned["neighbour_recall"] == planned["gallery"] == planned["report_page"] == 1


def test_the_page_has_every_table_and_figure(whole: Workplace) -> None:
    text = (whole.folder / PAGE).read_text(encoding="utf-8")
    drawn = {"curves", "gradients", "embedding", "leaderboard"}
    for name in set(TRACED) - drawn - {"claims"}:
        assert f'id="table-{name}"' in text
    assert 'id="table-tau"' not in text, "no values were given"
    assert 'id="table-claims"' not in text, "no data set is one of the paper's"
    for name in ("fig2", "fig3", "fig4", "fig6", "fig7", "fig8", "fig9", "alpha", "clusters", "pareto"):
        assert f'<figure class="drawing" id="{name}">' in text
        assert (whole.folder / f"results/figures/{name}.pdf").read_bytes().startswith(b"%PDF")
    assert 'src="data:image/jpeg;base64,' in text
    assert whole.planned(PAGE) == {}


def test_the_report_of_snakemake_has_captions_and_labels(whole: Workplace) -> None:
    result = whole.snakemake("--report", "report.zip", "--", PAGE)
    assert result.returncode == 0, result.stdout + result.stderr
    with zipfile.ZipFile(whole.folder / "report.zip") as archive:
        text = "".join(archive.read(name).decode() for name in archive.namelist() if name.endswith((".html", ".js")))
    for label in ("Table 2", "Table 4", "Figure 4", "sensitivity to alpha"):
        assert label in text
    kinds = (
        "Models against each other",
        "Variants of DeCoRec",
        "Ids alone, modalities alone",
        "equations read in another",
    )
    for kind in kinds:
        assert text.count(kind) == 1, "one caption for each of the four"
    assert "Ids, modalities and naive fusion (figure 4 of the paper)" in text, "a figure has its own"


def test_sensitivity_and_probe_compute_nothing_that_is_there(whole: Workplace) -> None:
    runs = whole.folder / "results/sample/runs"
    trained = {path.relative_to(runs).as_posix() for path in runs.glob("*/seed-*/stage*/model.safetensors")}
    assert {name for name in trained if name.startswith("clusters-0-3")} == {
        "clusters-0-3/seed-0/stage2/model.safetensors"
    }, "stage 1 is that of the reference, and one seed is enough"
    assert {name for name in trained if name.startswith("alpha")} == {
        f"alpha-0-25/seed-0/{stage}/model.safetensors" for stage in ("stage1", "stage2")
    }
    assert not (runs / "clusters-0-3/graph").exists()
    assert not (runs / "naive-fusion/seed-0/fit").exists(), "no table needs the run itself, only the probe of it"


def test_the_tables_are_all_traced(whole: Workplace) -> None:
    written = {file.stem for file in (whole.folder / "results/tables").glob("*.csv")}
    assert written == set(TRACED) | {"embedding"}, "the last one holds places in a drawing"


@pytest.mark.parametrize("table", TRACED)
def test_every_number_of_every_table_is_traced(whole: Workplace, table: str) -> None:
    file = whole.folder / f"results/tables/{table}.csv"
    assert mistakes(file, list(TRACED[table](World(whole.folder, WHOLE)))) == []
    if file.with_suffix(".html").exists():
        assert strangers(file) == []


def test_a_wrong_number_would_be_found(whole: Workplace, tmp_path: Path) -> None:
    source = whole.folder / "results/tables/main.csv"
    expected = list(TRACED["main"](World(whole.folder, WHOLE)))
    for suffix in (".html", ".tex"):
        shutil.copy(source.with_suffix(suffix), tmp_path / f"main{suffix}")
    frame = pl.read_csv(source)
    for column in ("mean", "std", "seeds", "ci_low", "ci_high", "p_value"):
        frame.with_columns(pl.col(column) + (1 if column == "seeds" else 0.001)).write_csv(tmp_path / "main.csv")
        assert any(f" {column}: " in mistake for mistake in mistakes(tmp_path / "main.csv", expected))
    frame.with_columns(pl.col("mean", "std", "ci_low", "ci_high", "p_value") + 10).write_csv(tmp_path / "main.csv")
    assert strangers(tmp_path / "main.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sedes": [0]}, "sedes: unknown key; did you mean 'seeds'?"),
        ({"train": {"epochs": 0}}, "train.epochs"),
        ({"runs": SETTINGS["runs"] | {"decorec": {"model": {"dims": 8}}}}, "dims: unknown key"),
        ({"tables": {"main": ["unknown"]}}, "unknown"),
        ({"datasets": {"Shop": {"source": "sample"}}}, "Shop"),
    ],
)
def test_a_wrong_configuration_is_one_clear_message(workplace: Workplace, change: dict[str, Any], message: str) -> None:
    workplace.configure(changed(**change))
    result = workplace.snakemake("--dry-run")
    assert result.returncode != 0
    assert message in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_what_is_not_there_is_told_with_what_to_do(workplace: Workplace) -> None:
    result = workplace.snakemake("--dry-run", "results/tables/man.csv")
    assert result.returncode != 0
    assert "Did you mean results/tables/main.csv" in result.stdout + result.stderr
    workplace.configure(changed(datasets={"shop": {"source": "table", "path": "nowhere"}}))
    result = workplace.snakemake("--dry-run", "results/shop/items.parquet")
    assert result.returncode != 0
    assert "datasets.shop.path is 'nowhere': put the files there" in result.stdout + result.stderr


def test_by_default_a_terminal_shows_what_a_reader_wants_to_know(workplace: Workplace) -> None:
    profile = str(REPOSITORY / "profiles" / "default")
    shown = workplace.snakemake(
        "--workflow-profile", profile, "--dry-run", "--forceall", "results/sample/items.parquet"
    )
    lines = shown.stdout + shown.stderr
    assert shown.returncode == 0 and "Reading interactions and items of sample" in lines
    assert "python -m decorec ingest" not in lines and "Platform:" not in lines


def test_without_config_yaml_in_the_working_directory_nothing_is_planned(finished: Workplace, tmp_path: Path) -> None:
    snakefile = str(finished.folder / "Snakefile")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--snakefile", snakefile, "--dry-run"]
    alone = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert alone.returncode != 0 and f"{tmp_path}/config.yaml" in alone.stdout + alone.stderr
    # With another file of configuration, Snakemake does not miss it.
    (tmp_path / "shop.yaml").write_text("seeds: [0]\n")
    result = subprocess.run([*command, "--configfile", "shop.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode != 0
    assert f"config.yaml: expected it in the working directory {tmp_path}" in result.stdout + result.stderr
    assert f"--directory {finished.folder}" in result.stdout + result.stderr
    there = subprocess.run(
        [*command, "--directory", str(finished.folder), "--", *TARGETS], cwd=tmp_path, capture_output=True, text=True
    )
    assert "Nothing to be done" in there.stdout + there.stderr


def rules() -> list[tuple[str, str]]:
    """(name, body) of every rule that calls a step of its own."""
    found = []
    for file in RULES:
        pattern = r"^(?:rule|checkpoint) (\w+):\n(.*?)(?=^rule |^checkpoint |^use rule |\Z)"
        for name, body in re.findall(pattern, file.read_text(), re.MULTILINE | re.DOTALL):
            if re.search(r"^ +step\(", body, re.MULTILINE):
                found.append((name, body))
    return found


def arguments(body: str) -> tuple[str, dict[str, list[str]]]:
    """Name of the step that a rule calls, and what it is given by directive."""
    source = re.search(r"^ +(step\(.*\))", body, re.MULTILINE | re.DOTALL)
    assert source is not None
    call = ast.parse(source[1], mode="eval").body
    assert isinstance(call, ast.Call)
    given = {keyword.arg: ast.literal_eval(keyword.value).split() for keyword in call.keywords}
    return ast.literal_eval(call.args[0]), {str(directive): names for directive, names in given.items()}


@pytest.mark.parametrize(("name", "body"), rules(), ids=[name for name, _ in rules()])
def test_rules_flags_and_functions_share_one_vocabulary(name: str, body: str) -> None:
    step, given = arguments(body)
    assert step == name.replace("_", "-")
    parameters = inspect.signature(step_function(step)).parameters
    required = {key for key, value in parameters.items() if value.default is inspect.Parameter.empty}
    assert set(given.pop("resources", ())) == ({"gpu_mb"} if "        gpu_mb=" in body else set()), "for every step"
    names = [name for directive in given.values() for name in directive]
    assert len(set(names)) == len(names)
    assert required <= set(names) <= set(parameters)
    for directive in ("params", "output"):
        section = re.search(rf"^    {directive}:\n(.*?)(?=^    \w|\Z)", body, re.MULTILINE | re.DOTALL)
        declared = set(re.findall(r"^        (\w+)=", section[1], re.MULTILINE)) if section else set()
        assert set(given.get(directive, [])) <= declared, f"{directive}: given and not declared"


def test_tables_are_called_with_the_arguments_of_their_steps() -> None:
    plan = Plan(load(WHOLE))
    for table in plan.tables():
        step, *words = shlex.split(plan.table_call(table))
        flags = {word.removeprefix("--").replace("-", "_") for word in words if word.startswith("--")}
        written = {"csv"} if table not in plan.printed_tables() else {"csv", "tex", "html", "md"}
        parameters = inspect.signature(step_function(step)).parameters
        required = {key for key, value in parameters.items() if value.default is inspect.Parameter.empty}
        assert not flags & written
        assert required <= flags | written <= set(parameters), table


def test_what_trainings_wait_for_goes_before_them_and_evaluations_last() -> None:
    phases = {name: STEPS[name.replace("_", "-")].phase for name, _ in rules()}
    urgent = {name for name, body in rules() if "\n    priority: 100\n" in f"\n{body}"}
    before = {name for name, phase in phases.items() if phase in ("acquire", "features", "prepare")}
    assert urgent == before - {"histories", "whole_sequences"}, "what is only for use can wait"
    assert "priority: ask(plan.priority)" in dict(rules())["train"]
    # The scheduler adds up priorities: one of these jobs on two cores is worth more than two trainings.
    assert 100 > 2 * Plan.priority("stage1") > 2 * Plan.priority("stage2") == 2 * Plan.priority("fit") > 0
    assert [name for name, body in rules() if "priority:" in body and name not in urgent] == ["train"]


def test_every_step_has_a_rule() -> None:
    called = {name.replace("_", "-") for name, _ in rules()} | {job.step for job in TABLES.values()}
    alone = {"schema", "tuned", "estimate", "add-items", "export", "serve", "status", "doctor", "init"}
    assert called == set(STEPS) - alone, "these are commands for a user"


def test_no_wrong_file_is_used(
    whole: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(whole.folder)
    tried, wrong = corrupt_everything(whole, capsys, tmp_path / "kept")
    assert wrong == []
    assert tried > 200
    assert whole.planned(PAGE) == {}, "everything is as it was"
