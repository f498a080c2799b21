"""Choice of values on validation NDCG@10: the same number of trials for every run, of which none sees a test item."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import torch

from decorec.artifacts.files import write_table
from decorec.artifacts.schemas import TRIALS
from decorec.config.base import merge
from decorec.config.runs import Run, nested
from decorec.config.training import TuningConfig
from decorec.data.sequences import Sequences, read_vocab
from decorec.errors import DecorecError
from decorec.models.inputs import ModelInputs
from decorec.training.loop import train_model
from decorec.training.steps import prepare

if TYPE_CHECKING:
    from optuna import Study, Trial

__all__ = ["tune", "with_values"]

STARTUP, WARMUP = 3, 5
"""A trial is pruned if it is below the median of the others at its epoch: not before that many whole trials, and not in
its first epochs."""

log = logging.getLogger("decorec")


def tune(
    *,
    run: Run,
    tuning: TuningConfig,
    vocab: Path,
    sequences: Path,
    features: list[Path],
    interests: list[Path],
    cooccurrence: Path | None = None,
    cache: Path,
    trials: Path,
    threads: int = 1,
) -> None:
    """Train a run with values of its model's space, each combination at most once, the run's own values first.

    Finished trials are kept in a study (SQLite) under ``cache``; a call after a kill goes on from there. Written: one
    row per trial: trial, state, NDCG@10 (best epoch's, on validation), values (JSON).
    """
    torch.set_num_threads(threads)
    items, data = read_vocab(vocab), Sequences.read(sequences)
    inputs = ModelInputs.of(features, interests, cooccurrence)

    def objective(trial: Trial) -> float:
        chosen = with_values(run, {key: trial.suggest_categorical(key, found) for key, found in space.items()})
        return _train(chosen, tuning.seed, items, data, inputs, trial)

    space = choices(run)
    if not space:
        raise DecorecError(f"tune: expected a model with something to choose, found {run.model.name}")
    study = _study(run, tuning, cache)
    missing = tuning.trials - len(_finished(study))
    if missing > 0:
        study.optimize(objective, n_trials=missing)
    rows = [(t.number, t.state.name, _value(t), json.dumps(t.params, sort_keys=True)) for t in _finished(study)]
    write_table(trials, pl.DataFrame(rows, schema=TRIALS, orient="row"))
    log.info("tune: %d trials of %s, best %.4f with %s", len(rows), run.model.name, study.best_value, study.best_params)


def choices(run: Run) -> dict[str, list[Any]]:
    """The space of the run's model, with the run's own value first."""
    values = run.dump()
    own = {key: _at(values, key) for key in run.model.space}
    return {key: [own[key], *(value for value in found if value != own[key])] for key, found in run.model.space.items()}


def with_values(run: Run, values: dict[str, Any]) -> Run:
    """``run`` with other values at some of its keys ("model.encoder.dropout": 0.2)."""
    return Run.model_validate(merge(run.dump(), nested(values)))


def _train(run: Run, seed: int, items: list[str], data: Sequences, inputs: ModelInputs, trial: Trial) -> float:
    """All stages of a run; the best validation NDCG@10 of the last one."""
    from optuna import TrialPruned

    done, best, model = 0, 0.0, None

    def report(epoch: int, value: float) -> None:
        trial.report(value, done + epoch)
        if trial.should_prune():
            raise TrialPruned

    for stage in run.stages:
        item_data = inputs.item_data(run, stage, items)
        model = prepare(run, stage, seed, item_data, None if model is None else model.state_dict())
        config = run.train.stage(stage).model_copy(update={"monitor": "NDCG@10"})
        history = train_model(model, data, config, seed, f"trial {trial.number}, {stage}", report)
        done, best = done + len(history), float(history.filter("best")["NDCG@10"][0])
    return best


def _study(run: Run, tuning: TuningConfig, cache: Path) -> Study:
    """The study of these very values; trials that a kill cut off count as failed and are run again."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", "BruteForceSampler is experimental")
    key = json.dumps([run.dump(), run.model.space, tuning.seed], sort_keys=True)
    file = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.db"
    file.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{file}",
        study_name="tuning",
        sampler=optuna.samplers.BruteForceSampler(seed=tuning.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARMUP),
        direction="maximize",
        load_if_exists=True,
    )
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)
    if not study.trials:
        study.enqueue_trial({key: values[0] for key, values in choices(run).items()})
    return study


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


def _finished(study: Study) -> list[Any]:
    from optuna.trial import TrialState

    found: list[Any] = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    return found


def _value(trial: Any) -> float:
    """A pruned trial's best so far."""
    from optuna.trial import TrialState

    complete = trial.state == TrialState.COMPLETE
    return float(trial.value) if complete else max(trial.intermediate_values.values())
