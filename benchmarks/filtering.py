"""Reading, k-core and split of a large table of interactions, beside RecBole's own loading and filtering.

The rows are generated with ids and shapes as in Amazon's large categories: two interactions per user and a dozen per
item, heavy-tailed. Both read the same rows as text: our steps ingest and split as processes of their own, RecBole's
Dataset in an environment of its own (it needs older libraries), with the same least numbers per user and item. Both
must keep the same interactions. The data in memory are the rows as read: two columns of strings and one of times.

    python -m venv ~/.cache/decorec-benchmarks/recbole
    ~/.cache/decorec-benchmarks/recbole/bin/pip install recbole==1.2.1 \\
        "numpy<2" "pandas<2.3" "scipy<1.13" "setuptools<81"
    python -m benchmarks filtering [--interactions 10000000] [--rounds 2] [--recbole FOLDER] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks._cost import Cost, cost_of_command
from decorec.config.prepare import SplitConfig

__all__ = ["main", "shop", "steps"]

KCORE = 5
RECBOLE = """
import sys
from recbole.config import Config
from recbole.data.dataset import Dataset
folder, kcore, out = sys.argv[1:]
sys.argv = sys.argv[:1]
interval = f"[{kcore},inf)"
config = Config(model="BPR", dataset="shop", config_dict=dict(
    data_path=folder, load_col=dict(inter=["user_id", "item_id", "timestamp"]),
    USER_ID_FIELD="user_id", ITEM_ID_FIELD="item_id", TIME_FIELD="timestamp",
    user_inter_num_interval=interval, item_inter_num_interval=interval))
open(out, "w").write(str(len(Dataset(config).inter_feat)))
"""


def main() -> None:
    """Generate what is missing, run both and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks filtering")
    parser.add_argument("--interactions", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--recbole", type=Path, default=Path.home() / ".cache/decorec-benchmarks/recbole")
    parser.add_argument("--keep", type=Path, help="folder of the generated files, used again if they are there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        size = shop(folder, options.interactions)
        print(
            f"{options.interactions:,} interactions, {size / 1e9:.2f} GB in memory; {os.cpu_count()} processors,",
            end=" ",
        )
        print(f"polars {pl.__version__}, numpy {np.__version__}, Python {sys.version.split()[0]}", flush=True)
        ours = [steps(folder, KCORE) for _ in range(options.rounds)]
        ingest, split = (min(costs, key=lambda cost: cost.clock) for costs in zip(*ours, strict=True))
        print(ingest.line("ingest"), f" {ingest.memory / size:.2f} times the data")
        print(split.line("split"), f" {split.memory / size:.2f} times the data", flush=True)
        if not (options.recbole / "bin/python").exists():
            print(f"no RecBole in {options.recbole}: left out")
            return
        theirs = min((_recbole(options.recbole, folder) for _ in range(options.rounds)), key=lambda cost: cost.clock)
        print(theirs.line("RecBole"), f" {theirs.memory / size:.2f} times the data")
        clock, processor = ingest.clock + split.clock, ingest.processor + split.processor
        print(f"RecBole takes {theirs.clock / clock:.1f} times the time", end=" ")
        print(f"(by processor time {theirs.processor / processor:.1f} times)")
        kept = json.loads((folder / "statistics.json").read_text())["interactions"]
        found = int((folder / "recbole.txt").read_text())
        assert kept == found, f"decorec keeps {kept} interactions, RecBole {found}"
        print(f"both keep {kept:,} interactions")


def steps(folder: Path, kcore: int, interactions: str = "interactions.csv") -> tuple[Cost, Cost]:
    """What ingest and split of the shop in a folder cost; they leave kept.parquet there, and the files of both."""
    threads = str(os.cpu_count())
    section = json.dumps({"kcore": kcore, "require": []})
    command = [sys.executable, "-m", "decorec"]
    given = ["--threads", threads, "--filter", section]
    files = ["--interactions", str(folder / "kept.parquet"), "--catalogue", str(folder / "items.parquet")]
    table = json.dumps({"source": "table", "path": str(folder), "interactions": interactions})
    ingest = [*command, "ingest", *given, *files, "--dataset", table, "--counts", str(folder / "counts.json")]
    split = [*command, "split", *given, *files, "--settings", SplitConfig().model_dump_json(), "--features"]
    for name in ("vocab.parquet", "sequences.parquet", "statistics.json"):
        split += [f"--{name.split('.')[0]}", str(folder / name)]
    return cost_of_command(ingest), cost_of_command(split)


def _recbole(environment: Path, folder: Path) -> Cost:
    command = [str(environment / "bin/python"), "-c", RECBOLE, str(folder), str(KCORE), str(folder / "recbole.txt")]
    return cost_of_command(command, {"PYTHONPATH": "", "PYTHONWARNINGS": "ignore"})


def shop(folder: Path, interactions: int) -> int:
    """Write the rows for both, and say how many bytes they take in memory."""
    if not (folder / "interactions.csv").exists():
        (folder / "shop").mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(0)
        users, items = _ids("A", 13, interactions * 7 // 10, random), _ids("B", 9, interactions // 12 + 1, random)
        rows = pl.DataFrame(
            {
                "user": users.gather((random.random(interactions) ** 3 * len(users)).astype(np.int64)),
                "item": items.gather((random.random(interactions) ** 5 * len(items)).astype(np.int64)),
                "timestamp": random.integers(13_000, 17_700, interactions) * 86_400,
            }
        )
        # RecBole keeps repeated rows unless told otherwise; none are given.
        rows = rows.unique(["user", "item", "timestamp"], maintain_order=True)
        names = {"user": "user_id:token", "item": "item_id:token", "timestamp": "timestamp:float"}
        rows.rename(names).write_csv(folder / "shop/shop.inter", separator="\t")
        items.alias("item").to_frame().write_csv(folder / "items.csv")
        rows.write_csv(folder / "interactions.csv")
    ids = pl.scan_csv(folder / "interactions.csv").select(pl.col("user", "item").str.len_bytes()).collect()
    # polars holds 16 bytes per string, and besides the bytes of those that are longer than 12.
    return sum(16 * len(column) + int(column.filter(column > 12).sum()) for column in ids) + 8 * len(ids)


def _ids(prefix: str, length: int, count: int, random: np.random.Generator) -> pl.Series:
    letters = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", dtype="S1")
    drawn = letters[random.integers(0, len(letters), (count, length))].view(f"S{length}").ravel()
    return prefix + pl.Series(drawn.astype(str)).unique(maintain_order=True)
