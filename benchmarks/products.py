"""Dense products: oneDNN with a shape that it has not seen, oneDNN with one that it has, and torch's own (MKL).

    python -m benchmarks products [--rounds 40]

The number of rows differs from call to call, as the number of tokens does from batch to batch. Prints microseconds of
processor time of a call, on one thread, and the ratio of the first to the last. ``decorec.nn.matmul.SMALLEST`` is
where that ratio falls to 1.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

SHAPES = ((64, 64), (64, 192), (128, 128), (300, 300), (300, 900), (300, 1585), (300, 4000))
"""Width of a row, and number of results of a row."""
ROWS = (200, 600, 2000)
"""Rows of a call in the mean."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    draw = random.Random(0)
    found = []
    for width, results in SHAPES:
        weight, bias = torch.randn(results, width), torch.randn(results)

        def one_dnn(x: Tensor, weight: Tensor = weight, bias: Tensor = bias) -> Tensor:
            out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
            return out

        def own(x: Tensor, weight: Tensor = weight, bias: Tensor = bias) -> Tensor:
            return functional.linear(x, weight, bias)

        for rows in ROWS:
            inputs = [torch.randn(draw.randint(rows // 2, rows * 3 // 2), width) for _ in range(rounds)]
            for x in inputs[:3]:
                own(x)
            new, again, plain = _cost(one_dnn, inputs), _cost(one_dnn, inputs), _cost(own, inputs)
            found.append((rows * width * results / 1e6, width, results, rows, new, again, plain))
    print(f"{'million':>8}{'width':>7}{'results':>9}{'rows':>6}{'new shape':>11}{'seen':>9}{'own':>9}{'ratio':>7}")
    for size, width, results, rows, new, again, plain in sorted(found):
        print(f"{size:>8.0f}{width:>7}{results:>9}{rows:>6}{new:>11.0f}{again:>9.0f}{plain:>9.0f}{new / plain:>7.2f}")


def _cost(function: Callable[[Tensor], Tensor], inputs: Sequence[Tensor]) -> float:
    """Microseconds of a call, the median over the inputs."""
    taken = []
    for x in inputs:
        start = time.process_time_ns()
        function(x)
        taken.append(time.process_time_ns() - start)
    return sorted(taken)[len(taken) // 2] / 1e3


if __name__ == "__main__":
    main()
