"""RecBole's side of the benchmark `recommend`; runs in RecBole's environment, not in the project's.

python _recbole_lists.py FOLDER SETTINGS    (SETTINGS: JSON; answers with a line that begins with ANSWER)
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

AT_ONCE = 512
"""Customers that get their lists in one call, the size of RecBole's own batches."""


def main() -> None:
    """Give lists to some customers, with a model of random weights."""
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    for old, new in (("float", float), ("int", int), ("bool", bool), ("object", object)):
        if old not in np.__dict__:
            setattr(np, old, new)
    import recbole
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.model.sequential_recommender import SASRec
    from recbole.utils import init_seed
    from recbole.utils.case_study import full_sort_topk

    torch.set_num_threads(1)
    customers = settings["peer_customers"]
    _write(folder / "shop", customers, settings["items"])
    values = {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": 50,
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "hidden_size": settings["width"],
        "inner_size": 256,
        "n_layers": 2,
        "n_heads": 2,
        "eval_batch_size": AT_ONCE,
        "eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"},
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
    }
    sys.argv = sys.argv[:1]
    config = Config(model="SASRec", dataset="shop", config_dict=values)
    init_seed(0, True)
    data = create_dataset(config)
    _, _, test = data_preparation(config, data)
    model = SASRec(config, test.dataset).eval()
    users = data.token2id(data.uid_field, [f"c{number}" for number in range(customers)])
    start = time.process_time()
    with torch.no_grad():
        for begin in range(0, customers, AT_ONCE):
            full_sort_topk(users[begin : begin + AT_ONCE], model, test, k=settings["k"], device=torch.device("cpu"))
    seconds = time.process_time() - start
    version = f"{recbole.__version__}, torch {torch.__version__}"
    print("ANSWER " + json.dumps({"seconds": seconds, "version": version, "items": data.item_num - 1}), flush=True)


def _write(folder: Path, customers: int, items: int) -> None:
    """Random purchases of the customers, and of some others so that every item is there."""
    random = np.random.default_rng(0)
    lengths = 5 + random.negative_binomial(0.5, 0.5 / 3.17, customers)
    rows = [(f"c{user}", f"i{item}") for user, n in enumerate(lengths) for item in random.integers(0, items, n)]
    rows += [(f"other{item // 50}", f"i{item}") for item in range(items)]
    folder.mkdir()
    lines = [f"{user}\t{item}\t{place}" for place, (user, item) in enumerate(rows)]
    header = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / "shop.inter").write_text("\n".join([header, *lines]) + "\n")


if __name__ == "__main__":
    main()
