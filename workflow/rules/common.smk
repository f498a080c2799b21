"""Loads the configuration and asks it what to compute. The only file of the workflow that defines functions."""

import os
import sys

# Jobs run `python -m decorec`: with this interpreter, where no environment is deployed, and with this package, also from
# other working directories and in environments that do not have it.
sys.path.insert(0, str(workflow.basedir))
for variable, folder in (
    ("PATH", os.path.dirname(sys.executable)),
    ("PYTHONPATH", str(workflow.basedir)),
):
    os.environ[variable] = os.pathsep.join(
        [folder, *filter(None, [os.environ.get(variable)])]
    )

from decorec.tables.registry import COMPARISONS
from decorec.config import load
from decorec.config.root import KNOBS
from decorec.errors import DecorecError
from decorec.plan.plan import INGESTED, Plan

# An overlay (--configfile) is laid over config.yaml key by key, but its data sets replace the default ones: they say
# what to run on.
overlay = workflow.config_settings.overwrite_config
if "datasets" in overlay:
    config["datasets"] = overlay["datasets"]

try:
    plan = Plan(load(config, "configuration"))
except DecorecError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    dataset="[a-z0-9][a-z0-9-]*",
    run="[a-z0-9][a-z0-9-]*",
    seed="[0-9]+",
    variant="(runs/[a-z0-9-]+/)?",


def dataset_section(wildcards):
    return plan.dataset(wildcards.dataset)


def section_of_variant(section):
    return lambda wildcards: plan.variant_section(wildcards.variant, section)


def run_section(stage):
    return lambda wildcards: plan.run(wildcards.run, stage, wildcards.dataset)


def stage_inputs(stage):
    return lambda wildcards: plan.inputs(
        wildcards.dataset, wildcards.run, stage, wildcards.seed
    )


def tuning_inputs(wildcards):
    return plan.tuning_inputs(wildcards.dataset, wildcards.run)


def whole_run(wildcards):
    return plan.whole_run(wildcards.run)


def trials(wildcards):
    return plan.trials(wildcards.dataset)


def compared_runs(wildcards):
    return getattr(plan.config.tables, wildcards.kind)


def compared_ranks(wildcards):
    return plan.of_runs(compared_runs(wildcards))


def comparison_labels(wildcards):
    return {"table": wildcards.kind, "paper": COMPARISONS[wildcards.kind].source}


def sensitivity(file):
    return lambda wildcards: plan.sensitivity(wildcards.knob, file)


def sensitivity_values(wildcards):
    return plan.values(wildcards.knob)


def figure_tables(wildcards):
    return plan.figure_tables(wildcards.name)


def images(wildcards):
    return plan.images(wildcards.dataset)


def shown_models(wildcards):
    return plan.shown_models(wildcards.dataset)


def raw_reviews(wildcards):
    return plan.raw_files(wildcards.dataset)[0]


def raw_meta(wildcards):
    return plan.raw_files(wildcards.dataset)[1]


def shop(wildcards):
    return plan.shop(wildcards.dataset)


def shop_files(wildcards):
    return plan.shop_files(wildcards.dataset)


def atomic_files(wildcards):
    return plan.atomic_files(wildcards.dataset)


def graph_of_interests(wildcards):
    variant = plan.graph_of_interests(wildcards.variant)
    return f"results/{wildcards.dataset}/{variant}graph/cooccurrence.npz"


def evaluated(file):
    def path(wildcards):
        stage = plan.last_stage(wildcards.run)
        return f"results/{wildcards.dataset}/runs/{wildcards.run}/seed-{wildcards.seed}/{stage}/{file}"

    return path
