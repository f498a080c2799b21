"""Loads the configuration and asks it what to compute. The only file of the workflow that defines functions."""

import inspect
import os
import signal
import sys
from functools import cache, partial
from pathlib import Path
from threading import Thread

from snakemake import exceptions
from snakemake.common.configfile import load_configfile
from snakemake.logging import logger
from snakemake.settings.enums import Quietness

# In a clone the package stands beside this workflow; where it is installed it contains the workflow and is found anyway.
home = Path(workflow.current_basedir).parent.parent
if (home / "decorec").is_dir():
    sys.path.insert(0, str(home))

# A scheduler sends its SIGTERM to all processes of a job. The shell waits for the step, which may have a state to keep;
# without the trap the job ends with the shell, and the step is killed with it.
shell.prefix("set -euo pipefail; trap : TERM; ")

from decorec import gpus
from decorec.artifacts import layout
from decorec.artifacts.seal import digest_in
from decorec.config import load
from decorec.errors import DecorecError
from decorec.plan import commands
from decorec.plan.call import Call, Watcher
from decorec.plan.closing import closing
from decorec.plan.estimate import forecast
from decorec.plan.gpu_memory import asked
from decorec.plan.inputs import INGESTED
from decorec.plan.jobs import names_of
from decorec.plan.overruled import misspelt, overruled
from decorec.plan.plan import Plan
from decorec.plan.resources import memory, memory_of_rows, over_nodes, runtime
from decorec.plan.running import enter
from decorec.plan.telling import Teller
from decorec.prefork import Prefork, pays
from decorec.project import package_path
from decorec.training import allocation

# Jobs run `python -m decorec`: with this interpreter, where no environment is deployed, and with this package, also from
# other working directories and in environments that do not have it.
for variable, folder in (
    ("PATH", os.path.dirname(sys.executable)),
    ("PYTHONPATH", str(package_path(Path(".snakemake")))),
):
    os.environ[variable] = os.pathsep.join(
        [folder, *filter(None, [os.environ.get(variable)])]
    )

if not workflow.modifier.skip_configfile and not os.path.isfile("config.yaml"):
    raise WorkflowError(
        f"config.yaml: expected it in the working directory {os.getcwd()}, found none, so that every value would be a default;"
        f" start snakemake in {workflow.basedir}, or add --directory {workflow.basedir}"
    )

if workflow.storage_settings.default_storage_provider:
    raise WorkflowError(
        f"--default-storage-provider: expected none, found {workflow.storage_settings.default_storage_provider}; steps read"
        " files beside those that Snakemake would bring from there. Rules of your own can fetch inputs from a store and"
        " keep results in it: docs/how-to/store.md"
    )

# Before Snakemake looks at its locks: a killed run's are released, and a living one is named. Jobs of a run evaluate
# this file as well, and a dry run locks nothing.
if workflow.is_main_process and not workflow.output_settings.dryrun:
    refusal = enter(Path(".snakemake"))
    if refusal is not None:
        exceptions.LockException = lambda: WorkflowError(refusal)

# An overlay (--configfile) is laid over config.yaml key by key, but its data sets replace the default ones: they say
# what to run on.
overlay = workflow.config_settings.overwrite_config
if "datasets" in overlay:
    config["datasets"] = overlay["datasets"]

# Snakemake has the keys of an overlay before those of config.yaml. The first of the runs with equal values owns what they
# share (decorec/plan/sharing.py): a run of an overlay must not take stage 1 away from a run that is trained.
if isinstance(overlay.get("runs"), dict) and not workflow.modifier.skip_configfile:
    runs = config["runs"]
    order = [*(load_configfile("config.yaml").get("runs") or {}), *runs]
    config["runs"] = {name: runs[name] for name in order if name in runs}

try:
    plan = Plan(load(config, "configuration"))
except DecorecError as error:
    raise WorkflowError(str(error)) from None

if workflow.is_main_process:
    for line in [*overruled(plan.config), *misspelt(plan.config)]:
        logger.warning(line)

step = partial(commands.step, reproducible=plan.config.reproducible)


