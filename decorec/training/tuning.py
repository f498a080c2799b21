"""Step tune: tries values by validation NDCG@10, with equally many trials for every run; test items are not used."""

from __future__ import annotations

import gc
import json
import logging
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from itertools import product
from math import prod
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import polars as pl
import torch

from decorec.artifacts import step_log
from decorec.artifacts.files import write_table
from decorec.artifacts.resume import Keeper
from decorec.artifacts.schemas.trials import TRIALS, best_trial
from decorec.config.runs import Run, with_values
from decorec.config.search_space import expect_search_space
from decorec.config.training import SearchSpace, TuningConfig
from decorec.data.sequences import Sequences, read_vocab
from decorec.errors import DecorecError, UnfitValuesError
from decorec.models.inputs import ModelInputs
from decorec.training.key import training_key
from decorec.training.loop import train_model
from decorec.training.steps import prepare

if TYPE_CHECKING:
    from optuna import Study, Trial

__all__ = ["tune"]

RANDOM = 5
"""Number of trials, the own values among them, before values are chosen by those of the trials before."""
STARTUP, WARMUP = 3, 15
"""Number of complete trials before any trial is pruned, and number of epochs of a stage before a trial can be pruned in
it, so that no learning rate loses because it is slow."""
STAGE = 1_000_000
"""Steps from one stage to the next, as Optuna counts them: more than a stage has epochs, so that the same epoch of the
same stage has one number in all trials."""
DRAWS = 100
"""Number of times that values are drawn anew because they were tried before; then the first ones left are taken."""

REASON = "reason"
"""Attribute of a trial that failed by its values. It counts; one that was interrupted, which Optuna calls failed as
well, is continued as a trial of its own."""

log = logging.getLogger("decorec")


