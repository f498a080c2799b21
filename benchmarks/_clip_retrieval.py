"""clip-retrieval's side of its benchmark; runs in its environment, not in the project's.

Reads a modality from standard input, a line at a time, encodes all of it by clip-retrieval's own runner, and answers
with the seconds on the clock and of processor time. The model is loaded once; the process that collects statistics,
which it starts with every run, is left out.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import torch
from all_clip import load_clip
from clip_retrieval.clip_inference.mapper import ClipMapper
from clip_retrieval.clip_inference.reader import FilesReader
from clip_retrieval.clip_inference.runner import Runner
from clip_retrieval.clip_inference.writer import NumpyWriter


class _Silent:
    """A logger that does nothing."""

    def start(self) -> None:
        pass

    def __call__(self, statistics: dict[str, float]) -> None:
        pass

    def end(self) -> None:
        pass


def main() -> None:
    """Answer until standard input ends."""
    model, weights, batch_size, threads, pictures, texts = sys.argv[1:]
    torch.set_num_threads(int(threads))
    size, folders = int(batch_size), {"image": pictures, "text": texts}
    chosen = {"clip_model": f"open_clip:{model}/{weights}", "use_jit": False, "warmup_batch_size": size}
    _, preprocess, tokenizer = load_clip(**chosen, clip_cache_path=None)
    for line in sys.stdin:
        modality = line.strip()
        enabled = {"enable_text": modality == "text", "enable_image": modality == "image", "enable_metadata": False}
        runner = Runner(
            lambda sampler, folder=folders[modality], enabled=enabled: FilesReader(
                sampler, preprocess, tokenizer, folder, size, int(threads), **enabled
            ),
            lambda enabled=enabled: ClipMapper(**enabled, **chosen, use_mclip=False, mclip_model=""),
            lambda number, enabled=enabled: NumpyWriter(number, str(Path("turn")), **enabled, output_partition_count=1),
            lambda number: _Silent(),
            1,
        )
        start, used = time.perf_counter(), _processor()
        runner(0)
        print("ANSWER " + json.dumps([time.perf_counter() - start, _processor() - used]), flush=True)


def _processor() -> float:
    """Seconds of this process and of the workers that have ended."""
    return sum(os.times()[:4])


if __name__ == "__main__":
    main()