# Snakemake's handler of SIGTERM waits for a lock. If the thread that it interrupts holds it, as while jobs are selected,
# neither goes on; in a thread of its own it waits until the lock is free.
onstart:
    stop = signal.getsignal(signal.SIGTERM)
    signal.signal(
        signal.SIGTERM, lambda *received: Thread(target=stop, args=received).start()
    )
    if workflow.is_main_process:
        settings = workflow.resource_settings
        needed = {
            job.jobid: job.shellcmd or "" for job in workflow.dag.needrun_jobs()
        }
        call = Call.this(needed.values(), settings.cores or settings.nodes or 1)
        print(forecast(call.jobs, call.cores), file=sys.stderr)
        deployed = workflow.deployment_settings.deployment_method
        if workflow.local_exec and not deployed and pays(needed.values()):
            Prefork(Path(".snakemake"))
        # Snakemake's limit of 100 new jobs a second leaves a timer behind for every finished job, and each of them looks
        # at all jobs once a second: with a thousand jobs that takes a core. On one machine its cores are the limit.
        limit = workflow.scheduling_settings.max_jobs_per_timespan
        if (
            workflow.local_exec
            and limit
            and (limit.max_jobs, limit.timespan) == (100, 1)
        ):
            workflow.scheduler.job_rate_limiter = None
        # On this machine the jobs share the GPUs, as their memory allows; --resources gpu=N says how many at a time.
        if workflow.local_exec:
            known = workflow.scheduler.global_resources
            jobs = list(workflow.dag.needrun_jobs())
            most, nodes = (
                max([1, *(job.resources.get(name, 0) for job in jobs)])
                for name in ("gpu", "nodes")
            )
            try:
                allocation.expect(nodes)
                limits = gpus.offer(
                    Path(".snakemake/gpus"), cards(), known.get("gpu"), most
                )
            except DecorecError as error:
                raise WorkflowError(str(error)) from None
            for name, limit in limits.items():
                known.setdefault(name, limit)
                workflow.scheduler.resources[name] = known[name]
        # Lines through Snakemake's logger stand once in the terminal and once in its log, and heed --quiet progress.
        say = partial(logger.info, extra={"quietness": Quietness.PROGRESS})
        # Snakemake closes it at the end of a run, however that ends.
        logger.addHandler(
            Watcher(
                Path(".snakemake"),
                call,
                names_of(needed),
                logger.warning,
                Teller(say),
                lambda: {
                    job.jobid
                    for jobs in (
                        workflow.dag.needrun_jobs(),
                        workflow.dag.finished_jobs,
                    )
                    for job in jobs
                },
            )
        )


onsuccess:
    if workflow.is_main_process:
        made = (str(file) for job in workflow.dag.jobs for file in job.output)
        if shown := closing(made, sys.stderr.isatty(), plan.config.evaluate.level):
            print(shown, file=sys.stderr)


wildcard_constraints:
    dataset=plan.pattern(),
    modality="[a-z][a-z0-9-]*",
    run=plan.pattern_of_runs(),
    seed="[0-9]+",
    stage="stage1|stage2|fit",
    variant="(runs/[a-z0-9-]+/)?",


def ask(question):
    """An input or params function: asks the plan, with those of the job's wildcards that the question has arguments for."""
    names = inspect.signature(question).parameters
    return lambda wildcards: question(
        **{name: wildcards[name] for name in names if name in wildcards.keys()}
    )


def ask_untracked(question):
    """The same for what no result depends on: values of functions that take the output start nothing again."""
    answer = ask(question)
    return lambda wildcards, output: answer(wildcards)


def ask_own(question):
    """The same for inputs that may be the user's own files: their times start nothing again, which copies change.

    What counts are their contents, among the params. Files that rules make are none of the user's own;
    a user may have rules that fetch them.
    """

    def timeless(files):
        if isinstance(files, dict):
            return {name: timeless(value) for name, value in files.items()}
        if not isinstance(files, str):
            return [timeless(file) for file in files]
        if plan.is_ours(files) or any(
            each.is_producer(files) for each in workflow.rules
        ):
            return files
        return ancient(files)

    answer = ask(question)
    return lambda wildcards: timeless(answer(wildcards))


@cache
def cards():
    """The GPUs that the jobs of this call share."""
    alone = workflow.is_main_process and workflow.local_exec
    return gpus.found() if alone else []


gpu_memory = partial(asked, cards, logger.warning)


def files_of_page(wildcards):
    """What a page shows. The targets of the call are known when Snakemake plans it, not when it reads the rules."""
    return plan.page_files(wildcards.page, workflow.dag_settings.targets)


def catalogue_of(wildcards):
    """items.parquet of a data set, for the rules that need no other file of ingest.

    It is asked for again when ingest has run. What counts then is its content, among the params (`catalogue_content`):
    if the tables have other interactions and the same items, what reads it alone does not run.
    """
    return ancient(
        str(checkpoints.ingest.get(dataset=wildcards.dataset).output.catalogue)
    )


def catalogue_content(wildcards):
    """The digest of that file as it is now; "" while there is none."""
    return digest_in(Path(layout.fill(layout.CATALOGUE, dataset=wildcards.dataset)))
