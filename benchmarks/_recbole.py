"""RecBole's side of the benchmark of peers; runs in RecBole's environment, not in the project's.

Reads what to do from standard input, a line at a time, and answers with lines that begin with ANSWER.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch


def main() -> None:
    """Answer until standard input ends."""
    folder, threads, steps = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for old, new in (("float", float), ("int", int), ("bool", bool), ("object", object)):
        if old not in np.__dict__:
            setattr(np, old, new)
    import recbole
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import init_seed

    torch.set_num_threads(threads)
    values = {
        "data_path": str(folder),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": ["user_id", "item_id_list", "item_id"]},
        "alias_of_item_id": ["item_id_list"],
        "MAX_ITEM_LIST_LENGTH": 50,
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "hidden_size": 300,
        "inner_size": 256,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dropout_prob": 0.5,
        "attn_dropout_prob": 0.5,
        "train_batch_size": 512,
        "eval_batch_size": 512,
        "epochs": 300,
        "stopping_step": 10,
        "metrics": ["Hit", "NDCG"],
        "topk": [10],
        "valid_metric": "NDCG@10",
        "eval_args": {"group_by": "user", "order": "TO", "mode": "full"},
        "use_gpu": False,
        "show_progress": False,
        "state": "WARNING",
        "seed": 0,
        "checkpoint_dir": str(folder / "saved"),
    }
    sys.argv = sys.argv[:1]
    config = Config(model="SASRec", dataset="scientific", config_dict=values)
    init_seed(0, True)
    data = create_dataset(config)
    loaders = data_preparation(config, data)
    trainer = _trainer(config, loaders[0])
    for line in sys.stdin:
        if line.strip() == "version":
            answer: Any = f"{recbole.__version__} torch-{torch.__version__}"
        elif line.strip() == "epoch":
            clock = time.process_time if threads == 1 else time.perf_counter
            part = _Part(loaders[0], steps)
            start = clock()
            trainer._train_epoch(part, 0, show_progress=False)
            answer = (clock() - start) * len(loaders[0]) / len(part)
        else:
            fresh = _trainer(config, loaders[0])
            torch.load = _trusting(torch.load)
            fresh.fit(loaders[0], loaders[1], saved=True, show_progress=False)
            result = fresh.evaluate(loaders[2], load_best_model=True, show_progress=False)
            answer = ", ".join(f"{result[name]:.4f}" for name in ("hit@10", "ndcg@10"))
        print("ANSWER " + json.dumps(answer), flush=True)


class _Part:
    """The first steps of an epoch."""

    def __init__(self, loader: Any, steps: int) -> None:
        self.loader, self.steps = loader, min(steps, len(loader))

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Any:
        return islice(self.loader, self.steps)


def _trusting(load: Any) -> Any:
    """RecBole's checkpoints hold its configuration, which newer torch only loads when told to."""
    return lambda *arguments, **options: load(*arguments, **{"weights_only": False, **options})


def _trainer(config: Any, loader: Any) -> Any:
    from recbole.model.sequential_recommender import SASRec
    from recbole.trainer import Trainer

    return Trainer(config, SASRec(config, loader.dataset))


if __name__ == "__main__":
    main()