def tune(
    *,
    run: Run,
    settings: TuningConfig,
    vocab: Path,
    sequences: Path,
    features: list[Path],
    interests: list[Path],
    cooccurrence: Path | None = None,
    code: str,
    cache: Path,
    trials: Path,
    space: SearchSpace | None = None,
    threads: int = 1,
) -> None:
    """Train a run with different values from a search space.

    The first trial has the run's own values, a few have random ones, and the others those that a tree-structured Parzen
    estimator (Bergstra et al., NeurIPS 2011; Optuna's) proposes after the trials before. No combination is tried twice,
    and once all are tried, there are no more trials. A step that was interrupted continues where
    it was, within a trial too, and its table is that of one that was not. A trial whose training diverges, or for which
    the GPU has too little memory, has failed; the others go on. SIGTERM and Ctrl-C finish the current batch,
    keep the state and end the step with status 143 or 130.

    Args:
        run: all values of the run.
        settings: the section tuning of the configuration.
        vocab: vocab.parquet (read).
        sequences: sequences.parquet (read); the test items are not used.
        features: MODALITY.safetensors (read) of each modality that the model needs.
        interests: MODALITY.safetensors (read) of each modality that the model needs.
        cooccurrence: cooccurrence.npz (read), if the model needs it.
        code: fingerprint of the code; trials of other code are not used.
        cache: folder that is kept between runs (read and written): finished trials, as an SQLite file, and the state of
            each training of the current one.
        trials: trials.parquet (written), one row per trial: trial, state, NDCG@10 (on validation, of the best epoch),
            values (JSON), reason (why it failed).
        space: key of the run -> values to try; default: the search space of its model.
        threads: number of threads of torch.

    Raises:
        DecorecError: the model has nothing to choose, the run starts from an earlier model (train.start), a key or a
            value of the search space cannot be tried, all trials have failed, or an input is missing or does not fit
            the vocabulary.
    """
    torch.set_num_threads(threads)
    if run.train.start is not None:
        raise DecorecError(
            f"tune: expected a run that starts from nothing, found train.start: {run.train.start}; trials of other "
            "sizes cannot start from it, so remove train.start while values are chosen"
        )
    try:
        expect_search_space(run, None if space is None else space.root, "--space", "--run")
    except ValueError as error:
        raise DecorecError(f"tune: {error}") from error
    items, data = read_vocab(vocab), Sequences.read(sequences)
    inputs = ModelInputs.of(features, interests, cooccurrence)

    def objective(number: int, trial: Trial) -> float:
        values = {key: trial.suggest_categorical(key, each) for key, each in found.items()}
        chosen = with_values(run, values).trial()
        keepers = {stage: Keeper(states / f"{stage}.safetensors", f"{key} {number} {stage}") for stage in run.stages}
        return _train(chosen, settings.seed, items, data, inputs, trial, f"trial {number}", keepers)

    tried = run.model.space if space is None else space.root
    found = choices(run, data, tried)
    if not found:
        raise DecorecError(
            f"tune: expected a model with a search space, found {run.model.name}; name values in tuning.space"
        )
    read = [vocab, sequences, *features, *interests, cooccurrence]
    key = training_key(run.dump(), tried, settings.seed, code, files=read)
    states = cache / key[:16]
    study = _study(states.with_suffix(".db"))
    step_log.current().continues(step_log.Used(**study.user_attrs.get("used", {})))
    for number in range(len(_ended(study)), min(settings.trials, prod(map(len, found.values())))):
        if not _in_state(study, "WAITING"):  # a kill right after the next line leaves this trial waiting
            study.enqueue_trial(_proposed(found, settings.seed, _ended(study)))
        _try(study, number, partial(objective, number))
        study.set_user_attr("used", asdict(step_log.current().used()))
        shutil.rmtree(states, ignore_errors=True)
    rows = [
        (number, trial.state.name, _value(trial), _shown(trial), trial.user_attrs.get(REASON))
        for number, trial in enumerate(_ended(study)[: settings.trials])
    ]
    table = pl.DataFrame(rows, schema=TRIALS, orient="row")
    if table["reason"].null_count() == 0:
        raise DecorecError(
            f"tune: expected values with which {run.model.name} can be trained, found that all {len(rows)} trials "
            f"failed, the first one with {table['values'][0]}: {table['reason'][0]}; correct the run or tuning.space"
        )
    write_table(trials, table)
    best = best_trial(table)
    log.info("tune: %d trials of %s, best %.4f with %s", len(rows), run.model.name, best["NDCG@10"], best["values"])


def _try(study: Study, number: int, objective: Callable[[Trial], float]) -> None:
    """Run the trial that waits, and tell the study how it ended."""
    from optuna import TrialPruned
    from optuna.trial import TrialState

    trial = study.ask()
    try:
        study.tell(trial, objective(trial))
        return
    except TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        return
    except UnfitValuesError as error:
        reason = str(error)
    except torch.OutOfMemoryError as error:  # a processor's is not told: the system kills the step
        reason = "expected values for which the memory of the GPU suffices; lower model.dim or train.batch_size"
        log.info("trial %d: %s", number, error)
    gc.collect()  # what the failed training holds on the GPU
    trial.set_user_attr(REASON, reason)
    study.tell(trial, state=TrialState.FAIL)
    log.warning("trial %d failed with %s: %s", number, _shown(trial), reason)


