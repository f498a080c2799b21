"""Trains Cornac's BPR on random purchases and serves it with Cornac's app; runs in an environment of its own.

python _cornac.py FOLDER ITEMS PORT
"""

import os
import sys

import cornac
import numpy as np


def main() -> None:
    """Fit a model and serve it."""
    folder, items, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    random = np.random.default_rng(0)
    rows = [(f"u{user}", f"item-{item}", 1.0) for user in range(2_000) for item in random.integers(0, items, 50)]
    data = cornac.data.Dataset.from_uir(rows)
    model = cornac.models.BPR(k=300, max_iter=1, num_threads=1, seed=0)
    model.fit(data)
    os.environ["MODEL_PATH"] = model.save(folder, save_trainset=True)
    os.environ["MODEL_CLASS"] = "cornac.models.BPR"
    from cornac.serving.app import app

    print(f"cornac {cornac.__version__}, {model.num_items} items", flush=True)
    app.run(host="127.0.0.1", port=port, threaded=True)


if __name__ == "__main__":
    main()
