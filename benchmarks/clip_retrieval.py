"""Pictures and texts per second of the step features and of clip-retrieval, side by side, and how far they are apart.

Both encode the same stored JPEG files (shorter side 256 pixels) and the same texts by the same open_clip model with the
same random weights, in fp32 on the CPU, with the same number of threads (clip-retrieval also as many worker processes)
and size of batches. First each runs once as the command that a user types, with start, loading and, for clip-retrieval,
its warm-up of two batches; it runs once for the pictures and once for the texts, because it does not find the picture
of a text in a folder of files (its keys hold the file's ending). The cosines are between what these commands wrote:
clip-retrieval normalises and keeps half precision. Then both encode in short turns in processes that hold the model,
one after the other, so that what else the machine does falls on both; of the ratios of the turns the median counts,
with the interval of order statistics that covers it at 95 % (six turns at least).

clip-retrieval runs in an environment of its own. It asks for older libraries than the project's. So that both compute
with the same torch and open_clip, the environment sees the project's packages behind its own, and gets the rest
without what it depends on:

    python -m venv ~/.cache/decorec-benchmarks/clip-retrieval
    cd ~/.cache/decorec-benchmarks/clip-retrieval
    echo SITE-PACKAGES OF THE PROJECT > lib/python3.11/site-packages/project.pth
    bin/pip install --no-deps clip-retrieval==2.45.0 all_clip==1.3.0 clip-anytorch webdataset==0.2.111 braceexpand \\
        fire==0.5.0 termcolor six wandb faiss-cpu autofaiss embedding_reader h5py pyarrow prometheus_client flask \\
        flask_restful flask_cors werkzeug blinker itsdangerous jinja2 aniso8601 pytz xxhash

    python -m benchmarks clip_retrieval [--count 64] [--rounds 12] [--model ViT-B-32-quickgelu] [--threads CORES]
                                        [--batch-size 64] [--python PATH]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import open_clip
import polars as pl
import torch
from torch import Tensor

from benchmarks._cost import Cost, cost_of_call, cost_of_command
from benchmarks._peer import Peer
from benchmarks.encode import extraction, interval, store_inputs
from benchmarks.parity import cosine, varied_texts
from decorec.data.item_features import FeatureFile
from decorec.features.clip import build_clip
from decorec.features.encoder import Modality

__all__ = ["main"]

PYTHON = Path("~/.cache/decorec-benchmarks/clip-retrieval/bin/python")
MODALITIES: tuple[Modality, ...] = ("image", "text")
NAMES = {"image": "pictures", "text": "texts"}


def main() -> None:
    """Measure both and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=64, help="pictures, and texts, of one turn")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--model", default="ViT-B-32-quickgelu")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--python", type=Path, default=PYTHON, help="interpreter of clip-retrieval's environment")
    options = parser.parse_args()
    python = options.python.expanduser()
    if not python.exists():
        sys.exit(f"{python}: expected the interpreter of clip-retrieval's environment, found none; --help says how")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    encoder = build_clip(options.model, None, "fp32", torch.device("cpu"))
    print(
        f"{options.count} pictures and texts, {options.model}, {options.threads} threads, torch {torch.__version__}, ",
        end="",
    )
    print(f"open_clip {open_clip.__version__}", flush=True)
    with tempfile.TemporaryDirectory(prefix="decorec-clip-retrieval-") as name:
        folder = Path(name)
        texts = [f"{number} {text}" for number, text in enumerate(varied_texts(options.count))]
        inputs = store_inputs(folder, texts)
        weights = folder / "weights.pt"
        torch.save(encoder.model.state_dict(), weights)
        folders = {"image": folder / "cache/images", "text": folder / "texts"}
        _write_texts(folders["text"], texts)
        print(_step(folder, weights, options).line("decorec features"), flush=True)
        for modality in MODALITIES:
            cost = _command(python, folders[modality], modality, weights, folder / f"{modality}-peer", options)
            print(cost.line(f"clip-retrieval {NAMES[modality]}"), flush=True)
        for modality in MODALITIES:
            _compare(modality, folder, texts)
        given = [options.model, str(weights), str(options.batch_size), str(options.threads)]
        given += [str(folders[modality]) for modality in MODALITIES]
        peer = Peer("clip-retrieval", python, "_clip_retrieval.py", given, folder)
        ours = {
            modality: extraction(encoder, modality, inputs, folder, options.batch_size, options.threads)
            for modality in MODALITIES
        }
        seconds: dict[Modality, list[list[list[float]]]] = {modality: [] for modality in MODALITIES}
        for turn in range(options.rounds):
            for modality in MODALITIES:
                pair = [_seconds(ours[modality]), peer.ask(modality)]
                seconds[modality].append(pair)
                print(f"turn {turn + 1}, {NAMES[modality]}: {pair[0][1]:.2f} and {pair[1][1]:.2f} s of processor time")
                sys.stdout.flush()
        peer.close()
    for modality in MODALITIES:
        _report(NAMES[modality], np.array(seconds[modality]), options.count)