def choices(run: Run, data: Sequences, space: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """A search space with the run's own values first, each value as the run has it: YAML reads 1e-3 as a text.

    Without time stamps in ``data``, values with which the model would read them are left out.
    """
    found = {}
    known = data.timestamps is not None or run.model.needs_times
    for key, tried in space.items():
        runs = (with_values(run, {key: value}) for value in tried)
        fitting = (one.at(key) for one in runs if known or not one.model.needs_times)
        found[key] = list(dict.fromkeys([run.at(key), *fitting]))
    return found


def _train(
    run: Run,
    seed: int,
    items: list[str],
    data: Sequences,
    inputs: ModelInputs,
    trial: Trial,
    label: str,
    keepers: Mapping[str, Keeper],
) -> float:
    """All stages of a run, as the step train trains them; the best validation NDCG@10 of the last one."""
    from optuna import TrialPruned

    best, model = 0.0, None
    own: dict[int, float] = {}

    def report(first: int, epoch: int, value: float) -> None:
        own[first + epoch] = value
        trial.report(value, first + epoch)
        if _is_behind(own, [other.intermediate_values for other in _in_state(trial.study, "COMPLETE")]):
            raise TrialPruned

    for number, stage in enumerate(run.stages):
        staged = run.for_stage(stage)
        item_data = inputs.item_data(staged, stage, items)
        model = prepare(staged, stage, seed, item_data, None if model is None else model.state_dict())
        with keepers[stage] as keeper:
            told = partial(report, number * STAGE)
            history = train_model(
                model, data, staged.train.stage(stage), seed, f"{label}, {stage}", told, keeper=keeper
            )
        best = float(history.filter("best")["NDCG@10"][0])
    return best


def _is_behind(own: Mapping[int, float], others: Sequence[Mapping[int, float]]) -> bool:
    """Whether a trial's best value in its stage is below the median of the complete trials at the same epoch of it."""
    step = max(own)
    there = [values[step] for values in others if step in values]
    fair = len(others) >= STARTUP and step % STAGE >= WARMUP and there
    return bool(fair) and _best_of_last_stage(own) < median(there)


def _best_of_last_stage(values: Mapping[int, float]) -> float:
    return max(value for step, value in values.items() if step // STAGE == max(values) // STAGE)


def _proposed(space: dict[str, list[Any]], seed: int, ended: list[Any]) -> dict[str, Any]:
    """The values of the next trial; they depend on those that ended, and not on where the step was interrupted."""
    import optuna

    if not ended:
        return {key: values[0] for key, values in space.items()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed + len(ended), n_startup_trials=RANDOM)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    study.add_trials(ended)
    tried = [trial.params for trial in ended]
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        key: optuna.distributions.CategoricalDistribution(values) for key, values in space.items()
    }
    for _ in range(DRAWS):
        drawn = study.ask(distributions)
        if drawn.params not in tried:
            return dict(drawn.params)
        study.tell(drawn, state=optuna.trial.TrialState.FAIL)
    every = (dict(zip(space, values, strict=True)) for values in product(*space.values()))
    return next(values for values in every if values not in tried)


def _study(file: Path) -> Study:
    """The study in a file; a trial that was interrupted counts as failed, and is run again."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file.parent.mkdir(parents=True, exist_ok=True)
    _set_aside_if_damaged(file)
    study = optuna.create_study(
        storage=f"sqlite:///{file}",
        study_name="tuning",
        direction="maximize",
        load_if_exists=True,
    )
    for trial in _in_state(study, "RUNNING"):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _set_aside_if_damaged(file: Path) -> None:
    try:
        with closing(sqlite3.connect(file)) as database:
            sound = database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    except sqlite3.DatabaseError:
        sound = False
    if not sound:
        aside = file.with_name(f"{file.name}.damaged")
        file.replace(aside)
        log.info("%s: expected an SQLite file, found a damaged one: it is now %s, and tuning starts over", file, aside)


def _in_state(study: Study, *names: str) -> list[Any]:
    """The trials in one of these states, in the order in which they began."""
    from optuna.trial import TrialState

    found: list[Any] = study.get_trials(states=[TrialState[name] for name in names])
    return found


def _ended(study: Study) -> list[Any]:
    """The trials that count."""
    found = _in_state(study, "COMPLETE", "PRUNED", "FAIL")
    return [trial for trial in found if trial.state.name != "FAIL" or REASON in trial.user_attrs]


def _value(trial: Any) -> float | None:
    """The value of a trial; for a pruned one, its best value so far in the stage that it was in."""
    from optuna.trial import TrialState

    if trial.state == TrialState.FAIL:
        return None
    complete = trial.state == TrialState.COMPLETE
    return float(trial.value) if complete else _best_of_last_stage(trial.intermediate_values)


def _shown(trial: Any) -> str:
    """Its values."""
    return json.dumps(trial.params, sort_keys=True)
