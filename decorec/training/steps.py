"""Step train: one stage of a run with one seed.

DeCoRec has two stages: stage1 (modality-centric stabilisation: adapters and transformer, without ids) and stage2
(collaborative-semantic fusion, which starts from the weights of stage 1). All other models have one stage, fit.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from decorec.artifacts.files import write_table
from decorec.config.runs import Run
from decorec.data.contract import check_history
from decorec.data.sequences import Sequences, read_vocab
from decorec.data.training_history import best_epoch
from decorec.errors import DecorecError
from decorec.models import checkpoint
from decorec.models.base import Recommender
from decorec.models.inputs import ModelInputs
from decorec.models.item_data import ItemData
from decorec.models.registry import build
from decorec.models.warm_start import start_warm
from decorec.training.key import training_key
from decorec.training.launch import together
from decorec.training.loop import train_model
from decorec.training.nodes import over_nodes
from decorec.training.ranks import here

if TYPE_CHECKING:
    from decorec.training.curves import Curves

__all__ = ["prepare", "train"]

log = logging.getLogger("decorec")


def train(
    *,
    run: Run,
    stage: str,
    seed: int,
    vocab: Path,
    sequences: Path,
    features: list[Path],
    interests: list[Path],
    cooccurrence: Path | None = None,
    start: Path | None = None,
    start_config: Path | None = None,
    epochs_of: Path | None = None,
    code: str,
    state: Path,
    model: Path,
    history: Path,
    config: Path,
    tensorboard: Path | None = None,
    threads: int = 1,
) -> None:
    """Train one stage of a run until validation stops improving, and keep its best epoch.

    With --epochs-of, all interactions of the sequences are trained on, and nothing is validated: the model for
    production has no item that it has not seen.

    A training that was killed continues with the state that it kept; its outputs have the bytes of one that was not.
    SIGTERM and Ctrl-C finish the current batch, keep the state and end the step with status 143 or 130. With
    train.devices of the run, as many processes train together, with train.nodes on each of so many nodes of a job of
    SLURM; if one ends, all do.

    Args:
        run: all values of the run.
        stage: a stage of the run's model: stage1, stage2 or fit.
        seed: of the initial parameters, of the order of the batches and of dropout.
        vocab: vocab.parquet (read).
        sequences: sequences.parquet (read); the test items are not used.
        features: MODALITY.safetensors (read) of each modality that the model needs.
        interests: MODALITY.safetensors (read) of each modality that the model needs.
        cooccurrence: cooccurrence.npz (read), if the model needs it.
        start: model.safetensors (read) to start from: of the earlier checkpoint that train.start of the run names;
            otherwise of stage 1, for stage2.
        start_config: its config.json (read).
        epochs_of: history.parquet of a training of this stage with validation (read): its best epoch says for how many
            epochs this one trains, without validation.
        code: fingerprint of the code; a state that other code has kept is not used.
        state: the state of the training (read and written, removed at the end), kept between runs of the step.
        model: model.safetensors (written): the weights of the best epoch and the constant item data; with
            train.negatives, of features of more than 1 GB the path and the digest of their file.
        history: history.parquet (written), one row per epoch: epoch, loss (of training, in its steps: with dropout, and
            before the weights are averaged), metrics of the validation items (history kept, the weights as they would
            be stored; in the last stage with experts), best.
        config: config.json (written): run, stage, seed and versions; together with the model file it rebuilds the
            trained model.
        tensorboard: folder for curves of loss, validation metrics and seconds of every epoch (written); by default
            there are none. They change nothing in the outputs.
        threads: number of threads of torch; with train.devices, of all processes of a machine together.

    Raises:
        DecorecError: the model has no such stage, an input is missing or does not fit the vocabulary, or there are no
            nodes to train on.
    """
    arguments = dict(locals())
    if stage not in run.stages:
        raise DecorecError(f"--stage: expected {' or '.join(run.stages)} for {run.model.name}, found {stage!r}")
    ranks = here()
    if run.nodes * run.devices > ranks.count:
        if run.nodes > 1:
            over_nodes(train, run.nodes, run.devices, arguments)
        else:
            together(train, run.devices, arguments)
        return
    torch.set_num_threads(threads)
    items, data = read_vocab(vocab), Sequences.read(sequences)
    item_data = ModelInputs.of(features, interests, cooccurrence).item_data(run, stage, items)
    warm = run.train.start is not None
    before = None if warm or stage == run.stages[0] else checkpoint.load_for(vocab, *_given(stage, start, start_config))
    trained = prepare(run, stage, seed, item_data, None if before is None else before.model.state_dict())
    if warm:
        start_warm(trained, items, *_given("train.start", start, start_config), holds_out=epochs_of is None)
    count = sum(parameter.numel() for parameter in trained.parameters() if parameter.requires_grad)
    log.info("%s: %d trainable parameters, %d items, %d users", stage, count, len(items), len(data.users))
    fixed = None if epochs_of is None else best_epoch(epochs_of) + 1
    read = [vocab, sequences, *features, *interests, cooccurrence, start, start_config, epochs_of]
    label = f"{run.model.name} {stage} seed {seed}"
    key = training_key(run.dump(), stage, seed, code, files=read)
    values = run.train.stage(stage)
    with ranks.keeper(state, key) as keeper, _curves(None if ranks.number else tensorboard) as curves:
        epochs = train_model(
            trained, data, values, seed, label, keeper=keeper, epochs=fixed, curves=curves, ranks=ranks
        )
    if ranks.number:
        return
    check_history(history, epochs)
    checkpoint.save(trained, run, seed, items, data.training().counts(len(items)), model, config)
    write_table(history, epochs)
    keeper.remove()


def _curves(folder: Path | None) -> AbstractContextManager[Curves | None]:
    if folder is None:
        return nullcontext()
    from decorec.training.curves import Curves  # needs the package tensorboard

    return Curves(folder)


def _given(what: str, start: Path | None, start_config: Path | None) -> tuple[Path, Path]:
    if start is None or start_config is None:
        raise DecorecError(f"{what}: expected the model to start from at --start and --start-config; pass both")
    return start, start_config


def prepare(run: Run, stage: str, seed: int, item_data: ItemData, start: dict[str, Tensor] | None) -> Recommender:
    """The run's model before it is trained in ``stage``, on the device to train on.

    Args:
        run: names the model.
        stage: one of the model's stages.
        seed: of the initial parameters.
        item_data: constant tensors over the items.
        start: state of the stage before; None for the first stage.
    """
    torch.manual_seed(seed)
    model = build(run, item_data, stage)
    if start is not None:
        model.start_from(start)
    return model.to_device()
