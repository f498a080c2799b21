"""Step tune: tries values by validation NDCG@10, with equally many trials for every run; test items are not used."""

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
from decorec.artifacts.schemas.trials import TRIALS
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
"""Number of complete trials before any trial is pruned, and number of epochs before a trial can be pruned. A trial is
pruned if its value is below the median of the others at the same epoch."""

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
    cache: Path,
    trials: Path,
    threads: int = 1,
) -> None:
    """Train a run with different values from the search space of its model.

    The first trial has the run's own values; no combination is tried twice. A step that was interrupted continues after
    its finished trials.

    Args:
        run: all values of the run.
        settings: the section tuning of the configuration.
        vocab: vocab.parquet (read).
        sequences: sequences.parquet (read); the test items are not used.
        features: MODALITY.safetensors (read) of each modality that the model needs.
        interests: MODALITY.safetensors (read) of each modality that the model needs.
        cooccurrence: cooccurrence.npz (read), if the model needs it.
        cache: folder that is kept between runs (read and written): finished trials, as an SQLite file.
        trials: trials.parquet (written), one row per trial: trial, state, NDCG@10 (on validation, of the best epoch),
            values (JSON).
        threads: number of threads of torch.

    Raises:
        DecorecError: the model has nothing to choose, or an input is missing or does not fit the vocabulary.
    """
    torch.set_num_threads(threads)
    items, data = read_vocab(vocab), Sequences.read(sequences)
    inputs = ModelInputs.of(features, interests, cooccurrence)

    def objective(trial: Trial) -> float:
        chosen = with_values(run, {key: trial.suggest_categorical(key, found) for key, found in space.items()})
        return _train(chosen, settings.seed, items, data, inputs, trial)

    space = choices(run)
    if not space:
        raise DecorecError(f"tune: expected a model with a search space, found {run.model.name}")
    study = _study(run, settings, cache)
    missing = settings.trials - len(_finished(study))
    if missing > 0:
        study.optimize(objective, n_trials=missing)
    rows = [(t.number, t.state.name, _value(t), json.dumps(t.params, sort_keys=True)) for t in _finished(study)]
    write_table(trials, pl.DataFrame(rows, schema=TRIALS, orient="row"))
    log.info("tune: %d trials of %s, best %.4f with %s", len(rows), run.model.name, study.best_value, study.best_params)


def choices(run: Run) -> dict[str, list[Any]]:
    """The search space of the run's model, with the run's own values first."""
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
    """The study of exactly these settings; interrupted trials count as failed and are run again."""
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
    """The value of a trial; for a pruned one, its best value so far."""
    from optuna.trial import TrialState

    complete = trial.state == TrialState.COMPLETE
    return float(trial.value) if complete else max(trial.intermediate_values.values())