def _write_texts(folder: Path, texts: list[str]) -> None:
    folder.mkdir()
    for number, text in enumerate(texts):
        (folder / f"{number:08d}.txt").write_text(text, encoding="utf-8")


def _step(folder: Path, weights: Path, options: argparse.Namespace) -> Cost:
    """The step features as a command, over both modalities."""
    chosen = {"encoder": "clip", "model": options.model, "weights": str(weights), "batch_size": options.batch_size}
    command = [sys.executable, "-m", "decorec", "features", "--settings", json.dumps({**chosen, "device": "cpu"})]
    files = {
        "catalogue": "items.parquet",
        "images": "images.parquet",
        "cache": "cache",
        "encoder": "encoder.safetensors",
        "text": "text.safetensors",
        "image": "image.safetensors",
    }
    for flag, file in files.items():
        command += [f"--{flag}", str(folder / file)]
    return cost_of_command([*command, "--threads", str(options.threads)])


def _command(
    python: Path, folder: Path, modality: Modality, weights: Path, out: Path, options: argparse.Namespace
) -> Cost:
    """clip-retrieval's command over one modality."""
    flags = {
        "input_dataset": folder,
        "output_folder": out,
        "input_format": "files",
        "batch_size": options.batch_size,
        "num_prepro_workers": options.threads,
        "enable_image": modality == "image",
        "enable_text": modality == "text",
        "clip_model": f"open_clip:{options.model}/{weights}",
    }
    command: list[str | Path] = [python, "-m", "clip_retrieval.cli", "inference"]
    command += [f"--{name}={flag}" for name, flag in flags.items()]
    return cost_of_command(command, {"PYTHONPATH": "", "OMP_NUM_THREADS": str(options.threads)})


def _compare(modality: Modality, folder: Path, texts: list[str]) -> None:
    """Print how far the features of the two commands are apart."""
    written = folder / f"{modality}-peer"
    table = pl.read_parquet(written / "metadata/metadata_0.parquet")
    if modality == "image":
        rows = [int(Path(path).stem, 16) for path in table["image_path"]]
        theirs = np.load(written / "img_emb/img_emb_0.npy")
    else:
        rows = [texts.index(text) for text in table["caption"]]
        theirs = np.load(written / "text_emb/text_emb_0.npy")
    if sorted(rows) != list(range(len(texts))):
        sys.exit(f"clip-retrieval: expected {len(texts)} {NAMES[modality]}, found {len(set(rows))}")
    ours = FeatureFile.read(folder / f"{modality}.safetensors").x[rows]
    left, right = _unit(torch.from_numpy(ours)), _unit(torch.from_numpy(theirs))
    mean = right.mean(0)
    plain, centred = cosine(left, right), cosine(left - mean, right - mean)
    print(
        f"{NAMES[modality]}: 1 - cosine at most {1 - float(plain.min()):.1e}, with the mean taken off "
        f"{1 - float(centred.min()):.1e}; of neighbours on average {float(cosine(left, right.roll(1, 0)).mean()):.4f}"
    )


def _unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x.double(), dim=1)


def _seconds(work: Callable[[], None]) -> list[float]:
    """On the clock, and of processor time."""
    cost = cost_of_call(work)
    return [cost.clock, cost.processor]


def _report(name: str, seconds: npt.NDArray[np.float64], count: int) -> None:
    """Print rates and ratios of ``seconds`` [turns, (ours, theirs), (clock, processor)]."""
    for column, label in enumerate(("on the clock", "of processor time")):
        ours, theirs = seconds[:, 0, column], seconds[:, 1, column]
        low, ratio, high = interval(theirs / ours)
        print(
            f"{name} {label}: decorec {1000 * np.median(ours) / count:.1f} ms each ({count / np.median(ours):.1f} a "
            f"second), clip-retrieval {1000 * np.median(theirs) / count:.1f} ({count / np.median(theirs):.1f}), "
            f"ratio {ratio:.3f} ({low:.3f} to {high:.3f})"
        )


if __name__ == "__main__":
    main()
